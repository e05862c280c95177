/*
 * Taking requests for a device: reads the world, lets the policy decide, and claims with the job
 * queue's own locks and writes.
 */
#include "gpu/gpu.h"

#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#define MOST_AT_ONCE 1024

/* Columns of the result of take_generations(). */
enum
{
	TAKEN_JOB_ID,
	TAKEN_ATTEMPT,
	TAKEN_CLASS,
	TAKEN_MODEL,
	TAKEN_TASK,
	TAKEN_PAYLOAD,
	TAKEN_COMPANY_ID,
	TAKEN_PARTIAL_TEXT,
	TAKEN_PARTIAL_TOKENS,
	TAKEN_DEADLINE,
	TAKEN_LEASE_UNTIL,
	TAKEN_COLUMNS
};

/* A call; the queue's part comes first, so that what it is handed leads back here. */
typedef struct Claiming
{
	AuroraTaking taking;
	AuroraGpuWorld world;
	const AuroraGpuCandidate *candidate; /* that is being claimed */
	AuroraLaneRead reads[AURORA_JOB_CLASS_COUNT];
	int64 first_waiting[AURORA_JOB_CLASS_COUNT];
	int64 taken[AURORA_JOB_CLASS_COUNT];
	bool has_expired;
} Claiming;

PG_FUNCTION_INFO_V1(aurora_take_generations);

/* ---- one job ---- */

static Datum
call_with_job(const char *sql, Datum job_id)
{
	static const Oid types[1] = {INT8OID};
	bool isnull;

	return aurora_jobs_call(sql, 1, types, &job_id, NULL, &isnull);
}

/*
 * Has the job's row as it is claimed. What earlier attempts stored comes along.
 */
static void
give(AuroraTaking *taking, const Datum *job, const bool *nulls, AuroraJobClass class)
{
	Claiming *claiming = (Claiming *) taking;
	const AuroraGpuCandidate *candidate = claiming->candidate;
	bool began = DatumGetInt32(job[AURORA_JOB_ATTEMPT]) > 1;
	Datum values[TAKEN_COLUMNS];
	bool isnull[TAKEN_COLUMNS] = {false};

	values[TAKEN_JOB_ID] = job[AURORA_JOB_ID];
	values[TAKEN_ATTEMPT] = job[AURORA_JOB_ATTEMPT];
	values[TAKEN_CLASS] = CStringGetTextDatum(aurora_job_class_name(class));
	values[TAKEN_MODEL] = job[AURORA_JOB_KIND];
	values[TAKEN_TASK] = CStringGetTextDatum(candidate->embeds ? "embed" : "generate");
	values[TAKEN_PAYLOAD] = job[AURORA_JOB_PAYLOAD];
	values[TAKEN_COMPANY_ID] = job[AURORA_JOB_COMPANY_ID];
	values[TAKEN_PARTIAL_TEXT] =
		began ? call_with_job("SELECT aurora.partial_text($1)", job[AURORA_JOB_ID])
			  : CStringGetTextDatum("");
	values[TAKEN_PARTIAL_TOKENS] =
		began ? call_with_job("SELECT (aurora.partial_output($1)).tokens", job[AURORA_JOB_ID])
			  : Int32GetDatum(0);
	values[TAKEN_DEADLINE] = TimestampTzGetDatum(candidate->deadline);
	isnull[TAKEN_DEADLINE] = candidate->deadline == DT_NOEND;
	values[TAKEN_LEASE_UNTIL] = job[AURORA_JOB_LEASE_UNTIL];
	tuplestore_putvalues(taking->result->setResult, taking->result->setDesc, values, isnull);
}

/*
 * Claims the job; false when it is to be passed over: another session has it, its concurrency key
 * lets none run, or somebody still appends to its text.
 */
static bool
claim_candidate(Claiming *claiming, const AuroraGpuCandidate *candidate)
{
	AuroraTaking *taking = &claiming->taking;
	ItemPointerData place = candidate->place;
	AuroraLaneScan at = {.queue_id = claiming->world.queue_id,
						 .class = candidate->class,
						 .position = candidate->position,
						 .taken = PG_INT64_MIN,
						 .first_locked = PG_INT64_MAX};
	bool claimed = false;

	at.slot = table_slot_create(taking->jobs.relation, NULL);
	if (table_tuple_fetch_row_version(taking->jobs.relation, &place, taking->snapshot, at.slot))
	{
		slot_getallattrs(at.slot);
		claiming->candidate = candidate;
		claimed = (DatumGetInt32(at.slot->tts_values[AURORA_JOB_ATTEMPT]) == 0 ||
				   aurora_gpu_lock_output(DatumGetInt64(at.slot->tts_values[AURORA_JOB_ID]), false,
										  false)) &&
				  aurora_taking_claim(taking, &at);
	}
	ExecDropSingleTupleTableSlot(at.slot);
	claiming->taken[at.class] = Max(claiming->taken[at.class], at.taken);
	return claimed;
}

/* ---- the claim ---- */

static void
claim_jobs(Claiming *claiming, int device, int max_jobs)
{
	AuroraGpuWorld *world = &claiming->world;
	AuroraGpuVerdict *verdicts = palloc((world->view.job_count + 1) * sizeof(AuroraGpuVerdict));

	while (max_jobs > 0)
	{
		int chosen = aurora_gpu_decide(&world->view, device, verdicts);

		CHECK_FOR_INTERRUPTS();
		if (chosen < 0)
			return;
		world->candidates[chosen].deadline =
			aurora_gpu_deadline(world->view.jobs[chosen].job_id, claiming->taking.snapshot);
		if (world->candidates[chosen].deadline <= world->now)
		{
			claiming->has_expired = true;
			world->view.jobs[chosen].is_gone = true;
		}
		else if (claim_candidate(claiming, &world->candidates[chosen]))
		{
			aurora_gpu_start(&world->view, device, chosen);
			max_jobs--;
		}
		else
			world->view.jobs[chosen].is_gone = true;
	}
}

/*
 * Marks are read before the snapshot is taken: what arrives after it is then known to the lanes.
 */
static void
read_world(Claiming *claiming, const char *node, int32 number, int *device)
{
	AuroraTaking *taking = &claiming->taking;
	int32 queue_id = taking->queue->queue_id;

	aurora_lanes_read(queue_id, claiming->reads);
	for (int class = 0; class < AURORA_JOB_CLASS_COUNT; class ++)
		claiming->taken[class] = PG_INT64_MIN;
	taking->snapshot = RegisterSnapshot(GetLatestSnapshot());
	aurora_gpu_world_read(&claiming->world, queue_id, taking->snapshot);
	*device = aurora_gpu_world_device(&claiming->world, node, number);
	if (*device < 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("node \"%s\" has no device %d", node, number),
						errhint("aurora.report_devices() says which it has.")));
	if (claiming->world.view.devices[*device].is_live)
		aurora_gpu_world_add_jobs(&claiming->world, taking->jobs.relation, *device,
								  aurora_gpu_candidates, claiming->reads, taking->snapshot,
								  claiming->first_waiting);
}

/*
 * Nothing waits before the first job that was seen.
 */
static void
advance_marks(Claiming *claiming, int device)
{
	if (claiming->world.view.devices[device].is_live)
		aurora_lanes_advance(claiming->world.queue_id, claiming->reads, claiming->first_waiting,
							 claiming->taken);
}

static void
take(Claiming *claiming, const char *node, int32 number, int max_jobs)
{
	AuroraTaking *taking = &claiming->taking;
	int device;
	bool isnull;

	taking->taker = psprintf("%s/%d", node, number);
	taking->now = GetCurrentTimestamp();
	taking->running = aurora_job_state_oid(AURORA_JOB_RUNNING);
	taking->give = give;
	aurora_job_table_open(&taking->jobs, "job");
	read_world(claiming, node, number, &device);
	claim_jobs(claiming, device, max_jobs);
	advance_marks(claiming, device);
	UnregisterSnapshot(taking->snapshot);
	aurora_job_table_close(&taking->jobs);
	if (claiming->has_expired)
	{
		CommandCounterIncrement();
		(void) aurora_jobs_call("SELECT aurora.expire_generations()", 0, NULL, NULL, NULL, &isnull);
	}
}

/*
 * take_generations(device, max_jobs, lease, node)
 */
Datum
aurora_take_generations(PG_FUNCTION_ARGS)
{
	Claiming claiming = {.taking.result = (ReturnSetInfo *) fcinfo->resultinfo};
	Snapshot snapshot = GetActiveSnapshot();
	int max_jobs = PG_ARGISNULL(1) ? 1 : PG_GETARG_INT32(1);
	AuroraQueue *queue;
	char *node;

	aurora_lead_require();
	InitMaterializedSRF(fcinfo, 0);
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("the device may not be null")));
	if (max_jobs < 0 || max_jobs > MOST_AT_ONCE)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("0 to %d jobs are taken at once", MOST_AT_ONCE)));
	node = aurora_gpu_node_argument(fcinfo, 3, snapshot);
	queue = aurora_gpu_queue(snapshot);
	if (queue == NULL)
		return (Datum) 0;
	claiming.taking.queue = queue;
	claiming.taking.lease_us = aurora_lease_argument(fcinfo, 2, queue);
	aurora_queue_settle(queue->queue_id);
	if (queue->is_paused || max_jobs == 0 || !aurora_gpu_lock_device(node, PG_GETARG_INT32(0)))
		return (Datum) 0;
	take(&claiming, node, PG_GETARG_INT32(0), max_jobs);
	return (Datum) 0;
}
