/*
 * Why a device runs what it runs, and when each request is expected to be done: the same world and
 * the same decisions as a claim's, without locks, also on a standby.
 */
#include "gpu/gpu.h"

#include <math.h>

#include "access/table.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#define FORECAST_JOBS 200 /* of each class, of which the forecast says when they run */

enum
{
	EXPLAINED_JOB_ID,
	EXPLAINED_MODEL,
	EXPLAINED_CLASS,
	EXPLAINED_AGE,
	EXPLAINED_LOAD,
	EXPLAINED_PROMPT,
	EXPLAINED_DECODE,
	EXPLAINED_UNLOAD,
	EXPLAINED_SCORE,
	EXPLAINED_CHOSEN,
	EXPLAINED_REASON,
	EXPLAINED_LEFT_TO,
	EXPLAINED_DONE_THERE,
	EXPLAINED_COLUMNS
};

PG_FUNCTION_INFO_V1(aurora_explain_claim);
PG_FUNCTION_INFO_V1(aurora_gpu_forecasts);
PG_FUNCTION_INFO_V1(aurora_gpu_verdict_labels);

/*
 * The world and the first jobs that wait: of each class, up to "most" that the device could start,
 * or any device for -1. False when there is no queue yet.
 */
static bool
read_world(AuroraGpuWorld *world, const char *node, int32 number, int *device, int most)
{
	AuroraQueue *queue = aurora_gpu_queue(GetActiveSnapshot());
	AuroraLaneRead reads[AURORA_JOB_CLASS_COUNT];
	Snapshot snapshot;
	Relation jobs;

	if (queue)
		aurora_lanes_read(queue->queue_id, reads);
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	aurora_gpu_world_read(world, queue ? queue->queue_id : 0, snapshot);
	if (device)
	{
		*device = aurora_gpu_world_device(world, node, number);
		if (*device < 0)
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg("node \"%s\" has no device %d", node, number),
							errhint("aurora.devices shows those there are.")));
	}
	if (queue)
	{
		jobs = table_open(aurora_relation_oid("job"), AccessShareLock);
		aurora_gpu_world_add_jobs(world, jobs, device ? *device : -1, most, reads, snapshot, NULL);
		table_close(jobs, AccessShareLock);
	}
	UnregisterSnapshot(snapshot);
	return queue != NULL && !queue->is_paused;
}

static char *
device_name(const AuroraGpuWorld *world, int device)
{
	return psprintf("%s/%d", world->nodes[device], world->numbers[device]);
}

static Datum
milliseconds(double seconds)
{
	return Float8GetDatum(rint(seconds * 10000) / 10);
}

static void
put_verdict(ReturnSetInfo *result, const AuroraGpuWorld *world, int i,
			const AuroraGpuVerdict *verdict)
{
	const AuroraGpuJob *job = &world->view.jobs[i];
	bool runs_there = verdict->kind != AURORA_GPU_ABSENT && verdict->kind != AURORA_GPU_TOO_LARGE;
	Datum values[EXPLAINED_COLUMNS];
	bool nulls[EXPLAINED_COLUMNS] = {false};

	values[EXPLAINED_JOB_ID] = Int64GetDatum(job->job_id);
	values[EXPLAINED_MODEL] = CStringGetTextDatum(world->models[job->model]);
	values[EXPLAINED_CLASS] = CStringGetTextDatum(aurora_job_class_name(job->class));
	values[EXPLAINED_AGE] = milliseconds(job->age);
	values[EXPLAINED_LOAD] = milliseconds(verdict->load);
	values[EXPLAINED_PROMPT] = milliseconds(verdict->prompt);
	values[EXPLAINED_DECODE] = milliseconds(verdict->decode);
	values[EXPLAINED_UNLOAD] = milliseconds(verdict->unload);
	values[EXPLAINED_SCORE] = Float8GetDatum(verdict->score);
	values[EXPLAINED_CHOSEN] = BoolGetDatum(verdict->kind == AURORA_GPU_CHOSEN);
	values[EXPLAINED_REASON] = CStringGetTextDatum(aurora_gpu_verdict_text(verdict->kind));
	nulls[EXPLAINED_SCORE] = verdict->score == 0;
	for (int column = EXPLAINED_LOAD; column <= EXPLAINED_UNLOAD; column++)
		nulls[column] = !runs_there;
	nulls[EXPLAINED_LEFT_TO] = nulls[EXPLAINED_DONE_THERE] = verdict->other < 0;
	if (verdict->other >= 0)
	{
		values[EXPLAINED_LEFT_TO] = CStringGetTextDatum(device_name(world, verdict->other));
		values[EXPLAINED_DONE_THERE] = milliseconds(verdict->other_in);
	}
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/*
 * explain_claim(device, node)
 */
Datum
aurora_explain_claim(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	AuroraGpuWorld world;
	AuroraGpuVerdict *verdicts;
	int device;
	char *node;

	InitMaterializedSRF(fcinfo, 0);
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("the device may not be null")));
	node = aurora_gpu_node_argument(fcinfo, 1, GetActiveSnapshot());
	if (!read_world(&world, node, PG_GETARG_INT32(0), &device, aurora_gpu_candidates))
		return (Datum) 0;
	verdicts = palloc((world.view.job_count + 1) * sizeof(AuroraGpuVerdict));
	(void) aurora_gpu_decide(&world.view, device, verdicts);
	for (int i = 0; i < world.view.job_count; i++)
		put_verdict(result, &world, i, &verdicts[i]);
	return (Datum) 0;
}

/* ---- the forecast ---- */

static void
put_forecast(ReturnSetInfo *result, const AuroraGpuWorld *world, int i, int64 position,
			 const AuroraGpuForecast *forecast)
{
	Datum values[5];
	bool nulls[5] = {false};

	values[0] = Int64GetDatum(world->view.jobs[i].job_id);
	values[1] = Int64GetDatum(position);
	values[2] = Float8GetDatum(forecast->starts_in);
	values[3] = Float8GetDatum(forecast->ends_in);
	nulls[2] = nulls[3] = nulls[4] = forecast->device < 0;
	if (forecast->device >= 0)
		values[4] = CStringGetTextDatum(device_name(world, forecast->device));
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/*
 * gpu_forecasts(): a row for each of the first jobs of each class that the caller may see.
 */
Datum
aurora_gpu_forecasts(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	int slots = 0;
	int64 positions[AURORA_JOB_CLASS_COUNT] = {0};
	AuroraGpuWorld world;
	AuroraGpuVerdict *verdicts;
	AuroraGpuForecast *forecasts;

	InitMaterializedSRF(fcinfo, 0);
	if (!read_world(&world, NULL, 0, NULL, FORECAST_JOBS))
		world.view.device_count = 0;
	for (int i = 0; i < world.view.device_count; i++)
		slots += Max(world.view.devices[i].slots, 0);
	world.running =
		world.running_count == 0
			? palloc((slots + 1) * sizeof(AuroraGpuRunning))
			: repalloc(world.running, (world.running_count + slots + 1) * sizeof(AuroraGpuRunning));
	verdicts = palloc((world.view.job_count + 1) * sizeof(AuroraGpuVerdict));
	forecasts = palloc((world.view.job_count + 1) * sizeof(AuroraGpuForecast));
	aurora_gpu_forecast(&world.view, world.running, world.running_count, aurora_gpu_candidates,
						verdicts, forecasts);
	for (int i = 0; i < world.view.job_count; i++)
		put_forecast(result, &world, i, ++positions[world.view.jobs[i].class], &forecasts[i]);
	return (Datum) 0;
}

Datum
aurora_gpu_verdict_labels(PG_FUNCTION_ARGS)
{
	Datum values[AURORA_GPU_VERDICT_COUNT];

	for (int i = 0; i < AURORA_GPU_VERDICT_COUNT; i++)
		values[i] = CStringGetTextDatum(aurora_gpu_verdict_text(i));
	return PointerGetDatum(
		construct_array(values, AURORA_GPU_VERDICT_COUNT, TEXTOID, -1, false, TYPALIGN_INT));
}
