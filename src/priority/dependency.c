/*
 * Dependencies: which item waits for which.
 */
#include "priority/priority.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/snapmgr.h"

/* Columns of aurora.item_dependency. */
enum
{
	DEPENDENCY_COMPANY_ID = 1,
	DEPENDENCY_ITEM_ID,
	DEPENDENCY_BLOCKER_ID
};
PG_FUNCTION_INFO_V1(aurora_waits_for);

static List *
blockers_of(int32 company_id, int64 item_id, Snapshot snapshot)
{
	List *blockers = NIL;
	AuroraScan scan;
	ScanKeyData keys[2];

	ScanKeyInit(&keys[0], DEPENDENCY_COMPANY_ID, BTEqualStrategyNumber, F_INT4EQ,
				Int32GetDatum(company_id));
	ScanKeyInit(&keys[1], DEPENDENCY_ITEM_ID, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(item_id));
	aurora_scan_open(&scan, "item_dependency", "item_dependency_pkey", snapshot, 2, keys);
	while (aurora_scan_next(&scan))
	{
		int64 *blocker = palloc(sizeof(int64));

		*blocker = DatumGetInt64(scan.values[DEPENDENCY_BLOCKER_ID - 1]);
		blockers = lappend(blockers, blocker);
	}
	aurora_scan_close(&scan);
	return blockers;
}

/*
 * waits_for(company_id, item_id, other_id): does the item wait for the other, itself or through
 * others. Sees what is committed by now, also in a transaction with an older snapshot; the caller
 * holds the lock under which dependencies are added.
 */
Datum
aurora_waits_for(PG_FUNCTION_ARGS)
{
	int32 company_id = PG_GETARG_INT32(0);
	int64 other = PG_GETARG_INT64(2);
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	HASHCTL control = {.keysize = sizeof(int64), .entrysize = sizeof(int64)};
	HTAB *visited;
	List *pending = NIL;
	bool found = false;
	int64 *item = palloc(sizeof(int64));

	control.hcxt = CurrentMemoryContext;
	visited =
		hash_create("aurora blockers visited", 64, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	*item = PG_GETARG_INT64(1);
	pending = list_make1(item);
	while (pending != NIL && !found)
	{
		bool seen;

		CHECK_FOR_INTERRUPTS();
		item = llast(pending);
		pending = list_delete_last(pending);
		found = *item == other;
		hash_search(visited, item, HASH_ENTER, &seen);
		if (!found && !seen)
			pending = list_concat(pending, blockers_of(company_id, *item, snapshot));
	}
	UnregisterSnapshot(snapshot);
	PG_RETURN_BOOL(found);
}
