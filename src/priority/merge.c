/*
 * The merge: the first rows of the surface without looking at all items.
 *
 * Within a cell the order is by (act_by, item_id) for any policy, so the head of a cell bounds all
 * of its rows. The search is best first over three sorts of node, each with the best key that
 * anything below it can have: a group of cells before and after its earliest deadline is read, a
 * cell before its head is read, and a cell's next row. When a row is on top, nothing unread can
 * come before it: it is the next row of the surface. So the answer is exact, and only nodes that
 * could matter are read.
 *
 * Snoozed items whose time has come lie outside the cells' index and join as single rows.
 */
#include "priority/priority.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/visibilitymap.h"
#include "common/hashfn.h"
#include "common/int.h"
#include "executor/tuptable.h"
#include "lib/binaryheap.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/rel.h"

/* A cell is read by one row at first, then by runs that grow up to this many. */
#define RUN_MAX 64
#define RUN_GROWTH 4

#define OPEN_KEYS 3

/* Position of the cell in the index of aurora.item_cell. */
#define CELL_CELL 2

typedef enum NodeSort
{
	NODE_GROUP,
	NODE_CELL
} NodeSort;

typedef struct MergeNode
{
	NodeSort sort;
	AuroraKey bound;
} MergeNode;

typedef struct MergeCell
{
	MergeNode node;
	AuroraScope *scope;
	int32 cell;
	AuroraFeatures features;
	int64 static_points;
	AuroraRow *rows; /* read ahead, in order */
	int row_count;
	int next_row;
	int next_run;  /* rows to read next time */
	bool started;  /* something was read */
	bool finished; /* no rows beyond those read ahead */
	TimestampTz last_act_by;
	int64 last_item_id;
} MergeCell;

typedef struct MergeGroup
{
	MergeNode node;
	int32 group;
	MergeCell *cells;
	int cell_count;
	bool probed;
} MergeGroup;

typedef struct Merge
{
	const AuroraMergeRequest *request;
	Snapshot snapshot;
	Relation item;
	Relation open_index;
	Relation group_index;
	IndexScanDesc open_scan;
	IndexScanDesc group_scan;
	TupleTableSlot *slot;
	MergeCell *cells;
	int cell_count;
	MergeGroup *groups;
	int group_count;
	binaryheap *queue;
	HTAB *seen_groups; /* of SeenGroup; made when first needed */
} Merge;

/* A group that has given its row. */
typedef struct SeenGroup
{
	int32 company_id;
	char *group_key;
} SeenGroup;

/* ---- keys ---- */

static int
compare_keys(const AuroraKey *a, const AuroraKey *b)
{
	if (a->lane != b->lane)
		return a->lane < b->lane ? -1 : 1;
	if (a->score != b->score)
		return a->score > b->score ? -1 : 1;
	if (a->act_by != b->act_by)
		return a->act_by < b->act_by ? -1 : 1;
	if (a->item_id != b->item_id)
		return a->item_id < b->item_id ? -1 : 1;
	if (a->company_id != b->company_id)
		return a->company_id < b->company_id ? -1 : 1;
	return 0;
}

/*
 * For the queue, whose first is the greatest: the better bound is greater.
 */
static int
compare_nodes(Datum a, Datum b, void *arg)
{
	return -compare_keys(&((MergeNode *) DatumGetPointer(a))->bound,
						 &((MergeNode *) DatumGetPointer(b))->bound);
}

static AuroraKey
key_at(const Merge *merge, const MergeCell *cell, TimestampTz act_by, int64 item_id)
{
	const AuroraPolicy *policy = cell->scope->policy;
	int64 slack = aurora_slack(act_by, merge->request->at);
	AuroraKey key;

	key.lane = aurora_lane(policy, &cell->features, slack);
	key.score =
		cell->static_points + aurora_points(policy, &cell->features, AURORA_FEATURE_URGENCY, slack);
	key.act_by = act_by;
	key.company_id = cell->scope->company_id;
	key.item_id = item_id;
	return key;
}

/* ---- the asked quadrant, as limits on cells and on act_by ---- */

static bool
quadrant_is_important(int quadrant)
{
	return quadrant == AURORA_Q1 || quadrant == AURORA_Q2;
}

static bool
quadrant_is_urgent(int quadrant)
{
	return quadrant == AURORA_Q1 || quadrant == AURORA_Q3;
}

static bool
cell_can_match(const Merge *merge, const MergeCell *cell)
{
	int quadrant = merge->request->quadrant;

	return quadrant < 0 || quadrant_is_important(quadrant) ==
							   aurora_important(cell->scope->policy, &cell->features);
}

static TimestampTz
end_of_urgent(const Merge *merge, const MergeCell *cell)
{
	int64 half_life = cell->scope->policy->company->kinds[cell->features.kind].half_life;
	TimestampTz end;

	return pg_add_s64_overflow(merge->request->at, half_life, &end) ? DT_NOEND - 1 : end;
}

static TimestampTz
first_act_by(const Merge *merge, const MergeCell *cell)
{
	int quadrant = merge->request->quadrant;

	if (quadrant < 0 || quadrant_is_urgent(quadrant))
		return DT_NOBEGIN;
	return end_of_urgent(merge, cell) + 1;
}

static TimestampTz
last_act_by(const Merge *merge, const MergeCell *cell)
{
	int quadrant = merge->request->quadrant;

	if (quadrant < 0 || !quadrant_is_urgent(quadrant))
		return DT_NOEND;
	return end_of_urgent(merge, cell);
}

/* ---- reading ---- */

static void
set_scope_key(const AuroraScope *scope, ScanKey keys)
{
	ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(scope->number));
}

static void
set_open_keys(const MergeCell *cell, int32 cell_or_group, TimestampTz from, ScanKey keys)
{
	set_scope_key(cell->scope, keys);
	ScanKeyInit(&keys[1], 2, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(cell_or_group));
	ScanKeyInit(&keys[2], 3, BTGreaterEqualStrategyNumber, F_TIMESTAMPTZ_GE,
				TimestampTzGetDatum(from));
}

static void
append_row(Merge *merge, MergeCell *cell, TimestampTz act_by, int64 item_id)
{
	AuroraRow *row = &cell->rows[cell->row_count++];

	row->key = key_at(merge, cell, act_by, item_id);
	row->scope = cell->scope;
	row->features = cell->features;
	row->tuple = ExecCopySlotHeapTuple(merge->slot);
	cell->last_act_by = act_by;
	cell->last_item_id = item_id;
}

/*
 * Reads the cell's next run of rows. A run begins again at the last deadline read and passes over
 * the rows that were read before; since runs grow, that costs little.
 */
static void
read_run(Merge *merge, MergeCell *cell)
{
	ScanKeyData keys[OPEN_KEYS];
	bool again = cell->started;
	TimestampTz last = last_act_by(merge, cell);
	int run = cell->next_run;

	cell->started = true;
	cell->next_run = Min(run * RUN_GROWTH, RUN_MAX);
	cell->rows = palloc(sizeof(AuroraRow) * run);
	cell->row_count = cell->next_row = 0;
	set_open_keys(cell, cell->cell, again ? cell->last_act_by : first_act_by(merge, cell), keys);
	index_rescan(merge->open_scan, keys, OPEN_KEYS, NULL, 0);
	while (cell->row_count < run)
	{
		bool isnull;
		TimestampTz act_by;
		int64 item_id;

		CHECK_FOR_INTERRUPTS();
		if (!index_getnext_slot(merge->open_scan, ForwardScanDirection, merge->slot))
		{
			cell->finished = true;
			break;
		}
		act_by = DatumGetTimestampTz(slot_getattr(merge->slot, ITEM_ACT_BY, &isnull));
		item_id = DatumGetInt64(slot_getattr(merge->slot, ITEM_ITEM_ID, &isnull));
		if (again && act_by == cell->last_act_by && item_id <= cell->last_item_id)
			continue;
		if (act_by > last)
		{
			cell->finished = true;
			break;
		}
		append_row(merge, cell, act_by, item_id);
	}
	/* A cell of a crowded group key has one row to give: all others are of the same group. */
	if (cell->features.slot > 0)
		cell->finished = true;
}

/*
 * The earliest deadline in a group of cells, at or after the limit that the quadrant sets; false
 * when the group is empty.
 */
static bool
read_group_head(Merge *merge, const MergeGroup *group, TimestampTz *act_by)
{
	const MergeCell *any = &group->cells[0];
	ScanKeyData keys[OPEN_KEYS];
	bool isnull;

	set_open_keys(any, group->group, first_act_by(merge, any), keys);
	index_rescan(merge->group_scan, keys, OPEN_KEYS, NULL, 0);
	if (!index_getnext_slot(merge->group_scan, ForwardScanDirection, merge->slot))
		return false;
	*act_by = DatumGetTimestampTz(slot_getattr(merge->slot, ITEM_ACT_BY, &isnull));
	return true;
}

/* ---- setting up ---- */

static MergeCell *
add_cell(Merge *merge, int *capacity, AuroraScope *scope, int32 number)
{
	MergeCell *cell;

	if (merge->cell_count == *capacity)
	{
		*capacity *= 2;
		merge->cells = repalloc_huge(merge->cells, sizeof(MergeCell) * *capacity);
	}
	cell = &merge->cells[merge->cell_count];
	memset(cell, 0, sizeof(MergeCell));
	cell->node.sort = NODE_CELL;
	cell->scope = scope;
	cell->cell = number;
	cell->next_run = 1;
	aurora_cell_unpack(number, &cell->features);
	if (!cell_can_match(merge, cell))
		return NULL;
	cell->static_points = aurora_static_points(scope->policy, &cell->features);
	merge->cell_count++;
	return cell;
}

/*
 * Adds the occupied cells of one scope from the registry's index. The table itself is visited only
 * where the visibility map does not vouch for the page.
 */
static void
load_cells_of_scope(Merge *merge, IndexScanDesc scan, TupleTableSlot *slot, Buffer *vm_buffer,
					int *capacity, AuroraScope *scope)
{
	ScanKeyData keys[1];
	ItemPointer tid;
	int32 previous = -1;

	set_scope_key(scope, keys);
	index_rescan(scan, keys, 1, NULL, 0);
	while ((tid = index_getnext_tid(scan, ForwardScanDirection)) != NULL)
	{
		bool isnull;
		int32 number;

		if (!VM_ALL_VISIBLE(scan->heapRelation, ItemPointerGetBlockNumber(tid), vm_buffer) &&
			!index_fetch_heap(scan, slot))
			continue;
		number = DatumGetInt32(index_getattr(scan->xs_itup, CELL_CELL, scan->xs_itupdesc, &isnull));
		if (number != previous)
			add_cell(merge, capacity, scope, number);
		previous = number;
	}
}

/*
 * The occupied cells of all scopes, in the order of the scopes and of the cells.
 */
static void
load_cells(Merge *merge)
{
	Relation registry = table_open(aurora_relation_oid("item_cell"), AccessShareLock);
	Relation index = index_open(aurora_relation_oid("item_cell_key"), AccessShareLock);
	IndexScanDesc scan = index_beginscan(registry, index, merge->snapshot, 1, 0);
	TupleTableSlot *slot = table_slot_create(registry, NULL);
	Buffer vm_buffer = InvalidBuffer;
	int capacity = 256;
	ListCell *lc;

	scan->xs_want_itup = true;
	merge->cells = palloc(sizeof(MergeCell) * capacity);
	foreach (lc, merge->request->scopes)
		load_cells_of_scope(merge, scan, slot, &vm_buffer, &capacity, lfirst(lc));
	if (BufferIsValid(vm_buffer))
		ReleaseBuffer(vm_buffer);
	ExecDropSingleTupleTableSlot(slot);
	index_endscan(scan);
	index_close(index, AccessShareLock);
	table_close(registry, AccessShareLock);
}

static void
form_groups(Merge *merge)
{
	merge->groups =
		palloc_extended(sizeof(MergeGroup) * Max(merge->cell_count, 1), MCXT_ALLOC_HUGE);
	for (int i = 0; i < merge->cell_count; i++)
	{
		MergeCell *cell = &merge->cells[i];
		int32 number = cell->cell >> AURORA_CELL_GROUP_SHIFT;
		MergeGroup *group = merge->group_count ? &merge->groups[merge->group_count - 1] : NULL;

		if (!group || group->group != number || group->cells->scope != cell->scope)
		{
			group = &merge->groups[merge->group_count++];
			memset(group, 0, sizeof(MergeGroup));
			group->node.sort = NODE_GROUP;
			group->group = number;
			group->cells = cell;
		}
		group->cell_count++;
	}
}

static void
bound_cells(Merge *merge, MergeGroup *group, TimestampTz act_by)
{
	for (int i = 0; i < group->cell_count; i++)
		group->cells[i].node.bound = key_at(merge, &group->cells[i], act_by, PG_INT64_MIN);
}

/*
 * A group's bound is the best of its cells', which are bounded by the deadline that is known so
 * far: at first none, then the group's earliest.
 */
static void
bound_group(Merge *merge, MergeGroup *group, TimestampTz act_by)
{
	bound_cells(merge, group, act_by);
	group->node.bound = group->cells[0].node.bound;
	for (int i = 1; i < group->cell_count; i++)
		if (compare_keys(&group->cells[i].node.bound, &group->node.bound) < 0)
			group->node.bound = group->cells[i].node.bound;
}

/* ---- snoozed items whose time has come ---- */

static MergeCell *
woken_cell(Merge *merge, AuroraScope *scope)
{
	MergeCell *cell = palloc0(sizeof(MergeCell));
	TimestampTz act_by;
	int64 slack;
	bool isnull;
	AuroraPolicy *policy = scope->policy;

	cell->node.sort = NODE_CELL;
	cell->scope = scope;
	cell->cell = DatumGetInt32(slot_getattr(merge->slot, ITEM_CELL, &isnull));
	aurora_cell_unpack(cell->cell, &cell->features);
	act_by = DatumGetTimestampTz(slot_getattr(merge->slot, ITEM_ACT_BY, &isnull));
	slack = aurora_slack(act_by, merge->request->at);
	if (!cell_can_match(merge, cell) ||
		(merge->request->quadrant >= 0 && quadrant_is_urgent(merge->request->quadrant) !=
											  aurora_urgent(policy, &cell->features, slack)))
	{
		pfree(cell);
		return NULL;
	}
	cell->static_points = aurora_static_points(policy, &cell->features);
	cell->rows = palloc(sizeof(AuroraRow));
	cell->finished = true;
	append_row(merge, cell, act_by,
			   DatumGetInt64(slot_getattr(merge->slot, ITEM_ITEM_ID, &isnull)));
	cell->node.bound = cell->rows[0].key;
	return cell;
}

static List *
read_woken(Merge *merge)
{
	Relation index = index_open(aurora_relation_oid("item_snoozed"), AccessShareLock);
	IndexScanDesc scan = index_beginscan(merge->item, index, merge->snapshot, 2, 0);
	List *woken = NIL;
	ListCell *lc;

	foreach (lc, merge->request->scopes)
	{
		AuroraScope *scope = lfirst(lc);
		ScanKeyData keys[2];

		set_scope_key(scope, keys);
		ScanKeyInit(&keys[1], 2, BTLessEqualStrategyNumber, F_TIMESTAMPTZ_LE,
					TimestampTzGetDatum(merge->request->at));
		index_rescan(scan, keys, 2, NULL, 0);
		while (index_getnext_slot(scan, ForwardScanDirection, merge->slot))
		{
			MergeCell *cell = woken_cell(merge, scope);

			CHECK_FOR_INTERRUPTS();
			if (cell)
				woken = lappend(woken, cell);
		}
	}
	index_endscan(scan);
	index_close(index, AccessShareLock);
	return woken;
}

/* ---- groups that have given their row ---- */

static uint32
hash_seen(const void *key, Size size)
{
	const SeenGroup *seen = key;

	return hash_bytes((unsigned char *) seen->group_key, strlen(seen->group_key)) ^
		   (uint32) seen->company_id;
}

static int
match_seen(const void *a, const void *b, Size size)
{
	const SeenGroup *first = a;
	const SeenGroup *second = b;

	if (first->company_id != second->company_id)
		return 1;
	return strcmp(first->group_key, second->group_key);
}

static void
make_seen_groups(Merge *merge)
{
	HASHCTL control = {0};

	control.keysize = sizeof(SeenGroup);
	control.entrysize = sizeof(SeenGroup);
	control.hash = hash_seen;
	control.match = match_seen;
	control.hcxt = CurrentMemoryContext;
	merge->seen_groups = hash_create("aurora groups on the surface", 64, &control,
									 HASH_ELEM | HASH_FUNCTION | HASH_COMPARE | HASH_CONTEXT);
}

/*
 * True when the row's group has a row on the surface already; else notes that it has now.
 */
static bool
group_is_taken(Merge *merge, const AuroraRow *row)
{
	bool isnull;
	bool found;
	SeenGroup seen = {0};
	Datum group_key =
		heap_getattr(row->tuple, ITEM_GROUP_KEY, RelationGetDescr(merge->item), &isnull);

	if (isnull)
		return false;
	if (!merge->seen_groups)
		make_seen_groups(merge);
	seen.company_id = row->key.company_id;
	seen.group_key = TextDatumGetCString(group_key);
	hash_search(merge->seen_groups, &seen, HASH_ENTER, &found);
	return found;
}

/* ---- the search ---- */

/*
 * Replaces the group on top by itself with its true head, or, when that is known, by its cells.
 * A group of one or two cells goes to its cells at once: reading their heads is as cheap.
 */
static void
open_group(Merge *merge, MergeGroup *group)
{
	TimestampTz head;

	if (!group->probed && group->cell_count > 2)
	{
		group->probed = true;
		if (read_group_head(merge, group, &head))
		{
			bound_group(merge, group, head);
			binaryheap_replace_first(merge->queue, PointerGetDatum(group));
		}
		else
			binaryheap_remove_first(merge->queue);
		return;
	}
	binaryheap_remove_first(merge->queue);
	for (int i = 0; i < group->cell_count; i++)
		binaryheap_add(merge->queue, PointerGetDatum(&group->cells[i]));
}

/*
 * Brings the cell on top to its next row, reading more when none is left.
 */
static void
advance_cell(Merge *merge, MergeCell *cell)
{
	if (cell->next_row == cell->row_count && !cell->finished)
		read_run(merge, cell);
	if (cell->next_row < cell->row_count)
	{
		cell->node.bound = cell->rows[cell->next_row].key;
		binaryheap_replace_first(merge->queue, PointerGetDatum(cell));
	}
	else
		binaryheap_remove_first(merge->queue);
}

/*
 * The next row of the surface, or NULL at its end.
 */
static AuroraRow *
next_row(Merge *merge)
{
	while (!binaryheap_empty(merge->queue))
	{
		MergeNode *node = (MergeNode *) DatumGetPointer(binaryheap_first(merge->queue));
		MergeCell *cell = (MergeCell *) node;
		AuroraRow *row;

		if (node->sort == NODE_GROUP)
			open_group(merge, (MergeGroup *) node);
		else if (cell->next_row == cell->row_count)
			advance_cell(merge, cell);
		else
		{
			row = &cell->rows[cell->next_row++];
			advance_cell(merge, cell);
			if (!group_is_taken(merge, row))
				return row;
		}
	}
	return NULL;
}

/*
 * Counts a cell's rows of lane 0 that are not on the surface, up to a limit. Rows of a lane come
 * first within a cell, so it ends at the first of another.
 */
static int
count_cell_left_out(Merge *merge, MergeCell *cell, int limit)
{
	int count = 0;

	while (count < limit)
	{
		AuroraRow *row;

		if (cell->next_row == cell->row_count)
		{
			if (cell->finished)
				break;
			cell->next_run = limit - count;
			read_run(merge, cell);
			continue;
		}
		row = &cell->rows[cell->next_row++];
		if (row->key.lane != 0)
			break;
		if (!group_is_taken(merge, row))
			count++;
	}
	return count;
}

/*
 * Counts the rows of lane 0 that are not on the surface, up to AURORA_LEFT_OUT_MAX. Their order
 * does not matter, so each cell is read through by itself.
 */
static int
count_left_out(Merge *merge)
{
	int count = 0;

	while (count < AURORA_LEFT_OUT_MAX && !binaryheap_empty(merge->queue))
	{
		MergeNode *node = (MergeNode *) DatumGetPointer(binaryheap_first(merge->queue));

		if (node->bound.lane != 0)
			break;
		if (node->sort == NODE_GROUP)
			open_group(merge, (MergeGroup *) node);
		else
		{
			binaryheap_remove_first(merge->queue);
			count += count_cell_left_out(merge, (MergeCell *) node, AURORA_LEFT_OUT_MAX - count);
		}
	}
	return count;
}

static void
begin_merge(Merge *merge)
{
	List *woken;
	ListCell *lc;

	merge->item = table_open(aurora_relation_oid("item"), AccessShareLock);
	merge->open_index = index_open(aurora_relation_oid("item_open"), AccessShareLock);
	merge->group_index = index_open(aurora_relation_oid("item_open_group"), AccessShareLock);
	merge->open_scan =
		index_beginscan(merge->item, merge->open_index, merge->snapshot, OPEN_KEYS, 0);
	merge->group_scan =
		index_beginscan(merge->item, merge->group_index, merge->snapshot, OPEN_KEYS, 0);
	merge->slot = table_slot_create(merge->item, NULL);

	load_cells(merge);
	form_groups(merge);
	woken = read_woken(merge);
	merge->queue = binaryheap_allocate(
		merge->group_count + merge->cell_count + list_length(woken) + 1, compare_nodes, NULL);
	for (int i = 0; i < merge->group_count; i++)
	{
		bound_group(merge, &merge->groups[i], first_act_by(merge, merge->groups[i].cells));
		binaryheap_add_unordered(merge->queue, PointerGetDatum(&merge->groups[i]));
	}
	foreach (lc, woken)
		binaryheap_add_unordered(merge->queue, PointerGetDatum(lfirst(lc)));
	binaryheap_build(merge->queue);
}

static void
end_merge(Merge *merge)
{
	ExecDropSingleTupleTableSlot(merge->slot);
	index_endscan(merge->open_scan);
	index_endscan(merge->group_scan);
	index_close(merge->open_index, AccessShareLock);
	index_close(merge->group_index, AccessShareLock);
	table_close(merge->item, AccessShareLock);
}

/*
 * The first rows of the surface over the request's scopes, under the snapshot. Checks no rights:
 * index scans pass by row level security, so the caller must have.
 */
void
aurora_merge(const AuroraMergeRequest *request, Snapshot snapshot, AuroraMergeResult *result)
{
	Merge merge = {.request = request, .snapshot = snapshot};
	AuroraRow *row;

	begin_merge(&merge);
	result->item_desc = CreateTupleDescCopy(RelationGetDescr(merge.item));
	result->rows = palloc(sizeof(AuroraRow) * request->limit);
	result->count = 0;
	while (result->count < request->limit && (row = next_row(&merge)) != NULL)
		result->rows[result->count++] = *row;
	result->lane0_left_out = count_left_out(&merge);
	end_merge(&merge);
}
