-- Who writes in bench/dead_entries.

-- Completes what ranks first, a thousand to a transaction.
CREATE PROCEDURE bench.complete_top(items int)
    LANGUAGE plpgsql AS $$
DECLARE
    ids bigint[] := ARRAY(SELECT item_id FROM bench.scored ORDER BY lane, score DESC, act_by, item_id LIMIT items);
BEGIN
    FOR i IN 1 .. cardinality(ids) LOOP
        PERFORM aurora.complete(ids[i]);
        IF i % 1000 = 0 THEN
            COMMIT;
        END IF;
    END LOOP;
END
$$;

-- About a hundred times a second: two items of the top are completed, and two come that rank high.
CREATE PROCEDURE bench.keep_writing()
    LANGUAGE plpgsql AS $$
BEGIN
    LOOP
        PERFORM aurora.complete(item_id) FROM aurora.surface(2, 'ann', bench.at());
        PERFORM aurora.add_item('Deal ' || n, kind => 'deal', owner => 'ann', company => 'Bench', currency => 'USD',
                                amount => (200000 * random())::numeric, received_at => bench.at(),
                                due_at => bench.at() + random() * interval '2 days')
            FROM generate_series(1, 2) n;
        COMMIT;
        PERFORM pg_sleep(0.008);
    END LOOP;
END
$$;
