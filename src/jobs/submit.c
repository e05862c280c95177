/*
 * Submitting jobs. Jobs without a unique key or others to run after are written directly; these two
 * need looking things up under locks, which SQL does.
 */
#include "jobs/jobs.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#define MAX_BLOCKERS 1000

/* What all jobs of a call share. */
typedef struct Submission
{
	AuroraQueue *queue;
	int32 company_id;
	char *submitted_by;
	AuroraJobClass class;
	AuroraJobState state;
	TimestampTz now;
	TimestampTz ready_at;
	int32 max_attempts;
	char *kind;
	char *unique_key;
	char *concurrency_key;
	ArrayType *run_after; /* NULL for none */
} Submission;

/* Where the arguments that submit_job() and submit_jobs() share are, -1 for not there. */
typedef struct Arguments
{
	int class;
	int kind;
	int delay;
	int run_at;
	int unique_key;
	int concurrency_key;
	int run_after;
	int max_attempts;
	int company;
} Arguments;

static const Arguments one_job = {2, 3, 4, 5, 6, 7, 8, 9, 10};
static const Arguments many_jobs = {2, 3, 4, 5, -1, 6, 7, 8, 9};

PG_FUNCTION_INFO_V1(aurora_submit_job);
PG_FUNCTION_INFO_V1(aurora_submit_jobs);

static char *
text_argument(FunctionCallInfo fcinfo, int number)
{
	return number < 0 || PG_ARGISNULL(number) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(number));
}

/* ---- for whom, where, and when ---- */

static void
no_company(text *company)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 company ? errmsg("there is no company \"%s\" that the caller belongs to",
							  text_to_cstring(company))
					 : errmsg("which company is meant is not clear"),
			 errhint("Name one that the caller belongs to; an administrator adds the caller with "
					 "aurora.add_principal().")));
}

/*
 * The company whose jobs these are, and under which name the caller submits them.
 */
static void
find_submitter(Submission *submission, text *company, Snapshot snapshot)
{
	AuroraIdentity *identity = aurora_identity_get(snapshot);
	AuroraPrincipal *principal;
	bool isnull = true;

	if (!OidIsValid(aurora_caller_now().role))
		no_company(company);
	if (company && !aurora_company_find(company, snapshot, &submission->company_id))
		no_company(company);
	else if (company == NULL && submission->queue->company_id != 0)
		submission->company_id = submission->queue->company_id;
	else if (company == NULL && identity->principals != NIL)
		submission->company_id = ((AuroraPrincipal *) linitial(identity->principals))->company_id;
	else if (company == NULL && identity->administers_all)
		submission->company_id = DatumGetInt32(
			aurora_jobs_call("SELECT aurora.company_for(NULL)", 0, NULL, NULL, NULL, &isnull));
	else if (company == NULL)
		no_company(NULL);
	principal = aurora_identity_in(identity, submission->company_id);
	if (principal == NULL && !identity->administers_all)
		no_company(company);
	if (submission->queue->company_id != 0 &&
		submission->queue->company_id != submission->company_id)
		no_company(company);
	submission->submitted_by =
		principal ? principal->owner : GetUserNameFromId(aurora_caller_now().role, false);
}

static void
find_time(Submission *submission, FunctionCallInfo fcinfo, const Arguments *at)
{
	bool has_delay = !PG_ARGISNULL(at->delay);
	bool has_time = !PG_ARGISNULL(at->run_at);

	submission->now = GetCurrentTimestamp();
	submission->ready_at = submission->now;
	if (has_delay && has_time)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("a job has a delay or a time to run at, not both")));
	if (has_time)
		submission->ready_at = PG_GETARG_TIMESTAMPTZ(at->run_at);
	if (has_delay)
		submission->ready_at = DatumGetTimestampTz(
			DirectFunctionCall2(timestamptz_pl_interval, TimestampTzGetDatum(submission->now),
								PointerGetDatum(PG_GETARG_INTERVAL_P(at->delay))));
	if (has_delay && submission->ready_at < submission->now)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("a job's delay may not be negative")));
	if (TIMESTAMP_NOT_FINITE(submission->ready_at))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("a job's time to run may not be infinite")));
	submission->state =
		submission->ready_at > submission->now ? AURORA_JOB_SCHEDULED : AURORA_JOB_WAITING;
	if (submission->state == AURORA_JOB_WAITING)
		submission->ready_at = submission->now;
}

static void
find_blockers(Submission *submission, FunctionCallInfo fcinfo, int argument)
{
	if (PG_ARGISNULL(argument))
		return;
	submission->run_after = PG_GETARG_ARRAYTYPE_P(argument);
	if (ARR_NDIM(submission->run_after) == 0)
		submission->run_after = NULL;
	else if (ARR_NDIM(submission->run_after) != 1 || ARR_HASNULL(submission->run_after) ||
			 ARR_DIMS(submission->run_after)[0] > MAX_BLOCKERS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a job runs after at most %d others, none of them null", MAX_BLOCKERS)));
}

static void
read_arguments(Submission *submission, FunctionCallInfo fcinfo, const Arguments *at)
{
	text *company = PG_ARGISNULL(at->company) ? NULL : PG_GETARG_TEXT_PP(at->company);
	char *class = text_argument(fcinfo, at->class);
	Snapshot snapshot;

	aurora_lead_require();
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("a job's queue may not be null")));
	/* Queues and companies are removed under a lock that this one excludes: what is there stays. */
	LockRelationOid(aurora_relation_oid("job"), RowExclusiveLock);
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	submission->queue = aurora_queue_need(PG_GETARG_TEXT_PP(0), company, snapshot);
	find_submitter(submission, company, snapshot);
	UnregisterSnapshot(snapshot);
	if (submission->queue->is_drained)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("queue \"%s\" accepts no jobs", submission->queue->name),
				 errhint("It is being drained; aurora.drain_queue(name, false) ends that.")));
	submission->class = class ? aurora_job_class_find(class) : AURORA_JOB_NORMAL;
	submission->kind = text_argument(fcinfo, at->kind);
	submission->unique_key = text_argument(fcinfo, at->unique_key);
	submission->concurrency_key = text_argument(fcinfo, at->concurrency_key);
	aurora_job_check_text("kind", submission->kind);
	aurora_job_check_text("unique key", submission->unique_key);
	aurora_job_check_text("concurrency key", submission->concurrency_key);
	find_time(submission, fcinfo, at);
	find_blockers(submission, fcinfo, at->run_after);
	submission->max_attempts = PG_ARGISNULL(at->max_attempts) ? submission->queue->max_attempts
															  : PG_GETARG_INT32(at->max_attempts);
	if (submission->max_attempts < 1 || submission->max_attempts > 1000)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("a job is tried 1 to 1000 times")));
}

static void
check_payload(Jsonb *payload)
{
	if (VARSIZE(payload) > AURORA_JOB_PAYLOAD_SIZE)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED), errmsg("the job's payload is too large"),
				 errdetail("It may have %d bytes as jsonb.", AURORA_JOB_PAYLOAD_SIZE),
				 errhint("Store it elsewhere, and submit where it is.")));
}

/* ---- writing ---- */

static void
set_text(Datum *values, bool *nulls, AuroraJobColumn column, const char *value)
{
	nulls[column] = value == NULL;
	if (value)
		values[column] = CStringGetTextDatum(value);
}

/*
 * The row of the job but for its number, place and payload.
 */
static void
fill_row(Datum *values, bool *nulls, const Submission *submission)
{
	memset(nulls, true, AURORA_JOB_COLUMNS * sizeof(bool));
	for (int i = AURORA_JOB_ID; i <= AURORA_JOB_HAS_DEPENDENTS; i++)
		nulls[i] = false;
	values[AURORA_JOB_COMPANY_ID] = Int32GetDatum(submission->company_id);
	values[AURORA_JOB_QUEUE_ID] = Int32GetDatum(submission->queue->queue_id);
	values[AURORA_JOB_CLASS] = ObjectIdGetDatum(aurora_job_class_oid(submission->class));
	values[AURORA_JOB_STATE] = ObjectIdGetDatum(aurora_job_state_oid(submission->state));
	values[AURORA_JOB_READY_AT] = TimestampTzGetDatum(submission->ready_at);
	values[AURORA_JOB_SUBMITTED_AT] = TimestampTzGetDatum(submission->now);
	values[AURORA_JOB_ATTEMPT] = Int32GetDatum(0);
	values[AURORA_JOB_MAX_ATTEMPTS] = Int32GetDatum(submission->max_attempts);
	values[AURORA_JOB_BLOCKERS] = Int32GetDatum(0);
	values[AURORA_JOB_HAS_DEPENDENTS] = BoolGetDatum(false);
	set_text(values, nulls, AURORA_JOB_SUBMITTED_BY, submission->submitted_by);
	set_text(values, nulls, AURORA_JOB_KIND, submission->kind);
	set_text(values, nulls, AURORA_JOB_CONCURRENCY_KEY, submission->concurrency_key);
	nulls[AURORA_JOB_PAYLOAD] = false;
}

static void
write_directly(const Submission *submission, Datum *payloads, int count, int64 *job_ids)
{
	Oid sequence = aurora_relation_oid("job_job_id_seq");
	int32 queue_id = submission->queue->queue_id;
	bool waits = submission->state == AURORA_JOB_WAITING;
	AuroraJobCounts counts = {.submitted = count};
	int64 position = 0;
	Datum values[AURORA_JOB_COLUMNS];
	bool nulls[AURORA_JOB_COLUMNS];
	AuroraJobTable table;

	if (waits)
		position =
			aurora_lane_next_position(queue_id, submission->class, submission->company_id, count);
	aurora_job_table_open(&table, "job");
	fill_row(values, nulls, submission);
	for (int i = 0; i < count; i++)
	{
		job_ids[i] = nextval_internal(sequence, false);
		values[AURORA_JOB_ID] = Int64GetDatum(job_ids[i]);
		values[AURORA_JOB_POSITION] =
			Int64GetDatum(waits ? position + (int64) i * AURORA_POSITION_STEP : 0);
		values[AURORA_JOB_PAYLOAD] = payloads[i];
		aurora_job_table_insert(&table, values, nulls);
	}
	aurora_job_table_close(&table);
	CommandCounterIncrement();
	if (waits)
		aurora_lane_arrive(queue_id, submission->class, position);
	else
		aurora_queue_due_at(queue_id, submission->ready_at);
	aurora_queue_ring(queue_id);
	aurora_lane_count(queue_id, submission->class, &counts);
}

static Datum
text_or_null(const char *value, char *null)
{
	*null = value ? ' ' : 'n';
	return value ? CStringGetTextDatum(value) : (Datum) 0;
}

/*
 * A job with a unique key or with others to run after, by aurora.store_job().
 */
static int64
write_with_sql(const Submission *submission, Datum payload)
{
	static const Oid types[11] = {INT4OID, INT4OID, TEXTOID, TIMESTAMPTZOID, INT4OID, TEXTOID,
								  TEXTOID, TEXTOID, TEXTOID, INT8ARRAYOID,	 JSONBOID};
	Datum values[11];
	char nulls[12] = "           ";
	bool isnull;

	values[0] = Int32GetDatum(submission->queue->queue_id);
	values[1] = Int32GetDatum(submission->company_id);
	values[2] = CStringGetTextDatum(aurora_job_class_name(submission->class));
	values[3] = TimestampTzGetDatum(submission->ready_at);
	values[4] = Int32GetDatum(submission->max_attempts);
	values[5] = CStringGetTextDatum(submission->submitted_by);
	values[6] = text_or_null(submission->kind, &nulls[6]);
	values[7] = text_or_null(submission->unique_key, &nulls[7]);
	values[8] = text_or_null(submission->concurrency_key, &nulls[8]);
	values[9] = submission->run_after ? PointerGetDatum(submission->run_after) : (Datum) 0;
	nulls[9] = submission->run_after ? ' ' : 'n';
	values[10] = payload;
	return DatumGetInt64(
		aurora_jobs_call("SELECT aurora.store_job($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
						 11, types, values, nulls, &isnull));
}

static void
write_jobs(const Submission *submission, Datum *payloads, int count, int64 *job_ids)
{
	if (submission->unique_key == NULL && submission->run_after == NULL)
		write_directly(submission, payloads, count, job_ids);
	else
		for (int i = 0; i < count; i++)
			job_ids[i] = write_with_sql(submission, payloads[i]);
}

/* ---- SQL ---- */

/*
 * submit_job(queue, payload, class, kind, delay, run_at, unique_key, concurrency_key, run_after,
 * max_attempts, company)
 */
Datum
aurora_submit_job(PG_FUNCTION_ARGS)
{
	Submission submission = {0};
	Datum payload;
	int64 job_id;

	read_arguments(&submission, fcinfo, &one_job);
	if (PG_ARGISNULL(1))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
						errmsg("a job's payload may not be null")));
	check_payload(PG_GETARG_JSONB_P(1));
	payload = JsonbPGetDatum(PG_GETARG_JSONB_P(1));
	write_jobs(&submission, &payload, 1, &job_id);
	PG_RETURN_INT64(job_id);
}

static Datum *
read_payloads(FunctionCallInfo fcinfo, int *count)
{
	Datum *payloads;
	bool *nulls;

	if (PG_ARGISNULL(1))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
						errmsg("the jobs' payloads may not be null")));
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(1), JSONBOID, -1, false, TYPALIGN_INT, &payloads,
					  &nulls, count);
	if (*count > AURORA_JOBS_AT_ONCE)
		ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
						errmsg("at most %d jobs are submitted at once", AURORA_JOBS_AT_ONCE)));
	for (int i = 0; i < *count; i++)
	{
		if (nulls[i])
			ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
							errmsg("a job's payload may not be null")));
		payloads[i] = JsonbPGetDatum(DatumGetJsonbP(payloads[i]));
		check_payload(DatumGetJsonbP(payloads[i]));
	}
	return payloads;
}

/*
 * submit_jobs(queue, payloads, class, kind, delay, run_at, concurrency_key, run_after,
 * max_attempts, company): a row for each, in order.
 */
Datum
aurora_submit_jobs(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Submission submission = {0};
	Datum *payloads;
	int64 *job_ids;
	int count;

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	read_arguments(&submission, fcinfo, &many_jobs);
	payloads = read_payloads(fcinfo, &count);
	job_ids = palloc(Max(count, 1) * sizeof(int64));
	if (count > 0)
		write_jobs(&submission, payloads, count, job_ids);
	for (int i = 0; i < count; i++)
	{
		Datum value = Int64GetDatum(job_ids[i]);
		bool isnull = false;

		tuplestore_putvalues(result->setResult, result->setDesc, &value, &isnull);
	}
	return (Datum) 0;
}
