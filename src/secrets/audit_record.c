/*
 * What a record of the audit says, and what SQL asks about the audit of this node.
 */
#include "secrets/secrets.h"

#include "commands/dbcommands.h"
#include "common/ip.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/backend_status.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

PG_FUNCTION_INFO_V1(aurora_secret_audit_status);
PG_FUNCTION_INFO_V1(aurora_restart_secret_audit);
PG_FUNCTION_INFO_V1(aurora_verify_secret_audit_file);
PG_FUNCTION_INFO_V1(aurora_audit_secret);

static const char *const action_label[] = {
#define LABEL(symbol, label) [symbol] = label,
	AURORA_SECRET_ACTION_LIST(LABEL)};
static const char *const outcome_label[] = {AURORA_SECRET_OUTCOME_LIST(LABEL)
#undef LABEL
};

/* ---- the fields of a record ---- */

static void
append_text(StringInfo fields, const char *key, const char *value)
{
	appendStringInfo(fields, "%s\"%s\":", fields->len ? "," : "", key);
	if (value)
		escape_json(fields, value);
	else
		appendStringInfoString(fields, "null");
}

/*
 * What a caller names may be of any length, a record may not: so much of it as a name may have.
 */
static void
append_name(StringInfo fields, const char *key, const char *name)
{
	int length = name ? (int) strlen(name) : 0;
	char *clipped =
		name ? pnstrdup(name, pg_mbcharcliplen(name, length, AURORA_SECRET_NAME_LENGTH)) : NULL;

	append_text(fields, key, clipped);
}

static void
append_number(StringInfo fields, const char *key, int64 value)
{
	if (value == 0)
		append_text(fields, key, NULL);
	else
		appendStringInfo(fields, ",\"%s\":" INT64_FORMAT, key, value);
}

/*
 * Where this session comes from.
 */
static const char *
client(void)
{
	static char text[NI_MAXHOST + NI_MAXSERV + 4];
	char host[NI_MAXHOST] = "";
	char port[NI_MAXSERV] = "";

	if (text[0])
		return text;
	if (MyProcPort == NULL || MyBEEntry == NULL)
		strlcpy(text, "server", sizeof(text));
	else if (MyBEEntry->st_clientaddr.addr.ss_family == AF_UNIX)
		strlcpy(text, "local", sizeof(text));
	else
	{
		(void) pg_getnameinfo_all(&MyBEEntry->st_clientaddr.addr, MyBEEntry->st_clientaddr.salen,
								  host, sizeof(host), port, sizeof(port),
								  NI_NUMERICHOST | NI_NUMERICSERV);
		snprintf(text, sizeof(text), "%s:%s", host, port);
	}
	return text;
}

static const char *
name_of_role(Oid role)
{
	return OidIsValid(role) ? GetUserNameFromId(role, true) : NULL;
}

char *
aurora_audit_fields(const AuroraAuditEvent *event)
{
	StringInfoData fields;
	AuroraCaller who = aurora_caller_now();

	initStringInfo(&fields);
	append_text(&fields, "action", action_label[event->action]);
	append_text(&fields, "outcome", outcome_label[event->outcome]);
	append_name(&fields, "service", event->service);
	append_name(&fields, "key", event->key_name);
	append_text(&fields, "scope", event->scope);
	append_name(&fields, "node", event->node);
	append_name(&fields, "company", event->company);
	append_number(&fields, "company_id", event->company_id);
	append_number(&fields, "version", event->version);
	append_text(&fields, "role", name_of_role(who.role));
	append_text(&fields, "session", name_of_role(who.session));
	append_name(&fields, "owner", event->owner);
	append_text(&fields, "database", get_database_name(MyDatabaseId));
	append_text(&fields, "client", client());
	append_number(&fields, "pid", MyProcPid);
	if (event->detail)
		append_text(&fields, "detail", event->detail);
	return pg_server_to_any(fields.data, fields.len, PG_UTF8);
}

static char *
text_argument(FunctionCallInfo fcinfo, int number)
{
	return PG_ARGISNULL(number) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(number));
}

/*
 * audit_secret(action, granted, service, key_name, node, company, company_id, version, detail): for
 * the functions that change secrets in SQL.
 */
Datum
aurora_audit_secret(PG_FUNCTION_ARGS)
{
	AuroraAuditEvent event = {0};
	char *action = text_to_cstring(PG_GETARG_TEXT_PP(0));

	aurora_secrets_require_library();
	event.outcome = PG_GETARG_BOOL(1) ? AURORA_SECRET_GRANTED : AURORA_SECRET_REFUSED;
	while (event.action < AURORA_SECRET_ACTION_COUNT &&
		   strcmp(action, action_label[event.action]) != 0)
		event.action++;
	if (event.action == AURORA_SECRET_ACTION_COUNT)
		elog(ERROR, "action \"%s\" is unknown", action);
	event.service = text_argument(fcinfo, 2);
	event.key_name = text_argument(fcinfo, 3);
	event.node = text_argument(fcinfo, 4);
	event.company = text_argument(fcinfo, 5);
	event.company_id = PG_ARGISNULL(6) ? 0 : PG_GETARG_INT32(6);
	event.version = PG_ARGISNULL(7) ? 0 : PG_GETARG_INT32(7);
	event.detail = text_argument(fcinfo, 8);
	event.scope = aurora_secret_scope(event.node != NULL, event.company_id != 0);
	aurora_audit_event(&event);
	PG_RETURN_VOID();
}

/* ---- what SQL asks ---- */

static Datum
text_or_null(const char *text, bool *isnull)
{
	*isnull = text[0] == '\0';
	return *isnull ? (Datum) 0 : CStringGetTextDatum(text);
}

/*
 * secret_audit_status(): a row, none without the preloaded library.
 */
Datum
aurora_secret_audit_status(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	AuroraAuditStatus status;
	Datum values[9];
	bool nulls[9] = {false};

	InitMaterializedSRF(fcinfo, 0);
	if (!aurora_preloaded)
		return (Datum) 0;
	status = aurora_audit_status();
	values[0] = CStringGetTextDatum(aurora_node_name());
	values[1] = CStringGetTextDatum(aurora_audit_directory());
	values[2] = text_or_null(status.chain, &nulls[2]);
	values[3] = Int64GetDatum((int64) status.last_seq);
	values[4] = Int64GetDatum((int64) status.synced_seq);
	values[5] = Int64GetDatum((int64) aurora_audit_head_of(aurora_audit_heads(), status.chain));
	values[6] = Int64GetDatum(status.size);
	values[7] = BoolGetDatum(status.is_on);
	values[8] = text_or_null(status.problem, &nulls[8]);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	return (Datum) 0;
}

/*
 * restart_secret_audit(reason): works on a standby too, since it writes files only.
 */
Datum
aurora_restart_secret_audit(PG_FUNCTION_ARGS)
{
	char *reason = text_argument(fcinfo, 0);
	AuroraAuditStatus before;
	AuroraAuditStatus after;
	char *detail;

	aurora_secrets_require_library();
	if (!aurora_identity_get(GetActiveSnapshot())->administers_all)
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("permission denied to begin a new chain of the audit"),
						errhint("Members of aurora_admin may.")));
	if (reason == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("the reason may not be null")));
	if (strlen(reason) == 0 || strlen(reason) > 300)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("a reason must be given, of at most 300 bytes")));
	before = aurora_audit_status();
	detail = psprintf("%s; chain before: %s, its last record: %llu%s%s", reason,
					  before.chain[0] ? before.chain : "none", (unsigned long long) before.last_seq,
					  before.problem[0] ? ", " : "", before.problem);
	if (!aurora_audit_restart(detail))
	{
		after = aurora_audit_status();
		ereport(ERROR, (errcode(ERRCODE_IO_ERROR), errmsg("no new chain could be begun"),
						errdetail("What is wrong: %s.", after.problem)));
	}
	after = aurora_audit_status();
	PG_RETURN_TEXT_P(cstring_to_text(after.chain));
}

/* ---- checking the files ---- */

typedef struct Chain
{
	AuroraAuditFile last;
	uint64 first_seq;
	uint64 records;
	uint64 bad_seq;
	const char *problem;
} Chain;

static void
put_chain(ReturnSetInfo *result, const Chain *chain, List *heads)
{
	uint64 head = aurora_audit_head_of(heads, chain->last.chain);
	uint64 bad_seq = chain->bad_seq;
	const char *problem = chain->problem;
	Datum values[8];
	bool nulls[8] = {false};

	if (bad_seq == 0 && chain->last.last_seq < head)
	{
		bad_seq = chain->last.last_seq + 1;
		problem = "the lead has had records that are not here";
	}
	values[0] = CStringGetTextDatum(aurora_node_name());
	values[1] = CStringGetTextDatum(chain->last.chain);
	values[2] = Int64GetDatum((int64) chain->records);
	values[3] = Int64GetDatum((int64) chain->first_seq);
	values[4] = Int64GetDatum((int64) chain->last.last_seq);
	values[5] = BoolGetDatum(bad_seq == 0);
	values[6] = Int64GetDatum((int64) bad_seq);
	nulls[6] = bad_seq == 0;
	nulls[7] = problem == NULL;
	values[7] = problem ? CStringGetTextDatum(problem) : (Datum) 0;
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/*
 * Takes a file into account that goes on with the chain.
 */
static void
add_file(Chain *chain, const AuroraAuditFile *file, bool is_last)
{
	if (chain->bad_seq == 0 && chain->records > 0 &&
		(file->first_seq != chain->last.last_seq + 1 ||
		 memcmp(file->previous, chain->last.hash, AURORA_HASH_SIZE) != 0))
	{
		chain->bad_seq = chain->last.last_seq + 1;
		chain->problem = "a file does not go on where the one before ends";
	}
	if (chain->bad_seq == 0 && file->bad_seq != 0 && (!file->torn || is_last))
	{
		chain->bad_seq = file->bad_seq;
		chain->problem = "a record was changed, removed or added";
	}
	chain->records += file->last_seq - file->first_seq + 1;
	chain->last = *file;
}

static void
check_files(ReturnSetInfo *result, const uint64 *generations, int count, List *heads)
{
	Chain chain = {0};
	AuroraAuditFile file;

	for (int i = 0; i < count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (!aurora_audit_read_file(generations[i], &file))
		{
			if (chain.bad_seq == 0 && file.size > 0)
			{
				chain.bad_seq = chain.last.last_seq + 1;
				chain.problem = "a file has no valid first line";
			}
			continue;
		}
		if (chain.first_seq != 0 && strcmp(chain.last.chain, file.chain) != 0)
		{
			put_chain(result, &chain, heads);
			memset(&chain, 0, sizeof(chain));
		}
		if (chain.first_seq == 0)
		{
			chain.first_seq = file.first_seq;
			if (file.first_seq - 1 > aurora_audit_head_of(heads, file.chain))
			{
				chain.bad_seq = aurora_audit_head_of(heads, file.chain) + 1;
				chain.problem = "files are gone that the lead has not had";
			}
		}
		add_file(&chain, &file, i == count - 1);
	}
	if (chain.first_seq != 0)
		put_chain(result, &chain, heads);
}

/*
 * verify_secret_audit_file(): a row for each chain in this node's files.
 */
Datum
aurora_verify_secret_audit_file(PG_FUNCTION_ARGS)
{
	uint64 *generations;
	int64 size;
	int count;
	List *heads;

	InitMaterializedSRF(fcinfo, 0);
	aurora_secrets_require_library();
	heads = aurora_audit_heads();
	count = aurora_audit_generations(&generations, &size);
	if (count < 0)
		ereport(ERROR, (errcode_for_file_access(),
						errmsg("the folder of the audit \"%s\" cannot be read: %m",
							   aurora_audit_directory())));
	check_files((ReturnSetInfo *) fcinfo->resultinfo, generations, count, heads);
	return (Datum) 0;
}
