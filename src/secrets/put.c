/*
 * Putting secrets: all is checked and encrypted here, so that rows, statements of functions and
 * messages only ever see tokens.
 */
#include "secrets/secrets.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#define SHORTEST_LITERAL 4 /* shorter values are found in statements by chance */

PG_FUNCTION_INFO_V1(aurora_put_secret);
PG_FUNCTION_INFO_V1(aurora_check_secret_name);

void
aurora_secret_find_company(AuroraSecretName *name)
{
	name->company_id = 0;
	if (name->company && !aurora_company_find(cstring_to_text(name->company), GetActiveSnapshot(),
											  &name->company_id))
	{
		if (aurora_identity_get(GetActiveSnapshot())->administers_all)
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg("there is no company \"%s\"", name->company),
							errhint("aurora.add_company() makes one.")));
		name->company_id = -1;
	}
}

static void
require_write(const AuroraSecretName *name)
{
	AuroraAuditEvent event = {
		.action = AURORA_SECRET_PUT,
		.outcome = AURORA_SECRET_REFUSED,
		.service = name->service,
		.key_name = name->key_name,
		.node = name->node,
		.company = name->company,
		.company_id = Max(name->company_id, 0),
	};

	if (name->company_id >= 0 &&
		aurora_secret_may_now(AURORA_SECRET_MAY_WRITE, name->company_id, name->service))
		return;
	aurora_audit_event(&event);
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied to change secrets of service \"%s\"", name->service),
			 name->company ? errhint("aurora.grant_secret() gives the right \"write\".")
						   : errhint("Without a company it is for all companies, which takes an "
									 "administrator or a grant: name the company.")));
}

static void
check_name(const AuroraSecretName *name)
{
	aurora_secret_check_name("service", name->service);
	aurora_secret_check_name("key", name->key_name);
	if (name->node && !aurora_is_dns_label(name->node))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("this is no name of a node"),
				 errhint("A node's name is a DNS label: 1 to 63 lower-case letters, digits "
						 "and hyphens.")));
}

static int32
store(const AuroraSecretName *name, int32 key_no, const char *token, const AuroraSecretTerms *terms)
{
	static const char sql[] = "SELECT aurora.store_secret($1, $2, $3, $4, $5, $6, $7, $8, $9)";
	Oid types[9] = {TEXTOID, TEXTOID, TEXTOID, INT4OID,		  INT4OID,
					TEXTOID, INT4OID, BOOLOID, TIMESTAMPTZOID};
	char nulls[10] = "         ";
	Datum values[9];
	bool isnull;
	int32 version;

	values[0] = CStringGetTextDatum(name->service);
	values[1] = CStringGetTextDatum(name->key_name);
	values[2] = name->node ? CStringGetTextDatum(name->node) : (Datum) 0;
	values[3] = Int32GetDatum(name->company_id);
	values[4] = Int32GetDatum(key_no);
	values[5] = CStringGetTextDatum(token);
	values[6] = Int32GetDatum(terms->expected_version);
	values[7] = BoolGetDatum(terms->strict == 1);
	values[8] = TimestampTzGetDatum(terms->expires_at);
	nulls[2] = name->node ? ' ' : 'n';
	nulls[3] = name->company_id != 0 ? ' ' : 'n';
	nulls[6] = terms->expected_version >= 0 ? ' ' : 'n';
	nulls[7] = terms->strict >= 0 ? ' ' : 'n';
	nulls[8] = terms->expires_at != DT_NOEND ? ' ' : 'n';
	SPI_connect();
	if (SPI_execute_with_args(sql, 9, types, values, nulls, false, 1) != SPI_OK_SELECT ||
		SPI_processed != 1)
		elog(ERROR, "a secret could not be stored");
	version =
		DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	SPI_finish();
	return version;
}

int32
aurora_secret_put(AuroraSecretName *name, const char *value, size_t length,
				  const AuroraSecretTerms *terms)
{
	AuroraAuditEvent event = {.action = AURORA_SECRET_PUT, .outcome = AURORA_SECRET_GRANTED};
	Snapshot snapshot;
	char *utf8;
	char *token;
	int32 key_no;

	check_name(name);
	require_write(name);
	if (length > AURORA_SECRET_VALUE_SIZE)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED), errmsg("the secret's value is too large"),
				 errdetail("It may have %d bytes.", AURORA_SECRET_VALUE_SIZE)));
	if (terms->expires_at <= GetCurrentTimestamp())
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("the secret would have expired already")));
	key_no = aurora_data_key_current(name->company_id);
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	utf8 = pg_server_to_any(value, (int) length, PG_UTF8);
	token = aurora_secret_encrypt(aurora_data_key_open(key_no, snapshot), utf8,
								  utf8 == value ? length : strlen(utf8));
	if (utf8 != value)
		explicit_bzero(utf8, strlen(utf8));
	UnregisterSnapshot(snapshot);
	event.version = store(name, key_no, token, terms);
	event.service = name->service;
	event.key_name = name->key_name;
	event.scope = aurora_secret_scope(name->node != NULL, name->company_id != 0);
	event.node = name->node;
	event.company = name->company;
	event.company_id = name->company_id;
	aurora_audit_event(&event);
	return event.version;
}

/* ---- the warning ---- */

static bool
setting_is(const char *name, const char *value)
{
	const char *now = GetConfigOption(name, true, false);

	return now && strcmp(now, value) == 0;
}

/*
 * Which setting has this statement's text written to the log, or NULL.
 */
static const char *
what_logs_statements(void)
{
	static const char *const durations[] = {"log_min_duration_statement", "log_min_duration_sample",
											"auto_explain.log_min_duration"};
	const char *now;

	if (setting_is("log_statement", "all"))
		return "log_statement";
	for (int i = 0; i < (int) lengthof(durations); i++)
	{
		now = GetConfigOption(durations[i], true, false);
		if (now && now[0] != '-')
			return durations[i];
	}
	return setting_is("log_duration", "on") ? "log_duration" : NULL;
}

static void
warn_of_literal(const char *value, size_t length)
{
	const char *statement = debug_query_string;
	const char *setting = what_logs_statements();
	char *text;
	bool found;

	if (statement == NULL || setting == NULL || length < SHORTEST_LITERAL)
		return;
	text = pnstrdup(value, length);
	found = strstr(statement, text) != NULL;
	explicit_bzero(text, length);
	pfree(text);
	if (found)
		ereport(WARNING,
				(errcode(ERRCODE_WARNING),
				 errmsg("the secret's value is part of the statement's text, which may be in the "
						"server's log now"),
				 errdetail("The setting %s has statements logged.", setting),
				 errhint("Pass the value as a parameter, with log_parameter_max_length at 0 where "
						 "statements are logged, and put a new one.")));
}

/* ---- SQL ---- */

static char *
text_argument(FunctionCallInfo fcinfo, int number)
{
	return PG_ARGISNULL(number) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(number));
}

/*
 * put_secret(service, key_name, value, node, company, expected_version, strict, expires_at)
 */
Datum
aurora_put_secret(PG_FUNCTION_ARGS)
{
	AuroraSecretTerms terms = {.expected_version = -1, .strict = -1, .expires_at = DT_NOEND};
	AuroraSecretName name = {0};
	text *value;
	int32 version;

	aurora_lead_require();
	aurora_secrets_require_library();
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(2))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
						errmsg("a secret's service, key name and value may not be null")));
	name.service = text_argument(fcinfo, 0);
	name.key_name = text_argument(fcinfo, 1);
	name.node = text_argument(fcinfo, 3);
	name.company = text_argument(fcinfo, 4);
	if (!PG_ARGISNULL(5))
		terms.expected_version = PG_GETARG_INT32(5);
	if (!PG_ARGISNULL(5) && terms.expected_version < 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("the expected version may not be negative"),
						errhint("0 stands for a secret that is not there yet.")));
	if (!PG_ARGISNULL(6))
		terms.strict = PG_GETARG_BOOL(6);
	if (!PG_ARGISNULL(7))
		terms.expires_at = PG_GETARG_TIMESTAMPTZ(7);
	aurora_secret_find_company(&name);
	value = PG_GETARG_TEXT_PP(2);
	version = aurora_secret_put(&name, VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value), &terms);
	warn_of_literal(VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value));
	PG_RETURN_INT32(version);
}

/*
 * check_secret_name(service, key_name, node): raises what is wrong with them.
 */
Datum
aurora_check_secret_name(PG_FUNCTION_ARGS)
{
	AuroraSecretName name = {
		.service = text_argument(fcinfo, 0),
		.key_name = text_argument(fcinfo, 1),
		.node = text_argument(fcinfo, 2),
	};

	if (name.service == NULL || name.key_name == NULL)
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
						errmsg("a secret's service and key name may not be null")));
	check_name(&name);
	PG_RETURN_VOID();
}
