/*
 * Identity: from the role that runs a statement to the principals it stands for.
 *
 * The role is the outer one (after SET ROLE, before SECURITY DEFINER). What a transaction assumes,
 * a principal, a node or a monitor, lives in this file's memory alone, until the transaction ends,
 * and cannot be changed within it.
 *
 * Who assumes has the rights of the principal or node and none of its own. Rights that are those of
 * a group of the database, aurora_admin and aurora_operator, do not come along, also when the login
 * role of the principal is a member: who administers all does so with a login of its own, and a key
 * or a session that gets lost gives at most a company away. Grants to the principal's login role,
 * such as those of secrets, do come along, unless that role is a superuser, whose rights would be
 * all there are.
 */
#include "tenancy/tenancy.h"

#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_enum.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "access/htup_details.h"

/* Columns of aurora.company and aurora.principal that are read here, in table order. */
enum
{
	COMPANY_ID = 1,
	COMPANY_NAME
};
enum
{
	PRINCIPAL_COMPANY_ID = 1,
	PRINCIPAL_OWNER,
	PRINCIPAL_LOGIN_ROLE,
	PRINCIPAL_TRUST,
	PRINCIPAL_NO
};

/* How many owners a hint names. */
#define OWNER_NAMES_MAX 20

static struct
{
	bool active;
	Oid role;	  /* that has assumed */
	uint64 count; /* of assumptions begun or ended in this session */
	SubTransactionId subxact;
	AuroraAssumption what; /* its texts are allocated in TopTransactionContext */
} assumed;

PG_FUNCTION_INFO_V1(aurora_assume);
PG_FUNCTION_INFO_V1(aurora_whoami);
PG_FUNCTION_INFO_V1(aurora_current_owner);
PG_FUNCTION_INFO_V1(aurora_current_company_id);
PG_FUNCTION_INFO_V1(aurora_may_see);
PG_FUNCTION_INFO_V1(aurora_may_manage);
PG_FUNCTION_INFO_V1(aurora_is_member);
PG_FUNCTION_INFO_V1(aurora_company_ids);
PG_FUNCTION_INFO_V1(aurora_administers_all);
PG_FUNCTION_INFO_V1(aurora_caller);
PG_FUNCTION_INFO_V1(aurora_caller_has);
PG_FUNCTION_INFO_V1(aurora_is_assuming);
PG_FUNCTION_INFO_V1(aurora_assumed_node_sql);
PG_FUNCTION_INFO_V1(aurora_assumed_key);
PG_FUNCTION_INFO_V1(aurora_trust_labels);

static const char *const trust_label[] = {
#define TRUST_LABEL(symbol, label) [symbol] = label,
	AURORA_TRUST_LIST(TRUST_LABEL)
#undef TRUST_LABEL
};

static AuroraTrust
trust_from_enum(Oid value)
{
	HeapTuple tuple = SearchSysCache1(ENUMOID, ObjectIdGetDatum(value));
	AuroraTrust trust;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "trust level %u does not exist", value);
	for (trust = 0; trust < AURORA_TRUST_COUNT; trust++)
		if (strcmp(trust_label[trust], NameStr(((Form_pg_enum) GETSTRUCT(tuple))->enumlabel)) == 0)
			break;
	ReleaseSysCache(tuple);
	if (trust == AURORA_TRUST_COUNT)
		elog(ERROR, "trust level %u is unknown", value);
	return trust;
}

static bool
role_has(Oid role, const char *group)
{
	Oid group_oid = get_role_oid(group, true);

	return OidIsValid(group_oid) && has_privs_of_role(role, group_oid);
}

/*
 * The role that is calling: the outer one inside functions that a superuser owns, such as this
 * extension's; the owner's inside anybody else's SECURITY DEFINER function, which so gains nothing
 * from who calls it. In maintenance (ANALYZE, index builds, materialized views) code of a table's
 * owner runs under a superuser's session: there nobody is calling.
 */
static Oid
calling_role(void)
{
	Oid inner = GetUserId();
	Oid outer = GetOuterUserId();

	if (InSecurityRestrictedOperation())
		return InvalidOid;
	return inner == outer || superuser_arg(inner) ? outer : inner;
}

/* ---- what is assumed ---- */

static void
forget_assumption(void)
{
	assumed.active = false;
	assumed.count++;
}

static void
forget_at_transaction_end(XactEvent event, void *arg)
{
	if (assumed.active)
		forget_assumption();
}

static void
forget_at_subtransaction_abort(SubXactEvent event, SubTransactionId my_subid,
							   SubTransactionId parent_subid, void *arg)
{
	if (!assumed.active || assumed.subxact != my_subid)
		return;
	if (event == SUBXACT_EVENT_ABORT_SUB)
		forget_assumption();
	else if (event == SUBXACT_EVENT_COMMIT_SUB)
		assumed.subxact = parent_subid;
}

void
aurora_tenancy_init(void)
{
	RegisterXactCallback(forget_at_transaction_end, NULL);
	RegisterSubXactCallback(forget_at_subtransaction_abort, NULL);
}

bool
aurora_company_find(text *name, Snapshot snapshot, int32 *company_id)
{
	AuroraScan scan;
	ScanKeyData key;
	bool found;

	ScanKeyInit(&key, COMPANY_NAME, BTEqualStrategyNumber, F_TEXTEQ, PointerGetDatum(name));
	aurora_scan_open(&scan, "company", "company_name_key", snapshot, 1, &key);
	found = aurora_scan_next(&scan);
	if (found)
		*company_id = DatumGetInt32(scan.values[COMPANY_ID - 1]);
	aurora_scan_close(&scan);
	return found;
}

char *
aurora_company_name(int32 company_id, Snapshot snapshot)
{
	AuroraScan scan;
	ScanKeyData key;
	char *name = NULL;

	ScanKeyInit(&key, COMPANY_ID, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(company_id));
	aurora_scan_open(&scan, "company", "company_pkey", snapshot, 1, &key);
	if (aurora_scan_next(&scan))
		name = TextDatumGetCString(scan.values[COMPANY_NAME - 1]);
	aurora_scan_close(&scan);
	return name;
}

static void
read_principal(const AuroraScan *scan, AuroraPrincipal *principal)
{
	principal->company_id = DatumGetInt32(scan->values[PRINCIPAL_COMPANY_ID - 1]);
	principal->number = DatumGetInt32(scan->values[PRINCIPAL_NO - 1]);
	principal->owner = TextDatumGetCString(scan->values[PRINCIPAL_OWNER - 1]);
	principal->trust = trust_from_enum(DatumGetObjectId(scan->values[PRINCIPAL_TRUST - 1]));
	principal->login_role =
		scan->nulls[PRINCIPAL_LOGIN_ROLE - 1]
			? InvalidOid
			: get_role_oid(NameStr(*DatumGetName(scan->values[PRINCIPAL_LOGIN_ROLE - 1])), true);
}

bool
aurora_principal_find(int32 company_id, text *owner, Snapshot snapshot, AuroraPrincipal *principal)
{
	AuroraScan scan;
	ScanKeyData key[2];
	bool found;

	ScanKeyInit(&key[0], PRINCIPAL_COMPANY_ID, BTEqualStrategyNumber, F_INT4EQ,
				Int32GetDatum(company_id));
	ScanKeyInit(&key[1], PRINCIPAL_OWNER, BTEqualStrategyNumber, F_TEXTEQ, PointerGetDatum(owner));
	aurora_scan_open(&scan, "principal", "principal_pkey", snapshot, 2, key);
	found = aurora_scan_next(&scan);
	if (found)
		read_principal(&scan, principal);
	aurora_scan_close(&scan);
	return found;
}

bool
aurora_principal_find_by_number(int32 number, Snapshot snapshot, AuroraPrincipal *principal)
{
	AuroraScan scan;
	ScanKeyData key;
	bool found;

	ScanKeyInit(&key, PRINCIPAL_NO, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(number));
	aurora_scan_open(&scan, "principal", "principal_principal_no_key", snapshot, 1, &key);
	found = aurora_scan_next(&scan);
	if (found)
		read_principal(&scan, principal);
	aurora_scan_close(&scan);
	return found;
}

void
aurora_identity_require_gateway(void)
{
	Oid role = calling_role();

	if (!OidIsValid(role) || !role_has(role, "aurora_gateway"))
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("permission denied to assume a principal"),
						errhint("Only members of aurora_gateway may assume a principal.")));
}

/*
 * What is assumed already may be assumed once more by its name: then the key stays, by which it
 * was.
 */
static bool
is_the_assumed(const AuroraAssumption *what)
{
	return what->number == assumed.what.number &&
		   (what->key_id == 0 || what->key_id == assumed.what.key_id);
}

void
aurora_identity_assume(const AuroraAssumption *what)
{
	int32 key_id = assumed.active ? assumed.what.key_id : what->key_id;
	MemoryContext old;

	aurora_identity_require_gateway();
	if (assumed.active && !is_the_assumed(what))
		ereport(ERROR, (errcode(ERRCODE_INVALID_TRANSACTION_STATE),
						errmsg("this transaction has already assumed another principal"),
						errhint("Assume once at the start of each transaction.")));
	if (!assumed.active)
		assumed.subxact = GetCurrentSubTransactionId();
	old = MemoryContextSwitchTo(TopTransactionContext);
	assumed.role = calling_role();
	assumed.what = *what;
	assumed.what.key_id = key_id;
	if (what->has_principal)
		assumed.what.principal.owner = pstrdup(what->principal.owner);
	if (what->node)
		assumed.what.node = pstrdup(what->node);
	MemoryContextSwitchTo(old);
	assumed.active = true;
	assumed.count++;
}

/*
 * assume(company, owner): the caller stands for this principal until the transaction ends.
 */
Datum
aurora_assume(PG_FUNCTION_ARGS)
{
	text *company = PG_GETARG_TEXT_PP(0);
	text *owner = PG_GETARG_TEXT_PP(1);
	Snapshot snapshot = GetActiveSnapshot();
	AuroraAssumption what = {.has_principal = true};
	int32 company_id;

	aurora_identity_require_gateway();
	if (!aurora_company_find(company, snapshot, &company_id) ||
		!aurora_principal_find(company_id, owner, snapshot, &what.principal))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("there is no principal \"%s\" in company \"%s\"",
							   text_to_cstring(owner), text_to_cstring(company)),
						errhint("An administrator adds one with aurora.add_principal().")));
	what.number = what.principal.number;
	aurora_identity_assume(&what);
	PG_RETURN_VOID();
}

/* ---- resolving the caller ---- */

/*
 * The principals that a scan of aurora.principal gives.
 */
static List *
read_principals(const char *index, Snapshot snapshot, ScanKey key)
{
	List *principals = NIL;
	AuroraScan scan;

	aurora_scan_open(&scan, "principal", index, snapshot, 1, key);
	while (aurora_scan_next(&scan))
	{
		AuroraPrincipal *principal = palloc(sizeof(AuroraPrincipal));

		read_principal(&scan, principal);
		principals = lappend(principals, principal);
	}
	aurora_scan_close(&scan);
	return principals;
}

static List *
principals_of_role(Oid role, Snapshot snapshot)
{
	ScanKeyData key;
	NameData name;

	namestrcpy(&name, GetUserNameFromId(role, false));
	ScanKeyInit(&key, PRINCIPAL_LOGIN_ROLE, BTEqualStrategyNumber, F_NAMEEQ, NameGetDatum(&name));
	return read_principals("principal_login", snapshot, &key);
}

AuroraCaller
aurora_caller_now(void)
{
	Oid role = calling_role();

	if (!OidIsValid(role) || !assumed.active)
		return (AuroraCaller) {.role = role, .session = GetSessionUserId()};
	if (role != assumed.role)
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("the role has changed since this transaction assumed a principal"),
						errhint("Assume a principal and stay with the role that did.")));
	return (AuroraCaller) {
		.role = role, .session = GetSessionUserId(), .principal = assumed.what.number};
}

const char *
aurora_assumed_node(void)
{
	return aurora_caller_now().principal != 0 ? assumed.what.node : NULL;
}

/*
 * The role whose grants count for who is assumed.
 */
static Oid
assumed_role(void)
{
	Oid role =
		assumed.what.has_principal ? assumed.what.principal.login_role : assumed.what.node_role;

	return OidIsValid(role) && !superuser_arg(role) ? role : InvalidOid;
}

static AuroraIdentity *
assumed_identity(AuroraIdentity *identity)
{
	const AuroraPrincipal *principal = &assumed.what.principal;
	AuroraPrincipal *copy;

	identity->assumed = true;
	identity->role = assumed_role();
	identity->node = assumed.what.node ? pstrdup(assumed.what.node) : NULL;
	if (!assumed.what.has_principal)
		return identity;
	copy = palloc(sizeof(AuroraPrincipal));
	*copy = *principal;
	copy->owner = pstrdup(principal->owner);
	identity->principals = list_make1(copy);
	return identity;
}

AuroraIdentity *
aurora_identity_get(Snapshot snapshot)
{
	AuroraIdentity *identity = palloc0(sizeof(AuroraIdentity));
	Oid role = aurora_caller_now().role;

	if (!OidIsValid(role))
		return identity;

	if (assumed.active)
		return assumed_identity(identity);
	identity->role = role;
	identity->administers_all = superuser_arg(role) || role_has(role, "aurora_admin");
	identity->principals = principals_of_role(role, snapshot);
	return identity;
}

bool
aurora_identity_is_vouched(void)
{
	return !InSecurityRestrictedOperation() && GetUserId() != GetOuterUserId() &&
		   superuser_arg(GetUserId());
}

AuroraPrincipal *
aurora_identity_in(const AuroraIdentity *identity, int32 company_id)
{
	ListCell *cell;

	foreach (cell, identity->principals)
	{
		AuroraPrincipal *principal = lfirst(cell);

		if (principal->company_id == company_id)
			return principal;
	}
	return NULL;
}

bool
aurora_identity_sees(const AuroraIdentity *identity, int32 company_id, const char *owner)
{
	const AuroraPrincipal *principal;

	if (identity->administers_all)
		return true;
	principal = aurora_identity_in(identity, company_id);
	return principal &&
		   (principal->trust >= AURORA_TRUST_MANAGER || strcmp(principal->owner, owner) == 0);
}

bool
aurora_identity_manages(const AuroraIdentity *identity, int32 company_id)
{
	const AuroraPrincipal *principal;

	if (identity->administers_all)
		return true;
	principal = aurora_identity_in(identity, company_id);
	return principal && principal->trust >= AURORA_TRUST_ADMIN;
}

List *
aurora_identity_companies(const AuroraIdentity *identity, Snapshot snapshot)
{
	List *ids = NIL;
	AuroraScan scan;

	if (!identity->administers_all)
	{
		ListCell *cell;

		foreach (cell, identity->principals)
			ids = lappend_int(ids, ((AuroraPrincipal *) lfirst(cell))->company_id);
		return ids;
	}
	aurora_scan_open(&scan, "company", "company_pkey", snapshot, 0, NULL);
	while (aurora_scan_next(&scan))
		ids = lappend_int(ids, DatumGetInt32(scan.values[COMPANY_ID - 1]));
	aurora_scan_close(&scan);
	list_sort(ids, list_int_cmp);
	return ids;
}

/* ---- owners ---- */

List *
aurora_company_principals(int32 company_id, Snapshot snapshot)
{
	ScanKeyData key;

	ScanKeyInit(&key, PRINCIPAL_COMPANY_ID, BTEqualStrategyNumber, F_INT4EQ,
				Int32GetDatum(company_id));
	return read_principals("principal_pkey", snapshot, &key);
}

char *
aurora_identity_owner_names(const AuroraIdentity *identity, Snapshot snapshot)
{
	StringInfoData names;
	int count = 0;
	ListCell *company;
	ListCell *lc;

	initStringInfo(&names);
	foreach (company, aurora_identity_companies(identity, snapshot))
	{
		int32 company_id = lfirst_int(company);
		AuroraPrincipal *self = aurora_identity_in(identity, company_id);

		if (!identity->administers_all && self->trust < AURORA_TRUST_MANAGER)
			continue;
		foreach (lc, aurora_company_principals(company_id, snapshot))
			if (count++ < OWNER_NAMES_MAX)
				appendStringInfo(&names, "%s\"%s\"", names.len ? ", " : "",
								 ((AuroraPrincipal *) lfirst(lc))->owner);
	}
	if (count > OWNER_NAMES_MAX)
		appendStringInfo(&names, " and %d more", count - OWNER_NAMES_MAX);
	return count ? names.data : NULL;
}

/* ---- SQL ---- */

static AuroraStamp
current_stamp(void)
{
	Snapshot snapshot = GetActiveSnapshot();
	AuroraStamp stamp;

	memset(&stamp, 0, sizeof(stamp)); /* compared byte by byte */
	stamp.role = calling_role();
	stamp.assumption = assumed.count;
	stamp.transaction = AURORA_LOCAL_TRANSACTION_ID;
	stamp.xmin = snapshot->xmin;
	stamp.xmax = snapshot->xmax;
	stamp.running = snapshot->xcnt;
	stamp.subrunning = snapshot->subxcnt;
	stamp.command = snapshot->curcid;
	return stamp;
}

AuroraCallCache *
aurora_call_cache(FmgrInfo *function)
{
	AuroraCallCache *cache = function->fn_extra;
	AuroraStamp stamp = current_stamp();

	if (!cache)
	{
		cache = MemoryContextAllocZero(function->fn_mcxt, sizeof(AuroraCallCache));
		cache->context =
			AllocSetContextCreate(function->fn_mcxt, "aurora call", ALLOCSET_SMALL_SIZES);
		function->fn_extra = cache;
	}
	if (memcmp(&cache->stamp, &stamp, sizeof(stamp)) != 0)
	{
		MemoryContextReset(cache->context);
		cache->kept = NULL;
		cache->stamp = stamp;
	}
	return cache;
}

/*
 * The identity for a function that a policy calls once per row.
 */
static AuroraIdentity *
identity_of_call(FunctionCallInfo fcinfo)
{
	AuroraCallCache *cache = aurora_call_cache(fcinfo->flinfo);

	if (!cache->kept)
	{
		MemoryContext old = MemoryContextSwitchTo(cache->context);

		cache->kept = aurora_identity_get(GetActiveSnapshot());
		MemoryContextSwitchTo(old);
	}
	return cache->kept;
}

Datum
aurora_may_see(PG_FUNCTION_ARGS)
{
	AuroraIdentity *identity = identity_of_call(fcinfo);
	char *owner = text_to_cstring(PG_GETARG_TEXT_PP(1));
	bool may = aurora_identity_sees(identity, PG_GETARG_INT32(0), owner);

	pfree(owner);
	PG_RETURN_BOOL(may);
}

Datum
aurora_may_manage(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(aurora_identity_manages(identity_of_call(fcinfo), PG_GETARG_INT32(0)));
}

Datum
aurora_is_member(PG_FUNCTION_ARGS)
{
	AuroraIdentity *identity = identity_of_call(fcinfo);

	PG_RETURN_BOOL(identity->administers_all || aurora_identity_in(identity, PG_GETARG_INT32(0)));
}

Datum
aurora_company_ids(PG_FUNCTION_ARGS)
{
	Snapshot snapshot = GetActiveSnapshot();
	List *ids = aurora_identity_companies(aurora_identity_get(snapshot), snapshot);
	Datum *values = palloc(sizeof(Datum) * Max(list_length(ids), 1));
	int count = 0;
	ListCell *lc;

	foreach (lc, ids)
		values[count++] = Int32GetDatum(lfirst_int(lc));
	PG_RETURN_ARRAYTYPE_P(
		construct_array(values, count, INT4OID, sizeof(int32), true, TYPALIGN_INT));
}

Datum
aurora_caller(PG_FUNCTION_ARGS)
{
	Name name = palloc0(NAMEDATALEN);

	namestrcpy(name, GetUserNameFromId(GetOuterUserId(), false));
	PG_RETURN_NAME(name);
}

/*
 * caller_has(group_role): unlike pg_has_role() of aurora.caller() it gives nothing to code that
 * runs in maintenance, such as ANALYZE by autovacuum, nor to who has assumed somebody.
 */
Datum
aurora_caller_has(PG_FUNCTION_ARGS)
{
	AuroraCaller caller = aurora_caller_now();

	PG_RETURN_BOOL(OidIsValid(caller.role) && caller.principal == 0 &&
				   role_has(caller.role, text_to_cstring(PG_GETARG_TEXT_PP(0))));
}

Datum
aurora_is_assuming(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(aurora_caller_now().principal != 0);
}

Datum
aurora_assumed_node_sql(PG_FUNCTION_ARGS)
{
	const char *node = aurora_assumed_node();

	if (node == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(node));
}

Datum
aurora_assumed_key(PG_FUNCTION_ARGS)
{
	if (aurora_caller_now().principal == 0 || assumed.what.key_id == 0)
		PG_RETURN_NULL();
	PG_RETURN_INT64(assumed.what.key_id);
}

Datum
aurora_administers_all(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(aurora_identity_get(GetActiveSnapshot())->administers_all);
}

Datum
aurora_current_owner(PG_FUNCTION_ARGS)
{
	AuroraIdentity *identity = aurora_identity_get(GetActiveSnapshot());

	if (identity->principals == NIL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(((AuroraPrincipal *) linitial(identity->principals))->owner));
}

Datum
aurora_current_company_id(PG_FUNCTION_ARGS)
{
	AuroraIdentity *identity = aurora_identity_get(GetActiveSnapshot());

	if (identity->principals == NIL)
		PG_RETURN_NULL();
	PG_RETURN_INT32(((AuroraPrincipal *) linitial(identity->principals))->company_id);
}

/*
 * whoami(): the caller's principals, a row each.
 */
Datum
aurora_whoami(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	AuroraIdentity *identity;
	ListCell *cell;

	InitMaterializedSRF(fcinfo, 0);
	identity = aurora_identity_get(GetActiveSnapshot());
	foreach (cell, identity->principals)
	{
		AuroraPrincipal *principal = lfirst(cell);
		Datum values[4] = {
			Int32GetDatum(principal->company_id), CStringGetTextDatum(principal->owner),
			CStringGetTextDatum(trust_label[principal->trust]), BoolGetDatum(identity->assumed)};
		bool nulls[4] = {false};

		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/*
 * The trust levels as C knows them, for the test that compares them with the SQL enum.
 */
Datum
aurora_trust_labels(PG_FUNCTION_ARGS)
{
	Datum labels[AURORA_TRUST_COUNT];

	for (int i = 0; i < AURORA_TRUST_COUNT; i++)
		labels[i] = CStringGetTextDatum(trust_label[i]);
	PG_RETURN_ARRAYTYPE_P(
		construct_array(labels, AURORA_TRUST_COUNT, TEXTOID, -1, false, TYPALIGN_INT));
}
