/*
 * Text as workers bring it: appended row by row, without the planner, and without writing the job
 * but to renew its lease. A "piece" is such a row; the last one says where the text stands.
 */
#include "gpu/gpu.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#define SLOTS 3
#define SLOT_LOOKED_AT_US 5000000
#define JOBS_AT_ONCE 1024
#define TEXT_SIZE (1024 * 1024) /* of one batch of one job */

/* Columns of aurora.generation_output, in table order. */
enum
{
	PIECE_JOB_ID,
	PIECE_COMPANY_ID,
	PIECE_TOKEN_NO,
	PIECE_BEGAN_AT,
	PIECE_SLOT,
	PIECE_TEXT,
	PIECE_COLUMNS
};

typedef struct Batch
{
	int64 job_id;
	int32 attempt;
	int32 after; /* tokens of the text that counts */
	int32 tokens;
	text *text;
} Batch;

/* How a job is, for who appends to it. */
typedef struct Held
{
	bool is_held;
	bool is_cancelling;
	int32 queue_id;
	int32 company_id;
	TimestampTz lease_until;
} Held;

/* Where a job's text stands; zeros for none. */
typedef struct Last
{
	int32 token_no;
	int32 began_at;
} Last;

typedef struct Appending
{
	char *node; /* of the caller, NULL for operators */
	AuroraJobTable jobs;
	AuroraJobTable pieces;
	int32 slot;
	Oid running;
	AuroraQueue *queue;
} Appending;

PG_FUNCTION_INFO_V1(aurora_append_outputs);
PG_FUNCTION_INFO_V1(aurora_restart_output);

/* ---- the ring ---- */

/*
 * The place in the ring that is being filled, as this session last looked.
 */
static int32
current_slot(void)
{
	static int64 looked_at_us = 0;
	static Oid looked_in = InvalidOid;
	static int32 slot = 0;
	Oid ring = aurora_relation_oid("generation_output_ring");

	if (looked_in != ring || looked_at_us + SLOT_LOOKED_AT_US < aurora_clock_us())
	{
		AuroraScan scan;
		TimestampTz latest = DT_NOBEGIN;

		slot = 0;
		aurora_scan_open(&scan, "generation_output_ring", "generation_output_ring_pkey", NULL, 0,
						 NULL);
		while (aurora_scan_next(&scan))
			if (DatumGetTimestampTz(scan.values[1]) > latest)
			{
				latest = DatumGetTimestampTz(scan.values[1]);
				slot = DatumGetInt16(scan.values[0]);
			}
		aurora_scan_close(&scan);
		looked_in = ring;
		looked_at_us = aurora_clock_us();
	}
	return slot;
}

/*
 * Reads the pieces of a job in one place of the ring, from the last one back, as long as "use" says
 * so.
 */
static void
read_back(int slot, int64 job_id, Snapshot snapshot,
		  bool (*use)(void *argument, const Datum *piece), void *argument)
{
	char name[64];
	Relation table;
	Relation index;
	IndexScanDesc scan;
	TupleTableSlot *row;
	ScanKeyData key;

	snprintf(name, sizeof(name), "generation_output_%d", slot);
	table = table_open(aurora_relation_oid(name), AccessShareLock);
	snprintf(name, sizeof(name), "generation_output_%d_pkey", slot);
	index = index_open(aurora_relation_oid(name), AccessShareLock);
	scan = index_beginscan(table, index, snapshot, 1, 0);
	row = table_slot_create(table, NULL);
	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(job_id));
	index_rescan(scan, &key, 1, NULL, 0);
	while (index_getnext_slot(scan, BackwardScanDirection, row))
	{
		slot_getallattrs(row);
		if (!use(argument, row->tts_values))
			break;
	}
	ExecDropSingleTupleTableSlot(row);
	index_endscan(scan);
	index_close(index, AccessShareLock);
	table_close(table, AccessShareLock);
}

static bool
use_as_last(void *argument, const Datum *piece)
{
	Last *last = argument;

	if (DatumGetInt32(piece[PIECE_TOKEN_NO]) >= last->token_no)
	{
		last->token_no = DatumGetInt32(piece[PIECE_TOKEN_NO]);
		last->began_at = DatumGetInt32(piece[PIECE_BEGAN_AT]);
	}
	return false;
}

static Last
last_piece(int64 job_id, Snapshot snapshot)
{
	Last last = {0};

	for (int slot = 0; slot < SLOTS; slot++)
		read_back(slot, job_id, snapshot, use_as_last, &last);
	return last;
}

/* ---- who may append ---- */

static void
begin(Appending *appending)
{
	Snapshot snapshot = GetActiveSnapshot();

	appending->queue = aurora_gpu_queue(snapshot);
	if (appending->queue == NULL)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("nothing has been asked of a model yet"),
						errhint("aurora.take_generations() gives jobs to append to.")));
	aurora_queue_require_taker(appending->queue, snapshot);
	appending->node = aurora_gpu_caller_node(snapshot);
	if (appending->node == NULL && !aurora_gpu_caller_operates())
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("permission denied to append to the text of jobs"),
						errhint("Nodes that have them and operators may.")));
	appending->slot = current_slot();
	appending->running = aurora_job_state_oid(AURORA_JOB_RUNNING);
}

/*
 * How the job is, under a snapshot of which nobody has taken it since: the caller has the job's
 * output locked.
 */
static Held
look_at(Appending *appending, int64 job_id, int32 attempt, Snapshot snapshot)
{
	Relation jobs = table_open(aurora_relation_oid("job"), AccessShareLock);
	Relation index = index_open(aurora_relation_oid("job_pkey"), AccessShareLock);
	IndexScanDesc scan = index_beginscan(jobs, index, snapshot, 1, 0);
	TupleTableSlot *slot = table_slot_create(jobs, NULL);
	Held held = {0};
	ScanKeyData key;

	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(job_id));
	index_rescan(scan, &key, 1, NULL, 0);
	if (index_getnext_slot(scan, ForwardScanDirection, slot))
	{
		slot_getallattrs(slot);
		held.queue_id = DatumGetInt32(slot->tts_values[AURORA_JOB_QUEUE_ID]);
		held.company_id = DatumGetInt32(slot->tts_values[AURORA_JOB_COMPANY_ID]);
		held.is_held =
			held.queue_id == appending->queue->queue_id &&
			DatumGetObjectId(slot->tts_values[AURORA_JOB_STATE]) == appending->running &&
			DatumGetInt32(slot->tts_values[AURORA_JOB_ATTEMPT]) == attempt &&
			!slot->tts_isnull[AURORA_JOB_TAKER] &&
			(appending->node == NULL ||
			 aurora_queue_node_has(appending->node,
								   TextDatumGetCString(slot->tts_values[AURORA_JOB_TAKER])));
		held.is_cancelling = !slot->tts_isnull[AURORA_JOB_CANCEL_REQUESTED_AT];
		if (held.is_held)
			held.lease_until = DatumGetTimestampTz(slot->tts_values[AURORA_JOB_LEASE_UNTIL]);
	}
	ExecDropSingleTupleTableSlot(slot);
	index_endscan(scan);
	index_close(index, AccessShareLock);
	table_close(jobs, AccessShareLock);
	return held;
}

/* ---- writing ---- */

static void
insert_piece(Appending *appending, int64 job_id, int32 company_id, int32 token_no, int32 began_at,
			 text *value)
{
	Datum values[PIECE_COLUMNS] = {Int64GetDatum(job_id),		   Int32GetDatum(company_id),
								   Int32GetDatum(token_no),		   Int32GetDatum(began_at),
								   Int16GetDatum(appending->slot), PointerGetDatum(value)};
	bool nulls[PIECE_COLUMNS] = {false};
	char name[64];

	snprintf(name, sizeof(name), "generation_output_%d", appending->slot);
	aurora_job_table_open(&appending->pieces, name);
	aurora_job_table_insert(&appending->pieces, values, nulls);
	aurora_job_table_close(&appending->pieces);
	aurora_bell_ring_at_commit(AURORA_BELL_NEWS, 0, 0);
}

/*
 * A lease that is half over is renewed: it is not worth a write each time. When another session is
 * changing the job, the next batch renews it.
 */
static void
renew(Appending *appending, const Batch *batch, const Held *held)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz until = now + appending->queue->lease_us;
	Datum values[AURORA_JOB_COLUMNS];
	bool nulls[AURORA_JOB_COLUMNS];

	if (held->lease_until - now > appending->queue->lease_us / 2)
		return;
	aurora_job_table_open(&appending->jobs, "job");
	if (aurora_job_find(&appending->jobs, batch->job_id))
	{
		TupleTableSlot *job = appending->jobs.slot;

		memcpy(values, job->tts_values, sizeof(values));
		memcpy(nulls, job->tts_isnull, sizeof(nulls));
		values[AURORA_JOB_LEASE_UNTIL] = TimestampTzGetDatum(until);
		if (DatumGetObjectId(values[AURORA_JOB_STATE]) == appending->running &&
			DatumGetInt32(values[AURORA_JOB_ATTEMPT]) == batch->attempt &&
			aurora_job_replace(&appending->jobs, job, values, nulls) == TM_Ok)
			aurora_queue_due_at(held->queue_id, until);
	}
	aurora_job_table_close(&appending->jobs);
}

/*
 * The text of a batch without what is stored of it already. NULL when it does not go on from that.
 */
static text *
rest_of(const Batch *batch, const Last *last, Snapshot snapshot)
{
	static const Oid types[3] = {INT8OID, INT4OID, TEXTOID};
	Datum values[3] = {Int64GetDatum(batch->job_id), Int32GetDatum(last->began_at + batch->after),
					   PointerGetDatum(batch->text)};
	bool isnull;
	Datum rest;

	if (batch->after == last->token_no - last->began_at)
		return batch->text;
	rest =
		aurora_jobs_call("SELECT aurora.rest_of_text($1, $2, $3)", 3, types, values, NULL, &isnull);
	return isnull ? NULL : DatumGetTextPP(rest);
}

static const char *
append(Appending *appending, const Batch *batch)
{
	Snapshot snapshot;
	Held held;
	Last last;
	int32 stored;
	text *rest = NULL;
	bool is_gap;

	(void) aurora_gpu_lock_output(batch->job_id, true, true);
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	held = look_at(appending, batch->job_id, batch->attempt, snapshot);
	if (!held.is_held)
	{
		UnregisterSnapshot(snapshot);
		return "lost";
	}
	last = last_piece(batch->job_id, snapshot);
	stored = last.token_no - last.began_at;
	is_gap = batch->after > stored;
	if (!is_gap && batch->after + batch->tokens > stored)
	{
		rest = rest_of(batch, &last, snapshot);
		is_gap = rest == NULL;
	}
	UnregisterSnapshot(snapshot);
	if (is_gap)
	{
		ereport(WARNING, (errmsg("text of job " INT64_FORMAT " does not go on from what is stored",
								 batch->job_id),
						  errdetail("%d tokens are stored; the batch begins after %d.", stored,
									batch->after)));
		return "lost";
	}
	if (rest)
		insert_piece(appending, batch->job_id, held.company_id,
					 last.began_at + batch->after + batch->tokens, last.began_at, rest);
	renew(appending, batch, &held);
	return held.is_cancelling ? "cancelling" : "running";
}

/* ---- SQL ---- */

static void
bad_batch(const char *what)
{
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("%s", what),
					errhint("Each job has a number, an attempt, the number of tokens before the "
							"batch, its text and its number of tokens.")));
}

static Datum *
read_array(FunctionCallInfo fcinfo, int number, Oid type, int *count)
{
	Datum *values;
	bool *nulls;
	int found;

	if (PG_ARGISNULL(number))
		bad_batch("an array of batches is null");
	if (type == TEXTOID)
		deconstruct_array(PG_GETARG_ARRAYTYPE_P(number), type, -1, false, TYPALIGN_INT, &values,
						  &nulls, &found);
	else if (type == INT8OID)
		deconstruct_array(PG_GETARG_ARRAYTYPE_P(number), type, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE,
						  &values, &nulls, &found);
	else
		deconstruct_array(PG_GETARG_ARRAYTYPE_P(number), type, 4, true, TYPALIGN_INT, &values,
						  &nulls, &found);
	if ((*count >= 0 && found != *count) || found > JOBS_AT_ONCE)
		bad_batch("the arrays of batches are of different lengths, or longer than 1024");
	for (int i = 0; i < found; i++)
		if (nulls[i])
			bad_batch("a part of a batch is null");
	*count = found;
	return values;
}

static Batch *
read_batches(FunctionCallInfo fcinfo, int *count)
{
	Datum *ids, *attempts, *afters, *texts, *tokens;
	Batch *batches;

	*count = -1;
	ids = read_array(fcinfo, 0, INT8OID, count);
	attempts = read_array(fcinfo, 1, INT4OID, count);
	afters = read_array(fcinfo, 2, INT4OID, count);
	texts = read_array(fcinfo, 3, TEXTOID, count);
	tokens = read_array(fcinfo, 4, INT4OID, count);
	batches = palloc((*count + 1) * sizeof(Batch));
	for (int i = 0; i < *count; i++)
	{
		Batch *batch = &batches[i];

		batch->job_id = DatumGetInt64(ids[i]);
		batch->attempt = DatumGetInt32(attempts[i]);
		batch->after = DatumGetInt32(afters[i]);
		batch->tokens = DatumGetInt32(tokens[i]);
		batch->text = DatumGetTextPP(texts[i]);
		if (batch->after < 0 || batch->tokens < 0 || batch->after > 500000000 ||
			batch->tokens > 500000000)
			bad_batch("a number of tokens is out of range");
		if (batch->tokens == 0 && VARSIZE_ANY_EXHDR(batch->text) > 0)
			bad_batch("a batch has text but no tokens");
		if (VARSIZE_ANY_EXHDR(batch->text) > TEXT_SIZE)
			bad_batch("the text of a batch is longer than 1 MiB");
	}
	return batches;
}

/*
 * append_outputs(job_ids, attempts, after_tokens, texts, tokens)
 */
Datum
aurora_append_outputs(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Appending appending = {0};
	Batch *batches;
	int count;

	aurora_lead_require();
	InitMaterializedSRF(fcinfo, 0);
	batches = read_batches(fcinfo, &count);
	begin(&appending);
	for (int i = 0; i < count; i++)
	{
		Datum values[2];
		bool nulls[2] = {false};

		values[0] = Int64GetDatum(batches[i].job_id);
		values[1] = CStringGetTextDatum(append(&appending, &batches[i]));
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
		CommandCounterIncrement();
	}
	return (Datum) 0;
}

/*
 * restart_output(job_id, attempt)
 */
Datum
aurora_restart_output(PG_FUNCTION_ARGS)
{
	int64 job_id = PG_GETARG_INT64(0);
	Appending appending = {0};
	Snapshot snapshot;
	Held held;
	Last last;

	aurora_lead_require();
	begin(&appending);
	(void) aurora_gpu_lock_output(job_id, true, true);
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	held = look_at(&appending, job_id, PG_GETARG_INT32(1), snapshot);
	last = last_piece(job_id, snapshot);
	UnregisterSnapshot(snapshot);
	if (!held.is_held)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("the caller does not have job " INT64_FORMAT " in attempt %d",
							   job_id, PG_GETARG_INT32(1)),
						errhint("Drop it: another has it, or it has ended.")));
	if (last.token_no > last.began_at)
		insert_piece(&appending, job_id, held.company_id, last.token_no + 1, last.token_no + 1,
					 cstring_to_text(""));
	PG_RETURN_VOID();
}
