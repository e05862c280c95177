-- The company issues: issues of open source projects, each project an owner, as known at "now".
-- Bugs are incidents; issues about performance or security are tasks. Labels and the number of
-- comments are those of the day on which the data was taken, since it has no others.
-- Severity: the label P0 to P4 gives 1 to 5; else a regression or 20 comments give 2, five comments
-- 3, a question, documentation or a first issue for beginners 5, and all others 4. Severity gives no
-- points but for the lane of the worst, so a severity of 1, 2, 3 also gives risk 3, 2, 1.
BEGIN;
\ir incoming.sql
\if :{?now}
\else
    \set now '2025-03-03 09:00'
\endif
\cd :data
\cd github-issues

CREATE TEMPORARY TABLE issue (project_name text, framework text, issue_id text, issue_title text, issue_type text,
                              state text, created_at timestamptz, closed_at timestamptz, time_to_close_days text,
                              labels text, comments int, url text);
\copy issue FROM 'github_issues.csv' (FORMAT csv, HEADER, ENCODING 'UTF8')

INSERT INTO incoming (external_id, owner, kind, title, received_at, state, state_at, severity, risk, url, details)
    SELECT project_name || '#' || issue_id, project_name, CASE issue_type WHEN 'bug' THEN 'incident' ELSE 'task' END,
           issue_title, created_at, CASE WHEN closed_at <= :'now' THEN 'done' ELSE 'open' END::aurora.item_state,
           CASE WHEN closed_at <= :'now' THEN closed_at END, rated.severity,
           CASE WHEN issue_type = 'security' THEN 2 ELSE coalesce(greatest(4 - rated.severity, 0), 0) END,
           url, jsonb_build_object('labels', string_to_array(labels, ', '), 'comments', comments)
    FROM issue CROSS JOIN LATERAL (SELECT
           CASE WHEN issue_type <> 'bug' THEN NULL
                WHEN labels ~ '\mP[0-4]: ' THEN 1 + substring(labels FROM '\mP([0-4]): ')::int
                WHEN labels ~ 'regression' OR comments >= 20 THEN 2
                WHEN comments >= 5 THEN 3
                WHEN labels ~ 'question|docs|documentation|good first issue' THEN 5
                ELSE 4 END AS severity) rated
    WHERE created_at <= :'now';

-- A bug in a library is no outage: half of them were closed within two days, three of four within fifteen.
SELECT aurora.set_kind('incident', half_life => '2 d', default_deadline => '15 d', company => 'issues')
    WHERE pg_temp.make_company('issues') \g /dev/null
SELECT pg_temp.make_owner(owner, 'issues') FROM (SELECT DISTINCT owner FROM incoming) i \g /dev/null
\pset tuples_only on
\pset format unaligned
SELECT pg_temp.put_items('issues', 'github');
COMMIT;
