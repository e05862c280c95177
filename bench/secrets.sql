-- What the benchmark of secrets reads: a thousand secrets of 64 bytes, and the same by pgcrypto.
CREATE EXTENSION aurora;
CREATE EXTENSION pgcrypto;
SELECT count(aurora.put_secret('bench', 'k' || n, repeat('x', 64))) FROM generate_series(1, 1000) n;
CREATE TABLE pgp AS
    SELECT n, pgp_sym_encrypt(repeat('x', 64), 'a passphrase') AS value FROM generate_series(1, 1000) n;
VACUUM ANALYZE;
