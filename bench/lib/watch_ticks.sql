-- Looks for new ticks without rest, and prints percentiles of how old they were when first seen, in ms.
SELECT set_config('bench.seconds', :'seconds', false) \g /dev/null
DO $$
DECLARE
    until timestamptz := clock_timestamp() + make_interval(secs => current_setting('bench.seconds')::int);
    last bigint := (SELECT coalesce(max(id), 0) FROM tick);
    seen double precision[] := '{}';
    t record;
BEGIN
    WHILE clock_timestamp() < until LOOP
        FOR t IN SELECT id, at FROM tick WHERE id > last ORDER BY id LOOP
            seen := seen || 1000 * extract(epoch FROM clock_timestamp() - t.at)::double precision;
            last := t.id;
        END LOOP;
        PERFORM pg_sleep(0.0003);
    END LOOP;
    PERFORM set_config('bench.seen', seen::text, false);
END
$$;
SELECT round(p[1]::numeric, 2), round(p[2]::numeric, 2), round(p[3]::numeric, 2)
FROM (SELECT percentile_cont(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY v) AS p
      FROM unnest(current_setting('bench.seen')::double precision[]) v) x;
