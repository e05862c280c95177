-- The company mail: mail within a company, one item for each recipient, as known at "now". All
-- mailboxes, or with the variable "owner" that of one employee. Addresses are made of the names.
-- An item is done when its owner has written to its sender in the same thread after it. A thread is
-- a subject without "Re:", "Fwd:" and the like; mail without a subject belongs to none, and nothing
-- tells when it was answered. Whatever has no answer after 30 days (or the variable "forget") is
-- dismissed then, as if its owner had put it away.
-- VIPs are ten senior employees: those of whose mail, if it was 20 items or more, the largest share
-- was answered within 24 hours in the year that ended 30 days before "now".
BEGIN;
\ir incoming.sql
\if :{?now}
\else
    \set now '2001-03-15 15:00'
\endif
\if :{?owner}
\else
    \set owner ''
\endif
\if :{?forget}
\else
    \set forget '30 days'
\endif
\cd :data
\cd enron-train

-- The files are plain text between tabs: the quote is a character that never occurs.
CREATE TEMPORARY TABLE employee (id int PRIMARY KEY, name text, department text, long_department text, title text,
                                 gender text, seniority text);
\copy employee FROM 'employees.tsv' (FORMAT csv, DELIMITER E'\t', QUOTE E'\b', ENCODING 'UTF8')
CREATE TEMPORARY TABLE message (id int PRIMARY KEY, file text, unix_time bigint, subject text, sender_id int);
\copy message FROM 'messages.tsv' (FORMAT csv, DELIMITER E'\t', QUOTE E'\b', ENCODING 'UTF8')
CREATE TEMPORARY TABLE recipient (message_id int, number int, recipient_id int);
\copy recipient FROM 'recipients.tsv' (FORMAT csv, DELIMITER E'\t', QUOTE E'\b', ENCODING 'UTF8')

CREATE FUNCTION pg_temp.address(name text) RETURNS text
    LANGUAGE sql IMMUTABLE AS $$ SELECT replace(lower(name), ' ', '.') || '@mail.example' $$;

CREATE FUNCTION pg_temp.thread(subject text) RETURNS text
    LANGUAGE sql IMMUTABLE AS $$
    SELECT nullif(trim(regexp_replace(regexp_replace(lower(subject), '^(\s*(re|fwd?|aw)\s*(\[\d+\])?\s*:)+', ''),
                                      '\s+', ' ', 'g')), '')
$$;

CREATE TEMPORARY TABLE delivery AS
    SELECT m.id AS message_id, r.recipient_id, m.sender_id, to_timestamp(m.unix_time) AS sent_at, m.subject,
           pg_temp.thread(m.subject) AS thread
    FROM message m JOIN recipient r ON r.message_id = m.id
    WHERE to_timestamp(m.unix_time) <= :'now';
CREATE INDEX ON delivery (sender_id, recipient_id, thread, sent_at);
ANALYZE delivery;

CREATE TEMPORARY TABLE mail AS
    SELECT d.*, a.answered_at, d.sent_at + :'forget'::interval AS forgotten_at
    FROM delivery d CROSS JOIN LATERAL (
        SELECT min(a.sent_at) AS answered_at FROM delivery a
        WHERE a.sender_id = d.recipient_id AND a.recipient_id = d.sender_id AND a.thread = d.thread
          AND a.sent_at > d.sent_at) a;

INSERT INTO incoming (external_id, owner, kind, title, received_at, state, state_at, sender, group_key)
    SELECT m.message_id || ':' || m.recipient_id, o.name, 'email', coalesce(m.subject, '(no subject)'), m.sent_at,
           CASE WHEN m.answered_at <= m.forgotten_at THEN 'done' WHEN m.forgotten_at <= :'now' THEN 'dismissed'
                ELSE 'open' END::aurora.item_state,
           CASE WHEN m.answered_at <= m.forgotten_at OR m.forgotten_at <= :'now'
                THEN least(m.answered_at, m.forgotten_at) END,
           pg_temp.address(s.name), 'thread:' || m.thread
    FROM mail m JOIN employee o ON o.id = m.recipient_id JOIN employee s ON s.id = m.sender_id
    WHERE :'owner' IN ('', o.name);

SELECT pg_temp.make_company('mail') \g /dev/null
SELECT pg_temp.make_owner(name, 'mail', email => pg_temp.address(name)) FROM employee
    WHERE :'owner' IN ('', name) ORDER BY name \g /dev/null
INSERT INTO aurora.person AS p (company_id, email, name, vip)
    SELECT c.company_id, pg_temp.address(e.name), e.name, v.id IS NOT NULL
    FROM aurora.company c CROSS JOIN employee e
    LEFT JOIN (
        SELECT s.id FROM mail m JOIN employee s ON s.id = m.sender_id JOIN employee o ON o.id = m.recipient_id
        WHERE s.seniority = 'Senior' AND :'owner' IN ('', o.name)
          AND m.sent_at > :'now'::timestamptz - interval '395 d' AND m.sent_at <= :'now'::timestamptz - interval '30 d'
        GROUP BY s.id, s.name HAVING count(*) >= 20
        ORDER BY avg((m.answered_at <= m.sent_at + interval '24 h' IS TRUE)::int) DESC, s.name COLLATE "C" LIMIT 10) v USING (id)
    WHERE c.name = 'mail'
    ON CONFLICT (company_id, email) DO UPDATE SET vip = excluded.vip WHERE p.vip <> excluded.vip;
\pset tuples_only on
\pset format unaligned
SELECT pg_temp.put_items('mail', 'enron-train');
COMMIT;
