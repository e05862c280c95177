/*
 * Notes: what capabilities tell of, published when the transaction commits.
 *
 * Writers of items must not wait for one another's commits, which a topic's row lock would have
 * them do. So a transaction with notes writes them, unnumbered, into a table as its last act, and
 * the lead's courier gives them numbers and publishes them. Where no courier runs, the transaction
 * publishes them itself, in the order of the topics' names, so that two never wait for each other;
 * but one that would hold the topics for long, or fail where others have published since its
 * snapshot, leaves them to publish_notes().
 */
#include "events/events.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "commands/sequence.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "access/htup_details.h"

#define NAME_SIZE 1024
#define BATCH 500
#define SLACK 10000		  /* numbers of notes that may commit late */
#define SWEEP_US 5000000L /* how often all numbers are looked at */

/* Columns of aurora.event_note, in table order. */
enum
{
	NOTE_NOTE_ID = 1,
	NOTE_COMPANY_ID,
	NOTE_TOPIC,
	NOTE_PAYLOAD,
	NOTE_NOTED_AT,
	NOTE_COLUMNS = NOTE_NOTED_AT
};

/* What one transaction, or one of its subtransactions, has told of one topic. */
typedef struct Note
{
	int32 company_id;
	char *topic;
	SubTransactionId subxact;
	int count;
	int64 more;
	char *details[AURORA_NOTE_DETAILS];
} Note;

/* Live in TopTransactionContext; those of inner subtransactions come last. */
static List *notes = NIL;

PG_FUNCTION_INFO_V1(aurora_note_event);
PG_FUNCTION_INFO_V1(aurora_publish_note);
PG_FUNCTION_INFO_V1(aurora_publish_notes);

/* ---- taking notes ---- */

static Note *
find_note(int32 company_id, const char *topic, SubTransactionId subxact)
{
	for (int i = list_length(notes) - 1; i >= 0; i--)
	{
		Note *note = list_nth(notes, i);

		if (note->subxact == subxact && note->company_id == company_id &&
			strcmp(note->topic, topic) == 0)
			return note;
	}
	return NULL;
}

static void
add_detail(Note *note, char *detail)
{
	for (int i = note->count - 1; i >= 0; i--)
		if (strcmp(note->details[i], detail) == 0)
			return;
	if (note->count == AURORA_NOTE_DETAILS)
		note->more++;
	else
		note->details[note->count++] = detail;
}

/*
 * Tools that restore dumps turn check_function_bodies off. Rows that a dump brings back are no
 * news, and the events that told of them come with it.
 */
static bool
is_restoring(void)
{
	return !check_function_bodies;
}

void
aurora_event_note(int32 company_id, const char *topic, const char *detail)
{
	SubTransactionId subxact = GetCurrentSubTransactionId();
	MemoryContext before;
	Note *note;

	if (is_restoring())
		return;
	before = MemoryContextSwitchTo(TopTransactionContext);
	note = find_note(company_id, topic, subxact);
	if (note == NULL)
	{
		note = palloc0(sizeof(Note));
		note->company_id = company_id;
		note->topic = pstrdup(topic);
		note->subxact = subxact;
		notes = lappend(notes, note);
	}
	if (note->count < AURORA_NOTE_DETAILS)
		add_detail(note, pstrdup(detail));
	else
		add_detail(note, (char *) detail);
	MemoryContextSwitchTo(before);
}

static void
merge(Note *into, const Note *from)
{
	for (int i = 0; i < from->count; i++)
		add_detail(into, from->details[i]);
	into->more += from->more;
}

/*
 * What a subtransaction has told is forgotten with it, or becomes its parent's.
 */
static void
end_subtransaction(SubXactEvent event, SubTransactionId subxact, SubTransactionId parent, void *arg)
{
	int first = list_length(notes);
	int kept;

	if (event != SUBXACT_EVENT_ABORT_SUB && event != SUBXACT_EVENT_COMMIT_SUB)
		return;
	while (first > 0 && ((Note *) list_nth(notes, first - 1))->subxact >= subxact)
		first--;
	kept = first;
	for (int i = first; event == SUBXACT_EVENT_COMMIT_SUB && i < list_length(notes); i++)
	{
		Note *note = list_nth(notes, i);
		Note *into = find_note(note->company_id, note->topic, parent);

		if (into)
			merge(into, note);
		else
		{
			note->subxact = parent;
			lfirst(list_nth_cell(notes, kept++)) = note;
		}
	}
	notes = list_truncate(notes, kept);
}

/* ---- at the commit ---- */

static Datum
payload_of(const Note *note)
{
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfoString(&json, "{\"changed\": [");
	for (int i = 0; i < note->count; i++)
		appendStringInfo(&json, "%s%s", i > 0 ? ", " : "", note->details[i]);
	appendStringInfoChar(&json, ']');
	if (note->more > 0)
		appendStringInfo(&json, ", \"more\": " INT64_FORMAT, note->more);
	appendStringInfoChar(&json, '}');
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data));
}

/*
 * Does a courier run, or will, in this database.
 */
static bool
has_courier(void)
{
	char *name;

	if (!aurora_preloaded)
		return false;
	name = get_database_name(MyDatabaseId);
	return name && strcmp(name, aurora_database_name()) == 0;
}

/*
 * Writes the notes as they are. Past SPI: who commits may have no rights to the table, and any
 * search path.
 */
static void
store_notes(void)
{
	Relation table = table_open(aurora_relation_oid("event_note"), RowExclusiveLock);
	Oid numbers = aurora_relation_oid("event_note_note_id_seq");
	ListCell *lc;

	foreach (lc, notes)
	{
		Note *note = lfirst(lc);
		Datum values[NOTE_COLUMNS];
		bool nulls[NOTE_COLUMNS] = {false};

		values[NOTE_NOTE_ID - 1] = Int64GetDatum(nextval_internal(numbers, false));
		values[NOTE_COMPANY_ID - 1] = Int32GetDatum(note->company_id);
		nulls[NOTE_COMPANY_ID - 1] = note->company_id == 0;
		values[NOTE_TOPIC - 1] = CStringGetTextDatum(note->topic);
		values[NOTE_PAYLOAD - 1] = payload_of(note);
		values[NOTE_NOTED_AT - 1] = TimestampTzGetDatum(GetCurrentTimestamp());
		CatalogTupleInsert(table, heap_form_tuple(RelationGetDescr(table), values, nulls));
	}
	table_close(table, NoLock);
	aurora_bell_ring_at_commit(AURORA_BELL_NOTE, 0, 0);
}

static int
compare_notes(const ListCell *a, const ListCell *b)
{
	const Note *one = lfirst(a);
	const Note *other = lfirst(b);

	if (one->company_id != other->company_id)
		return one->company_id < other->company_id ? -1 : 1;
	return strcmp(one->topic, other->topic);
}

static bool
company_exists(int32 company_id)
{
	AuroraScan scan;
	ScanKeyData key;
	bool exists;

	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(company_id));
	aurora_scan_open(&scan, "company", "company_pkey", NULL, 1, &key);
	exists = aurora_scan_next(&scan);
	aurora_scan_close(&scan);
	return exists;
}

/*
 * A company may have been removed since, or by this very transaction.
 */
static void
publish_payload(int32 company_id, text *topic, Datum payload)
{
	AuroraNewEvent event = {.company_id = company_id,
							.topic = topic,
							.payload = payload,
							.publisher = cstring_to_text("aurora")};

	if (company_id == 0 || company_exists(company_id))
		(void) aurora_event_append(&event);
}

/*
 * Through a function of SQL, for its fixed search path.
 */
static void
publish_notes(void)
{
	static const char sql[] = "SELECT aurora.publish_note($1, $2, $3)";
	Oid types[3] = {INT4OID, TEXTOID, JSONBOID};
	ListCell *lc;

	list_sort(notes, compare_notes);
	SPI_connect();
	foreach (lc, notes)
	{
		Note *note = lfirst(lc);
		Datum values[3] = {Int32GetDatum(note->company_id), CStringGetTextDatum(note->topic),
						   payload_of(note)};

		if (SPI_execute_with_args(sql, 3, types, values, NULL, false, 0) != SPI_OK_SELECT)
			elog(ERROR, "notes could not be published");
	}
	SPI_finish();
}

/*
 * As the extension's owner, since the caller may neither publish nor write there.
 */
static void
end_notes(XactEvent event)
{
	bool leaves = has_courier() || event == XACT_EVENT_PRE_PREPARE || IsolationUsesXactSnapshot();
	Oid user;
	int context;

	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(BOOTSTRAP_SUPERUSERID, context | SECURITY_LOCAL_USERID_CHANGE);
	PushActiveSnapshot(GetTransactionSnapshot());
	if (leaves)
		store_notes();
	else
		publish_notes();
	PopActiveSnapshot();
	SetUserIdAndSecContext(user, context);
	notes = NIL;
}

static void
end_transaction(XactEvent event, void *arg)
{
	if (notes == NIL)
		return;
	if ((event == XACT_EVENT_PRE_COMMIT || event == XACT_EVENT_PRE_PREPARE) &&
		aurora_extension_exists())
		end_notes(event);
	notes = NIL;
}

/* ---- publishing what is stored ---- */

/*
 * Deletes the first notes from a number on, and publishes them in the order in which they were
 * made.
 */
static uint64
publish_batch(int64 from, int64 *last)
{
	static const char sql[] = "WITH taken AS (DELETE FROM aurora.event_note n WHERE n.note_id IN ("
							  "SELECT o.note_id FROM aurora.event_note o WHERE o.note_id >= $1 "
							  "ORDER BY o.note_id LIMIT $2) "
							  "RETURNING n.note_id, n.company_id, n.topic, n.payload) "
							  "SELECT t.note_id, coalesce(t.company_id, 0), t.topic, t.payload "
							  "FROM taken t ORDER BY t.note_id";
	static SPIPlanPtr plan = NULL;
	Oid types[2] = {INT8OID, INT4OID};
	Datum values[2] = {Int64GetDatum(from), Int32GetDatum(BATCH)};
	SPITupleTable *table;
	uint64 count;
	bool isnull;

	if (plan == NULL)
	{
		SPIPlanPtr made = SPI_prepare(sql, 2, types);

		if (made == NULL || SPI_keepplan(made) != 0)
			elog(ERROR, "notes could not be read");
		plan = made;
	}
	if (SPI_execute_plan(plan, values, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "notes could not be read");
	count = SPI_processed;
	table = SPI_tuptable;
	for (uint64 i = 0; i < count; i++)
	{
		HeapTuple row = table->vals[i];

		*last = DatumGetInt64(SPI_getbinval(row, table->tupdesc, 1, &isnull));
		publish_payload(DatumGetInt32(SPI_getbinval(row, table->tupdesc, 2, &isnull)),
						DatumGetTextPP(SPI_getbinval(row, table->tupdesc, 3, &isnull)),
						SPI_getbinval(row, table->tupdesc, 4, &isnull));
	}
	return count;
}

/*
 * Where notes were deleted that an old snapshot still sees, a search from the first number on would
 * pass all of them each time. So it begins a little below the last one that was published.
 */
bool
aurora_note_publish(void)
{
	static int64 last = 0;
	static int64 sweep_us = 0;
	int64 from = last - SLACK;
	uint64 count;

	if (aurora_clock_us() >= sweep_us)
	{
		sweep_us = aurora_clock_us() + SWEEP_US;
		from = 0;
		last = 0;
	}
	SPI_connect();
	count = publish_batch(from, &last);
	SPI_finish();
	return count == BATCH;
}

/* ---- SQL ---- */

/*
 * note_event(company_id, topic, detail): null for the mesh.
 */
Datum
aurora_note_event(PG_FUNCTION_ARGS)
{
	int32 company_id = PG_ARGISNULL(0) ? 0 : PG_GETARG_INT32(0);
	char *topic;
	char *detail;

	if (PG_ARGISNULL(1) || PG_ARGISNULL(2))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
						errmsg("a topic and what to note may not be null")));
	topic = text_to_cstring(PG_GETARG_TEXT_PP(1));
	detail = JsonbToCString(NULL, &PG_GETARG_JSONB_P(2)->root, -1);
	if (!aurora_topic_is_reserved(topic))
		elog(ERROR, "topic \"%s\" is not reserved", topic);
	aurora_event_note(company_id, topic, detail);
	PG_RETURN_VOID();
}

/*
 * publish_note(company_id, topic, payload): company 0 is the mesh.
 */
Datum
aurora_publish_note(PG_FUNCTION_ARGS)
{
	publish_payload(PG_GETARG_INT32(0), PG_GETARG_TEXT_PP(1), PG_GETARG_DATUM(2));
	PG_RETURN_VOID();
}

/*
 * publish_notes() -> were there more than one batch.
 */
Datum
aurora_publish_notes(PG_FUNCTION_ARGS)
{
	aurora_lead_require();
	PG_RETURN_BOOL(aurora_note_publish());
}

void
aurora_note_init(void)
{
	RegisterXactCallback(end_transaction, NULL);
	RegisterSubXactCallback(end_subtransaction, NULL);
}
