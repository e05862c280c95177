/*
 * What the lead's worker does for the surface: applies changed settings, wakes snoozed items, and
 * samples the surfaces. aurora.run_duty() does the same by hand and notes each run.
 */
#include "priority/priority.h"

#include "executor/spi.h"
#include "utils/guc.h"

static int apply_interval_s = 5;
static int wake_interval_s = 60;
static int sample_interval_s = 300;

/*
 * Runs a query that gives one number; true when it is above 0.
 */
static bool
query_says_more(const char *query)
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
apply_settings(void)
{
	return query_says_more("SELECT aurora.run_duty('apply_settings') "
						   "WHERE EXISTS (SELECT FROM aurora.placement_run)");
}

static bool
wake_snoozed(void)
{
	return query_says_more("SELECT aurora.run_duty('wake_snoozed')");
}

static bool
sample_surface(void)
{
	(void) query_says_more("SELECT aurora.run_duty('sample_surface')");
	return false;
}

void
aurora_priority_init(void)
{
	DefineCustomIntVariable("aurora.surface_sample_interval",
							"Time between samples of which items are on the surfaces; 0 for never.",
							NULL, &sample_interval_s, 300, 0, 86400, PGC_SIGHUP, GUC_UNIT_S, NULL,
							NULL, NULL);
	aurora_priority_note_init();
	aurora_worker_add_duty("apply_settings", apply_settings, &apply_interval_s, 1000);
	aurora_worker_add_duty("wake_snoozed", wake_snoozed, &wake_interval_s, 1000);
	aurora_worker_add_duty("sample_surface", sample_surface, &sample_interval_s, 1000);
}
