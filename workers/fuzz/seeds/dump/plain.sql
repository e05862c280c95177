--
-- PostgreSQL database dump
--

\restrict abc
SET standard_conforming_strings = on;
SET client_encoding = 'UTF8';
COMMENT ON SCHEMA public IS 'it''s;
COPY aurora.secret (secret_id) FROM stdin;
';
CREATE FUNCTION f() AS $_$ ; $_$;
COPY aurora.company (company_id, name) FROM stdin;
5	a\tcme
\.
COPY public.other (a) FROM stdin;
1
\.


COPY aurora.secret_data_key (key_no, company_id, master_key_id, wrapped, is_current, created_at) FROM stdin;
1	\N	0123456789abcdef		t	2026-01-01 00:00:00+00
2	5	0123456789abcdef		t	2026-01-01 00:00:00+00
\.


COPY aurora.secret (secret_id, company_id, service, key_name, node, version, strict, created_at) FROM stdin;
1	\N	crm	token	\N	2	f	2026-01-01 00:00:00+00
2	5	crm	tok\\en	gpu	1	f	2026-01-01 00:00:00+00
\.


COPY aurora.secret_version (secret_id, version, company_id, key_no, token, expires_at, created_at, created_by, deleted_at, deleted_by, destroyed_at) FROM stdin;
1	1	\N	1		\N	2026-01-01 00:00:00+00	ann	2026-01-02 00:00:00+00	ann	\N
1	2	\N	1		2026-11-24 02:03:51.5+00	2026-01-01 00:00:00+00	ann	\N	\N	\N
2	1	5	2		infinity	2026-01-01 00:00:00+00	ann	\N	\N	\N
\.
