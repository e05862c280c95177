/*
 * Rights to secrets: who is calling, as which node, and what it may do.
 */
#include "secrets/secrets.h"

#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/snapmgr.h"

/* Columns of aurora.node and aurora.secret_grant that are read here, in table order. */
enum
{
	NODE_NAME = 1,
	NODE_ROLE,
	NODE_ADDRESS,
	NODE_LOGIN_ROLE
};
enum
{
	GRANT_ID = 1,
	GRANT_COMPANY_ID,
	GRANT_GRANTEE,
	GRANT_SERVICE,
	GRANT_MAY,
	GRANT_ROLE_OID,
	GRANT_SYSTEM_IDENTIFIER
};

PG_FUNCTION_INFO_V1(aurora_may_secret);
PG_FUNCTION_INFO_V1(aurora_may_change_secret);
PG_FUNCTION_INFO_V1(aurora_may_export_secret);
PG_FUNCTION_INFO_V1(aurora_secret_matches_sql);
PG_FUNCTION_INFO_V1(aurora_secret_right_labels);

static const char *const right_label[] = {
#define RIGHT_LABEL(symbol, label) [symbol] = label,
	AURORA_SECRET_RIGHT_LIST(RIGHT_LABEL)
#undef RIGHT_LABEL
};

/*
 * The node that a role logs in for. An administrator is of this node, whatever else it is.
 */
static const char *
node_of_role(Oid role, Snapshot snapshot)
{
	Oid nodes = get_role_oid("aurora_node", true);
	const char *name = NULL;
	AuroraScan scan;
	ScanKeyData key;
	NameData login;

	if (!OidIsValid(role) || superuser_arg(role) || !OidIsValid(nodes) ||
		!has_privs_of_role(role, nodes))
		return aurora_node_name();
	namestrcpy(&login, GetUserNameFromId(role, false));
	ScanKeyInit(&key, NODE_LOGIN_ROLE, BTEqualStrategyNumber, F_NAMEEQ, NameGetDatum(&login));
	aurora_scan_open(&scan, "node", "node_login_role_key", snapshot, 1, &key);
	if (aurora_scan_next(&scan))
		name = TextDatumGetCString(scan.values[NODE_NAME - 1]);
	aurora_scan_close(&scan);
	return name ? name : aurora_node_name();
}

AuroraSecretCaller
aurora_secret_caller(Snapshot snapshot)
{
	AuroraSecretCaller caller;

	caller.who = aurora_caller_now();
	caller.identity = aurora_identity_get(snapshot);
	caller.node = caller.identity->node ? caller.identity->node
										: node_of_role(caller.identity->role, snapshot);
	return caller;
}

/*
 * A role that was dropped and made again under the same name has another oid, and no rights of the
 * first. In another cluster, where a dump was restored, only the name is left to go by.
 */
static bool
grant_is_of(const AuroraScan *scan, Oid role)
{
	Oid grantee = get_role_oid(NameStr(*DatumGetName(scan->values[GRANT_GRANTEE - 1])), true);

	if (!OidIsValid(grantee))
		return false;
	if ((uint64) DatumGetInt64(scan->values[GRANT_SYSTEM_IDENTIFIER - 1]) ==
			GetSystemIdentifier() &&
		DatumGetObjectId(scan->values[GRANT_ROLE_OID - 1]) != grantee)
		return false;
	return has_privs_of_role(role, grantee);
}

static bool
grant_covers(const AuroraScan *scan, Oid may, int32 company_id, const char *service)
{
	int32 of_company =
		scan->nulls[GRANT_COMPANY_ID - 1] ? 0 : DatumGetInt32(scan->values[GRANT_COMPANY_ID - 1]);

	return of_company == company_id &&
		   (!OidIsValid(may) || DatumGetObjectId(scan->values[GRANT_MAY - 1]) == may) &&
		   aurora_secret_matches(TextDatumGetCString(scan->values[GRANT_SERVICE - 1]), service);
}

/*
 * Is there a grant to the role, of one right, or of any when it is AURORA_SECRET_RIGHT_COUNT.
 */
static bool
is_granted(Oid role, AuroraSecretRight right, int32 company_id, const char *service,
		   Snapshot snapshot)
{
	bool granted = false;
	AuroraScan scan;
	Oid may = InvalidOid;

	if (right != AURORA_SECRET_RIGHT_COUNT)
		may = aurora_enum_oid("secret_right", right_label[right]);
	aurora_scan_open(&scan, "secret_grant", "secret_grant_pkey", snapshot, 0, NULL);
	while (!granted && aurora_scan_next(&scan))
		granted = grant_covers(&scan, may, company_id, service) && grant_is_of(&scan, role);
	aurora_scan_close(&scan);
	return granted;
}

bool
aurora_secret_may(const AuroraSecretCaller *caller, AuroraSecretRight right, int32 company_id,
				  const char *service, Snapshot snapshot)
{
	const AuroraIdentity *identity = caller->identity;

	if (identity->administers_all)
		return true;
	if (company_id != 0 && aurora_identity_manages(identity, company_id))
		return true;
	return OidIsValid(identity->role) &&
		   is_granted(identity->role, right, company_id, service, snapshot);
}

/*
 * may_secret(company_id, service): does the caller have any right to values of that service and
 * company, for row level security.
 */
Datum
aurora_may_secret(PG_FUNCTION_ARGS)
{
	Snapshot snapshot = GetActiveSnapshot();
	AuroraCallCache *cache = aurora_call_cache(fcinfo->flinfo);
	int32 company_id = PG_ARGISNULL(0) ? 0 : PG_GETARG_INT32(0);
	char *service = text_to_cstring(PG_GETARG_TEXT_PP(1));

	if (!cache->kept)
	{
		MemoryContext before = MemoryContextSwitchTo(cache->context);
		AuroraSecretCaller *caller = palloc(sizeof(AuroraSecretCaller));

		*caller = aurora_secret_caller(snapshot);
		cache->kept = caller;
		MemoryContextSwitchTo(before);
	}
	PG_RETURN_BOOL(
		aurora_secret_may(cache->kept, AURORA_SECRET_RIGHT_COUNT, company_id, service, snapshot));
}

/*
 * As it is now: a transaction that keeps an older snapshot does not keep rights that were taken.
 */
bool
aurora_secret_may_now(AuroraSecretRight right, int32 company_id, const char *service)
{
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	AuroraSecretCaller caller = aurora_secret_caller(snapshot);
	bool may = aurora_secret_may(&caller, right, company_id, service, snapshot);

	UnregisterSnapshot(snapshot);
	return may;
}

Datum
aurora_may_change_secret(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(aurora_secret_may_now(AURORA_SECRET_MAY_WRITE,
										 PG_ARGISNULL(0) ? 0 : PG_GETARG_INT32(0),
										 text_to_cstring(PG_GETARG_TEXT_PP(1))));
}

Datum
aurora_may_export_secret(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(
		aurora_secret_may_now(PG_GETARG_BOOL(2) ? AURORA_SECRET_MAY_EXPORT : AURORA_SECRET_MAY_READ,
							  PG_GETARG_INT32(0), text_to_cstring(PG_GETARG_TEXT_PP(1))));
}

Datum
aurora_secret_matches_sql(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(aurora_secret_matches(text_to_cstring(PG_GETARG_TEXT_PP(0)),
										 text_to_cstring(PG_GETARG_TEXT_PP(1))));
}

Datum
aurora_secret_right_labels(PG_FUNCTION_ARGS)
{
	Datum labels[AURORA_SECRET_RIGHT_COUNT];

	for (int i = 0; i < AURORA_SECRET_RIGHT_COUNT; i++)
		labels[i] = CStringGetTextDatum(right_label[i]);
	PG_RETURN_ARRAYTYPE_P(
		construct_array(labels, AURORA_SECRET_RIGHT_COUNT, TEXTOID, -1, false, TYPALIGN_INT));
}
