/*
 * Sets the capability up, turns names into numbers, and lets SQL tell the lanes what it did.
 */
#include "jobs/jobs.h"

#include "access/htup_details.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"

static const char *const class_label[AURORA_JOB_CLASS_COUNT] = {
#define LABEL(symbol, label, ...) [symbol] = label,
	AURORA_JOB_CLASS_LIST(LABEL)};
static const char *const state_label[AURORA_JOB_STATE_COUNT] = {AURORA_JOB_STATE_LIST(LABEL)
#undef LABEL
};

PG_FUNCTION_INFO_V1(aurora_job_class_labels);
PG_FUNCTION_INFO_V1(aurora_job_state_labels);
PG_FUNCTION_INFO_V1(aurora_next_job_position);
PG_FUNCTION_INFO_V1(aurora_job_arrives);
PG_FUNCTION_INFO_V1(aurora_job_leaves);
PG_FUNCTION_INFO_V1(aurora_queue_due);
PG_FUNCTION_INFO_V1(aurora_ring_queue);
PG_FUNCTION_INFO_V1(aurora_count_job);
PG_FUNCTION_INFO_V1(aurora_ring_news);

/* ---- names ---- */

const char *
aurora_job_class_name(AuroraJobClass class)
{
	return class_label[class];
}

const char *
aurora_job_state_name(AuroraJobState state)
{
	return state_label[state];
}

Oid
aurora_job_class_oid(AuroraJobClass class)
{
	return aurora_enum_oid("job_class", class_label[class]);
}

Oid
aurora_job_state_oid(AuroraJobState state)
{
	return aurora_enum_oid("job_state", state_label[state]);
}

AuroraJobClass
aurora_job_class_find(const char *name)
{
	for (int i = 0; i < AURORA_JOB_CLASS_COUNT; i++)
		if (strcmp(class_label[i], name) == 0)
			return i;
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("there is no class of jobs \"%s\"", name),
					errhint("Classes: interactive, normal, batch.")));
}

AuroraJobClass
aurora_job_class_from_oid(Oid value)
{
	for (int i = 0; i < AURORA_JOB_CLASS_COUNT; i++)
		if (aurora_job_class_oid(i) == value)
			return i;
	elog(ERROR, "class of jobs %u is unknown", value);
}

static Datum
labels(const char *const *names, int count)
{
	Datum *values = palloc(count * sizeof(Datum));

	for (int i = 0; i < count; i++)
		values[i] = CStringGetTextDatum(names[i]);
	return PointerGetDatum(construct_array(values, count, TEXTOID, -1, false, TYPALIGN_INT));
}

Datum
aurora_job_class_labels(PG_FUNCTION_ARGS)
{
	return labels(class_label, AURORA_JOB_CLASS_COUNT);
}

Datum
aurora_job_state_labels(PG_FUNCTION_ARGS)
{
	return labels(state_label, AURORA_JOB_STATE_COUNT);
}

/* ---- calling SQL ---- */

/*
 * The caller's role stays known to what is called, as the outer one.
 */
Datum
aurora_jobs_call(const char *sql, int count, const Oid *types, Datum *values, const char *nulls,
				 bool *isnull)
{
	MemoryContext outer = CurrentMemoryContext;
	Datum result = (Datum) 0;
	Oid user;
	int context;

	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(BOOTSTRAP_SUPERUSERID, context | SECURITY_LOCAL_USERID_CHANGE);
	SPI_connect();
	if (SPI_execute_with_args(sql, count, (Oid *) types, values, nulls, false, 1) != SPI_OK_SELECT)
		elog(ERROR, "a statement of the job queue failed: %s", sql);
	*isnull = true;
	if (SPI_processed > 0)
		result = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, isnull);
	if (!*isnull)
	{
		Form_pg_attribute column = TupleDescAttr(SPI_tuptable->tupdesc, 0);
		MemoryContext inner = MemoryContextSwitchTo(outer);

		result = datumCopy(result, column->attbyval, column->attlen);
		MemoryContextSwitchTo(inner);
	}
	SPI_finish();
	SetUserIdAndSecContext(user, context);
	return result;
}

/* ---- what SQL tells ---- */

/*
 * next_job_position(queue_id, class, company_id): the place of a job that waits from this
 * transaction's commit on.
 */
Datum
aurora_next_job_position(PG_FUNCTION_ARGS)
{
	int32 queue_id = PG_GETARG_INT32(0);
	AuroraJobClass class = aurora_job_class_from_oid(PG_GETARG_OID(1));
	int64 position = aurora_lane_next_position(queue_id, class, PG_GETARG_INT32(2), 1);

	aurora_lane_arrive(queue_id, class, position);
	aurora_queue_ring(queue_id);
	PG_RETURN_INT64(position);
}

/*
 * job_arrives(queue_id, class, position): a job waits again at the place that it had.
 */
Datum
aurora_job_arrives(PG_FUNCTION_ARGS)
{
	aurora_lane_arrive(PG_GETARG_INT32(0), aurora_job_class_from_oid(PG_GETARG_OID(1)),
					   PG_GETARG_INT64(2));
	aurora_queue_ring(PG_GETARG_INT32(0));
	PG_RETURN_VOID();
}

/*
 * job_leaves(queue_id, class, position): a waiting job is ended. Its own transaction no longer sees
 * it, and could move the mark past it, and then be rolled back.
 */
Datum
aurora_job_leaves(PG_FUNCTION_ARGS)
{
	aurora_lane_leave(PG_GETARG_INT32(0), aurora_job_class_from_oid(PG_GETARG_OID(1)),
					  PG_GETARG_INT64(2));
	PG_RETURN_VOID();
}

/*
 * queue_due(queue_id, at): something of the queue falls due then.
 */
Datum
aurora_queue_due(PG_FUNCTION_ARGS)
{
	aurora_queue_due_at(PG_GETARG_INT32(0), PG_GETARG_TIMESTAMPTZ(1));
	aurora_queue_ring(PG_GETARG_INT32(0));
	PG_RETURN_VOID();
}

Datum
aurora_ring_queue(PG_FUNCTION_ARGS)
{
	aurora_queue_ring(PG_GETARG_INT32(0));
	PG_RETURN_VOID();
}

/*
 * count_job(queue_id, class, event)
 */
Datum
aurora_count_job(PG_FUNCTION_ARGS)
{
	char *event = text_to_cstring(PG_GETARG_TEXT_PP(2));
	AuroraJobCounts counts = {.submitted = strcmp(event, "submitted") == 0,
							  .failed = strcmp(event, "failed") == 0,
							  .lapsed = strcmp(event, "lapsed") == 0,
							  .cancelled = strcmp(event, "cancelled") == 0};

	aurora_lane_count(PG_GETARG_INT32(0), aurora_job_class_from_oid(PG_GETARG_OID(1)), &counts);
	if (!counts.submitted)
		aurora_bell_ring_at_commit(AURORA_BELL_NEWS, 0, 0);
	PG_RETURN_VOID();
}

/*
 * ring_news(): when this transaction commits, whoever shows texts of jobs looks again.
 */
Datum
aurora_ring_news(PG_FUNCTION_ARGS)
{
	aurora_bell_ring_at_commit(AURORA_BELL_NEWS, 0, 0);
	PG_RETURN_VOID();
}

void
aurora_jobs_init(void)
{
	static int retention_days;

	aurora_lane_init();
	aurora_queue_init();
	aurora_settle_init();
	DefineCustomIntVariable("aurora.job_retention", "Days for which jobs that have ended are kept.",
							NULL, &retention_days, 30, 1, 36500, PGC_SIGHUP, 0, NULL, NULL, NULL);
}
