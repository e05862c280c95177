/*
 * The score: points of each feature, the lane and the quadrant. Pure functions of the policy,
 * the cell's features and the slack; the order within a cell is by slack for any policy.
 */
#include "priority/priority.h"

#include <math.h>

#include "common/int.h"

/*
 * Slack in microseconds. Infinite deadlines give the widest slack; a difference too large for the
 * type is cut to it.
 */
int64
aurora_slack(TimestampTz act_by, TimestampTz at)
{
	int64 slack;

	if (TIMESTAMP_IS_NOEND(act_by))
		return PG_INT64_MAX;
	if (TIMESTAMP_IS_NOBEGIN(act_by))
		return PG_INT64_MIN;
	if (pg_sub_s64_overflow(act_by, at, &slack))
		return act_by > at ? PG_INT64_MAX : PG_INT64_MIN;
	return slack;
}

/*
 * Urgency, 0 to 1, continuous and falling with slack: 0.7 at the deadline, half of it one
 * half-life before; overdue it nears 1, so that what is long overdue does not grow without bound.
 */
double
aurora_urgency(int64 slack, int64 half_life)
{
	double half_lives = (double) slack / (double) half_life;

	return slack >= 0 ? 0.7 * exp2(-half_lives) : 1.0 - 0.3 * exp2(half_lives);
}

/*
 * The revenue level as this policy compares it: shifted when the company's money is not the one
 * compared in.
 */
int
aurora_revenue_level(const AuroraPolicy *policy, const AuroraFeatures *f)
{
	int level = f->revenue_level;

	if (level == 0 || policy->revenue_shift == 0)
		return level;
	level += policy->revenue_shift;
	return Max(0, Min(level, AURORA_LEVEL_OF_REVENUE_MAX));
}

static double
feature_points(const AuroraPolicy *policy, const AuroraFeatures *f, AuroraFeature feature,
			   int64 slack)
{
	const AuroraKindSettings *kind = &policy->company->kinds[f->kind];
	const double *weights = policy->weights;

	switch (feature)
	{
		case AURORA_FEATURE_REVENUE:
			return weights[AURORA_WEIGHT_REVENUE] * aurora_revenue_level(policy, f) /
				   AURORA_LEVEL_OF_REVENUE_MAX;
		case AURORA_FEATURE_VIP:
			return f->vip ? weights[AURORA_WEIGHT_VIP] : 0;
		case AURORA_FEATURE_RISK:
			return weights[AURORA_WEIGHT_RISK] * f->risk;
		case AURORA_FEATURE_BOOST:
			return weights[AURORA_WEIGHT_BOOST] * f->boost;
		case AURORA_FEATURE_OFFSET:
			return kind->offset;
		case AURORA_FEATURE_URGENCY:
			return weights[AURORA_WEIGHT_URGENCY] * aurora_urgency(slack, kind->half_life);
		case AURORA_FEATURE_COUNT:
			break;
	}
	elog(ERROR, "unknown feature %d", feature);
}

/*
 * Points of one feature in thousandths, each rounded by itself (half to even).
 */
int64
aurora_points(const AuroraPolicy *policy, const AuroraFeatures *f, AuroraFeature feature,
			  int64 slack)
{
	return (int64) rint(feature_points(policy, f, feature, slack) * 1000.0);
}

int64
aurora_static_points(const AuroraPolicy *policy, const AuroraFeatures *f)
{
	int64 points = 0;

	for (AuroraFeature feature = 0; feature < AURORA_FEATURE_URGENCY; feature++)
		points += aurora_points(policy, f, feature, 0);
	return points;
}

/*
 * Lane 0 is for what must not be missed: big and urgent or at risk; a VIP's mail when half of the
 * time to answer is gone; an incident of severity 1. All else is lane 1.
 */
int
aurora_lane(const AuroraPolicy *policy, const AuroraFeatures *f, int64 slack)
{
	const AuroraCompany *company = policy->company;

	if (f->severe)
		return 0;
	if (f->big && (f->risk >= 2 || slack <= company->kinds[f->kind].half_life))
		return 0;
	if (f->vip && company->kinds[f->kind].base == AURORA_KIND_EMAIL && slack <= company->sla / 2)
		return 0;
	return 1;
}

bool
aurora_important(const AuroraPolicy *policy, const AuroraFeatures *f)
{
	return f->big || f->vip || aurora_static_points(policy, f) >= policy->important;
}

/*
 * Urgent is an urgency of 0.35 or more, which is a slack of one half-life or less.
 */
bool
aurora_urgent(const AuroraPolicy *policy, const AuroraFeatures *f, int64 slack)
{
	return slack <= policy->company->kinds[f->kind].half_life;
}

AuroraQuadrant
aurora_quadrant_of(bool important, bool urgent)
{
	if (important)
		return urgent ? AURORA_Q1 : AURORA_Q2;
	return urgent ? AURORA_Q3 : AURORA_Q4;
}
