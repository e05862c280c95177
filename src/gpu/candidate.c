/*
 * The jobs that a device chooses from: the first that wait of each class, as far as the device
 * could start them. How far a claim looks for them is bounded; where one finds none, the next looks
 * on from there, so that a device whose models are rarely asked for finds its jobs behind many
 * others.
 */
#include "gpu/gpu.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/detoast.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#define LOOK_AT 512 /* jobs of a class that a claim looks at */
#define AGAIN 64	/* jobs that wait after an attempt, beside these */
#define KEPT 1024	/* requests that a session remembers */
#define PLACES 16	/* of devices, remembered by a session */

/* Columns of aurora.generation, in table order. */
enum
{
	GENERATION_JOB_ID,
	GENERATION_COMPANY_ID,
	GENERATION_EMBEDS,
	GENERATION_PROMPT_TOKENS,
	GENERATION_MAX_TOKENS,
	GENERATION_DEADLINE
};

/* What the decision needs of a row of aurora.generation. */
typedef struct Request
{
	Oid table; /* of this database's extension */
	int64 job_id;
	int32 prompt_tokens; /* -1: there is no such row */
	int32 max_tokens;
	bool embeds;
} Request;

/* Where the next claim of a device looks on. */
typedef struct Place
{
	Oid database;
	int32 queue_id;
	int device;
	int64 position[AURORA_JOB_CLASS_COUNT]; /* PG_INT64_MIN: from the first on */
} Place;

/* A reading of one class. */
typedef struct Reading
{
	AuroraGpuWorld *world;
	Relation jobs;
	int device;
	int most;
	int found;
	int seen;
	int64 last;		/* position */
	bool ended;		/* no more wait */
	bool has_again; /* all that wait after an attempt are candidates already */
	/* Rows of aurora.generation. */
	Relation table;
	Relation index;
	IndexScanDesc scan;
	TupleTableSlot *slot;
} Reading;

static Place places[PLACES];

static Place *
place_of(const AuroraGpuWorld *world, int device)
{
	Place *place = &places[device % PLACES];

	if (place->database != MyDatabaseId || place->queue_id != world->queue_id ||
		place->device != device)
	{
		*place = (Place) {.database = MyDatabaseId, .queue_id = world->queue_id, .device = device};
		for (int class = 0; class < AURORA_JOB_CLASS_COUNT; class ++)
			place->position[class] = PG_INT64_MIN;
	}
	return place;
}

/* ---- what the request is ---- */

static void
open_generations(Reading *reading, Snapshot snapshot)
{
	reading->table = table_open(aurora_relation_oid("generation"), AccessShareLock);
	reading->index = index_open(aurora_relation_oid("generation_pkey"), AccessShareLock);
	reading->scan = index_beginscan(reading->table, reading->index, snapshot, 1, 0);
	reading->slot = table_slot_create(reading->table, NULL);
}

static void
close_generations(Reading *reading)
{
	ExecDropSingleTupleTableSlot(reading->slot);
	index_endscan(reading->scan);
	index_close(reading->index, AccessShareLock);
	table_close(reading->table, AccessShareLock);
}

/*
 * A request does not change while it waits, but for its time-out, which is looked at when it is
 * chosen: so what has been read of it is kept by the session.
 */
static const Request *
request_of(Reading *reading, int64 job_id)
{
	static Request kept[KEPT];
	Request *request = &kept[(uint64) job_id % KEPT];
	TupleTableSlot *slot = reading->slot;
	Oid table = RelationGetRelid(reading->table);
	ScanKeyData key;

	if (request->job_id == job_id && request->table == table)
		return request;
	*request = (Request) {.table = table, .job_id = job_id, .prompt_tokens = -1};
	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(job_id));
	index_rescan(reading->scan, &key, 1, NULL, 0);
	if (!index_getnext_slot(reading->scan, ForwardScanDirection, slot))
		return request;
	slot_getallattrs(slot);
	request->prompt_tokens = DatumGetInt32(slot->tts_values[GENERATION_PROMPT_TOKENS]);
	request->max_tokens = slot->tts_isnull[GENERATION_MAX_TOKENS]
							  ? PG_INT32_MAX
							  : DatumGetInt32(slot->tts_values[GENERATION_MAX_TOKENS]);
	request->embeds = DatumGetBool(slot->tts_values[GENERATION_EMBEDS]);
	return request;
}

/*
 * Of a job that came by submit_job() the size of its payload says how long the prompt is.
 */
static void
describe(Reading *reading, AuroraGpuJob *job, AuroraGpuCandidate *candidate, Datum payload)
{
	const Request *request = request_of(reading, job->job_id);

	job->prompt_tokens = request->prompt_tokens;
	job->output_tokens = reading->world->outputs[job->model];
	if (request->prompt_tokens < 0)
		job->prompt_tokens = (double) toast_raw_datum_size(payload) / 4;
	else
		job->output_tokens = Min(job->output_tokens, request->max_tokens);
	candidate->embeds = request->embeds;
	if (request->embeds)
		job->output_tokens = 0;
}

TimestampTz
aurora_gpu_deadline(int64 job_id, Snapshot snapshot)
{
	TimestampTz deadline = DT_NOEND;
	AuroraScan scan;
	ScanKeyData key;

	ScanKeyInit(&key, GENERATION_JOB_ID + 1, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(job_id));
	aurora_scan_open(&scan, "generation", "generation_pkey", snapshot, 1, &key);
	if (aurora_scan_next(&scan) && !scan.nulls[GENERATION_DEADLINE])
		deadline = DatumGetTimestampTz(scan.values[GENERATION_DEADLINE]);
	aurora_scan_close(&scan);
	return deadline;
}

/* ---- reading ---- */

static int
find_model(const AuroraGpuWorld *world, Datum kind)
{
	text *value = DatumGetTextPP(kind);
	const char *name = VARDATA_ANY(value);
	int length = VARSIZE_ANY_EXHDR(value);
	int first = 0;
	int last = world->view.model_count - 1;

	while (first <= last)
	{
		int middle = (first + last) / 2;
		int order = strncmp(name, world->models[middle], length);

		if (order == 0 && world->models[middle][length] != '\0')
			order = -1;
		if (order == 0)
			return middle;
		if (order < 0)
			last = middle - 1;
		else
			first = middle + 1;
	}
	return -1;
}

static bool
could_start(const Reading *reading, int model)
{
	const AuroraGpuView *view = &reading->world->view;

	for (int device = 0; device < view->device_count; device++)
	{
		const AuroraGpuFit *fit = &view->fits[device * view->model_count + model];

		if ((reading->device < 0 || reading->device == device) && fit->present &&
			(view->devices[device].memory <= 0 || fit->size <= view->devices[device].memory))
			return true;
	}
	return false;
}

static void
make_room(AuroraGpuWorld *world)
{
	if (world->view.job_count < world->job_room)
		return;
	world->job_room = Max(128, 2 * world->job_room);
	if (world->view.jobs == NULL)
	{
		world->view.jobs = palloc(world->job_room * sizeof(AuroraGpuJob));
		world->candidates = palloc(world->job_room * sizeof(AuroraGpuCandidate));
		return;
	}
	world->view.jobs = repalloc(world->view.jobs, world->job_room * sizeof(AuroraGpuJob));
	world->candidates = repalloc(world->candidates, world->job_room * sizeof(AuroraGpuCandidate));
}

/*
 * A job that has been tried goes on waiting: whoever reads its text does.
 */
static TimestampTz
waits_since(TupleTableSlot *slot)
{
	bool again = DatumGetInt32(slot->tts_values[AURORA_JOB_ATTEMPT]) > 0;

	return DatumGetTimestampTz(
		slot->tts_values[again ? AURORA_JOB_SUBMITTED_AT : AURORA_JOB_READY_AT]);
}

static void
look_at(Reading *reading, AuroraLaneScan *lane)
{
	AuroraGpuWorld *world = reading->world;
	TupleTableSlot *slot = lane->slot;
	AuroraGpuJob *job;
	AuroraGpuCandidate *candidate;
	int model;

	slot_getallattrs(slot);
	if (slot->tts_isnull[AURORA_JOB_KIND] ||
		(reading->has_again && DatumGetInt32(slot->tts_values[AURORA_JOB_ATTEMPT]) > 0))
		return;
	model = find_model(world, slot->tts_values[AURORA_JOB_KIND]);
	if (model < 0)
		return;
	world->view.waiters[model]++;
	if (reading->found >= reading->most || !could_start(reading, model))
		return;
	make_room(world);
	job = &world->view.jobs[world->view.job_count];
	candidate = &world->candidates[world->view.job_count++];
	reading->found++;
	memset(job, 0, sizeof(AuroraGpuJob));
	memset(candidate, 0, sizeof(AuroraGpuCandidate));
	job->job_id = DatumGetInt64(slot->tts_values[AURORA_JOB_ID]);
	job->model = model;
	job->class = lane->class;
	job->age = Max((world->now - waits_since(slot)) / 1e6, 0);
	candidate->position = lane->position;
	candidate->place = slot->tts_tid;
	candidate->class = lane->class;
	candidate->company_id = DatumGetInt32(slot->tts_values[AURORA_JOB_COMPANY_ID]);
	describe(reading, job, candidate, slot->tts_values[AURORA_JOB_PAYLOAD]);
}

/*
 * Looks at jobs of a class from a position on. Returns the first that waits there.
 */
static int64
look_from(Reading *reading, AuroraJobClass class, AuroraLaneRead read, int look_at_most,
		  Snapshot snapshot)
{
	AuroraJobTable table = {.relation = reading->jobs};
	AuroraLaneScan lane = {.queue_id = reading->world->queue_id, .class = class, .read = read};
	int64 first = PG_INT64_MAX;

	aurora_lane_scan_open(&lane, &table, aurora_job_class_oid(class), snapshot);
	reading->seen = 0;
	reading->ended = true;
	while (aurora_lane_scan_next(&lane))
	{
		first = Min(first, lane.position);
		reading->last = lane.position;
		look_at(reading, &lane);
		if (++reading->seen >= look_at_most || reading->found >= reading->most)
		{
			reading->ended = false;
			break;
		}
	}
	aurora_lane_scan_close(&lane);
	return first;
}

static void
forget_jobs(AuroraGpuWorld *world)
{
	world->view.job_count = 0;
	memset(world->view.waiters, 0, world->view.model_count * sizeof(int));
}

/*
 * Jobs whose last attempt failed or lost its lease have lost their place, too, and somebody may be
 * reading their text: they are candidates wherever they stand.
 */
static void
look_at_again(Reading *reading, Snapshot snapshot)
{
	Relation index = index_open(aurora_relation_oid("gpu_job_again"), AccessShareLock);
	IndexScanDesc scan = index_beginscan(reading->jobs, index, snapshot, 1, 0);
	AuroraLaneScan lane = {.queue_id = reading->world->queue_id};
	int seen = 0;
	ScanKeyData key;

	lane.slot = table_slot_create(reading->jobs, NULL);
	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(lane.queue_id));
	index_rescan(scan, &key, 1, NULL, 0);
	reading->found = 0;
	while (seen < AGAIN && index_getnext_slot(scan, ForwardScanDirection, lane.slot))
	{
		slot_getallattrs(lane.slot);
		lane.class =
			aurora_job_class_from_oid(DatumGetObjectId(lane.slot->tts_values[AURORA_JOB_CLASS]));
		lane.position = DatumGetInt64(lane.slot->tts_values[AURORA_JOB_POSITION]);
		look_at(reading, &lane);
		seen++;
	}
	reading->has_again = seen < AGAIN;
	if (!reading->has_again) /* too many to tell apart: they stand in the queue like others */
		forget_jobs(reading->world);
	ExecDropSingleTupleTableSlot(lane.slot);
	index_endscan(scan);
	index_close(index, AccessShareLock);
}

/*
 * The device found nothing among the first: it looks on where it ended the last time.
 */
static void
look_on(Reading *reading, AuroraJobClass class, Place *place, Snapshot snapshot)
{
	AuroraLaneRead read = {.mark = Max(place->position[class], reading->last)};

	(void) look_from(reading, class, read, LOOK_AT, snapshot);
	place->position[class] = reading->found > 0 ? read.mark
							 : reading->ended	? PG_INT64_MIN
												: reading->last;
}

void
aurora_gpu_world_add_jobs(AuroraGpuWorld *world, Relation jobs, int device, int most,
						  const AuroraLaneRead *reads, Snapshot snapshot, int64 *first_waiting)
{
	Reading reading = {.world = world, .jobs = jobs, .device = device, .most = most};

	open_generations(&reading, snapshot);
	look_at_again(&reading, snapshot);
	for (int class = 0; class < AURORA_JOB_CLASS_COUNT; class ++)
	{
		int64 first;

		reading.found = 0;
		first = look_from(&reading, class, reads[class], Max(LOOK_AT, most), snapshot);
		if (first_waiting)
			first_waiting[class] = first;
		if (device >= 0 && reading.found == 0 && !reading.ended)
			look_on(&reading, class, place_of(world, device), snapshot);
	}
	close_generations(&reading);
}
