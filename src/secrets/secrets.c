/*
 * Sets the capability up, and tells SQL what the library counts.
 */
#include "secrets/secrets.h"

#include "events/events.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/guc.h"

PG_FUNCTION_INFO_V1(aurora_local_secret_cache);

static int rotate_interval_s = 5;
static int forget_interval_s = 3600;

/*
 * local_secret_cache(): counters of this node since its start; no row without the preloaded
 * library.
 */
Datum
aurora_local_secret_cache(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	AuroraSecretCounters counters;
	Datum values[4];
	bool nulls[4] = {false};

	InitMaterializedSRF(fcinfo, 0);
	if (!aurora_preloaded)
		return (Datum) 0;
	counters = aurora_secret_counters();
	values[0] = Int64GetDatum(counters.hits);
	values[1] = Int64GetDatum(counters.misses);
	values[2] = Int64GetDatum(counters.evictions);
	values[3] = Int64GetDatum(counters.invalidations);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	return (Datum) 0;
}

/*
 * Runs a duty; true when it says that there is more to do.
 */
static bool
run_duty(const char *query)
{
	bool isnull = true;
	int64 rows = 0;

	SPI_connect();
	if (SPI_execute(query, false, 1) != SPI_OK_SELECT)
		elog(ERROR, "a duty's query failed: %s", query);
	if (SPI_processed > 0)
		rows =
			DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	SPI_finish();
	return !isnull && rows > 0;
}

static bool
rotate(void)
{
	return run_duty("SELECT aurora.run_duty('rotate_secrets') WHERE EXISTS "
					"(SELECT FROM aurora.secret_rotation r WHERE r.finished_at IS NULL)");
}

static bool
forget(void)
{
	return run_duty("SELECT aurora.run_duty('forget_secret_audit')");
}

/*
 * Names of secrets tell what a company uses: they are for who manages it, those of the mesh for
 * operators.
 */
static bool
may_read_names(const AuroraIdentity *identity, int32 company_id, const char *rest)
{
	return company_id == 0 ? aurora_topic_may_operate(identity)
						   : aurora_identity_manages(identity, company_id);
}

void
aurora_secrets_init(void)
{
	static int versions_kept;
	static int audit_retention_days;

	aurora_topic_reserve("secrets", may_read_names);
	aurora_topic_reserve("mesh/secrets", may_read_names);
	aurora_key_ring_init();
	aurora_secret_cache_init();
	aurora_audit_init();
	aurora_ship_init();
	DefineCustomIntVariable("aurora.secret_versions_kept",
							"Versions of a secret that are kept; older ones are destroyed.", NULL,
							&versions_kept, 10, 1, 1000, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("aurora.secret_audit_retention",
							"Days for which the lead keeps the audit of secrets.", NULL,
							&audit_retention_days, 400, 1, 36500, PGC_SIGHUP, 0, NULL, NULL, NULL);
	aurora_worker_add_duty("rotate_secrets", rotate, &rotate_interval_s, 1000);
	aurora_worker_add_duty("forget_secret_audit", forget, &forget_interval_s, 1000);
}
