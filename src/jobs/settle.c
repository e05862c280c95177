/*
 * What happens to jobs by time: delays end, leases run out. Whoever takes or waits sees to it when
 * it is due, and the lead's worker sees to queues that nobody asks.
 */
#include "jobs/jobs.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#define SWEEP_US 1000000
#define SWEEP_SHARE 20 /* a sweep takes a twentieth of the time at most */
#define COUNT_US 5000000

static int settle_interval_ms = 200;
static int rotate_interval_s = 3600;

void
aurora_queue_settle(int32 queue_id)
{
	static const Oid types[1] = {INT4OID};
	Datum values[1] = {Int32GetDatum(queue_id)};
	TimestampTz next_due;
	bool isnull;

	/* An older snapshot would miss what is due, and tell that nothing is. */
	if (IsolationUsesXactSnapshot() || XactReadOnly)
		return;
	if (aurora_queue_next_due(queue_id) > GetCurrentTimestamp() ||
		!aurora_queue_begin_settling(queue_id))
		return;
	PG_TRY();
	{
		next_due = DatumGetTimestampTz(
			aurora_jobs_call("SELECT aurora.settle_queue($1)", 1, types, values, NULL, &isnull));
	}
	PG_CATCH();
	{
		aurora_queue_end_settling(queue_id, false, 0);
		PG_RE_THROW();
	}
	PG_END_TRY();
	aurora_queue_end_settling(queue_id, true, next_due);
	aurora_queue_due_at(queue_id, next_due);
	CommandCounterIncrement();
}

/* ---- the worker's part ---- */

/*
 * Looks for jobs that wait before their lane's mark: ones whose arrival nobody was told of, as with
 * a prepared transaction, or whose taker failed without its session noticing.
 */
static void
sweep_queue(int32 queue_id)
{
	AuroraLaneRead reads[AURORA_JOB_CLASS_COUNT];
	AuroraJobTable jobs;

	aurora_job_table_open(&jobs, "job");
	aurora_lanes_read(queue_id, reads);
	for (int class = 0; class < AURORA_JOB_CLASS_COUNT; class ++)
	{
		AuroraLaneScan lane = {
			.queue_id = queue_id, .class = class, .read = {.mark = PG_INT64_MIN}};
		int64 mark = reads[class].mark;

		if (mark == PG_INT64_MIN)
			continue;
		aurora_lane_scan_open(&lane, &jobs, aurora_job_class_oid(class), GetActiveSnapshot());
		if (aurora_lane_scan_next(&lane) && lane.position < mark)
		{
			aurora_lane_arrive(queue_id, class, lane.position);
			aurora_queue_ring(queue_id);
		}
		aurora_lane_scan_close(&lane);
	}
	aurora_job_table_close(&jobs);
}

static List *
all_queues(void)
{
	MemoryContext outer = CurrentMemoryContext;
	List *found = NIL;
	bool isnull;

	SPI_connect();
	if (SPI_execute("SELECT q.queue_id FROM aurora.job_queue q ORDER BY q.queue_id", true, 0) !=
		SPI_OK_SELECT)
		elog(ERROR, "the queues could not be read");
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		int32 queue_id =
			DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull));
		MemoryContext inner = MemoryContextSwitchTo(outer);

		found = lappend_int(found, queue_id);
		MemoryContextSwitchTo(inner);
	}
	SPI_finish();
	return found;
}

static void
sweep_when_due(List *queues)
{
	static int64 next_us = 0;
	int64 began_us = aurora_clock_us();
	ListCell *cell;

	if (began_us < next_us)
		return;
	foreach (cell, queues)
		sweep_queue(lfirst_int(cell));
	next_us = began_us + Max(SWEEP_US, (aurora_clock_us() - began_us) * SWEEP_SHARE);
}

/*
 * Writes what sessions have counted since the last time.
 */
static void
write_counts_when_due(void)
{
	static const Oid types[10] = {INT4OID, TEXTOID, INT8OID, INT8OID, INT8OID,
								  INT8OID, INT8OID, INT8OID, INT8OID, INT8OID};
	static int64 next_us = 0;
	AuroraJobCounts counts;
	AuroraJobClass class;
	int32 queue_id;
	bool isnull;

	if (aurora_clock_us() < next_us)
		return;
	next_us = aurora_clock_us() + COUNT_US;
	while (aurora_lane_take_counts(&queue_id, &class, &counts))
	{
		Datum values[10] = {
			Int32GetDatum(queue_id),		 CStringGetTextDatum(aurora_job_class_name(class)),
			Int64GetDatum(counts.submitted), Int64GetDatum(counts.taken),
			Int64GetDatum(counts.done),		 Int64GetDatum(counts.failed),
			Int64GetDatum(counts.lapsed),	 Int64GetDatum(counts.cancelled),
			Int64GetDatum(counts.wait_ms),	 Int64GetDatum(counts.run_ms)};

		(void) aurora_jobs_call(
			"SELECT aurora.add_job_counts($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)", 10, types,
			values, NULL, &isnull);
	}
}

static bool
settle_queues(void)
{
	List *queues = all_queues();
	ListCell *cell;

	foreach (cell, queues)
		aurora_queue_settle(lfirst_int(cell));
	sweep_when_due(queues);
	write_counts_when_due();
	return false;
}

static bool
rotate_archive(void)
{
	bool isnull;

	(void) aurora_jobs_call("SELECT aurora.run_duty('rotate_job_archive')", 0, NULL, NULL, NULL,
							&isnull);
	return false;
}

void
aurora_settle_init(void)
{
	aurora_worker_add_duty("settle_queues", settle_queues, &settle_interval_ms, 1);
	aurora_worker_add_duty("rotate_job_archive", rotate_archive, &rotate_interval_s, 1000);
}
