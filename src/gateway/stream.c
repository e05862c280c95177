/*
 * What a gateway reads of topics for its streams: past row level security and without the planner,
 * since it reads a topic once for all who are shown it.
 */
#include "gateway/gateway.h"

#include "access/detoast.h"
#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_type.h"
#include "events/events.h"
#include "executor/tuptable.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/uuid.h"

#define MAX_ROWS 10000
#define MAX_BYTES (4 * 1024 * 1024) /* of payloads at once, about */
#define HEADS_AT_ONCE 100000

/* Columns of aurora.event and aurora.topic_epoch, in table order from 0. */
enum
{
	EVENT_TOPIC_ID,
	EVENT_SEQ,
	EVENT_AT,
	EVENT_COMPANY_ID,
	EVENT_PUBLISHER,
	EVENT_CLIENT_ID,
	EVENT_PAYLOAD
};
enum
{
	EPOCH_TOPIC_ID = 1,
	EPOCH_FROM_SEQ,
	EPOCH_COMPANY_ID,
	EPOCH_EPOCH
};

typedef struct Reign
{
	int64 from_seq;
	pg_uuid_t epoch;
} Reign;

PG_FUNCTION_INFO_V1(aurora_open_stream);
PG_FUNCTION_INFO_V1(aurora_topic_heads);
PG_FUNCTION_INFO_V1(aurora_topics_there);
PG_FUNCTION_INFO_V1(aurora_topic_events);

/* ---- epochs ---- */

static int
compare_reigns(const ListCell *a, const ListCell *b)
{
	int64 left = ((Reign *) lfirst(a))->from_seq;
	int64 right = ((Reign *) lfirst(b))->from_seq;

	return left < right ? -1 : left > right;
}

/*
 * The epochs of a topic, in order.
 */
static List *
read_reigns(int64 topic_id, Snapshot snapshot)
{
	List *reigns = NIL;
	AuroraScan scan;
	ScanKeyData key;

	ScanKeyInit(&key, EPOCH_TOPIC_ID, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(topic_id));
	aurora_scan_open(&scan, "topic_epoch", "topic_epoch_pkey", snapshot, 1, &key);
	while (aurora_scan_next(&scan))
	{
		Reign *reign = palloc(sizeof(Reign));

		reign->from_seq = DatumGetInt64(scan.values[EPOCH_FROM_SEQ - 1]);
		reign->epoch = *DatumGetUUIDP(scan.values[EPOCH_EPOCH - 1]);
		reigns = lappend(reigns, reign);
	}
	aurora_scan_close(&scan);
	list_sort(reigns, compare_reigns);
	return reigns;
}

/*
 * The epoch of an event; NULL for none.
 */
static pg_uuid_t *
epoch_of(List *reigns, int64 seq)
{
	pg_uuid_t *epoch = NULL;
	ListCell *cell;

	foreach (cell, reigns)
	{
		Reign *reign = lfirst(cell);

		if (reign->from_seq > seq)
			break;
		epoch = &reign->epoch;
	}
	return epoch;
}

/* ---- SQL ---- */

static const char *
label_of(AuroraCursorState state)
{
	switch (state)
	{
		case AURORA_CURSOR_CONTINUES:
			return "continues";
		case AURORA_CURSOR_LOST:
			return "lost";
		case AURORA_CURSOR_AHEAD:
			return "ahead";
		case AURORA_CURSOR_TRIMMED:
			return "trimmed";
	}
	return NULL;
}

/*
 * open_stream(topic, after_seq, epoch, company)
 */
Datum
aurora_open_stream(PG_FUNCTION_ARGS)
{
	Snapshot snapshot = GetActiveSnapshot();
	AuroraCursor cursor = {.state = AURORA_CURSOR_CONTINUES};
	AuroraTopic topic = {0};
	pg_uuid_t *epoch = NULL;
	int32 company_id;
	Datum values[5] = {0};
	bool nulls[5] = {false};
	TupleDesc desc;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
						errmsg("a topic and the number to go on after may not be null")));
	if (PG_GETARG_INT64(1) < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("after_seq may not be negative"),
				 errhint("0 stands for before the first event.")));
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "an opened stream is a row");
	cursor.resume_after = PG_GETARG_INT64(1);
	if (aurora_topic_to_read(PG_GETARG_TEXT_PP(0), PG_ARGISNULL(3) ? NULL : PG_GETARG_TEXT_PP(3),
							 snapshot, &company_id, &topic))
	{
		cursor = aurora_cursor_check(&topic, PG_ARGISNULL(2) ? NULL : PG_GETARG_UUID_P(2),
									 PG_GETARG_INT64(1), snapshot);
		epoch = epoch_of(read_reigns(topic.topic_id, snapshot), cursor.resume_after);
	}
	nulls[0] = topic.topic_id == 0;
	values[0] = Int64GetDatum(topic.topic_id);
	values[1] = CStringGetTextDatum(label_of(cursor.state));
	values[2] = Int64GetDatum(cursor.resume_after);
	values[3] = Int64GetDatum(topic.last_seq);
	nulls[4] = epoch == NULL;
	values[4] = UUIDPGetDatum(epoch);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

/*
 * topic_heads(topic_ids)
 */
Datum
aurora_topic_heads(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Snapshot snapshot = GetActiveSnapshot();
	Datum *ids;
	bool *are_null;
	int count;

	aurora_identity_require_gateway();
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(0), INT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE, &ids,
					  &are_null, &count);
	if (count > HEADS_AT_ONCE)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("at most %d topics can be asked for at once", HEADS_AT_ONCE)));
	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < count; i++)
	{
		AuroraTopic topic;
		pg_uuid_t *epoch;
		Datum values[4];
		bool nulls[4] = {false};

		CHECK_FOR_INTERRUPTS();
		if (are_null[i] || !aurora_topic_find_by_id(DatumGetInt64(ids[i]), snapshot, &topic))
			continue;
		epoch = epoch_of(read_reigns(topic.topic_id, snapshot), topic.last_seq);
		values[0] = Int64GetDatum(topic.topic_id);
		values[1] = Int64GetDatum(topic.first_seq);
		values[2] = Int64GetDatum(topic.last_seq);
		values[3] = UUIDPGetDatum(epoch);
		nulls[3] = epoch == NULL;
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/*
 * A list of texts of at most so many as are asked for at once.
 */
static int
read_texts(ArrayType *array, Datum **texts, bool **are_null)
{
	int count;

	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, texts, are_null, &count);
	if (count > HEADS_AT_ONCE)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("at most %d topics can be asked for at once", HEADS_AT_ONCE)));
	return count;
}

static bool
topic_is_there(text *company, text *name, Snapshot snapshot)
{
	AuroraTopic topic;
	int32 company_id = 0;

	if (VARSIZE_ANY_EXHDR(company) > 0 && !aurora_company_find(company, snapshot, &company_id))
		return false;
	return aurora_topic_find(company_id, name, snapshot, &topic);
}

/*
 * topics_there(companies, names)
 */
Datum
aurora_topics_there(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Snapshot snapshot = GetActiveSnapshot();
	Datum *companies;
	Datum *names;
	bool *have_no_company;
	bool *have_no_name;
	int count;

	aurora_identity_require_gateway();
	count = read_texts(PG_GETARG_ARRAYTYPE_P(0), &companies, &have_no_company);
	if (read_texts(PG_GETARG_ARRAYTYPE_P(1), &names, &have_no_name) != count)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("companies and names are of different lengths")));
	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < count; i++)
	{
		Datum values[2];
		bool nulls[2] = {false};

		CHECK_FOR_INTERRUPTS();
		if (have_no_company[i] || have_no_name[i] ||
			!topic_is_there(DatumGetTextPP(companies[i]), DatumGetTextPP(names[i]), snapshot))
			continue;
		values[0] = companies[i];
		values[1] = names[i];
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/*
 * Returns the size of the payload.
 */
static Size
put_event(ReturnSetInfo *result, TupleTableSlot *event, List *reigns)
{
	int64 seq;
	pg_uuid_t *epoch;
	Datum values[6];
	bool nulls[6] = {false};

	slot_getallattrs(event);
	seq = DatumGetInt64(event->tts_values[EVENT_SEQ]);
	epoch = epoch_of(reigns, seq);
	values[0] = Int64GetDatum(seq);
	values[1] = UUIDPGetDatum(epoch);
	nulls[1] = epoch == NULL;
	values[2] = event->tts_values[EVENT_AT];
	values[3] = event->tts_values[EVENT_PUBLISHER];
	values[4] = event->tts_values[EVENT_CLIENT_ID];
	nulls[4] = event->tts_isnull[EVENT_CLIENT_ID];
	values[5] = event->tts_values[EVENT_PAYLOAD];
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	return toast_raw_datum_size(values[5]);
}

/*
 * Reads forward through the index, whose order is that of the numbers; no further than MAX_BYTES.
 */
static void
read_events(ReturnSetInfo *result, int64 topic_id, int64 after_seq, int max_rows, Snapshot snapshot)
{
	List *reigns = read_reigns(topic_id, snapshot);
	Relation table = table_open(aurora_relation_oid("event"), AccessShareLock);
	Relation index = index_open(aurora_relation_oid("event_pkey"), AccessShareLock);
	IndexScanDesc scan = index_beginscan(table, index, snapshot, 2, 0);
	TupleTableSlot *slot = table_slot_create(table, NULL);
	ScanKeyData key[2];
	Size bytes = 0;

	ScanKeyInit(&key[0], 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(topic_id));
	ScanKeyInit(&key[1], 2, BTGreaterStrategyNumber, F_INT8GT, Int64GetDatum(after_seq));
	index_rescan(scan, key, 2, NULL, 0);
	while (max_rows-- > 0 && bytes < MAX_BYTES &&
		   index_getnext_slot(scan, ForwardScanDirection, slot))
		bytes += put_event(result, slot, reigns);
	ExecDropSingleTupleTableSlot(slot);
	index_endscan(scan);
	index_close(index, AccessShareLock);
	table_close(table, AccessShareLock);
}

/*
 * topic_events(topic_id, after_seq, max_rows)
 */
Datum
aurora_topic_events(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	int32 max_rows = PG_GETARG_INT32(2);

	aurora_identity_require_gateway();
	if (max_rows < 1 || max_rows > MAX_ROWS)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("between 1 and %d events can be read at once", MAX_ROWS)));
	InitMaterializedSRF(fcinfo, 0);
	read_events(result, PG_GETARG_INT64(0), PG_GETARG_INT64(1), max_rows, GetActiveSnapshot());
	return (Datum) 0;
}
