/*
 * The end of jobs: from the live table to the archive. A taker names what it had by the job's
 * number and the attempt; when the attempt is over, its result is refused and kept aside.
 */
#include "jobs/jobs.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/* Columns of aurora.job_archive, in table order. */
enum
{
	ARCHIVE_JOB_ID,
	ARCHIVE_COMPANY_ID,
	ARCHIVE_SLOT,
	ARCHIVE_QUEUE_ID,
	ARCHIVE_CLASS,
	ARCHIVE_STATE,
	ARCHIVE_ATTEMPT,
	ARCHIVE_MAX_ATTEMPTS,
	ARCHIVE_READY_AT,
	ARCHIVE_SUBMITTED_AT,
	ARCHIVE_STARTED_AT,
	ARCHIVE_FINISHED_AT,
	ARCHIVE_SUBMITTED_BY,
	ARCHIVE_KIND,
	ARCHIVE_TAKER,
	ARCHIVE_ERROR,
	ARCHIVE_PAYLOAD,
	ARCHIVE_RESULT,
	ARCHIVE_COLUMNS
};

/* Which column of a live job each of the archive comes from; -1 for none. */
static const int source[ARCHIVE_COLUMNS] = {
	[ARCHIVE_JOB_ID] = AURORA_JOB_ID,
	[ARCHIVE_COMPANY_ID] = AURORA_JOB_COMPANY_ID,
	[ARCHIVE_SLOT] = -1,
	[ARCHIVE_QUEUE_ID] = AURORA_JOB_QUEUE_ID,
	[ARCHIVE_CLASS] = AURORA_JOB_CLASS,
	[ARCHIVE_STATE] = -1,
	[ARCHIVE_ATTEMPT] = AURORA_JOB_ATTEMPT,
	[ARCHIVE_MAX_ATTEMPTS] = AURORA_JOB_MAX_ATTEMPTS,
	[ARCHIVE_READY_AT] = AURORA_JOB_READY_AT,
	[ARCHIVE_SUBMITTED_AT] = AURORA_JOB_SUBMITTED_AT,
	[ARCHIVE_STARTED_AT] = AURORA_JOB_STARTED_AT,
	[ARCHIVE_FINISHED_AT] = -1,
	[ARCHIVE_SUBMITTED_BY] = AURORA_JOB_SUBMITTED_BY,
	[ARCHIVE_KIND] = AURORA_JOB_KIND,
	[ARCHIVE_TAKER] = AURORA_JOB_TAKER,
	[ARCHIVE_ERROR] = -1,
	[ARCHIVE_PAYLOAD] = AURORA_JOB_PAYLOAD,
	[ARCHIVE_RESULT] = -1,
};

/* What a batch of results works with. */
typedef struct Finishing
{
	AuroraJobTable *jobs;
	AuroraJobTable archive;
	int32 archive_slot;
	Oid done;
	Oid running;
	char *node;			 /* of the caller, NULL when it is none */
	int32 allowed_queue; /* that the caller may take from; 0 for none yet */
	Snapshot snapshot;
	TimestampTz now;
	Datum *blockers; /* finished jobs that others run after */
	int blocker_count;
	Datum *key_queues; /* concurrency keys of finished jobs */
	Datum *key_companies;
	Datum *keys;
	int key_count;
} Finishing;

PG_FUNCTION_INFO_V1(aurora_finish_job);

static int
compare_results(const void *a, const void *b)
{
	int64 left = ((const AuroraJobResult *) a)->job_id;
	int64 right = ((const AuroraJobResult *) b)->job_id;

	return left < right ? -1 : left > right;
}

/*
 * A node finishes what it took itself.
 */
static bool
is_taker(const Finishing *finishing, Datum taker, bool is_null)
{
	return finishing->node == NULL ||
		   (!is_null && aurora_queue_node_has(finishing->node, TextDatumGetCString(taker)));
}

static void
require_right(Finishing *finishing, int32 queue_id)
{
	AuroraQueue *queue;

	if (queue_id == finishing->allowed_queue)
		return;
	queue = aurora_queue_get(queue_id, finishing->snapshot);
	if (queue == NULL)
		elog(ERROR, "queue %d does not exist", queue_id);
	aurora_queue_require_taker(queue, finishing->snapshot);
	finishing->allowed_queue = queue_id;
}

static void
archive_job(Finishing *finishing, Jsonb *result)
{
	TupleTableSlot *job = finishing->jobs->slot;
	Datum values[ARCHIVE_COLUMNS];
	bool nulls[ARCHIVE_COLUMNS] = {false};

	for (int i = 0; i < ARCHIVE_COLUMNS; i++)
		if (source[i] >= 0)
		{
			values[i] = job->tts_values[source[i]];
			nulls[i] = job->tts_isnull[source[i]];
		}
	values[ARCHIVE_SLOT] = Int32GetDatum(finishing->archive_slot);
	values[ARCHIVE_STATE] = ObjectIdGetDatum(finishing->done);
	values[ARCHIVE_FINISHED_AT] = TimestampTzGetDatum(finishing->now);
	nulls[ARCHIVE_ERROR] = true;
	values[ARCHIVE_RESULT] = result ? JsonbPGetDatum(result) : (Datum) 0;
	nulls[ARCHIVE_RESULT] = result == NULL;
	aurora_job_table_insert(&finishing->archive, values, nulls);
}

/*
 * Notes for whom others wait: those that run after this job, or share its concurrency key. They are
 * let go together at the end, in one order for all sessions, so that none waits for another in a
 * circle.
 */
static void
note_waiters(Finishing *finishing)
{
	TupleTableSlot *job = finishing->jobs->slot;

	if (DatumGetBool(job->tts_values[AURORA_JOB_HAS_DEPENDENTS]))
		finishing->blockers[finishing->blocker_count++] = job->tts_values[AURORA_JOB_ID];
	if (!job->tts_isnull[AURORA_JOB_CONCURRENCY_KEY])
	{
		int i = finishing->key_count++;

		finishing->key_queues[i] = job->tts_values[AURORA_JOB_QUEUE_ID];
		finishing->key_companies[i] = job->tts_values[AURORA_JOB_COMPANY_ID];
		finishing->keys[i] = datumCopy(job->tts_values[AURORA_JOB_CONCURRENCY_KEY], false, -1);
	}
}

static void
let_others_go(Finishing *finishing)
{
	static const Oid blocker_types[1] = {INT8ARRAYOID};
	static const Oid key_types[3] = {INT4ARRAYOID, INT4ARRAYOID, TEXTARRAYOID};
	Datum values[3];
	bool isnull;

	if (finishing->blocker_count > 0)
	{
		values[0] = PointerGetDatum(construct_array(finishing->blockers, finishing->blocker_count,
													INT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
		(void) aurora_jobs_call("SELECT aurora.release_dependents($1)", 1, blocker_types, values,
								NULL, &isnull);
	}
	if (finishing->key_count > 0)
	{
		values[0] = PointerGetDatum(construct_array(finishing->key_queues, finishing->key_count,
													INT4OID, 4, true, TYPALIGN_INT));
		values[1] = PointerGetDatum(construct_array(finishing->key_companies, finishing->key_count,
													INT4OID, 4, true, TYPALIGN_INT));
		values[2] = PointerGetDatum(construct_array(finishing->keys, finishing->key_count, TEXTOID,
													-1, false, TYPALIGN_INT));
		(void) aurora_jobs_call("SELECT aurora.leave_concurrency($1, $2, $3)", 3, key_types, values,
								NULL, &isnull);
	}
}

/*
 * Does the caller have the job in the table's slot in this attempt?
 */
static bool
is_held(Finishing *finishing, int32 attempt)
{
	TupleTableSlot *job = finishing->jobs->slot;

	require_right(finishing, DatumGetInt32(job->tts_values[AURORA_JOB_QUEUE_ID]));
	return DatumGetObjectId(job->tts_values[AURORA_JOB_STATE]) == finishing->running &&
		   DatumGetInt32(job->tts_values[AURORA_JOB_ATTEMPT]) == attempt &&
		   is_taker(finishing, job->tts_values[AURORA_JOB_TAKER],
					job->tts_isnull[AURORA_JOB_TAKER]);
}

/*
 * False when the caller does not have the job in this attempt. What was looked at is what is
 * deleted: when somebody has changed it meanwhile, as a renewed lease does, it is looked at anew.
 */
static bool
finish_one(Finishing *finishing, const AuroraJobResult *result)
{
	TupleTableSlot *job = finishing->jobs->slot;
	AuroraJobCounts counts = {.done = 1};
	TM_Result deleted;

	do
	{
		CHECK_FOR_INTERRUPTS();
		if (!aurora_job_find(finishing->jobs, result->job_id) ||
			!is_held(finishing, result->attempt))
			return false;
		deleted = aurora_job_delete(finishing->jobs);
	} while (deleted == TM_Updated);
	if (deleted != TM_Ok)
		return false;
	archive_job(finishing, result->result);
	note_waiters(finishing);
	counts.run_ms =
		(finishing->now - DatumGetTimestampTz(job->tts_values[AURORA_JOB_STARTED_AT])) / 1000;
	aurora_lane_count(
		DatumGetInt32(job->tts_values[AURORA_JOB_QUEUE_ID]),
		aurora_job_class_from_oid(DatumGetObjectId(job->tts_values[AURORA_JOB_CLASS])), &counts);
	return true;
}

/*
 * Keeps a result aside; true when it is one that came twice.
 */
static bool
refuse(const AuroraJobResult *result)
{
	static const Oid types[3] = {INT8OID, INT4OID, JSONBOID};
	Datum values[3];
	char nulls[3] = {' ', ' ', result->result ? ' ' : 'n'};
	bool isnull;

	values[0] = Int64GetDatum(result->job_id);
	values[1] = Int32GetDatum(result->attempt);
	values[2] = result->result ? JsonbPGetDatum(result->result) : (Datum) 0;
	return DatumGetBool(aurora_jobs_call("SELECT aurora.refuse_result($1, $2, false, $3, NULL)", 3,
										 types, values, nulls, &isnull));
}

int
aurora_jobs_finish(AuroraJobTable *jobs, AuroraJobResult *results, int count,
				   const AuroraQueue *allowed)
{
	Finishing finishing = {.jobs = jobs,
						   .allowed_queue = allowed ? allowed->queue_id : 0,
						   .archive_slot = aurora_job_archive_slot(),
						   .done = aurora_job_state_oid(AURORA_JOB_DONE),
						   .running = aurora_job_state_oid(AURORA_JOB_RUNNING),
						   .now = GetCurrentTimestamp()};
	AuroraJobResult *refused = palloc(count * sizeof(AuroraJobResult));
	int refused_count = 0;
	int finished;
	bool is_drained;
	char archive[32];

	finishing.blockers = palloc(count * sizeof(Datum));
	finishing.key_queues = palloc(count * sizeof(Datum));
	finishing.key_companies = palloc(count * sizeof(Datum));
	finishing.keys = palloc(count * sizeof(Datum));
	snprintf(archive, sizeof(archive), "job_archive_%d", finishing.archive_slot);
	qsort(results, count, sizeof(AuroraJobResult), compare_results);
	finishing.snapshot = RegisterSnapshot(GetLatestSnapshot());
	finishing.node = aurora_queue_node(finishing.snapshot, &is_drained);
	aurora_job_table_open(&finishing.archive, archive);
	for (int i = 0; i < count; i++)
		if (!finish_one(&finishing, &results[i]))
			refused[refused_count++] = results[i];
	aurora_job_table_close(&finishing.archive);
	UnregisterSnapshot(finishing.snapshot);
	CommandCounterIncrement();
	let_others_go(&finishing);
	finished = count - refused_count;
	for (int i = 0; i < refused_count; i++)
		if (refuse(&refused[i]))
			finished++;
	return finished;
}

/*
 * finish_job(job_id, attempt, result): true when it is done, or was by this very attempt.
 */
Datum
aurora_finish_job(PG_FUNCTION_ARGS)
{
	AuroraJobResult result;
	AuroraJobTable jobs;
	int finished;

	aurora_lead_require();
	PreventCommandIfReadOnly("finish_job()");
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
						errmsg("a job's number and attempt may not be null")));
	result.job_id = PG_GETARG_INT64(0);
	result.attempt = PG_GETARG_INT32(1);
	result.result = PG_ARGISNULL(2) ? NULL : PG_GETARG_JSONB_P(2);
	aurora_job_table_open(&jobs, "job");
	finished = aurora_jobs_finish(&jobs, &result, 1, NULL);
	aurora_job_table_close(&jobs);
	PG_RETURN_BOOL(finished == 1);
}
