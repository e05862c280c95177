/*
 * explain(): an item's score, a row for each feature; and the same numbers as one row for queries
 * over many items.
 */
#include "priority/priority.h"

#include "access/htup_details.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "access/table.h"
#include "utils/rel.h"

PG_FUNCTION_INFO_V1(aurora_explain_features);
PG_FUNCTION_INFO_V1(aurora_item_score);

static const char *const feature_name[AURORA_FEATURE_COUNT] = {
	[AURORA_FEATURE_REVENUE] = "revenue", [AURORA_FEATURE_VIP] = "vip",
	[AURORA_FEATURE_RISK] = "risk",		  [AURORA_FEATURE_BOOST] = "boost",
	[AURORA_FEATURE_OFFSET] = "kind",	  [AURORA_FEATURE_URGENCY] = "urgency",
};

/* ---- policies kept for a statement ---- */

typedef struct CachedPolicy
{
	int32 company_id;
	char *owner;
	AuroraPolicy *policy;
} CachedPolicy;

static void
check_may_see(int32 company_id, const char *owner)
{
	if (!aurora_identity_is_vouched() &&
		!aurora_identity_sees(aurora_identity_get(GetActiveSnapshot()), company_id, owner))
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("permission denied for owner \"%s\"", owner)));
}

/*
 * The policy of an owner for a function that is called once per row.
 */
static AuroraPolicy *
policy_of_call(FunctionCallInfo fcinfo, int32 company_id, const char *owner)
{
	AuroraCallCache *cache = aurora_call_cache(fcinfo->flinfo);
	CachedPolicy *cached;
	MemoryContext old;
	ListCell *lc;

	foreach (lc, (List *) cache->kept)
	{
		cached = lfirst(lc);
		if (cached->company_id == company_id && strcmp(cached->owner, owner) == 0)
			return cached->policy;
	}
	check_may_see(company_id, owner);
	old = MemoryContextSwitchTo(cache->context);
	cached = palloc(sizeof(CachedPolicy));
	cached->company_id = company_id;
	cached->owner = pstrdup(owner);
	cached->policy = aurora_policy_load(company_id, owner, GetActiveSnapshot());
	cache->kept = lcons(cached, cache->kept);
	MemoryContextSwitchTo(old);
	return cached->policy;
}

/*
 * item_score(company_id, owner, cell, act_by, at): lane, score, static points, urgency, important,
 * urgent and quadrant of a row of aurora.item, by the owner's weights.
 */
Datum
aurora_item_score(PG_FUNCTION_ARGS)
{
	char *owner = text_to_cstring(PG_GETARG_TEXT_PP(1));
	AuroraPolicy *policy = policy_of_call(fcinfo, PG_GETARG_INT32(0), owner);
	AuroraFeatures features;
	TupleDesc desc;
	Datum values[7];
	bool nulls[7] = {false};
	int64 slack = aurora_slack(PG_GETARG_TIMESTAMPTZ(3), PG_GETARG_TIMESTAMPTZ(4));
	int64 points;
	bool important;
	bool urgent;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "item_score() returns a row");
	aurora_cell_unpack(PG_GETARG_INT32(2), &features);
	points = aurora_static_points(policy, &features);
	important = aurora_important(policy, &features);
	urgent = aurora_urgent(policy, &features, slack);
	values[0] = Int32GetDatum(aurora_lane(policy, &features, slack));
	values[1] = NumericGetDatum(int64_div_fast_to_numeric(
		points + aurora_points(policy, &features, AURORA_FEATURE_URGENCY, slack), 3));
	values[2] = NumericGetDatum(int64_div_fast_to_numeric(points, 3));
	values[3] =
		Float8GetDatum(aurora_urgency(slack, policy->company->kinds[features.kind].half_life));
	values[4] = BoolGetDatum(important);
	values[5] = BoolGetDatum(urgent);
	values[6] = ObjectIdGetDatum(aurora_enum_oid(
		"item_quadrant", aurora_quadrant_label[aurora_quadrant_of(important, urgent)]));
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

/* ---- explain ---- */

static char *
feature_value(const AuroraPolicy *policy, const AuroraFeatures *f, AuroraFeature feature,
			  int64 slack)
{
	const AuroraKindSettings *kind = &policy->company->kinds[f->kind];

	switch (feature)
	{
		case AURORA_FEATURE_REVENUE:
			return psprintf("level %d%s", aurora_revenue_level(policy, f), f->big ? ", big" : "");
		case AURORA_FEATURE_VIP:
			return f->vip ? "yes" : "no";
		case AURORA_FEATURE_RISK:
			return psprintf("%d", f->risk);
		case AURORA_FEATURE_BOOST:
			return psprintf("%d", f->boost);
		case AURORA_FEATURE_OFFSET:
			return kind->name ? kind->name : "unknown";
		case AURORA_FEATURE_URGENCY:
			return psprintf("%.4f", aurora_urgency(slack, kind->half_life));
		case AURORA_FEATURE_COUNT:
			break;
	}
	elog(ERROR, "unknown feature %d", feature);
}

static char *
feature_formula(const AuroraPolicy *policy, const AuroraFeatures *f, AuroraFeature feature,
				int64 slack)
{
	const AuroraKindSettings *kind = &policy->company->kinds[f->kind];
	const double *weights = policy->weights;

	switch (feature)
	{
		case AURORA_FEATURE_REVENUE:
			return psprintf("%g x level / %d; level counts half-octaves of the expected value "
							"from %g %s",
							weights[AURORA_WEIGHT_REVENUE], AURORA_LEVEL_OF_REVENUE_MAX,
							policy->company->revenue_unit, policy->company->currency);
		case AURORA_FEATURE_VIP:
			return psprintf("%g for a VIP", weights[AURORA_WEIGHT_VIP]);
		case AURORA_FEATURE_RISK:
			return psprintf("%g x risk, 0 to 3", weights[AURORA_WEIGHT_RISK]);
		case AURORA_FEATURE_BOOST:
			return psprintf("%g x boost, -2 to 2", weights[AURORA_WEIGHT_BOOST]);
		case AURORA_FEATURE_OFFSET:
			return psprintf("%g for this kind", kind->offset);
		case AURORA_FEATURE_URGENCY:
			return psprintf(slack >= 0 ? "%g x 0.7 x 2^(-slack / %g h)"
									   : "%g x (1 - 0.3 x 2^(slack / %g h)), overdue",
							weights[AURORA_WEIGHT_URGENCY],
							(double) kind->half_life / USECS_PER_HOUR);
		case AURORA_FEATURE_COUNT:
			break;
	}
	elog(ERROR, "unknown feature %d", feature);
}

/*
 * explain_features(company_id, owner, cell, act_by, at): the rows of explain(), which finds the
 * item and checks that the caller may see it.
 */
Datum
aurora_explain_features(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	char *owner = text_to_cstring(PG_GETARG_TEXT_PP(1));
	int64 slack = aurora_slack(PG_GETARG_TIMESTAMPTZ(3), PG_GETARG_TIMESTAMPTZ(4));
	AuroraPolicy *policy;
	AuroraFeatures features;

	check_may_see(PG_GETARG_INT32(0), owner);
	InitMaterializedSRF(fcinfo, 0);
	policy = aurora_policy_load(PG_GETARG_INT32(0), owner, GetActiveSnapshot());
	policy->revenue_shift = aurora_shift_on_surface(policy->company, owner, GetActiveSnapshot());
	aurora_cell_unpack(PG_GETARG_INT32(2), &features);
	for (AuroraFeature feature = 0; feature < AURORA_FEATURE_COUNT; feature++)
	{
		Datum values[4] = {CStringGetTextDatum(feature_name[feature]),
						   CStringGetTextDatum(feature_value(policy, &features, feature, slack)),
						   NumericGetDatum(int64_div_fast_to_numeric(
							   aurora_points(policy, &features, feature, slack), 3)),
						   CStringGetTextDatum(feature_formula(policy, &features, feature, slack))};
		bool nulls[4] = {false};

		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}
