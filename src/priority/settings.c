/*
 * Settings: a company's kinds, rates and weights, read for each statement so that a change holds
 * at once, on every replica.
 */
#include "priority/priority.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"

/* Columns of the tables read here, in table order. */
enum
{
	COMPANY_ID = 1,
	COMPANY_NAME,
	COMPANY_CURRENCY,
	COMPANY_BIG_THRESHOLD,
	COMPANY_SLA_HOURS,
	COMPANY_IMPORTANT_POINTS,
	COMPANY_REVENUE_UNIT
};
enum
{
	KIND_COMPANY_ID = 1,
	KIND_KIND,
	KIND_NO,
	KIND_BASE,
	KIND_HALF_LIFE,
	KIND_STALL_LIMIT,
	KIND_DEFAULT_DEADLINE,
	KIND_OFFSET
};
enum
{
	OVERRIDE_COMPANY_ID = 1,
	OVERRIDE_OWNER,
	OVERRIDE_NAME,
	OVERRIDE_VALUE
};
enum
{
	RATE_COMPANY_ID = 1,
	RATE_CURRENCY,
	RATE_RATE
};

PG_FUNCTION_INFO_V1(aurora_builtin_kinds);
PG_FUNCTION_INFO_V1(aurora_builtin_weights);

typedef struct BuiltinKind
{
	const char *name;
	int half_life; /* seconds, as the others */
	int stall_limit;
	int default_deadline;
	double offset;
} BuiltinKind;

static const BuiltinKind builtin_kind[AURORA_KIND_BUILTIN_COUNT] = {
#define KIND(symbol, name, half_life, stall, deadline, offset) \
	[symbol] = {name, half_life, stall, deadline, offset},
	AURORA_KIND_LIST(KIND)
#undef KIND
};

typedef struct BuiltinWeight
{
	const char *name;
	double value;
	double least;
	double most;
	const char *multiplies;
} BuiltinWeight;

static const BuiltinWeight builtin_weight[AURORA_WEIGHT_COUNT] = {
#define WEIGHT(symbol, name, value, least, most, multiplies) \
	[symbol] = {name, value, least, most, multiplies},
	AURORA_WEIGHT_LIST(WEIGHT)
#undef WEIGHT
};

const char *const aurora_quadrant_label[AURORA_QUADRANT_COUNT] = {
#define LABEL(symbol, label) [symbol] = label,
	AURORA_QUADRANT_LIST(LABEL)};

const char *const aurora_level_label[AURORA_LEVEL_COUNT] = {AURORA_LEVEL_LIST(LABEL)
#undef LABEL
};

AuroraLevel
aurora_level_from_enum(Oid value)
{
	AuroraLevel level = 0;

	while (level < AURORA_LEVEL_COUNT &&
		   aurora_enum_oid("item_level", aurora_level_label[level]) != value)
		level++;
	if (level == AURORA_LEVEL_COUNT)
		elog(ERROR, "level %u is unknown", value);
	return level;
}

/*
 * An interval in microseconds, as extract(epoch) counts it: days of 24 hours, months of 30 days,
 * years of 365.25. So a deadline does not depend on the session's time zone.
 */
static int64
interval_microseconds(Datum value)
{
	Interval *interval = DatumGetIntervalP(value);
	int64 years = interval->month / MONTHS_PER_YEAR;
	int64 days = interval->day + (int64) (interval->month % MONTHS_PER_YEAR) * DAYS_PER_MONTH;

	return interval->time + days * USECS_PER_DAY + years * (USECS_PER_DAY / 4 * 1461);
}

static double
numeric_to_double(Datum value)
{
	return DatumGetFloat8(DirectFunctionCall1(numeric_float8, value));
}

/* ---- kinds ---- */

static AuroraKind
builtin_by_name(const char *name)
{
	AuroraKind kind;

	for (kind = 0; kind < AURORA_KIND_BUILTIN_COUNT; kind++)
		if (strcmp(builtin_kind[kind].name, name) == 0)
			break;
	return kind;
}

/*
 * Numbers that no kind has behave like a task, so that a score exists for any cell.
 */
static void
set_builtin_kinds(AuroraKindSettings *kinds)
{
	for (int kind = 0; kind < AURORA_KIND_MAX; kind++)
	{
		AuroraKind base = kind < AURORA_KIND_BUILTIN_COUNT ? kind : AURORA_KIND_TASK;
		const BuiltinKind *builtin = &builtin_kind[base];

		kinds[kind].name = base == (AuroraKind) kind ? pstrdup(builtin->name) : NULL;
		kinds[kind].base = base;
		kinds[kind].half_life = builtin->half_life * USECS_PER_SEC;
		kinds[kind].stall_limit = builtin->stall_limit * USECS_PER_SEC;
		kinds[kind].default_deadline = builtin->default_deadline * USECS_PER_SEC;
		kinds[kind].offset = builtin->offset;
	}
}

static void
set_company_kind(AuroraKindSettings *kinds, const AuroraScan *scan)
{
	AuroraKindSettings *kind = &kinds[DatumGetInt16(scan->values[KIND_NO - 1])];
	char *base_name = TextDatumGetCString(scan->values[KIND_BASE - 1]);
	AuroraKind base = builtin_by_name(base_name);
	AuroraKindSettings standard[AURORA_KIND_MAX];

	if (base == AURORA_KIND_BUILTIN_COUNT)
		elog(ERROR, "kind has unknown base \"%s\"", base_name);
	set_builtin_kinds(standard);
	*kind = standard[base];
	kind->name = TextDatumGetCString(scan->values[KIND_KIND - 1]);
	if (!scan->nulls[KIND_HALF_LIFE - 1])
		kind->half_life = interval_microseconds(scan->values[KIND_HALF_LIFE - 1]);
	if (!scan->nulls[KIND_STALL_LIMIT - 1])
		kind->stall_limit = interval_microseconds(scan->values[KIND_STALL_LIMIT - 1]);
	if (!scan->nulls[KIND_DEFAULT_DEADLINE - 1])
		kind->default_deadline = interval_microseconds(scan->values[KIND_DEFAULT_DEADLINE - 1]);
	if (!scan->nulls[KIND_OFFSET - 1])
		kind->offset = DatumGetFloat8(scan->values[KIND_OFFSET - 1]);
}

static void
load_kinds(int32 company_id, Snapshot snapshot, AuroraKindSettings *kinds)
{
	AuroraScan scan;
	ScanKeyData key;

	set_builtin_kinds(kinds);
	ScanKeyInit(&key, KIND_COMPANY_ID, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(company_id));
	aurora_scan_open(&scan, "company_kind", "company_kind_pkey", snapshot, 1, &key);
	while (aurora_scan_next(&scan))
		set_company_kind(kinds, &scan);
	aurora_scan_close(&scan);
}

int
aurora_kind_number(const AuroraCompany *company, const char *kind)
{
	for (int i = 0; i < AURORA_KIND_MAX; i++)
		if (company->kinds[i].name && strcmp(company->kinds[i].name, kind) == 0)
			return i;
	return -1;
}

/*
 * The company's kinds as a list for people.
 */
char *
aurora_kind_names(const AuroraCompany *company)
{
	StringInfoData names;

	initStringInfo(&names);
	for (int i = 0; i < AURORA_KIND_MAX; i++)
		if (company->kinds[i].name)
			appendStringInfo(&names, "%s%s", names.len ? ", " : "", company->kinds[i].name);
	return names.data;
}

/* ---- the company ---- */

AuroraCompany *
aurora_company_load(int32 company_id, Snapshot snapshot)
{
	AuroraCompany *company = palloc0(sizeof(AuroraCompany));
	AuroraScan scan;
	ScanKeyData key;

	ScanKeyInit(&key, COMPANY_ID, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(company_id));
	aurora_scan_open(&scan, "company", "company_pkey", snapshot, 1, &key);
	if (!aurora_scan_next(&scan))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("there is no company %d", company_id),
						errhint("Add one with aurora.add_company().")));
	company->company_id = company_id;
	company->name = TextDatumGetCString(scan.values[COMPANY_NAME - 1]);
	company->currency = TextDatumGetCString(scan.values[COMPANY_CURRENCY - 1]);
	company->big_threshold = DatumGetNumericCopy(scan.values[COMPANY_BIG_THRESHOLD - 1]);
	company->sla =
		(int64) rint(numeric_to_double(scan.values[COMPANY_SLA_HOURS - 1]) * USECS_PER_HOUR);
	company->important_points = numeric_to_double(scan.values[COMPANY_IMPORTANT_POINTS - 1]);
	company->revenue_unit = numeric_to_double(scan.values[COMPANY_REVENUE_UNIT - 1]);
	aurora_scan_close(&scan);
	load_kinds(company_id, snapshot, company->kinds);
	return company;
}

/*
 * The rate of a currency in the company's own; false when there is none.
 */
bool
aurora_rate_find(int32 company_id, text *currency, Snapshot snapshot, Numeric *rate)
{
	AuroraScan scan;
	ScanKeyData key[2];
	bool found;

	ScanKeyInit(&key[0], RATE_COMPANY_ID, BTEqualStrategyNumber, F_INT4EQ,
				Int32GetDatum(company_id));
	ScanKeyInit(&key[1], RATE_CURRENCY, BTEqualStrategyNumber, F_TEXTEQ, PointerGetDatum(currency));
	aurora_scan_open(&scan, "currency_rate", "currency_rate_pkey", snapshot, 2, key);
	found = aurora_scan_next(&scan);
	if (found)
		*rate = DatumGetNumericCopy(scan.values[RATE_RATE - 1]);
	aurora_scan_close(&scan);
	return found;
}

/* ---- weights ---- */

static void
apply_weight(AuroraPolicy *policy, const char *name, double value)
{
	AuroraKindSettings *kinds = policy->company->kinds;
	int kind;

	for (int i = 0; i < AURORA_WEIGHT_COUNT; i++)
		if (strcmp(builtin_weight[i].name, name) == 0)
			policy->weights[i] = value;
	if (strncmp(name, AURORA_OFFSET_PREFIX, strlen(AURORA_OFFSET_PREFIX)) == 0)
	{
		kind = aurora_kind_number(policy->company, name + strlen(AURORA_OFFSET_PREFIX));
		if (kind >= 0)
			kinds[kind].offset = value;
	}
	else if (strncmp(name, AURORA_HALF_LIFE_PREFIX, strlen(AURORA_HALF_LIFE_PREFIX)) == 0)
	{
		kind = aurora_kind_number(policy->company, name + strlen(AURORA_HALF_LIFE_PREFIX));
		if (kind >= 0)
			kinds[kind].half_life = (int64) rint(value * USECS_PER_HOUR);
	}
}

static void
apply_overrides(AuroraPolicy *policy, const char *owner, Snapshot snapshot)
{
	AuroraScan scan;
	ScanKeyData key[2];

	ScanKeyInit(&key[0], OVERRIDE_COMPANY_ID, BTEqualStrategyNumber, F_INT4EQ,
				Int32GetDatum(policy->company->company_id));
	if (owner)
		ScanKeyInit(&key[1], OVERRIDE_OWNER, BTEqualStrategyNumber, F_TEXTEQ,
					CStringGetTextDatum(owner));
	else
		ScanKeyEntryInitialize(&key[1], SK_ISNULL | SK_SEARCHNULL, OVERRIDE_OWNER, InvalidStrategy,
							   InvalidOid, InvalidOid, InvalidOid, (Datum) 0);
	aurora_scan_open(&scan, "weight_override", "weight_override_key", snapshot, 2, key);
	while (aurora_scan_next(&scan))
		apply_weight(policy, TextDatumGetCString(scan.values[OVERRIDE_NAME - 1]),
					 DatumGetFloat8(scan.values[OVERRIDE_VALUE - 1]));
	aurora_scan_close(&scan);
}

/*
 * The policy of one owner, or with owner NULL of the company: built-in defaults, then the
 * company's overrides, then the owner's.
 */
AuroraPolicy *
aurora_policy_load(int32 company_id, const char *owner, Snapshot snapshot)
{
	AuroraPolicy *policy = palloc0(sizeof(AuroraPolicy));

	policy->company = aurora_company_load(company_id, snapshot);
	for (int i = 0; i < AURORA_WEIGHT_COUNT; i++)
		policy->weights[i] = builtin_weight[i].value;
	apply_overrides(policy, NULL, snapshot);
	if (owner)
		apply_overrides(policy, owner, snapshot);
	policy->important = (int64) rint(policy->company->important_points * 1000.0);
	return policy;
}

/* ---- SQL: the built-in defaults as rows ---- */

static Datum
interval_from_seconds(int seconds)
{
	Interval *interval = palloc0(sizeof(Interval));

	interval->day = seconds / SECS_PER_DAY;
	interval->time = (seconds % SECS_PER_DAY) * USECS_PER_SEC;
	return IntervalPGetDatum(interval);
}

Datum
aurora_builtin_kinds(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	for (AuroraKind kind = 0; kind < AURORA_KIND_BUILTIN_COUNT; kind++)
	{
		const BuiltinKind *builtin = &builtin_kind[kind];
		Datum values[6] = {CStringGetTextDatum(builtin->name),
						   Int16GetDatum(kind),
						   interval_from_seconds(builtin->half_life),
						   interval_from_seconds(builtin->stall_limit),
						   interval_from_seconds(builtin->default_deadline),
						   Float8GetDatum(builtin->offset)};
		bool nulls[6] = {false};

		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

Datum
aurora_builtin_weights(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < AURORA_WEIGHT_COUNT; i++)
	{
		const BuiltinWeight *weight = &builtin_weight[i];
		Datum values[5] = {CStringGetTextDatum(weight->name), Float8GetDatum(weight->value),
						   Float8GetDatum(weight->least), Float8GetDatum(weight->most),
						   CStringGetTextDatum(weight->multiplies)};
		bool nulls[5] = {false};

		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}
