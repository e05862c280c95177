\set ECHO none
-- Events: publishing and reading, cursors, consumers, retention, and what capabilities tell of. What is set up is
-- committed, in a database of its own, where no courier runs and transactions publish what they note themselves.
SET client_min_messages = warning;
\pset format unaligned
\pset tuples_only
\set regress :DBNAME
DROP DATABASE IF EXISTS regress_events;
CREATE DATABASE regress_events;
\connect regress_events
SET client_min_messages = warning;
SET timezone = 'UTC';
CREATE EXTENSION pgtap;
CREATE EXTENSION aurora;
DROP ROLE IF EXISTS regress_e_boss, regress_e_member, regress_e_bot, regress_e_bolt, regress_e_operator, regress_e_node, regress_e_monitor, regress_e_gateway, regress_e_plain;
CREATE ROLE regress_e_boss;
CREATE ROLE regress_e_member;
CREATE ROLE regress_e_bot;
CREATE ROLE regress_e_bolt;
CREATE ROLE regress_e_operator IN ROLE aurora_operator;
CREATE ROLE regress_e_node IN ROLE aurora_node;
CREATE ROLE regress_e_monitor IN ROLE aurora_monitor;
CREATE ROLE regress_e_gateway IN ROLE aurora_gateway;
CREATE ROLE regress_e_plain;

SELECT plan(136);

-- The rows of a query as text.
CREATE FUNCTION pg_temp.rows_of(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    result text;
BEGIN
    EXECUTE 'SELECT string_agg(r::text, '' '') FROM (' || query || ') r' INTO result;
    RETURN coalesce(result, 'none');
END
$$;
-- What a statement raises, as "SQLSTATE | message | detail | hint".
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
    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RETURN concat_ws(' | ', state, message, nullif(detail, ''), nullif(hint, ''));
END
$$;
-- What an expression gives a role, or the SQLSTATE of its error; what is done stays.
CREATE FUNCTION pg_temp.as_role(role name, expression text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    result text;
BEGIN
    EXECUTE format('SET LOCAL ROLE %I', 'regress_e_' || role);
    EXECUTE 'SELECT (SELECT ' || expression || ')::text' INTO result;
    SET LOCAL ROLE NONE;
    RETURN result;
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE;
END
$$;
-- Which roles get no 42501 from an expression; what they did is undone.
CREATE FUNCTION pg_temp.who_may(expression text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    role text;
    found text := '';
BEGIN
    FOREACH role IN ARRAY ARRAY['boss', 'member', 'bot', 'bolt', 'operator', 'node', 'monitor', 'gateway', 'plain'] LOOP
        BEGIN
            EXECUTE format('SET LOCAL ROLE %I', 'regress_e_' || role);
            EXECUTE 'SELECT ' || expression;
            RAISE SQLSTATE 'ZZ001';
        EXCEPTION
            WHEN insufficient_privilege THEN NULL;
            WHEN OTHERS THEN found := found || ' ' || role || CASE SQLSTATE WHEN 'ZZ001' THEN '' ELSE ':' || SQLSTATE END;
        END;
    END LOOP;
    RETURN coalesce(nullif(ltrim(found), ''), 'nobody');
END
$$;

SELECT aurora.add_company('Acme') AS acme, aurora.add_company('Bolt') AS bolt \gset
SELECT count(aurora.add_principal(owner, company, login_role, trust)) AS ignored
    FROM (VALUES ('boss', 'Acme', 'regress_e_boss', 'admin'), ('member', 'Acme', 'regress_e_member', 'member'), ('bot', 'Acme', 'regress_e_bot', 'agent'),
                 ('bolt', 'Bolt', 'regress_e_bolt', 'member'), ('nobody', 'Acme', NULL, 'member')) p (owner, company, login_role, trust) \gset

-- ---- publishing ----

SELECT is(aurora.publish('chat', '{"n": 1}', company => 'Acme'), 1::bigint, 'the first event of a topic makes it and has number 1');
SELECT is(aurora.publish('chat', '{"n": 2}', 'b', 'Acme'), 2::bigint, 'the next has the next');
SELECT is(aurora.publish('chat', '{"n": "again"}', 'b', 'Acme'), 2::bigint, 'a second try with the same client''s id returns the first number');
SELECT is(aurora.publish('chat', '{"n": 3}', company => 'Acme'), 3::bigint, 'and leaves no gap');
SELECT is(aurora.publish('chat', '{"n": 1}', 'b', 'Bolt'), 1::bigint, 'another company''s topic of that name is another');
SELECT is(aurora.publish('news', '{"n": 1}', 'b', 'Acme'), 1::bigint, 'and a client''s id is one for each topic');
BEGIN;
SELECT aurora.publish('chat', '{"n": 4}', company => 'Acme') AS lost \gset
ROLLBACK;
SELECT is(aurora.publish('chat', '{"n": 4}', company => 'Acme'), :lost::bigint, 'a transaction that is rolled back gives its number back');
BEGIN;
SAVEPOINT s;
SELECT aurora.publish('chat', '{"n": 5}', 'c', 'Acme') AS lost \gset
ROLLBACK TO s;
SELECT is(aurora.publish('chat', '{"n": 5}', 'c', 'Acme'), :lost::bigint, 'a subtransaction, too');
COMMIT;
SELECT is(pg_temp.rows_of($$ SELECT seq, publisher, client_id, payload FROM aurora.events('chat', company => 'Acme') $$),
          '(1,postgres,,"{""n"": 1}") (2,postgres,b,"{""n"": 2}") (3,postgres,,"{""n"": 3}") (4,postgres,,"{""n"": 4}") (5,postgres,c,"{""n"": 5}")',
          'events() has all in their order');
SELECT is(pg_temp.as_role('member', $$ aurora.publish('chat', '"hello"') $$), '6', 'a principal publishes to its own company');
SELECT is(pg_temp.as_role('bot', $$ aurora.publish('chat', '"hello"') $$), '7', 'so does an agent');
BEGIN;
SET LOCAL ROLE regress_e_gateway;
SELECT aurora.assume('Acme', 'nobody') AS ignored \gset
SELECT is(aurora.publish('chat', '"hello"'), 8::bigint, 'and a gateway for somebody');
COMMIT;
SELECT is(pg_temp.rows_of($$ SELECT seq, publisher FROM aurora.events('chat', 5, company => 'Acme') $$), '(6,member) (7,bot) (8,nobody)', 'each under its name');
SELECT is(aurora.publish('chat', jsonb_build_object('text', repeat('x', 1000000)), company => 'Acme'), 9::bigint, 'a payload may have a million bytes');
SELECT is(aurora.publish('mesh/news', '1'), 1::bigint, 'an administrator publishes to the mesh');
SELECT is(pg_temp.as_role('operator', $$ aurora.publish('mesh/news', '2') $$), '2', 'so does an operator');
SELECT is(pg_temp.rows_of($$ SELECT seq, publisher FROM aurora.events('mesh/news') $$), '(1,postgres) (2,regress_e_operator)', 'under their roles'' names');
SELECT is(aurora.publish(repeat('ü', 250), 'null', repeat('ü', 200), 'Acme'), 1::bigint, 'a name has up to 250 characters, a client''s id 200, a payload may be a JSON null');

-- ---- bad input ----

SELECT is(pg_temp.error_of(statement), error, title)
    FROM (VALUES
        ($$ SELECT aurora.publish(NULL, '1') $$, '22004 | an event''s topic and payload may not be null | A payload of nothing is ''{}'' or ''null''::jsonb.', 'no topic'),
        ($$ SELECT aurora.publish('chat', NULL, company => 'Acme') $$, '22004 | an event''s topic and payload may not be null | A payload of nothing is ''{}'' or ''null''::jsonb.', 'no payload'),
        ($$ SELECT aurora.publish('', '1', company => 'Acme') $$, '22023 | this is no name of a topic | A topic''s name has 1 to 250 printable characters.', 'an empty name'),
        ($$ SELECT aurora.publish(repeat('x', 251), '1', company => 'Acme') $$, '22023 | this is no name of a topic | A topic''s name has 1 to 250 printable characters.', 'a long name'),
        ($$ SELECT aurora.publish(E'a\nb', '1', company => 'Acme') $$, '22023 | this is no name of a topic | A topic''s name has 1 to 250 printable characters.', 'a name that is not printable'),
        ($$ SELECT aurora.publish('chat', '1', '', 'Acme') $$, '22023 | this is no id of a client''s | It has 1 to 200 characters; leave it out for none.', 'an empty id of a client'),
        ($$ SELECT aurora.publish('chat', '1', repeat('x', 201), 'Acme') $$, '22023 | this is no id of a client''s | It has 1 to 200 characters; leave it out for none.', 'a long one'),
        ($$ SELECT aurora.publish('chat', to_jsonb(repeat('x', 1048600)), company => 'Acme') $$, '54000 | the event''s payload is too large | It has 1048608 bytes, and may have 1048576. | Store it elsewhere, and publish where it is.', 'a payload over 1 MB'),
        ($$ SELECT aurora.publish('chat', '1', company => 'Nobody') $$, '22023 | there is no company "Nobody" that the caller belongs to | Companies: ''Acme'', ''Bolt''.', 'an unknown company'),
        ($$ SELECT aurora.publish('chat', '1') $$, '22023 | which company is meant is not clear | Name one: ''Acme'', ''Bolt''.', 'no company when there are two'),
        ($$ SELECT aurora.publish('mesh/news', '1', company => 'Acme') $$, '22023 | topic "mesh/news" belongs to no company | Topics whose names begin with "mesh/" are the mesh''s: leave the company out.', 'a company for the mesh'),
        ($$ SELECT aurora.publish('items/member', '1', company => 'Acme') $$, '42501 | topic "items/member" is published by aurora itself | Take another name.', 'a topic of aurora''s own'),
        ($$ SELECT aurora.publish('mesh/nodes', '1') $$, '42501 | topic "mesh/nodes" is published by aurora itself | Take another name.', 'one of the mesh'),
        ($$ SELECT aurora.publish('secrets', '1', company => 'Acme') $$, '42501 | topic "secrets" is published by aurora itself | Take another name.', 'that of secrets'),
        ($$ SELECT * FROM aurora.events('none', company => 'Acme') $$, '42704 | there is no topic "none" | Its first event makes it; wait_events() waits for that.', 'reading a topic that is not there'),
        ($$ SELECT * FROM aurora.events(NULL) $$, '22004 | a topic and the number to go on after may not be null', 'reading no topic'),
        ($$ SELECT * FROM aurora.events('chat', NULL, company => 'Acme') $$, '22004 | a topic and the number to go on after may not be null', 'reading after nothing'),
        ($$ SELECT * FROM aurora.events('chat', -1, company => 'Acme') $$, '22023 | after_seq may not be negative | 0 stands for before the first event.', 'a negative number'),
        ($$ SELECT * FROM aurora.events('chat', 0, 0, company => 'Acme') $$, '22023 | between 1 and 10000 events can be read at once | Leave max_rows out for 100.', 'no rows'),
        ($$ SELECT * FROM aurora.events('chat', 0, 10001, company => 'Acme') $$, '22023 | between 1 and 10000 events can be read at once | Leave max_rows out for 100.', 'too many rows'),
        ($$ SELECT * FROM aurora.events('chat', 0, NULL, company => 'Acme') $$, '22023 | between 1 and 10000 events can be read at once | Leave max_rows out for 100.', 'an unknown number of rows'),
        ($$ SELECT * FROM aurora.events('chat', 10, company => 'Acme') $$, '55A01 | the cursor stands at 10, and topic "chat" ends at 9 in that epoch | What was read after 9 was lost with a former lead, or never was. | Forget what was read after 9, and go on with after_seq => 9.', 'a cursor beyond the end'),
        ($$ SELECT * FROM aurora.events('chat', 1, 9, gen_random_uuid(), 'Acme') $$, '55A01 | the cursor''s epoch is not of this history of topic "chat" | It was of a lead none of whose events there have come here. | Forget what was read there, and start again with after_seq => 0.', 'a cursor of an unknown epoch'),
        ($$ SELECT aurora.set_topic('none', company => 'Acme') $$, '42704 | there is no topic "none" | aurora.topics shows those that there are.', 'settings of a topic that is not there'),
        ($$ SELECT aurora.set_topic('chat', '-1 s', company => 'Acme') $$, '22023 | what is kept may not be negative | keep_for => ''0'' keeps events of any age; keep_events => NULL any number.', 'a negative age'),
        ($$ SELECT aurora.set_topic('chat', keep_events => -1, company => 'Acme') $$, '22023 | what is kept may not be negative | keep_for => ''0'' keeps events of any age; keep_events => NULL any number.', 'a negative number to keep'),
        ($$ SELECT aurora.trim_events(0) $$, '22023 | at least one row must be asked for | Leave max_rows out for the default.', 'trimming nothing'),
        ($$ SELECT aurora.remove_topic('none', 'Acme') $$, '42704 | there is no topic "none" | aurora.topics shows those that there are.', 'removing a topic that is not there'),
        ($$ CALL aurora.wait_events('chat', 0, '1 s', NULL, 'Acme') $$, '25001 | wait_events() cannot wait inside a transaction | Call it by itself, outside a transaction block and outside functions: CALL aurora.wait_events(...).', 'waiting in a function')
    ) s (statement, error, title);

-- ---- cursors ----

SELECT epoch FROM aurora.topics WHERE company = 'Acme' AND topic = 'chat' \gset
SELECT is((SELECT count(*) FROM aurora.events('chat', 3, 100, :'epoch', 'Acme')), 6::bigint, 'a cursor of an epoch goes on');
SELECT is((SELECT count(*) FROM aurora.events('chat', 0, 100, gen_random_uuid(), 'Acme')), 9::bigint, 'who has read nothing needs no epoch');
SELECT is(pg_temp.rows_of(format($$ SELECT * FROM aurora.cursor_state('chat', %s, %L, 'Acme') $$, n, :'epoch')), state, format('cursor_state() of %s', n))
    FROM (VALUES (0, '(continues,0)'), (9, '(continues,9)'), (10, '(lost,9)')) s (n, state);
SELECT is(pg_temp.rows_of($$ SELECT company, topic, first_seq, last_seq, events, epoch IS NOT NULL FROM aurora.topics WHERE length(topic) < 100 ORDER BY company COLLATE "C", topic COLLATE "C" $$),
          '(Acme,chat,1,9,9,t) (Acme,news,1,1,1,t) (Bolt,chat,1,1,1,t) (,mesh/news,1,2,2,t)', 'topics shows them');

-- ---- who may what ----

SELECT is(pg_temp.who_may(expression), allowed, title)
    FROM (VALUES
        ($$ aurora.publish('chat', '1') $$, 'boss member bot bolt', 'principals publish to their own company'),
        ($$ aurora.publish('chat', '1', company => 'Acme') $$, 'boss member bot bolt:22023 operator:22023 gateway:22023', 'nobody to another one''s'),
        ($$ aurora.publish('mesh/news', '1') $$, 'operator', 'to the mesh operators'),
        ($$ count(*) FROM aurora.events('chat') $$, 'boss member bot bolt', 'principals read their own company''s topics'),
        ($$ count(*) FROM aurora.events('mesh/news') $$, 'boss member bot bolt operator node monitor gateway', 'whoever is of aurora reads the mesh''s'),
        ($$ count(*) FROM aurora.topics $$, 'boss member bot bolt operator gateway', 'and sees topics'),
        ($$ count(*) FROM aurora.event $$, 'nobody', 'nobody reads the table past the functions'),
        ($$ aurora.subscribe('c', 'chat') $$, 'boss member bot bolt', 'principals subscribe'),
        ($$ aurora.subscribe('c', 'mesh/news') $$, 'boss member bot bolt operator node monitor gateway', 'and all to the mesh''s'),
        ($$ aurora.set_topic('chat') $$, 'boss', 'who manages the company changes topics'),
        ($$ aurora.remove_topic('chat') $$, 'boss', 'and removes them'),
        ($$ aurora.set_topic('mesh/news') $$, 'nobody', 'those of the mesh only administrators do'),
        ($$ aurora.trim_events() $$, 'operator', 'operators trim'),
        ($$ aurora.publish_notes() $$, 'operator', 'and publish what is noted'),
        ($$ aurora.courier_status() $$, 'operator monitor', 'who minds the nodes sees the courier'),
        ($$ aurora.note_event(1, 'items/member', '1') $$, 'nobody', 'nobody notes but capabilities'),
        ($$ aurora.publish_note(1, 'items/member', '1') $$, 'nobody', 'nor publishes notes'),
        ($$ aurora.open_cursor('chat', 0, NULL, NULL) $$, 'nobody', 'nor opens cursors')
    ) s (expression, allowed, title);
SELECT is(pg_temp.as_role('member', $$ string_agg(topic, ' ' ORDER BY topic COLLATE "C") FROM aurora.topics WHERE length(topic) < 100 $$), 'chat mesh/news news',
          'a member sees its company''s topics and the mesh''s');
SELECT is(pg_temp.as_role('bolt', $$ string_agg(topic, ' ' ORDER BY topic COLLATE "C") FROM aurora.topics $$), 'chat mesh/news', 'and another company''s not');

-- ---- consumers ----

SELECT is(pg_temp.as_role('member', $$ aurora.subscribe('mailer', 'chat') $$), '0', 'a consumer begins with the oldest event');
SELECT is(pg_temp.as_role('member', $$ string_agg(seq::text, ' ') FROM aurora.fetch('mailer', 'chat', 3) $$), '1 2 3', 'fetch() gives what it has not acknowledged');
SELECT is(pg_temp.as_role('member', $$ string_agg(seq::text, ' ') FROM aurora.fetch('mailer', 'chat', 3) $$), '1 2 3', 'again and again');
SELECT is(pg_temp.as_role('member', format($$ aurora.ack('mailer', 'chat', 2, %L) $$, :'epoch')), '2', 'ack() says what is done');
SELECT is(pg_temp.as_role('member', $$ string_agg(seq::text, ' ') FROM aurora.fetch('mailer', 'chat', 3) $$), '3 4 5', 'and fetch() goes on after that');
SELECT is(pg_temp.as_role('member', format($$ aurora.ack('mailer', 'chat', 1, %L) $$, :'epoch')), '2', 'a lower number changes nothing');
SELECT is(pg_temp.as_role('member', $$ (consumer, owner, acked_seq, last_seq, lag, lag_age > '0', missed)::text FROM aurora.consumers $$), '(mailer,member,2,9,7,t,0)', 'consumers shows how far behind it is');
SELECT is(pg_temp.as_role('member', $$ aurora.subscribe('mailer', 'chat') $$), '2', 'subscribing again goes on where it was');
SELECT is(pg_temp.as_role('member', $$ aurora.subscribe('mailer', 'chat', 5) $$), '5', 'or is moved');
SELECT is(pg_temp.as_role('bot', $$ aurora.subscribe('mailer', 'chat') $$), '42501', 'another''s consumer is its own');
SELECT is(pg_temp.as_role('bot', format($$ aurora.ack('mailer', 'chat', 9, %L) $$, :'epoch')), '42501', 'nobody else acknowledges for it');
SELECT is(pg_temp.as_role('bot', $$ count(*) FROM aurora.fetch('mailer', 'chat') $$), '42501', 'nor fetches');
SELECT is(pg_temp.as_role('boss', format($$ aurora.ack('mailer', 'chat', 6, %L) $$, :'epoch')), '6', 'but a manager does');
SELECT is(pg_temp.error_of(statement), error, title)
    FROM (VALUES
        ($$ SELECT aurora.subscribe('', 'chat', company => 'Acme') $$, '22023 | this is no name of a consumer | It has 1 to 200 characters.', 'a consumer without a name'),
        ($$ SELECT aurora.subscribe('c', 'none', company => 'Acme') $$, '42704 | there is no topic "none" | Its first event makes it; wait_events() waits for that.', 'of a topic that is not there'),
        ($$ SELECT aurora.subscribe('c', 'chat', 100, 'Acme') $$, '55A01 | the cursor stands at 100, and topic "chat" ends at 9 in that epoch | What was read after 9 was lost with a former lead, or never was. | Forget what was read after 9, and go on with after_seq => 9.', 'beyond the end'),
        ($$ SELECT * FROM aurora.fetch('c', 'chat', company => 'Acme') $$, '42704 | there is no consumer "c" of this topic | aurora.subscribe() makes one.', 'fetching for none'),
        ($$ SELECT aurora.ack('c', 'chat', 1, gen_random_uuid(), 'Acme') $$, '42704 | there is no consumer "c" of this topic | aurora.subscribe() makes one.', 'acknowledging for none'),
        ($$ SELECT aurora.ack('mailer', 'chat', 7, NULL, 'Acme') $$, '22004 | number and epoch of the last event done may not be null | fetch() gives both.', 'acknowledging without an epoch'),
        ($$ SELECT aurora.ack('mailer', 'chat', 7, gen_random_uuid(), 'Acme') $$, '55A01 | the cursor''s epoch is not of this history of topic "chat" | It was of a lead none of whose events there have come here. | Forget what was read there, and start again with after_seq => 0.', 'acknowledging in an unknown epoch'),
        ($$ SELECT aurora.unsubscribe('c', 'chat', 'Acme') $$, '42704 | there is no consumer "c" of this topic | aurora.subscribe() makes one.', 'ending none')
    ) s (statement, error, title);

-- ---- retention ----

SELECT aurora.set_topic('chat', keep_events => 2, company => 'Acme') AS ignored \gset
SELECT is(aurora.trim_events(3), 3::bigint, 'trim_events() removes what is over the number to keep, so many at once');
SELECT is(aurora.trim_events(), 4::bigint, 'and the rest');
SELECT is(aurora.trim_events(), 0::bigint, 'and then nothing');
SELECT is(pg_temp.rows_of($$ SELECT seq FROM aurora.events('chat', company => 'Acme') $$), '(8) (9)', 'the last two are there');
SELECT is(pg_temp.error_of($$ SELECT * FROM aurora.events('chat', 6, company => 'Acme') $$),
          '55A03 | events of topic "chat" up to 7 are no longer kept | Go on with after_seq => 7, knowing that events between were missed.', 'who was behind is told');
SELECT is((SELECT count(*) FROM aurora.events('chat', 7, company => 'Acme')), 2::bigint, 'who was not goes on');
SELECT is(pg_temp.rows_of($$ SELECT * FROM aurora.cursor_state('chat', 6, company => 'Acme') $$), '(trimmed,7)', 'cursor_state() knows');
SELECT is(pg_temp.error_of($$ SELECT * FROM aurora.fetch('mailer', 'chat', company => 'Acme') $$),
          '55A03 | events of topic "chat" up to 7 are no longer kept | To go on without those after 6: SELECT aurora.subscribe(''mailer'', ''chat'', 7).', 'a consumer that was behind is told');
SELECT is(pg_temp.rows_of($$ SELECT missed, lag FROM aurora.consumers $$), '(1,3)', 'and shown with what it missed');
SELECT is(aurora.subscribe('mailer', 'chat', 7, 'Acme'), 7::bigint, 'it can be moved');
SELECT is(aurora.ack('mailer', 'chat', 8, :'epoch', 'Acme'), 8::bigint, 'and goes on');
SELECT is(aurora.publish('chat', '1', 'b', 'Acme'), 10::bigint, 'a client''s id is forgotten with its event');
UPDATE aurora.event SET at = at - interval '31 days' WHERE topic_id IN (SELECT topic_id FROM aurora.topics WHERE topic = 'mesh/news') AND seq = 1;
SELECT is(aurora.trim_events(), 1::bigint + 1, 'old events go after aurora.event_retention');
SELECT aurora.set_topic('news', '1 hour', company => 'Acme') AS ignored \gset
UPDATE aurora.event SET at = at - interval '2 hours' WHERE topic_id IN (SELECT topic_id FROM aurora.topics WHERE topic = 'news');
SELECT is(aurora.trim_events(), 1::bigint, 'or after the time of their topic');
SELECT is(pg_temp.rows_of($$ SELECT first_seq, last_seq, events FROM aurora.topics WHERE topic = 'news' $$), '(2,1,0)', 'which may be empty then');
SELECT is(aurora.publish('news', '1', company => 'Acme'), 2::bigint, 'and goes on with the next number');
SELECT aurora.set_topic('news', '0', company => 'Acme') AS ignored \gset
UPDATE aurora.event SET at = at - interval '20 years' WHERE topic_id IN (SELECT topic_id FROM aurora.topics WHERE topic = 'news');
SELECT is(aurora.trim_events(), 0::bigint, '0 keeps events of any age');

-- ---- removing a topic ----

SELECT epoch AS news_epoch FROM aurora.topics WHERE topic = 'news' \gset
SELECT is(aurora.remove_topic('news', 'Acme'), 1::bigint, 'a topic is removed with its events');
SELECT is((SELECT count(*) FROM aurora.event e WHERE NOT EXISTS (SELECT FROM aurora.topic t WHERE t.topic_id = e.topic_id)), 0::bigint, 'and none is left');
SELECT aurora.publish('news', '1', company => 'Acme'), aurora.publish('news', '1', company => 'Acme') \gset ignored_
SELECT is(pg_temp.rows_of(format($$ SELECT * FROM aurora.cursor_state('news', 2, %L, 'Acme') $$, :'news_epoch')), '(lost,0)',
          'a cursor of the removed topic is none of the next one of that name');

-- ---- what capabilities tell of ----

SELECT is(pg_temp.as_role('member', $$ aurora.add_item('one') $$), '1', 'an item is added');
SELECT is(pg_temp.rows_of($$ SELECT seq, publisher, payload FROM aurora.events('items/member', company => 'Acme') $$), '(1,aurora,"{""changed"": [1]}")', 'its owner''s topic tells its id');
BEGIN;
SELECT aurora.add_item('two', owner => 'member', company => 'Acme'), aurora.add_item('three', owner => 'boss', company => 'Acme'), aurora.complete(1) \gset ignored_
SAVEPOINT a;
SELECT aurora.add_item('undone', owner => 'member', company => 'Acme') \gset ignored_
ROLLBACK TO a;
SAVEPOINT b;
SELECT aurora.add_item('kept', owner => 'member', company => 'Acme') \gset ignored_
RELEASE b;
UPDATE aurora.item SET title = 'changed' WHERE item_id = 2;
COMMIT;
SELECT is(pg_temp.rows_of($$ SELECT seq, payload FROM aurora.events('items/member', 1, company => 'Acme') $$), '(2,"{""changed"": [2, 1, 5]}")',
          'a transaction is one event for each topic, without what a subtransaction undid');
SELECT is(pg_temp.rows_of($$ SELECT seq, payload FROM aurora.events('items/boss', company => 'Acme') $$), '(1,"{""changed"": [3]}")', 'another owner has a topic of its own');
BEGIN;
SELECT aurora.add_item('undone', owner => 'boss', company => 'Acme') \gset ignored_
ROLLBACK;
SELECT is(pg_temp.rows_of($$ SELECT last_seq FROM aurora.topics WHERE topic = 'items/boss' $$), '(1)', 'what is rolled back is not told');
SELECT aurora.delegate(2, 'boss') AS ignored \gset
SELECT is(pg_temp.rows_of($$ SELECT topic, e.seq, e.payload FROM aurora.topics t, aurora.events(t.topic, t.last_seq - 1, company => 'Acme') e WHERE topic LIKE 'items/%' ORDER BY topic COLLATE "C" $$),
          '(items/boss,2,"{""changed"": [2]}") (items/member,3,"{""changed"": [2]}")', 'an item that goes to another owner is told to both');
INSERT INTO aurora.item (company_id, owner, title, received_at, kind) SELECT :acme, 'boss', 'bulk', now(), 'task' FROM generate_series(1, 250);
SELECT is(pg_temp.rows_of($$ SELECT seq, jsonb_array_length(payload -> 'changed'), payload -> 'more' FROM aurora.events('items/boss', 2, company => 'Acme') $$), '(3,100,150)',
          'of many items 100 are named and the rest counted');
DELETE FROM aurora.item WHERE item_id = 3;
SELECT is(pg_temp.rows_of($$ SELECT payload FROM aurora.events('items/boss', 3, company => 'Acme') $$), '("{""changed"": [3]}")', 'a deleted item is told');
BEGIN;
SELECT aurora.add_item('prepared', owner => 'boss', company => 'Acme') AS id \gset
PREPARE TRANSACTION 'regress_events';
COMMIT PREPARED 'regress_events';
SELECT is((SELECT count(*) FROM aurora.event_note), 1::bigint, 'a prepared transaction without a courier holds no topic: it leaves a note');
SELECT is(aurora.publish_notes(), false, 'which publish_notes() publishes');
SELECT is(pg_temp.rows_of($$ SELECT payload -> 'changed' ->> 0 FROM aurora.events('items/boss', 4, company => 'Acme') $$), format('(%s)', :id), 'so it is told as well');
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT aurora.add_item('repeatable', owner => 'boss', company => 'Acme') AS id \gset
COMMIT;
SELECT is((SELECT payload -> 'changed' ->> 0 FROM aurora.event_note), :'id', 'so does one that keeps its first snapshot');
SELECT aurora.publish_notes() AS ignored \gset
SELECT is(pg_temp.who_may($$ count(*) FROM aurora.events('items/member', company => 'Acme') $$), 'boss member bolt:22023 operator:22023 node:22023 monitor:22023 gateway:22023', 'an owner''s items are for it and for managers');
SELECT is(pg_temp.as_role('member', $$ string_agg(topic, ' ' ORDER BY topic COLLATE "C") FROM aurora.topics WHERE topic LIKE 'items/%' $$), 'items/member', 'others do not see the topic');
SELECT aurora.put_secret('hubspot', 'token', 'a great secret'), aurora.put_secret('hubspot', 'token', 'another great secret', 'one', 'Acme'), aurora.delete_secret('hubspot', 'token') \gset ignored_
SELECT is(pg_temp.rows_of($$ SELECT seq, payload FROM aurora.events('mesh/secrets') $$), '(1,"{""changed"": [{""node"": null, ""service"": ""hubspot"", ""key_name"": ""token""}]}")',
          'names of secrets that changed are told, once for a transaction');
SELECT is(pg_temp.rows_of($$ SELECT payload -> 'changed' -> 0 ->> 'node' FROM aurora.events('secrets', company => 'Acme') $$), '(one)', 'a company''s to its own topic');
SELECT is((SELECT count(*) FROM aurora.event WHERE payload::text LIKE '%great secret%'), 0::bigint, 'and never what they are');
SELECT is(pg_temp.who_may($$ count(*) FROM aurora.events('mesh/secrets') $$), 'operator', 'they are for operators');
SELECT is(pg_temp.who_may($$ count(*) FROM aurora.events('secrets') $$), 'boss', 'a company''s for who manages it');
SELECT aurora.register_node('regress-e', address => '10.0.0.9') \gset ignored_
SELECT aurora.judge_nodes() AS ignored \gset
SELECT is(pg_temp.rows_of($$ SELECT payload #>> '{changed,0,node}', payload #>> '{changed,0,to}' FROM aurora.events('mesh/nodes') $$), '(regress-e,unknown)', 'transitions of nodes are told');
SELECT aurora.remove_company('Acme') > 0 AS ignored \gset
SELECT is(pg_temp.rows_of($$ SELECT count(*) FROM aurora.event WHERE company_id = $$ || :acme), '(0)', 'a company is removed with its events');
SELECT is(pg_temp.rows_of($$ SELECT count(*) FROM aurora.topic WHERE company_id = $$ || :acme), '(0)', 'and its topics');

-- ---- waiting ----

SELECT finish();
CALL aurora.wait_events('chat', 0, '10 s', NULL, 'Bolt');
CALL aurora.wait_events('chat', 1, '10 ms', NULL, 'Bolt');
CALL aurora.wait_events('none', 0, '0', NULL, 'Bolt');
\set VERBOSITY terse
CALL aurora.wait_events('chat', 0, '-1 s', NULL, 'Bolt');
CALL aurora.wait_events('chat', 0, '25 hours', NULL, 'Bolt');
CALL aurora.wait_events('chat', 0, NULL, NULL, 'Bolt');
CALL aurora.wait_events('chat', -1, '1 s', NULL, 'Bolt');
CALL aurora.wait_events('', 0, '1 s', NULL, 'Bolt');
CALL aurora.wait_events('chat', 2, '1 s', NULL, 'Bolt');
CALL aurora.wait_events('chat', 1, '1 s', '11111111-1111-1111-1111-111111111111', 'Bolt');
SET ROLE regress_e_plain;
CALL aurora.wait_events('chat', 0, '1 s', NULL, 'Bolt');
SET ROLE regress_e_bolt;
CALL aurora.wait_events('items/other', 0, '1 s');
CALL aurora.wait_events('chat', 0, '1 s');
SET ROLE regress_e_gateway;
CALL aurora.wait_events('chat', 0, '1 s', NULL, 'Bolt');
CALL aurora.wait_events('chat', 0, '1 s', NULL, 'Nobody');
RESET ROLE;
BEGIN;
CALL aurora.wait_events('chat', 0, '1 s', NULL, 'Bolt');
ROLLBACK;

\connect :regress
DROP DATABASE regress_events;
DROP ROLE regress_e_boss, regress_e_member, regress_e_bot, regress_e_bolt, regress_e_operator, regress_e_node, regress_e_monitor, regress_e_gateway, regress_e_plain, "aurora_node_regress-e";
