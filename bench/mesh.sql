-- The nodes of the mesh benchmark, and the table whose commits are watched.
CREATE EXTENSION aurora;
SELECT aurora.register_node('lead', address => '127.0.0.1');
SELECT aurora.register_node('standby', 'backup', '127.0.0.1');
CREATE TABLE tick (id bigserial PRIMARY KEY, at timestamptz NOT NULL);
CREATE TABLE busy (id int PRIMARY KEY, n bigint NOT NULL DEFAULT 0);
INSERT INTO busy SELECT generate_series(1, 10000);
