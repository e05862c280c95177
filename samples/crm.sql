-- The company crm: deals of a hardware seller, each with its sales agent, as known at "now".
-- Amount is the list price, also after the end: the value at which a deal closed tells how it ended,
-- so only its details carry it. Likewise the account, which is empty for most deals that never end.
-- A date stands for its first moment, UTC. Deals in the stage Prospecting have no date at all, and
-- so no moment from which they are known: they are left out.
BEGIN;
\ir incoming.sql
\if :{?now}
\else
    \set now '2017-10-02 09:00'
\endif
\if :{?learn}
\else
    \set learn on
\endif
\cd :data
\cd crm-sales

CREATE TEMPORARY TABLE product (product text, series text, sales_price numeric);
\copy product FROM 'products.csv' (FORMAT csv, HEADER, ENCODING 'UTF8')
CREATE TEMPORARY TABLE team (sales_agent text, manager text, regional_office text);
\copy team FROM 'sales_teams.csv' (FORMAT csv, HEADER, ENCODING 'UTF8')
CREATE TEMPORARY TABLE pipeline (opportunity_id text, sales_agent text, product text, account text, deal_stage text,
                                 engage_date text, close_date text, close_value numeric);
\copy pipeline FROM 'sales_pipeline.csv' (FORMAT csv, HEADER, ENCODING 'UTF8')

INSERT INTO incoming (external_id, owner, kind, title, received_at, state, state_at, outcome, amount, details)
    SELECT d.opportunity_id, d.sales_agent, 'deal', p.product || ', ' || d.opportunity_id, d.engaged_at,
           CASE WHEN d.closed_at IS NULL THEN 'open' ELSE 'done' END::aurora.item_state, d.closed_at,
           CASE WHEN d.closed_at IS NOT NULL THEN lower(d.deal_stage) END::aurora.item_outcome, p.sales_price,
           jsonb_build_object('product', p.product) || CASE WHEN d.closed_at IS NOT NULL
               THEN jsonb_build_object('account', d.account, 'close_value', d.close_value) ELSE '{}' END
    FROM (SELECT *, to_date(engage_date, 'MM/DD/YYYY')::timestamptz AS engaged_at,
                 CASE WHEN to_date(close_date, 'MM/DD/YYYY') <= :'now'::timestamptz
                      THEN to_date(close_date, 'MM/DD/YYYY')::timestamptz END AS closed_at
          FROM pipeline) d
    LEFT JOIN product p ON p.product = CASE d.product WHEN 'GTXPro' THEN 'GTX Pro' ELSE d.product END
    WHERE d.engaged_at <= :'now';

-- No deal reaches the usual 50,000. Over 5,000 are the two dearest products.
SELECT pg_temp.make_company('crm', big_threshold => 5000) \g /dev/null
SELECT pg_temp.make_owner(manager, 'crm', trust => 'manager') FROM (SELECT DISTINCT manager FROM team) t \g /dev/null
SELECT pg_temp.make_owner(owner, 'crm') FROM (SELECT DISTINCT owner FROM incoming) i \g /dev/null
\pset tuples_only on
\pset format unaligned
SELECT pg_temp.put_items('crm', 'crm-sales');
\if :learn
    SELECT aurora.learn_win_chances(:'now', 'crm'), aurora.apply_win_chances(:'now', 'crm') \g /dev/null
\endif
COMMIT;
