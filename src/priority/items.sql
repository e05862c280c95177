-- Adding items and acting on them.

-- ---- adding items ----

CREATE FUNCTION aurora.add_person(email text, name text DEFAULT NULL, vip boolean DEFAULT NULL,
                                  importance int DEFAULT NULL, company text DEFAULT NULL) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    id int;
BEGIN
    PERFORM aurora.require_lead();
    id := aurora.company_for(company);
    IF (vip IS NOT NULL OR importance IS NOT NULL) AND NOT aurora.may_see(id, '') THEN
        RAISE insufficient_privilege USING
            MESSAGE = 'permission denied to change who matters to the company',
            HINT = 'Managers may: it moves the items of all owners.';
    END IF;
    INSERT INTO aurora.person AS p (company_id, email, name, vip, importance)
        VALUES (id, lower(email), name, coalesce(vip, false), coalesce(importance, 0))
        ON CONFLICT ON CONSTRAINT person_pkey DO UPDATE
            SET name = coalesce(excluded.name, p.name), vip = coalesce(add_person.vip, p.vip),
                importance = coalesce(add_person.importance, p.importance);
    IF vip IS NOT NULL THEN
        UPDATE aurora.item i SET vip = add_person.vip
            WHERE i.company_id = id AND i.sender = lower(add_person.email) AND i.state = 'open'
              AND i.vip <> add_person.vip;
    END IF;
END
$$;
COMMENT ON FUNCTION aurora.add_person(text, text, boolean, int, text) IS
    'Adds a person that the company hears from, or changes one; what is left null stays. Making it a VIP, or no longer one, moves its open items too. Importance, -2 to 2, is the boost of later items from it that bring none. VIP and importance are for managers.';

CREATE FUNCTION aurora.add_item(title text, kind text DEFAULT NULL, owner text DEFAULT NULL, company text DEFAULT NULL,
                                level text DEFAULT NULL, provider text DEFAULT NULL, external_id text DEFAULT NULL,
                                url text DEFAULT NULL, sender text DEFAULT NULL, amount numeric DEFAULT NULL,
                                currency text DEFAULT NULL, win_chance double precision DEFAULT NULL,
                                due_at timestamptz DEFAULT NULL, received_at timestamptz DEFAULT NULL,
                                last_activity_at timestamptz DEFAULT NULL, vip boolean DEFAULT NULL,
                                risk int DEFAULT NULL, boost int DEFAULT NULL, severity int DEFAULT NULL,
                                group_key text DEFAULT NULL, details jsonb DEFAULT NULL) RETURNS bigint
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    id int;
    for_owner text;
    levels text[] := enum_range(NULL::aurora.item_level)::text[];
    result bigint;
BEGIN
    PERFORM aurora.require_lead();
    id := aurora.company_for(company);
    IF owner IS NULL AND external_id IS NOT NULL THEN
        SELECT i.owner INTO for_owner FROM aurora.item i
            WHERE i.company_id = id AND i.provider = add_item.provider AND i.external_id = add_item.external_id;
    END IF;
    for_owner := coalesce(for_owner, aurora.owner_for(id, owner));
    IF level <> ALL (levels) THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('there is no level "%s"', level),
            HINT = 'Levels: ' || array_to_string(levels, ', ') || '.';
    END IF;
    INSERT INTO aurora.item AS i (company_id, owner, level, kind, title, provider, external_id, url, sender, amount,
                                  currency, win_chance, due_at, received_at, last_activity_at, vip, risk, boost,
                                  severity, group_key, details)
        VALUES (id, for_owner, coalesce(level, 'human')::aurora.item_level, coalesce(kind, 'task'), title, provider,
                external_id, url, lower(sender), amount, currency, win_chance, due_at, coalesce(received_at, now()),
                last_activity_at, vip, coalesce(risk, 0), boost, severity, group_key, coalesce(details, '{}'))
        ON CONFLICT (company_id, provider, external_id) WHERE external_id IS NOT NULL DO UPDATE SET
            owner = CASE WHEN add_item.owner IS NULL THEN i.owner ELSE excluded.owner END,
            level = coalesce(add_item.level::aurora.item_level, i.level),
            kind = coalesce(add_item.kind, i.kind),
            title = excluded.title,
            url = coalesce(excluded.url, i.url),
            sender = coalesce(excluded.sender, i.sender),
            amount = coalesce(excluded.amount, i.amount),
            currency = coalesce(add_item.currency, i.currency),
            win_chance = coalesce(excluded.win_chance, i.win_chance),
            due_at = coalesce(excluded.due_at, i.due_at),
            received_at = coalesce(add_item.received_at, i.received_at),
            last_activity_at = coalesce(excluded.last_activity_at, i.last_activity_at),
            vip = CASE WHEN add_item.vip IS NULL AND coalesce(excluded.sender, i.sender) IS NOT DISTINCT FROM i.sender
                       THEN i.vip ELSE excluded.vip END,
            risk = coalesce(add_item.risk, i.risk),
            boost = CASE WHEN add_item.boost IS NULL AND coalesce(excluded.sender, i.sender) IS NOT DISTINCT FROM i.sender
                         THEN i.boost ELSE excluded.boost END,
            severity = coalesce(excluded.severity, i.severity),
            group_key = coalesce(excluded.group_key, i.group_key),
            details = i.details || excluded.details
            WHERE aurora.may_see(i.company_id, i.owner)
        RETURNING i.item_id INTO result;
    IF result IS NULL THEN
        RAISE insufficient_privilege USING
            MESSAGE = format('permission denied to change the item %s of %s', external_id, provider),
            HINT = 'It is another owner''s.';
    END IF;
    RETURN result;
END
$$;
COMMENT ON FUNCTION aurora.add_item(text, text, text, text, text, text, text, text, text, numeric, text, double precision,
                                    timestamptz, timestamptz, timestamptz, boolean, int, int, int, text, jsonb) IS
    'Adds an item (kind task, level human, the caller''s own unless said otherwise) and returns its id. With provider and external_id a repeat changes the same item; what is left null stays, details are merged. Errors: 22023 unknown kind, level, owner, company or a currency without a rate; 42501 another''s item.';

-- ---- acting on items ----

CREATE FUNCTION aurora.actor(company_id int) RETURNS text
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce((SELECT w.owner FROM aurora.whoami() w WHERE w.company_id = $1), aurora.caller()::text)
$$;
COMMENT ON FUNCTION aurora.actor(int) IS 'The caller''s name in the history of a company.';

CREATE FUNCTION aurora.lock_item(item_id bigint) RETURNS aurora.item
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    result aurora.item;
BEGIN
    PERFORM aurora.require_lead();
    SELECT i.* INTO result FROM aurora.item i
        WHERE i.company_id = ANY (aurora.company_ids()) AND i.item_id = lock_item.item_id
          AND aurora.may_see(i.company_id, i.owner)
        FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE no_data_found USING
            MESSAGE = format('there is no item %s that the caller may see', item_id),
            HINT = 'aurora.items lists them.';
    END IF;
    RETURN result;
END
$$;
COMMENT ON FUNCTION aurora.lock_item(bigint) IS 'Finds an item that the caller may act on and locks it. Errors: P0002 none, 25006 on a standby.';

CREATE FUNCTION aurora.item_marks(item aurora.item) RETURNS jsonb
    LANGUAGE sql IMMUTABLE AS $$
    SELECT jsonb_build_object('state', ($1).state, 'owner', ($1).owner, 'level', ($1).level, 'outcome', ($1).outcome,
                              'snooze_until', ($1).snooze_until AT TIME ZONE 'UTC', 'delegated_to', ($1).delegated_to)
$$;
COMMENT ON FUNCTION aurora.item_marks(aurora.item) IS 'What actions change of an item, as history keeps it. Times are in UTC.';

CREATE FUNCTION aurora.change_item(before aurora.item, after aurora.item, action text) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    who text := aurora.actor(before.company_id);
BEGIN
    UPDATE aurora.item i SET owner = after.owner, level = after.level, state = after.state, outcome = after.outcome,
                             snooze_until = after.snooze_until, delegated_to = after.delegated_to,
                             state_by = CASE WHEN after.state <> before.state THEN who ELSE i.state_by END
        WHERE i.company_id = before.company_id AND i.item_id = before.item_id;
    INSERT INTO aurora.item_history (company_id, item_id, owner, action, acted_by, "from", "to")
        VALUES (before.company_id, before.item_id, before.owner, action, who, aurora.item_marks(before),
                aurora.item_marks(after));
END
$$;
COMMENT ON FUNCTION aurora.change_item(aurora.item, aurora.item, text) IS
    'Writes an action''s changes and its history; the verbs check first.';

CREATE FUNCTION aurora.require_state(item aurora.item, VARIADIC allowed aurora.item_state[]) RETURNS void
    LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    IF item.state <> ALL (allowed) THEN
        RAISE object_not_in_prerequisite_state USING
            MESSAGE = format('item %s is %s', item.item_id, item.state),
            HINT = CASE WHEN item.state = 'open' THEN 'This is for items that are '
                        || array_to_string(allowed, ', ') || '.'
                        ELSE 'aurora.restore() opens it again.' END;
    END IF;
END
$$;
COMMENT ON FUNCTION aurora.require_state(aurora.item, aurora.item_state[]) IS 'Raises 55000 unless the item is in one of the states.';

CREATE FUNCTION aurora.complete(item_id bigint, outcome text DEFAULT NULL) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    before aurora.item := aurora.lock_item(item_id);
    after aurora.item := before;
BEGIN
    PERFORM aurora.require_state(before, 'open', 'delegated');
    IF outcome <> ALL (enum_range(NULL::aurora.item_outcome)::text[]) THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('there is no outcome "%s"', outcome),
            HINT = 'A deal is won or lost.';
    END IF;
    after.state := 'done';
    after.outcome := outcome;
    PERFORM aurora.change_item(before, after, 'complete');
END
$$;
COMMENT ON FUNCTION aurora.complete(bigint, text) IS
    'The item is done; a deal may say whether it was won or lost. Errors: P0002 no such item, 55000 not open.';

CREATE FUNCTION aurora.dismiss(item_id bigint) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    before aurora.item := aurora.lock_item(item_id);
    after aurora.item := before;
BEGIN
    PERFORM aurora.require_state(before, 'open', 'delegated');
    after.state := 'dismissed';
    PERFORM aurora.change_item(before, after, 'dismiss');
END
$$;
COMMENT ON FUNCTION aurora.dismiss(bigint) IS 'The item will not be done. Errors: P0002 no such item, 55000 not open.';

CREATE FUNCTION aurora.snooze(item_id bigint, until timestamptz) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    before aurora.item := aurora.lock_item(item_id);
    after aurora.item := before;
BEGIN
    PERFORM aurora.require_state(before, 'open');
    IF until IS NULL OR until <= now() OR NOT isfinite(until) THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'an item is snoozed until a time to come',
            HINT = 'For example now() + interval ''3 hours''.';
    END IF;
    after.snooze_until := until;
    PERFORM aurora.change_item(before, after, 'snooze');
END
$$;
COMMENT ON FUNCTION aurora.snooze(bigint, timestamptz) IS
    'Hides the item until then; it comes back by itself, on every replica. Errors: P0002 no such item, 55000 not open, 22023 not in the future.';

CREATE FUNCTION aurora.unsnooze(item_id bigint) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    before aurora.item := aurora.lock_item(item_id);
    after aurora.item := before;
BEGIN
    PERFORM aurora.require_state(before, 'open');
    IF before.snooze_until IS NULL THEN
        RAISE object_not_in_prerequisite_state USING
            MESSAGE = format('item %s is not snoozed', item_id);
    END IF;
    after.snooze_until := NULL;
    PERFORM aurora.change_item(before, after, 'unsnooze');
END
$$;
COMMENT ON FUNCTION aurora.unsnooze(bigint) IS 'Shows a snoozed item again at once. Errors: P0002 no such item, 55000 not snoozed.';

CREATE FUNCTION aurora.delegate(item_id bigint, to_whom text, outside boolean DEFAULT false) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    before aurora.item := aurora.lock_item(item_id);
    after aurora.item := before;
    their_trust aurora.trust;
BEGIN
    PERFORM aurora.require_state(before, 'open');
    IF coalesce(to_whom, '') = '' THEN
        RAISE invalid_parameter_value USING MESSAGE = 'an item is delegated to somebody';
    ELSIF outside THEN
        after.state := 'delegated';
        after.delegated_to := to_whom;
    ELSE
        SELECT p.trust INTO their_trust FROM aurora.principal p
            WHERE p.company_id = before.company_id AND p.owner = to_whom;
        IF NOT FOUND THEN
            RAISE invalid_parameter_value USING
                MESSAGE = format('there is no owner "%s" in this company', to_whom),
                HINT = 'Owners: ' || (SELECT string_agg(quote_literal(o.owner), ', ')
                                      FROM (SELECT p.owner FROM aurora.principal p
                                            WHERE p.company_id = before.company_id ORDER BY p.owner LIMIT 20) o)
                       || '. Say outside => true to delegate to somebody else.';
        END IF;
        after.owner := to_whom;
        after.level := CASE WHEN their_trust = 'agent' THEN 'agent' ELSE 'human' END;
        after.snooze_until := NULL;
    END IF;
    PERFORM aurora.change_item(before, after, 'delegate');
END
$$;
COMMENT ON FUNCTION aurora.delegate(bigint, text, boolean) IS
    'Hands the item to another owner of the company, on whose surface it then is (level agent for an agent); with outside => true to anybody, and it is off the surface. Errors: P0002 no such item, 55000 not open, 22023 no such owner.';

CREATE FUNCTION aurora.restore(item_id bigint) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    before aurora.item := aurora.lock_item(item_id);
    after aurora.item := before;
BEGIN
    PERFORM aurora.require_state(before, 'done', 'dismissed', 'delegated', 'archived');
    IF before.state = 'archived' AND before.state_at < now() - interval '30 days' THEN
        RAISE object_not_in_prerequisite_state USING
            MESSAGE = format('item %s was archived more than 30 days ago', item_id),
            HINT = 'Add it again with aurora.add_item().';
    END IF;
    after.state := 'open';
    after.outcome := NULL;
    after.snooze_until := NULL;
    after.delegated_to := NULL;
    PERFORM aurora.change_item(before, after, 'restore');
END
$$;
COMMENT ON FUNCTION aurora.restore(bigint) IS
    'Opens an item again: done, dismissed, delegated outside, or archived in the last 30 days. Errors: P0002 no such item, 55000 open, or archived too long ago.';

CREATE FUNCTION aurora.undo(item_id bigint DEFAULT NULL) RETURNS bigint
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    last aurora.item_history;
    before aurora.item;
    after aurora.item;
BEGIN
    PERFORM aurora.require_lead();
    SELECT h.* INTO last FROM aurora.item_history h
        WHERE h.company_id = ANY (aurora.company_ids()) AND h.undone_at IS NULL AND h.action <> 'undo'
          AND CASE WHEN undo.item_id IS NULL THEN h.acted_by = aurora.actor(h.company_id)
                   ELSE h.item_id = undo.item_id END
        ORDER BY h.history_id DESC LIMIT 1;
    IF NOT FOUND THEN
        RAISE no_data_found USING
            MESSAGE = CASE WHEN item_id IS NULL THEN 'the caller has done nothing that can be undone'
                           ELSE format('nothing was done with item %s that can be undone', item_id) END,
            HINT = 'aurora.item_history shows what was done.';
    END IF;
    IF last.owner = aurora.actor(last.company_id) OR last.acted_by = aurora.actor(last.company_id) THEN
        SELECT i.* INTO before FROM aurora.item i
            WHERE i.company_id = last.company_id AND i.item_id = last.item_id FOR NO KEY UPDATE;
    ELSE
        before := aurora.lock_item(last.item_id);
    END IF;
    IF aurora.item_marks(before) <> last."to" THEN
        RAISE object_not_in_prerequisite_state USING
            MESSAGE = format('item %s has changed since', last.item_id),
            HINT = 'Undo the later change first, or use restore(), unsnooze() or delegate().';
    END IF;
    after := before;
    after.state := last."from" ->> 'state';
    after.owner := last."from" ->> 'owner';
    after.level := last."from" ->> 'level';
    after.outcome := last."from" ->> 'outcome';
    after.snooze_until := (last."from" ->> 'snooze_until')::timestamp AT TIME ZONE 'UTC';
    after.delegated_to := last."from" ->> 'delegated_to';
    UPDATE aurora.item_history h SET undone_at = clock_timestamp()
        WHERE h.company_id = last.company_id AND h.history_id = last.history_id;
    PERFORM aurora.change_item(before, after, 'undo');
    RETURN last.item_id;
END
$$;
COMMENT ON FUNCTION aurora.undo(bigint) IS
    'Undoes the last action on an item, or with null the caller''s last action, and returns the item''s id. Errors: P0002 nothing to undo, 55000 the item has changed since.';

-- ---- dependencies ----

CREATE FUNCTION aurora.is_pending(state aurora.item_state) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT $1 IN ('open', 'delegated') $$;
COMMENT ON FUNCTION aurora.is_pending(aurora.item_state) IS 'Does an item in this state still hold up those that wait for it.';

CREATE FUNCTION aurora.waits_for(company_id int, item_id bigint, other_id bigint) RETURNS boolean
    LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'aurora_waits_for';
COMMENT ON FUNCTION aurora.waits_for(int, bigint, bigint) IS
    'Does the item wait for the other, itself or through others, by what is committed now. An item waits for itself.';

CREATE FUNCTION aurora.lock_dependencies(company_id int) RETURNS void
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    SELECT pg_advisory_xact_lock(hashtextextended('aurora.item_dependency', $1))
$$;
COMMENT ON FUNCTION aurora.lock_dependencies(int) IS
    'Dependencies of a company are added by one transaction at a time, or two halves of a circle could be.';

CREATE FUNCTION aurora.add_dependency(item_id bigint, blocker_id bigint) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    waits aurora.item;
    blocker aurora.item;
BEGIN
    PERFORM aurora.require_lead();
    PERFORM aurora.lock_dependencies(c) FROM unnest(aurora.company_ids()) c
        WHERE EXISTS (SELECT FROM aurora.item i WHERE i.company_id = c AND i.item_id = add_dependency.item_id);
    -- The blocker first, as when it ends: two orders would be a deadlock.
    blocker := aurora.lock_item(blocker_id);
    waits := aurora.lock_item(item_id);
    IF waits.company_id <> blocker.company_id THEN
        RAISE invalid_parameter_value USING MESSAGE = 'an item waits for items of its own company only';
    END IF;
    INSERT INTO aurora.item_dependency (company_id, item_id, blocker_id)
        VALUES (waits.company_id, waits.item_id, blocker.item_id) ON CONFLICT DO NOTHING;
END
$$;
COMMENT ON FUNCTION aurora.add_dependency(bigint, bigint) IS
    'The item waits, off the surface, until the blocker has ended. Errors: P0002 no such item, 22023 that would be a circle.';

CREATE FUNCTION aurora.remove_dependency(item_id bigint, blocker_id bigint) RETURNS boolean
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    waits aurora.item;
BEGIN
    PERFORM aurora.require_lead();
    PERFORM FROM aurora.item i
        WHERE i.company_id = ANY (aurora.company_ids()) AND i.item_id = remove_dependency.blocker_id FOR NO KEY UPDATE;
    waits := aurora.lock_item(item_id);
    DELETE FROM aurora.item_dependency d
        WHERE d.company_id = waits.company_id AND d.item_id = waits.item_id
          AND d.blocker_id = remove_dependency.blocker_id;
    RETURN FOUND;
END
$$;
COMMENT ON FUNCTION aurora.remove_dependency(bigint, bigint) IS 'The item no longer waits for the blocker; false when it did not.';

CREATE FUNCTION aurora.count_dependency() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    d aurora.item_dependency := CASE WHEN TG_OP = 'INSERT' THEN NEW ELSE OLD END;
    change int := CASE WHEN TG_OP = 'INSERT' THEN 1 ELSE -1 END;
    pending boolean;
BEGIN
    IF TG_OP = 'INSERT' THEN
        PERFORM aurora.lock_dependencies(d.company_id);
        IF aurora.waits_for(d.company_id, d.blocker_id, d.item_id) THEN
            RAISE invalid_parameter_value USING
                MESSAGE = format('item %s cannot wait for item %s', d.item_id, d.blocker_id),
                DETAIL = CASE WHEN d.item_id = d.blocker_id THEN 'They are the same.'
                              ELSE 'That one waits for it already, itself or through others.' END;
        END IF;
    END IF;
    UPDATE aurora.item i SET blocking = i.blocking + change
        WHERE i.company_id = d.company_id AND i.item_id = d.blocker_id
        RETURNING aurora.is_pending(i.state) INTO pending;
    IF pending THEN
        UPDATE aurora.item i SET open_blockers = i.open_blockers + change
            WHERE i.company_id = d.company_id AND i.item_id = d.item_id;
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION aurora.count_dependency() IS 'Trigger: keeps open_blockers and blocking, and refuses circles.';
CREATE TRIGGER count_dependency AFTER INSERT OR DELETE ON aurora.item_dependency
    FOR EACH ROW EXECUTE FUNCTION aurora.count_dependency();
COMMENT ON TRIGGER count_dependency ON aurora.item_dependency IS 'Keeps the counts on items.';

CREATE FUNCTION aurora.release_dependents() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    change int := CASE WHEN TG_OP = 'UPDATE' AND aurora.is_pending(NEW.state) THEN 1 ELSE -1 END;
BEGIN
    UPDATE aurora.item i SET open_blockers = i.open_blockers + change
        FROM aurora.item_dependency d
        WHERE d.company_id = OLD.company_id AND d.blocker_id = OLD.item_id
          AND i.company_id = d.company_id AND i.item_id = d.item_id;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION aurora.release_dependents() IS 'Trigger: an item that ends, or opens again, tells those that wait for it.';
CREATE TRIGGER release_dependents AFTER UPDATE OF state ON aurora.item FOR EACH ROW
    WHEN (NEW.blocking > 0 AND (OLD.state IN ('open', 'delegated')) <> (NEW.state IN ('open', 'delegated')))
    EXECUTE FUNCTION aurora.release_dependents();
COMMENT ON TRIGGER release_dependents ON aurora.item IS 'Keeps open_blockers of those that wait.';
-- Named to run before the foreign keys' own triggers, which delete the dependencies that this one reads.
CREATE TRIGGER "A_release_dependents" AFTER DELETE ON aurora.item FOR EACH ROW
    WHEN (OLD.blocking > 0 AND OLD.state IN ('open', 'delegated'))
    EXECUTE FUNCTION aurora.release_dependents();
COMMENT ON TRIGGER "A_release_dependents" ON aurora.item IS 'The same when an item is deleted.';
