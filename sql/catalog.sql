\set ECHO none
-- What holds for all objects of the extension, read from the catalogs: comments, rights, dumps, and
-- the column orders and labels that the library counts on.
SET client_min_messages = warning;
\pset format unaligned
\pset tuples_only
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS aurora;

BEGIN;
SELECT plan(86);

CREATE TEMPORARY VIEW member AS
    SELECT d.classid, d.objid
    FROM pg_depend d JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
    WHERE e.extname = 'aurora' AND d.deptype = 'e';
CREATE TEMPORARY VIEW relation AS
    SELECT c.* FROM pg_class c JOIN member m ON m.classid = 'pg_class'::regclass AND m.objid = c.oid;
CREATE TEMPORARY VIEW routine AS
    SELECT p.* FROM pg_proc p JOIN member m ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid;

CREATE FUNCTION pg_temp.error_of(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    state text;
    message text;
    hint text;
BEGIN
    EXECUTE statement;
    RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT;
    RETURN concat_ws(' | ', state, message, nullif(hint, ''));
END
$$;

-- ---- the extension has what it should have, or the queries below would find nothing to complain of ----

SELECT cmp_ok((SELECT count(*) FROM relation WHERE relkind = 'r'), '>=', 50::bigint, 'the extension has its tables');
SELECT cmp_ok((SELECT count(*) FROM relation WHERE relkind = 'v'), '>=', 20::bigint, 'the extension has its views');
SELECT cmp_ok((SELECT count(*) FROM relation WHERE relkind = 'S'), '>=', 5::bigint, 'the extension has its sequences');
SELECT cmp_ok((SELECT count(*) FROM routine), '>=', 240::bigint, 'the extension has its routines');
SELECT is_empty($$ SELECT c.oid::regclass FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                   WHERE n.nspname = 'aurora' AND c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
                     AND c.oid NOT IN (SELECT oid FROM relation) $$,
                'every relation in the schema is of the extension');

-- ---- comments ----

SELECT is_empty($$ SELECT oid::regclass FROM relation
                   WHERE relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND obj_description(oid, 'pg_class') IS NULL $$,
                'every table, view and sequence has a comment');
SELECT is_empty($$ SELECT r.oid::regclass, a.attname FROM relation r JOIN pg_attribute a ON a.attrelid = r.oid
                   WHERE r.relkind IN ('r', 'p', 'v', 'm', 'f') AND a.attnum > 0 AND NOT a.attisdropped
                     AND col_description(r.oid, a.attnum) IS NULL $$,
                'every column of a table or view has a comment');
SELECT is_empty($$ SELECT oid::regprocedure FROM routine WHERE obj_description(oid, 'pg_proc') IS NULL $$,
                'every function and procedure has a comment');
SELECT is_empty($$ SELECT t.oid::regtype FROM pg_type t JOIN member m ON m.classid = 'pg_type'::regclass AND m.objid = t.oid
                   LEFT JOIN pg_class c ON c.oid = t.typrelid
                   WHERE t.typcategory <> 'A' AND (c.oid IS NULL OR c.relkind = 'c')
                     AND obj_description(t.oid, 'pg_type') IS NULL $$,
                'every type has a comment');
SELECT is_empty($$ SELECT r.oid::regclass, t.tgname FROM relation r JOIN pg_trigger t ON t.tgrelid = r.oid
                   WHERE NOT t.tgisinternal AND obj_description(t.oid, 'pg_trigger') IS NULL $$,
                'every trigger has a comment');
SELECT is_empty($$ SELECT r.oid::regclass, p.polname FROM relation r JOIN pg_policy p ON p.polrelid = r.oid
                   WHERE obj_description(p.oid, 'pg_policy') IS NULL $$,
                'every policy has a comment');
SELECT is_empty($$ SELECT i.indexrelid::regclass FROM relation r JOIN pg_index i ON i.indrelid = r.oid
                   WHERE NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conindid = i.indexrelid)
                     AND obj_description(i.indexrelid, 'pg_class') IS NULL $$,
                'every index that no constraint made has a comment');
SELECT is_empty($$ SELECT m.classid::regclass, m.objid FROM member m
                   WHERE m.classid NOT IN ('pg_class'::regclass, 'pg_proc'::regclass, 'pg_type'::regclass)
                     AND obj_description(m.objid, m.classid::regclass::name) IS NULL $$,
                'every object of another sort has a comment');

-- ---- who may what ----

SELECT is_empty($$ SELECT p.oid::regprocedure FROM routine p,
                          aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a WHERE a.grantee = 0 $$,
                'no routine is executable by PUBLIC');
SELECT is_empty($$ SELECT r.oid::regclass FROM relation r,
                          aclexplode(coalesce(r.relacl, acldefault(CASE r.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char",
                                                                   r.relowner))) a
                   WHERE a.grantee = 0 $$,
                'no table, view or sequence is open to PUBLIC');
SELECT is_empty($$ SELECT r.oid::regclass, a.attname FROM relation r JOIN pg_attribute a ON a.attrelid = r.oid
                   WHERE a.attacl IS NOT NULL $$,
                'no column has rights of its own');
SELECT is_empty($$ SELECT FROM pg_namespace n, aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) a
                   WHERE n.nspname = 'aurora' AND a.grantee = 0 $$,
                'the schema is not open to PUBLIC');
SELECT is_empty($$ SELECT r.oid::regclass, a.grantee::regrole, a.privilege_type FROM relation r, aclexplode(r.relacl) a
                   WHERE a.grantee <> r.relowner AND a.privilege_type <> 'SELECT' $$,
                'no role may write tables past the functions');
SELECT is_empty($$ SELECT oid::regprocedure FROM routine
                   WHERE prosecdef AND NOT coalesce('search_path=pg_catalog, pg_temp' = ANY (proconfig), false) $$,
                'every SECURITY DEFINER routine has the fixed search_path');
SELECT is_empty($$ SELECT r.oid::regclass FROM relation r
                   WHERE r.relkind = 'v' AND r.relname NOT IN ('duties', 'secrets', 'secret_versions', 'secret_keys', 'secret_grants', 'secret_rights', 'api_keys')
                     AND NOT coalesce('security_invoker=true' = ANY (r.reloptions), false) $$,
                'every view reads with the rights of its caller, but that of the duties, and those of secrets and keys, which keep tokens out of sight');
SELECT is((SELECT string_agg(r.relname, ' ' ORDER BY r.relname COLLATE "C") FROM relation r
           WHERE r.relkind = 'v' AND r.relname LIKE 'secret%' AND 'security_barrier=true' = ANY (r.reloptions)),
          'secret_grants secret_keys secret_rights secret_versions secrets', 'those of secrets choose rows before anything else looks at them');
SELECT is_empty($$ SELECT r.oid::regclass, a.attname FROM relation r JOIN pg_attribute a ON a.attrelid = r.oid
                   WHERE r.relkind = 'v' AND r.relname LIKE 'secret%' AND a.attname IN ('token', 'value', 'wrapped', 'record') $$,
                'no view shows a token');
SELECT is_empty($$ SELECT r.oid::regclass, a.grantee::regrole FROM relation r, aclexplode(r.relacl) a
                   WHERE r.relname IN ('secret', 'secret_version', 'secret_data_key', 'secret_grant', 'secret_signal') AND a.grantee <> r.relowner $$,
                'no role may read the tables of secrets past the views');
SELECT is_empty($$ SELECT r.oid::regclass, a.grantee::regrole FROM relation r, aclexplode(r.relacl) a
                   WHERE r.relname IN ('api_key', 'session_key', 'principal_password', 'session_revocation') AND a.grantee <> r.relowner $$,
                'nor those of keys, passwords and sessions');
SELECT is_empty($$ SELECT p.oid::regprocedure, a.grantee::regrole FROM routine p, aclexplode(p.proacl) a
                   WHERE a.grantee <> p.proowner
                     AND p.proname IN ('new_api_key', 'key_actor', 'require_administer_key', 'principal_for_key', 'require_key_within_own', 'store_session_key',
                                       'renew_session_key', 'crypt_schema', 'hash_password', 'check_password', 'begin_session', 'read_session', 'is_same_text',
                                       'require_gateway', 'ring_news', 'require_monitor', 'metrics_of_nodes', 'metrics_of_work', 'metrics_of_events', 'metrics_of_gateway') $$,
                'nor is anybody granted what the functions of keys and sessions ask one another');
SELECT is_empty($$ SELECT r.oid::regclass FROM relation r
                   WHERE r.relkind IN ('r', 'p') AND NOT r.relrowsecurity
                     AND EXISTS (SELECT FROM aclexplode(r.relacl) a WHERE a.grantee <> r.relowner) $$,
                'every table that others may read has row level security');
SELECT is_empty($$ SELECT r.oid::regclass FROM relation r
                   WHERE r.relrowsecurity AND NOT EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = r.oid) $$,
                'every table with row level security has a policy');
SELECT is_empty($$ SELECT p.oid::regprocedure FROM routine p
                   WHERE p.proname IN ('assume', 'add_company', 'make_default_company', 'put_weight', 'change_item',
                                       'lock_item', 'wait_for_item_writers', 'place_item', 'actor')
                     AND (has_function_privilege('aurora_user', p.oid, 'EXECUTE')
                          OR has_function_privilege('aurora_agent', p.oid, 'EXECUTE')) $$,
                'users and agents may not call what is for administrators, gateways and other functions');
SELECT is_empty($$ SELECT p.oid::regprocedure, a.grantee::regrole FROM routine p, aclexplode(p.proacl) a
                   WHERE a.grantee <> p.proowner
                     AND (p.proname LIKE 'receive\_%' OR p.proname IN ('put_heartbeat', 'beat_lead', 'refuse_double', 'note_double', 'reporting_node', 'put_capability',
                          'make_node_role', 'store_secret', 'store_data_key', 'make_data_key', 'reencrypt_token', 'open_exported', 'audit_secret', 'secret_to_change', 'rotate_secrets_batch', 'nodes_without_key', 'change_state', 'close_gap', 'judge_nodes', 'judge_api', 'hand_to_agent',
                          'note_event', 'publish_note', 'begin_topic_epoch', 'topic_to_manage', 'find_consumer', 'open_cursor')) $$,
                'no role is granted what writes the registry for its functions');
SELECT is_empty($$ SELECT p.oid::regprocedure, a.grantee::regrole FROM routine p, aclexplode(p.proacl) a
                   WHERE a.grantee <> p.proowner
                     AND p.proname IN ('store_job', 'lock_blockers', 'require_ended_blockers', 'release_dependents', 'make_concurrency', 'enter_concurrency', 'lock_concurrency', 'leave_concurrency', 'keep_jobs_from_company',
                                       'end_job', 'end_attempt', 'refuse_result', 'archive_slot', 'job_to_change', 'ended_job_state', 'queue_to_manage', 'make_default_queue',
                                       'require_taker', 'ring_queue', 'queue_due', 'next_job_position', 'job_arrives', 'job_leaves', 'count_job', 'add_job_counts') $$,
                'nor what the functions of jobs ask one another and the library');
SELECT is_empty($$ SELECT r.oid::regclass FROM relation r, aclexplode(r.relacl) a
                   WHERE r.relname LIKE 'job%' AND r.relkind IN ('r', 'p') AND a.grantee <> r.relowner
                     AND r.relname NOT IN ('job', 'job_archive', 'job_queue', 'job_refused_result', 'job_minute') $$,
                'of the tables of jobs nobody reads those that only functions need, nor parts of the archive past its policy');
SELECT is_empty($$ SELECT p.oid::regprocedure, a.grantee::regrole FROM routine p, aclexplode(p.proacl) a
                   WHERE a.grantee <> p.proowner
                     AND p.proname IN ('gpu_node', 'put_gpu_models', 'put_gpu_device', 'make_gpu_queue', 'submit_generation', 'partial_output', 'partial_text',
                                       'rest_of_text', 'learn_speed', 'output_end', 'gpu_forecasts') $$,
                'nor what those of the GPU mesh do');
SELECT is_empty($$ SELECT r.oid::regclass, a.grantee::regrole FROM relation r, aclexplode(r.relacl) a
                   WHERE r.relname LIKE 'generation%' AND r.relkind IN ('r', 'p') AND a.grantee <> r.relowner
                     AND NOT (r.relname IN ('generation', 'generation_output') AND a.grantee::regrole::text = 'aurora_admin') $$,
                'nobody but administrators reads text past job_output(), nor they parts of it past its policy');
SELECT is((SELECT string_agg(a.grantee::regrole::text, ' ') FROM routine p, aclexplode(p.proacl) a WHERE p.proname = 'report_heartbeat' AND a.grantee <> p.proowner),
          'aurora_node', 'only nodes are granted to report heartbeats');
SELECT is((SELECT string_agg(rolname, ' ' ORDER BY rolname COLLATE "C") FROM pg_roles
           WHERE rolname IN ('aurora_admin', 'aurora_agent', 'aurora_gateway', 'aurora_monitor', 'aurora_node',
                             'aurora_operator', 'aurora_user')
             AND NOT rolcanlogin AND NOT rolsuper AND NOT rolbypassrls AND NOT rolcreaterole AND NOT rolreplication),
          'aurora_admin aurora_agent aurora_gateway aurora_monitor aurora_node aurora_operator aurora_user',
          'the group roles are there and have no powers of their own');
SELECT is_empty($$ SELECT p.oid::regprocedure FROM routine p JOIN pg_language l ON l.oid = p.prolang
                   WHERE EXISTS (SELECT FROM pg_policy q WHERE pg_get_expr(q.polqual, q.polrelid) ~ ('\m' || p.proname || '\('))
                     AND (p.provolatile <> 's' OR p.proparallel <> 'r') $$,
                'functions that policies call are STABLE and PARALLEL RESTRICTED');

-- ---- dumps ----

SELECT is_empty($$ SELECT r.oid::regclass FROM relation r
                   WHERE r.relkind IN ('r', 'p', 'S')
                     AND r.oid <> ALL (SELECT unnest(extconfig) FROM pg_extension WHERE extname = 'aurora') $$,
                'every table and sequence is registered to be dumped');
SELECT is_empty($$ SELECT c FROM pg_extension, unnest(extcondition) c WHERE extname = 'aurora' AND c <> '' $$,
                'all rows of them are dumped');
SELECT is_empty($$ SELECT r.oid::regclass FROM relation r WHERE r.relkind IN ('r', 'p') AND r.relpersistence <> 'p' $$,
                'every table is WAL-logged');
SELECT is_empty($$ SELECT i.indexrelid::regclass, a.attname
                   FROM relation r JOIN pg_index i ON i.indrelid = r.oid
                   JOIN pg_attribute a ON a.attrelid = i.indexrelid
                   WHERE a.attcollation NOT IN (0, 950) $$,
                'every text key in an index is COLLATE "C"');
SELECT is_empty($$ SELECT r.oid::regclass FROM relation r
                   WHERE r.relkind = 'r' AND r.relname NOT IN ('duty_run', 'item_cell')
                     AND r.relname NOT IN ('lead_epoch', 'lead_heartbeat', 'node', 'node_status', 'node_state', 'node_transition', 'node_capability',
                                           'node_probe', 'node_service', 'node_service_status', 'service_hour', 'recovery', 'api', 'api_status',
                                           'secret_rotation', 'secret_audit_chain', 'secret_cache_status')
                     AND r.relname NOT IN ('job_archive_ring', 'job_minute', 'session_key', 'gpu_device', 'gpu_model', 'gpu_speed', 'generation_output_ring')
                     AND NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = r.oid AND a.attname = 'company_id') $$,
                'every table of a tenant carries the company; the mesh and what is counted of queues belong to none, and a cell has its owner''s number over all companies');
SELECT is((SELECT string_agg(r.relname, ' ' ORDER BY r.relname COLLATE "C") FROM relation r JOIN pg_attribute a ON a.attrelid = r.oid AND a.attname = 'company_id'
           WHERE r.relkind IN ('r', 'p') AND r.relname LIKE 'job%' AND NOT a.attnotnull),
          'job_queue', 'of what jobs have only a queue may be of no company');

-- ---- what the library knows by heart ----

SELECT is(aurora.trust_labels(), enum_range(NULL::aurora.trust)::text[], 'trust levels are the same in C and in SQL');
SELECT is(pg_temp.error_of($$ SELECT aurora.agenda('nobody') $$),
          '22023 | there is no level "nobody" | There are '
          || array_to_string(enum_range(NULL::aurora.item_level), ', ') || '.',
          'levels are the same in C and in SQL');
SELECT is(pg_temp.error_of($$ SELECT aurora.quadrant('Q5') $$),
          '22023 | there is no quadrant "Q5" | There are '
          || array_to_string(enum_range(NULL::aurora.item_quadrant), ', ') || '.',
          'quadrants are the same in C and in SQL');
SELECT is(enum_range(NULL::aurora.health_state)::text[], '{up,degraded,down,unknown,maintenance}', 'how something is is told with the words of registry_names.h');
SELECT is(enum_range(NULL::aurora.service_kind)::text[] || enum_range(NULL::aurora.api_state)::text[], '{tcp,http,postgres,systemd,command,healthy,degraded,down}',
          'so are the kinds of services, and how APIs answer');
SELECT is(aurora.secret_right_labels(), enum_range(NULL::aurora.secret_right)::text[], 'rights to secrets are the same in C and in SQL');
SELECT is(aurora.job_class_labels(), enum_range(NULL::aurora.job_class)::text[], 'classes of jobs are the same in C and in SQL');
SELECT is(aurora.job_state_labels(), enum_range(NULL::aurora.job_state)::text[], 'and states of jobs');
SELECT is(aurora.key_role_labels(), enum_range(NULL::aurora.key_role)::text[], 'roles of keys are the same in C and in SQL');
SELECT is(enum_range(NULL::aurora.item_state)::text[], '{open,done,dismissed,delegated,archived}', 'the states are these');

CREATE FUNCTION pg_temp.columns_of(relation regclass) RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(CASE WHEN attnum = n THEN attname ELSE '?' END, ' ' ORDER BY attnum)
    FROM (SELECT attname, attnum, row_number() OVER (ORDER BY attnum) AS n FROM pg_attribute
          WHERE attrelid = relation AND attnum > 0) a
$$;
SELECT is(pg_temp.columns_of('aurora.company'),
          'company_id name currency big_threshold sla_hours important_points revenue_unit created_at',
          'columns of company are where C reads them');
SELECT is(pg_temp.columns_of('aurora.principal'), 'company_id owner login_role trust principal_no display_name email created_at',
          'columns of principal are where C reads them');
SELECT is(pg_temp.columns_of('aurora.currency_rate'), 'company_id currency rate set_at',
          'columns of currency_rate are where C reads them');
SELECT is(pg_temp.columns_of('aurora.item'),
          'company_id item_id owner level scope cell act_by kind title amount currency win_chance due_at received_at '
          'last_activity_at vip risk boost severity group_key snooze_until state state_at state_by outcome delegated_to '
          'open_blockers blocking provider external_id url sender created_at placed_at details',
          'columns of item are where C reads them');
SELECT is(pg_temp.columns_of('aurora.item_cell'), 'scope cell',
          'columns of item_cell are where C reads them');
SELECT is(pg_temp.columns_of('aurora.company_kind'),
          'company_id kind kind_no base half_life stall_limit default_deadline kind_offset',
          'columns of company_kind are where C reads them');
SELECT is(pg_temp.columns_of('aurora.weight_override'), 'company_id owner name value set_at set_by',
          'columns of weight_override are where C reads them');
SELECT is(pg_temp.columns_of('aurora.person'), 'company_id email name vip importance',
          'columns of person are where C reads them');
SELECT is(pg_temp.columns_of('aurora.crowded_group'), 'company_id owner group_key slot',
          'columns of crowded_group are where C reads them');

SELECT is(pg_temp.columns_of('aurora.secret'), 'secret_id company_id service key_name node version strict created_at',
          'columns of secret are where C reads them');
SELECT is(pg_temp.columns_of('aurora.secret_version'),
          'secret_id version company_id key_no token expires_at created_at created_by deleted_at deleted_by destroyed_at',
          'columns of secret_version are where C reads them');
SELECT is(pg_temp.columns_of('aurora.secret_data_key'), 'key_no company_id master_key_id wrapped is_current created_at',
          'columns of secret_data_key are where C reads them');
SELECT is(pg_temp.columns_of('aurora.secret_grant'),
          'grant_id company_id grantee service may role_oid system_identifier granted_at granted_by',
          'columns of secret_grant are where C reads them');
SELECT is(pg_temp.columns_of('aurora.secret_audit_chain'),
          'node chain first_seq head_seq head_hash base_hash began_at broken_seq problem',
          'columns of secret_audit_chain are where C reads them');
SELECT matches(pg_temp.columns_of('aurora.node'), '^name role address login_role drained_at ', 'columns of node are where C reads them');
SELECT is(pg_temp.columns_of('aurora.job_queue'), 'queue_id company_id name lease max_attempts retry_delay retry_delay_max paused_at drained_at created_at '
          'normal_slack batch_slack',
          'columns of job_queue are where C reads them');
SELECT is(pg_temp.columns_of('aurora.job'),
          'job_id company_id queue_id class state position ready_at submitted_at attempt max_attempts blockers has_dependents started_at lease_until '
          'cancel_requested_at progress submitted_by kind unique_key concurrency_key taker note error payload',
          'columns of job are where C reads and writes them');
SELECT is((SELECT string_agg(DISTINCT pg_temp.columns_of(r.oid), '; ') FROM relation r WHERE r.relname ~ '^job_archive(_[0-7])?$'),
          'job_id company_id slot queue_id class state attempt max_attempts ready_at submitted_at started_at finished_at submitted_by kind taker error payload result',
          'columns of job_archive and of all its parts are where C writes them');
SELECT is(pg_temp.columns_of('aurora.job_archive_ring'), 'slot filled_from', 'columns of job_archive_ring are where C reads them');
SELECT matches(pg_temp.columns_of('aurora.topic'), '^topic_id company_id name last_seq first_seq timeline system_identifier ', 'columns of topic are where C reads them');
SELECT matches(pg_temp.columns_of('aurora.topic_epoch'), '^topic_id from_seq company_id epoch epoch_no timeline system_identifier ', 'columns of topic_epoch are where C reads them');
SELECT is(pg_temp.columns_of('aurora.event_note'), 'note_id company_id topic payload noted_at', 'columns of event_note are where C writes them');
SELECT matches(pg_temp.columns_of('aurora.gpu_device'), '^node device kind state draining slots busy memory_total memory_free memory_used reported_at uuid name ',
               'columns of gpu_device are where C reads them');
SELECT matches(pg_temp.columns_of('aurora.gpu_model'), '^node device model resident size ', 'columns of gpu_model are where C reads them');
SELECT matches(pg_temp.columns_of('aurora.gpu_speed'), '^node device model jobs loads load_ms prompt_rate decode_rate mean_output uncached ',
               'columns of gpu_speed are where C reads them');
SELECT is(pg_temp.columns_of('aurora.generation'), 'job_id company_id embeds prompt_tokens max_tokens deadline', 'columns of generation are where C reads them');
SELECT is((SELECT string_agg(DISTINCT pg_temp.columns_of(r.oid), '; ') FROM relation r WHERE r.relname ~ '^generation_output(_[0-2])?$'),
          'job_id company_id token_no began_at slot text', 'columns of generation_output and of all its parts are where C writes them');
SELECT is(pg_temp.columns_of('aurora.generation_output_ring'), 'slot filled_from', 'columns of generation_output_ring are where C reads them');
SELECT matches(pg_temp.columns_of('aurora.api_key'), '^key_id key_hash role company_id owner node routes expires_at revoked_at ', 'columns of api_key are where C reads them');
SELECT is(pg_temp.columns_of('aurora.session_key'), 'key_no master_key_id wrapped created_at', 'columns of session_key are where C reads them');
SELECT matches(pg_temp.columns_of('aurora.principal_password'), '^company_id owner generation ', 'columns of principal_password are where C reads them');
SELECT matches(pg_temp.columns_of('aurora.session_revocation'), '^session_id ', 'columns of session_revocation are where C reads them');
SELECT is(pg_temp.columns_of('aurora.event'), 'topic_id seq at company_id publisher client_id payload', 'columns of event are where C reads them');
SELECT is(pg_temp.columns_of('aurora.lead_epoch'), 'epoch_no timeline id lead began_at system_identifier', 'columns of lead_epoch are where C reads them');

SELECT * FROM finish();
ROLLBACK;
