-- A mesh of 5 devices with 5 models, requests that wait, and a plain queue with the same.

CREATE EXTENSION aurora;
CREATE SCHEMA bench;
SELECT aurora.add_company('Bench');
SELECT aurora.register_node('n' || n, 'compute') FROM generate_series(1, 5) n;
SELECT aurora.report_devices((SELECT jsonb_build_array(jsonb_build_object('index', 0, 'kind', 'cuda', 'name', 'RTX 4090', 'memory_total', 24000000000,
           'memory_free', 9000000000, 'slots', 64, 'models', jsonb_agg(jsonb_build_object('name', 'm' || m, 'resident', m <= 3, 'size', 5000000000))))
       FROM generate_series(1, 5) m), 'n' || n) FROM generate_series(1, 5) n;
SELECT aurora.make_gpu_queue();
-- The node that takes also asks, so that as many wait all the time.
GRANT aurora_admin TO aurora_node_n1;
GRANT USAGE ON SCHEMA bench TO aurora_node_n1;

CREATE TABLE bench.plain (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, state text NOT NULL DEFAULT 'waiting', class text NOT NULL, model text NOT NULL,
                          taker text, lease_until timestamptz, payload jsonb NOT NULL);
CREATE INDEX ON bench.plain (id) WHERE state = 'waiting';
GRANT ALL ON bench.plain TO aurora_node_n1;

CREATE FUNCTION bench.fill(n int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM aurora.cancel_job(j.job_id) FROM aurora.job j;
    DELETE FROM aurora.generation;
    DELETE FROM bench.plain;
    PERFORM aurora.generate('m' || (i % 5 + 1), repeat('word ', 40), class => (ARRAY['interactive', 'normal', 'batch'])[i % 3 + 1], company => 'Bench')
        FROM generate_series(1, n) i;
    INSERT INTO bench.plain (class, model, payload) SELECT (ARRAY['interactive', 'normal', 'batch'])[i % 3 + 1], 'm' || (i % 5 + 1),
        jsonb_build_object('prompt', repeat('word ', 40)) FROM generate_series(1, n) i;
END
$$;

-- Takes one, finishes it, and asks for another, so that as many wait.
CREATE FUNCTION bench.take() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    taken record;
BEGIN
    SELECT t.job_id, t.attempt, t.model, t.class INTO taken FROM aurora.take_generations(0) t;
    PERFORM aurora.finish_job(taken.job_id, taken.attempt);
    PERFORM aurora.submit_job('gpu', '{"prompt": "x"}', taken.class, kind => taken.model, company => 'Bench');
END
$$;

CREATE FUNCTION bench.take_plainly() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    taken record;
BEGIN
    UPDATE bench.plain p SET state = 'running', taker = 'n1/0', lease_until = clock_timestamp() + interval '30 seconds'
        WHERE p.id = (SELECT q.id FROM bench.plain q WHERE q.state = 'waiting' AND q.model = ANY (ARRAY['m1', 'm2', 'm3', 'm4', 'm5'])
                      ORDER BY q.id LIMIT 1 FOR UPDATE SKIP LOCKED)
        RETURNING p.id, p.class, p.model INTO taken;
    DELETE FROM bench.plain p WHERE p.id = taken.id;
    INSERT INTO bench.plain (class, model, payload) VALUES (taken.class, taken.model, '{"prompt": "x"}');
END
$$;

-- Streams 400 tokens to each of so many jobs, in batches, each call a transaction; bytes of WAL for each token.
CREATE PROCEDURE bench.stream(streams int, batch int, INOUT bytes numeric) LANGUAGE plpgsql AS $$
DECLARE
    ids bigint[];
    attempts int[];
    before pg_lsn;
    at int := 0;
BEGIN
    PERFORM set_config('aurora.gpu_leave_age', '0', false); -- one device gets them all
    PERFORM bench.fill(streams * 3);
    COMMIT;
    SELECT array_agg(t.job_id), array_agg(t.attempt) INTO ids, attempts FROM aurora.take_generations(0, streams, node => 'n1') t;
    COMMIT;
    PERFORM aurora.append_outputs(ids, attempts, array_fill(0, ARRAY[streams]), array_fill('x'::text, ARRAY[streams]), array_fill(1, ARRAY[streams]));
    COMMIT;
    before := pg_current_wal_insert_lsn();
    WHILE at < 400 LOOP
        PERFORM aurora.append_outputs(ids, attempts, array_fill(at + 1, ARRAY[streams]), array_fill(left(repeat('word ', batch), (batch * 4.5)::int), ARRAY[streams]),
                                      array_fill(batch, ARRAY[streams]));
        COMMIT;
        at := at + batch;
    END LOOP;
    bytes := (pg_current_wal_insert_lsn() - before) / (400.0 * streams);
    PERFORM aurora.finish_job(i.id, i.attempt) FROM unnest(ids, attempts) i (id, attempt);
    COMMIT;
END
$$;
