/*
 * Names of the job queue that SQL and C share, each written once.
 */
#ifndef AURORA_JOB_NAMES_H
#define AURORA_JOB_NAMES_H

/*
 * Classes, the most pressing first. A job's virtual deadline is the time from which it may run and
 * its class's slack, which is none for the first and otherwise the queue's: of the classes' first
 * jobs the one with the earliest deadline runs.
 */
#define AURORA_JOB_CLASS_LIST(X)             \
	X(AURORA_JOB_INTERACTIVE, "interactive") \
	X(AURORA_JOB_NORMAL, "normal")           \
	X(AURORA_JOB_BATCH, "batch")

/*
 * States: those before "done" are of live jobs, the others of jobs in the archive.
 */
#define AURORA_JOB_STATE_LIST(X)         \
	X(AURORA_JOB_WAITING, "waiting")     \
	X(AURORA_JOB_SCHEDULED, "scheduled") \
	X(AURORA_JOB_BLOCKED, "blocked")     \
	X(AURORA_JOB_HELD, "held")           \
	X(AURORA_JOB_RUNNING, "running")     \
	X(AURORA_JOB_DEAD, "dead")           \
	X(AURORA_JOB_DONE, "done")           \
	X(AURORA_JOB_CANCELLED, "cancelled") \
	X(AURORA_JOB_DISCARDED, "discarded")

#define AURORA_NAME_VALUE(symbol, ...) symbol,
typedef enum AuroraJobClass
{
	AURORA_JOB_CLASS_LIST(AURORA_NAME_VALUE) AURORA_JOB_CLASS_COUNT
} AuroraJobClass;

typedef enum AuroraJobState
{
	AURORA_JOB_STATE_LIST(AURORA_NAME_VALUE) AURORA_JOB_STATE_COUNT
} AuroraJobState;
#undef AURORA_NAME_VALUE

#endif
