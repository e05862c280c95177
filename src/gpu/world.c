/*
 * What a claim looks at, read without the planner: a few rows for each device, its models and what
 * runs. What is not known is guessed: by the same kind of device, then by the model's size.
 */
#include "gpu/gpu.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_type.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#define GUESSED_OUTPUT 256		 /* tokens of a job of a model that nothing is known of */
#define GUESSED_SIZE 8e9		 /* bytes of the model for which the rates below are guessed */
#define GUESSED_LOAD_RATE 1.5e9	 /* bytes a second */
#define PROMPT_RATE_TO_DECODE 20 /* a prompt is computed so much faster than output */

/* Columns of aurora.gpu_device, gpu_model, gpu_speed, in table order. */
enum
{
	DEVICE_NODE,
	DEVICE_DEVICE,
	DEVICE_KIND,
	DEVICE_STATE,
	DEVICE_DRAINING,
	DEVICE_SLOTS,
	DEVICE_BUSY,
	DEVICE_MEMORY_TOTAL,
	DEVICE_MEMORY_FREE,
	DEVICE_MEMORY_USED,
	DEVICE_REPORTED_AT,
	DEVICE_UUID,
	DEVICE_NAME
};
enum
{
	MODEL_NODE,
	MODEL_DEVICE,
	MODEL_MODEL,
	MODEL_RESIDENT,
	MODEL_SIZE
};
enum
{
	SPEED_NODE,
	SPEED_DEVICE,
	SPEED_MODEL,
	SPEED_JOBS,
	SPEED_LOADS,
	SPEED_LOAD_MS,
	SPEED_PROMPT_RATE,
	SPEED_DECODE_RATE,
	SPEED_MEAN_OUTPUT,
	SPEED_UNCACHED
};

/* A model as reported, until all names are known. */
typedef struct ModelRow
{
	int device;
	char *name;
	bool resident;
	double size;
} ModelRow;

/* What the devices of one kind and name have in common, for guesses. */
typedef struct DeviceKind
{
	char *kind;
	char *name;
} DeviceKind;

static double
number(const AuroraScan *scan, int column, Oid type)
{
	if (scan->nulls[column])
		return 0;
	return type == INT8OID ? (double) DatumGetInt64(scan->values[column])
						   : (double) DatumGetFloat4(scan->values[column]);
}

static AuroraGpuFit *
fit_of(const AuroraGpuWorld *world, int device, int model)
{
	return &world->view.fits[device * world->view.model_count + model];
}

/* ---- devices ---- */

static bool
text_is(Datum value, const char *expected)
{
	return strcmp(TextDatumGetCString(value), expected) == 0;
}

/*
 * The names of nodes that get no work: drained, or down.
 */
static List *
idle_nodes(Snapshot snapshot)
{
	Oid down = aurora_enum_oid("health_state", "down");
	List *names = NIL;
	AuroraScan scan;

	aurora_scan_open(&scan, "node", "node_pkey", snapshot, 0, NULL);
	while (aurora_scan_next(&scan))
		if (!scan.nulls[4])
			names = lappend(names, TextDatumGetCString(scan.values[0]));
	aurora_scan_close(&scan);
	aurora_scan_open(&scan, "node_state", "node_state_pkey", snapshot, 0, NULL);
	while (aurora_scan_next(&scan))
		if (DatumGetObjectId(scan.values[1]) == down)
			names = lappend(names, TextDatumGetCString(scan.values[0]));
	aurora_scan_close(&scan);
	return names;
}

static bool
list_has(const List *names, const char *name)
{
	ListCell *cell;

	foreach (cell, names)
		if (strcmp(lfirst(cell), name) == 0)
			return true;
	return false;
}

static void
add_device(AuroraGpuWorld *world, const AuroraScan *scan, const List *idle)
{
	int i = world->view.device_count++;
	AuroraGpuDevice *device = &world->view.devices[i];
	TimestampTz reported_at = DatumGetTimestampTz(scan->values[DEVICE_REPORTED_AT]);

	memset(device, 0, sizeof(AuroraGpuDevice));
	world->nodes[i] = TextDatumGetCString(scan->values[DEVICE_NODE]);
	world->numbers[i] = DatumGetInt32(scan->values[DEVICE_DEVICE]);
	device->slots = DatumGetInt32(scan->values[DEVICE_SLOTS]);
	device->memory = number(scan, DEVICE_MEMORY_TOTAL, INT8OID);
	device->memory_free = number(scan, DEVICE_MEMORY_FREE, INT8OID);
	if (scan->nulls[DEVICE_MEMORY_FREE])
		device->memory = 0;
	device->is_live = !DatumGetBool(scan->values[DEVICE_DRAINING]) &&
					  (text_is(scan->values[DEVICE_STATE], "ready") ||
					   text_is(scan->values[DEVICE_STATE], "loading")) &&
					  reported_at > world->now - aurora_gpu_report_timeout_s * USECS_PER_SEC &&
					  !list_has(idle, world->nodes[i]);
}

static DeviceKind *
read_devices(AuroraGpuWorld *world, Snapshot snapshot)
{
	List *idle = idle_nodes(snapshot);
	int room = 16;
	DeviceKind *kinds = palloc(room * sizeof(DeviceKind));
	AuroraScan scan;

	world->view.devices = palloc(room * sizeof(AuroraGpuDevice));
	world->nodes = palloc(room * sizeof(char *));
	world->numbers = palloc(room * sizeof(int32));
	aurora_scan_open(&scan, "gpu_device", "gpu_device_pkey", snapshot, 0, NULL);
	while (aurora_scan_next(&scan))
	{
		int i = world->view.device_count;

		if (i == room)
		{
			room *= 2;
			kinds = repalloc(kinds, room * sizeof(DeviceKind));
			world->view.devices = repalloc(world->view.devices, room * sizeof(AuroraGpuDevice));
			world->nodes = repalloc(world->nodes, room * sizeof(char *));
			world->numbers = repalloc(world->numbers, room * sizeof(int32));
		}
		kinds[i].kind = TextDatumGetCString(scan.values[DEVICE_KIND]);
		kinds[i].name =
			scan.nulls[DEVICE_NAME] ? "" : TextDatumGetCString(scan.values[DEVICE_NAME]);
		add_device(world, &scan, idle);
	}
	aurora_scan_close(&scan);
	return kinds;
}

int
aurora_gpu_world_device(const AuroraGpuWorld *world, const char *node, int32 number)
{
	for (int i = 0; i < world->view.device_count; i++)
		if (world->numbers[i] == number && strcmp(world->nodes[i], node) == 0)
			return i;
	return -1;
}

/* ---- models ---- */

static int
compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *) a, *(char *const *) b);
}

static int
find_model(const AuroraGpuWorld *world, const char *name)
{
	char **found;

	if (world->view.model_count == 0)
		return -1;
	found = bsearch(&name, world->models, world->view.model_count, sizeof(char *), compare_names);
	return found ? (int) (found - world->models) : -1;
}

static List *
read_model_rows(const AuroraGpuWorld *world, Snapshot snapshot)
{
	List *rows = NIL;
	AuroraScan scan;

	aurora_scan_open(&scan, "gpu_model", "gpu_model_pkey", snapshot, 0, NULL);
	while (aurora_scan_next(&scan))
	{
		ModelRow *row = palloc(sizeof(ModelRow));

		row->device = aurora_gpu_world_device(world, TextDatumGetCString(scan.values[MODEL_NODE]),
											  DatumGetInt32(scan.values[MODEL_DEVICE]));
		row->name = TextDatumGetCString(scan.values[MODEL_MODEL]);
		row->resident = DatumGetBool(scan.values[MODEL_RESIDENT]);
		row->size = number(&scan, MODEL_SIZE, INT8OID);
		rows = lappend(rows, row);
	}
	aurora_scan_close(&scan);
	return rows;
}

static void
read_models(AuroraGpuWorld *world, Snapshot snapshot)
{
	List *rows = read_model_rows(world, snapshot);
	int count = 0;
	int fits;
	ListCell *cell;

	world->models = palloc((list_length(rows) + 1) * sizeof(char *));
	foreach (cell, rows)
		world->models[count++] = ((ModelRow *) lfirst(cell))->name;
	qsort(world->models, count, sizeof(char *), compare_names);
	for (int i = 0; i < count; i++)
		if (i == 0 || strcmp(world->models[i], world->models[world->view.model_count - 1]) != 0)
			world->models[world->view.model_count++] = world->models[i];
	fits = world->view.device_count * world->view.model_count;
	world->view.fits = palloc0((fits + 1) * sizeof(AuroraGpuFit));
	world->view.waiters = palloc0((world->view.model_count + 1) * sizeof(int));
	world->outputs = palloc0((world->view.model_count + 1) * sizeof(double));
	foreach (cell, rows)
	{
		const ModelRow *row = lfirst(cell);
		AuroraGpuFit *fit;

		if (row->device < 0)
			continue;
		fit = fit_of(world, row->device, find_model(world, row->name));
		fit->present = true;
		fit->resident = row->resident;
		fit->size = row->size;
	}
}

/* ---- speeds ---- */

static void
read_speeds(AuroraGpuWorld *world, Snapshot snapshot)
{
	double *jobs = palloc0((world->view.model_count + 1) * sizeof(double));
	AuroraScan scan;

	aurora_scan_open(&scan, "gpu_speed", "gpu_speed_pkey", snapshot, 0, NULL);
	while (aurora_scan_next(&scan))
	{
		int model = find_model(world, TextDatumGetCString(scan.values[SPEED_MODEL]));
		int device = aurora_gpu_world_device(world, TextDatumGetCString(scan.values[SPEED_NODE]),
											 DatumGetInt32(scan.values[SPEED_DEVICE]));
		double weight = (double) DatumGetInt64(scan.values[SPEED_JOBS]);
		AuroraGpuFit *fit;

		if (model < 0)
			continue;
		if (!scan.nulls[SPEED_MEAN_OUTPUT])
		{
			jobs[model] += weight;
			world->outputs[model] +=
				(number(&scan, SPEED_MEAN_OUTPUT, FLOAT4OID) - world->outputs[model]) * weight /
				jobs[model];
		}
		if (device < 0)
			continue;
		fit = fit_of(world, device, model);
		fit->load = number(&scan, SPEED_LOAD_MS, FLOAT4OID) / 1000;
		fit->prompt_rate = number(&scan, SPEED_PROMPT_RATE, FLOAT4OID);
		fit->decode_rate = number(&scan, SPEED_DECODE_RATE, FLOAT4OID);
		fit->uncached = scan.nulls[SPEED_UNCACHED] ? 1 : number(&scan, SPEED_UNCACHED, FLOAT4OID);
	}
	aurora_scan_close(&scan);
	for (int model = 0; model < world->view.model_count; model++)
		if (jobs[model] == 0)
			world->outputs[model] = GUESSED_OUTPUT;
}

static double
guessed_decode_rate(const char *kind, double size)
{
	double rate = strcmp(kind, "cuda") == 0	   ? 60
				  : strcmp(kind, "rocm") == 0  ? 50
				  : strcmp(kind, "metal") == 0 ? 30
				  : strcmp(kind, "cpu") == 0   ? 8
											   : 30;

	return size > 0 ? rate * Min(Max(GUESSED_SIZE / size, 0.1), 4) : rate;
}

/*
 * What is missing is taken from the device of the same kind and name that knows it, or guessed.
 */
static void
guess_speeds(AuroraGpuWorld *world, const DeviceKind *kinds)
{
	AuroraGpuView *view = &world->view;

	for (int model = 0; model < view->model_count; model++)
		for (int device = 0; device < view->device_count; device++)
		{
			AuroraGpuFit *fit = fit_of(world, device, model);

			for (int other = 0; other < view->device_count; other++)
			{
				const AuroraGpuFit *known = fit_of(world, other, model);

				if (strcmp(kinds[other].kind, kinds[device].kind) != 0 ||
					strcmp(kinds[other].name, kinds[device].name) != 0)
					continue;
				fit->load = fit->load > 0 ? fit->load : known->load;
				fit->prompt_rate = fit->prompt_rate > 0 ? fit->prompt_rate : known->prompt_rate;
				fit->decode_rate = fit->decode_rate > 0 ? fit->decode_rate : known->decode_rate;
				fit->uncached = fit->uncached > 0 ? fit->uncached : known->uncached;
			}
		}
	for (int model = 0; model < view->model_count; model++)
		for (int device = 0; device < view->device_count; device++)
		{
			AuroraGpuFit *fit = fit_of(world, device, model);

			if (fit->load <= 0)
				fit->load = (fit->size > 0 ? fit->size : GUESSED_SIZE) / GUESSED_LOAD_RATE;
			if (fit->decode_rate <= 0)
				fit->decode_rate = guessed_decode_rate(kinds[device].kind, fit->size);
			if (fit->prompt_rate <= 0)
				fit->prompt_rate = fit->decode_rate * PROMPT_RATE_TO_DECODE;
			if (fit->uncached <= 0)
				fit->uncached = 1;
		}
}

/* ---- what runs ---- */

/*
 * The device that a taker's name means, "node/number"; -1 for none.
 */
static int
device_of_taker(const AuroraGpuWorld *world, const char *taker)
{
	const char *slash = strrchr(taker, '/');

	if (slash == NULL || slash[1] == '\0' || strspn(slash + 1, "0123456789") != strlen(slash + 1))
		return -1;
	return aurora_gpu_world_device(world, pnstrdup(taker, slash - taker), atoi(slash + 1));
}

/*
 * A job runs on the device. That its model may not be reported as loaded yet says nothing: then it
 * is being loaded.
 */
static void
add_running(AuroraGpuWorld *world, int device, int model, double elapsed)
{
	AuroraGpuDevice *on = &world->view.devices[device];
	double total = 10;
	double left;

	if (model >= 0)
	{
		AuroraGpuFit *fit = fit_of(world, device, model);
		AuroraGpuJob job = {.model = model, .output_tokens = world->outputs[model]};

		if (!fit->resident && fit->present)
		{
			fit->resident = true;
			on->memory_free = Max(on->memory_free - fit->size, 0);
		}
		total = aurora_gpu_estimate(&world->view, device, &job);
		fit->active++;
	}
	left = Max(total - elapsed, total * 0.1);
	on->next_free = on->busy == 0 ? left : Min(on->next_free, left);
	on->all_free = Max(on->all_free, left);
	on->busy++;
	world->running[world->running_count++] =
		(AuroraGpuRunning) {.device = device, .model = model, .ends_in = left};
}

static void
read_running(AuroraGpuWorld *world, Snapshot snapshot)
{
	Relation jobs = table_open(aurora_relation_oid("job"), AccessShareLock);
	Relation index = index_open(aurora_relation_oid("job_running"), AccessShareLock);
	IndexScanDesc scan = index_beginscan(jobs, index, snapshot, 1, 0);
	TupleTableSlot *slot = table_slot_create(jobs, NULL);
	int room = 64;
	ScanKeyData key;

	world->running = palloc(room * sizeof(AuroraGpuRunning));
	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(world->queue_id));
	index_rescan(scan, &key, 1, NULL, 0);
	while (index_getnext_slot(scan, ForwardScanDirection, slot))
	{
		int device;

		slot_getallattrs(slot);
		if (slot->tts_isnull[AURORA_JOB_TAKER] || slot->tts_isnull[AURORA_JOB_KIND])
			continue;
		device = device_of_taker(world, TextDatumGetCString(slot->tts_values[AURORA_JOB_TAKER]));
		if (device < 0)
			continue;
		if (world->running_count == room)
		{
			room *= 2;
			world->running = repalloc(world->running, room * sizeof(AuroraGpuRunning));
		}
		add_running(world, device,
					find_model(world, TextDatumGetCString(slot->tts_values[AURORA_JOB_KIND])),
					(world->now - DatumGetTimestampTz(slot->tts_values[AURORA_JOB_STARTED_AT])) /
						1e6);
	}
	ExecDropSingleTupleTableSlot(slot);
	index_endscan(scan);
	index_close(index, AccessShareLock);
	table_close(jobs, AccessShareLock);
}

void
aurora_gpu_world_read(AuroraGpuWorld *world, int32 queue_id, Snapshot snapshot)
{
	DeviceKind *kinds;

	memset(world, 0, sizeof(AuroraGpuWorld));
	world->now = GetCurrentTimestamp();
	world->queue_id = queue_id;
	world->view.settings = aurora_gpu_settings();
	kinds = read_devices(world, snapshot);
	read_models(world, snapshot);
	read_speeds(world, snapshot);
	guess_speeds(world, kinds);
	read_running(world, snapshot);
}
