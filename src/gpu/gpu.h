/*
 * The GPU mesh: which device runs which request to a model, and the text that comes back.
 *
 * The "world" is what a claim looks at: devices, the models that they have, what has been learned
 * of them, what runs, and the first jobs that wait. shared/gpu_policy.h decides over it.
 */
#ifndef AURORA_GPU_H
#define AURORA_GPU_H

#include "jobs/jobs.h"
#include "shared/gpu_policy.h"
#include "storage/itemptr.h"

/* ---- gpu.c ---- */

extern void aurora_gpu_init(void);

extern int aurora_gpu_candidates; /* of each class, that a claim chooses from */
extern int aurora_gpu_report_timeout_s;
extern AuroraGpuSettings aurora_gpu_settings(void);

/* The shared queue "gpu", or NULL when nothing has been asked for yet. */
extern AuroraQueue *aurora_gpu_queue(Snapshot snapshot);

/* The node that the caller logs in as, or NULL; is the caller an operator or an administrator. */
extern char *aurora_gpu_caller_node(Snapshot snapshot);
extern bool aurora_gpu_caller_operates(void);

/*
 * The node that a worker's call is about: its login role's, or the one named by an operator. Raises
 * 42501 and 22023.
 */
extern char *aurora_gpu_node_argument(FunctionCallInfo fcinfo, int number, Snapshot snapshot);

/*
 * Keeps out, until the transaction ends, who appends to a job's text (shared: who takes the job).
 * False when somebody is at it, and "wait" is not set.
 */
extern bool aurora_gpu_lock_output(int64 job_id, bool shared, bool wait);

/* One session at a time takes for a device, until its transaction ends; false when another does. */
extern bool aurora_gpu_lock_device(const char *node, int32 device);

/* ---- world.c, candidate.c ---- */

/* What is known of a job beside what the decision needs. */
typedef struct AuroraGpuCandidate
{
	int64 position;
	ItemPointerData place;
	AuroraJobClass class;
	int32 company_id;
	TimestampTz deadline; /* of the one that is chosen; DT_NOEND for none */
	bool embeds;
} AuroraGpuCandidate;

typedef struct AuroraGpuWorld
{
	AuroraGpuView view;
	TimestampTz now;
	int32 queue_id;
	char **nodes;	 /* of each device */
	int32 *numbers;	 /* of each device in its node */
	char **models;	 /* names, in order */
	double *outputs; /* mean tokens of each model's output */
	int job_room;
	AuroraGpuCandidate *candidates; /* of each job */
	AuroraGpuRunning *running;
	int running_count;
} AuroraGpuWorld;

/* Reads devices, models, speeds and what runs. */
extern void aurora_gpu_world_read(AuroraGpuWorld *world, int32 queue_id, Snapshot snapshot);

/* The device's place in the world, or -1. */
extern int aurora_gpu_world_device(const AuroraGpuWorld *world, const char *node, int32 number);

/*
 * The first jobs that wait, of each class up to "most" that the device could start (-1: any
 * device). Marks have been read before the snapshot was taken; with "advance" they move.
 */
extern void aurora_gpu_world_add_jobs(AuroraGpuWorld *world, Relation jobs, int device, int most,
									  const AuroraLaneRead *reads, Snapshot snapshot,
									  int64 *first_waiting);

/* When the job's time-out is over; DT_NOEND for none. */
extern TimestampTz aurora_gpu_deadline(int64 job_id, Snapshot snapshot);

#endif
