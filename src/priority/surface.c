/*
 * The SQL face of the merge: surface(), agenda(), quadrant() and company_surface() check who asks
 * for whose rows, and turn the merge's rows into answers.
 */
#include "priority/priority.h"

#include <math.h>

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_enum.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#define TOP_N_MAX 1000

/* Columns of an answer, in order; company_surface() adds the owner. */
enum
{
	ANSWER_RANK,
	ANSWER_ITEM_ID,
	ANSWER_KIND,
	ANSWER_TITLE,
	ANSWER_QUADRANT,
	ANSWER_SCORE,
	ANSWER_AMOUNT,
	ANSWER_CURRENCY,
	ANSWER_ACT_BY,
	ANSWER_SLACK,
	ANSWER_WHY,
	ANSWER_LANE,
	ANSWER_LANE0_LEFT_OUT,
	ANSWER_OWNER,
	ANSWER_COLUMNS
};

PG_FUNCTION_INFO_V1(aurora_surface);
PG_FUNCTION_INFO_V1(aurora_agenda);
PG_FUNCTION_INFO_V1(aurora_quadrant);
PG_FUNCTION_INFO_V1(aurora_company_surface);
PG_FUNCTION_INFO_V1(aurora_owner_surface);

/* ---- arguments ---- */

static int
checked_top_n(FunctionCallInfo fcinfo, int argument)
{
	int top_n = PG_ARGISNULL(argument) ? 10 : PG_GETARG_INT32(argument);

	if (top_n < 1 || top_n > TOP_N_MAX)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("%d rows cannot be asked for", top_n),
						errhint("Ask for 1 to %d rows.", TOP_N_MAX)));
	return top_n;
}

static TimestampTz
checked_at(FunctionCallInfo fcinfo, int argument)
{
	TimestampTz at = PG_ARGISNULL(argument) ? GetCurrentTransactionStartTimestamp()
											: PG_GETARG_TIMESTAMPTZ(argument);

	if (TIMESTAMP_NOT_FINITE(at))
		ereport(ERROR, (errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
						errmsg("the time asked about must be finite"),
						errhint("Leave it out to ask about now.")));
	return at;
}

/*
 * The position of a label in a list of labels, or an error that shows the list.
 */
static int
checked_label(FunctionCallInfo fcinfo, int argument, const char *what, const char *const *labels,
			  int count)
{
	char *label = PG_ARGISNULL(argument) ? "" : text_to_cstring(PG_GETARG_TEXT_PP(argument));
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; i < count; i++)
	{
		if (strcmp(labels[i], label) == 0)
			return i;
		appendStringInfo(&list, "%s%s", i ? ", " : "", labels[i]);
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("there is no %s \"%s\"", what, label),
			 errhint("There are %s.", list.data)));
}

/* ---- whose rows ---- */

/*
 * Raises the error for an owner of whom the caller sees nothing. Colleagues are known by name to
 * each other, so it may tell an owner whose rows are not the caller's to see from one that is not
 * there.
 */
static void
refuse_owner(const AuroraIdentity *identity, const char *owner, Snapshot snapshot)
{
	char *names = aurora_identity_owner_names(identity, snapshot);
	AuroraPrincipal principal;
	bool exists = false;
	ListCell *lc;

	foreach (lc, aurora_identity_companies(identity, snapshot))
		exists = exists || aurora_principal_find(lfirst_int(lc), cstring_to_text(owner), snapshot,
												 &principal);
	if (exists || (!names && !identity->administers_all))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for owner \"%s\"", owner),
				 errhint("Managers see all owners of their company; others see their own.")));
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("there is no owner \"%s\"", owner),
			 errhint("Owners: %s.", names ? names : "none yet")));
}

static void
refuse_stranger(const AuroraIdentity *identity)
{
	if (identity->administers_all)
		return;
	ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					errmsg("role \"%s\" is not a principal of any company",
						   GetUserNameFromId(GetOuterUserId(), false)),
					errhint("An administrator adds it with aurora.add_principal(owner, company, "
							"login_role).")));
}

static AuroraScope *
make_scope(const AuroraPrincipal *principal, AuroraLevel level, AuroraPolicy *policy)
{
	AuroraScope *scope = palloc(sizeof(AuroraScope));

	scope->company_id = principal->company_id;
	scope->number = aurora_scope_number(principal->number, level);
	scope->policy = policy;
	return scope;
}

/*
 * The scope of a principal by its own weights.
 */
static AuroraScope *
own_scope(const AuroraPrincipal *principal, AuroraLevel level, Snapshot snapshot)
{
	return make_scope(principal, level,
					  aurora_policy_load(principal->company_id, principal->owner, snapshot));
}

/*
 * Half-octaves by which a company's revenue levels are shifted to be compared in the currency, and
 * with the revenue unit, of the first company.
 */
static int
shift_to(const AuroraCompany *home, const AuroraCompany *other, Snapshot snapshot)
{
	double rate = 1;
	double shift;
	Numeric found;

	if (strcmp(home->currency, other->currency) != 0)
	{
		if (!aurora_rate_find(home->company_id, cstring_to_text(other->currency), snapshot, &found))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("company \"%s\" has no rate for the currency %s", home->name,
							other->currency),
					 errdetail("Company \"%s\" counts in it, and both are asked for.", other->name),
					 errhint("Set what one %s is worth in %s with aurora.set_rate().",
							 other->currency, home->currency)));
		rate = DatumGetFloat8(DirectFunctionCall1(numeric_float8, NumericGetDatum(found)));
	}
	shift = rint(2 * log2(rate * other->revenue_unit / home->revenue_unit));
	return (int) Max(-AURORA_LEVEL_OF_REVENUE_MAX, Min(shift, AURORA_LEVEL_OF_REVENUE_MAX));
}

static void
compare_in_one_currency(List *scopes, Snapshot snapshot)
{
	AuroraScope *first = scopes ? linitial(scopes) : NULL;
	ListCell *lc;

	foreach (lc, scopes)
	{
		AuroraPolicy *policy = ((AuroraScope *) lfirst(lc))->policy;

		if (policy->company->company_id != first->company_id)
			policy->revenue_shift = shift_to(first->policy->company, policy->company, snapshot);
	}
}

/*
 * The company whose currency an owner's surface is compared in: the caller's first when the owner
 * is the caller, else the first in which the caller sees the owner.
 */
static int32
home_company(const AuroraIdentity *identity, int32 company_id, const char *owner, Snapshot snapshot)
{
	AuroraPrincipal *self = aurora_identity_in(identity, company_id);
	AuroraPrincipal principal;
	ListCell *lc;

	if (self && strcmp(self->owner, owner) == 0)
		return ((AuroraPrincipal *) linitial(identity->principals))->company_id;
	foreach (lc, aurora_identity_companies(identity, snapshot))
		if (aurora_identity_sees(identity, lfirst_int(lc), owner) &&
			aurora_principal_find(lfirst_int(lc), cstring_to_text(owner), snapshot, &principal))
			return lfirst_int(lc);
	return company_id;
}

int
aurora_shift_on_surface(const AuroraCompany *company, const char *owner, Snapshot snapshot)
{
	int32 home = home_company(aurora_identity_get(snapshot), company->company_id, owner, snapshot);

	if (home == company->company_id)
		return 0;
	return shift_to(aurora_company_load(home, snapshot), company, snapshot);
}

/*
 * The scopes of one owner, over all companies in which the caller may see the owner; with owner
 * NULL those of the caller.
 */
static List *
scopes_of_owner(const char *owner, AuroraLevel level, Snapshot snapshot)
{
	AuroraIdentity *identity = aurora_identity_get(snapshot);
	List *scopes = NIL;
	ListCell *lc;

	if (!owner)
	{
		foreach (lc, identity->principals)
			scopes = lappend(scopes, own_scope(lfirst(lc), level, snapshot));
		if (!scopes)
			refuse_stranger(identity);
	}
	else
	{
		if (aurora_identity_is_vouched())
			identity->administers_all = true;
		foreach (lc, aurora_identity_companies(identity, snapshot))
		{
			int32 company_id = lfirst_int(lc);
			AuroraPrincipal principal;

			if (aurora_identity_sees(identity, company_id, owner) &&
				aurora_principal_find(company_id, cstring_to_text(owner), snapshot, &principal))
				scopes = lappend(scopes, own_scope(&principal, level, snapshot));
		}
		if (!scopes)
			refuse_owner(identity, owner, snapshot);
	}
	compare_in_one_currency(scopes, snapshot);
	return scopes;
}

/*
 * The scopes of all owners of a company, scored by the company's own weights so that no owner's
 * taste moves another's items. With company NULL, the caller's first.
 */
static List *
scopes_of_company(text *company, Snapshot snapshot)
{
	AuroraIdentity *identity = aurora_identity_get(snapshot);
	AuroraPrincipal *self;
	AuroraPolicy *policy;
	List *scopes = NIL;
	int32 company_id;
	ListCell *lc;

	if (company)
	{
		if (!aurora_company_find(company, snapshot, &company_id) ||
			(!identity->administers_all && !aurora_identity_in(identity, company_id)))
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg("there is no company \"%s\" that the caller belongs to",
								   text_to_cstring(company)),
							errhint("SELECT name FROM aurora.company lists the companies.")));
	}
	else if (identity->principals)
		company_id = ((AuroraPrincipal *) linitial(identity->principals))->company_id;
	else
	{
		refuse_stranger(identity);
		return NIL;
	}
	self = aurora_identity_in(identity, company_id);
	if (!identity->administers_all && self->trust < AURORA_TRUST_MANAGER)
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("permission denied for the items of all owners"),
						errhint("Managers may ask for them. aurora.surface() shows your own.")));
	policy = aurora_policy_load(company_id, NULL, snapshot);
	foreach (lc, aurora_company_principals(company_id, snapshot))
		scopes = lappend(scopes, make_scope(lfirst(lc), AURORA_LEVEL_HUMAN, policy));
	return scopes;
}

/* ---- answers ---- */

static Datum
enum_datum(const char *type_name, const char *label)
{
	return ObjectIdGetDatum(aurora_enum_oid(type_name, label));
}

static void
copy_column(const AuroraRow *row, TupleDesc desc, int column, int answer, Datum *values,
			bool *nulls)
{
	values[answer] = heap_getattr(row->tuple, column, desc, &nulls[answer]);
}

static void
put_row(ReturnSetInfo *result, const AuroraMergeRequest *request, const AuroraMergeResult *merged,
		int i, Snapshot snapshot)
{
	const AuroraRow *row = &merged->rows[i];
	const AuroraPolicy *policy = row->scope->policy;
	TupleDesc desc = merged->item_desc;
	int64 slack = aurora_slack(row->key.act_by, request->at);
	AuroraQuadrant quadrant = aurora_quadrant_of(aurora_important(policy, &row->features),
												 aurora_urgent(policy, &row->features, slack));
	Datum values[ANSWER_COLUMNS];
	bool nulls[ANSWER_COLUMNS] = {false};

	values[ANSWER_RANK] = Int32GetDatum(i + 1);
	copy_column(row, desc, ITEM_ITEM_ID, ANSWER_ITEM_ID, values, nulls);
	copy_column(row, desc, ITEM_KIND, ANSWER_KIND, values, nulls);
	copy_column(row, desc, ITEM_TITLE, ANSWER_TITLE, values, nulls);
	values[ANSWER_QUADRANT] = enum_datum("item_quadrant", aurora_quadrant_label[quadrant]);
	values[ANSWER_SCORE] = NumericGetDatum(int64_div_fast_to_numeric(row->key.score, 3));
	copy_column(row, desc, ITEM_AMOUNT, ANSWER_AMOUNT, values, nulls);
	copy_column(row, desc, ITEM_CURRENCY, ANSWER_CURRENCY, values, nulls);
	values[ANSWER_ACT_BY] = TimestampTzGetDatum(row->key.act_by);
	if (TIMESTAMP_NOT_FINITE(row->key.act_by) || slack == PG_INT64_MIN || slack == PG_INT64_MAX)
		nulls[ANSWER_SLACK] = true;
	else
		values[ANSWER_SLACK] = DirectFunctionCall2(timestamp_mi, values[ANSWER_ACT_BY],
												   TimestampTzGetDatum(request->at));
	values[ANSWER_WHY] = CStringGetTextDatum(aurora_why(row, desc, request->at, snapshot));
	values[ANSWER_LANE] = Int32GetDatum(row->key.lane);
	values[ANSWER_LANE0_LEFT_OUT] = Int32GetDatum(merged->lane0_left_out);
	copy_column(row, desc, ITEM_OWNER, ANSWER_OWNER, values, nulls);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

static Datum
answer(FunctionCallInfo fcinfo, const AuroraMergeRequest *request)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Snapshot snapshot = GetActiveSnapshot();
	AuroraMergeResult merged;

	InitMaterializedSRF(fcinfo, 0);
	aurora_merge(request, snapshot, &merged);
	for (int i = 0; i < merged.count; i++)
		put_row(result, request, &merged, i, snapshot);
	return (Datum) 0;
}

static char *
owner_argument(FunctionCallInfo fcinfo, int argument)
{
	return PG_ARGISNULL(argument) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(argument));
}

Datum
aurora_surface(PG_FUNCTION_ARGS)
{
	AuroraMergeRequest request = {.quadrant = -1};

	request.limit = checked_top_n(fcinfo, 0);
	request.at = checked_at(fcinfo, 2);
	request.scopes =
		scopes_of_owner(owner_argument(fcinfo, 1), AURORA_LEVEL_HUMAN, GetActiveSnapshot());
	return answer(fcinfo, &request);
}

Datum
aurora_agenda(PG_FUNCTION_ARGS)
{
	AuroraMergeRequest request = {.quadrant = -1};
	AuroraLevel level;

	level = checked_label(fcinfo, 0, "level", aurora_level_label, AURORA_LEVEL_COUNT);
	request.limit = checked_top_n(fcinfo, 1);
	request.at = checked_at(fcinfo, 3);
	request.scopes = scopes_of_owner(owner_argument(fcinfo, 2), level, GetActiveSnapshot());
	return answer(fcinfo, &request);
}

Datum
aurora_quadrant(PG_FUNCTION_ARGS)
{
	AuroraMergeRequest request = {0};

	request.quadrant =
		checked_label(fcinfo, 0, "quadrant", aurora_quadrant_label, AURORA_QUADRANT_COUNT);
	request.limit = checked_top_n(fcinfo, 1);
	request.at = checked_at(fcinfo, 3);
	request.scopes =
		scopes_of_owner(owner_argument(fcinfo, 2), AURORA_LEVEL_HUMAN, GetActiveSnapshot());
	return answer(fcinfo, &request);
}

Datum
aurora_company_surface(PG_FUNCTION_ARGS)
{
	AuroraMergeRequest request = {.quadrant = -1};

	request.limit = checked_top_n(fcinfo, 0);
	request.at = checked_at(fcinfo, 2);
	request.scopes =
		scopes_of_company(PG_ARGISNULL(1) ? NULL : PG_GETARG_TEXT_PP(1), GetActiveSnapshot());
	return answer(fcinfo, &request);
}

Datum
aurora_owner_surface(PG_FUNCTION_ARGS)
{
	AuroraMergeRequest request = {.quadrant = -1};
	Snapshot snapshot = GetActiveSnapshot();
	AuroraIdentity *identity = aurora_identity_get(snapshot);
	int32 company_id = PG_GETARG_INT32(0);
	text *owner = PG_GETARG_TEXT_PP(1);
	AuroraPrincipal principal;

	if (aurora_identity_is_vouched())
		identity->administers_all = true;
	request.limit = checked_top_n(fcinfo, 2);
	request.at = checked_at(fcinfo, 3);
	if (!aurora_identity_sees(identity, company_id, text_to_cstring(owner)) ||
		!aurora_principal_find(company_id, owner, snapshot, &principal))
		refuse_owner(identity, text_to_cstring(owner), snapshot);
	request.scopes = list_make1(own_scope(&principal, AURORA_LEVEL_HUMAN, snapshot));
	return answer(fcinfo, &request);
}
