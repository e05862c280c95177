-- The plain table of bench/write_cost and what each round writes. Variables: items (how many a round
-- changes), rounds, folder (for the files that COPY reads).

CREATE TABLE bench.plain (LIKE aurora.item INCLUDING ALL) WITH (fillfactor = 85);
ALTER TABLE bench.plain ADD FOREIGN KEY (company_id, owner) REFERENCES aurora.principal;
INSERT INTO bench.plain SELECT * FROM aurora.item;

CREATE FUNCTION bench.insert_each(target regclass, source regclass) RETURNS SETOF bigint
    LANGUAGE plpgsql AS $$
DECLARE
    r aurora.item;
BEGIN
    FOR r IN EXECUTE format('SELECT * FROM %s', source) LOOP
        EXECUTE format('INSERT INTO %s SELECT ($1).*', target) USING r;
        RETURN NEXT r.item_id;
    END LOOP;
END
$$;

CREATE FUNCTION bench.complete_each(source regclass) RETURNS SETOF bigint
    LANGUAGE plpgsql AS $$
DECLARE
    id bigint;
BEGIN
    FOR id IN EXECUTE format('SELECT item_id FROM %s', source) LOOP
        UPDATE bench.plain SET state = 'done', state_at = now() WHERE company_id = 1 AND item_id = id;
        RETURN NEXT id;
    END LOOP;
END
$$;

-- Each round has rows of its own: disjoint lots to change, and copies under new ids to insert.
SELECT setval('aurora.item_item_id_seq', 1000000000) AS placed \gset
CREATE TEMPORARY TABLE lot AS
    SELECT item_id, kind, row_number() OVER (ORDER BY bench.die(item_id, 20)) % (4 * :rounds) AS place FROM aurora.item;

CREATE PROCEDURE bench.cut(name text, lot_no int, filter text, items int)
    LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE TABLE bench.%I AS SELECT item_id FROM lot WHERE place = %s AND %s LIMIT %s', name, lot_no, filter, items);
    EXECUTE format('ANALYZE bench.%I', name);
END
$$;

CREATE PROCEDURE bench.copy_rows(name text, seed int, items int)
    LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE TABLE bench.%I AS SELECT * FROM aurora.item ORDER BY bench.die(item_id, %s) LIMIT %s', name, seed, items);
    EXECUTE format('UPDATE bench.%I SET item_id = nextval(''aurora.item_item_id_seq'')', name);
END
$$;

CREATE PROCEDURE bench.make_round(r int, items int, folder text)
    LANGUAGE plpgsql AS $$
BEGIN
    CALL bench.cut('deal_' || r, 4 * r - 4, 'kind = ''deal''', items);
    CALL bench.cut('title_' || r, 4 * r - 3, 'true', items);
    CALL bench.cut('done_' || r, 4 * r - 2, 'true', items);
    CALL bench.cut('complete_' || r, 4 * r - 1, 'true', items);
    CALL bench.copy_rows('each_' || r, 3 * r + 30, items);
    CALL bench.copy_rows('bulk_' || r, 3 * r + 31, items);
    CALL bench.copy_rows('file_' || r, 3 * r + 32, items);
    EXECUTE format('COPY bench.%I TO %L', 'file_' || r, folder || '/copy_' || r);
END
$$;

SELECT format('CALL bench.make_round(%s, %s, %L)', r, :items, :'folder') FROM generate_series(1, :rounds) r \gexec
