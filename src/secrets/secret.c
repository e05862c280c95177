/*
 * Reading a secret: which scope answers, whether the caller may have it, and the value.
 *
 * It is always read as it is now, also in a transaction that keeps an older snapshot.
 */
#include "secrets/secrets.h"

#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/* Columns of aurora.secret and aurora.secret_version, in table order. */
enum
{
	SECRET_ID = 1,
	SECRET_COMPANY_ID,
	SECRET_SERVICE,
	SECRET_KEY_NAME,
	SECRET_NODE,
	SECRET_VERSION,
	SECRET_STRICT
};
enum
{
	VERSION_SECRET_ID = 1,
	VERSION_VERSION,
	VERSION_COMPANY_ID,
	VERSION_KEY_NO,
	VERSION_TOKEN,
	VERSION_EXPIRES_AT,
	VERSION_CREATED_AT,
	VERSION_CREATED_BY,
	VERSION_DELETED_AT
};

/* From the most special to the most general scope. */
enum
{
	BY_NODE_AND_COMPANY,
	BY_NODE,
	BY_COMPANY,
	GLOBALLY,
	SCOPES
};

/* A row of aurora.secret that could answer. */
typedef struct Candidate
{
	bool there;
	int64 secret_id;
	int32 version;
	bool strict;
} Candidate;

/* A read under way. */
typedef struct Read
{
	const char *service;
	const char *key_name;
	char *company; /* NULL for none */
	int32 company_id;
	AuroraSecretCaller caller;
	Snapshot snapshot;
	Candidate candidates[SCOPES];
	int scope; /* that answers, or SCOPES */
	AuroraAnswerOfSecret answer;
	int32 key_no;
	char *token;
	StringInfoData passed_over; /* scopes that would have come first */
	bool is_corrupted;
} Read;

PG_FUNCTION_INFO_V1(aurora_secret);
PG_FUNCTION_INFO_V1(aurora_secret_source);

/* ---- the company of a read ---- */

static char *
company_name(int32 company_id, Snapshot snapshot)
{
	AuroraScan scan;
	ScanKeyData key;
	char *name = NULL;

	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(company_id));
	aurora_scan_open(&scan, "company", "company_pkey", snapshot, 1, &key);
	if (aurora_scan_next(&scan))
		name = TextDatumGetCString(scan.values[1]);
	aurora_scan_close(&scan);
	return name;
}

static void
find_company(Read *read, const char *named)
{
	List *principals = read->caller.identity->principals;

	if (named)
	{
		read->company = pstrdup(named);
		if (!aurora_company_find(cstring_to_text(named), read->snapshot, &read->company_id))
			read->company_id = -1; /* nobody has rights there */
	}
	else if (list_length(principals) > 1)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("which company is meant is not clear"),
						errdetail("The caller is a principal of several."),
						errhint("Name one as the third argument.")));
	else if (principals != NIL)
	{
		read->company_id = ((AuroraPrincipal *) linitial(principals))->company_id;
		read->company = company_name(read->company_id, read->snapshot);
	}
}

/* ---- rights ---- */

static void
audit(const Read *read, AuroraSecretAction action, AuroraSecretOutcome outcome, const char *detail)
{
	AuroraAuditEvent event = {
		.action = action,
		.outcome = outcome,
		.service = read->service,
		.key_name = read->key_name,
		.company = read->company,
		.company_id = Max(read->company_id, 0),
		.detail = detail,
	};

	event.node = read->caller.node;
	if (read->caller.identity->principals != NIL)
		event.owner = ((AuroraPrincipal *) linitial(read->caller.identity->principals))->owner;
	aurora_audit_event(&event);
}

static void
refuse(const Read *read, bool is_recorded)
{
	if (is_recorded)
		audit(read, AURORA_SECRET_READ, AURORA_SECRET_REFUSED, NULL);
	ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					errmsg("permission denied for secret \"%s\" of service \"%s\"", read->key_name,
						   read->service),
					errhint("aurora.grant_secret() gives rights to the secrets of a service.")));
}

static bool
may(const Read *read, AuroraSecretRight right, int32 company_id)
{
	return company_id >= 0 &&
		   aurora_secret_may(&read->caller, right, company_id, read->service, read->snapshot);
}

/* ---- resolving ---- */

static void
add_candidates(Read *read, int32 company_id)
{
	AuroraScan scan;
	ScanKeyData keys[3];

	ScanKeyInit(&keys[0], SECRET_SERVICE, BTEqualStrategyNumber, F_TEXTEQ,
				CStringGetTextDatum(read->service));
	ScanKeyInit(&keys[1], SECRET_KEY_NAME, BTEqualStrategyNumber, F_TEXTEQ,
				CStringGetTextDatum(read->key_name));
	if (company_id == 0)
		ScanKeyEntryInitialize(&keys[2], SK_ISNULL | SK_SEARCHNULL, SECRET_COMPANY_ID,
							   InvalidStrategy, InvalidOid, InvalidOid, InvalidOid, (Datum) 0);
	else
		ScanKeyInit(&keys[2], SECRET_COMPANY_ID, BTEqualStrategyNumber, F_INT4EQ,
					Int32GetDatum(company_id));
	aurora_scan_open(&scan, "secret", "secret_name_key", read->snapshot, 3, keys);
	while (aurora_scan_next(&scan))
	{
		bool of_node = !scan.nulls[SECRET_NODE - 1];
		Candidate *candidate;

		if (of_node &&
			strcmp(TextDatumGetCString(scan.values[SECRET_NODE - 1]), read->caller.node) != 0)
			continue;
		candidate = &read->candidates[company_id == 0 ? (of_node ? BY_NODE : GLOBALLY)
									  : of_node		  ? BY_NODE_AND_COMPANY
													  : BY_COMPANY];
		candidate->there = true;
		candidate->secret_id = DatumGetInt64(scan.values[SECRET_ID - 1]);
		candidate->version = DatumGetInt32(scan.values[SECRET_VERSION - 1]);
		candidate->strict = DatumGetBool(scan.values[SECRET_STRICT - 1]);
	}
	aurora_scan_close(&scan);
}

/*
 * Why a version does not answer, or NULL.
 */
static const char *
state_of_version(const AuroraScan *scan)
{
	if (!scan->nulls[VERSION_DELETED_AT - 1])
		return "is deleted";
	if (scan->nulls[VERSION_TOKEN - 1])
		return "is destroyed";
	if (!scan->nulls[VERSION_EXPIRES_AT - 1] &&
		DatumGetTimestampTz(scan->values[VERSION_EXPIRES_AT - 1]) <= GetCurrentTimestamp())
		return psprintf("has expired at %s", timestamptz_to_str(DatumGetTimestampTz(
												 scan->values[VERSION_EXPIRES_AT - 1])));
	return NULL;
}

/*
 * Takes what the candidate of a scope has, if its last version answers.
 */
static bool
try_scope(Read *read, int scope)
{
	const Candidate *candidate = &read->candidates[scope];
	const char *state;
	ScanKeyData keys[2];
	AuroraScan scan;

	ScanKeyInit(&keys[0], VERSION_SECRET_ID, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(candidate->secret_id));
	ScanKeyInit(&keys[1], VERSION_VERSION, BTEqualStrategyNumber, F_INT4EQ,
				Int32GetDatum(candidate->version));
	aurora_scan_open(&scan, "secret_version", "secret_version_pkey", read->snapshot, 2, keys);
	state = aurora_scan_next(&scan) ? state_of_version(&scan) : "is destroyed";
	if (state)
		appendStringInfo(
			&read->passed_over, "%s%s version %d %s", read->passed_over.len ? ", " : "",
			aurora_secret_scope(scope <= BY_NODE, scope % 2 == 0), candidate->version, state);
	else
	{
		read->key_no = DatumGetInt32(scan.values[VERSION_KEY_NO - 1]);
		read->token = TextDatumGetCString(scan.values[VERSION_TOKEN - 1]);
		read->answer.secret_id = candidate->secret_id;
		read->answer.version = candidate->version;
		read->answer.strict = candidate->strict;
		read->answer.of_node = scope <= BY_NODE;
		read->answer.company_id = scope % 2 == 0 ? read->company_id : 0;
		read->answer.expires_at = scan.nulls[VERSION_EXPIRES_AT - 1]
									  ? DT_NOEND
									  : DatumGetTimestampTz(scan.values[VERSION_EXPIRES_AT - 1]);
	}
	aurora_scan_close(&scan);
	return state == NULL;
}

StaticAssertDecl(BY_NODE_AND_COMPANY % 2 == 0 && BY_COMPANY % 2 == 0 && BY_NODE == 1,
				 "scopes of a company have even numbers, those of a node come first");

static void
resolve(Read *read)
{
	initStringInfo(&read->passed_over);
	if (read->company_id > 0)
		add_candidates(read, read->company_id);
	add_candidates(read, 0);
	for (read->scope = 0; read->scope < SCOPES; read->scope++)
		if (read->candidates[read->scope].there && try_scope(read, read->scope))
			break;
}

static void
begin_read(Read *read, const char *service, const char *key_name, const char *company)
{
	memset(read, 0, sizeof(*read));
	read->service = service;
	read->key_name = key_name;
	read->snapshot = RegisterSnapshot(GetLatestSnapshot());
	read->caller = aurora_secret_caller(read->snapshot);
	find_company(read, company);
}

static void
end_read(Read *read)
{
	UnregisterSnapshot(read->snapshot);
}

static void
report_missing(const Read *read)
{
	const char *passed_over = read->passed_over.len ? read->passed_over.data : NULL;

	audit(read, AURORA_SECRET_READ, AURORA_SECRET_MISSING, passed_over);
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("there is no secret \"%s\" of service \"%s\"", read->key_name, read->service),
			 passed_over	 ? errdetail("What there is does not answer: %s.", passed_over)
			 : read->company ? errdetail("None for node \"%s\", for company \"%s\", or for all.",
										 read->caller.node, read->company)
							 : errdetail("None for node \"%s\", or for all.", read->caller.node),
			 errhint("aurora.put_secret() makes one; aurora.secrets shows those that there are.")));
}

/* ---- the value ---- */

/*
 * Decrypts into memory of the current context; the token is wiped by nobody, it is no secret.
 */
static void
open_value(Read *read, AuroraPlain *plain)
{
	AuroraFernet *fernet = aurora_data_key_open(read->key_no, read->snapshot);
	AuroraFernetResult result =
		aurora_secret_decrypt(fernet, read->token, strlen(read->token), plain);

	if (result == AURORA_FERNET_OK)
		return;
	audit(read, AURORA_SECRET_READ, AURORA_SECRET_FAILED, aurora_fernet_error(result));
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("the stored value of secret \"%s\" of service \"%s\" is corrupted",
					read->key_name, read->service),
			 errdetail("Version %d for scope %s does not open: %s.", read->answer.version,
					   aurora_secret_scope(read->answer.of_node, read->answer.company_id != 0),
					   aurora_fernet_error(result)),
			 errhint("Put the value anew. Other values are not concerned.")));
}

static char *
audit_fields_of(const Read *read)
{
	bool of_company = read->answer.company_id != 0;
	AuroraAuditEvent event = {
		.action = AURORA_SECRET_READ,
		.outcome = AURORA_SECRET_GRANTED,
		.service = read->service,
		.key_name = read->key_name,
		.scope = aurora_secret_scope(read->answer.of_node, of_company),
		.node = read->caller.node,
		.company = read->company,
		.company_id = read->company_id,
		.version = read->answer.version,
	};

	if (read->caller.identity->principals != NIL)
		event.owner = ((AuroraPrincipal *) linitial(read->caller.identity->principals))->owner;
	return aurora_audit_fields(&event);
}

/*
 * Writes the record, and then gives the value as text in the database's encoding.
 */
static Datum
give(const AuroraAnswerOfSecret *answer)
{
	char *value;
	text *result;

	aurora_audit_append(answer->audit, answer->strict);
	value = pg_any_to_server(answer->value, (int) answer->length, PG_UTF8);
	if (value == answer->value)
		return PointerGetDatum(cstring_to_text_with_len(value, (int) answer->length));
	result = cstring_to_text(value);
	explicit_bzero(value, strlen(value));
	pfree(value);
	return PointerGetDatum(result);
}

static void
check_names(const char *service, const char *key_name)
{
	aurora_secret_check_name("service", service);
	aurora_secret_check_name("key", key_name);
}

/*
 * What the cache does not have: checks the right, reads, decrypts, gives, and keeps.
 */
static Datum
read_secret(const AuroraSecretQuestion *question, uint64 generation)
{
	Read read;
	AuroraPlain plain;
	Datum result;

	begin_read(&read, pnstrdup(question->service, question->service_length),
			   pnstrdup(question->key_name, question->key_name_length),
			   question->company ? pnstrdup(question->company, question->company_length) : NULL);
	check_names(read.service, read.key_name);
	/* Who may read neither scope does not learn whether there is a secret. */
	if (read.company_id < 0 || (!may(&read, AURORA_SECRET_MAY_READ, read.company_id) &&
								!may(&read, AURORA_SECRET_MAY_READ, 0)))
		refuse(&read, true);
	resolve(&read);
	if (read.scope == SCOPES)
		report_missing(&read);
	if (!may(&read, AURORA_SECRET_MAY_READ, read.answer.company_id))
		refuse(&read, true);
	open_value(&read, &plain);
	read.answer.value = plain.value;
	read.answer.length = plain.length;
	read.answer.audit = audit_fields_of(&read);
	end_read(&read);
	result = give(&read.answer);
	aurora_secret_cache_keep(question, &read.answer, generation);
	aurora_secret_wipe(&plain);
	return result;
}

static AuroraSecretQuestion
question_of(FunctionCallInfo fcinfo)
{
	AuroraSecretQuestion question;
	text *service = PG_GETARG_TEXT_PP(0);
	text *key_name = PG_GETARG_TEXT_PP(1);

	memset(&question, 0, sizeof(question));
	question.who = aurora_caller_now();
	question.service = VARDATA_ANY(service);
	question.service_length = (int) VARSIZE_ANY_EXHDR(service);
	question.key_name = VARDATA_ANY(key_name);
	question.key_name_length = (int) VARSIZE_ANY_EXHDR(key_name);
	if (!PG_ARGISNULL(2))
	{
		text *company = PG_GETARG_TEXT_PP(2);

		question.company = VARDATA_ANY(company);
		question.company_length = (int) VARSIZE_ANY_EXHDR(company);
	}
	return question;
}

static void
require_names(FunctionCallInfo fcinfo)
{
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
						errmsg("a secret's service and key name may not be null")));
}

/*
 * secret(service, key_name, company): the value that holds for this node and company.
 */
Datum
aurora_secret(PG_FUNCTION_ARGS)
{
	const AuroraAnswerOfSecret *answer;
	AuroraSecretQuestion question;
	uint64 generation;

	aurora_secrets_require_library();
	require_names(fcinfo);
	generation = aurora_secret_cache_catch_up();
	question = question_of(fcinfo);
	answer = aurora_secret_cache_find(&question);
	if (answer && (answer->expires_at == DT_NOEND || answer->expires_at > GetCurrentTimestamp()))
		PG_RETURN_DATUM(give(answer));
	if (answer)
		aurora_secret_cache_remove(&question);
	PG_RETURN_DATUM(read_secret(&question, generation));
}

/*
 * secret_source(service, key_name, company): which scope and version would answer; not the value,
 * and so it is not written down.
 */
Datum
aurora_secret_source(PG_FUNCTION_ARGS)
{
	TupleDesc columns;
	Datum values[7] = {0};
	bool nulls[7];
	Read read;

	require_names(fcinfo);
	if (get_call_result_type(fcinfo, NULL, &columns) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "the result is no row");
	begin_read(&read, text_to_cstring(PG_GETARG_TEXT_PP(0)), text_to_cstring(PG_GETARG_TEXT_PP(1)),
			   PG_ARGISNULL(2) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(2)));
	check_names(read.service, read.key_name);
	if (read.company_id < 0 || (!may(&read, AURORA_SECRET_RIGHT_COUNT, read.company_id) &&
								!may(&read, AURORA_SECRET_RIGHT_COUNT, 0)))
		refuse(&read, false);
	resolve(&read);
	memset(nulls, true, sizeof(nulls));
	if (read.scope < SCOPES)
	{
		nulls[0] = nulls[3] = nulls[4] = false;
		values[0] = CStringGetTextDatum(
			aurora_secret_scope(read.answer.of_node, read.answer.company_id != 0));
		nulls[1] = !read.answer.of_node;
		values[1] = CStringGetTextDatum(read.caller.node);
		nulls[2] = read.answer.company_id == 0;
		values[2] = nulls[2] ? (Datum) 0 : CStringGetTextDatum(read.company);
		values[3] = Int32GetDatum(read.answer.version);
		values[4] = BoolGetDatum(read.answer.strict);
		nulls[5] = read.answer.expires_at == DT_NOEND;
		values[5] = TimestampTzGetDatum(read.answer.expires_at);
	}
	nulls[6] = read.passed_over.len == 0;
	values[6] = nulls[6] ? (Datum) 0 : CStringGetTextDatum(read.passed_over.data);
	end_read(&read);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(columns, values, nulls)));
}
