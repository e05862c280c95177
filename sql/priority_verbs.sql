\set ECHO none
-- What people do with items: complete, snooze, delegate, dismiss, restore, undo, and dependencies.
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = 'ISO';
\pset format unaligned
\pset tuples_only
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS aurora;

BEGIN;
SELECT plan(87);

CREATE FUNCTION pg_temp.error_of(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    state text;
    message text;
    detail text;
    hint text;
BEGIN
    EXECUTE statement;
    RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL,
        hint = PG_EXCEPTION_HINT;
    RETURN concat_ws(' | ', state, message, nullif(detail, ''), nullif(hint, ''));
END
$$;
CREATE FUNCTION pg_temp.rows_of(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    result text;
BEGIN
    EXECUTE 'SELECT string_agg(r::text, '' '') FROM (' || query || ') r' INTO result;
    RETURN coalesce(result, 'none');
END
$$;

CREATE ROLE regress_dana;
CREATE ROLE regress_max;
SELECT aurora.add_company('Acme') AS acme, aurora.add_company('Other') AS other \gset
SELECT aurora.add_principal('dana', 'Acme', 'regress_dana'), aurora.add_principal('max', 'Acme', 'regress_max', 'manager'),
       aurora.add_principal('sam', 'Acme'), aurora.add_principal('bot', 'Acme', trust => 'agent'),
       aurora.add_principal('zoe', 'Other') \gset ignored_
-- Items by a letter, so that no id is written down.
CREATE TEMPORARY TABLE named (letter text PRIMARY KEY, id bigint NOT NULL);
GRANT ALL ON named TO PUBLIC;
INSERT INTO named SELECT letter, aurora.add_item(letter, owner => 'dana', company => 'Acme') FROM unnest(string_to_array('a b c d e f g h i j k l m n', ' ')) letter;
INSERT INTO named SELECT 'z', aurora.add_item('z', owner => 'zoe', company => 'Other');
CREATE FUNCTION pg_temp.id(letter text) RETURNS bigint LANGUAGE sql STABLE AS $$ SELECT n.id FROM named n WHERE n.letter = $1 $$;
CREATE FUNCTION pg_temp.item(letter text) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT concat_ws(' ', i.owner, i.level, i.state, i.outcome, i.delegated_to, i.snooze_until) FROM aurora.item i WHERE i.item_id = pg_temp.id($1)
$$;
CREATE FUNCTION pg_temp.history(letter text) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT string_agg(concat_ws(' ', h.action, h.acted_by, h."from" ->> 'state', h."to" ->> 'state', CASE WHEN h.undone_at IS NOT NULL THEN 'undone' END),
                      ', ' ORDER BY h.history_id)
    FROM aurora.item_history h WHERE h.item_id = pg_temp.id($1)
$$;
CREATE FUNCTION pg_temp.surfaced() RETURNS text LANGUAGE sql STABLE AS $$
    SELECT coalesce(string_agg(s.title, ' ' ORDER BY s.title COLLATE "C"), 'none') FROM aurora.surface(1000, 'dana') s
$$;
SET LOCAL ROLE regress_dana;

SELECT is(pg_temp.surfaced(), 'a b c d e f g h i j k l m n', 'open items are on the surface');

-- ---- complete ----

SELECT aurora.complete(pg_temp.id('a')) AS ignored \gset
SELECT is(pg_temp.item('a'), 'dana human done', 'complete() ends an item');
SELECT is(pg_temp.surfaced(), 'b c d e f g h i j k l m n', 'and takes it off the surface');
SELECT is(pg_temp.history('a'), 'complete dana open done', 'the history says who, from what, to what');
SELECT is(pg_temp.rows_of($$ SELECT state_by, state_at = now() FROM aurora.item WHERE title = 'a' $$), '(dana,t)', 'the item says by whom and when');
SELECT is(pg_temp.error_of($$ SELECT aurora.complete(pg_temp.id('a')) $$),
          format('55000 | item %s is done | aurora.restore() opens it again.', pg_temp.id('a')), 'what has ended is not completed again');
SELECT aurora.complete(pg_temp.id('b'), 'won') AS ignored \gset
SELECT is(pg_temp.item('b'), 'dana human done won', 'complete() takes how a deal ended');
SELECT is(pg_temp.error_of($$ SELECT aurora.complete(pg_temp.id('c'), 'drawn') $$), '22023 | there is no outcome "drawn" | A deal is won or lost.',
          'an unknown outcome is refused');
SELECT is(pg_temp.error_of('SELECT aurora.complete(-1)'), 'P0002 | there is no item -1 that the caller may see | aurora.items lists them.',
          'an unknown item is an error');
SELECT throws_ok('SELECT aurora.complete(NULL)', 'P0002', NULL, 'so is none');

-- ---- snooze ----

SELECT aurora.snooze(pg_temp.id('c'), '2100-01-01') AS ignored \gset
SELECT is(pg_temp.item('c'), 'dana human open 2100-01-01 00:00:00+00', 'snooze() notes until when');
SELECT is(pg_temp.surfaced(), 'd e f g h i j k l m n', 'a snoozed item is off the surface');
SELECT is((SELECT count(*) FROM aurora.surface(1000, 'dana', '2099-12-31 23:59:59.999999') WHERE title = 'c'), 0::bigint, 'until the very time');
SELECT is((SELECT count(*) FROM aurora.surface(1000, 'dana', '2100-01-01 00:00:00') WHERE title = 'c'), 1::bigint, 'and comes back at it, by itself');
SELECT aurora.snooze(pg_temp.id('c'), '2101-01-01') AS ignored \gset
SELECT is(pg_temp.item('c'), 'dana human open 2101-01-01 00:00:00+00', 'a snoozed item can be snoozed longer');
SELECT aurora.unsnooze(pg_temp.id('c')) AS ignored \gset
SELECT is(pg_temp.item('c'), 'dana human open', 'unsnooze() shows it again');
SELECT is(pg_temp.history('c'), 'snooze dana open open, snooze dana open open, unsnooze dana open open', 'with history');
SELECT is(pg_temp.error_of($$ SELECT aurora.unsnooze(pg_temp.id('c')) $$), format('55000 | item %s is not snoozed', pg_temp.id('c')),
          'what is not snoozed cannot be shown again');
SELECT is(pg_temp.error_of(format($$ SELECT aurora.snooze(pg_temp.id('c'), %s) $$, until)),
          '22023 | an item is snoozed until a time to come | For example now() + interval ''3 hours''.', 'snoozing is refused until ' || until)
    FROM unnest(ARRAY['now()', 'now() - interval ''1 second''', 'NULL', '''infinity''']) until;
SELECT throws_ok($$ SELECT aurora.snooze(pg_temp.id('a'), '2100-01-01') $$, '55000', NULL, 'what has ended is not snoozed');
SELECT throws_ok($$ SELECT aurora.unsnooze(pg_temp.id('a')) $$, '55000', NULL, 'nor shown again');

-- ---- delegate ----

SELECT aurora.delegate(pg_temp.id('d'), 'Ann at the agency', outside => true) AS ignored \gset
SELECT is(pg_temp.item('d'), 'dana human delegated Ann at the agency', 'delegate() outside notes to whom');
SELECT is(pg_temp.surfaced(), 'c e f g h i j k l m n', 'and takes it off the surface');
SELECT throws_ok($$ SELECT aurora.delegate(pg_temp.id('d'), 'sam') $$, '55000', NULL, 'what is delegated is not delegated again');
SELECT aurora.complete(pg_temp.id('d')) AS ignored \gset
SELECT is(pg_temp.item('d'), 'dana human done Ann at the agency', 'what is delegated outside can be completed');
SELECT is(pg_temp.error_of($$ SELECT aurora.delegate(pg_temp.id('e'), 'zoe') $$),
          '22023 | there is no owner "zoe" in this company | Owners: ''bot'', ''dana'', ''max'', ''sam''. Say outside => true to delegate to somebody else.',
          'an owner of another company is none of this one');
SELECT throws_ok($$ SELECT aurora.delegate(pg_temp.id('e'), '') $$, '22023', NULL, 'an item is delegated to somebody');
SELECT throws_ok($$ SELECT aurora.delegate(pg_temp.id('e'), NULL, true) $$, '22023', NULL, 'not to null');
SELECT aurora.snooze(pg_temp.id('e'), '2100-01-01'), aurora.delegate(pg_temp.id('e'), 'sam') \gset ignored_
SELECT is(pg_temp.item('e'), NULL, 'an item delegated to another owner is no longer seen');
SELECT aurora.delegate(pg_temp.id('f'), 'bot') AS ignored \gset
RESET ROLE;
SELECT is(pg_temp.item('e'), 'sam human open', 'it is the other''s, open and awake');
SELECT is(pg_temp.item('f'), 'bot agent open', 'one delegated to an agent has level agent');
SELECT is(pg_temp.rows_of($$ SELECT title FROM aurora.agenda('agent', 10, 'bot') $$), '(f)', 'and is on the agent''s agenda');
SELECT is(pg_temp.rows_of($$ SELECT title FROM aurora.surface(10, 'bot') $$), 'none', 'not on a surface');
SET LOCAL ROLE regress_dana;

-- ---- dismiss and restore ----

SELECT aurora.dismiss(pg_temp.id('g')) AS ignored \gset
SELECT is(pg_temp.item('g'), 'dana human dismissed', 'dismiss() ends an item that will not be done');
SELECT throws_ok($$ SELECT aurora.dismiss(pg_temp.id('g')) $$, '55000', NULL, 'once');
SELECT throws_ok($$ SELECT aurora.complete(pg_temp.id('g')) $$, '55000', NULL, 'what is dismissed is not completed');
SELECT aurora.restore(pg_temp.id(letter)) AS ignored FROM unnest('{a,b,d,g}'::text[]) letter \gset
SELECT is(concat_ws(', ', pg_temp.item('a'), pg_temp.item('b'), pg_temp.item('d'), pg_temp.item('g')),
          'dana human open, dana human open, dana human open, dana human open', 'restore() opens what was done, delegated or dismissed');
SELECT is(pg_temp.history('b'), 'complete dana open done, restore dana done open', 'with history');
SELECT is(pg_temp.error_of($$ SELECT aurora.restore(pg_temp.id('a')) $$),
          format('55000 | item %s is open | This is for items that are done, dismissed, delegated, archived.', pg_temp.id('a')),
          'what is open is not restored');
RESET ROLE;
UPDATE aurora.item SET state = 'archived', state_at = now() - interval '30 days' WHERE item_id = pg_temp.id('h');
UPDATE aurora.item SET state = 'archived', state_at = now() - interval '30 days 1 second' WHERE item_id = pg_temp.id('i');
SET LOCAL ROLE regress_dana;
SELECT lives_ok($$ SELECT aurora.restore(pg_temp.id('h')) $$, 'what is archived is restorable for 30 days');
SELECT is(pg_temp.error_of($$ SELECT aurora.restore(pg_temp.id('i')) $$),
          format('55000 | item %s was archived more than 30 days ago | Add it again with aurora.add_item().', pg_temp.id('i')), 'and not longer');

-- ---- undo ----

SELECT aurora.complete(pg_temp.id('j'), 'lost') AS ignored \gset
SELECT is(aurora.undo(), pg_temp.id('j'), 'undo() undoes the caller''s last action');
SELECT is(pg_temp.item('j'), 'dana human open', 'and the item is as before');
SELECT is(pg_temp.history('j'), 'complete dana open done undone, undo dana done open', 'the history keeps both');
SELECT is(aurora.undo(pg_temp.id('c')), pg_temp.id('c'), 'undo() of an item undoes the last action on it');
SELECT is(pg_temp.item('c'), 'dana human open 2101-01-01 00:00:00+00', 'it is snoozed again');
SELECT aurora.undo(pg_temp.id('c')) AS ignored \gset
SELECT is(pg_temp.item('c'), 'dana human open 2100-01-01 00:00:00+00', 'again undoes the one before');
SELECT aurora.undo(pg_temp.id('c')) AS ignored \gset
SELECT is(pg_temp.item('c'), 'dana human open', 'down to the first');
SELECT is(pg_temp.error_of($$ SELECT aurora.undo(pg_temp.id('c')) $$),
          format('P0002 | nothing was done with item %s that can be undone | aurora.item_history shows what was done.', pg_temp.id('c')), 'then nothing is left');
SELECT is(aurora.undo(pg_temp.id('e')), pg_temp.id('e'), 'who delegated an item can undo it, though it is another''s now');
SELECT is(pg_temp.item('e'), 'dana human open 2100-01-01 00:00:00+00', 'and it is back, snoozed as before');
SELECT aurora.unsnooze(pg_temp.id('e')) AS ignored \gset
SELECT aurora.dismiss(pg_temp.id('k')) AS ignored \gset
RESET ROLE;
UPDATE aurora.item SET state = 'done' WHERE item_id = pg_temp.id('k');
SET LOCAL ROLE regress_dana;
SELECT is(pg_temp.error_of($$ SELECT aurora.undo(pg_temp.id('k')) $$),
          format('55000 | item %s has changed since | Undo the later change first, or use restore(), unsnooze() or delegate().', pg_temp.id('k')),
          'an item that has changed since is not undone');
RESET ROLE;
SET LOCAL ROLE regress_max;
SELECT throws_ok('SELECT aurora.undo()', 'P0002', NULL, 'another''s last action is not the caller''s');
SELECT aurora.complete(pg_temp.id('l')) AS ignored \gset
SELECT is(pg_temp.history('l'), 'complete max open done', 'a manager acts in its own name');
SELECT throws_ok($$ SELECT aurora.undo(pg_temp.id('z')) $$, 'P0002', NULL, 'of another company nothing is undone');
SET LOCAL ROLE regress_dana;
SELECT is(aurora.undo(pg_temp.id('l')), pg_temp.id('l'), 'an owner can undo what a manager did with its item');
RESET ROLE;

-- ---- dependencies ----

UPDATE aurora.item SET state = 'open' WHERE company_id = :acme;
DELETE FROM aurora.item_history;
SET LOCAL ROLE regress_dana;
CREATE FUNCTION pg_temp.blockers(letter text) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT i.open_blockers || ' ' || i.blocking FROM aurora.item i WHERE i.item_id = pg_temp.id($1)
$$;
SELECT aurora.add_dependency(pg_temp.id('a'), pg_temp.id('b')), aurora.add_dependency(pg_temp.id('a'), pg_temp.id('c')) \gset ignored_
SELECT is(pg_temp.blockers('a'), '2 0', 'an item counts what it waits for');
SELECT is(pg_temp.blockers('b'), '0 1', 'and what waits for it');
SELECT is(pg_temp.surfaced() LIKE 'b c%', true, 'an item that waits is off the surface');
SELECT is((SELECT count(*) FROM aurora.surface(1000, 'dana', '2100-01-01') WHERE title = 'a'), 0::bigint, 'at any time');
SELECT aurora.add_dependency(pg_temp.id('a'), pg_temp.id('b')) AS ignored \gset
SELECT is(pg_temp.blockers('a'), '2 0', 'the same dependency counts once');
SELECT aurora.complete(pg_temp.id('b')) AS ignored \gset
SELECT is(pg_temp.blockers('a'), '1 0', 'an item that is done holds up nobody');
SELECT is((SELECT count(*) FROM aurora.surface(1000, 'dana') WHERE title = 'a'), 0::bigint, 'but the other still does');
SELECT aurora.delegate(pg_temp.id('c'), 'Ann', outside => true) AS ignored \gset
SELECT is(pg_temp.blockers('a'), '1 0', 'an item delegated outside still holds up');
SELECT aurora.complete(pg_temp.id('c')) AS ignored \gset
SELECT is(pg_temp.blockers('a'), '0 0', 'until it is done');
SELECT is((SELECT count(*) FROM aurora.surface(1000, 'dana') WHERE title = 'a'), 1::bigint, 'when the last has ended the item is on the surface');
SELECT aurora.restore(pg_temp.id('b')) AS ignored \gset
SELECT is(pg_temp.blockers('a'), '1 0', 'a restored item holds up again');
SELECT aurora.dismiss(pg_temp.id('b')) AS ignored \gset
SELECT is(pg_temp.blockers('a'), '0 0', 'a dismissed one does not');
SELECT aurora.undo(pg_temp.id('b')) AS ignored \gset
SELECT is(pg_temp.blockers('a'), '1 0', 'undoing that has it hold up again');
SELECT ok(aurora.remove_dependency(pg_temp.id('a'), pg_temp.id('b')), 'a dependency can be removed');
SELECT is(pg_temp.blockers('a') || ', ' || pg_temp.blockers('b'), '0 0, 0 0', 'and both forget it');
SELECT ok(NOT aurora.remove_dependency(pg_temp.id('a'), pg_temp.id('b')), 'removing it again says that it was not there');
SELECT is(pg_temp.error_of($$ SELECT aurora.add_dependency(pg_temp.id('d'), pg_temp.id('d')) $$),
          format('22023 | item %s cannot wait for item %1$s | They are the same.', pg_temp.id('d')), 'an item does not wait for itself');
RESET ROLE;
UPDATE aurora.item SET owner = 'dana', level = 'human' WHERE company_id = :acme;
SET LOCAL ROLE regress_dana;
SELECT aurora.add_dependency(pg_temp.id('d'), pg_temp.id('e')), aurora.add_dependency(pg_temp.id('e'), pg_temp.id('f')),
       aurora.add_dependency(pg_temp.id('f'), pg_temp.id('g')), aurora.add_dependency(pg_temp.id('g'), pg_temp.id('h')) \gset ignored_
SELECT is(pg_temp.error_of($$ SELECT aurora.add_dependency(pg_temp.id('e'), pg_temp.id('d')) $$),
          format('22023 | item %s cannot wait for item %s | That one waits for it already, itself or through others.', pg_temp.id('e'), pg_temp.id('d')),
          'two items do not wait for each other');
SELECT throws_ok($$ SELECT aurora.add_dependency(pg_temp.id('h'), pg_temp.id('d')) $$, '22023', NULL, 'nor five in a circle');
SELECT lives_ok($$ SELECT aurora.add_dependency(pg_temp.id('d'), pg_temp.id('h')) $$, 'two ways to the same are no circle');
SELECT is((SELECT count(*) FROM aurora.item_dependency), 6::bigint, 'what was refused left nothing behind');
SELECT throws_ok($$ SELECT aurora.add_dependency(pg_temp.id('d'), pg_temp.id('z')) $$, 'P0002', NULL, 'an item of another company is not waited for');
RESET ROLE;
SELECT throws_ok($$ SELECT aurora.add_dependency(pg_temp.id('d'), pg_temp.id('z')) $$, '22023', NULL, 'not even for an administrator');
DELETE FROM aurora.item WHERE item_id = pg_temp.id('h');
SELECT is(pg_temp.blockers('g') || ', ' || pg_temp.blockers('d'), '0 1, 1 0', 'a deleted blocker holds up nobody');
DELETE FROM aurora.item WHERE item_id = pg_temp.id('d');
SELECT is(pg_temp.blockers('e'), '1 0', 'a deleted dependent is no longer counted');
SELECT is(pg_temp.error_of(format('DELETE FROM aurora.item WHERE item_id IN (%s, %s)', pg_temp.id('e'), pg_temp.id('f'))), 'no error',
          'a blocker and its dependent can be deleted in one statement');
SELECT is(pg_temp.blockers('g'), '0 0', 'and those that they waited for hear of it');
SELECT is((SELECT count(*) FROM aurora.item i WHERE (open_blockers, blocking) IS DISTINCT FROM
               ((SELECT count(*) FROM aurora.item_dependency d JOIN aurora.item b ON b.item_id = d.blocker_id
                 WHERE d.item_id = i.item_id AND b.state IN ('open', 'delegated')),
                (SELECT count(*) FROM aurora.item_dependency d WHERE d.blocker_id = i.item_id))), 0::bigint, 'all counts are what the dependencies say');

SELECT * FROM finish();
ROLLBACK;
