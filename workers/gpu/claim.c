/*
 * Takes jobs for devices that have room, one device at a time in turn. Which job a device gets is
 * the database's decision.
 */
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "gpu/worker.h"

#define LATER 1000		/* ms after an error */
#define MOST_AT_ONCE 64 /* jobs of a claim */

/*
 * Does not wait for the disk: a claim that a lead forgets leaves the job to whoever asks next, and
 * the worker is told when it writes.
 */
#define TAKE                                                                        \
	"SELECT job_id, attempt, model, task, payload, partial_text, partial_tokens, "  \
	"CASE WHEN isfinite(deadline) THEN "                                            \
	"(extract(epoch FROM deadline - clock_timestamp()) * 1000)::bigint END, "       \
	"(extract(epoch FROM lease_until - clock_timestamp()) * 1000)::bigint, class, " \
	"set_config('synchronous_commit', 'off', true) "                                \
	"FROM aurora.take_generations($1, $2, $3::interval, $4)"

typedef enum TakeColumn
{
	TAKE_JOB,
	TAKE_ATTEMPT,
	TAKE_MODEL,
	TAKE_TASK,
	TAKE_PAYLOAD,
	TAKE_PARTIAL,
	TAKE_TOKENS,
	TAKE_DEADLINE,
	TAKE_LEASE,
	TAKE_CLASS
} TakeColumn;

static void claim(Worker *worker);

/* ---- a job ---- */

/*
 * The backend of the device that has the model, and the most room of those; else any, for the
 * failure to have one.
 */
static Backend *
choose_backend(Worker *worker, int device, const char *model, bool *has_model)
{
	int64_t now = clock_ms();
	Backend *chosen = NULL;

	*has_model = false;
	for (Backend *backend = worker->backends; backend; backend = backend->next)
	{
		bool fits;

		if (backend->config.device != device || backend->is_retired)
			continue;
		fits = backend_find_model(backend, model) != NULL;
		if (chosen == NULL || fits > *has_model ||
			(fits == *has_model && backend_free(backend, now) > backend_free(chosen, now)))
			chosen = backend;
		*has_model |= fits;
	}
	return chosen;
}

static json_t *
read_payload(const char *text)
{
	json_t *payload = json_loads(text, 0, NULL);

	return payload ? payload : json_loads(text, JSON_DECODE_INT_AS_REAL, NULL);
}

static const char *
value_of(const PGresult *result, int row, TakeColumn column)
{
	return PQgetisnull(result, row, column) ? NULL : PQgetvalue(result, row, column);
}

static void
take_job(Worker *worker, const PGresult *result, int row)
{
	Job *job = job_make(worker, atoll(value_of(result, row, TAKE_JOB)),
						atoi(value_of(result, row, TAKE_ATTEMPT)));
	const char *deadline = value_of(result, row, TAKE_DEADLINE);
	const char *partial = value_of(result, row, TAKE_PARTIAL);
	const char *tokens = value_of(result, row, TAKE_TOKENS);
	const char *lease = value_of(result, row, TAKE_LEASE);
	const char *model = value_of(result, row, TAKE_MODEL);
	const char *task = value_of(result, row, TAKE_TASK);
	const char *payload = value_of(result, row, TAKE_PAYLOAD);
	bool has_model;

	job->model = memory_copy(model ? model : "");
	job->is_embed = task && strcmp(task, "embed") == 0;
	job->payload = read_payload(payload ? payload : "");
	job->partial = memory_copy(partial ? partial : "");
	job->tokens = tokens ? atoi(tokens) : 0;
	job->lease = lease ? atoll(lease) : 0;
	job->device = worker->claim_device;
	if (deadline)
		job->deadline = clock_ms() + atoll(deadline);
	job->backend = choose_backend(worker, job->device, job->model, &has_model);
	job->next = worker->jobs;
	worker->jobs = job;
	worker->job_count++;
	if (has_model && !worker->is_draining)
	{
		job_start(job);
		return;
	}
	if (job->backend)
		job->backend->running++;
	if (worker->is_draining)
		job_give_back(job);
	else
		job_fail(job, (Retry) {.wait = RETRY_BY_QUEUE}, "no backend of the device has model %s",
				 job->model);
}

/* ---- claims ---- */

static int
room_of(Worker *worker, int device)
{
	int64_t now = clock_ms();
	int room = 0;

	for (Backend *backend = worker->backends; backend; backend = backend->next)
		if (backend->config.device == device)
			room += backend_free(backend, now);
	return room < MOST_AT_ONCE ? room : MOST_AT_ONCE;
}

static bool
is_usable(const Worker *worker, int device)
{
	for (int i = 0; i < worker->inventory.count; i++)
		if (worker->inventory.devices[i].index == device)
			return !worker->inventory.devices[i].is_lost;
	return false;
}

/*
 * Ends a worker that runs once, when no device is left for which something could be taken.
 */
static void
end_once(Worker *worker)
{
	bool is_known = true;
	bool wants = false;

	for (const Backend *backend = worker->backends; backend; backend = backend->next)
		is_known &= backend->state != BACKEND_UNKNOWN;
	for (int i = 0; i < DEVICES; i++)
		wants |= worker->wants[i] && is_usable(worker, i) && room_of(worker, i) > 0;
	if (worker->is_once && is_known && !wants && worker->has_reported && !worker->is_changed &&
		!worker->is_claiming && worker->job_count == 0)
		loop_end(&worker->loop);
}

static void
claimed(void *context, const PGresult *result)
{
	Worker *worker = context;
	int device = worker->claim_device;

	worker->is_claiming = false;
	if (result == NULL || worker_leaves(worker, result))
		return;
	if (PQresultStatus(result) != PGRES_TUPLES_OK)
	{
		worker_log_error("no job could be taken", result, 0);
		loop_set(&worker->loop, &worker->poll, clock_ms() + LATER);
		return;
	}
	for (int row = 0; row < PQntuples(result); row++)
		take_job(worker, result, row);
	/* As many as were asked for: there may be more, should there be room. */
	if (PQntuples(result) == worker->claim_size)
		worker->wants[device] = true;
	if (PQntuples(result) > 0)
	{
		report_wake(worker);
		bell_wake(worker);
	}
	claim(worker);
	end_once(worker);
}

static void
ask_for(Worker *worker, int device, int count)
{
	Buffer texts[3] = {{0}};
	const char *values[4];

	worker->is_claiming = true;
	worker->wants[device] = false; /* until it is woken again, be it while this is answered */
	worker->claim_device = device;
	worker->claim_size = count;
	buffer_print(&texts[0], "%d", device);
	buffer_print(&texts[1], "%d", count);
	buffer_print(&texts[2], "%lld milliseconds", (long long) worker->config->lease);
	values[0] = texts[0].bytes;
	values[1] = texts[1].bytes;
	values[2] = worker->config->lease > 0 ? texts[2].bytes : NULL;
	values[3] = worker->config->node;
	connection_query(worker->connection, TAKE, 4, values, claimed, worker);
	for (int i = 0; i < 3; i++)
		buffer_wipe(&texts[i]);
}

/*
 * The database knows the devices as they have been reported.
 */
static void
claim(Worker *worker)
{
	if (worker->is_claiming || worker->is_draining || !worker->has_reported || worker->is_changed ||
		!connection_is_up(worker->connection))
		return;
	for (int i = 1; i <= DEVICES; i++)
	{
		int device = (worker->claim_device + i) % DEVICES;
		int room = worker->wants[device] ? room_of(worker, device) : 0;

		if (room == 0 || !is_usable(worker, device))
			continue;
		ask_for(worker, device, room);
		return;
	}
}

void
claim_wake(Worker *worker, int device)
{
	for (int i = 0; i < DEVICES; i++)
		if (device < 0 || i == device)
			worker->wants[i] = true;
	claim(worker);
}

static void
poll_due(void *context)
{
	Worker *worker = context;

	loop_set(&worker->loop, &worker->poll, clock_ms() + worker->config->poll_interval);
	end_once(worker);
	claim_wake(worker, -1);
}

void
claim_start(Worker *worker)
{
	worker->poll = (Timer) {.due = poll_due, .context = worker};
	loop_set(&worker->loop, &worker->poll, clock_ms() + worker->config->poll_interval);
}
