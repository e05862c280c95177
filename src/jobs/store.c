/*
 * Rows of aurora.job and of its archive, read and written without the planner: a plan that was made
 * while the table was empty would read all of it later. There are no triggers here, and what a
 * foreign key would check is checked by the callers.
 */
#include "jobs/jobs.h"

#include "access/genam.h"
#include "access/multixact.h"
#include "access/htup_details.h"
#include "access/nbtree.h"
#include "access/relscan.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#define SLOT_LOOKED_AT_US 5000000

/* ---- tables that are written ---- */

void
aurora_job_table_open(AuroraJobTable *table, const char *name)
{
	table->relation = table_open(aurora_relation_oid(name), RowExclusiveLock);
	table->state = CreateExecutorState();
	table->target = makeNode(ResultRelInfo);
	InitResultRelInfo(table->target, table->relation, 0, NULL, 0);
	ExecOpenIndices(table->target, false);
	table->slot = table_slot_create(table->relation, NULL);
}

void
aurora_job_table_close(AuroraJobTable *table)
{
	ExecDropSingleTupleTableSlot(table->slot);
	ExecCloseIndices(table->target);
	FreeExecutorState(table->state);
	table_close(table->relation, NoLock);
}

/*
 * The slot has the row's new version. What evaluating index predicates allocates is freed at once.
 */
static void
insert_index_entries(AuroraJobTable *table)
{
	if (table->target->ri_NumIndices == 0)
		return;
	(void) AURORA_INSERT_INDEX_ENTRIES(table->target, table->slot, table->state);
	ResetPerTupleExprContext(table->state);
}

/*
 * The slot is filled anew for each row: index entries are formed from the stored tuple, and leave
 * pointers into it behind.
 */
void
aurora_job_table_insert(AuroraJobTable *table, const Datum *values, const bool *nulls)
{
	int columns = RelationGetDescr(table->relation)->natts;

	memcpy(table->slot->tts_values, values, columns * sizeof(Datum));
	memcpy(table->slot->tts_isnull, nulls, columns * sizeof(bool));
	ExecStoreVirtualTuple(table->slot);
	table->slot->tts_tableOid = RelationGetRelid(table->relation);
	table_tuple_insert(table->relation, table->slot, GetCurrentCommandId(true), 0, NULL);
	insert_index_entries(table);
	ExecClearTuple(table->slot);
}

bool
aurora_job_find(AuroraJobTable *table, int64 job_id)
{
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	Relation index = index_open(aurora_relation_oid("job_pkey"), AccessShareLock);
	IndexScanDesc scan = index_beginscan(table->relation, index, snapshot, 1, 0);
	ScanKeyData key;
	bool found;

	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(job_id));
	index_rescan(scan, &key, 1, NULL, 0);
	found = index_getnext_slot(scan, ForwardScanDirection, table->slot);
	index_endscan(scan);
	index_close(index, NoLock);
	UnregisterSnapshot(snapshot);
	if (found)
		slot_getallattrs(table->slot);
	return found;
}

TM_Result
aurora_job_lock(AuroraJobTable *table, TupleTableSlot *seen, Snapshot snapshot)
{
	TM_FailureData failure;
	TM_Result result = table_tuple_lock(table->relation, &seen->tts_tid, snapshot, table->slot,
										GetCurrentCommandId(false), LockTupleNoKeyExclusive,
										LockWaitSkip, 0, &failure);

	if (result == TM_Ok)
		slot_getallattrs(table->slot);
	return result;
}

/*
 * Has this transaction locked the row before: itself, or several of its subtransactions together?
 */
static bool
is_locked_here(TupleTableSlot *seen)
{
	bool should_free;
	HeapTupleHeader header = ExecFetchSlotHeapTuple(seen, false, &should_free)->t_data;
	TransactionId locker = HeapTupleHeaderGetRawXmax(header);
	MultiXactMember *members;
	bool found = false;
	int count;

	if (header->t_infomask & HEAP_XMAX_INVALID || !HEAP_XMAX_IS_LOCKED_ONLY(header->t_infomask))
		return false;
	if (!(header->t_infomask & HEAP_XMAX_IS_MULTI))
		return TransactionIdIsCurrentTransactionId(locker);
	count = GetMultiXactIdMembers(locker, &members, false, true);
	for (int i = 0; i < count; i++)
		found |= members[i].status >= MultiXactStatusForNoKeyUpdate &&
				 TransactionIdIsCurrentTransactionId(members[i].xid);
	return found;
}

/*
 * Without waiting, the row counts as being modified even when only this transaction has locked it:
 * then it is written as if to wait, which it need not.
 */
TM_Result
aurora_job_replace(AuroraJobTable *table, TupleTableSlot *seen, const Datum *values,
				   const bool *nulls)
{
	ItemPointerData tid = seen->tts_tid;
	bool wait = is_locked_here(seen);
	HeapTuple tuple =
		heap_form_tuple(RelationGetDescr(table->relation), (Datum *) values, (bool *) nulls);
	AURORA_UPDATED_INDEXES updated;
	LockTupleMode mode;
	TM_FailureData failure;
	TM_Result result;

	ExecForceStoreHeapTuple(tuple, table->slot, true);
	table->slot->tts_tableOid = RelationGetRelid(table->relation);
	result = table_tuple_update(table->relation, &tid, table->slot, GetCurrentCommandId(true),
								InvalidSnapshot, InvalidSnapshot, wait, &failure, &mode, &updated);
	if (result == TM_Ok && AURORA_UPDATES_INDEXES(updated))
		insert_index_entries(table);
	return result;
}

TM_Result
aurora_job_delete(AuroraJobTable *table)
{
	TM_FailureData failure;

	return table_tuple_delete(table->relation, &table->slot->tts_tid, GetCurrentCommandId(true),
							  InvalidSnapshot, InvalidSnapshot, true, &failure, false);
}

/* ---- reading lanes ---- */

void
aurora_lane_scan_open(AuroraLaneScan *scan, AuroraJobTable *table, Oid class, Snapshot snapshot)
{
	ScanKeyData keys[3];

	scan->has_job = false;
	scan->taken = PG_INT64_MIN;
	scan->first_locked = PG_INT64_MAX;
	scan->scan = NULL;
	if (scan->read.mark == PG_INT64_MAX)
		return;
	ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(scan->queue_id));
	ScanKeyInit(&keys[1], 2, BTEqualStrategyNumber, F_ENUM_EQ, ObjectIdGetDatum(class));
	ScanKeyInit(&keys[2], 3, BTGreaterEqualStrategyNumber, F_INT8GE,
				Int64GetDatum(scan->read.mark));
	scan->index = index_open(aurora_relation_oid("job_waiting"), AccessShareLock);
	scan->scan = index_beginscan(table->relation, scan->index, snapshot, 3, 0);
	index_rescan(scan->scan, keys, 3, NULL, 0);
	scan->slot = table_slot_create(table->relation, NULL);
}

bool
aurora_lane_scan_next(AuroraLaneScan *scan)
{
	bool isnull;

	scan->has_job =
		scan->scan != NULL && index_getnext_slot(scan->scan, ForwardScanDirection, scan->slot);
	if (scan->has_job)
		scan->position = DatumGetInt64(slot_getattr(scan->slot, AURORA_JOB_POSITION + 1, &isnull));
	return scan->has_job;
}

void
aurora_lane_scan_close(AuroraLaneScan *scan)
{
	if (scan->scan == NULL)
		return;
	ExecDropSingleTupleTableSlot(scan->slot);
	index_endscan(scan->scan);
	index_close(scan->index, NoLock);
	scan->scan = NULL;
}

/* ---- the archive's ring ---- */

int32
aurora_job_archive_slot(void)
{
	static int64 looked_at_us = 0;
	static Oid looked_in = InvalidOid;
	static int32 slot = 0;
	Oid ring = aurora_relation_oid("job_archive_ring");

	if (looked_in != ring || looked_at_us + SLOT_LOOKED_AT_US < aurora_clock_us())
	{
		AuroraScan scan;
		TimestampTz latest = DT_NOBEGIN;

		slot = 0;
		aurora_scan_open(&scan, "job_archive_ring", "job_archive_ring_pkey", NULL, 0, NULL);
		while (aurora_scan_next(&scan))
			if (DatumGetTimestampTz(scan.values[1]) > latest)
			{
				latest = DatumGetTimestampTz(scan.values[1]);
				slot = DatumGetInt32(scan.values[0]);
			}
		aurora_scan_close(&scan);
		looked_in = ring;
		looked_at_us = aurora_clock_us();
	}
	return slot;
}
