-- What the soak knows of its jobs. "submitted" has the number in each job's payload; "log" has each claim,
-- completion and failure, written in the transaction that did it; "down" is when the server was away.
CREATE EXTENSION aurora;
CREATE SCHEMA bench;
CREATE TABLE bench.submitted (number bigint PRIMARY KEY, job bigint NOT NULL UNIQUE);
CREATE TABLE bench.log (at timestamptz NOT NULL DEFAULT clock_timestamp(), what text NOT NULL, job bigint NOT NULL, attempt int NOT NULL);
CREATE TABLE bench.down (began timestamptz NOT NULL, ended timestamptz NOT NULL);

-- Seconds of a span that the server was up.
CREATE FUNCTION bench.up_seconds(since timestamptz, until timestamptz) RETURNS float8 LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT extract(epoch FROM until - since) - coalesce(sum(extract(epoch FROM least(ended, until) - greatest(began, since)))
        FILTER (WHERE began < until AND ended > since), 0)
    FROM bench.down;
END;

-- Claims whose lease ended without a completion or failure that counted, each with how long after the end of the
-- lease the job was claimed again. A lease is as long as soak_take in lib/jobs_aurora.sql says.
CREATE VIEW bench.lapsed AS
SELECT job, attempt, at AS claimed, next_at AS claimed_again, next_at < at + interval '2.95 seconds' AS early,
    bench.up_seconds(at + interval '3 seconds', greatest(next_at, at + interval '3 seconds')) AS late
FROM (
    SELECT job, attempt, at, lead(at) OVER (PARTITION BY job ORDER BY attempt) AS next_at
    FROM bench.log WHERE what = 'claim'
) AS claims
WHERE next_at IS NOT NULL
    AND NOT EXISTS (SELECT FROM bench.log AS failed WHERE failed.what = 'fail' AND failed.job = claims.job AND failed.attempt = claims.attempt);
CREATE INDEX ON bench.log (job, attempt) WHERE what = 'fail';
