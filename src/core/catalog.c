/*
 * Look-ups of the extension's own objects by name, and answers about the library itself.
 */
#include "core/core.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_enum.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(aurora_library_preloaded);

bool
aurora_extension_exists(void)
{
	return OidIsValid(get_extension_oid("aurora", true));
}

/* ---- a dump that is being restored ---- */

/*
 * The lock of this database that a session holds which restores a dump, until it ends.
 */
static LOCKTAG
restore_lock(void)
{
	LOCKTAG tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, 0x6175726f, 0x72657374, 2); /* "auro", "rest" */
	return tag;
}

/*
 * CREATE EXTENSION in a session whose triggers are off comes from a dump: its rows follow.
 */
void
aurora_restore_begin(void)
{
	LOCKTAG tag = restore_lock();

	if (SessionReplicationRole == SESSION_REPLICATION_ROLE_REPLICA)
		(void) LockAcquire(&tag, ExclusiveLock, true, true);
}

bool
aurora_restore_is_over(void)
{
	LOCKTAG tag = restore_lock();

	if (LockAcquire(&tag, ShareLock, false, true) == LOCKACQUIRE_NOT_AVAIL)
		return false;
	LockRelease(&tag, ShareLock, false);
	return true;
}

Oid
aurora_relation_oid(const char *name)
{
	Oid schema = get_namespace_oid(AURORA_SCHEMA, false);
	Oid relation = get_relname_relid(name, schema);

	if (!OidIsValid(relation))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE),
						errmsg("relation \"%s.%s\" does not exist", AURORA_SCHEMA, name),
						errhint("Run CREATE EXTENSION aurora in this database.")));
	return relation;
}

Oid
aurora_enum_oid(const char *type_name, const char *label)
{
	Oid schema = get_namespace_oid(AURORA_SCHEMA, false);
	Oid type = GetSysCacheOid2(TYPENAMENSP, Anum_pg_type_oid, PointerGetDatum(type_name),
							   ObjectIdGetDatum(schema));
	Oid value = GetSysCacheOid2(ENUMTYPOIDNAME, Anum_pg_enum_oid, ObjectIdGetDatum(type),
								CStringGetDatum(label));

	if (!OidIsValid(value))
		elog(ERROR, "enum %s.%s has no label \"%s\"", AURORA_SCHEMA, type_name, label);
	return value;
}

void
aurora_scan_open(AuroraScan *scan, const char *table, const char *index, Snapshot snapshot,
				 int nkeys, ScanKey keys)
{
	scan->table = table_open(aurora_relation_oid(table), AccessShareLock);
	Assert(RelationGetDescr(scan->table)->natts <= AURORA_SCAN_MAX_COLUMNS);
	scan->scan =
		systable_beginscan(scan->table, aurora_relation_oid(index), true, snapshot, nkeys, keys);
}

bool
aurora_scan_next(AuroraScan *scan)
{
	scan->tuple = systable_getnext(scan->scan);
	if (!HeapTupleIsValid(scan->tuple))
		return false;
	heap_deform_tuple(scan->tuple, RelationGetDescr(scan->table), scan->values, scan->nulls);
	return true;
}

void
aurora_scan_close(AuroraScan *scan)
{
	systable_endscan(scan->scan);
	table_close(scan->table, AccessShareLock);
}

Datum
aurora_library_preloaded(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(aurora_preloaded);
}
