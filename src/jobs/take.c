/*
 * Taking jobs: what is done is finished, then the next ones are claimed, in one call and so in one
 * commit. A claim reads each lane from its mark, so that it costs the same however many jobs have
 * been taken since the last vacuum.
 */
#include "jobs/jobs.h"

#include "access/relscan.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/* Columns of the result of take_jobs(). */
enum
{
	TAKEN_JOB_ID,
	TAKEN_ATTEMPT,
	TAKEN_KIND,
	TAKEN_PAYLOAD,
	TAKEN_LEASE_UNTIL,
	TAKEN_MAX_ATTEMPTS,
	TAKEN_CLASS,
	TAKEN_COMPANY_ID,
	TAKEN_SUBMITTED_BY,
	TAKEN_SUBMITTED_AT,
	TAKEN_COLUMNS
};

typedef AuroraTaking Taking;

PG_FUNCTION_INFO_V1(aurora_take_jobs);

/* ---- lanes ---- */

/*
 * The next job of a lane, with its virtual deadline.
 */
static void
step_lane(const Taking *taking, AuroraLaneScan *lane)
{
	bool isnull;

	if (aurora_lane_scan_next(lane))
		lane->deadline =
			DatumGetTimestampTz(slot_getattr(lane->slot, AURORA_JOB_READY_AT + 1, &isnull)) +
			taking->queue->slack_us[lane->class];
}

/*
 * Marks are read before the snapshot is taken: what arrives after it is then known to the lane.
 */
static void
open_lanes(Taking *taking)
{
	AuroraLaneRead reads[AURORA_JOB_CLASS_COUNT];

	aurora_lanes_read(taking->queue->queue_id, reads);
	for (int class = 0; class < AURORA_JOB_CLASS_COUNT; class ++)
		taking->lanes[class] = (AuroraLaneScan) {
			.queue_id = taking->queue->queue_id, .class = class, .read = reads[class]};
	taking->snapshot = RegisterSnapshot(GetLatestSnapshot());
	for (int class = 0; class < AURORA_JOB_CLASS_COUNT; class ++)
	{
		aurora_lane_scan_open(&taking->lanes[class], &taking->jobs, aurora_job_class_oid(class),
							  taking->snapshot);
		step_lane(taking, &taking->lanes[class]);
	}
}

/*
 * Nothing waits before the job at which a lane's scan stands; at its end, nothing waits at all. But
 * a job that another session has locked may be let go again: the mark stays before the first.
 */
static void
close_lanes(Taking *taking)
{
	AuroraLaneRead reads[AURORA_JOB_CLASS_COUNT];
	int64 marks[AURORA_JOB_CLASS_COUNT];
	int64 taken[AURORA_JOB_CLASS_COUNT];

	for (int class = 0; class < AURORA_JOB_CLASS_COUNT; class ++)
	{
		AuroraLaneScan *lane = &taking->lanes[class];

		reads[class] = lane->read;
		marks[class] = Min(lane->first_locked, lane->has_job ? lane->position : PG_INT64_MAX);
		taken[class] = lane->taken;
		aurora_lane_scan_close(lane);
	}
	aurora_lanes_advance(taking->queue->queue_id, reads, marks, taken);
	UnregisterSnapshot(taking->snapshot);
}

/*
 * The lane whose first job comes next: the earliest deadline; but while a class that presses more
 * has jobs waiting, one that presses less has a turn in four only.
 */
static AuroraLaneScan *
choose_lane(Taking *taking)
{
	AuroraLaneScan *best = NULL;
	AuroraLaneScan *most_pressing = NULL;

	for (int class = 0; class < AURORA_JOB_CLASS_COUNT; class ++)
	{
		AuroraLaneScan *lane = &taking->lanes[class];

		if (!lane->has_job)
			continue;
		if (most_pressing == NULL)
			most_pressing = lane;
		if (best == NULL || lane->deadline < best->deadline)
			best = lane;
	}
	if (best != most_pressing && !aurora_lane_gives_way(taking->queue->queue_id))
		return most_pressing;
	return best;
}

/* ---- claiming ---- */

/*
 * May the job at which the lane stands run now, as far as its concurrency key goes? If not it is
 * held until another with that key ends; or left, while another session decides about the key.
 */
static bool
may_run(Taking *taking, AuroraLaneScan *lane)
{
	static const Oid types[4] = {INT8OID, INT4OID, INT4OID, TEXTOID};
	TupleTableSlot *job = taking->jobs.slot;
	TM_Result locked = aurora_job_lock(&taking->jobs, lane->slot, taking->snapshot);
	Datum values[4];
	bool isnull = locked == TM_WouldBlock || locked == TM_Updated;
	bool enters = false;

	if (locked == TM_Ok)
	{
		values[0] = job->tts_values[AURORA_JOB_ID];
		values[1] = job->tts_values[AURORA_JOB_QUEUE_ID];
		values[2] = job->tts_values[AURORA_JOB_COMPANY_ID];
		values[3] = job->tts_values[AURORA_JOB_CONCURRENCY_KEY];
		enters = DatumGetBool(aurora_jobs_call("SELECT aurora.enter_concurrency($1, $2, $3, $4)", 4,
											   types, values, NULL, &isnull));
	}
	if (isnull)
		lane->first_locked = Min(lane->first_locked, lane->position);
	else if (!enters)
		aurora_lane_leave(lane->queue_id, lane->class, lane->position);
	return !isnull && enters;
}

static void
return_job(Taking *taking, const Datum *job, const bool *nulls, AuroraJobClass class)
{
	Datum values[TAKEN_COLUMNS];
	bool isnull[TAKEN_COLUMNS] = {false};

	values[TAKEN_JOB_ID] = job[AURORA_JOB_ID];
	values[TAKEN_ATTEMPT] = job[AURORA_JOB_ATTEMPT];
	values[TAKEN_KIND] = job[AURORA_JOB_KIND];
	isnull[TAKEN_KIND] = nulls[AURORA_JOB_KIND];
	values[TAKEN_PAYLOAD] = job[AURORA_JOB_PAYLOAD];
	values[TAKEN_LEASE_UNTIL] = job[AURORA_JOB_LEASE_UNTIL];
	values[TAKEN_MAX_ATTEMPTS] = job[AURORA_JOB_MAX_ATTEMPTS];
	values[TAKEN_CLASS] = CStringGetTextDatum(aurora_job_class_name(class));
	values[TAKEN_COMPANY_ID] = job[AURORA_JOB_COMPANY_ID];
	values[TAKEN_SUBMITTED_BY] = job[AURORA_JOB_SUBMITTED_BY];
	values[TAKEN_SUBMITTED_AT] = job[AURORA_JOB_SUBMITTED_AT];
	tuplestore_putvalues(taking->result->setResult, taking->result->setDesc, values, isnull);
}

/*
 * The row of the claimed job at which the lane stands.
 */
static void
fill_claim(const Taking *taking, const AuroraLaneScan *lane, Datum *values, bool *nulls)
{
	memcpy(values, lane->slot->tts_values, AURORA_JOB_COLUMNS * sizeof(Datum));
	memcpy(nulls, lane->slot->tts_isnull, AURORA_JOB_COLUMNS * sizeof(bool));
	values[AURORA_JOB_STATE] = ObjectIdGetDatum(taking->running);
	values[AURORA_JOB_ATTEMPT] = Int32GetDatum(DatumGetInt32(values[AURORA_JOB_ATTEMPT]) + 1);
	values[AURORA_JOB_STARTED_AT] = TimestampTzGetDatum(taking->now);
	values[AURORA_JOB_LEASE_UNTIL] = TimestampTzGetDatum(taking->now + taking->lease_us);
	values[AURORA_JOB_TAKER] = CStringGetTextDatum(taking->taker);
	nulls[AURORA_JOB_STARTED_AT] = false;
	nulls[AURORA_JOB_LEASE_UNTIL] = false;
	nulls[AURORA_JOB_TAKER] = false;
	nulls[AURORA_JOB_PROGRESS] = true;
	nulls[AURORA_JOB_NOTE] = true;
}

/*
 * Claims the job at which the lane stands; false when another session has it, or has changed it
 * since the snapshot. It may be let go again, or still wait: the mark stays before it.
 */
static bool
claim(Taking *taking, AuroraLaneScan *lane)
{
	AuroraJobCounts counts = {.taken = 1};
	Datum values[AURORA_JOB_COLUMNS];
	bool nulls[AURORA_JOB_COLUMNS];
	TM_Result result;

	slot_getallattrs(lane->slot);
	if (!lane->slot->tts_isnull[AURORA_JOB_CONCURRENCY_KEY] && !may_run(taking, lane))
		return false;
	fill_claim(taking, lane, values, nulls);
	result = aurora_job_replace(&taking->jobs, lane->slot, values, nulls);
	if (result != TM_Ok && !lane->slot->tts_isnull[AURORA_JOB_CONCURRENCY_KEY])
		elog(ERROR, "a job that was locked could not be claimed: %d", (int) result);
	if (result == TM_BeingModified || result == TM_Updated)
		lane->first_locked = Min(lane->first_locked, lane->position);
	if (result != TM_Ok)
		return false;
	taking->give(taking, values, nulls, lane->class);
	aurora_lane_leave(lane->queue_id, lane->class, lane->position);
	lane->taken = Max(lane->taken, lane->position);
	aurora_queue_due_at(lane->queue_id, taking->now + taking->lease_us);
	counts.wait_ms = (taking->now - DatumGetTimestampTz(values[AURORA_JOB_READY_AT])) / 1000;
	aurora_lane_count(lane->queue_id, lane->class, &counts);
	return true;
}

bool
aurora_taking_claim(AuroraTaking *taking, AuroraLaneScan *lane)
{
	return claim(taking, lane);
}

static void
claim_jobs(Taking *taking, int max_jobs)
{
	AuroraLaneScan *lane;
	int claimed = 0;

	open_lanes(taking);
	while (claimed < max_jobs && (lane = choose_lane(taking)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		if (claim(taking, lane))
			claimed++;
		step_lane(taking, lane);
	}
	close_lanes(taking);
}

/* ---- SQL ---- */

int64
aurora_lease_argument(FunctionCallInfo fcinfo, int number, const AuroraQueue *queue)
{
	Interval *lease;
	int64 lease_us;

	if (PG_ARGISNULL(number))
		return queue->lease_us;
	lease = PG_GETARG_INTERVAL_P(number);
	lease_us = aurora_interval_us(lease);
	if (lease_us < USECS_PER_SEC || lease_us > 7 * USECS_PER_DAY)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("a lease lasts 1 second to 7 days")));
	return lease_us;
}

static char *
taker_argument(FunctionCallInfo fcinfo, int number, const char *node)
{
	char *given = PG_ARGISNULL(number) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(number));

	aurora_job_check_text("taker", given);
	if (node && given && strcmp(node, given) != 0)
		return psprintf("%s/%s", node, given);
	if (node)
		return pstrdup(node);
	return given ? given : GetUserNameFromId(aurora_caller_now().role, false);
}

/*
 * The finished jobs: arguments number, number + 1 (attempts) and number + 2 (results or null).
 */
static AuroraJobResult *
finished_argument(FunctionCallInfo fcinfo, int number, int *count)
{
	AuroraJobResult *results;
	Datum *ids, *attempts, *values = NULL;
	bool *id_nulls, *attempt_nulls, *value_nulls = NULL;
	int attempt_count, value_count = -1;

	*count = 0;
	if (PG_ARGISNULL(number))
		return NULL;
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(number), INT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE,
					  &ids, &id_nulls, count);
	if (*count == 0)
		return NULL;
	attempt_count = -1;
	if (!PG_ARGISNULL(number + 1))
		deconstruct_array(PG_GETARG_ARRAYTYPE_P(number + 1), INT4OID, 4, true, TYPALIGN_INT,
						  &attempts, &attempt_nulls, &attempt_count);
	if (!PG_ARGISNULL(number + 2))
		deconstruct_array(PG_GETARG_ARRAYTYPE_P(number + 2), JSONBOID, -1, false, TYPALIGN_INT,
						  &values, &value_nulls, &value_count);
	if (attempt_count != *count || (values && value_count != *count))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("there must be as many attempts, and results if any, as finished "
							   "jobs")));
	results = palloc(*count * sizeof(AuroraJobResult));
	for (int i = 0; i < *count; i++)
	{
		if (id_nulls[i] || attempt_nulls[i])
			ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
							errmsg("a job's number and attempt may not be null")));
		results[i].job_id = DatumGetInt64(ids[i]);
		results[i].attempt = DatumGetInt32(attempts[i]);
		results[i].result = values && !value_nulls[i] ? DatumGetJsonbP(values[i]) : NULL;
	}
	return results;
}

/*
 * take_jobs(queue, max_jobs, taker, lease, finished, attempts, results, company)
 */
Datum
aurora_take_jobs(PG_FUNCTION_ARGS)
{
	Taking taking = {.result = (ReturnSetInfo *) fcinfo->resultinfo, .give = return_job};
	int max_jobs = PG_ARGISNULL(1) ? 1 : PG_GETARG_INT32(1);
	Snapshot snapshot = GetActiveSnapshot();
	AuroraJobResult *results;
	bool is_drained;
	char *node;
	int count;

	aurora_lead_require();
	PreventCommandIfReadOnly("take_jobs()");
	InitMaterializedSRF(fcinfo, 0);
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("the queue may not be null")));
	if (max_jobs < 0 || max_jobs > AURORA_JOBS_AT_ONCE)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("0 to %d jobs are taken at once", AURORA_JOBS_AT_ONCE)));
	taking.queue = aurora_queue_need(PG_GETARG_TEXT_PP(0),
									 PG_ARGISNULL(7) ? NULL : PG_GETARG_TEXT_PP(7), snapshot);
	aurora_queue_require_taker(taking.queue, snapshot);
	node = aurora_queue_node(snapshot, &is_drained);
	taking.taker = taker_argument(fcinfo, 2, node);
	taking.lease_us = aurora_lease_argument(fcinfo, 3, taking.queue);
	results = finished_argument(fcinfo, 4, &count);
	aurora_job_table_open(&taking.jobs, "job");
	if (count > 0)
		(void) aurora_jobs_finish(&taking.jobs, results, count, taking.queue);
	aurora_queue_settle(taking.queue->queue_id);
	taking.now = GetCurrentTimestamp();
	taking.running = aurora_job_state_oid(AURORA_JOB_RUNNING);
	if (max_jobs > 0 && !taking.queue->is_paused && !is_drained)
		claim_jobs(&taking, max_jobs);
	aurora_job_table_close(&taking.jobs);
	CommandCounterIncrement(); /* the same statement may go on to finish them */
	return (Datum) 0;
}
