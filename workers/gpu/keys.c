/*
 * Has the keys of model servers from the database, where they are secrets. A key is asked for when
 * the connection is there, and again when its server refuses it.
 */
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "gpu/worker.h"

#define ASK_AGAIN 30000 /* ms */

/* Whose key was asked for: a backend may go meanwhile. */
typedef struct Errand
{
	Worker *worker;
	char *backend;
} Errand;

static Backend *
find_backend(Worker *worker, const char *name)
{
	for (Backend *backend = worker->backends; backend; backend = backend->next)
		if (!backend->is_retired && strcmp(backend->config.name, name) == 0)
			return backend;
	return NULL;
}

static void
answered(void *context, const PGresult *result)
{
	Errand *errand = context;
	Backend *backend = find_backend(errand->worker, errand->backend);

	if (backend && result && PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) == 1 &&
		!PQgetisnull(result, 0, 0))
	{
		char *value = PQgetvalue(result, 0, 0);

		backend_set_key(backend, value, NULL);
		explicit_bzero(value, strlen(value)); /* libpq frees without */
	}
	else if (backend && result && !worker_leaves(errand->worker, result))
	{
		worker_log_error("the key of a backend cannot be had", result, 0);
		backend_set_key(backend, NULL, "its key cannot be had from the database");
	}
	free(errand->backend);
	free(errand);
}

static void
ask(Worker *worker, Backend *backend)
{
	char *service = memory_copy(backend->config.api_key_secret);
	char *slash = strrchr(service, '/');
	const char *values[2] = {service, slash + 1};
	Errand *errand = memory_get(sizeof(Errand));

	*slash = '\0';
	*errand = (Errand) {worker, memory_copy(backend->config.name)};
	backend->key_read_at = clock_ms();
	connection_query(worker->connection, "SELECT aurora.secret($1, $2)", 2, values, answered,
					 errand);
	free(service);
}

void
keys_ask(Worker *worker)
{
	int64_t now = clock_ms();

	if (!connection_is_up(worker->connection))
		return;
	for (Backend *backend = worker->backends; backend; backend = backend->next)
	{
		bool is_due = backend->key_read_at == 0 || now - backend->key_read_at >= ASK_AGAIN;

		if (backend->is_retired || !(backend->wants_key || backend->is_key_refused) || !is_due)
			continue;
		if (backend->config.api_key_secret)
			ask(worker, backend);
		else if (backend->config.api_key_file)
			backend_read_key(backend);
	}
}
