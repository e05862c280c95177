-- What every set begins with: a company with its people, and functions that time calls inside one backend.

CREATE SCHEMA bench;
GRANT USAGE ON SCHEMA bench TO PUBLIC;

SELECT aurora.add_company('Bench');
SELECT aurora.add_principal(owner, 'Bench', trust => 'manager', login_role => login_role)
    FROM (VALUES ('ann', 'ann'::name), ('bob', NULL), ('eve', NULL)) AS p (owner, login_role);

-- What looks random is a hash of a number (a "die"), so that each load gives the same items.
CREATE FUNCTION bench.die(n bigint, what int) RETURNS double precision
    LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT (hashint8extended(n, what) & 2147483647) / 2147483648.0::double precision
$$;

-- The time that the items lie around and that surfaces are asked for.
CREATE FUNCTION bench.at() RETURNS timestamptz
    LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT timestamptz '2026-03-02 09:00+00' $$;

-- Ann's weights and half-lives, each by up to 40 % more or less than its default. Written as
-- aurora.set_weight() would, without its checks and its log, which leave the processor's caches cold.
CREATE PROCEDURE bench.jitter_weights()
    LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    INSERT INTO aurora.weight_override AS o (company_id, owner, name, value)
        SELECT 1, 'ann', d.name, d.value * (0.6 + 0.8 * random()) FROM bench.default_weight d
        ON CONFLICT ON CONSTRAINT weight_override_key DO UPDATE SET value = excluded.value;
END
$$;

CREATE TABLE bench.default_weight AS
    SELECT name, value FROM aurora.builtin_weights()
    UNION ALL
    SELECT 'half_life.' || kind, extract(epoch FROM half_life)::float8 / 3600 FROM aurora.builtin_kinds();

CREATE PROCEDURE bench.keep_jittering()
    LANGUAGE plpgsql AS $$
BEGIN
    LOOP
        CALL bench.jitter_weights();
        COMMIT;
        PERFORM pg_sleep(0.05);
    END LOOP;
END
$$;

-- Lets 5 ms go by without letting the processor rest.
CREATE FUNCTION bench.spin() RETURNS void
    LANGUAGE plpgsql AS $$
DECLARE
    started timestamptz := clock_timestamp();
BEGIN
    WHILE clock_timestamp() < started + interval '5 ms' LOOP
    END LOOP;
END
$$;

-- Runs a query that many times and gives the milliseconds that each took, parsing and planning
-- included. The statement "before" runs before each, outside of the clock. Each call is a transaction
-- of its own, since an open one would keep old row versions alive.
CREATE PROCEDURE bench.time_calls(query text, calls int, before text, INOUT ms double precision[] DEFAULT '{}')
    LANGUAGE plpgsql AS $$
DECLARE
    started timestamptz;
BEGIN
    FOR i IN 0 .. calls LOOP
        IF before <> '' THEN
            EXECUTE before;
        END IF;
        COMMIT;
        started := clock_timestamp();
        EXECUTE query;
        ms := ms || extract(epoch FROM clock_timestamp() - started)::float8 * 1000;
    END LOOP;
END
$$;

-- The first call of a backend fills its caches, so it stands apart from the others. These are taken in rounds of
-- 200, of which the calmest counts: the one with the lowest p99. Other work on the machine disturbs the rest.
CREATE FUNCTION bench.summary(ms double precision[], OUT first numeric, OUT p50 numeric, OUT p99 numeric)
    LANGUAGE sql AS $$
    SELECT round(ms[1]::numeric, 3), round(percentile_cont(0.5) WITHIN GROUP (ORDER BY m)::numeric, 3),
           round(percentile_cont(0.99) WITHIN GROUP (ORDER BY m)::numeric, 3) AS high
    FROM unnest(ms[2:]) WITH ORDINALITY AS u (m, n)
    GROUP BY (n - 1) / 200 ORDER BY high LIMIT 1
$$;

-- Runs a statement that writes rows of a table; gives the bytes of WAL and the microseconds for each row, and the
-- share of updates that touched no index (HOT).
CREATE FUNCTION bench.time_writes(target regclass, statement text, OUT rows bigint, OUT wal numeric, OUT us numeric,
                                  OUT hot numeric)
    LANGUAGE plpgsql AS $$
DECLARE
    wal_before pg_lsn := pg_current_wal_insert_lsn();
    hot_before bigint := pg_stat_get_xact_tuples_hot_updated(target);
    updated_before bigint := pg_stat_get_xact_tuples_updated(target);
    started timestamptz := clock_timestamp();
BEGIN
    EXECUTE statement;
    us := extract(epoch FROM clock_timestamp() - started) * 1000000;
    GET DIAGNOSTICS rows = ROW_COUNT;
    us := us / rows;
    wal := (pg_current_wal_insert_lsn() - wal_before) / rows;
    hot := 100.0 * (pg_stat_get_xact_tuples_hot_updated(target) - hot_before)
           / nullif(pg_stat_get_xact_tuples_updated(target) - updated_before, 0);
END
$$;
