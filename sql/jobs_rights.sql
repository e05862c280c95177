\set ECHO none
-- Who may do what with jobs and queues: every role with every function and view. What is set up is
-- committed, so that each role acts in transactions of its own. In a database of its own.
SET client_min_messages = warning;
\pset format unaligned
\pset tuples_only
\set regress :DBNAME
DROP DATABASE IF EXISTS regress_jobs_rights;
CREATE DATABASE regress_jobs_rights;
\connect regress_jobs_rights
SET client_min_messages = error;
SET timezone = 'UTC';
CREATE EXTENSION pgtap;
CREATE EXTENSION aurora;
DROP ROLE IF EXISTS regress_plain, regress_admin, regress_operator, regress_user, regress_agent, regress_node, regress_other_node, regress_stray, regress_monitor, regress_gateway,
    regress_boss, regress_ann, regress_bob, regress_bolt, regress_both;
CREATE ROLE regress_plain;
CREATE ROLE regress_admin IN ROLE aurora_admin;
CREATE ROLE regress_operator IN ROLE aurora_operator;
CREATE ROLE regress_user IN ROLE aurora_user;
CREATE ROLE regress_agent IN ROLE aurora_agent;
CREATE ROLE regress_node LOGIN;
CREATE ROLE regress_other_node LOGIN;
CREATE ROLE regress_stray IN ROLE aurora_node;
CREATE ROLE regress_monitor IN ROLE aurora_monitor;
CREATE ROLE regress_gateway IN ROLE aurora_gateway;
CREATE ROLE regress_boss;
CREATE ROLE regress_ann;
CREATE ROLE regress_bob;
CREATE ROLE regress_bolt;
CREATE ROLE regress_both;

SELECT plan(99);

-- What an expression gives a role, of an error the SQLSTATE; what is done stays.
CREATE FUNCTION pg_temp.as_role(role name, expression text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    result text;
BEGIN
    EXECUTE format('SET LOCAL ROLE %I', role);
    EXECUTE 'SELECT (' || expression || ')::text' INTO result;
    SET LOCAL ROLE NONE;
    RETURN result;
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE;
END
$$;
-- How it ends when a role does this: done, or the SQLSTATE; it is undone.
CREATE FUNCTION pg_temp.end_of(role name, statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('SET LOCAL ROLE %I', role);
    EXECUTE statement;
    RAISE SQLSTATE 'ZZ001';
EXCEPTION
    WHEN SQLSTATE 'ZZ001' THEN RETURN 'done';
    WHEN OTHERS THEN RETURN SQLSTATE;
END
$$;
-- How it ends for each role: "done: admin boss; 42501: plain".
CREATE FUNCTION pg_temp.ends(statement text) RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(format('%s: %s', e.how, e.roles), '; ' ORDER BY e.how = 'done' DESC, e.how)
    FROM (SELECT e.how, string_agg(r, ' ' ORDER BY r COLLATE "C") AS roles
          FROM unnest(ARRAY['admin', 'agent', 'ann', 'bob', 'bolt', 'boss', 'both', 'gateway', 'monitor', 'node', 'operator', 'other_node', 'plain', 'stray', 'user']) r,
               LATERAL (SELECT pg_temp.end_of(('regress_' || r)::name, statement) AS how) e
          GROUP BY e.how) e
$$;
CREATE FUNCTION pg_temp.id(name text) RETURNS bigint LANGUAGE sql STABLE SECURITY DEFINER AS $$ SELECT max(job_id) FROM aurora.jobs WHERE payload ->> 'name' = name $$;
GRANT EXECUTE ON FUNCTION pg_temp.id TO PUBLIC;

SELECT aurora.add_company('Acme') AS acme, aurora.add_company('Bolt') AS bolt \gset
SELECT count(aurora.add_principal(owner, company, login_role, trust))
    FROM (VALUES ('boss', 'Acme', 'regress_boss', 'admin'), ('ann', 'Acme', 'regress_ann', 'member'), ('bob', 'Acme', 'regress_bob', 'member'), ('robot', 'Acme', 'regress_agent', 'member'),
                 ('bolt', 'Bolt', 'regress_bolt', 'admin'), ('both', 'Acme', 'regress_both', 'member'), ('both', 'Bolt', 'regress_both', 'admin')) p (owner, company, login_role, trust) \gset ignored_
SELECT aurora.register_node('alpha', login_role => 'regress_node'), aurora.register_node('beta', login_role => 'regress_other_node') \gset ignored_
SELECT aurora.add_queue('q') AS q, aurora.add_queue('own', 'Acme') AS own \gset
SELECT pg_temp.as_role('regress_ann', $$ aurora.submit_job('q', '{"name": "of ann"}') $$) AS of_ann, pg_temp.as_role('regress_boss', $$ aurora.submit_job('q', '{"name": "of boss"}') $$) AS of_boss,
       pg_temp.as_role('regress_bolt', $$ aurora.submit_job('q', '{"name": "of bolt"}') $$) AS of_bolt, pg_temp.as_role('regress_agent', $$ aurora.submit_job('q', '{"name": "of robot"}') $$) AS of_robot,
       pg_temp.as_role('regress_ann', $$ aurora.submit_job('own', '{"name": "own"}') $$) AS in_own \gset
SELECT is((SELECT string_agg(concat_ws(' ', payload ->> 'name', submitted_by, company), ', ' ORDER BY job_id) FROM aurora.jobs), 'of ann ann Acme, of boss boss Acme, of bolt bolt Bolt, of robot robot Acme, own ann Acme', 'jobs are of the company and by the principal of their callers');

-- ---- the functions and views ----

SELECT is(pg_temp.ends(CASE WHEN statement LIKE 'CALL%' THEN statement ELSE 'SELECT ' || statement END), ends, title)
    FROM (VALUES ($$ 1 $$, 'done: admin agent ann bob bolt boss both gateway monitor node operator other_node plain stray user', 'the test itself keeps nobody from anything'),
                 ($$ aurora.submit_job('q') $$, 'done: agent ann bob bolt boss both; 22023: admin gateway operator user; 42501: monitor node other_node plain stray',
                  'principals submit jobs, of their first company; others would have to name one'),
                 ($$ aurora.submit_job('default') $$, 'done: agent ann bob bolt boss both; 22023: admin gateway operator user; 42501: monitor node other_node plain stray', 'also to the default queue, which is made'),
                 ($$ aurora.submit_job('q', company => 'Bolt') $$, 'done: admin bolt both; 22023: agent ann bob boss gateway operator user; 42501: monitor node other_node plain stray', 'for a company its principals do, and administrators'),
                 ($$ aurora.submit_job('q', unique_key => 'k', run_after => ARRAY[pg_temp.id('of ann')]) $$, 'done: agent ann bob boss both; 22023: admin bolt gateway operator user; 42501: monitor node other_node plain stray',
                  'what runs after a job is of the same company'),
                 ($$ aurora.submit_job('own') $$, 'done: admin agent ann bob boss both; 22023: bolt gateway operator user; 42501: monitor node other_node plain stray', 'a company''s own queue is not there for others'),
                 ($$ aurora.submit_jobs('q', ARRAY['1']::jsonb[]) $$, 'done: agent ann bob bolt boss both; 22023: admin gateway operator user; 42501: monitor node other_node plain stray', 'several are submitted by the same'),
                 ($$ aurora.take_jobs('q') $$, 'done: admin node operator other_node stray; 42501: agent ann bob bolt boss both gateway monitor plain user', 'nodes and operators take from shared queues'),
                 ($$ aurora.take_jobs('own') $$, 'done: admin agent ann bob boss both; 22023: bolt gateway node operator other_node stray user; 42501: monitor plain', 'principals from their company''s own'),
                 ($$ aurora.take_jobs('own', company => 'Acme') $$, 'done: admin agent ann bob boss both; 22023: bolt gateway node operator other_node stray user; 42501: monitor plain', 'also when it is named'),
                 ($$ aurora.cancel_job(pg_temp.id('of ann')) $$, 'done: admin ann boss operator; 42501: monitor node other_node plain stray; 42704: agent bob bolt both gateway user', 'a job is cancelled by whose it is, who manages the company, and operators'),
                 ($$ aurora.cancel_job(pg_temp.id('of bolt')) $$, 'done: admin bolt both operator; 42501: monitor node other_node plain stray; 42704: agent ann bob boss gateway user', 'not by those of another company'),
                 ($$ aurora.replay_job(pg_temp.id('of ann')) $$, '42501: monitor node other_node plain stray; 42704: agent bob bolt both gateway user; 55000: admin ann boss operator', 'replayed by the same'),
                 ($$ aurora.replay_jobs('q') $$, 'done: admin agent ann bob bolt boss both gateway operator user; 42501: monitor node other_node plain stray', 'each replays all of its own'),
                 ($$ aurora.job_position(pg_temp.id('of ann')) $$, 'done: admin ann boss operator; 42501: monitor node other_node plain stray; 42704: agent bob bolt both gateway user', 'and asks for its position'),
                 ($$ aurora.finish_job(pg_temp.id('of ann'), 1) $$, 'done: admin node operator other_node stray; 42501: agent ann bob bolt boss both gateway monitor plain user', 'only who may take from a queue finishes its jobs'),
                 ($$ aurora.fail_job(pg_temp.id('of ann'), 1) $$, 'done: admin node operator other_node stray; 42501: agent ann bob bolt boss both gateway monitor plain user', 'or fails them'),
                 ($$ aurora.finish_job(pg_temp.id('own'), 1) $$, 'done: admin agent ann bob boss both node operator other_node stray; 42501: bolt gateway monitor plain user', 'those of a company''s own its principals, too'),
                 ($$ aurora.renew_lease(pg_temp.id('of ann'), 1) $$, 'done: admin agent ann bob bolt boss both gateway node operator other_node stray user; 42501: monitor plain', 'anybody hears that he does not have a job'),
                 ($$ aurora.finish_job(999999, 1) $$, '42501: monitor plain; 42704: admin agent ann bob bolt boss both gateway node operator other_node stray user', 'or that there is none'),
                 ($$ aurora.add_queue('new') $$, 'done: admin operator; 42501: agent ann bob bolt boss both gateway monitor node other_node plain stray user', 'operators add shared queues'),
                 ($$ aurora.add_queue('new', 'Acme') $$, 'done: admin boss; 22023: bolt gateway operator user; 42501: agent ann bob both monitor node other_node plain stray', 'and who administers a company its own'),
                 ($$ aurora.set_queue('q', lease => '1 min') $$, 'done: admin operator; 42501: agent ann bob bolt boss both gateway monitor node other_node plain stray user', 'the same set them'),
                 ($$ aurora.set_queue('own', 'Acme', lease => '1 min') $$, 'done: admin boss; 22023: bolt gateway operator user; 42501: agent ann bob both monitor node other_node plain stray', 'or a company''s own'),
                 ($$ aurora.pause_queue('q') $$, 'done: admin operator; 42501: agent ann bob bolt boss both gateway monitor node other_node plain stray user', 'pause them'),
                 ($$ aurora.pause_queue('own', company => 'Acme') $$, 'done: admin boss; 22023: bolt gateway operator user; 42501: agent ann bob both monitor node other_node plain stray', 'or a company''s own'),
                 ($$ aurora.drain_queue('q') $$, 'done: admin operator; 42501: agent ann bob bolt boss both gateway monitor node other_node plain stray user', 'drain them'),
                 ($$ aurora.drain_queue('own', company => 'Acme') $$, 'done: admin boss; 22023: bolt gateway operator user; 42501: agent ann bob both monitor node other_node plain stray', 'or a company''s own'),
                 ($$ aurora.remove_queue('q') $$, '42501: agent ann bob bolt boss both gateway monitor node other_node plain stray user; 55000: admin operator', 'and remove them when they are empty'),
                 ($$ aurora.remove_queue('own', company => 'Acme') $$, '22023: bolt gateway operator user; 42501: agent ann bob both monitor node other_node plain stray; 55000: admin boss', 'or a company''s own'),
                 ($$ aurora.set_concurrency('q', 'k', 2, 'Acme') $$, 'done: admin boss; 22023: bolt gateway operator user; 42501: agent ann bob both monitor node other_node plain stray', 'who administers a company says how many of its jobs run at once'),
                 ($$ aurora.settle_queue(1) $$, 'done: admin operator; 42501: agent ann bob bolt boss both gateway monitor node other_node plain stray user', 'operators settle queues by hand'),
                 ($$ aurora.rotate_job_archive() $$, 'done: admin operator; 42501: agent ann bob bolt boss both gateway monitor node other_node plain stray user', 'and rotate the archive'),
                 ($$ aurora.rotate_job_archive(now() + interval '1 hour') $$, 'done: admin; 42501: agent ann bob bolt boss both gateway monitor node operator other_node plain stray user', 'but only administrators before its time'),
                 ($$ aurora.health_jobs() $$, 'done: admin agent ann bob bolt boss both gateway monitor node operator other_node stray user; 42501: plain', 'whoever is of aurora sees how all is'),
                 ($$ aurora.queue_depths(), aurora.lane_rate(1, 'normal'), aurora.find_queue('q'), aurora.is_operator(), aurora.job_class_labels(), aurora.job_state_labels() $$,
                  'done: admin agent ann bob bolt boss both gateway monitor node operator other_node stray user; 42501: plain', 'and what the views ask'),
                 ($$ count(*) FROM aurora.queue, aurora.job_queue $$, 'done: admin agent ann bob bolt boss both gateway monitor node operator other_node stray user; 42501: plain', 'and the queues'),
                 ($$ count(*) FROM aurora.jobs $$, 'done: admin agent ann bob bolt boss both gateway user; 42501: monitor node operator other_node plain stray', 'jobs only principals see, and administrators'),
                 ($$ count(*) FROM aurora.refused_results $$, 'done: admin agent ann bob bolt boss both gateway user; 42501: monitor node operator other_node plain stray', 'and what was refused'),
                 ($$ count(*) FROM aurora.job, aurora.job_archive $$, 'done: admin agent ann bob bolt boss both gateway user; 42501: monitor node operator other_node plain stray', 'also in the tables'),
                 ($$ count(*) FROM aurora.job_archive_0 $$, '42501: admin agent ann bob bolt boss both gateway monitor node operator other_node plain stray user', 'but not past the policy'),
                 ($$ count(*) FROM aurora.job_minute $$, 'done: admin monitor operator; 42501: agent ann bob bolt boss both gateway node other_node plain stray user', 'who minds the queues sees what is counted'),
                 ($$ count(*) FROM aurora.job_dependency $$, '42501: admin agent ann bob bolt boss both gateway monitor node operator other_node plain stray user', 'tables that only functions need nobody reads'),
                 ($$ count(*) FROM aurora.job_concurrency $$, '42501: admin agent ann bob bolt boss both gateway monitor node operator other_node plain stray user', 'of keys'),
                 ($$ count(*) FROM aurora.job_archive_ring $$, '42501: admin agent ann bob bolt boss both gateway monitor node operator other_node plain stray user', 'or of the archive'),
                 ($$ nextval('aurora.job_job_id_seq') $$, '42501: admin agent ann bob bolt boss both gateway monitor node operator other_node plain stray user', 'nor use the sequence')
         ) s (statement, ends, title);
SELECT is_empty($$ SELECT p.oid::regprocedure, r FROM pg_proc p, unnest(ARRAY['admin', 'agent', 'gateway', 'monitor', 'node', 'operator', 'user']) r
                   WHERE p.pronamespace = 'aurora'::regnamespace AND has_function_privilege('aurora_' || r, p.oid, 'EXECUTE')
                     AND p.proname IN (SELECT p.proname FROM pg_proc p WHERE p.pronamespace = 'aurora'::regnamespace AND p.proname ~ 'job|queue|lane|lease|taker|blocker|dependents|concurrency|end_attempt|refuse_result|archive_slot')
                     AND p.proname <> ALL (ARRAY['submit_job', 'submit_jobs', 'take_jobs', 'wait_jobs', 'finish_job', 'fail_job', 'renew_lease', 'cancel_job', 'replay_job', 'replay_jobs', 'job_position',
                         'add_queue', 'set_queue', 'pause_queue', 'drain_queue', 'remove_queue', 'set_concurrency', 'settle_queue', 'rotate_job_archive', 'health_jobs',
                         'find_queue', 'queue_depths', 'lane_rate', 'job_class_labels', 'job_state_labels', 'job_output', 'job_outputs', 'submitted_job', 'gpu_queue_rows']) $$, 'no function of jobs is granted but those that are made for callers, and what their views ask');

-- ---- rows ----

CREATE FUNCTION pg_temp.seen(query text) RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(format('%s: %s', r, coalesce(pg_temp.as_role(('regress_' || r)::name, '(' || query || ')'), 'none')), '; ' ORDER BY r COLLATE "C")
    FROM unnest(ARRAY['admin', 'agent', 'ann', 'bob', 'bolt', 'boss', 'both', 'gateway', 'monitor', 'node', 'operator', 'user']) r
$$;
SELECT is(pg_temp.seen($$ SELECT string_agg(payload ->> 'name', ', ' ORDER BY job_id) FROM aurora.jobs $$),
          'admin: of ann, of boss, of bolt, of robot, own; agent: of robot; ann: of ann, own; bob: none; bolt: of bolt; boss: of ann, of boss, of robot, own; '
          'both: of bolt; gateway: none; monitor: 42501; node: 42501; operator: 42501; user: none', 'each sees its own jobs, managers those of their company');
SELECT is(pg_temp.seen($$ SELECT string_agg(payload ->> 'name', ', ' ORDER BY job_id) FROM aurora.job $$), pg_temp.seen($$ SELECT string_agg(payload ->> 'name', ', ' ORDER BY job_id) FROM aurora.jobs $$), 'in the table as in the view');
SELECT is(pg_temp.seen(q), 'admin: own, q; agent: own, q; ann: own, q; bob: own, q; bolt: q; boss: own, q; both: own, q; gateway: q; monitor: q; node: q; operator: own, q; user: q', 'shared queues all see, those of companies their principals: ' || title)
    FROM (VALUES ($$ SELECT string_agg(DISTINCT queue, ', ') FROM aurora.queue $$, 'in the view'), ($$ SELECT string_agg(name, ', ' ORDER BY name) FROM aurora.job_queue WHERE name <> 'default' $$, 'in the table')) q (q, title);
SELECT is(pg_temp.as_role('regress_bolt', $$ (SELECT waiting FROM aurora.queue WHERE queue = 'q' AND class = 'normal') $$), '4', 'how long a shared queue is all see');
INSERT INTO aurora.job_minute (queue_id, class, minute, taken) VALUES (:own, 'normal', date_trunc('minute', now() - interval '1 minute'), 60);
SELECT is(pg_temp.seen(format('SELECT aurora.lane_rate(%s, ''normal'') > 0', :own)), 'admin: true; agent: true; ann: true; bob: true; bolt: none; boss: true; both: true; gateway: none; monitor: none; node: none; operator: true; user: none', 'how fast a company''s own is others do not');

-- ---- nodes and takers ----

SELECT is(pg_temp.as_role('regress_node', $$ (SELECT job_id FROM aurora.take_jobs('q', taker => 'gpu0')) $$), :'of_ann', 'a node takes a job');
SELECT is((SELECT taker FROM aurora.jobs WHERE job_id = :of_ann), 'alpha/gpu0', 'in its own name');
SELECT is(pg_temp.as_role('regress_other_node', $$ (SELECT payload ->> 'name' FROM aurora.take_jobs('q', taker => 'alpha/gpu0')) $$), 'of bolt', 'another takes one, of another company');
SELECT is((SELECT taker FROM aurora.jobs WHERE job_id = :of_bolt), 'beta/alpha/gpu0', 'and cannot do so in the name of the first');
SELECT is(pg_temp.as_role('regress_stray', $$ (SELECT payload ->> 'name' FROM aurora.take_jobs('q', taker => 'alpha')) $$), 'of boss', 'one that is no node any more');
SELECT is((SELECT taker FROM aurora.jobs WHERE job_id = :of_boss), 'regress_stray/alpha', 'goes by its role');
SELECT is(pg_temp.as_role(role, format('(SELECT count(*) FROM aurora.take_jobs(''q'', 0, finished => ARRAY[%s], attempts => ARRAY[1]))', :of_ann)), '0', format('when %s brings a result', role))
    FROM unnest(ARRAY['regress_other_node', 'regress_stray']::name[]) role;
SELECT is(pg_temp.as_role(role, format('aurora.finish_job(%s, 1, ''"by %s"'')', :of_ann, role)), 'false', format('%s does not finish what a node has', role))
    FROM unnest(ARRAY['regress_other_node', 'regress_stray']::name[]) role;
SELECT is(pg_temp.as_role(role, format('aurora.fail_job(%s, 1)', :of_ann)), '42501', format('nor does %s fail it', role)) FROM unnest(ARRAY['regress_other_node', 'regress_stray']::name[]) role;
SELECT is(pg_temp.as_role(role, format('(SELECT state FROM aurora.renew_lease(%s, 1))', :of_ann)), '42501', format('or does %s renew it', role)) FROM unnest(ARRAY['regress_other_node', 'regress_stray', 'regress_bolt', 'regress_ann']::name[]) role;
SELECT is((SELECT state::text FROM aurora.jobs WHERE job_id = :of_ann), 'running', 'it goes on');
SELECT is((SELECT string_agg(concat_ws(' ', taker, reason, result), ', ' ORDER BY refused_at) FROM aurora.refused_results WHERE result IS NOT NULL), 'regress_other_node alpha/gpu0 has it "by regress_other_node", regress_stray alpha/gpu0 has it "by regress_stray"', 'what they brought is kept aside');
SELECT is(pg_temp.seen('SELECT nullif(count(*), 0) FROM aurora.refused_results'), 'admin: 4; agent: none; ann: none; bob: none; bolt: none; boss: 4; both: none; gateway: none; monitor: 42501; node: 42501; operator: 42501; user: none', 'who administers the company sees it');
SELECT is(pg_temp.as_role('regress_node', format('(SELECT state FROM aurora.renew_lease(%s, 1, note => ''half''))', :of_ann)), 'running', 'the node itself renews');
SELECT is(pg_temp.as_role('regress_node', format('aurora.finish_job(%s, 1)', :of_ann)), 'true', 'and finishes');
SELECT is(pg_temp.as_role('regress_other_node', format('aurora.fail_job(%s, 1, final => true)', :of_bolt)), 'dead', 'or fails');
SELECT is(pg_temp.as_role('regress_operator', format('aurora.fail_job(%s, 1, final => true)', :of_boss)), 'dead', 'and an operator helps with what any taker has');
SELECT is(pg_temp.as_role('regress_boss', $$ aurora.replay_jobs('q') $$), '1', 'who administers a company replays what is its own');
SELECT is(pg_temp.as_role('regress_boss', format('aurora.replay_job(%s)', :of_bolt)), '42704', 'and nothing else');
SELECT aurora.drain_node('alpha') \gset ignored_
SELECT is(pg_temp.as_role('regress_node', $$ (SELECT count(*) FROM aurora.take_jobs('q', 9)) $$), '0', 'a drained node takes nothing');
SELECT is(pg_temp.as_role('regress_other_node', $$ (SELECT payload ->> 'name' FROM aurora.take_jobs('q')) $$), 'of robot', 'while others do');
SELECT aurora.drain_node('beta') \gset ignored_
SELECT is(pg_temp.as_role('regress_other_node', format('(SELECT state FROM aurora.renew_lease(%s, 1))', :of_robot)), 'running', 'what a drained node has goes on');
SELECT is(pg_temp.as_role('regress_other_node', format('aurora.finish_job(%s, 1)', :of_robot)), 'true', 'to its end');
SELECT aurora.drain_node('alpha', false) \gset ignored_
SELECT is(pg_temp.as_role('regress_node', $$ (SELECT payload ->> 'name' FROM aurora.take_jobs('q')) $$), 'of boss', 'a node that is no longer drained takes again');
SELECT is(pg_temp.as_role('regress_ann', $$ (SELECT payload ->> 'name' FROM aurora.take_jobs('own')) $$), 'own', 'a principal takes from its company''s own queue');
SELECT is((SELECT taker FROM aurora.jobs WHERE job_id = :in_own), 'regress_ann', 'in the name of its role');
SELECT is(pg_temp.as_role('regress_bolt', format('aurora.finish_job(%s, 1)', :in_own)), '42501', 'who is not of the company does not finish it');
SELECT is(pg_temp.as_role('regress_bob', format('aurora.finish_job(%s, 1)', :in_own)), 'true', 'who is does, with the number of the attempt');

-- ---- a gateway that assumes a principal ----

CREATE FUNCTION pg_temp.as_assumed(company text, owner text, expression text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    result text;
BEGIN
    SET LOCAL ROLE regress_gateway;
    PERFORM aurora.assume(company, owner);
    EXECUTE 'SELECT (' || expression || ')::text' INTO result;
    RETURN result;
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE;
END
$$;
CREATE TEMPORARY TABLE answer (n int GENERATED ALWAYS AS IDENTITY, title text, have text, want text);
GRANT ALL ON answer TO PUBLIC;
INSERT INTO answer (title, have, want) SELECT 'a gateway submits as the principal that it assumes', pg_temp.as_assumed('Acme', 'ann', $$ aurora.submit_job('own', '{"name": "assumed"}') > 0 $$), 'true';
SELECT is((SELECT concat_ws(' ', submitted_by, company) FROM aurora.jobs WHERE payload ->> 'name' = 'assumed'), 'ann Acme', 'in its name');
INSERT INTO answer (title, have, want) SELECT 'and takes from the company''s own queue', pg_temp.as_assumed('Acme', 'ann', $$ (SELECT payload ->> 'name' FROM aurora.take_jobs('own')) $$), 'assumed';
INSERT INTO answer (title, have, want) SELECT 'not from a shared one', pg_temp.as_assumed('Acme', 'ann', $$ (SELECT count(*) FROM aurora.take_jobs('q')) $$), '42501';
INSERT INTO answer (title, have, want) SELECT 'nor from another company''s', pg_temp.as_assumed('Bolt', 'bolt', $$ (SELECT count(*) FROM aurora.take_jobs('own')) $$), '22023';
INSERT INTO answer (title, have, want) SELECT 'it sees what the principal does', pg_temp.as_assumed('Acme', 'ann', $$ (SELECT string_agg(payload ->> 'name', ', ' ORDER BY job_id) FROM aurora.jobs) $$), 'of ann, own, assumed';
INSERT INTO answer (title, have, want) SELECT 'cancels it', pg_temp.as_assumed('Acme', 'ann', $$ aurora.cancel_job(pg_temp.id('assumed')) $$), 'cancelling';
INSERT INTO answer (title, have, want) SELECT 'and nothing else', pg_temp.as_assumed('Acme', 'ann', $$ aurora.cancel_job(pg_temp.id('of boss')) $$), '42704';
INSERT INTO answer (title, have, want) SELECT 'a member administers no queue', pg_temp.as_assumed('Acme', 'ann', $$ aurora.add_queue('new', 'Acme') $$), '42501';
INSERT INTO answer (title, have, want) SELECT 'who administers the company does', pg_temp.as_assumed('Acme', 'boss', $$ aurora.add_queue('new', 'Acme') > 0 $$), 'true';
INSERT INTO answer (title, have, want) SELECT 'but no shared one', pg_temp.as_assumed('Acme', 'boss', $$ aurora.add_queue('shared') $$), '42501';
SELECT is(have, want, title) FROM answer ORDER BY n;
SELECT * FROM finish();
\connect :regress
SET client_min_messages = warning;
DROP DATABASE regress_jobs_rights;
DROP ROLE regress_plain, regress_admin, regress_operator, regress_user, regress_agent, regress_node, regress_other_node, regress_stray, regress_monitor, regress_gateway,
    regress_boss, regress_ann, regress_bob, regress_bolt, regress_both;
