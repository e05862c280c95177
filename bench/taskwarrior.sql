-- Has generated items lie around the time given as now.
SELECT format('CREATE OR REPLACE FUNCTION bench.at() RETURNS timestamptz
               LANGUAGE sql IMMUTABLE PARALLEL SAFE AS %L', format('SELECT timestamptz %L', :'now')) \gexec
