/*
 * The job queue: durable jobs in queues, taken under leases.
 *
 * A "lane" is one class of one queue. A job's "position" orders its lane; it is a start tag of
 * start-time fair queueing (Goyal, Vin, Cheng 1996), so that companies take turns. A lane's "mark"
 * is a position before which no job waits: the index is read from there, past what has been taken,
 * whose entries a held snapshot keeps from being removed.
 */
#ifndef AURORA_JOBS_H
#define AURORA_JOBS_H

#include "core/core.h"

#include "access/tableam.h"
#include "executor/tuptable.h"
#include "fmgr.h"
#include "nodes/execnodes.h"
#include "shared/job_names.h"
#include "tenancy/tenancy.h"
#include "utils/jsonb.h"

#define AURORA_JOB_PAYLOAD_SIZE (1024 * 1024)
#define AURORA_JOBS_AT_ONCE 10000 /* submitted, or taken, by one call */
#define AURORA_JOB_TEXT_SIZE 200  /* characters of a kind, a key, a taker */
#define AURORA_JOB_ARCHIVE_SLOTS 8

/* ---- jobs.c ---- */

extern void aurora_jobs_init(void);
extern const char *aurora_job_class_name(AuroraJobClass class);
extern const char *aurora_job_state_name(AuroraJobState state);
extern Oid aurora_job_class_oid(AuroraJobClass class);
extern Oid aurora_job_state_oid(AuroraJobState state);

/* Raises 22023 when there is none of that name. */
extern AuroraJobClass aurora_job_class_find(const char *name);
extern AuroraJobClass aurora_job_class_from_oid(Oid value);

/* Runs a statement as the extension's owner; the first column of its first row, or 0 and null. */
extern Datum aurora_jobs_call(const char *sql, int count, const Oid *types, Datum *values,
							  const char *nulls, bool *isnull);

/* ---- queue.c ---- */

extern void aurora_queue_init(void);

typedef struct AuroraQueue
{
	int32 queue_id;
	int32 company_id; /* 0 for none: all share it */
	char *name;
	int64 lease_us;
	int64 slack_us[AURORA_JOB_CLASS_COUNT];
	int32 max_attempts;
	bool is_paused;
	bool is_drained;
} AuroraQueue;

/*
 * The queue that a call means, in the current memory context: the company's own before the shared
 * one of that name. "company" is NULL for the caller's own. Raises 22023 when there is none.
 */
extern AuroraQueue *aurora_queue_find(text *name, text *company, Snapshot snapshot);

/* The same on the lead, where the queue "default" is made when it is first needed. */
extern AuroraQueue *aurora_queue_need(text *name, text *company, Snapshot snapshot);

/* Microseconds of an interval, whose months have 30 days. */
extern int64 aurora_interval_us(const Interval *interval);

/* NULL when there is none of that number. */
extern AuroraQueue *aurora_queue_get(int32 queue_id, Snapshot snapshot);

/* Raises 42501 when the caller may not take jobs from it. */
extern void aurora_queue_require_taker(const AuroraQueue *queue, Snapshot snapshot);

/* The name of the node that the caller logs in as, or NULL; is it to get no new work. */
extern char *aurora_queue_node(Snapshot snapshot, bool *is_drained);

/* Is the taker that node, or a part of it: its name, or its name with a slash and more. */
extern bool aurora_queue_node_has(const char *node, const char *taker);

/* Raises 22023 for a text that is too long or not printable. */
extern void aurora_job_check_text(const char *what, const char *value);

/* ---- lane.c: what all sessions know of lanes, in shared memory ---- */

extern void aurora_lane_init(void);

/* A read of a lane: where it begins, and what tells whether jobs have arrived meanwhile. */
typedef struct AuroraLaneRead
{
	int64 mark; /* PG_INT64_MAX when none waits */
	uint64 arrivals;
} AuroraLaneRead;

/* Of all lanes of a queue. Call it before the snapshot is taken with which they are read. */
extern void aurora_lanes_read(int32 queue_id, AuroraLaneRead reads[AURORA_JOB_CLASS_COUNT]);

/*
 * Nothing waits in a lane before its mark (PG_INT64_MIN when that is not known), but for what has
 * arrived since the read began. The greatest position of a lane that was taken moves its clock on
 * (PG_INT64_MIN for none).
 */
extern void aurora_lanes_advance(int32 queue_id, const AuroraLaneRead reads[AURORA_JOB_CLASS_COUNT],
								 const int64 marks[AURORA_JOB_CLASS_COUNT],
								 const int64 taken[AURORA_JOB_CLASS_COUNT]);

/* A job waits at this position; now, and again when this transaction ends. */
extern void aurora_lane_arrive(int32 queue_id, AuroraJobClass class, int64 position);

/* A job at this position is taken; when this transaction does not commit, it arrives again. */
extern void aurora_lane_leave(int32 queue_id, AuroraJobClass class, int64 position);

/* The positions of the next "count" jobs of a company; the others follow in steps. */
#define AURORA_POSITION_STEP 1000
extern int64 aurora_lane_next_position(int32 queue_id, AuroraJobClass class, int32 company_id,
									   int count);

/*
 * True when a class that presses less may have its turn although one that presses more waits:
 * every fourth time, so that neither starves the other.
 */
extern bool aurora_lane_gives_way(int32 queue_id);

/* Something of the queue falls due then; told when this transaction commits. */
extern void aurora_queue_due_at(int32 queue_id, TimestampTz at);

/* When something falls due; 0 when it is not known. */
extern TimestampTz aurora_queue_next_due(int32 queue_id);

/* One session at a time settles a queue: false when another does. */
extern bool aurora_queue_begin_settling(int32 queue_id);
extern void aurora_queue_end_settling(int32 queue_id, bool done, TimestampTz next_due);

/* Makes this session's and, when it commits, everybody's waiters look. */
extern void aurora_queue_ring(int32 queue_id);

/* What is counted, by queue and class, when the transaction commits. */
typedef struct AuroraJobCounts
{
	int64 submitted;
	int64 taken;
	int64 done;
	int64 failed;
	int64 lapsed;
	int64 cancelled;
	int64 wait_ms;
	int64 run_ms;
} AuroraJobCounts;

extern void aurora_lane_count(int32 queue_id, AuroraJobClass class, const AuroraJobCounts *counts);

/* Takes the counts of one lane that has some; false when none has. */
extern bool aurora_lane_take_counts(int32 *queue_id, AuroraJobClass *class,
									AuroraJobCounts *counts);

/* ---- store.c: rows of aurora.job and its archive, read and written directly ---- */

/* Columns of aurora.job, in table order. */
typedef enum AuroraJobColumn
{
	AURORA_JOB_ID,
	AURORA_JOB_COMPANY_ID,
	AURORA_JOB_QUEUE_ID,
	AURORA_JOB_CLASS,
	AURORA_JOB_STATE,
	AURORA_JOB_POSITION,
	AURORA_JOB_READY_AT,
	AURORA_JOB_SUBMITTED_AT,
	AURORA_JOB_ATTEMPT,
	AURORA_JOB_MAX_ATTEMPTS,
	AURORA_JOB_BLOCKERS,
	AURORA_JOB_HAS_DEPENDENTS,
	AURORA_JOB_STARTED_AT,
	AURORA_JOB_LEASE_UNTIL,
	AURORA_JOB_CANCEL_REQUESTED_AT,
	AURORA_JOB_PROGRESS,
	AURORA_JOB_SUBMITTED_BY,
	AURORA_JOB_KIND,
	AURORA_JOB_UNIQUE_KEY,
	AURORA_JOB_CONCURRENCY_KEY,
	AURORA_JOB_TAKER,
	AURORA_JOB_NOTE,
	AURORA_JOB_ERROR,
	AURORA_JOB_PAYLOAD,
	AURORA_JOB_COLUMNS
} AuroraJobColumn;

/* A table of jobs that is written: the relation, its indexes, and what the executor needs. */
typedef struct AuroraJobTable
{
	Relation relation;
	struct ResultRelInfo *target;
	EState *state;
	TupleTableSlot *slot; /* the row in hand */
} AuroraJobTable;

extern void aurora_job_table_open(AuroraJobTable *table, const char *name);
extern void aurora_job_table_close(AuroraJobTable *table);

extern void aurora_job_table_insert(AuroraJobTable *table, const Datum *values, const bool *nulls);

/* Has the live job in the slot, as it is committed now; false when there is none. */
extern bool aurora_job_find(AuroraJobTable *table, int64 job_id);

/*
 * Locks the job that has been seen and has it in the table's slot, replaces the one seen, or
 * deletes the one in the slot. Each answers TM_Ok only for the version that was seen. The first two
 * do not wait for another session that has it: TM_WouldBlock, TM_BeingModified.
 */
extern TM_Result aurora_job_lock(AuroraJobTable *table, TupleTableSlot *seen, Snapshot snapshot);
extern TM_Result aurora_job_replace(AuroraJobTable *table, TupleTableSlot *seen,
									const Datum *values, const bool *nulls);
extern TM_Result aurora_job_delete(AuroraJobTable *table);

/* Waiting jobs of a lane in their order. */
typedef struct AuroraLaneScan
{
	int32 queue_id;
	AuroraJobClass class;
	AuroraLaneRead read;
	struct IndexScanDescData *scan; /* NULL when the lane is empty */
	Relation index;
	TupleTableSlot *slot;
	bool has_job;		/* in the slot */
	int64 taken;		/* greatest position that was taken; PG_INT64_MIN for none */
	int64 position;		/* of the job in the slot */
	int64 first_locked; /* of the first job passed over since another session has it locked */
	TimestampTz deadline;
} AuroraLaneScan;

extern void aurora_lane_scan_open(AuroraLaneScan *scan, AuroraJobTable *table, Oid class,
								  Snapshot snapshot);
extern bool aurora_lane_scan_next(AuroraLaneScan *scan);
extern void aurora_lane_scan_close(AuroraLaneScan *scan);

/* The place in the archive's ring that is being filled, as this session last looked. */
extern int32 aurora_job_archive_slot(void);

/* ---- take.c ---- */

/* A call that takes jobs. Each that is claimed is given, as its row is now. */
typedef struct AuroraTaking
{
	AuroraQueue *queue;
	char *taker;
	int64 lease_us;
	TimestampTz now;
	Oid running; /* the state */
	AuroraJobTable jobs;
	Snapshot snapshot;
	AuroraLaneScan lanes[AURORA_JOB_CLASS_COUNT];
	ReturnSetInfo *result;
	void (*give)(struct AuroraTaking *taking, const Datum *job, const bool *nulls,
				 AuroraJobClass class);
} AuroraTaking;

/*
 * Claims the job in the lane's slot, at its position. False when another session has it or has
 * changed it, or its concurrency key lets none run now.
 */
extern bool aurora_taking_claim(AuroraTaking *taking, AuroraLaneScan *lane);

/* The lease that a call names, in microseconds, or the queue's. Raises 22023 out of range. */
extern int64 aurora_lease_argument(FunctionCallInfo fcinfo, int number, const AuroraQueue *queue);

/* ---- finish.c ---- */

/* What a taker says of a job. */
typedef struct AuroraJobResult
{
	int64 job_id;
	int32 attempt;
	Jsonb *result; /* NULL for none */
} AuroraJobResult;

/*
 * Moves done jobs from the open table of live ones to the archive, in order of their numbers;
 * returns how many were not refused. The caller may take from "allowed", NULL when that is not
 * known of any queue.
 */
extern int aurora_jobs_finish(AuroraJobTable *jobs, AuroraJobResult *results, int count,
							  const AuroraQueue *allowed);

/* ---- wait.c ---- */

/* Is there a waiting job that no other session is taking. */
extern bool aurora_queue_has_waiting(int32 queue_id);

/* ---- settle.c ---- */

extern void aurora_settle_init(void);

/*
 * Brings what has fallen due in a queue up to date: delayed jobs wait, lost leases are over. When
 * nothing is due it costs nothing.
 */
extern void aurora_queue_settle(int32 queue_id);

#endif
