-- A generated company: some thousand items around now, the same ones at each load.
-- What looks random is a hash of a name and a number (a "die"), so that no seed or version changes it;
-- only times depend on the clock, as distances from now(). Load it once, as a superuser on the lead.
\set ON_ERROR_STOP on
SET client_min_messages = warning;

CREATE FUNCTION pg_temp.die(name text, n bigint) RETURNS double precision
    LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT ('x' || left(encode(sha256(convert_to(name || n, 'UTF8')), 'hex'), 8))::bit(32)::bigint / 4294967296.0::double precision
$$;

CREATE FUNCTION pg_temp.pick(name text, n bigint, choices text[]) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT choices[1 + floor(pg_temp.die(name, n) * cardinality(choices))::int]
$$;

-- ---- who is there ----

SELECT aurora.add_company('Lumen Works', currency => 'USD');
SELECT aurora.add_principal(owner, 'Lumen Works', login_role => login_role, trust => trust)
    FROM (VALUES ('dana', current_user::name, 'admin'), ('sam', NULL, 'manager'), ('ines', NULL, 'member'),
                 ('scout', NULL, 'agent')) AS principal (owner, login_role, trust);
SELECT aurora.set_rate('EUR', 1.09, 'Lumen Works');

CREATE TEMPORARY TABLE customer AS
    SELECT row_number() OVER (ORDER BY first_no, last_no)::int AS customer_no,
           first || ' ' || last AS name, lower(first || last) || '.example' AS domain
    FROM unnest('{Okafor,Lindqvist,Brightwater,Harbor,Castellan,Juniper,Northgate,Sakura,Vantage,Ironwood,Pacific,
                  Redstone,Solano,Tamarind,Whitfield,Zephyr}'::text[]) WITH ORDINALITY AS a (first, first_no),
         unnest('{Foods,Logistics,Energy,Health,Motors,Bank,Textiles,Aerospace,Retail,Pharma}'::text[])
             WITH ORDINALITY AS b (last, last_no);

CREATE TEMPORARY TABLE contact AS
    SELECT contact_no, customer_no, first || ' ' || last AS name,
           lower(first || '.' || last) || '@' || domain AS email, contact_no % 25 = 7 AS vip
    FROM generate_series(1, 320) AS contact_no
    JOIN customer ON customer_no = 1 + contact_no % 160
    CROSS JOIN LATERAL (SELECT
        pg_temp.pick('first name', contact_no, '{Grace,Mateo,Priya,Jonas,Amara,Yuki,Elena,Tariq,Noor,Felix,Ruth,Oskar,
                     Lucia,Hamid,Clara,Deniz}') AS first,
        pg_temp.pick('last name', contact_no, '{Adeyemi,Becker,Castillo,Duarte,Eriksen,Fournier,Gupta,Haddad,Ito,
                     Jansen,Kovacs,Larsen,Moreau,Novak,Osei,Park}') AS last) AS named;

SELECT aurora.add_person(email, name, vip => vip, company => 'Lumen Works') FROM contact ORDER BY contact_no;
SELECT aurora.add_person(email, name, importance => -2, company => 'Lumen Works')
    FROM (VALUES ('weekly@vendorweekly.example', 'Vendor Weekly'), ('news@cloudnotes.example', 'Cloud Notes'),
                 ('events@expohall.example', 'Expo Hall')) AS newsletter (email, name);

-- ---- what is there ----

CREATE TEMPORARY TABLE draft (
    n bigint GENERATED ALWAYS AS IDENTITY,
    kind text NOT NULL,
    title text NOT NULL,
    owner text NOT NULL DEFAULT 'dana',
    level text NOT NULL DEFAULT 'human',
    received interval NOT NULL DEFAULT '0',
    due interval,
    active interval,
    amount numeric,
    currency text,
    win_chance real,
    risk int,
    severity int,
    sender text,
    vip boolean,
    group_key text,
    provider text,
    ended boolean NOT NULL DEFAULT false
);

-- What a person would find first today, by hand.
INSERT INTO draft (kind, title, received, due, active, amount, currency, win_chance, risk, severity, vip) VALUES
    ('incident', 'Inference API returns 503 for every customer', '-20 min', NULL, NULL, NULL, NULL, NULL, 3, 1, NULL),
    ('incident', 'Edge replica 40 s behind the lead', '-35 min', NULL, NULL, NULL, NULL, NULL, 1, 2, NULL),
    ('deal', 'Vision inspection for 14 plants, Castellan Motors', '-96 d', '9 d', '-12 d', 1450000, 'USD', 0.6, 3, NULL, NULL),
    ('deal', 'Claims triage, three-year renewal, Harbor Health', '-61 d', '26 h', '-3 d', 480000, 'USD', 0.8, 2, NULL, NULL),
    ('deal', 'On-site GPU cluster, Lindqvist Aerospace', '-40 d', '3 d', '-8 d', 212000, 'EUR', 0.4, 2, NULL, NULL),
    ('meeting', 'Board call', '-5 d', '40 min', NULL, NULL, NULL, NULL, NULL, NULL, true),
    ('meeting', 'Price talk with Harbor Health', '-2 d', '3 h', NULL, NULL, NULL, NULL, NULL, NULL, NULL),
    ('task', 'Sign the order form of Solano Energy', '-2 d', '2 h', NULL, 64000, 'USD', NULL, NULL, NULL, NULL),
    ('task', 'Send the numbers to the auditor', '-9 d', '-1 d', NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO draft (kind, title, received, sender, group_key, provider)
    SELECT 'email', subject, received::interval, email, 'thread:vip ' || place, 'google'
    FROM (VALUES (1, 'Cancelling our pilot', '-3 h'), (2, 'Final terms: can you confirm today?', '-75 min'),
                 (3, 'Reference call this week?', '-15 min')) AS mail (place, subject, received)
    JOIN (SELECT email, row_number() OVER (ORDER BY contact_no) AS place FROM contact WHERE vip) AS v USING (place);

-- Deals: a Pareto tail from 500 to two million, a quarter in euro. Dana has some of the large ones.
INSERT INTO draft (kind, title, owner, received, due, active, amount, currency, win_chance, risk, group_key, provider)
    SELECT 'deal',
           pg_temp.pick('product', n, '{Vision inspection,Demand forecast,Warehouse routing,Claims triage,Voice agents,
                        Document search,Predictive maintenance,GPU hours,Support copilot,Model audit,Data labelling,
                        Annual support}') || ', ' || customer.name,
           pg_temp.pick('deal owner', n, CASE WHEN amount < 20000 THEN '{sam,sam,ines}' ELSE '{dana,sam,sam}' END::text[]),
           (3 + 200 * pg_temp.die('deal age', n) ^ 2) * interval '-1 d',
           (130 * pg_temp.die('close', n) - 6) * interval '1 d',
           CASE WHEN stage >= 3 THEN 25 * pg_temp.die('active', n) ^ 2 * interval '-1 d' END,
           amount,
           CASE WHEN pg_temp.die('currency', n) < 0.25 THEN 'EUR' ELSE 'USD' END,
           ('{0.1,0.2,0.4,0.6,0.8}'::real[])[stage],
           greatest(0, floor(13 * pg_temp.die('risk', n))::int - 9),
           'deal:' || n, 'hubspot'
    FROM generate_series(1, 900) AS n
    CROSS JOIN LATERAL (SELECT
        1 + floor(5 * pg_temp.die('stage', n))::int AS stage,
        round(least(2000000, 500 * (1 - pg_temp.die('amount', n)) ^ (-1 / 0.85))::numeric, -2) AS amount) AS rolled
    JOIN customer ON customer_no = 1 + floor(160 * pg_temp.die('customer', n))::int;

-- Mail of a month, three to a thread; most of it is answered.
INSERT INTO draft (kind, title, owner, received, sender, group_key, provider, ended)
    SELECT 'email',
           pg_temp.pick('subject', n, '{Re: proposal,Question about the invoice,Security questionnaire,Delivery date,
                        Renewal terms,An introduction,What happened on Friday?,Order form attached,Budget for next year,
                        Access for a colleague,Re: test results,Moving our call}') || ', ' || customer.name,
           pg_temp.pick('mail owner', n / 3, '{dana,dana,sam,sam,ines,ines,ines}'),
           hours * interval '-1 h', email, 'thread:' || n / 3, 'google',
           hours > 1 AND (vip OR pg_temp.die('answered', n) < CASE WHEN hours > 24 THEN 0.93 ELSE 0.6 END)
    FROM generate_series(1, 1500) AS n
    CROSS JOIN LATERAL (SELECT 0.3 + 720 * pg_temp.die('received', n) AS hours) AS timed
    JOIN contact ON contact_no = 1 + floor(320 * pg_temp.die('sender', n / 3))::int
    JOIN customer USING (customer_no);
INSERT INTO draft (kind, title, owner, received, sender, provider, ended)
    SELECT 'email', pg_temp.pick('news', n, '{Ten tools for your stack,This week in clouds,Last seats for the expo,
                                 Our new pricing,A webinar for you}'),
           pg_temp.pick('news owner', n, '{dana,sam,ines}'), 480 * pg_temp.die('news age', n) * interval '-1 h',
           pg_temp.pick('newsletter', n, '{weekly@vendorweekly.example,news@cloudnotes.example,events@expohall.example}'),
           'google', pg_temp.die('news read', n) < 0.4
    FROM generate_series(1, 300) AS n;

-- Meetings of two weeks back and four ahead; those that are over have ended.
INSERT INTO draft (kind, title, owner, received, due, provider, ended)
    SELECT 'meeting',
           pg_temp.pick('meeting', n, '{Demo for,Weekly call with,Contract review with,Kick-off with,Training for}') || ' ' || customer.name,
           pg_temp.pick('meeting owner', n, '{dana,dana,sam,sam,ines}'), 72 * pg_temp.die('invited', n) * interval '-1 h', hours * interval '1 h',
           'google', hours < 0
    FROM generate_series(1, 260) AS n
    CROSS JOIN LATERAL (SELECT 1008 * pg_temp.die('start', n) - 336 AS hours) AS timed
    JOIN customer ON customer_no = 1 + floor(160 * pg_temp.die('guest', n))::int;

-- Tasks: some overdue, most in the weeks ahead, some next year, some without any date.
INSERT INTO draft (kind, title, owner, received, due, ended)
    SELECT 'task',
           pg_temp.pick('task', n, '{Send a quote to,Update the forecast for,Write the case study of,Check the contract of,
                        Plan the rollout at,Answer the tender of,Prepare the audit of,Call back}') || ' ' || customer.name,
           pg_temp.pick('task owner', n, '{dana,sam,sam,ines,ines}'),
           10 * pg_temp.die('task age', n) * interval '-1 d',
           CASE WHEN shape < 0.3 THEN NULL
                WHEN shape < 0.4 THEN 12 * pg_temp.die('task due', n) * interval '-1 d'
                WHEN shape < 0.9 THEN 45 * pg_temp.die('task due', n) * interval '1 d'
                ELSE (180 + 500 * pg_temp.die('task due', n)) * interval '1 d' END,
           pg_temp.die('task done', n) < 0.25
    FROM generate_series(1, 800) AS n
    CROSS JOIN LATERAL (SELECT pg_temp.die('task shape', n) AS shape) AS shaped
    JOIN customer ON customer_no = 1 + floor(160 * pg_temp.die('task customer', n))::int;

-- Incidents of a month, nearly all over.
INSERT INTO draft (kind, title, owner, received, severity, risk, ended)
    SELECT 'incident',
           pg_temp.pick('incident', n, '{Disk nearly full on,Slow answers on,Backup failed on,Certificate expires on,
                        Worker restarts on}') || ' ' || pg_temp.pick('machine', n, '{lead,compute-1,compute-2,edge-1}'),
           pg_temp.pick('on call', n, '{dana,sam,ines,ines}'), hours * interval '-1 h',
           2 + floor(4 * pg_temp.die('severity', n))::int, floor(2 * pg_temp.die('incident risk', n))::int, hours > 4
    FROM generate_series(1, 80) AS n
    CROSS JOIN LATERAL (SELECT 0.5 + 700 * pg_temp.die('incident age', n) AS hours) AS timed;

INSERT INTO draft (kind, title, owner, received, due, ended)
    SELECT 'chore',
           pg_temp.pick('chore', n, '{File the expenses,Rotate an API key,Back up the laptop,Remove test accounts,Renew a domain,
                        Order badges,Tidy the shared folder,Water the plants}') || ' (' || n || ')',
           pg_temp.pick('chore owner', n, '{dana,sam,ines}'), 12 * pg_temp.die('chore age', n) * interval '-1 d',
           (60 * pg_temp.die('chore due', n) - 4) * interval '1 d', pg_temp.die('chore done', n) < 0.3
    FROM generate_series(1, 300) AS n;

-- What nobody has to look at: work of the agent, and silent upkeep.
INSERT INTO draft (kind, title, owner, level, received, due, ended)
    SELECT 'task',
           pg_temp.pick('agent task', n, '{Draft a reply to,Look up,Summarize the call with,Score}') || ' ' || customer.name,
           'scout', CASE WHEN n % 3 = 0 THEN 'self' ELSE 'agent' END,
           48 * pg_temp.die('agent age', n) * interval '-1 h', (24 * pg_temp.die('agent due', n) - 4) * interval '1 h',
           pg_temp.die('agent done', n) < 0.6
    FROM generate_series(1, 450) AS n
    JOIN customer ON customer_no = 1 + floor(160 * pg_temp.die('agent customer', n))::int;

CREATE TEMPORARY TABLE loaded AS
    SELECT n, aurora.add_item(
               title, kind => kind, owner => owner, company => 'Lumen Works', level => level,
               provider => provider, external_id => CASE WHEN provider IS NOT NULL THEN 'demo-' || n END, sender => sender,
               vip => vip, amount => amount, currency => currency, win_chance => win_chance, due_at => now() + due,
               received_at => now() + received, last_activity_at => now() + active, risk => coalesce(risk, 0), severity => severity,
               group_key => group_key) AS item_id
    FROM (SELECT * FROM draft ORDER BY n) AS draft;

-- ---- what people did with it ----

SELECT aurora.complete(item_id) FROM loaded JOIN draft USING (n) WHERE ended;
SELECT aurora.snooze(item_id, now() + (1 + n % 40) * interval '5 h')
    FROM loaded JOIN draft USING (n) WHERE kind = 'task' AND level = 'human' AND NOT ended AND n % 17 = 3 AND n > 20;
SELECT aurora.dismiss(item_id) FROM loaded JOIN draft USING (n) WHERE kind = 'email' AND NOT ended AND n % 9 = 4 AND n > 20;
SELECT aurora.delegate(item_id, 'ines')
    FROM loaded JOIN draft USING (n) WHERE kind = 'chore' AND owner = 'dana' AND NOT ended AND n % 8 = 5;
SELECT aurora.add_dependency(item_id, next_id)
    FROM (SELECT item_id, lead(item_id) OVER (ORDER BY n) AS next_id
          FROM loaded JOIN draft USING (n)
          WHERE kind = 'task' AND level = 'human' AND NOT ended AND n % 17 = 8 AND n > 20) AS chain
    WHERE next_id IS NOT NULL;
