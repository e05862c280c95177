/*
 * Names and constants of the priority surface that SQL and C share, each written once.
 *
 * A kind's deadlines are in seconds; 0 means none. "Base" is the built-in kind that a company's
 * own kind behaves like. docs/priority.md says why each constant is what it is.
 */
#ifndef AURORA_PRIORITY_NAMES_H
#define AURORA_PRIORITY_NAMES_H

#define AURORA_MINUTE 60
#define AURORA_HOUR 3600
#define AURORA_DAY 86400

/* symbol, name, half-life, stall limit, default deadline, offset in points */
#define AURORA_KIND_LIST(X)                                                           \
	X(AURORA_KIND_DEAL, "deal", 7 * AURORA_DAY, 14 * AURORA_DAY, 730 * AURORA_DAY, 0) \
	X(AURORA_KIND_EMAIL, "email", 4 * AURORA_HOUR, 0, 3 * AURORA_DAY, 2)              \
	X(AURORA_KIND_MEETING, "meeting", 12 * AURORA_HOUR, 0, 7 * AURORA_DAY, 4)         \
	X(AURORA_KIND_TASK, "task", 3 * AURORA_DAY, 0, 14 * AURORA_DAY, 4)                \
	X(AURORA_KIND_INCIDENT, "incident", 1 * AURORA_HOUR, 0, 1 * AURORA_HOUR, 8)       \
	X(AURORA_KIND_CHORE, "chore", 2 * AURORA_DAY, 0, 14 * AURORA_DAY, 0)

/* symbol, name, default, least, most, what it multiplies */
#define AURORA_WEIGHT_LIST(X)                                             \
	X(AURORA_WEIGHT_REVENUE, "revenue", 40, 0, 200, "revenue level / 31") \
	X(AURORA_WEIGHT_VIP, "vip", 15, 0, 200, "1 for a VIP")                \
	X(AURORA_WEIGHT_RISK, "risk", 5, 0, 50, "risk, 0 to 3")               \
	X(AURORA_WEIGHT_BOOST, "boost", 4, 0, 50, "boost, -2 to 2")           \
	X(AURORA_WEIGHT_URGENCY, "urgency", 40, 0, 200, "urgency, 0 to 1")

/* A kind's own weights are named after it: offset.deal in points, half_life.deal in hours. */
#define AURORA_OFFSET_PREFIX "offset."
#define AURORA_OFFSET_LEAST -100
#define AURORA_OFFSET_MOST 100
#define AURORA_HALF_LIFE_PREFIX "half_life."
#define AURORA_HALF_LIFE_LEAST 0.01
#define AURORA_HALF_LIFE_MOST 8760

#define AURORA_LEVEL_LIST(X)       \
	X(AURORA_LEVEL_HUMAN, "human") \
	X(AURORA_LEVEL_AGENT, "agent") \
	X(AURORA_LEVEL_SELF, "self")

#define AURORA_STATE_LIST(X)               \
	X(AURORA_STATE_OPEN, "open")           \
	X(AURORA_STATE_DONE, "done")           \
	X(AURORA_STATE_DISMISSED, "dismissed") \
	X(AURORA_STATE_DELEGATED, "delegated") \
	X(AURORA_STATE_ARCHIVED, "archived")

#define AURORA_QUADRANT_LIST(X) \
	X(AURORA_Q1, "Q1_DO_NOW")   \
	X(AURORA_Q2, "Q2_SCHEDULE") \
	X(AURORA_Q3, "Q3_DELEGATE") \
	X(AURORA_Q4, "Q4_ELIMINATE")

typedef enum AuroraKind
{
#define AURORA_VALUE(symbol, ...) symbol,
	AURORA_KIND_LIST(AURORA_VALUE) AURORA_KIND_BUILTIN_COUNT
} AuroraKind;

typedef enum AuroraWeight
{
	AURORA_WEIGHT_LIST(AURORA_VALUE) AURORA_WEIGHT_COUNT
} AuroraWeight;

typedef enum AuroraLevel
{
	AURORA_LEVEL_LIST(AURORA_VALUE) AURORA_LEVEL_COUNT
} AuroraLevel;

typedef enum AuroraState
{
	AURORA_STATE_LIST(AURORA_VALUE) AURORA_STATE_COUNT
} AuroraState;

typedef enum AuroraQuadrant
{
	AURORA_QUADRANT_LIST(AURORA_VALUE) AURORA_QUADRANT_COUNT
#undef AURORA_VALUE
} AuroraQuadrant;

#endif
