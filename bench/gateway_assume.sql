-- A company with a principal and a thousand keys, and the role of a gateway.
SET client_min_messages = warning;
CREATE EXTENSION aurora;
CREATE ROLE gate LOGIN IN ROLE aurora_gateway;
SELECT aurora.add_company('Acme');
SELECT aurora.add_principal('ann', 'Acme');
INSERT INTO aurora.api_key (key_hash, role, company_id, owner, name, created_by)
    SELECT sha256(convert_to('key ' || n, 'UTF8')), 'user', company_id, 'ann', 'bench', 'bench' FROM aurora.company, generate_series(1, 1000) n;
VACUUM ANALYZE aurora.api_key;
