/*
 * Topics: their names, whose they are, and who may read and publish there.
 */
#include "events/events.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/snapmgr.h"

#define NAME_CHARACTERS 250
#define MESH_PREFIX "mesh/"
#define MAX_RESERVED 16

/* Columns of aurora.topic that are read here, in table order. */
enum
{
	TOPIC_ID = 1,
	TOPIC_COMPANY_ID,
	TOPIC_NAME,
	TOPIC_LAST_SEQ,
	TOPIC_FIRST_SEQ,
	TOPIC_TIMELINE,
	TOPIC_SYSTEM_IDENTIFIER
};

typedef struct Reserved
{
	const char *name;
	AuroraTopicRight may_read;
} Reserved;

static Reserved reserved[MAX_RESERVED];
static int reserved_count = 0;

PG_FUNCTION_INFO_V1(aurora_may_read_topic);

/* ---- names ---- */

void
aurora_topic_reserve(const char *name, AuroraTopicRight may_read)
{
	if (reserved_count == MAX_RESERVED)
		elog(ERROR, "too many reserved topics");
	reserved[reserved_count++] = (Reserved) {.name = name, .may_read = may_read};
}

/*
 * What the name is reserved as, or NULL; "rest" is what follows a prefix.
 */
static const Reserved *
find_reserved(const char *name, const char **rest)
{
	for (int i = 0; i < reserved_count; i++)
	{
		size_t length = strlen(reserved[i].name);
		bool prefix = reserved[i].name[length - 1] == '/';

		*rest = name + length;
		if (prefix ? strncmp(name, reserved[i].name, length) == 0
				   : strcmp(name, reserved[i].name) == 0)
			return &reserved[i];
	}
	return NULL;
}

bool
aurora_topic_is_reserved(const char *name)
{
	const char *rest;

	return find_reserved(name, &rest) != NULL;
}

static bool
is_of_mesh(const char *name)
{
	return strncmp(name, MESH_PREFIX, strlen(MESH_PREFIX)) == 0;
}

void
aurora_topic_check_name(text *name)
{
	const char *data = VARDATA_ANY(name);
	int size = VARSIZE_ANY_EXHDR(name);
	int characters = pg_mbstrlen_with_len(data, size);
	bool printable = true;

	for (int i = 0; i < size; i++)
		printable = printable && (unsigned char) data[i] >= 0x20 && data[i] != 0x7f;
	if (characters >= 1 && characters <= NAME_CHARACTERS && printable)
		return;
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("this is no name of a topic"),
					errhint("A topic's name has 1 to %d printable characters.", NAME_CHARACTERS)));
}

/* ---- companies ---- */

/*
 * Asks aurora.company_for(), which makes the default company on first use and raises what is wrong.
 */
static int32
ask_company_for(text *company)
{
	Oid types[1] = {TEXTOID};
	Datum values[1] = {PointerGetDatum(company)};
	bool isnull;
	int32 id;

	SPI_connect();
	if (SPI_execute_with_args("SELECT aurora.company_for($1)", 1, types, values,
							  company ? NULL : "n", false, 1) != SPI_OK_SELECT ||
		SPI_processed != 1)
		elog(ERROR, "the company of a topic could not be found");
	id = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	SPI_finish();
	return id;
}

int32
aurora_topic_company(const AuroraIdentity *identity, text *name, text *company, bool writes)
{
	Snapshot snapshot = GetActiveSnapshot();
	int32 id;

	if (is_of_mesh(text_to_cstring(name)))
	{
		if (company)
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg("topic \"%s\" belongs to no company", text_to_cstring(name)),
							errhint("Topics whose names begin with \"%s\" are the mesh's: leave "
									"the company out.",
									MESH_PREFIX)));
		return 0;
	}
	if (company && aurora_company_find(company, snapshot, &id) &&
		(identity->administers_all || aurora_identity_in(identity, id)))
		return id;
	if (company == NULL && identity->principals != NIL)
		return ((AuroraPrincipal *) linitial(identity->principals))->company_id;
	if (company == NULL && identity->administers_all)
	{
		List *all = aurora_identity_companies(identity, snapshot);

		if (list_length(all) == 1)
			return linitial_int(all);
		if (all == NIL && !writes)
			return -1;
	}
	return ask_company_for(company);
}

/* ---- rights ---- */

bool
aurora_topic_may_operate(const AuroraIdentity *identity)
{
	Oid operators = get_role_oid("aurora_operator", true);

	return identity->administers_all ||
		   (!identity->assumed && OidIsValid(identity->role) && OidIsValid(operators) &&
			has_privs_of_role(identity->role, operators));
}

bool
aurora_topic_may_read(const AuroraIdentity *identity, int32 company_id, const char *name)
{
	const char *rest;
	const Reserved *found = find_reserved(name, &rest);

	if (identity->administers_all)
		return true;
	if (found)
		return found->may_read(identity, company_id, rest);
	return company_id == 0 || aurora_identity_in(identity, company_id) != NULL;
}

/*
 * may_read_topic(company_id, name): for policies.
 */
Datum
aurora_may_read_topic(PG_FUNCTION_ARGS)
{
	AuroraCallCache *cache = aurora_call_cache(fcinfo->flinfo);
	int32 company_id = PG_ARGISNULL(0) ? 0 : PG_GETARG_INT32(0);
	char *name;
	bool may;

	if (PG_ARGISNULL(1))
		PG_RETURN_BOOL(false);
	if (!cache->kept)
	{
		MemoryContext old = MemoryContextSwitchTo(cache->context);

		cache->kept = aurora_identity_get(GetActiveSnapshot());
		MemoryContextSwitchTo(old);
	}
	name = text_to_cstring(PG_GETARG_TEXT_PP(1));
	may = aurora_topic_may_read(cache->kept, company_id, name);
	pfree(name);
	PG_RETURN_BOOL(may);
}

/* ---- finding ---- */

static bool
read_topic(const char *index, Snapshot snapshot, int nkeys, ScanKey keys, AuroraTopic *topic)
{
	AuroraScan scan;
	bool found;

	aurora_scan_open(&scan, "topic", index, snapshot, nkeys, keys);
	found = aurora_scan_next(&scan);
	if (found)
		*topic = (AuroraTopic) {
			.topic_id = DatumGetInt64(scan.values[TOPIC_ID - 1]),
			.company_id = scan.nulls[TOPIC_COMPANY_ID - 1]
							  ? 0
							  : DatumGetInt32(scan.values[TOPIC_COMPANY_ID - 1]),
			.last_seq = DatumGetInt64(scan.values[TOPIC_LAST_SEQ - 1]),
			.first_seq = DatumGetInt64(scan.values[TOPIC_FIRST_SEQ - 1]),
			.timeline = DatumGetInt32(scan.values[TOPIC_TIMELINE - 1]),
			.system_identifier = DatumGetInt64(scan.values[TOPIC_SYSTEM_IDENTIFIER - 1]),
		};
	aurora_scan_close(&scan);
	return found;
}

bool
aurora_topic_find(int32 company_id, text *name, Snapshot snapshot, AuroraTopic *topic)
{
	ScanKeyData key[2];

	if (company_id == 0)
		ScanKeyEntryInitialize(&key[0], SK_ISNULL | SK_SEARCHNULL, TOPIC_COMPANY_ID,
							   InvalidStrategy, InvalidOid, InvalidOid, InvalidOid, (Datum) 0);
	else
		ScanKeyInit(&key[0], TOPIC_COMPANY_ID, BTEqualStrategyNumber, F_INT4EQ,
					Int32GetDatum(company_id));
	ScanKeyInit(&key[1], TOPIC_NAME, BTEqualStrategyNumber, F_TEXTEQ, PointerGetDatum(name));
	return read_topic("topic_name_key", snapshot, 2, key, topic);
}

bool
aurora_topic_find_by_id(int64 topic_id, Snapshot snapshot, AuroraTopic *topic)
{
	ScanKeyData key;

	ScanKeyInit(&key, TOPIC_ID, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(topic_id));
	return read_topic("topic_pkey", snapshot, 1, &key, topic);
}

/*
 * A gateway waits for those whom it assumes only when it reads, in transactions of their own.
 */
static bool
is_gateway(const AuroraIdentity *identity)
{
	Oid gateways = get_role_oid("aurora_gateway", true);

	return !identity->assumed && OidIsValid(identity->role) && OidIsValid(gateways) &&
		   has_privs_of_role(identity->role, gateways);
}

bool
aurora_topic_to_await(text *name, text *company, Snapshot snapshot, int32 *company_id,
					  AuroraTopic *topic)
{
	aurora_topic_check_name(name);
	if (company && !is_of_mesh(text_to_cstring(name)) &&
		is_gateway(aurora_identity_get(snapshot)) &&
		aurora_company_find(company, snapshot, company_id))
		return aurora_topic_find(*company_id, name, snapshot, topic);
	return aurora_topic_to_read(name, company, snapshot, company_id, topic);
}

bool
aurora_topic_to_read(text *name, text *company, Snapshot snapshot, int32 *company_id,
					 AuroraTopic *topic)
{
	AuroraIdentity *identity = aurora_identity_get(snapshot);

	aurora_topic_check_name(name);
	*company_id = aurora_topic_company(identity, name, company, false);
	if (*company_id < 0)
		return false;
	if (!aurora_topic_may_read(identity, *company_id, text_to_cstring(name)))
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("permission denied to read topic \"%s\"", text_to_cstring(name)),
						errhint("Topics of items are for their owner and for managers, those of "
								"secrets for who manages them.")));
	return aurora_topic_find(*company_id, name, snapshot, topic);
}
