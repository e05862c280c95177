/*
 * Reports the node's devices to the database: every few seconds, and soon when what can be run
 * there has changed.
 */
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/notify.h"
#include "gpu/worker.h"

#define SOON 50			  /* ms: several changes make one report */
#define FIRST_PROBES 6000 /* ms for these to be answered */

/* What the backends of a device are together. */
typedef struct Summary
{
	int slots;
	int busy;
	BackendState state;
	const char *problem;
	json_t *models;
} Summary;

static json_t *
number(int64_t value)
{
	return value < 0 ? json_null() : json_integer(value);
}

static json_t *
real(double value)
{
	return value < 0 ? json_null() : json_real(value);
}

static json_t *
text(const char *value)
{
	return value && *value ? json_string(value) : json_null();
}

/* ---- backends ---- */

static void
add_models(json_t *models, const Backend *backend)
{
	for (int i = 0; i < backend->model_count; i++)
	{
		const Model *model = &backend->models[i];

		(void) json_array_append_new(models,
									 json_pack("{s:s,s:b,s:o,s:o}", "name", model->name, "resident",
											   model->is_resident, "size", number(model->size),
											   "context", number(model->context)));
	}
}

/*
 * The best state of several holds: ready, then loading, then down.
 */
static bool
is_better(BackendState state, BackendState other)
{
	static const int ranks[] = {
		[BACKEND_UNKNOWN] = 1, [BACKEND_READY] = 3, [BACKEND_LOADING] = 2, [BACKEND_DOWN] = 0};

	return ranks[state] > ranks[other];
}

static void
summarise(const Worker *worker, int device, Summary *summary)
{
	bool is_first = true;

	*summary = (Summary) {.state = BACKEND_DOWN,
						  .problem = "no backend is configured for the device",
						  .models = json_array()};
	for (const Backend *backend = worker->backends; backend; backend = backend->next)
	{
		if (backend->config.device != device || backend->is_retired)
			continue;
		summary->slots += backend->slots;
		summary->busy += backend->running + backend->others;
		add_models(summary->models, backend); /* also while it is away: jobs may wait for it */
		if (is_first || is_better(backend->state, summary->state))
		{
			summary->state = backend->state;
			summary->problem = backend->problem;
		}
		is_first = false;
	}
}

/* ---- devices ---- */

static const char *
state_name(const Device *device, const Summary *summary)
{
	if (device->is_lost)
		return "lost";
	return summary->state == BACKEND_READY	   ? "ready"
		   : summary->state == BACKEND_LOADING ? "loading"
											   : "down";
}

/*
 * What changes seldom; of it a change is reported at once.
 */
static json_t *
make_lasting(const Worker *worker, const Device *device, Summary *summary)
{
	const char *problem = device->problem[0] ? device->problem : summary->problem;

	return json_pack("{s:i,s:o,s:o,s:s,s:o,s:o,s:b,s:s,s:o,s:i,s:b,s:o}", "index", device->index,
					 "uuid", text(device->uuid), "name", text(device->name), "kind", device->kind,
					 "driver", text(device->driver), "compute_capability",
					 text(device->compute_capability), "unified", device->unified, "state",
					 state_name(device, summary), "problem", text(problem), "slots", summary->slots,
					 "draining", worker->is_draining, "models", summary->models);
}

static void
add_measured(json_t *object, const Device *device, const Summary *summary)
{
	(void) json_object_set_new(object, "memory_total", number(device->memory_total));
	(void) json_object_set_new(object, "memory_free", number(device->memory_free));
	(void) json_object_set_new(object, "memory_used", number(device->memory_used));
	(void) json_object_set_new(object, "utilisation", number(device->utilisation));
	(void) json_object_set_new(object, "temperature", number(device->temperature));
	(void) json_object_set_new(object, "power", real(device->power));
	(void) json_object_set_new(object, "power_limit", real(device->power_limit));
	(void) json_object_set_new(object, "busy", json_integer(summary->busy));
}

/*
 * The report, to be freed, and in "lasting" what of it changes seldom.
 */
static char *
make_report(const Worker *worker, char **lasting)
{
	json_t *devices = json_array();
	char *report;

	for (int i = 0; i < worker->inventory.count; i++)
	{
		Summary summary;

		summarise(worker, worker->inventory.devices[i].index, &summary);
		(void) json_array_append_new(devices,
									 make_lasting(worker, &worker->inventory.devices[i], &summary));
	}
	*lasting = json_dumps(devices, JSON_COMPACT);
	for (int i = 0; i < worker->inventory.count; i++)
	{
		Summary summary;

		summarise(worker, worker->inventory.devices[i].index, &summary);
		json_decref(summary.models);
		add_measured(json_array_get(devices, (size_t) i), &worker->inventory.devices[i], &summary);
	}
	report = json_dumps(devices, JSON_COMPACT);
	json_decref(devices);
	return report;
}

/* ---- reports ---- */

/*
 * Is what was reported last still so?
 */
static bool
is_current(const Worker *worker)
{
	char *lasting;
	bool is_same;

	free(make_report(worker, &lasting));
	is_same = worker->reported && strcmp(worker->reported, lasting) == 0;
	free(lasting);
	return is_same;
}

static void
reported(void *context, const PGresult *result)
{
	Worker *worker = context;

	worker->is_reporting = false;
	if (result == NULL || worker_leaves(worker, result))
		return;
	if (PQresultStatus(result) != PGRES_TUPLES_OK)
	{
		worker_log_error("the devices could not be reported", result, 0);
		return;
	}
	if (!worker->has_reported)
		log_event(LOG_INFO, "devices reported", NUMBER("devices", worker->inventory.count),
				  TEXT("source", worker->inventory.source));
	else if (!worker->is_changed)
		return;
	worker->has_reported = true;
	report_wake(worker);
	if (!worker->is_changed)
		claim_wake(worker, -1);
}

/*
 * A report before the backends have told what they have would say that the node has no models any
 * more, and requests for them would be refused.
 */
static bool
is_too_early(const Worker *worker)
{
	for (const Backend *backend = worker->backends; backend; backend = backend->next)
		if (backend->state == BACKEND_UNKNOWN && !backend->is_retired)
			return clock_ms() - worker->started_at < FIRST_PROBES;
	return false;
}

static void
report(void *context)
{
	Worker *worker = context;
	const char *values[2] = {NULL, worker->config->node};
	char *lasting;
	char *devices;
	bool is_later = worker->is_reporting || is_too_early(worker);

	loop_set(&worker->loop, &worker->report,
			 clock_ms() + (is_later ? SOON : worker->config->report_interval));
	if (is_later || !worker->has_inventory || !connection_is_up(worker->connection))
		return;
	devices = make_report(worker, &lasting);
	free(worker->reported);
	worker->reported = lasting;
	values[0] = devices;
	worker->is_reporting = true;
	connection_query(worker->connection, "SELECT aurora.report_devices($1::jsonb, $2)", 2, values,
					 reported, worker);
	free(devices);
	notify("STATUS=%d devices by %s, %d jobs", worker->inventory.count, worker->inventory.source,
		   worker->job_count);
}

void
report_wake(Worker *worker)
{
	if (!worker->has_inventory)
		return;
	worker->is_changed = !is_current(worker);
	if (worker->is_changed)
		loop_set_by(&worker->loop, &worker->report, clock_ms() + SOON);
}

void
report_start(Worker *worker)
{
	worker->report = (Timer) {.due = report, .context = worker};
	loop_set(&worker->loop, &worker->report, clock_ms());
}
