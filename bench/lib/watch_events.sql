-- Waits for events of the topic "bench" and reads them, and prints percentiles of how old they were when read, in ms.
SELECT set_config('bench.seconds', :'seconds', false), set_config('bench.seen', '', false) \g /dev/null
DO $$
DECLARE
    until timestamptz := clock_timestamp() + make_interval(secs => current_setting('bench.seconds')::int);
    last bigint := (SELECT last_seq FROM aurora.topics WHERE topic = 'bench');
    newest bigint;
    seen double precision[] := '{}';
    e record;
BEGIN
    WHILE clock_timestamp() < until LOOP
        CALL aurora.wait_events('bench', last, '1 second', NULL, 'Bench', newest);
        FOR e IN SELECT seq, at FROM aurora.events('bench', last, 100, NULL, 'Bench') LOOP
            seen := seen || 1000 * extract(epoch FROM clock_timestamp() - e.at)::double precision;
            last := e.seq;
        END LOOP;
    END LOOP;
    PERFORM set_config('bench.seen', seen::text, false);
END
$$;
SELECT round(p[1]::numeric, 2), round(p[2]::numeric, 2), round(p[3]::numeric, 2), n
FROM (SELECT percentile_cont(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY v) AS p, count(*) AS n
      FROM unnest(current_setting('bench.seen')::double precision[]) v) x;
