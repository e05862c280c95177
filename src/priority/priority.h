/*
 * The priority surface: which open items matter now.
 *
 * Points are kept in thousandths ("milli"), so that the points of the features add up to the score
 * exactly. "Slack" is act_by less the time asked about, in microseconds. "Cell" is in
 * shared/cell.h. The formula and its constants are explained in docs/priority.md.
 */
#ifndef AURORA_PRIORITY_H
#define AURORA_PRIORITY_H

#include "core/core.h"
#include "shared/cell.h"
#include "shared/priority_names.h"
#include "tenancy/tenancy.h"
#include "utils/numeric.h"
#include "utils/snapshot.h"

/* ---- note.c ---- */

extern void aurora_priority_note_init(void);

/* Columns of aurora.item, in table order. */
enum
{
	ITEM_COMPANY_ID = 1,
	ITEM_ITEM_ID,
	ITEM_OWNER,
	ITEM_LEVEL,
	ITEM_SCOPE,
	ITEM_CELL,
	ITEM_ACT_BY,
	ITEM_KIND,
	ITEM_TITLE,
	ITEM_AMOUNT,
	ITEM_CURRENCY,
	ITEM_WIN_CHANCE,
	ITEM_DUE_AT,
	ITEM_RECEIVED_AT,
	ITEM_LAST_ACTIVITY_AT,
	ITEM_VIP,
	ITEM_RISK,
	ITEM_BOOST,
	ITEM_SEVERITY,
	ITEM_GROUP_KEY,
	ITEM_SNOOZE_UNTIL,
	ITEM_STATE,
	ITEM_STATE_AT,
	ITEM_STATE_BY,
	ITEM_OUTCOME,
	ITEM_DELEGATED_TO,
	ITEM_OPEN_BLOCKERS,
	ITEM_BLOCKING,
	ITEM_PROVIDER,
	ITEM_EXTERNAL_ID,
	ITEM_URL,
	ITEM_SENDER,
	ITEM_CREATED_AT,
	ITEM_PLACED_AT,
	ITEM_DETAILS,
	ITEM_COLUMNS = ITEM_DETAILS
};

typedef struct AuroraKindSettings
{
	char *name; /* NULL when no kind has this number */
	AuroraKind base;
	int64 half_life;		/* microseconds */
	int64 stall_limit;		/* microseconds, 0 for none */
	int64 default_deadline; /* microseconds, 0 for none */
	double offset;			/* points */
} AuroraKindSettings;

/* A company's settings, as far as items are placed and scored by them. */
typedef struct AuroraCompany
{
	int32 company_id;
	char *name;
	char *currency;
	Numeric big_threshold;
	int64 sla; /* microseconds */
	double important_points;
	double revenue_unit;
	AuroraKindSettings kinds[AURORA_KIND_MAX];
} AuroraCompany;

/* The above with the weights of one owner, or of the company as a whole: what a score needs. */
typedef struct AuroraPolicy
{
	AuroraCompany *company;
	double weights[AURORA_WEIGHT_COUNT];
	int revenue_shift; /* half-octaves added to compare with another company's money */
	int64 important;   /* milli */
} AuroraPolicy;

/* What orders the surface: smaller lane, then larger score, then earlier act_by, then id. */
typedef struct AuroraKey
{
	int lane;
	int64 score; /* milli */
	TimestampTz act_by;
	int32 company_id;
	int64 item_id;
} AuroraKey;

/* ---- settings.c ---- */
extern AuroraCompany *aurora_company_load(int32 company_id, Snapshot snapshot);
extern AuroraPolicy *aurora_policy_load(int32 company_id, const char *owner, Snapshot snapshot);
extern bool aurora_rate_find(int32 company_id, text *currency, Snapshot snapshot, Numeric *rate);
extern int aurora_kind_number(const AuroraCompany *company, const char *kind);
extern char *aurora_kind_names(const AuroraCompany *company);
extern AuroraLevel aurora_level_from_enum(Oid value);

/* ---- score.c ---- */
typedef enum AuroraFeature
{
	AURORA_FEATURE_REVENUE,
	AURORA_FEATURE_VIP,
	AURORA_FEATURE_RISK,
	AURORA_FEATURE_BOOST,
	AURORA_FEATURE_OFFSET,
	AURORA_FEATURE_URGENCY,
	AURORA_FEATURE_COUNT
} AuroraFeature;

extern int64 aurora_slack(TimestampTz act_by, TimestampTz at);
extern double aurora_urgency(int64 slack, int64 half_life);
extern int aurora_revenue_level(const AuroraPolicy *policy, const AuroraFeatures *features);
extern int64 aurora_points(const AuroraPolicy *policy, const AuroraFeatures *features,
						   AuroraFeature feature, int64 slack);
extern int64 aurora_static_points(const AuroraPolicy *policy, const AuroraFeatures *features);
extern int aurora_lane(const AuroraPolicy *policy, const AuroraFeatures *features, int64 slack);
extern bool aurora_important(const AuroraPolicy *policy, const AuroraFeatures *features);
extern bool aurora_urgent(const AuroraPolicy *policy, const AuroraFeatures *features, int64 slack);
extern AuroraQuadrant aurora_quadrant_of(bool important, bool urgent);

/* ---- merge.c ---- */

/* Rows of one owner and level in one company, scored by one policy. */
typedef struct AuroraScope
{
	int32 company_id;
	int32 number; /* as rows carry it; see aurora_scope_number() */
	AuroraPolicy *policy;
} AuroraScope;

/* A principal and a level as one number, by which the indexes of items begin. */
static inline int32
aurora_scope_number(int32 principal_number, AuroraLevel level)
{
	return principal_number << 2 | (int32) level;
}

typedef struct AuroraMergeRequest
{
	List *scopes; /* of AuroraScope */
	TimestampTz at;
	int quadrant; /* an AuroraQuadrant, or -1 for all */
	int limit;
} AuroraMergeRequest;

typedef struct AuroraRow
{
	AuroraKey key;
	AuroraScope *scope;
	AuroraFeatures features;
	HeapTuple tuple; /* of aurora.item */
} AuroraRow;

typedef struct AuroraMergeResult
{
	AuroraRow *rows;
	int count;
	int lane0_left_out; /* counted up to AURORA_LEFT_OUT_MAX */
	TupleDesc item_desc;
} AuroraMergeResult;

#define AURORA_LEFT_OUT_MAX 100

extern void aurora_merge(const AuroraMergeRequest *request, Snapshot snapshot,
						 AuroraMergeResult *result);

/* ---- surface.c ---- */

/*
 * The shift by which an owner's revenue levels in a company are compared on its surface, which may
 * be over several companies.
 */
extern int aurora_shift_on_surface(const AuroraCompany *company, const char *owner,
								   Snapshot snapshot);

/* ---- why.c ---- */
extern char *aurora_why(const AuroraRow *row, TupleDesc item_desc, TimestampTz at,
						Snapshot snapshot);

/* ---- labels ---- */
extern const char *const aurora_quadrant_label[AURORA_QUADRANT_COUNT];
extern const char *const aurora_level_label[AURORA_LEVEL_COUNT];

extern void aurora_priority_init(void);

#endif
