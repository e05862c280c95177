\set ECHO none
-- What goes in and comes out: values of any sort, names, errors that tell no value, import and export.
-- In a database of its own.
SET client_min_messages = warning;
\pset format unaligned
\pset tuples_only
\set regress :DBNAME
DROP DATABASE IF EXISTS regress_secrets_input;
CREATE DATABASE regress_secrets_input;
\connect regress_secrets_input
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = 'ISO';
CREATE EXTENSION pgtap;
CREATE EXTENSION aurora;

SELECT plan(250);

CREATE FUNCTION pg_temp.rows_of(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    result text;
BEGIN
    EXECUTE 'SELECT string_agg(r::text, '' '') FROM (' || query || ') r' INTO result;
    RETURN coalesce(result, 'none');
END
$$;
-- All that the error of an expression tells; $1 in it is a value.
CREATE FUNCTION pg_temp.error_of(expression text, value text DEFAULT 'MARKER') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    state text;
    message text;
    detail text;
    hint text;
    context text;
    of_column text;
    of_constraint text;
    of_table text;
BEGIN
    EXECUTE 'SELECT ' || expression USING value;
    RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT, context = PG_EXCEPTION_CONTEXT,
        of_column = COLUMN_NAME, of_constraint = CONSTRAINT_NAME, of_table = TABLE_NAME;
    RETURN concat_ws(' | ', state || ' ' || message, nullif(detail, ''), nullif(hint, ''), context, of_column, of_constraint, of_table);
END
$$;
CREATE FUNCTION pg_temp.state_of(expression text, value text DEFAULT 'MARKER') RETURNS text LANGUAGE sql AS $$
    SELECT CASE WHEN e ~ '^[0-9A-Z]{5} ' THEN left(e, 5) || CASE WHEN e ~ 'MARKER' THEN ' and the value: ' || e ELSE '' END ELSE e END FROM pg_temp.error_of(expression, value) e
$$;
SELECT alike(pg_temp.state_of('$1::int'), '22P02 and the value: %', 'the test sees when an error tells a value');

SELECT aurora.add_company('Acme') AS ignored \gset

-- ---- values ----

-- Puts and reads back; says what came.
CREATE FUNCTION pg_temp.comes_back(value text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM aurora.put_secret('values', 'k', value);
    RETURN aurora.secret('values', 'k') IS NOT DISTINCT FROM value AND aurora.secret('values', 'k') IS NOT DISTINCT FROM value;
END
$$;
SELECT ok(pg_temp.comes_back(value), title || ' comes back')
    FROM (VALUES ('', 'an empty value'), (' ', 'a blank'), (E'\n', 'a line end'), (E' a \r\n\t b ', 'white space'), (E'a\x01\x1f\x7f', 'control characters'),
                 ('NULL', 'the word NULL'), ($$ ' " \ $1 %s {} ; -- $$, 'punctuation'),
                 ('Ünïcödé ßø', 'Latin letters'), ('Ελληνικά кириллица עברית العربية', 'Greek, Cyrillic, Hebrew and Arabic'),
                 ('日本語 한국어 ไทย हिन्दी', 'Japanese, Korean, Thai and Hindi'), ('🔑👩‍💻🇪🇺', 'emoji'),
                 (E'e\u0301', 'a combining character'), ('gAAAAABh', 'the beginning of a token'), (repeat('=', 44), 'padding'), (repeat('x', 1048576), 'one of 1 MiB'),
                 (repeat('ü', 524288), 'one of 1 MiB in letters of two bytes'), (repeat('🔑', 262144), 'and of four')) v (value, title);
SELECT is(pg_temp.state_of($$ aurora.put_secret('values', 'k', $1) $$, value), '54000', title || ' is too large')
    FROM (VALUES ('MARKER' || repeat('x', 1048571), 'one byte more than 1 MiB'), ('MARKER' || repeat('ü', 524286), 'a value whose bytes are more than that'),
                 ('MARKER' || repeat('x', 10000000), 'one of ten times that')) v (value, title);
SELECT is(length(aurora.secret('values', 'k')), 262144, 'what is too large changes nothing');
SELECT is_empty($$ SELECT i FROM generate_series(0, 70) i WHERE NOT pg_temp.comes_back(repeat('b', i)) $$, 'values of every length to four blocks and more come back');
SELECT setseed(0.1) AS ignored \gset
SELECT is_empty($$ SELECT v FROM (SELECT (SELECT string_agg(chr(c), '') FROM (SELECT CASE floor(random() * 4 + 0 * i) WHEN 0 THEN 1 + floor(random() * 127) WHEN 1 THEN 128 + floor(random() * 1920)
                                                                            WHEN 2 THEN 2048 + floor(random() * 50000) ELSE 65536 + floor(random() * 1000000) END::int AS c
                                                                    FROM generate_series(1, 1 + i % 200)) c) AS v FROM generate_series(1, 300) i) r WHERE NOT pg_temp.comes_back(v) $$,
                'random characters of all planes come back');

-- ---- names ----

CREATE VIEW pg_temp.bad_name AS SELECT * FROM (VALUES
    ('', 'an empty name'), (' ', 'a blank'), (' a', 'one with a blank before'), ('a ', 'one with a blank after'), (E'a\n', 'one with a line end'), (E'\ta', 'one with a tab'), (E'a\x01b', 'one with a control character'),
    (E'a\x7f', 'one with a delete'), (repeat('a', 201), 'one of 201 characters'), (repeat('ü', 201), 'one of 201 letters of two bytes')) n (name, title);
CREATE VIEW pg_temp.good_name AS SELECT * FROM (VALUES
    ('a', 'a letter'), ('A b', 'one with a blank inside'), (repeat('a', 200), 'one of 200 characters'), (repeat('ü', 200), 'one of 200 letters of two bytes'), ('a/b.c:d-e_f@g#1', 'one with punctuation'), ($$'";\%_*$$, 'one with any signs'), ('日本', 'a Japanese one'), ('NULL', 'the word NULL')) n (name, title);
SELECT is(pg_temp.state_of(format('aurora.put_secret(%L, ''k'', $1)', name)), '22023', title || ' is no service') FROM pg_temp.bad_name;
SELECT is(pg_temp.state_of(format('aurora.put_secret(''s'', %L, $1)', name)), '22023', 'nor is ' || title || ' a key') FROM pg_temp.bad_name;
SELECT is_empty($$ SELECT FROM aurora.secrets WHERE service <> 'values' $$, 'none of them is put');
SELECT is(concat(aurora.put_secret(name, name, 'x'), ' ', aurora.secret(name, name), ' ', aurora.delete_secret(name, name)), '1 x 1', title || ' is a name') FROM pg_temp.good_name;
SELECT ok(pg_temp.state_of(format('aurora.secret(%L, ''k'')', name)) IN ('22023', '42704'), 'no secret is read under ' || title) FROM pg_temp.bad_name;
SELECT is(pg_temp.state_of(format('aurora.put_secret(''s'', ''k'', $1, %L)', node)), '22023', format('"%s" is no node', left(translate(node, E'\n', '/'), 10)))
    FROM unnest(ARRAY['', 'Upper', '-a', 'a-', 'a_b', 'a.b', 'a b', E'a\n', 'ü', repeat('a', 64)]) node;
SELECT is(aurora.put_secret('s', 'k', 'x', repeat('a', 63)), 1, 'a node need not be registered to have a secret');
SELECT is(pg_temp.state_of(expression) IN ('22023', '42501', '42704'), true, regexp_replace(expression, '^ aurora\.(\w+).*', '\1') || '() wants a company that is there')
    FROM unnest(ARRAY[$$ aurora.put_secret('s', 'k', $1, company => 'Nowhere') $$, $$ aurora.secret('s', 'k', 'Nowhere') $$, $$ aurora.secret_source('s', 'k', 'Nowhere') $$, $$ aurora.delete_secret('s', 'k', company => 'Nowhere') $$,
                      $$ aurora.undelete_secret('s', 'k', company => 'Nowhere') $$, $$ aurora.destroy_secret('s', 'k', company => 'Nowhere') $$, $$ aurora.import_secrets_env('s', 'A=' || $1, company => 'Nowhere') $$,
                      $$ aurora.import_secrets_json('{"s": {"k": "' || $1 || '"}}', company => 'Nowhere') $$, $$ aurora.export_secrets('*', 'Nowhere') $$, $$ aurora.put_secret('s', 'k', $1, company => '') $$]) expression;
SELECT is(pg_temp.state_of(expression), '22004', title || ' is an error')
    FROM (VALUES ($$ aurora.put_secret(NULL, 'k', $1) $$, 'put_secret() without a service'), ($$ aurora.put_secret('s', NULL, $1) $$, 'without a key'),
                 ($$ aurora.put_secret('s', 'k', NULL) $$, 'without a value'),
                 ($$ aurora.secret(NULL, 'k') $$, 'secret() without a service'), ($$ aurora.secret('s', NULL) $$, 'without a key'),
                 ($$ aurora.secret_source(NULL, 'k') $$, 'secret_source() without a service'),
                 ($$ aurora.secret_source('s', NULL) $$, 'without a key'), ($$ aurora.delete_secret(NULL, 'k') $$, 'delete_secret() without a service'),
                 ($$ aurora.delete_secret('s', NULL) $$, 'without a key'),
                 ($$ aurora.undelete_secret(NULL, 'k') $$, 'undelete_secret() without a service'), ($$ aurora.undelete_secret('s', NULL) $$, 'without a key'),
                 ($$ aurora.destroy_secret(NULL, 'k') $$, 'destroy_secret() without a service'),
                 ($$ aurora.destroy_secret('s', NULL) $$, 'without a key'), ($$ aurora.import_secrets_env(NULL, 'A=1') $$, 'import_secrets_env() without a service'),
                 ($$ aurora.import_secrets_env('s', NULL) $$, 'without a content'),
                 ($$ aurora.import_secrets_json(NULL) $$, 'import_secrets_json() without a content'), ($$ aurora.export_secrets(NULL) $$, 'export_secrets() without a pattern'),
                 ($$ aurora.restart_secret_audit(NULL) $$, 'restart_secret_audit() without a reason')) e (expression, title);
SELECT is(pg_temp.state_of(expression), '22023', title || ' is an error')
    FROM (VALUES ($$ aurora.put_secret('s', 'k', $1, expected_version => -1) $$, 'a negative version that is expected'),
                 ($$ aurora.put_secret('s', 'k', $1, expected_version => -2147483648) $$, 'also the least one')) e (expression, title);
SELECT ok(pg_temp.state_of(format(expression, version)) IN ('42704', '23000', '22023'), format(expression, version) || ' is an error')
    FROM unnest(ARRAY['aurora.delete_secret(''s'', ''k'', repeat(''a'', 63), expected_version => %s)', 'aurora.undelete_secret(''s'', ''k'', repeat(''a'', 63), version => %s)', 'aurora.destroy_secret(''s'', ''k'', repeat(''a'', 63), version => %s)']) expression,
         unnest(ARRAY[-1, 0, 2]) version;
SELECT is(pg_temp.rows_of($$ SELECT version, state FROM aurora.secrets WHERE service = 's' $$), '(1,active)', 'and changes nothing');

-- ---- what is asked for at any length is written down, so much of it ----

SELECT is(pg_temp.state_of(expression), '42501', title || ' of any length is refused as any other')
    FROM (VALUES ($$ aurora.secret('s', 'k', repeat('x', 100000)) $$, 'a company'), ($$ aurora.secret('s', 'k', repeat(E'\x01', 100000)) $$, 'one of control characters'),
                 ($$ aurora.secret('s', 'k', repeat('日本', 50000)) $$, 'a Japanese one')) e (expression, title);
SELECT is((SELECT problem FROM aurora.secret_audit_status()), NULL, 'and is no trouble of the audit');
SELECT is(pg_temp.rows_of($$ SELECT r ->> 'company', r ->> 'outcome' FROM (SELECT line::jsonb AS r FROM aurora.secret_audit_status() s, pg_ls_dir(s.directory) f,
                             regexp_split_to_table(pg_read_file(s.directory || '/' || f), E'\n') line WHERE line ~ '"company":"xxx') l $$),
          format('(%s,refused)', repeat('x', 200)), 'its beginning is on record');

-- ---- errors tell no value ----

SELECT aurora.put_secret('errors', 'k', 'MARKER in place') AS ignored \gset
SELECT is(pg_temp.state_of(expression), state, title || ' tells no value')
    FROM (VALUES ('23000', $$ aurora.put_secret('errors', 'k', $1, expected_version => 7) $$, 'a conflict'),
                 ('22023', $$ aurora.put_secret('errors', 'k', $1, expires_at => '2001-01-01') $$, 'an expiry in the past'),
                 ('22008', $$ aurora.put_secret('errors', 'k', $1, expires_at => now() + '300000 years'::interval) $$, 'an expiry too far away'),
                 ('22003', $$ aurora.put_secret('errors', 'k', $1, expected_version => (3e9)::int) $$, 'a version too large'),
                 ('22012', $$ aurora.put_secret('errors', 'k', $1 || 1 / 0) $$, 'an error beside it'), ('22012', $$ (SELECT aurora.put_secret('errors', 'k', $1) / 0) $$, 'one after it'),
                 ('22012', $$ length(aurora.secret('errors', 'k')) / 0 $$, 'one after a read')) e (state, expression, title);
DO $$
BEGIN
    CREATE FUNCTION pg_temp.refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''refused: %'', NEW; END';
    CREATE TRIGGER refuse BEFORE INSERT ON aurora.secret_version FOR EACH ROW EXECUTE FUNCTION pg_temp.refuse();
END
$$;
SELECT is(pg_temp.state_of($$ aurora.put_secret('errors', 'k', $1) $$), 'P0001', 'the row of a version, which a trigger shows, has no value');
DROP TRIGGER refuse ON aurora.secret_version;
ALTER TABLE aurora.secret_version ADD CONSTRAINT never CHECK (version < 0) NOT VALID;
SELECT is(pg_temp.state_of($$ aurora.put_secret('errors', 'k', $1) $$), '23514', 'nor does a constraint show one');
ALTER TABLE aurora.secret_version DROP CONSTRAINT never;
SELECT is(aurora.secret('errors', 'k'), 'MARKER in place', 'what failed has changed nothing');

-- ---- import of .env ----

-- What a text puts: keys and values in order of the keys; or the error.
CREATE FUNCTION pg_temp.env(content text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    put int;
    result text;
BEGIN
    put := aurora.import_secrets_env('env', content);
    SELECT put || coalesce(string_agg(format(' [%s]=[%s]', key_name, aurora.secret(service, key_name)), '' ORDER BY key_name COLLATE "C"), '') INTO result FROM aurora.secrets WHERE service = 'env';
    RAISE SQLSTATE 'ZZ001';
EXCEPTION WHEN SQLSTATE 'ZZ001' THEN
    RETURN result;
END
$$;
SELECT is(pg_temp.env(content), puts, title)
    FROM (VALUES ('A=1', '1 [A]=[1]', 'a line puts a value'), (E'A=1\nB=2\n', '2 [A]=[1] [B]=[2]', 'two lines put two'),
                 (E'A=1\r\nB=2\r\n', '2 [A]=[1] [B]=[2]', 'lines may end as on Windows'),
                 (E'# A=0\n\n   # more\nA=1\n#', '1 [A]=[1]', 'comments and empty lines are passed over'), ('export A=1', '1 [A]=[1]', 'export is allowed'),
                 (E'  A=1\n\texport\tB=2', '2 [A]=[1] [B]=[2]', 'so is white space before'),
                 ('A=', '1 [A]=[]', 'a value may be empty'), ('A=""', '1 [A]=[]', 'also in quotes'), ('A=b=c==', '1 [A]=[b=c==]', 'and have equals signs'),
                 ('A=1   ', '1 [A]=[1]', 'blanks at the end are none of it'),
                 ('A=a b', '1 [A]=[a b]', 'blanks inside are'), ('A=a#b', '1 [A]=[a#b]', 'so is a # without a blank'), ('A=a # b', '1 [A]=[a]', 'after a blank it is a comment'),
                 ('A="a # b" # c', '1 [A]=[a # b]', 'not in quotes'),
                 ($$A='a "b" \n $x \'$$, '1 [A]=[a "b" \n $x \]', 'in single quotes all is as it is written'),
                 ($$A="a\nb\tc\r\"d\" \\ \$x 'e'"$$, E'1 [A]=[a\nb\tc\r"d" \\ $x ''e'']', 'in double quotes there are escapes'),
                 (E'A="one\ntwo"\nB=3', E'2 [A]=[one\ntwo] [B]=[3]', 'a value in double quotes may go over lines'),
                 (E'A=''one\n\n#two''\nB=3', E'2 [A]=[one\n\n#two] [B]=[3]', 'in single quotes, too'),
                 (E'A="-----BEGIN PRIVATE KEY-----\nabc=\n-----END PRIVATE KEY-----"\n', E'1 [A]=[-----BEGIN PRIVATE KEY-----\nabc=\n-----END PRIVATE KEY-----]', 'as a private key does'),
                 (E'A=1\nA=2', '2 [A]=[2]', 'of a key that comes twice the last value stays'), ('', '0', 'an empty text puts nothing'), (E'\n# x', '0', 'nor do comments'),
                 ('A=ü日🔑', '1 [A]=[ü日🔑]', 'values may be of any alphabet'),
                 ('a.b-C_1=1', '1 [a.b-C_1]=[1]', 'keys have letters, digits, dots, hyphens and underscores'), ('A=$B ${C}', '1 [A]=[$B ${C}]', 'nothing is put in for variables'),
                 ($$A="\q\'"$$, $$1 [A]=[\q']$$, 'a backslash before another letter is one')) e (content, puts, title);
SELECT is(pg_temp.state_of($$ aurora.import_secrets_env('env', $1) $$, content), '22023', title || ' is an error')
    FROM (VALUES (E'A=1\nMARKER', 'a line without an equals sign'), ('=MARKER', 'one without a key'), ('A="MARKER', 'a quote that is not closed'),
                 ('A=''MARKER', 'a single one, too'), ('A="x" MARKER', 'text after a quote'),
                 (' = MARKER', 'a blank key'), (repeat('k', 201) || '=MARKER', 'a key of 201 characters'), (E'A\x01=MARKER', 'one with a control character'),
                 ('export MARKER', 'export of nothing'), ('MARKER ü=1', 'a key with a blank'), ('Ä=MARKER', 'one with an umlaut')) e (content, title);
SELECT is(substring(pg_temp.error_of($$ aurora.import_secrets_env('env', $1) $$, content), '\mline ([0-9]+)'), line, format('the error tells that it is line %s', line))
    FROM (VALUES ('MARKER', '1'), (E'A=1\nMARKER\nB=2', '2'), (E'\n\r\n#\nMARKER', '4'), (E'A="1\n2\n3"\nMARKER', '4'), (E'A=1\nB="MARKER\n\n', '2')) e (content, line);
SELECT is_empty($$ SELECT FROM aurora.secrets WHERE service = 'env' $$, 'of a text with a bad line nothing is put');
SELECT is(pg_temp.state_of($$ aurora.import_secrets_env('env', 'A=' || $1 || repeat('x', 1048576)) $$), '54000', 'a value in it may be too large');
SELECT is(aurora.import_secrets_env('env', E'A=1\nB=2', company => 'Acme', node => 'elsewhere'), 2, 'values are put for a node and a company');
SELECT is(pg_temp.rows_of($$ SELECT key_name, scope, node, company FROM aurora.secrets WHERE service = 'env' ORDER BY key_name $$), '(A,node+company,elsewhere,Acme) (B,node+company,elsewhere,Acme)', 'as the view shows');
SELECT count(aurora.destroy_secret('env', k, 'elsewhere', 'Acme')) AS ignored FROM unnest(ARRAY['A', 'B']) k \gset
SELECT is(aurora.import_secrets_env('env', (SELECT string_agg(format('KEY_%s=value %s', i, i), E'\n') FROM generate_series(1, 2000) i)), 2000, 'two thousand lines put as many values');
SELECT is((SELECT count(*) FROM generate_series(1, 2000) i WHERE aurora.secret('env', 'KEY_' || i) = 'value ' || i), 2000::bigint, 'which are read back');

-- ---- import of JSON ----

SELECT is(aurora.import_secrets_json('{"json": {"a": "1", "b": "zwei ü \u00fc \n \"q\"", "c": ""}, "json 2": {"a": "x"}}'), 4, 'JSON of services with keys puts values');
SELECT is(array[aurora.secret('json', 'a'), aurora.secret('json', 'b'), aurora.secret('json', 'c'), aurora.secret('json 2', 'a')], array['1', E'zwei ü ü \n "q"', '', 'x'], 'which are read back');
SELECT is(aurora.import_secrets_json('{"json": {"a": "2"}}', 'elsewhere', 'Acme'), 1, 'also for a node and a company');
SELECT is(aurora.import_secrets_json('{"json": {"number": 1.50, "large": 12345678901234567890, "yes": true, "no": false}}'), 4, 'numbers and booleans are put as text');
SELECT is(array[aurora.secret('json', 'number'), aurora.secret('json', 'large'), aurora.secret('json', 'yes'), aurora.secret('json', 'no')], array['1.50', '12345678901234567890', 'true', 'false'], 'as they are written');
SELECT is(aurora.import_secrets_json(content), 0, content || ' puts nothing') FROM unnest(ARRAY['{}', '{"a": {}}']) content;
SELECT matches(pg_temp.state_of($$ aurora.import_secrets_json($1) $$, content), '^(22023|22003|55000)$', title || ' is an error')
    FROM (VALUES ('MARKER', 'a text that is no JSON'), ('{"a": {"MARKER": "MARKER', 'one that ends early'), ('', 'an empty one'), ('[]', 'an array'), ('"MARKER"', 'a text'),
                 ('7', 'a number'), ('null', 'null'), ('{"a": "MARKER"}', 'a service without keys'),
                 ('{"a": ["MARKER"]}', 'one with an array'), ('{"a": null}', 'one that is null'), ('{"a": {"k": null}}', 'a value that is null'),
                 ('{"a": {"k": {"x": "MARKER"}}}', 'one that is an object'), ('{"a": {"k": ["MARKER"]}}', 'one that is an array'),
                 ('{"": {"k": "MARKER"}}', 'an empty service'), ('{"a": {"": "MARKER"}}', 'an empty key'), ('{"a": {"k\n": "MARKER"}}', 'a key with a line end'),
                 ('{"a": {"k": "MARKER\u0000"}}', 'a value with a zero byte'), ('{"a": {"k": "MARKER\ud800"}}', 'half a character'),
                 ('{"a": {"k": "MARKER\x"}}', 'an unknown escape'), (E'{"a": {"k": "MARKER\n"}}', 'a line end in a value'),
                 ('{"a": {"k": "MARKER"}} MARKER', 'text after it'), ('{"format": "aurora secrets 2", "keys": [], "secrets": []}', 'an export of a later format'),
                 ('{"format": "aurora secrets 1"}', 'an export of nothing'),
                 ('{"format": "aurora secrets 1", "keys": "MARKER", "secrets": "MARKER"}', 'an export of texts'),
                 ('{"format": "aurora secrets 1", "keys": [], "secrets": [{"service": "s"}]}', 'an export with half a secret'),
                 ('{"format": "aurora secrets 1", "keys": [], "secrets": ["MARKER"]}', 'one with a text for a secret'),
                 ('{"format": "aurora secrets 1", "keys": [], "secrets": [{"service": "s", "key_name": "k", "token": "MARKER", "expires_at": "MARKER"}]}', 'one with a bad expiry'),
                 ('{"format": "aurora secrets 1", "keys": [{"key_no": 1e10, "wrapped": "x"}], "secrets": [{"service": "s", "key_name": "k", "token": "MARKER", "key_no": 1e10}]}', 'one with a large number'),
                 ('{"format": "aurora secrets 1", "keys": [{"key_no": 1, "wrapped": "MARKER"}], "secrets": [{"service": "s", "key_name": "k", "token": "MARKER", "key_no": 1}]}', 'one with a key of no master key')) e (content, title);
SELECT is_empty($$ SELECT FROM aurora.secrets WHERE key_name = 'k' AND service IN ('a', '') $$, 'none of these has put anything');
SELECT is(pg_temp.state_of($$ aurora.import_secrets_json($1) $$, content), state, title || ' is an error') FROM (VALUES ('22003', '{"a": {"k": 1e1000000, "MARKER": "MARKER"}}', 'a number beyond all bounds'),
                 ('54001', repeat('[', 100000) || 'MARKER', 'a nesting too deep')) e (state, content, title);
SELECT is(concat(aurora.import_secrets_json('{"format": {"k": "a service"}, "keys": {"k": "x"}}'), ' ', aurora.secret('format', 'k')), '2 a service', 'a service may have the name of a field of an export');
SELECT is(pg_temp.state_of($$ aurora.import_secrets_json(jsonb_build_object('a', jsonb_build_object('k', $1 || repeat('x', 1048576)))::text) $$), '54000', 'a value in it may be too large');

-- ---- export ----

SELECT count(aurora.destroy_secret(service, key_name, node, company)) AS ignored FROM aurora.secrets \gset
SELECT aurora.put_secret('one', 'a', 'MARKER a'), aurora.put_secret('one', 'b', E'MARKER b ü\n"'), aurora.put_secret('two', 'a', 'MARKER two', strict => true, expires_at => '2100-01-01'), aurora.put_secret('one', 'a', 'MARKER of Acme', company => 'Acme'),
       aurora.put_secret('one', 'a', 'MARKER a, again'), aurora.put_secret('one', 'deleted', 'MARKER deleted'), aurora.delete_secret('one', 'deleted'), aurora.put_secret('one', 'n', 'MARKER n', 'elsewhere') \gset ignored_
SELECT is(aurora.export_secrets('*', NULL, true), '{"one": {"a": "MARKER a, again", "b": "MARKER b ü\n\""}, "two": {"a": "MARKER two"}}'::jsonb, 'a plain export has the values of no company');
SELECT is(aurora.export_secrets('*', 'Acme', true), '{"one": {"a": "MARKER of Acme"}}'::jsonb, 'or those of one');
SELECT is(aurora.export_secrets('t*', NULL, true), '{"two": {"a": "MARKER two"}}'::jsonb, 'of services that are like a pattern');
SELECT is(aurora.export_secrets('none', NULL, true), '{}'::jsonb, 'which may be none');
SELECT aurora.export_secrets('*', NULL, true)::text AS plain, aurora.export_secrets()::text AS encrypted, aurora.export_secrets('*', 'Acme')::text AS of_acme \gset
SELECT is((:'encrypted'::jsonb) ->> 'format', 'aurora secrets 1', 'an export that is not plain tells its format');
SELECT is((SELECT string_agg(concat_ws('/', s ->> 'service', s ->> 'key_name', s ->> 'node', s ->> 'company', s ->> 'version', s ->> 'strict', left(s ->> 'expires_at', 10), left(s ->> 'token', 5)), ' '
                             ORDER BY s ->> 'service', s ->> 'key_name', s ->> 'node')
           FROM jsonb_array_elements((:'encrypted'::jsonb) -> 'secrets') s), 'one/a/2/false/gAAAA one/b/1/false/gAAAA one/n/elsewhere/1/false/gAAAA two/a/1/true/2100-01-01/gAAAA', 'and has the tokens');
SELECT is((SELECT string_agg(DISTINCT left(k ->> 'wrapped', 5), ' ') FROM jsonb_array_elements((:'encrypted'::jsonb) -> 'keys') k), 'gAAAA', 'with the wrapped keys');
SELECT is(:'encrypted' ~ 'MARKER' OR :'of_acme' ~ 'MARKER', false, 'and no value');
SELECT is(:'of_acme' ~ '"two"', false, 'that of a company has none of others');
SELECT count(aurora.destroy_secret(service, key_name, node, company)) AS ignored FROM aurora.secrets \gset
SELECT is(aurora.import_secrets_json(:'plain'), 3, 'a plain export is imported');
SELECT is(aurora.export_secrets('*', NULL, true), :'plain'::jsonb, 'with all its values');
SELECT count(aurora.destroy_secret(service, key_name, node, company)) AS ignored FROM aurora.secrets \gset
SELECT is(aurora.import_secrets_json(:'encrypted'), 4, 'an encrypted one is imported');
SELECT is(aurora.import_secrets_json(:'of_acme'), 1, 'so is that of a company');
SELECT is(aurora.export_secrets('*', NULL, true), :'plain'::jsonb, 'with all values');
SELECT is(aurora.secret('one', 'a', 'Acme'), 'MARKER of Acme', 'also of the company');
SELECT is(pg_temp.rows_of($$ SELECT service, key_name, scope, node, company, strict, expires_at FROM aurora.secrets ORDER BY service, key_name, node, company $$),
          '(one,a,company,,Acme,f,) (one,a,global,,,f,) (one,b,global,,,f,) (one,n,node,elsewhere,,f,) (two,a,global,,,t,"2100-01-01 00:00:00+00")', 'with nodes, strictness and expiry');
SELECT is(aurora.import_secrets_json(:'encrypted'), 4, 'a second import');
SELECT is((SELECT string_agg(DISTINCT aurora.secret('one', k), ', ') FROM unnest(ARRAY['a', 'b']) k), E'MARKER a, again, MARKER b ü\n"', 'puts the same values again');
SELECT is(pg_temp.state_of($$ aurora.import_secrets_json($1) $$, jsonb_set(:'encrypted'::jsonb, '{keys,0,master_key_id}', '"0123456789abcdef"')::text) IN ('55000', 'no error'), true, 'a key id that is wrong is an error, or is not what opens it');
SELECT is(pg_temp.state_of($$ aurora.import_secrets_json($1) $$, content) ~ '^(XX001|22023|55000)$', true, title || ' is an error')
    FROM (VALUES (jsonb_set(:'encrypted'::jsonb, '{keys,0,wrapped}', '"gAAAAA"')::text, 'an export with a corrupted key'),
                 (jsonb_set(:'encrypted'::jsonb, '{secrets,0,token}', '"gAAAAA"')::text, 'one with a corrupted token'),
                 (jsonb_set(:'encrypted'::jsonb, '{keys}', '[]')::text, 'one without the keys'),
                 (jsonb_set(:'encrypted'::jsonb, '{secrets,0,service}', '""')::text, 'one with a bad name'),
                 (jsonb_set(:'encrypted'::jsonb, '{secrets,0,node}', '"Bad Node"')::text, 'one with a bad node'),
                 (jsonb_set(:'encrypted'::jsonb, '{secrets,0,key_no}', '4711')::text, 'one with the number of another key'),
                 (jsonb_set(:'encrypted'::jsonb, '{secrets,0,company}', '"Nowhere"')::text, 'one of a company that is not there')) e (content, title);
SELECT is(aurora.export_secrets('*', NULL, true), :'plain'::jsonb, 'which has changed nothing');

-- ---- another database with the same key ring ----

DROP EXTENSION aurora CASCADE;
CREATE EXTENSION aurora;
SELECT aurora.put_secret('anew', 'k', 'put anew') AS ignored \gset
SELECT is(aurora.secret('anew', 'k'), 'put anew', 'a session that has put before puts under the keys of an extension that is made again');
SELECT is(aurora.import_secrets_json(:'encrypted'), 4, 'an encrypted export is imported where there are other data keys');
SELECT is(aurora.export_secrets('*', NULL, true) - 'anew', :'plain'::jsonb, 'with all values');
SELECT isnt(pg_temp.state_of($$ aurora.import_secrets_json($1) $$, :'of_acme'), 'no error', 'that of a company is not where there is none of its name');
SELECT is((SELECT count(*) FROM jsonb_array_elements(:'encrypted'::jsonb -> 'secrets') s JOIN aurora.secret_version v ON v.token = s ->> 'token'), 0::bigint, 'and all are encrypted anew');

SELECT * FROM finish();
\connect :regress
SET client_min_messages = warning;
DROP DATABASE regress_secrets_input;
