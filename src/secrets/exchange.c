/*
 * Values from and for elsewhere: .env files, JSON, and exports. What is wrong with a text is told
 * by its line, never by its words.
 */
#include "secrets/secrets.h"

#include "common/jsonapi.h"
#include "executor/spi.h"
#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(aurora_import_secrets_env);
PG_FUNCTION_INFO_V1(aurora_import_secrets_json);
PG_FUNCTION_INFO_V1(aurora_open_exported);

static const AuroraSecretTerms no_terms = {
	.expected_version = -1, .strict = -1, .expires_at = DT_NOEND};

static void
bad_line(int line, const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("line %d of the text cannot be imported", line), errdetail("%s", what),
			 errhint("Nothing was imported. The text is not shown, since it may be secret.")));
}

/* ---- .env ---- */

typedef struct EnvText
{
	const char *at;
	int line;
} EnvText;

static void
skip_blanks(EnvText *env)
{
	while (*env->at == ' ' || *env->at == '\t')
		env->at++;
}

/*
 * Goes behind the end of the line, where only a comment may be left.
 */
static void
end_line(EnvText *env)
{
	skip_blanks(env);
	if (*env->at == '#')
		env->at += strcspn(env->at, "\n");
	if (*env->at == '\r' && (env->at[1] == '\n' || env->at[1] == '\0'))
		env->at++;
	if (*env->at != '\n' && *env->at != '\0')
		bad_line(env->line, "Something comes after the value.");
	if (*env->at == '\n')
	{
		env->at++;
		env->line++;
	}
}

static char *
read_key(EnvText *env)
{
	const char *begin = env->at;
	size_t length =
		strspn(begin, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-");

	if (length == 0)
		bad_line(env->line, "It does not begin with a name.");
	env->at += length;
	return pnstrdup(begin, length);
}

static char
escaped(char c)
{
	switch (c)
	{
		case 'n':
			return '\n';
		case 'r':
			return '\r';
		case 't':
			return '\t';
		default:
			return c;
	}
}

/*
 * A value in quotes may go over several lines; within double quotes a backslash escapes.
 */
static void
read_quoted(EnvText *env, StringInfo value)
{
	char quote = *env->at++;
	int first_line = env->line;

	while (*env->at != quote)
	{
		if (*env->at == '\0')
			bad_line(first_line, "Its quote is not closed.");
		if (*env->at == '\n')
			env->line++;
		if (quote == '"' && *env->at == '\\' && env->at[1] != '\0')
		{
			if (strchr("nrt\\\"$'`", env->at[1]))
				appendStringInfoChar(value, escaped(env->at[1]));
			else
				appendBinaryStringInfo(value, env->at, 2);
			env->at += 2;
		}
		else
			appendStringInfoChar(value, *env->at++);
	}
	env->at++;
}

/*
 * A bare value goes to the end of the line, or to a blank and a hash.
 */
static void
read_bare(EnvText *env, StringInfo value)
{
	while (*env->at && *env->at != '\n')
	{
		if (*env->at == '#' && (value->len == 0 || strchr(" \t", env->at[-1])))
			break;
		appendStringInfoChar(value, *env->at++);
	}
	while (value->len > 0 && strchr(" \t\r", value->data[value->len - 1]))
		value->data[--value->len] = '\0';
}

/*
 * The next key and value; false at the end.
 */
static bool
read_assignment(EnvText *env, char **key, StringInfo value, int *line)
{
	for (;;)
	{
		skip_blanks(env);
		if (*env->at == '\0')
			return false;
		if (*env->at != '#' && *env->at != '\n' && *env->at != '\r')
			break;
		end_line(env);
	}
	*line = env->line;
	if (strncmp(env->at, "export", 6) == 0 && (env->at[6] == ' ' || env->at[6] == '\t'))
	{
		env->at += 6;
		skip_blanks(env);
	}
	*key = read_key(env);
	skip_blanks(env);
	if (*env->at != '=')
		bad_line(env->line, "There is no = after its name.");
	env->at++;
	skip_blanks(env);
	resetStringInfo(value);
	if (*env->at == '"' || *env->at == '\'')
		read_quoted(env, value);
	else
		read_bare(env, value);
	end_line(env);
	return true;
}

static char *
text_argument(FunctionCallInfo fcinfo, int number)
{
	return PG_ARGISNULL(number) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(number));
}

static void
begin_import(FunctionCallInfo fcinfo, int content)
{
	aurora_lead_require();
	aurora_secrets_require_library();
	for (int i = 0; i <= content; i++)
		if (PG_ARGISNULL(i))
			ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
							errmsg("what is to be imported may not be null")));
}

/*
 * import_secrets_env(service, content, node, company): the number of values put.
 */
Datum
aurora_import_secrets_env(PG_FUNCTION_ARGS)
{
	AuroraSecretName name = {0};
	StringInfoData value;
	EnvText env;
	char *content;
	int count = 0;
	int line;

	begin_import(fcinfo, 1);
	name.service = text_argument(fcinfo, 0);
	name.node = text_argument(fcinfo, 2);
	name.company = text_argument(fcinfo, 3);
	aurora_secret_find_company(&name);
	content = text_argument(fcinfo, 1);
	env = (EnvText) {.at = content, .line = 1};
	initStringInfo(&value);
	while (read_assignment(&env, &name.key_name, &value, &line))
	{
		CHECK_FOR_INTERRUPTS();
		(void) aurora_secret_put(&name, value.data, value.len, &no_terms);
		count++;
	}
	explicit_bzero(value.data, value.maxlen);
	explicit_bzero(content, strlen(content));
	PG_RETURN_INT32(count);
}

/* ---- JSON ---- */

/*
 * The text as JSON. The server's own errors would show parts of it.
 */
static Jsonb *
parse_json(char *content)
{
	JsonLexContext *lex = AURORA_JSON_LEXER(content, (int) strlen(content));

	if (pg_parse_json(lex, &nullSemAction) != JSON_SUCCESS)
		bad_line(lex->line_number, "It is no valid JSON.");
	return DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(content)));
}

static JsonbValue *
field(JsonbContainer *object, const char *key, enum jbvType type)
{
	JsonbValue *value = getKeyJsonValueFromContainer(object, key, (int) strlen(key), NULL);

	return value && value->type == type ? value : NULL;
}

static char *
text_field(JsonbContainer *object, const char *key)
{
	JsonbValue *value = field(object, key, jbvString);

	return value ? pnstrdup(value->val.string.val, value->val.string.len) : NULL;
}

static int32
number_field(JsonbContainer *object, const char *key)
{
	JsonbValue *value = field(object, key, jbvNumeric);

	return value ? DatumGetInt32(
					   DirectFunctionCall1(numeric_int4, NumericGetDatum(value->val.numeric)))
				 : 0;
}

/*
 * A value of {service: {key: value}} as text; NULL for what is none.
 */
static char *
scalar_text(const JsonbValue *value)
{
	switch (value->type)
	{
		case jbvString:
			return pnstrdup(value->val.string.val, value->val.string.len);
		case jbvNumeric:
			return DatumGetCString(
				DirectFunctionCall1(numeric_out, NumericGetDatum(value->val.numeric)));
		case jbvBool:
			return pstrdup(value->val.boolean ? "true" : "false");
		default:
			return NULL;
	}
}

static int
import_service(AuroraSecretName *name, JsonbContainer *keys)
{
	JsonbIterator *iterator = JsonbIteratorInit(keys);
	JsonbIteratorToken token;
	JsonbValue value;
	int count = 0;

	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		char *plain;

		if (token == WJB_KEY)
			name->key_name = pnstrdup(value.val.string.val, value.val.string.len);
		if (token != WJB_VALUE)
			continue;
		plain = scalar_text(&value);
		if (plain == NULL)
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg("the value of key \"%s\" of service \"%s\" cannot be imported",
								   name->key_name, name->service),
							errdetail("It is neither a text nor a number nor true or false.")));
		(void) aurora_secret_put(name, plain, strlen(plain), &no_terms);
		explicit_bzero(plain, strlen(plain));
		count++;
	}
	return count;
}

static int
import_services(AuroraSecretName *name, JsonbContainer *services)
{
	JsonbIterator *iterator = JsonbIteratorInit(services);
	JsonbIteratorToken token;
	JsonbValue value;
	int count = 0;

	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		CHECK_FOR_INTERRUPTS();
		if (token == WJB_KEY)
			name->service = pnstrdup(value.val.string.val, value.val.string.len);
		if (token != WJB_VALUE)
			continue;
		if (value.type != jbvBinary || !JsonContainerIsObject(value.val.binary.data))
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg("what is of service \"%s\" cannot be imported", name->service),
							errdetail("The text must be {service: {key: value}}.")));
		count += import_service(name, value.val.binary.data);
	}
	return count;
}

/* ---- an encrypted export ---- */

static void
bad_export(const char *what)
{
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("the export cannot be imported"), errdetail("%s", what)));
}

/*
 * Opens the data key of that number in the export.
 */
static void
open_exported_key(JsonbContainer *keys, int32 key_no, AuroraFernet *fernet)
{
	for (uint32 i = 0; i < JsonContainerSize(keys); i++)
	{
		JsonbValue *value = getIthJsonbValueFromContainer(keys, i);
		JsonbContainer *key;
		char *wrapped;

		if (value->type != jbvBinary || !JsonContainerIsObject(value->val.binary.data))
			continue;
		key = value->val.binary.data;
		wrapped = text_field(key, "wrapped");
		if (number_field(key, "key_no") != key_no || wrapped == NULL)
			continue;
		aurora_data_key_unwrap(fernet, text_field(key, "master_key_id"), wrapped);
		return;
	}
	bad_export("It lacks a data key.");
}

/*
 * The server's own error would show the text. Reading a time takes nothing that would have to be
 * given back.
 */
static TimestampTz
time_of_export(const char *text)
{
	MemoryContext context = CurrentMemoryContext;
	volatile TimestampTz time = 0;

	PG_TRY();
	{
		time = DatumGetTimestampTz(DirectFunctionCall3(timestamptz_in, CStringGetDatum(text),
													   ObjectIdGetDatum(InvalidOid),
													   Int32GetDatum(-1)));
	}
	PG_CATCH();
	{
		if (ERRCODE_TO_CATEGORY(geterrcode()) != ERRCODE_DATA_EXCEPTION)
			PG_RE_THROW();
		MemoryContextSwitchTo(context);
		FlushErrorState();
		bad_export("The time at which a secret in it expires is none.");
	}
	PG_END_TRY();
	return time;
}

static void
import_exported(JsonbContainer *secret, JsonbContainer *keys)
{
	AuroraSecretTerms terms = no_terms;
	AuroraSecretName name = {
		.service = text_field(secret, "service"),
		.key_name = text_field(secret, "key_name"),
		.node = text_field(secret, "node"),
		.company = text_field(secret, "company"),
	};
	char *token = text_field(secret, "token");
	char *expires_at = text_field(secret, "expires_at");
	JsonbValue *strict = field(secret, "strict", jbvBool);
	AuroraFernetResult result;
	AuroraFernet fernet;
	AuroraPlain plain;
	char *value;

	if (name.service == NULL || name.key_name == NULL || token == NULL)
		bad_export("A secret in it has no service, key name or token.");
	if (strict)
		terms.strict = strict->val.boolean;
	if (expires_at)
		terms.expires_at = time_of_export(expires_at);
	aurora_secret_find_company(&name);
	open_exported_key(keys, number_field(secret, "key_no"), &fernet);
	result = aurora_secret_decrypt(&fernet, token, strlen(token), &plain);
	aurora_fernet_close(&fernet);
	if (result != AURORA_FERNET_OK)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("the value of key \"%s\" of service \"%s\" in the export is corrupted",
						name.key_name, name.service),
				 errdetail("It does not open: %s.", aurora_fernet_error(result))));
	value = pg_any_to_server(plain.value, (int) plain.length, PG_UTF8);
	(void) aurora_secret_put(&name, value, value == plain.value ? plain.length : strlen(value),
							 &terms);
	aurora_secret_wipe(&plain);
}

/*
 * Tokens bear no names: under a name of one's own, others' would open. So only who may read all of
 * them imports any.
 */
static void
require_administrator(void)
{
	AuroraAuditEvent event = {.action = AURORA_SECRET_IMPORT, .outcome = AURORA_SECRET_REFUSED};

	if (aurora_identity_get(GetActiveSnapshot())->administers_all)
		return;
	aurora_audit_event(&event);
	ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					errmsg("permission denied to import an encrypted export"),
					errhint("Members of aurora_admin may.")));
}

static int
import_export(JsonbContainer *export)
{
	JsonbValue *keys = field(export, "keys", jbvBinary);
	JsonbValue *secrets = field(export, "secrets", jbvBinary);
	uint32 count;

	require_administrator();
	if (keys == NULL || secrets == NULL || !JsonContainerIsArray(keys->val.binary.data) ||
		!JsonContainerIsArray(secrets->val.binary.data))
		bad_export("It has no arrays \"keys\" and \"secrets\".");
	count = JsonContainerSize(secrets->val.binary.data);
	for (uint32 i = 0; i < count; i++)
	{
		JsonbValue *secret = getIthJsonbValueFromContainer(secrets->val.binary.data, i);

		CHECK_FOR_INTERRUPTS();
		if (secret->type != jbvBinary || !JsonContainerIsObject(secret->val.binary.data))
			bad_export("Something in its \"secrets\" is no object.");
		import_exported(secret->val.binary.data, keys->val.binary.data);
	}
	return (int) count;
}

/*
 * import_secrets_json(content, node, company): the number of values put.
 */
Datum
aurora_import_secrets_json(PG_FUNCTION_ARGS)
{
	AuroraSecretName name = {0};
	char *content;
	Jsonb *json;
	char *format;
	int count;

	begin_import(fcinfo, 0);
	name.node = text_argument(fcinfo, 1);
	name.company = text_argument(fcinfo, 2);
	aurora_secret_find_company(&name);
	content = text_argument(fcinfo, 0);
	json = parse_json(content);
	if (!JB_ROOT_IS_OBJECT(json))
		bad_line(1, "The text must be {service: {key: value}}.");
	format = text_field(&json->root, "format");
	if (format && strcmp(format, "aurora secrets 1") == 0)
		count = import_export(&json->root);
	else
		count = import_services(&name, &json->root);
	explicit_bzero(VARDATA(json), VARSIZE(json) - VARHDRSZ);
	explicit_bzero(content, strlen(content));
	PG_RETURN_INT32(count);
}

/*
 * open_exported(token, key_no): a value for a plain export, whose right has been checked, when the
 * export's records are on disk, as strict ones want it; null for a token that does not open.
 */
Datum
aurora_open_exported(PG_FUNCTION_ARGS)
{
	char *token = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Snapshot snapshot = GetActiveSnapshot();
	AuroraPlain plain;
	text *result;
	char *value;

	aurora_audit_require_sync();
	if (aurora_secret_decrypt(aurora_data_key_open(PG_GETARG_INT32(1), snapshot), token,
							  strlen(token), &plain) != AURORA_FERNET_OK)
		PG_RETURN_NULL();
	value = pg_any_to_server(plain.value, (int) plain.length, PG_UTF8);
	result = value == plain.value ? cstring_to_text_with_len(value, (int) plain.length)
								  : cstring_to_text(value);
	aurora_secret_wipe(&plain);
	PG_RETURN_TEXT_P(result);
}
