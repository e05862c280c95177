/*
 * Waiting for jobs: asleep without a snapshot, so that vacuum goes on, until a job is submitted,
 * let go or falls due.
 */
#include "jobs/jobs.h"

#include "access/htup_details.h"
#include "access/multixact.h"
#include "access/xact.h"
#include "executor/spi.h"
#include "nodes/parsenodes.h"
#include "storage/procarray.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#define LOOK_MS 1000 /* a ring can be lost: so often a waiter looks by itself */

PG_FUNCTION_INFO_V1(aurora_wait_jobs);

/*
 * Does a transaction that is not over hold the row, as one does that has taken the job.
 */
static bool
is_locked(TupleTableSlot *slot)
{
	bool should_free;
	HeapTupleHeader header = ExecFetchSlotHeapTuple(slot, false, &should_free)->t_data;
	TransactionId locker = HeapTupleHeaderGetRawXmax(header);

	if (header->t_infomask & HEAP_XMAX_INVALID || HEAP_XMAX_IS_KEYSHR_LOCKED(header->t_infomask))
		return false;
	if (header->t_infomask & HEAP_XMAX_IS_MULTI)
		return MultiXactIdIsRunning(locker, false);
	return TransactionIdIsInProgress(locker);
}

bool
aurora_queue_has_waiting(int32 queue_id)
{
	AuroraLaneRead reads[AURORA_JOB_CLASS_COUNT];
	int64 marks[AURORA_JOB_CLASS_COUNT];
	int64 taken[AURORA_JOB_CLASS_COUNT];
	bool found = false;
	AuroraJobTable jobs;
	Snapshot snapshot;

	aurora_job_table_open(&jobs, "job");
	aurora_lanes_read(queue_id, reads);
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	for (int class = 0; class < AURORA_JOB_CLASS_COUNT; class ++)
	{
		AuroraLaneScan lane = {.queue_id = queue_id, .class = class, .read = reads[class]};

		marks[class] = PG_INT64_MIN;
		taken[class] = PG_INT64_MIN;
		if (found)
			continue;
		aurora_lane_scan_open(&lane, &jobs, aurora_job_class_oid(class), snapshot);
		while (!found && aurora_lane_scan_next(&lane))
		{
			found = !is_locked(lane.slot);
			lane.first_locked = Min(lane.first_locked, lane.position);
		}
		marks[class] = lane.first_locked;
		aurora_lane_scan_close(&lane);
	}
	aurora_lanes_advance(queue_id, reads, marks, taken);
	UnregisterSnapshot(snapshot);
	aurora_job_table_close(&jobs);
	return found;
}

static void
require_no_transaction(FunctionCallInfo fcinfo)
{
	if (fcinfo->context && IsA(fcinfo->context, CallContext) &&
		!castNode(CallContext, fcinfo->context)->atomic)
		return;
	ereport(ERROR, (errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
					errmsg("aurora.wait_jobs() cannot wait inside a transaction block"),
					errhint("It would keep a snapshot, and see no new job. Call it by itself.")));
}

static int64
timeout_argument(FunctionCallInfo fcinfo, int number)
{
	Interval *timeout;
	int64 us;

	if (PG_ARGISNULL(number))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
						errmsg("the time to wait may not be null")));
	timeout = PG_GETARG_INTERVAL_P(number);
	us = aurora_interval_us(timeout);
	if (us < 0 || us > USECS_PER_DAY)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("the time to wait is 0 to 24 hours")));
	return us;
}

/*
 * May the caller have a job of the queue now?
 */
static bool
serves(int32 queue_id)
{
	AuroraQueue *queue = aurora_queue_get(queue_id, GetActiveSnapshot());
	bool is_drained;

	(void) aurora_queue_node(GetActiveSnapshot(), &is_drained);
	return queue != NULL && !queue->is_paused && !is_drained;
}

/*
 * Sleeps until the bell rings, something falls due or it is time to look.
 */
static void
sleep_a_while(int32 queue_id, uint64 rings, int64 left_us)
{
	int64 sleep_ms = Min(LOOK_MS, (left_us + 999) / 1000);
	TimestampTz due = aurora_queue_next_due(queue_id);

	if (due != DT_NOEND)
		sleep_ms =
			Min(sleep_ms, Max(1, TimestampDifferenceMilliseconds(GetCurrentTimestamp(), due)));
	(void) aurora_bell_wait(AURORA_BELL_QUEUE, queue_id, rings, (long) sleep_ms);
}

/*
 * wait_jobs(queue, timeout, company): returns when there may be a job, or the time is over.
 */
Datum
aurora_wait_jobs(PG_FUNCTION_ARGS)
{
	int64 end_us;
	AuroraQueue *queue;
	int32 queue_id;

	require_no_transaction(fcinfo);
	aurora_lead_require();
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("the queue may not be null")));
	end_us = aurora_clock_us() + timeout_argument(fcinfo, 1);
	queue = aurora_queue_need(PG_GETARG_TEXT_PP(0), PG_ARGISNULL(2) ? NULL : PG_GETARG_TEXT_PP(2),
							  GetActiveSnapshot());
	aurora_queue_require_taker(queue, GetActiveSnapshot());
	queue_id = queue->queue_id;
	SPI_connect_ext(SPI_OPT_NONATOMIC);
	for (;;)
	{
		uint64 rings = aurora_bell_rings(AURORA_BELL_QUEUE, queue_id);
		bool found;
		bool is_served;

		PushActiveSnapshot(GetTransactionSnapshot());
		is_served = serves(queue_id);
		if (is_served)
			aurora_queue_settle(queue_id);
		found = is_served && aurora_queue_has_waiting(queue_id);
		PopActiveSnapshot();
		if (found || aurora_clock_us() >= end_us)
			break;
		SPI_commit();
		sleep_a_while(queue_id, rings, end_us - aurora_clock_us());
	}
	SPI_finish();
	PG_RETURN_VOID();
}
