/*
 * API keys: making their texts, and assuming what one stands for. A key is found by the hash of its
 * text, which its finder must know all of, so that finding it tells nothing by its time.
 */
#include "gateway/gateway.h"

#include "access/htup_details.h"
#include "catalog/pg_enum.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "secrets/secrets.h"
#include "shared/base64url.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#define KEY_BYTES 32

/* Columns of aurora.api_key that are read here, in table order. */
enum
{
	KEY_ID = 1,
	KEY_HASH,
	KEY_ROLE,
	KEY_COMPANY_ID,
	KEY_OWNER,
	KEY_NODE,
	KEY_ROUTES,
	KEY_EXPIRES_AT,
	KEY_REVOKED_AT
};

/* Columns of aurora.node that are read here. */
enum
{
	NODE_NAME = 1,
	NODE_LOGIN_ROLE = 4
};

PG_FUNCTION_INFO_V1(aurora_new_api_key);
PG_FUNCTION_INFO_V1(aurora_assume_key);
PG_FUNCTION_INFO_V1(aurora_key_role_labels);

static const char *const role_label[] = {
#define ROLE_LABEL(symbol, label) [symbol] = label,
	AURORA_KEY_ROLE_LIST(ROLE_LABEL)
#undef ROLE_LABEL
};

const char *
aurora_key_role_label(AuroraKeyRole role)
{
	return role_label[role];
}

static AuroraKeyRole
role_from_enum(Oid value)
{
	HeapTuple tuple = SearchSysCache1(ENUMOID, ObjectIdGetDatum(value));
	AuroraKeyRole role;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "role of keys %u does not exist", value);
	for (role = 0; role < AURORA_KEY_ROLE_COUNT; role++)
		if (strcmp(role_label[role], NameStr(((Form_pg_enum) GETSTRUCT(tuple))->enumlabel)) == 0)
			break;
	ReleaseSysCache(tuple);
	if (role == AURORA_KEY_ROLE_COUNT)
		elog(ERROR, "role of keys %u is unknown", value);
	return role;
}

/* ---- finding ---- */

static bool
is_good(const AuroraScan *scan)
{
	return scan->nulls[KEY_REVOKED_AT - 1] &&
		   (scan->nulls[KEY_EXPIRES_AT - 1] ||
			DatumGetTimestampTz(scan->values[KEY_EXPIRES_AT - 1]) > GetCurrentTimestamp());
}

/*
 * A person's key of who has become an agent since is an agent's, so that it gives no more than its
 * principal has.
 */
static bool
read_principal(const AuroraScan *scan, Snapshot snapshot, AuroraApiKey *key)
{
	if (key->role != AURORA_KEY_USER && key->role != AURORA_KEY_AGENT)
		return true;
	if (!aurora_principal_find(DatumGetInt32(scan->values[KEY_COMPANY_ID - 1]),
							   DatumGetTextPP(scan->values[KEY_OWNER - 1]), snapshot,
							   &key->principal))
		return false;
	if (key->principal.trust == AURORA_TRUST_AGENT)
		key->role = AURORA_KEY_AGENT;
	return true;
}

static bool
find(const char *index, ScanKey condition, Snapshot snapshot, AuroraApiKey *key)
{
	AuroraScan scan;
	bool found;

	memset(key, 0, sizeof(*key));
	aurora_scan_open(&scan, "api_key", index, snapshot, 1, condition);
	found = aurora_scan_next(&scan) && is_good(&scan);
	if (found)
	{
		key->key_id = (int32) DatumGetInt64(scan.values[KEY_ID - 1]);
		key->role = role_from_enum(DatumGetObjectId(scan.values[KEY_ROLE - 1]));
		if (!scan.nulls[KEY_NODE - 1])
			key->node = TextDatumGetCString(scan.values[KEY_NODE - 1]);
		if (!scan.nulls[KEY_ROUTES - 1])
			key->routes = DatumGetArrayTypePCopy(scan.values[KEY_ROUTES - 1]);
		found = read_principal(&scan, snapshot, key);
	}
	aurora_scan_close(&scan);
	return found;
}

bool
aurora_api_key_find(bytea *hash, Snapshot snapshot, AuroraApiKey *key)
{
	ScanKeyData condition;

	ScanKeyInit(&condition, KEY_HASH, BTEqualStrategyNumber, F_BYTEAEQ, PointerGetDatum(hash));
	return find("api_key_key_hash_key", &condition, snapshot, key);
}

bool
aurora_api_key_find_by_id(int32 key_id, Snapshot snapshot, AuroraApiKey *key)
{
	ScanKeyData condition;

	ScanKeyInit(&condition, KEY_ID, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(key_id));
	return find("api_key_pkey", &condition, snapshot, key);
}

/* ---- what a key is for ---- */

void
aurora_api_key_require_route(const AuroraApiKey *key, text *route)
{
	Datum *patterns;
	bool *nulls;
	int count;
	char *name;

	if (key->routes == NULL)
		return;
	name = route ? text_to_cstring(route) : "";
	deconstruct_array(key->routes, TEXTOID, -1, false, TYPALIGN_INT, &patterns, &nulls, &count);
	for (int i = 0; i < count; i++)
		if (route && !nulls[i] && aurora_secret_matches(TextDatumGetCString(patterns[i]), name))
			return;
	ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					errmsg("the key is not for the route \"%s\"", name),
					errhint("aurora.api_keys shows the routes that a key is for.")));
}

void
aurora_api_key_refuse(void)
{
	ereport(ERROR, (errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
					errmsg("this is no valid API key"),
					errhint("It is unknown, expired or revoked; aurora.add_api_key() makes one.")));
	pg_unreachable();
}

static void
require_node(const AuroraApiKey *key, text *node_name)
{
	if (node_name == NULL || (key->node && strcmp(key->node, text_to_cstring(node_name)) == 0))
		return;
	ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					errmsg("the key is not that of node \"%s\"", text_to_cstring(node_name)),
					errhint("X-Node-Name names the node whose key it is, or is left out.")));
}

void
aurora_gateway_limit_statements(int timeout_ms)
{
	char value[16];

	if (timeout_ms <= 0)
		return;
	snprintf(value, sizeof(value), "%d", timeout_ms);
	(void) set_config_option("statement_timeout", value, PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_LOCAL, true, 0, false);
}

static Oid
login_role_of_node(const char *node, Snapshot snapshot)
{
	Oid role = InvalidOid;
	AuroraScan scan;
	ScanKeyData key;

	ScanKeyInit(&key, NODE_NAME, BTEqualStrategyNumber, F_TEXTEQ, CStringGetTextDatum(node));
	aurora_scan_open(&scan, "node", "node_pkey", snapshot, 1, &key);
	if (aurora_scan_next(&scan) && !scan.nulls[NODE_LOGIN_ROLE - 1])
		role = get_role_oid(NameStr(*DatumGetName(scan.values[NODE_LOGIN_ROLE - 1])), true);
	aurora_scan_close(&scan);
	return role;
}

/* ---- SQL ---- */

/*
 * The row that says who is assumed: key_id, role, company_id, company, owner, node.
 */
static Datum
row_of(FunctionCallInfo fcinfo, const AuroraApiKey *key, Snapshot snapshot)
{
	bool has_principal = key->principal.number != 0;
	char *company = has_principal ? aurora_company_name(key->principal.company_id, snapshot) : NULL;
	Datum values[6] = {0};
	bool nulls[6] = {false,			  false,		  !has_principal,
					 company == NULL, !has_principal, key->node == NULL};
	TupleDesc desc;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "who is assumed is a row");
	values[0] = Int64GetDatum(key->key_id);
	values[1] = CStringGetTextDatum(role_label[key->role]);
	values[2] = Int32GetDatum(key->principal.company_id);
	if (company)
		values[3] = CStringGetTextDatum(company);
	if (has_principal)
		values[4] = CStringGetTextDatum(key->principal.owner);
	if (key->node)
		values[5] = CStringGetTextDatum(key->node);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}

/*
 * assume_key(key_hash, route, node_name, timeout_ms)
 */
Datum
aurora_assume_key(PG_FUNCTION_ARGS)
{
	Snapshot snapshot = GetActiveSnapshot();
	AuroraAssumption what = {0};
	AuroraApiKey key;

	aurora_identity_require_gateway();
	if (PG_ARGISNULL(0) || !aurora_api_key_find(PG_GETARG_BYTEA_PP(0), snapshot, &key))
		aurora_api_key_refuse();
	aurora_api_key_require_route(&key, PG_ARGISNULL(1) ? NULL : PG_GETARG_TEXT_PP(1));
	require_node(&key, PG_ARGISNULL(2) ? NULL : PG_GETARG_TEXT_PP(2));
	what.key_id = key.key_id;
	what.has_principal = key.principal.number != 0;
	what.principal = key.principal;
	what.number = what.has_principal ? key.principal.number : -key.key_id;
	what.node = key.node;
	what.node_role = key.node ? login_role_of_node(key.node, snapshot) : InvalidOid;
	aurora_identity_assume(&what);
	aurora_gateway_limit_statements(PG_ARGISNULL(3) ? 0 : PG_GETARG_INT32(3));
	PG_RETURN_DATUM(row_of(fcinfo, &key, snapshot));
}

/*
 * new_api_key(): the text of a new key.
 */
Datum
aurora_new_api_key(PG_FUNCTION_ARGS)
{
	uint8 bytes[KEY_BYTES + 1] = {0}; /* one more, so that the text has no padding */
	char shown[sizeof(AURORA_KEY_PREFIX) + (KEY_BYTES + 1) / 3 * 4];
	char *key = shown + sizeof(AURORA_KEY_PREFIX) - 1;
	text *result;

	if (!pg_strong_random(bytes, KEY_BYTES))
		ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("no random key could be made")));
	memcpy(shown, AURORA_KEY_PREFIX, sizeof(AURORA_KEY_PREFIX) - 1);
	aurora_base64url_encode(bytes, sizeof(bytes), key);
	result = cstring_to_text_with_len(shown, AURORA_KEY_TEXT_SIZE);
	explicit_bzero(bytes, sizeof(bytes));
	explicit_bzero(shown, sizeof(shown));
	PG_RETURN_TEXT_P(result);
}

/*
 * The roles of keys as C knows them, for the test that compares them with the SQL enum.
 */
Datum
aurora_key_role_labels(PG_FUNCTION_ARGS)
{
	Datum labels[AURORA_KEY_ROLE_COUNT];

	for (int i = 0; i < AURORA_KEY_ROLE_COUNT; i++)
		labels[i] = CStringGetTextDatum(role_label[i]);
	PG_RETURN_ARRAYTYPE_P(
		construct_array(labels, AURORA_KEY_ROLE_COUNT, TEXTOID, -1, false, TYPALIGN_INT));
}
