/*
 * Sets the capability up, and does its duty on the lead: old events are removed.
 */
#include "events/events.h"

#include "executor/spi.h"
#include "utils/guc.h"

static int retention_min = 0;
static int trim_interval_s = 60;

/*
 * True when there may be more to remove at once.
 */
static bool
trim_events(void)
{
	bool isnull = true;
	int64 removed = 0;

	SPI_connect();
	if (SPI_execute("SELECT aurora.run_duty('trim_events')", false, 1) != SPI_OK_SELECT)
		elog(ERROR, "old events could not be removed");
	if (SPI_processed > 0)
		removed =
			DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	SPI_finish();
	return !isnull && removed > 0;
}

void
aurora_events_init(void)
{
	DefineCustomIntVariable("aurora.event_retention",
							"Age at which events of topics without a setting of their own are "
							"removed; 0 for never.",
							NULL, &retention_min, 30 * 24 * 60, 0, 100 * 365 * 24 * 60, PGC_SIGHUP,
							GUC_UNIT_MIN, NULL, NULL, NULL);
	aurora_worker_add_duty("trim_events", trim_events, &trim_interval_s, 1000);
	aurora_note_init();
	aurora_wait_init();
	aurora_redis_init();
	aurora_courier_init();
}
