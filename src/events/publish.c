/*
 * Publishing: the topic's row is locked until the transaction ends, so that numbers have no gaps
 * and the order of numbers is that of commits.
 */
#include "events/events.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "access/detoast.h"

#define PAYLOAD_BYTES (1024 * 1024)
#define CLIENT_ID_CHARACTERS 200
#define TRIES 5 /* a topic may be removed at the same time */

PG_FUNCTION_INFO_V1(aurora_publish);

/* Statements whose plans are kept for the session. */
typedef struct Statement
{
	const char *sql;
	int nargs;
	Oid types[8];
	SPIPlanPtr plan;
} Statement;

static Statement take_number = {
	"UPDATE aurora.topic t SET last_seq = t.last_seq + 1, last_at = greatest(t.last_at, "
	"clock_timestamp()) "
	"WHERE t.topic_id = $1 RETURNING t.last_seq, t.last_at, t.timeline, t.system_identifier",
	1,
	{INT8OID},
	NULL};
static Statement give_number_back = {
	"UPDATE aurora.topic t SET last_seq = t.last_seq - 1 WHERE t.topic_id = $1",
	1,
	{INT8OID},
	NULL};
static Statement insert_event = {
	"INSERT INTO aurora.event (topic_id, seq, at, company_id, publisher, client_id, payload) "
	"VALUES ($1, $2, $3, $4, $5, $6, $7)",
	7,
	{INT8OID, INT8OID, TIMESTAMPTZOID, INT4OID, TEXTOID, TEXTOID, JSONBOID},
	NULL};
static Statement insert_once = {
	"INSERT INTO aurora.event (topic_id, seq, at, company_id, publisher, client_id, payload) "
	"VALUES ($1, $2, $3, $4, $5, $6, $7) "
	"ON CONFLICT (topic_id, client_id) WHERE client_id IS NOT NULL DO NOTHING",
	7,
	{INT8OID, INT8OID, TIMESTAMPTZOID, INT4OID, TEXTOID, TEXTOID, JSONBOID},
	NULL};
static Statement find_first = {
	"SELECT e.seq FROM aurora.event e WHERE e.topic_id = $1 AND e.client_id = $2",
	2,
	{INT8OID, TEXTOID},
	NULL};
static Statement make_topic = {
	"INSERT INTO aurora.topic (company_id, name, created_by) VALUES ($1, $2, $3) "
	"ON CONFLICT ON CONSTRAINT topic_name_key DO NOTHING RETURNING topic_id",
	3,
	{INT4OID, TEXTOID, TEXTOID},
	NULL};
static Statement begin_epoch = {"SELECT aurora.begin_topic_epoch($1, $2, $3, $4)",
								4,
								{INT8OID, INT8OID, INT4OID, INT8OID},
								NULL};

/*
 * Runs a statement; the rows that it gives are in SPI_tuptable, their number is returned. NULL for
 * "nulls": no parameter is null.
 */
static uint64
run(Statement *statement, Datum *values, const char *nulls)
{
	int result;

	if (statement->plan == NULL)
	{
		SPIPlanPtr made = SPI_prepare(statement->sql, statement->nargs, statement->types);

		if (made == NULL || SPI_keepplan(made) != 0)
			elog(ERROR, "a statement could not be prepared: %s", statement->sql);
		statement->plan = made;
	}
	result = SPI_execute_plan(statement->plan, values, nulls, false, 0);
	if (result < 0)
		elog(ERROR, "a statement failed: %s", statement->sql);
	return SPI_processed;
}

static Datum
column(int number)
{
	bool isnull;

	return SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, number, &isnull);
}

/* ---- topics ---- */

/*
 * The topic's number; it is made when it is missing, and who waits for it wakes up. 0 when another
 * session makes it right now.
 */
static int64
topic_of(const AuroraNewEvent *event)
{
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	Datum values[3] = {Int32GetDatum(event->company_id), PointerGetDatum(event->topic),
					   PointerGetDatum(event->publisher)};
	AuroraTopic topic = {0};
	bool found = aurora_topic_find(event->company_id, event->topic, snapshot, &topic);

	UnregisterSnapshot(snapshot);
	if (found)
		return topic.topic_id;
	if (run(&make_topic, values, event->company_id == 0 ? "n  " : NULL) == 0)
		return 0;
	aurora_bell_ring_at_commit(AURORA_BELL_TOPIC, 0, 0);
	return DatumGetInt64(column(1));
}

/*
 * Begins the topic's epoch with this event when another lead, or another cluster, wrote the last.
 */
static void
note_epoch(int64 topic_id, int64 seq, int32 timeline, int64 system_identifier)
{
	int32 timeline_now = (int32) GetWALInsertionTimeLine();
	int64 system_now = (int64) GetSystemIdentifier();
	Datum values[4] = {Int64GetDatum(topic_id), Int64GetDatum(seq), Int32GetDatum(timeline_now),
					   Int64GetDatum(system_now)};

	if (timeline != timeline_now || system_identifier != system_now)
		(void) run(&begin_epoch, values, NULL);
}

/* ---- events ---- */

/*
 * The number of the event that came first with this client's id; this one's number is given back.
 */
static int64
first_of_client(const AuroraNewEvent *event, int64 topic_id)
{
	Datum values[2] = {Int64GetDatum(topic_id), PointerGetDatum(event->client_id)};

	(void) run(&give_number_back, values, NULL);
	if (run(&find_first, values, NULL) != 1)
		ereport(ERROR, (errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
						errmsg("could not serialize access due to a concurrent publish"),
						errhint("Try the transaction again.")));
	return DatumGetInt64(column(1));
}

/*
 * Takes the topic's next number and writes the event; 0 when the topic is not there (any more).
 */
static int64
append(const AuroraNewEvent *event)
{
	int64 topic_id = topic_of(event);
	Datum values[7] = {Int64GetDatum(topic_id)};
	char nulls[8] = "       ";
	int64 seq;

	if (topic_id == 0 || run(&take_number, values, NULL) == 0)
		return 0;
	seq = DatumGetInt64(column(1));
	values[1] = Int64GetDatum(seq);
	values[2] = column(2);
	values[3] = Int32GetDatum(event->company_id);
	values[4] = PointerGetDatum(event->publisher);
	values[5] = PointerGetDatum(event->client_id);
	values[6] = event->payload;
	nulls[3] = event->company_id == 0 ? 'n' : ' ';
	nulls[5] = event->client_id == NULL ? 'n' : ' ';
	note_epoch(topic_id, seq, DatumGetInt32(column(3)), DatumGetInt64(column(4)));
	if (run(event->client_id ? &insert_once : &insert_event, values, nulls) == 0)
		return first_of_client(event, topic_id);
	aurora_bell_ring_at_commit(AURORA_BELL_NEWS, 0, 0);
	aurora_bell_ring_at_commit(AURORA_BELL_TOPIC, topic_id, seq);
	return seq;
}

/*
 * What others have seen must not be lost in a crash of this node, or its number would be given
 * twice in one epoch: so the commit waits for the disk also where synchronous_commit is off.
 */
int64
aurora_event_append(const AuroraNewEvent *event)
{
	int64 seq = 0;

	SPI_connect();
	for (int i = 0; seq == 0 && i < TRIES; i++)
		seq = append(event);
	SPI_finish();
	if (seq == 0)
		ereport(ERROR, (errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
						errmsg("topic \"%s\" is being made or removed by another transaction",
							   text_to_cstring(event->topic)),
						errhint("Try the transaction again.")));
	ForceSyncCommit();
	return seq;
}

/* ---- SQL ---- */

static void
check_payload(Datum payload)
{
	Size size = toast_raw_datum_size(payload) - VARHDRSZ;

	if (size > PAYLOAD_BYTES)
		ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
						errmsg("the event's payload is too large"),
						errdetail("It has %zu bytes, and may have %d.", size, PAYLOAD_BYTES),
						errhint("Store it elsewhere, and publish where it is.")));
}

static void
check_client_id(text *client_id)
{
	int characters = pg_mbstrlen_with_len(VARDATA_ANY(client_id), VARSIZE_ANY_EXHDR(client_id));

	if (characters < 1 || characters > CLIENT_ID_CHARACTERS)
		ereport(
			ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("this is no id of a client's"),
			 errhint("It has 1 to %d characters; leave it out for none.", CLIENT_ID_CHARACTERS)));
}

/*
 * Raises 42501 unless the caller may publish; returns under which name it does.
 */
static text *
publisher_for(const AuroraIdentity *identity, int32 company_id, const char *name)
{
	AuroraPrincipal *principal = aurora_identity_in(identity, company_id);
	bool may = company_id == 0 ? aurora_topic_may_operate(identity)
							   : identity->administers_all || principal != NULL;

	if (aurora_topic_is_reserved(name))
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("topic \"%s\" is published by aurora itself", name),
						errhint("Take another name.")));
	if (!may)
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("permission denied to publish to topic \"%s\"", name),
						company_id == 0
							? errhint("Topics of the mesh are for administrators and operators.")
							: errhint("A company's topics are for its principals.")));
	if (principal)
		return cstring_to_text(principal->owner);
	return cstring_to_text(GetUserNameFromId(identity->role, false));
}

/*
 * publish(topic, payload, client_id, company) -> seq.
 */
Datum
aurora_publish(PG_FUNCTION_ARGS)
{
	AuroraNewEvent event = {0};
	AuroraIdentity *identity;

	aurora_lead_require();
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
						errmsg("an event's topic and payload may not be null"),
						errhint("A payload of nothing is '{}' or 'null'::jsonb.")));
	event.topic = PG_GETARG_TEXT_PP(0);
	event.payload = PG_GETARG_DATUM(1);
	event.client_id = PG_ARGISNULL(2) ? NULL : PG_GETARG_TEXT_PP(2);
	aurora_topic_check_name(event.topic);
	check_payload(event.payload);
	if (event.client_id)
		check_client_id(event.client_id);
	identity = aurora_identity_get(GetActiveSnapshot());
	event.company_id = aurora_topic_company(identity, event.topic,
											PG_ARGISNULL(3) ? NULL : PG_GETARG_TEXT_PP(3), true);
	event.publisher = publisher_for(identity, event.company_id, text_to_cstring(event.topic));
	PG_RETURN_INT64(aurora_event_append(&event));
}
