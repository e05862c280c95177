-- What the lead does by itself.

-- ---- duties of the lead ----

CREATE FUNCTION aurora.request_placement() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    of_company int := CASE WHEN TG_OP = 'DELETE' THEN OLD.company_id ELSE NEW.company_id END;
BEGIN
    -- Without items there is nothing to move; so restoring a dump asks for nothing either.
    IF NOT EXISTS (SELECT FROM aurora.item i WHERE i.company_id = of_company) THEN
        RETURN NULL;
    END IF;
    INSERT INTO aurora.placement_run AS r (company_id) VALUES (of_company)
        ON CONFLICT (company_id) DO UPDATE SET requested_at = clock_timestamp(), last_item_id = 0;
    IF NOT aurora.library_preloaded() THEN
        RAISE NOTICE 'items keep their places until CALL aurora.apply_settings()'
            USING HINT = 'With aurora in shared_preload_libraries a worker does it.';
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION aurora.request_placement() IS 'Trigger: settings that place items have changed; items are to be moved.';
CREATE TRIGGER request_placement AFTER UPDATE OF currency, big_threshold, sla_hours, revenue_unit ON aurora.company
    FOR EACH ROW WHEN ((OLD.currency, OLD.big_threshold, OLD.sla_hours, OLD.revenue_unit)
                       IS DISTINCT FROM (NEW.currency, NEW.big_threshold, NEW.sla_hours, NEW.revenue_unit))
    EXECUTE FUNCTION aurora.request_placement();
COMMENT ON TRIGGER request_placement ON aurora.company IS 'Has items moved.';
CREATE TRIGGER request_placement AFTER INSERT OR UPDATE OR DELETE ON aurora.currency_rate
    FOR EACH ROW EXECUTE FUNCTION aurora.request_placement();
COMMENT ON TRIGGER request_placement ON aurora.currency_rate IS 'Has items moved.';
CREATE TRIGGER request_placement AFTER INSERT OR UPDATE OR DELETE ON aurora.company_kind
    FOR EACH ROW EXECUTE FUNCTION aurora.request_placement();
COMMENT ON TRIGGER request_placement ON aurora.company_kind IS 'Has items moved.';
CREATE TRIGGER request_placement AFTER INSERT OR DELETE ON aurora.crowded_group
    FOR EACH ROW EXECUTE FUNCTION aurora.request_placement();
COMMENT ON TRIGGER request_placement ON aurora.crowded_group IS 'Has items moved.';

CREATE FUNCTION aurora.require_read_committed() RETURNS void
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
        RAISE active_sql_transaction USING
            MESSAGE = 'this duty must see what others have committed by now',
            HINT = 'Run it in a READ COMMITTED transaction.';
    END IF;
END
$$;
COMMENT ON FUNCTION aurora.require_read_committed() IS 'Raises 25001 in a transaction that keeps its first snapshot.';

CREATE FUNCTION aurora.require_positive(max_rows int) RETURNS void
    LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF max_rows IS NULL OR max_rows < 1 THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'at least one row must be asked for',
            HINT = 'Leave max_rows out for the default.';
    END IF;
END
$$;
COMMENT ON FUNCTION aurora.require_positive(int) IS 'Raises 22023 unless the number is 1 or more.';

CREATE FUNCTION aurora.apply_settings_batch(max_rows int DEFAULT 2000) RETURNS boolean
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '5s' AS $$
DECLARE
    run aurora.placement_run;
    seen timestamptz;
    last bigint;
BEGIN
    PERFORM aurora.require_lead();
    PERFORM aurora.require_read_committed();
    PERFORM aurora.require_positive(max_rows);
    SELECT r.* INTO run FROM aurora.placement_run r ORDER BY r.requested_at, r.company_id LIMIT 1;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    seen := run.requested_at;
    IF run.last_item_id = 0 THEN
        -- Those that began to write before the change may have placed items by the old settings.
        BEGIN
            PERFORM aurora.wait_for_item_writers();
        EXCEPTION WHEN lock_not_available THEN
            RETURN false;
        END;
    END IF;
    SELECT r.* INTO run FROM aurora.placement_run r WHERE r.company_id = run.company_id FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN false;
    ELSIF run.requested_at <> seen THEN
        RETURN true;
    END IF;
    SELECT max(b.item_id) INTO last FROM (
        SELECT i.item_id FROM aurora.item i WHERE i.company_id = run.company_id AND i.item_id > run.last_item_id
        ORDER BY i.item_id LIMIT max_rows) b;
    IF last IS NULL THEN
        DELETE FROM aurora.placement_run r WHERE r.company_id = run.company_id;
        RETURN EXISTS (SELECT FROM aurora.placement_run);
    END IF;
    BEGIN
        UPDATE aurora.item i SET cell = i.cell
            WHERE i.company_id = run.company_id AND i.item_id > run.last_item_id AND i.item_id <= last
              AND i.state = 'open' AND aurora.item_is_misplaced(i);
    EXCEPTION WHEN data_exception OR integrity_constraint_violation THEN
        -- One company's trouble must not hold up the others: its turn comes again after theirs.
        RAISE WARNING 'the settings of company % cannot be applied: %', run.company_id, SQLERRM;
        UPDATE aurora.placement_run r SET requested_at = clock_timestamp() WHERE r.company_id = run.company_id;
        RETURN false;
    END;
    UPDATE aurora.placement_run r SET last_item_id = last WHERE r.company_id = run.company_id;
    RETURN true;
END
$$;
COMMENT ON FUNCTION aurora.apply_settings_batch(int) IS
    'Moves the next items to the cells that changed settings give, looking at max_rows of them; true when there is more to do at once. False, too, when transactions that were writing items before the change do not end within 5 seconds: it is tried again later. For READ COMMITTED transactions.';

CREATE PROCEDURE aurora.apply_settings(max_rows int DEFAULT 2000)
    LANGUAGE plpgsql AS $$
BEGIN
    WHILE aurora.apply_settings_batch(max_rows) LOOP
        COMMIT;
    END LOOP;
    IF EXISTS (SELECT FROM aurora.placement_run) THEN
        RAISE WARNING 'not all settings could be applied yet'
            USING HINT = 'A transaction that writes items is in the way, or a warning above says what is. Try again.';
    END IF;
END
$$;
COMMENT ON PROCEDURE aurora.apply_settings(int) IS
    'Moves all items to the cells that changed settings give, in transactions of max_rows items. The worker does the same by itself.';

CREATE FUNCTION aurora.wake_snoozed(max_rows int DEFAULT 2000) RETURNS bigint
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    woken bigint;
BEGIN
    PERFORM aurora.require_lead();
    PERFORM aurora.require_positive(max_rows);
    WITH due AS (
        SELECT i.company_id, i.item_id
        FROM aurora.principal p CROSS JOIN generate_series(0, 2) l
        CROSS JOIN LATERAL (
            SELECT n.company_id, n.item_id FROM aurora.item n
            WHERE n.scope = p.principal_no * 4 + l AND n.snooze_until <= now()
              AND n.state = 'open' AND n.open_blockers = 0 AND n.snooze_until IS NOT NULL
            ORDER BY n.snooze_until LIMIT max_rows) i
        LIMIT max_rows
    )
    UPDATE aurora.item i SET snooze_until = NULL FROM due d
        WHERE i.company_id = d.company_id AND i.item_id = d.item_id AND i.snooze_until <= now();
    GET DIAGNOSTICS woken = ROW_COUNT;
    RETURN woken;
END
$$;
COMMENT ON FUNCTION aurora.wake_snoozed(int) IS
    'Ends the snooze of items whose time has come, at most max_rows, so that they are read by cell again. They are on the surface before, too.';

CREATE FUNCTION aurora.sample_surface(at timestamptz DEFAULT now()) RETURNS bigint
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    p record;
    sampled bigint := 0;
    rows bigint;
BEGIN
    PERFORM aurora.require_lead();
    DELETE FROM aurora.item_surfaced f
        WHERE NOT EXISTS (SELECT FROM aurora.item i WHERE i.company_id = f.company_id AND i.item_id = f.item_id);
    FOR p IN SELECT n.company_id, n.owner FROM aurora.principal n
             WHERE EXISTS (SELECT FROM aurora.item_cell c WHERE c.scope = n.principal_no * 4)
             ORDER BY n.company_id, n.owner LOOP
        BEGIN
            INSERT INTO aurora.item_surfaced AS f (company_id, item_id, first_at, last_at, best_rank)
                SELECT p.company_id, s.item_id, sample_surface.at, sample_surface.at, s.rank
                FROM aurora.owner_surface(p.company_id, p.owner, 10, sample_surface.at) s
                ON CONFLICT (company_id, item_id) DO UPDATE SET
                    first_at = least(f.first_at, excluded.first_at), last_at = greatest(f.last_at, excluded.last_at),
                    best_rank = least(f.best_rank, excluded.best_rank), samples = f.samples + 1;
            GET DIAGNOSTICS rows = ROW_COUNT;
            sampled := sampled + rows;
        EXCEPTION WHEN OTHERS THEN
            RAISE WARNING 'the surface of "%" cannot be sampled: %', p.owner, SQLERRM;
        END;
    END LOOP;
    RETURN sampled;
END
$$;
COMMENT ON FUNCTION aurora.sample_surface(timestamptz) IS
    'Notes which items are among each owner''s ten; priority_stats() tells from it what the surface influenced. For administrators and the worker.';

CREATE FUNCTION aurora.observe_phases(at timestamptz DEFAULT now()) RETURNS bigint
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    changed bigint;
BEGIN
    PERFORM aurora.require_lead();
    DELETE FROM aurora.item_phase p
        WHERE NOT EXISTS (SELECT FROM aurora.item i
                          WHERE i.company_id = p.company_id AND i.item_id = p.item_id AND i.state IN ('open', 'archived'));
    INSERT INTO aurora.item_phase AS p (company_id, item_id, important, urgent, quadrant, since)
        SELECT n.company_id, n.item_id, n.important, n.urgent, n.quadrant,
               CASE WHEN n.was IS NULL THEN least(n.placed_at, at) WHEN n.was = n.quadrant
                    THEN greatest(n.since, least(n.placed_at, at)) ELSE at END
        FROM (
            SELECT b.*, CASE WHEN b.important THEN CASE WHEN b.urgent THEN 'Q1_DO_NOW' ELSE 'Q2_SCHEDULE' END
                        ELSE CASE WHEN b.urgent THEN 'Q3_DELEGATE' ELSE 'Q4_ELIMINATE' END
                        END::aurora.item_quadrant AS quadrant
            FROM (
                SELECT i.company_id, i.item_id, i.placed_at, o.quadrant AS was, o.since, o.important AS was_important,
                       o.urgent AS was_urgent,
                       s.important OR coalesce(o.important, false)
                           AND s.static_points >= 0.9 * c.important_points AS important,
                       s.urgent OR coalesce(o.urgent, false) AND s.urgency >= 0.30 AS urgent
                FROM aurora.item i JOIN aurora.company c USING (company_id)
                CROSS JOIN LATERAL aurora.item_score(i.company_id, i.owner, i.cell, i.act_by, at) s
                LEFT JOIN aurora.item_phase o ON o.company_id = i.company_id AND o.item_id = i.item_id
                WHERE i.state = 'open') b) n
        WHERE n.was IS NULL OR n.was <> n.quadrant OR n.since < least(n.placed_at, at)
           OR (n.was_important, n.was_urgent) IS DISTINCT FROM (n.important, n.urgent)
        ON CONFLICT (company_id, item_id) DO UPDATE SET
            important = excluded.important, urgent = excluded.urgent, quadrant = excluded.quadrant,
            since = excluded.since;
    GET DIAGNOSTICS changed = ROW_COUNT;
    RETURN changed;
END
$$;
COMMENT ON FUNCTION aurora.observe_phases(timestamptz) IS
    'Brings item_phase up to a time and returns how many rows changed. An edit that moves an item to another cell or deadline counts as a break.';

CREATE FUNCTION aurora.archive_q4(at timestamptz DEFAULT now()) RETURNS bigint
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    archived bigint;
BEGIN
    PERFORM aurora.observe_phases(at);
    WITH stale AS (
        SELECT i.company_id, i.item_id
        FROM aurora.item_phase p JOIN aurora.item i USING (company_id, item_id)
        CROSS JOIN LATERAL aurora.cell_features(i.cell) f
        JOIN aurora.kinds k ON k.company_id = i.company_id AND k.kind_no = f.kind_no
        WHERE p.quadrant = 'Q4_ELIMINATE' AND p.since <= at - interval '48 hours'
          AND i.state = 'open' AND i.level = 'human' AND i.open_blockers = 0 AND i.blocking = 0
          AND i.snooze_until IS NULL AND (i.due_at IS NULL OR i.due_at < at)
          AND NOT f.big AND NOT f.vip AND k.base <> 'incident'
        ORDER BY i.company_id, i.item_id FOR NO KEY UPDATE OF i SKIP LOCKED
    ), before AS (
        SELECT i.* FROM aurora.item i JOIN stale USING (company_id, item_id)
    ), after AS (
        UPDATE aurora.item i SET state = 'archived', state_by = 'aurora', state_at = at FROM stale s
        WHERE i.company_id = s.company_id AND i.item_id = s.item_id RETURNING i.*
    )
    INSERT INTO aurora.item_history (company_id, item_id, owner, action, acted_at, acted_by, "from", "to")
        SELECT a.company_id, a.item_id, a.owner, 'archive', at, 'aurora', aurora.item_marks(b),
               jsonb_set(aurora.item_marks(b), '{state}', '"archived"')
        FROM after a JOIN before b USING (company_id, item_id);
    GET DIAGNOSTICS archived = ROW_COUNT;
    RETURN archived;
END
$$;
COMMENT ON FUNCTION aurora.archive_q4(timestamptz) IS
    'Archives human items that have been in Q4 for 48 hours without a break, and returns how many. Never big, VIP, incident, blocking, blocked or snoozed ones, nor those with a due time still to come. restore() brings one back for 30 days.';

CREATE FUNCTION aurora.lock_cells() RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '200ms' AS $$
BEGIN
    PERFORM aurora.require_lead();
    PERFORM aurora.require_read_committed();
    FOR try IN 1..50 LOOP
        BEGIN
            LOCK TABLE aurora.item_cell IN SHARE ROW EXCLUSIVE MODE;
            RETURN;
        EXCEPTION WHEN lock_not_available THEN
            PERFORM pg_sleep(0.1 * random());
        END;
    END LOOP;
    RAISE lock_not_available USING
        MESSAGE = 'cells cannot be swept while items are being written',
        HINT = 'A long transaction writes items; the next run tries again.';
END
$$;
COMMENT ON FUNCTION aurora.lock_cells() IS
    'Locks out writers of items until the transaction ends. Waits in short tries, so that no writer waits long for it. Errors: 55P03 after some ten seconds, 25001 not READ COMMITTED.';

CREATE FUNCTION aurora.sweep_cells() RETURNS bigint
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    swept bigint;
BEGIN
    PERFORM aurora.lock_cells();
    DELETE FROM aurora.item_cell c
        WHERE NOT EXISTS (
                SELECT FROM aurora.item i
                WHERE i.scope = c.scope AND i.cell = c.cell
                  AND i.state = 'open' AND i.open_blockers = 0 AND i.snooze_until IS NULL)
           OR EXISTS (
                SELECT FROM aurora.item_cell d WHERE d.scope = c.scope AND d.cell = c.cell AND d.ctid < c.ctid);
    GET DIAGNOSTICS swept = ROW_COUNT;
    RETURN swept;
END
$$;
COMMENT ON FUNCTION aurora.sweep_cells() IS
    'Removes cells that hold no open item, and doubles, and returns how many. Needs a moment without writers: see lock_cells().';

CREATE FUNCTION aurora.set_groups_apart(min_items int DEFAULT 256) RETURNS bigint
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    wanting aurora.crowded_group[];  -- slot: the place by size among those of the owner
    added bigint;
BEGIN
    PERFORM aurora.require_lead();
    PERFORM aurora.require_read_committed();
    wanting := ARRAY(
        SELECT (c.company_id, c.owner, c.group_key,
                least(row_number() OVER (PARTITION BY c.company_id, c.owner ORDER BY c.items DESC, c.group_key), 16)
               )::aurora.crowded_group
        FROM (SELECT i.company_id, i.owner, i.group_key, count(*) AS items
              FROM aurora.item i WHERE i.state = 'open' AND i.group_key IS NOT NULL
              GROUP BY i.company_id, i.owner, i.group_key HAVING count(*) >= min_items) c
        WHERE NOT EXISTS (SELECT FROM aurora.crowded_group s
                          WHERE s.company_id = c.company_id AND s.owner = c.owner AND s.group_key = c.group_key));
    -- A slot is free again when no cell carries it and nobody is about to fill one.
    PERFORM aurora.lock_cells();
    DELETE FROM aurora.crowded_group s
        WHERE NOT EXISTS (
            SELECT FROM aurora.principal p
            CROSS JOIN generate_series(0, 2) l
            JOIN aurora.item_cell c ON c.scope = p.principal_no * 4 + l
            CROSS JOIN LATERAL aurora.cell_features(c.cell) f
            WHERE p.company_id = s.company_id AND p.owner = s.owner AND f.slot = s.slot)
          AND NOT EXISTS (SELECT FROM aurora.placement_run r WHERE r.company_id = s.company_id);
    WITH free AS (
        SELECT p.company_id, p.owner, n.slot,
               row_number() OVER (PARTITION BY p.company_id, p.owner ORDER BY n.slot) AS place
        FROM (SELECT DISTINCT w.company_id, w.owner FROM unnest(wanting) w) p
        CROSS JOIN generate_series(1, 15) n (slot)
        WHERE NOT EXISTS (SELECT FROM aurora.crowded_group s
                          WHERE s.company_id = p.company_id AND s.owner = p.owner AND s.slot = n.slot)
    )
    INSERT INTO aurora.crowded_group (company_id, owner, group_key, slot)
        SELECT w.company_id, w.owner, w.group_key, f.slot
        FROM unnest(wanting) w
        JOIN free f ON f.company_id = w.company_id AND f.owner = w.owner AND f.place = w.slot;
    GET DIAGNOSTICS added = ROW_COUNT;
    RETURN added;
END
$$;
COMMENT ON FUNCTION aurora.set_groups_apart(int) IS
    'Gives the largest group keys of each owner, of min_items open items or more and 15 at most, cells of their own, and returns how many. Reading then passes over all but their best item at once. Frees the numbers of those that are gone.';

-- ---- chance to win ----

CREATE FUNCTION aurora.learn_win_chances(at timestamptz DEFAULT now(), company text DEFAULT NULL) RETURNS bigint
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    learned bigint;
    only_id int;
BEGIN
    PERFORM aurora.require_lead();
    only_id := CASE WHEN company IS NOT NULL THEN aurora.company_for(company) END;
    DELETE FROM aurora.win_chance w WHERE only_id IS NULL OR w.company_id = only_id;
    WITH deal AS (
        SELECT i.company_id, i.kind, i.received_at AS opened_at, i.outcome = 'won' AS won,
               CASE WHEN i.outcome IS NOT NULL AND i.state_at <= at THEN i.state_at END AS closed_at
        FROM aurora.item i JOIN aurora.kinds k ON k.company_id = i.company_id AND k.kind = i.kind
        WHERE k.base = 'deal' AND i.received_at < at AND (only_id IS NULL OR i.company_id = only_id)
    ), record AS (
        SELECT d.company_id, d.kind, min(d.closed_at) AS start FROM deal d GROUP BY d.company_id, d.kind
    ), seen AS (
        SELECT d.company_id, d.kind, least(floor(extract(epoch FROM t.t - d.opened_at) / 604800), 20)::int AS age_weeks,
               (d.won AND d.closed_at <= t.t + interval '336 hours') IS TRUE AS won
        FROM deal d JOIN record r USING (company_id, kind)
        CROSS JOIN LATERAL generate_series(at - interval '360 hours', r.start, interval '-168 hours') t (t)
        WHERE d.opened_at <= t.t AND (d.closed_at IS NULL OR d.closed_at > t.t)
          AND (d.closed_at IS NOT NULL OR t.t - d.opened_at >= interval '3360 hours')
    ), mean AS (
        SELECT s.company_id, s.kind, avg(s.won::int)::float8 AS chance FROM seen s GROUP BY s.company_id, s.kind
    ), counted AS (
        SELECT s.company_id, s.kind, s.age_weeks, count(*) AS at_risk, count(*) FILTER (WHERE s.won) AS won
        FROM seen s GROUP BY s.company_id, s.kind, s.age_weeks
    )
    INSERT INTO aurora.win_chance (company_id, kind, age_weeks, chance, at_risk, learned_at)
        SELECT m.company_id, m.kind, w, (coalesce(c.won, 0) + 20 * m.chance) / (coalesce(c.at_risk, 0) + 20),
               coalesce(c.at_risk, 0), at
        FROM mean m CROSS JOIN generate_series(0, 20) w
        LEFT JOIN counted c ON c.company_id = m.company_id AND c.kind = m.kind AND c.age_weeks = w;
    GET DIAGNOSTICS learned = ROW_COUNT;
    RETURN learned;
END
$$;
COMMENT ON FUNCTION aurora.learn_win_chances(timestamptz, text) IS
    'Learns from a company''s deals (all companies when null), as known at a time, the chance that a deal of a given age in weeks is won within 14 days, among deals that end; and returns how many rows. docs/priority.md has the definition.';

CREATE FUNCTION aurora.apply_win_chances(at timestamptz DEFAULT now(), company text DEFAULT NULL) RETURNS bigint
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    changed bigint;
    only_id int;
BEGIN
    PERFORM aurora.require_lead();
    only_id := CASE WHEN company IS NOT NULL THEN aurora.company_for(company) END;
    UPDATE aurora.item i SET win_chance = w.chance
        FROM aurora.win_chance w
        WHERE w.company_id = i.company_id AND w.kind = i.kind AND i.state = 'open'
          AND (only_id IS NULL OR i.company_id = only_id)
          AND w.age_weeks = greatest(least(floor(extract(epoch FROM at - i.received_at) / 604800), 20), 0)
          AND i.win_chance IS DISTINCT FROM w.chance;
    GET DIAGNOSTICS changed = ROW_COUNT;
    RETURN changed;
END
$$;
COMMENT ON FUNCTION aurora.apply_win_chances(timestamptz, text) IS
    'Gives open deals the learned chance of their age, and returns how many changed.';

CREATE FUNCTION aurora.refresh_win_chances() RETURNS bigint
    LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT aurora.learn_win_chances();
    SELECT aurora.apply_win_chances();
$$;
COMMENT ON FUNCTION aurora.refresh_win_chances() IS 'Learns the chances of deals anew and applies them; returns how many deals changed.';

-- ---- duties, by the clock ----

CREATE FUNCTION aurora.duty_definitions(OUT duty text, OUT runs_by text, OUT schedule text, OUT call text, OUT what text)
    RETURNS SETOF record
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    VALUES ('apply_settings', 'worker', 'every 5 seconds', 'apply_settings_batch', 'moves items to the cells that changed settings give'),
           ('wake_snoozed', 'worker', 'every minute', 'wake_snoozed', 'ends the snooze of items whose time has come'),
           ('sample_surface', 'worker', 'every 5 minutes', 'sample_surface', 'notes which items are on the surfaces'),
           ('forget_transitions', 'worker', 'every hour', 'forget_transitions', 'deletes history of nodes and services'),
           ('rotate_secrets', 'worker', 'every 5 seconds', 'rotate_secrets_batch', 'encrypts secrets anew when their keys are rotated'),
           ('forget_secret_audit', 'worker', 'every hour', 'forget_secret_audit', 'deletes old records of accesses to secrets'),
           ('rotate_job_archive', 'worker', 'every hour', 'rotate_job_archive', 'forgets jobs that ended long ago'),
           ('rotate_generation_output', 'worker', 'every hour', 'rotate_generation_output', 'forgets the pieces of streamed text'),
           ('trim_events', 'worker', 'every minute', 'trim_events', 'removes events that are no longer kept'),
           ('trim_sessions', 'worker', 'every minute', 'trim_sessions', 'renews the key that signs sessions, and forgets what has ended'),
           ('trim_webhooks', 'worker', 'every hour', 'trim_webhooks', 'forgets old webhooks'),
           ('archive_q4', 'pg_cron', '7 * * * *', 'archive_q4', 'archives what has been in Q4 for 48 hours'),
           ('sweep_cells', 'pg_cron', '23 3 * * *', 'sweep_cells', 'removes emptied cells'),
           ('set_groups_apart', 'pg_cron', '29 3 * * *', 'set_groups_apart', 'gives crowded groups cells of their own'),
           ('refresh_win_chances', 'pg_cron', '37 3 * * *', 'refresh_win_chances', 'learns the chances of deals')
$$;
COMMENT ON FUNCTION aurora.duty_definitions() IS 'The duties of the lead and the functions that do them.';

CREATE FUNCTION aurora.run_duty(duty text) RETURNS bigint
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    definition record;
    result text;
    failure text;
    started timestamptz := clock_timestamp();
BEGIN
    PERFORM aurora.require_lead();
    SELECT * INTO definition FROM aurora.duty_definitions() d WHERE d.duty = run_duty.duty;
    IF NOT FOUND THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('there is no duty "%s"', duty),
            HINT = 'Duties: ' || (SELECT string_agg(d.duty, ', ') FROM aurora.duty_definitions() d) || '.';
    END IF;
    BEGIN
        EXECUTE format('SELECT aurora.%I()', definition.call) INTO result;
    EXCEPTION WHEN OTHERS THEN
        failure := SQLERRM;
        RAISE WARNING 'duty "%" failed: %', duty, failure;
    END;
    result := CASE result WHEN 'true' THEN '1' WHEN 't' THEN '1' WHEN 'false' THEN '0' WHEN 'f' THEN '0' ELSE result END;
    INSERT INTO aurora.duty_run AS r (duty, started_at, finished_at, rows, error)
        VALUES (duty, started, clock_timestamp(), result::bigint, failure)
        ON CONFLICT ON CONSTRAINT duty_run_pkey DO UPDATE SET
            started_at = excluded.started_at, finished_at = excluded.finished_at, rows = excluded.rows,
            error = excluded.error;
    RETURN result::bigint;
END
$$;
COMMENT ON FUNCTION aurora.run_duty(text) IS
    'Does a duty now and notes the run; returns how many rows it changed, or null with a warning when it failed. Errors: 22023 no such duty, 25006 on a standby.';

CREATE FUNCTION aurora.scheduled_duties() RETURNS SETOF text
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF to_regclass('cron.job') IS NOT NULL THEN
        RETURN QUERY EXECUTE
            'SELECT substr(jobname, 8) FROM cron.job WHERE jobname LIKE ''aurora %'' AND active
             AND database = current_database()';
    END IF;
END
$$;
COMMENT ON FUNCTION aurora.scheduled_duties() IS 'The duties that pg_cron has in its table.';

CREATE FUNCTION aurora.schedule_duties() RETURNS SETOF text
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    definition record;
BEGIN
    PERFORM aurora.require_lead();
    IF to_regclass('cron.job') IS NULL THEN
        RAISE undefined_object USING
            MESSAGE = 'pg_cron is not in this database',
            HINT = 'Install it, set cron.database_name to this database and run CREATE EXTENSION pg_cron; or call aurora.run_duty() by hand.';
    END IF;
    FOR definition IN SELECT * FROM aurora.duty_definitions() d WHERE d.runs_by = 'pg_cron' LOOP
        EXECUTE 'SELECT cron.schedule($1, $2, $3)'
            USING 'aurora ' || definition.duty, definition.schedule, format('SELECT aurora.run_duty(%L)', definition.duty);
        RETURN NEXT definition.duty;
    END LOOP;
END
$$;
COMMENT ON FUNCTION aurora.schedule_duties() IS
    'Has pg_cron run the duties that go by the clock, and returns their names; again changes nothing. Errors: 42704 without pg_cron.';

CREATE VIEW aurora.duties AS
    SELECT d.duty, d.what, d.runs_by, d.schedule,
           CASE d.runs_by WHEN 'worker' THEN aurora.library_preloaded()
                ELSE d.duty IN (SELECT aurora.scheduled_duties()) END AS scheduled,
           r.started_at AS last_started_at, r.finished_at AS last_finished_at, r.rows AS last_rows, r.error AS last_error
    FROM aurora.duty_definitions() d LEFT JOIN aurora.duty_run r USING (duty);
COMMENT ON VIEW aurora.duties IS 'What the lead does by itself: by whom, when, and how the last run went. aurora.run_duty() does one by hand.';
COMMENT ON COLUMN aurora.duties.duty IS 'Name of the duty.';
COMMENT ON COLUMN aurora.duties.what IS 'What it does.';
COMMENT ON COLUMN aurora.duties.runs_by IS 'worker: aurora''s background worker; pg_cron: by the clock.';
COMMENT ON COLUMN aurora.duties.schedule IS 'When: in words for the worker, in cron''s notation for pg_cron.';
COMMENT ON COLUMN aurora.duties.scheduled IS 'Will it run by itself; if not, aurora.schedule_duties() or shared_preload_libraries is missing.';
COMMENT ON COLUMN aurora.duties.last_started_at IS 'Start of the last run.';
COMMENT ON COLUMN aurora.duties.last_finished_at IS 'End of the last run.';
COMMENT ON COLUMN aurora.duties.last_rows IS 'Rows that it changed.';
COMMENT ON COLUMN aurora.duties.last_error IS 'Why it failed, if it did.';
