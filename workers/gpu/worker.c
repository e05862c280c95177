/*
 * The worker: puts its parts together, and begins and ends them.
 */
#include "gpu/worker.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/notify.h"
#include "gpu/command.h"

#define LAST_WRITES 5000 /* ms, behind the limit of a drain */

static const char *const channels[] = {"aurora_queue", "aurora_cancel", NULL};

/* ---- jobs ---- */

Job *
worker_find_job(Worker *worker, int64_t id, int attempt)
{
	for (Job *job = worker->jobs; job; job = job->next)
		if (job->id == id && (attempt == 0 || job->attempt == attempt))
			return job;
	return NULL;
}

static void
free_retired(Worker *worker)
{
	for (Backend **place = &worker->backends; *place;)
	{
		Backend *backend = *place;
		bool is_used = false;

		for (const Job *job = worker->jobs; job; job = job->next)
			is_used |= job->backend == backend;
		if (!backend->is_retired || is_used)
		{
			place = &backend->next;
			continue;
		}
		*place = backend->next;
		backend_close(backend);
	}
}

static void
end_drained(Worker *worker)
{
	if (worker->is_draining && worker->job_count == 0)
		loop_end(&worker->loop);
}

void
worker_drop(Worker *worker, Job *job)
{
	Job **place = &worker->jobs;
	int device = job->device;

	while (*place != job)
		place = &(*place)->next;
	*place = job->next;
	worker->job_count--;
	if (job->phase == JOB_RUNNING && job->backend)
		job->backend->running--;
	job_free(job);
	free_retired(worker);
	report_wake(worker);
	claim_wake(worker, device);
	end_drained(worker);
}

/* ---- the database ---- */

void
worker_log_error(const char *event, const PGresult *result, int64_t job)
{
	log_write(LOG_ERROR, event,
			  (LogField[]) {TEXT("sqlstate", PQresultErrorField(result, PG_DIAG_SQLSTATE)),
							TEXT("error", PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY)),
							TEXT("hint", PQresultErrorField(result, PG_DIAG_MESSAGE_HINT)),
							job > 0 ? NUMBER("job", job) : TEXT("job", NULL),
							{NULL, NULL, 0, false}});
}

bool
worker_leaves(Worker *worker, const PGresult *result)
{
	static const char *const states[] = {"25006", "57P", "08", NULL};
	const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);

	for (int i = 0; state && states[i]; i++)
		if (strncmp(state, states[i], strlen(states[i])) == 0)
		{
			connection_lose(worker->connection,
							PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY));
			return true;
		}
	return false;
}

static void
connected(void *context)
{
	Worker *worker = context;

	log_event(LOG_INFO, "database connected", NUMBER("jobs", worker->job_count));
	worker->has_reported = worker->is_reporting = worker->is_claiming = false;
	writer_resume(worker);
	keys_ask(worker);
	loop_set(&worker->loop, &worker->report, clock_ms());
}

static void
disconnected(void *context, const char *reason)
{
	Worker *worker = context;

	log_event(LOG_WARNING, "database not connected", TEXT("reason", reason),
			  NUMBER("jobs", worker->job_count));
}

static void
notified(void *context, const char *channel, const char *payload)
{
	Worker *worker = context;
	Job *job;

	if (strcmp(channel, "aurora_cancel") != 0)
	{
		claim_wake(worker, -1);
		return;
	}
	job = worker_find_job(worker, atoll(payload), 0);
	if (job)
		job_cancel(job);
}

static bool
open_connection(Worker *worker)
{
	static const ConnectionEvents events = {connected, disconnected, notified};
	char *problem;

	worker->connection = connection_open(&worker->loop, worker->config->conninfo,
										 "aurora-gpu-worker", channels, &events, worker, &problem);
	if (worker->connection && bell_open(worker))
		return true;
	log_event(LOG_ERROR, "conninfo cannot be used", TEXT("error", problem));
	free(problem);
	return false;
}

/* ---- devices and backends ---- */

static void
sampled(void *context, const Inventory *inventory)
{
	Worker *worker = context;

	for (int i = 0; i < inventory->count; i++)
	{
		const Device *device = &inventory->devices[i];
		bool was_lost = i < worker->inventory.count && worker->inventory.devices[i].is_lost;

		if (device->is_lost != was_lost)
			log_event(device->is_lost ? LOG_WARNING : LOG_INFO,
					  device->is_lost ? "device lost" : "device is back",
					  NUMBER("device", device->index), TEXT("name", device->name),
					  TEXT("problem", device->is_lost ? device->problem : NULL));
	}
	worker->inventory = *inventory;
	worker->has_inventory = true;
	report_wake(worker);
}

/*
 * A state that has changed is logged once.
 */
static void
backend_changed(void *context, Backend *backend)
{
	static const char *const names[] = {"unknown", "ready", "loading", "down"};
	Worker *worker = context;

	if (backend->logged_state != backend->state)
		log_event(backend->state == BACKEND_DOWN ? LOG_WARNING : LOG_INFO, "backend",
				  TEXT("backend", backend->config.name), TEXT("state", names[backend->state]),
				  TEXT("kind", backend_kind_names[backend->kind]),
				  NUMBER("models", backend->model_count), NUMBER("slots", backend->slots),
				  TEXT("problem", backend->problem[0] ? backend->problem : NULL));
	backend->logged_state = backend->state;
	keys_ask(worker);
	report_wake(worker);
	claim_wake(worker, (int) backend->config.device);
}

static void
add_backends(Worker *worker, const Config *config)
{
	for (int i = 0; i < config->backend_count; i++)
	{
		const BackendConfig *wanted = &config->backends[i];
		Backend *same = worker->backends;

		while (same && (same->is_retired || !config_same_backend(&same->config, wanted)))
			same = same->next;
		if (same)
		{
			backend_config_free(&same->config);
			backend_config_copy(&same->config, wanted);
			same->is_kept = true;
			continue;
		}
		same = backend_open(&worker->loop, worker->http, wanted, backend_changed, worker);
		same->is_kept = true;
		same->next = worker->backends;
		worker->backends = same;
	}
	for (Backend *backend = worker->backends; backend; backend = backend->next)
	{
		backend->is_retired |= !backend->is_kept;
		backend->is_kept = false;
	}
	free_retired(worker);
}

/* ---- signals ---- */

/*
 * What runs goes on with its backends as they were. The connection is made anew only when its
 * string is another one.
 */
static void
reload(Worker *worker)
{
	char *problem;
	Config *config = config_read(worker->config_path, &problem);
	Config *old = worker->config;

	if (config == NULL)
	{
		log_event(LOG_ERROR, "configuration not reloaded", TEXT("file", worker->config_path),
				  TEXT("error", problem));
		free(problem);
		return;
	}
	notify("RELOADING=1");
	worker->config = config;
	log_open((LogLevel) config->log_level, (LogFormat) config->log_format);
	sampler_close(worker->sampler);
	worker->sampler = sampler_open(&worker->loop, &config->sources,
								   (int) config->inventory_interval, sampled, worker);
	add_backends(worker, config);
	for (Backend *backend = worker->backends; backend; backend = backend->next)
		if (!backend->is_retired && backend->config.api_key_file)
			backend_read_key(backend);
	if (strcmp(old->conninfo, config->conninfo) != 0)
	{
		connection_lose(worker->connection, "another one is configured");
		connection_close(worker->connection);
		bell_close(worker);
		if (!open_connection(worker))
			loop_end(&worker->loop);
	}
	config_free(old);
	keys_ask(worker);
	log_event(LOG_INFO, "configuration reloaded", TEXT("file", worker->config_path),
			  NUMBER("backends", config->backend_count));
	notify("READY=1");
}

static void
drain_is_over(void *context)
{
	Worker *worker = context;

	if (worker->is_giving_back)
	{
		log_event(LOG_WARNING, "jobs left to their leases", NUMBER("jobs", worker->job_count));
		loop_end(&worker->loop);
		return;
	}
	worker->is_giving_back = true;
	for (Job *job = worker->jobs; job; job = job->next)
		job_give_back(job);
	loop_set(&worker->loop, &worker->drain, clock_ms() + LAST_WRITES);
}

static void
begin_drain(Worker *worker)
{
	if (worker->is_draining)
	{
		loop_set(&worker->loop, &worker->drain, clock_ms()); /* told twice: in a hurry */
		return;
	}
	worker->is_draining = true;
	notify("STOPPING=1");
	log_event(LOG_INFO, "draining", NUMBER("jobs", worker->job_count),
			  NUMBER("limit_ms", worker->config->drain_limit));
	loop_set(&worker->loop, &worker->drain, clock_ms() + worker->config->drain_limit);
	report_wake(worker);
	end_drained(worker);
}

static void
take_signal(void *context, int signal)
{
	Worker *worker = context;

	switch (signal)
	{
		case SIGTERM:
		case SIGINT:
			begin_drain(worker);
			break;
		case SIGHUP:
			if (!worker->is_draining)
				reload(worker);
			break;
		case SIGCHLD:
			command_reap_killed();
			for (Job *job = worker->jobs; job; job = job->next)
				command_reap(job);
			break;
		default:
			break;
	}
}

static void
feed_watchdog(void *context)
{
	Worker *worker = context;

	notify("WATCHDOG=1");
	loop_set(&worker->loop, &worker->watchdog, clock_ms() + worker->watchdog_interval);
}

/* ---- from begin to end ---- */

static bool
begin(Worker *worker)
{
	sigset_t signals;

	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGHUP);
	sigaddset(&signals, SIGCHLD);
	signal(SIGPIPE, SIG_IGN);
	if (!loop_open(&worker->loop) || !loop_signals(&worker->loop, &signals, take_signal, worker) ||
		(worker->http = http_open(&worker->loop)) == NULL)
	{
		log_event(LOG_ERROR, "the worker cannot begin", TEXT("error", strerror(errno)));
		return false;
	}
	worker->drain = (Timer) {.due = drain_is_over, .context = worker};
	worker->watchdog = (Timer) {.due = feed_watchdog, .context = worker};
	writer_start(worker);
	report_start(worker);
	claim_start(worker);
	if (!open_connection(worker))
		return false;
	worker->sampler = sampler_open(&worker->loop, &worker->config->sources,
								   (int) worker->config->inventory_interval, sampled, worker);
	add_backends(worker, worker->config);
	worker->watchdog_interval = notify_watchdog_interval();
	if (worker->watchdog_interval > 0)
		loop_set(&worker->loop, &worker->watchdog, clock_ms());
	return worker->sampler != NULL;
}

static void
end(Worker *worker)
{
	connection_close(worker->connection);
	bell_close(worker);
	while (worker->jobs)
	{
		Job *job = worker->jobs;

		worker->jobs = job->next;
		job_free(job);
	}
	while (worker->backends)
	{
		Backend *backend = worker->backends;

		worker->backends = backend->next;
		backend_close(backend);
	}
	sampler_close(worker->sampler);
	http_close(worker->http);
	loop_close(&worker->loop);
	free(worker->reported);
	config_free(worker->config);
}

int
worker_run(const char *config_path, Config *config, bool is_once)
{
	Worker *worker = memory_get(sizeof(Worker));
	int status = EXIT_FAILURE;

	worker->config = config;
	worker->config_path = config_path;
	worker->is_once = is_once;
	worker->started_at = clock_ms();
	log_open((LogLevel) config->log_level, (LogFormat) config->log_format);
	if (begin(worker))
	{
		log_event(LOG_INFO, "started", TEXT("version", AURORA_VERSION),
				  NUMBER("backends", config->backend_count));
		notify("READY=1");
		loop_run(&worker->loop);
		log_event(LOG_INFO, "ended", NUMBER("jobs_left", worker->job_count));
		status = EXIT_SUCCESS;
	}
	end(worker);
	free(worker);
	return status;
}
