-- What the benchmark of events writes beside: plain inserts, with NOTIFY, and a number under a row lock in plain SQL.
CREATE EXTENSION aurora;
SELECT aurora.add_company('Bench');
SELECT aurora.add_principal('ann', 'Bench');
CREATE TABLE plain (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, topic int NOT NULL, at timestamptz NOT NULL DEFAULT clock_timestamp(), payload jsonb NOT NULL);
CREATE TABLE room (room int PRIMARY KEY, last_seq bigint NOT NULL DEFAULT 0) WITH (fillfactor = 50);
CREATE TABLE message (room int, seq bigint, at timestamptz NOT NULL DEFAULT clock_timestamp(), payload jsonb NOT NULL, PRIMARY KEY (room, seq));
INSERT INTO room (room) SELECT n FROM generate_series(1, 100) n;
VACUUM ANALYZE;
