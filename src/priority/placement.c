/*
 * Placement: the trigger that gives an item its cell and its act_by, and registers the cell.
 *
 * Whoever writes items holds a row-exclusive lock on aurora.item_cell until the transaction ends
 * and reads settings with a snapshot taken after that. So the nightly sweep, which locks the table
 * against writers, never removes a cell that is just being filled; and a settings change waits for
 * those holders before it moves items, so none is placed by old settings after it.
 */
#include "priority/priority.h"

#include <math.h>

#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "commands/trigger.h"
#include "common/int.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/typcache.h"

/* Columns of the tables read here, in table order. */
enum
{
	PERSON_COMPANY_ID = 1,
	PERSON_EMAIL,
	PERSON_NAME,
	PERSON_VIP,
	PERSON_IMPORTANCE
};
enum
{
	SLOT_COMPANY_ID = 1,
	SLOT_OWNER,
	SLOT_GROUP_KEY,
	SLOT_SLOT
};

PG_FUNCTION_INFO_V1(aurora_place_item);
PG_FUNCTION_INFO_V1(aurora_item_is_misplaced);
PG_FUNCTION_INFO_V1(aurora_wait_for_item_writers);
PG_FUNCTION_INFO_V1(aurora_cell_features);

/* An item's columns. */
typedef struct ItemValues
{
	Datum values[ITEM_COLUMNS];
	bool nulls[ITEM_COLUMNS];
} ItemValues;

#define VALUE(item, column) ((item)->values[(column) - 1])
#define IS_NULL(item, column) ((item)->nulls[(column) - 1])

static void
set_value(ItemValues *item, int column, Datum value)
{
	item->values[column - 1] = value;
	item->nulls[column - 1] = false;
}

/*
 * The settings of the item's company, kept for the statement.
 */
static AuroraCompany *
company_of_item(FunctionCallInfo fcinfo, const ItemValues *item, Snapshot snapshot)
{
	AuroraCallCache *cache = aurora_call_cache(fcinfo->flinfo);
	int32 company_id = DatumGetInt32(VALUE(item, ITEM_COMPANY_ID));
	AuroraCompany *company;
	MemoryContext old;
	ListCell *lc;

	foreach (lc, (List *) cache->kept)
	{
		company = lfirst(lc);
		if (company->company_id == company_id)
			return company;
	}
	old = MemoryContextSwitchTo(cache->context);
	company = aurora_company_load(company_id, snapshot);
	cache->kept = lappend(cache->kept, company);
	MemoryContextSwitchTo(old);
	return company;
}

/* ---- what other tables say about an item ---- */

/*
 * Fills vip and boost, where not given, from what is known of the sender.
 */
static void
fill_from_sender(ItemValues *item, Snapshot snapshot)
{
	bool vip = false;
	int16 importance = 0;

	if (!IS_NULL(item, ITEM_VIP) && !IS_NULL(item, ITEM_BOOST))
		return;
	if (!IS_NULL(item, ITEM_SENDER))
	{
		AuroraScan scan;
		ScanKeyData keys[2];

		ScanKeyInit(&keys[0], PERSON_COMPANY_ID, BTEqualStrategyNumber, F_INT4EQ,
					VALUE(item, ITEM_COMPANY_ID));
		ScanKeyInit(&keys[1], PERSON_EMAIL, BTEqualStrategyNumber, F_TEXTEQ,
					VALUE(item, ITEM_SENDER));
		aurora_scan_open(&scan, "person", "person_pkey", snapshot, 2, keys);
		if (aurora_scan_next(&scan))
		{
			vip = DatumGetBool(scan.values[PERSON_VIP - 1]);
			importance = DatumGetInt16(scan.values[PERSON_IMPORTANCE - 1]);
		}
		aurora_scan_close(&scan);
	}
	if (IS_NULL(item, ITEM_VIP))
		set_value(item, ITEM_VIP, BoolGetDatum(vip));
	if (IS_NULL(item, ITEM_BOOST))
		set_value(item, ITEM_BOOST, Int16GetDatum(importance));
}

static int
slot_of_group(const ItemValues *item, Snapshot snapshot)
{
	AuroraScan scan;
	ScanKeyData keys[3];
	int slot = 0;

	if (IS_NULL(item, ITEM_GROUP_KEY))
		return 0;
	ScanKeyInit(&keys[0], SLOT_COMPANY_ID, BTEqualStrategyNumber, F_INT4EQ,
				VALUE(item, ITEM_COMPANY_ID));
	ScanKeyInit(&keys[1], SLOT_OWNER, BTEqualStrategyNumber, F_TEXTEQ, VALUE(item, ITEM_OWNER));
	ScanKeyInit(&keys[2], SLOT_GROUP_KEY, BTEqualStrategyNumber, F_TEXTEQ,
				VALUE(item, ITEM_GROUP_KEY));
	aurora_scan_open(&scan, "crowded_group", "crowded_group_pkey", snapshot, 3, keys);
	if (aurora_scan_next(&scan))
		slot = DatumGetInt16(scan.values[SLOT_SLOT - 1]);
	aurora_scan_close(&scan);
	return slot;
}

/*
 * The amount in the company's currency.
 */
static Numeric
amount_in_company_currency(const AuroraCompany *company, const ItemValues *item, Snapshot snapshot)
{
	text *currency = DatumGetTextPP(VALUE(item, ITEM_CURRENCY));
	char *code = text_to_cstring(currency);
	Numeric rate;

	if (strcmp(code, company->currency) == 0)
		return DatumGetNumeric(VALUE(item, ITEM_AMOUNT));
	if (!aurora_rate_find(company->company_id, currency, snapshot, &rate))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("company \"%s\" has no rate for the currency %s", company->name, code),
				 errhint("Set what one %s is worth in %s: SELECT aurora.set_rate('%s', ...).", code,
						 company->currency, code)));
	return DatumGetNumeric(
		DirectFunctionCall2(numeric_mul, VALUE(item, ITEM_AMOUNT), NumericGetDatum(rate)));
}

/* ---- the features and the deadline ---- */

static void
money_features(const AuroraCompany *company, const ItemValues *item, Snapshot snapshot,
			   AuroraFeatures *features)
{
	Numeric amount;
	double value;

	if (IS_NULL(item, ITEM_AMOUNT))
		return;
	amount = amount_in_company_currency(company, item, snapshot);
	features->big = DatumGetBool(DirectFunctionCall2(numeric_ge, NumericGetDatum(amount),
													 NumericGetDatum(company->big_threshold)));
	value =
		DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow, NumericGetDatum(amount)));
	if (!IS_NULL(item, ITEM_WIN_CHANCE))
		value *= DatumGetFloat8(VALUE(item, ITEM_WIN_CHANCE));
	features->revenue_level = aurora_cell_revenue_level(value, company->revenue_unit);
}

static int
checked_kind(const AuroraCompany *company, const ItemValues *item)
{
	char *kind = TextDatumGetCString(VALUE(item, ITEM_KIND));
	int number = aurora_kind_number(company, kind);

	if (number < 0)
		ereport(
			ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("there is no kind \"%s\"", kind),
			 errhint("Kinds: %s. Add one with aurora.set_kind().", aurora_kind_names(company))));
	return number;
}

static int
small_value(const ItemValues *item, int column, int missing, int least, int most)
{
	int value = IS_NULL(item, column) ? missing : DatumGetInt16(VALUE(item, column));

	return Max(least, Min(value, most)); /* the table's constraints refuse what is outside */
}

static int32
cell_of_item(const AuroraCompany *company, const ItemValues *item, Snapshot snapshot)
{
	AuroraFeatures features = {0};

	features.kind = checked_kind(company, item);
	features.vip = DatumGetBool(VALUE(item, ITEM_VIP));
	features.risk = small_value(item, ITEM_RISK, 0, 0, 3);
	features.boost = small_value(item, ITEM_BOOST, 0, -2, 2);
	features.severe = company->kinds[features.kind].base == AURORA_KIND_INCIDENT &&
					  small_value(item, ITEM_SEVERITY, 5, 0, 5) == 1;
	features.slot = slot_of_group(item, snapshot);
	money_features(company, item, snapshot, &features);
	return aurora_cell_pack(&features);
}

static void
take_earlier(TimestampTz *act_by, const ItemValues *item, int column, int64 after)
{
	TimestampTz start;

	if (IS_NULL(item, column))
		return;
	start = DatumGetTimestampTz(VALUE(item, column));
	if (TIMESTAMP_NOT_FINITE(start)) /* the table refuses it */
		return;
	if (!pg_add_s64_overflow(start, after, &start) && IS_VALID_TIMESTAMP(start))
		*act_by = Min(*act_by, start);
}

/*
 * The earliest of the item's deadlines; see docs/priority.md.
 */
static TimestampTz
act_by_of_item(const AuroraCompany *company, const ItemValues *item, int kind_number)
{
	const AuroraKindSettings *kind = &company->kinds[kind_number];
	TimestampTz act_by = DT_NOEND;

	take_earlier(&act_by, item, ITEM_DUE_AT, 0);
	if (IS_NULL(item, ITEM_DUE_AT) && kind->default_deadline > 0)
		take_earlier(&act_by, item, ITEM_RECEIVED_AT, kind->default_deadline);
	if (kind->base == AURORA_KIND_EMAIL && DatumGetBool(VALUE(item, ITEM_VIP)))
		take_earlier(&act_by, item, ITEM_RECEIVED_AT, company->sla);
	if (kind->stall_limit > 0)
		take_earlier(&act_by, item, ITEM_LAST_ACTIVITY_AT, kind->stall_limit);
	return act_by;
}

/*
 * The owner and level as one number.
 */
static int32
scope_of_item(const AuroraCompany *company, const ItemValues *item, Snapshot snapshot)
{
	text *owner = DatumGetTextPP(VALUE(item, ITEM_OWNER));
	AuroraPrincipal principal;

	if (!aurora_principal_find(company->company_id, owner, snapshot, &principal))
		ereport(ERROR, (errcode(ERRCODE_FOREIGN_KEY_VIOLATION),
						errmsg("there is no owner \"%s\" in company \"%s\"", text_to_cstring(owner),
							   company->name),
						errhint("Add it with aurora.add_principal().")));
	return aurora_scope_number(principal.number,
							   aurora_level_from_enum(DatumGetObjectId(VALUE(item, ITEM_LEVEL))));
}

/*
 * Sets what placement decides: scope, vip, boost, currency, cell and act_by.
 */
static void
place(const AuroraCompany *company, ItemValues *item, Snapshot snapshot)
{
	AuroraFeatures features;
	int32 cell;

	fill_from_sender(item, snapshot);
	if (!IS_NULL(item, ITEM_AMOUNT) && IS_NULL(item, ITEM_CURRENCY))
		set_value(item, ITEM_CURRENCY, CStringGetTextDatum(company->currency));
	cell = cell_of_item(company, item, snapshot);
	aurora_cell_unpack(cell, &features);
	set_value(item, ITEM_SCOPE, Int32GetDatum(scope_of_item(company, item, snapshot)));
	set_value(item, ITEM_CELL, Int32GetDatum(cell));
	set_value(item, ITEM_ACT_BY, TimestampTzGetDatum(act_by_of_item(company, item, features.kind)));
}

/* ---- the registry of occupied cells ---- */

static bool
is_open(Oid open_state, const ItemValues *item)
{
	return DatumGetObjectId(VALUE(item, ITEM_STATE)) == open_state &&
		   DatumGetInt32(VALUE(item, ITEM_OPEN_BLOCKERS)) == 0 && IS_NULL(item, ITEM_SNOOZE_UNTIL);
}

/*
 * Will a row that is there now be seen by this transaction's own reads: not, when it keeps an older
 * snapshot.
 */
static bool
is_seen_by_transaction(HeapTuple tuple)
{
	TransactionId xmin = HeapTupleHeaderGetXmin(tuple->t_data);

	return !IsolationUsesXactSnapshot() || TransactionIdIsCurrentTransactionId(xmin) ||
		   !XidInMVCCSnapshot(xmin, GetTransactionSnapshot());
}

/*
 * Registers the cell unless it is. Nothing is locked and nobody waits: two transactions may both
 * register a cell that neither sees of the other, which does no harm.
 */
static void
register_cell(Relation registry, const ItemValues *item)
{
	AuroraScan scan;
	ScanKeyData keys[2];
	bool found = false;

	ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_INT4EQ, VALUE(item, ITEM_SCOPE));
	ScanKeyInit(&keys[1], 2, BTEqualStrategyNumber, F_INT4EQ, VALUE(item, ITEM_CELL));
	aurora_scan_open(&scan, "item_cell", "item_cell_key", SnapshotSelf, 2, keys);
	while (!found && aurora_scan_next(&scan))
		found = is_seen_by_transaction(scan.tuple);
	aurora_scan_close(&scan);
	if (!found)
	{
		Datum values[2] = {VALUE(item, ITEM_SCOPE), VALUE(item, ITEM_CELL)};
		bool nulls[2] = {false};
		HeapTuple tuple = heap_form_tuple(RelationGetDescr(registry), values, nulls);

		CatalogTupleInsert(registry, tuple);
		heap_freetuple(tuple);
	}
}

static bool
same_cell(const ItemValues *a, const ItemValues *b)
{
	return DatumGetInt32(VALUE(a, ITEM_CELL)) == DatumGetInt32(VALUE(b, ITEM_CELL)) &&
		   DatumGetInt32(VALUE(a, ITEM_SCOPE)) == DatumGetInt32(VALUE(b, ITEM_SCOPE));
}

/* ---- the trigger ---- */

/*
 * Nothing can wait for a new item, nor it for anything: dependencies are added after it, and count.
 */
static void
start_counts(ItemValues *item)
{
	set_value(item, ITEM_OPEN_BLOCKERS, Int32GetDatum(0));
	set_value(item, ITEM_BLOCKING, Int32GetDatum(0));
}

/*
 * Notes when an update has moved the item or brought it back to the surface, or changed its state
 * without saying when and by whom.
 */
static void
note_changes(ItemValues *item, const ItemValues *old, bool opened)
{
	Datum now = TimestampTzGetDatum(GetCurrentTransactionStartTimestamp());

	if (opened || !same_cell(item, old) ||
		DatumGetTimestampTz(VALUE(item, ITEM_ACT_BY)) !=
			DatumGetTimestampTz(VALUE(old, ITEM_ACT_BY)))
		set_value(item, ITEM_PLACED_AT, now);
	if (DatumGetObjectId(VALUE(item, ITEM_STATE)) != DatumGetObjectId(VALUE(old, ITEM_STATE)) &&
		DatumGetTimestampTz(VALUE(item, ITEM_STATE_AT)) ==
			DatumGetTimestampTz(VALUE(old, ITEM_STATE_AT)))
		set_value(item, ITEM_STATE_AT, now);
}

/*
 * A copy of the tuple with the columns that placement set, or the tuple itself when none differs.
 */
static HeapTuple
placed_tuple(HeapTuple tuple, TupleDesc desc, ItemValues *item)
{
	static const int placed[] = {ITEM_OPEN_BLOCKERS, ITEM_BLOCKING, ITEM_SCOPE, ITEM_CELL,
								 ITEM_ACT_BY,		 ITEM_VIP,		ITEM_BOOST, ITEM_CURRENCY,
								 ITEM_PLACED_AT,	 ITEM_STATE_AT};
	bool replace[ITEM_COLUMNS] = {false};
	bool changed = false;

	for (int i = 0; i < (int) lengthof(placed); i++)
	{
		int column = placed[i];
		Form_pg_attribute attribute = TupleDescAttr(desc, column - 1);
		bool was_null;
		Datum was = heap_getattr(tuple, column, desc, &was_null);

		if (was_null != IS_NULL(item, column) ||
			(!was_null &&
			 !datum_image_eq(was, VALUE(item, column), attribute->attbyval, attribute->attlen)))
			replace[column - 1] = changed = true;
	}
	if (!changed)
		return tuple;
	return heap_modify_tuple(tuple, desc, item->values, item->nulls, replace);
}

/*
 * True when a column is null that the table's constraints refuse and placement needs.
 */
static bool
lacks_what_places(const ItemValues *item)
{
	static const int needed[] = {ITEM_COMPANY_ID, ITEM_OWNER,		  ITEM_LEVEL,	ITEM_KIND,
								 ITEM_STATE,	  ITEM_OPEN_BLOCKERS, ITEM_STATE_AT};

	for (int i = 0; i < (int) lengthof(needed); i++)
		if (IS_NULL(item, needed[i]))
			return true;
	return false;
}

static void
check_called_as_trigger(FunctionCallInfo fcinfo)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_BEFORE(trigger->tg_event) ||
		!TRIGGER_FIRED_FOR_ROW(trigger->tg_event) ||
		RelationGetDescr(trigger->tg_relation)->natts != ITEM_COLUMNS)
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
						errmsg("place_item() is the row trigger of aurora.item, before insert or "
							   "update")));
}

Datum
aurora_place_item(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	TupleDesc desc;
	HeapTuple tuple;
	HeapTuple result;
	bool update;
	bool open;
	bool was_open = false;
	Oid open_state;
	ItemValues item;
	ItemValues old;
	Relation registry;
	Snapshot snapshot;

	check_called_as_trigger(fcinfo);
	desc = RelationGetDescr(trigger->tg_relation);
	update = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event);
	tuple = update ? trigger->tg_newtuple : trigger->tg_trigtuple;
	heap_deform_tuple(tuple, desc, item.values, item.nulls);
	if (lacks_what_places(&item))
		return PointerGetDatum(tuple); /* the table's constraints refuse it */

	if (!update)
		start_counts(&item);
	open_state = aurora_enum_oid("item_state", "open");
	registry = table_open(aurora_relation_oid("item_cell"), RowExclusiveLock);
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	place(company_of_item(fcinfo, &item, snapshot), &item, snapshot);
	open = is_open(open_state, &item);
	if (update)
	{
		heap_deform_tuple(trigger->tg_trigtuple, desc, old.values, old.nulls);
		was_open = is_open(open_state, &old);
		note_changes(&item, &old, open && !was_open);
	}
	if (open && !(was_open && same_cell(&item, &old)))
		register_cell(registry, &item);
	result = placed_tuple(tuple, desc, &item);
	UnregisterSnapshot(snapshot);
	table_close(registry, NoLock);
	return PointerGetDatum(result);
}

/* ---- SQL ---- */

/*
 * item_is_misplaced(item): would present settings place the item elsewhere.
 */
Datum
aurora_item_is_misplaced(PG_FUNCTION_ARGS)
{
	HeapTupleHeader header = PG_GETARG_HEAPTUPLEHEADER(0);
	TupleDesc desc =
		lookup_rowtype_tupdesc(HeapTupleHeaderGetTypeId(header), HeapTupleHeaderGetTypMod(header));
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	HeapTupleData tuple;
	ItemValues item;
	ItemValues was;
	bool misplaced;

	tuple.t_len = HeapTupleHeaderGetDatumLength(header);
	ItemPointerSetInvalid(&tuple.t_self);
	tuple.t_tableOid = InvalidOid;
	tuple.t_data = header;
	heap_deform_tuple(&tuple, desc, item.values, item.nulls);
	ReleaseTupleDesc(desc);
	if (lacks_what_places(&item) || IS_NULL(&item, ITEM_CELL) || IS_NULL(&item, ITEM_SCOPE) ||
		IS_NULL(&item, ITEM_ACT_BY))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
						errmsg("this is not a row of aurora.item")));
	was = item;
	place(company_of_item(fcinfo, &item, snapshot), &item, snapshot);
	misplaced = !same_cell(&item, &was) || DatumGetTimestampTz(VALUE(&item, ITEM_ACT_BY)) !=
											   DatumGetTimestampTz(VALUE(&was, ITEM_ACT_BY));
	UnregisterSnapshot(snapshot);
	PG_RETURN_BOOL(misplaced);
}

/*
 * wait_for_item_writers(): returns when all transactions that were writing items have ended. New
 * writers are not held up.
 */
Datum
aurora_wait_for_item_writers(PG_FUNCTION_ARGS)
{
	LOCKTAG tag;

	aurora_lead_require();
	SET_LOCKTAG_RELATION(tag, MyDatabaseId, aurora_relation_oid("item_cell"));
	WaitForLockers(tag, ShareLock, false);
	PG_RETURN_VOID();
}

/*
 * cell_features(cell): what a cell packs, for people and tests.
 */
Datum
aurora_cell_features(PG_FUNCTION_ARGS)
{
	AuroraFeatures features;
	TupleDesc desc;
	Datum values[8];
	bool nulls[8] = {false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "cell_features() returns a row");
	aurora_cell_unpack(PG_GETARG_INT32(0), &features);
	values[0] = Int32GetDatum(features.kind);
	values[1] = Int32GetDatum(features.revenue_level);
	values[2] = BoolGetDatum(features.big);
	values[3] = BoolGetDatum(features.vip);
	values[4] = BoolGetDatum(features.severe);
	values[5] = Int32GetDatum(features.risk);
	values[6] = Int32GetDatum(features.boost);
	values[7] = Int32GetDatum(features.slot);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
