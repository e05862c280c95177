/*
 * Looks at all that the worker needs: devices, the database and backends, each for some seconds.
 */
#include "gpu/check.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/connection.h"
#include "common/log.h"
#include "gpu/backend.h"
#include "gpu/http.h"

#define LIMIT 10000 /* ms */

typedef struct Check
{
	Loop loop;
	const Config *config;
	Connection *connection;
	Backend *backends[BACKENDS];
	int waiting;   /* for so many answers */
	bool is_known; /* how the database is */
	int problems;
	Timer limit;
} Check;

static void
end_answer(Check *check)
{
	check->waiting--;
	if (check->waiting == 0)
		loop_end(&check->loop);
}

static void
say(Check *check, bool is_well, const char *what, const char *name, const char *found)
{
	printf("%-9s %-20s %s%s\n", what, name, is_well ? "" : "PROBLEM: ", found);
	check->problems += !is_well;
}

/* ---- devices ---- */

static void
check_devices(Check *check)
{
	Inventory *inventory = memory_get(sizeof(Inventory));
	Finder finder;

	finder_open(&finder, &check->config->sources);
	finder_read(&finder, clock_ms(), inventory);
	finder_close(&finder);
	for (int i = 0; i < inventory->count; i++)
	{
		const Device *device = &inventory->devices[i];
		Buffer found = {0};
		char name[16];

		snprintf(name, sizeof(name), "%d", device->index);
		buffer_print(&found, "%s, %s by %s", device->name, device->kind, inventory->source);
		if (device->memory_total >= 0)
			buffer_print(&found, ", %.1f GB", (double) device->memory_total / 1073741824.0);
		if (device->problem[0])
			buffer_print(&found, ", %s", device->problem);
		say(check, !device->is_lost, "device", name, found.bytes);
		buffer_wipe(&found);
	}
	for (int i = 0; i < check->config->backend_count; i++)
	{
		bool is_there = false;

		for (int j = 0; j < inventory->count; j++)
			is_there |= inventory->devices[j].index == check->config->backends[i].device;
		if (!is_there)
			say(check, false, "backend", check->config->backends[i].name,
				"its device is not there: see device = in the configuration");
	}
	free(inventory);
}

/* ---- the database ---- */

static void
told_key(void *context, const PGresult *result)
{
	Backend *backend = context;
	Check *check = backend->context;

	if (result && PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) == 1 &&
		!PQgetisnull(result, 0, 0))
		backend_set_key(backend, PQgetvalue(result, 0, 0), NULL);
	else
	{
		say(check, false, "backend", backend->config.name,
			result ? PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY)
				   : "its key cannot be had: there is no connection");
		backend->logged_state = BACKEND_DOWN;
		end_answer(check);
	}
}

static void
ask_keys(Check *check)
{
	for (int i = 0; i < check->config->backend_count; i++)
	{
		const char *secret = check->config->backends[i].api_key_secret;
		char *service = memory_copy(secret);
		char *slash = service ? strrchr(service, '/') : NULL;
		const char *values[2] = {service, slash ? slash + 1 : NULL};

		if (slash)
		{
			*slash = '\0';
			connection_query(check->connection, "SELECT aurora.secret($1, $2)", 2, values, told_key,
							 check->backends[i]);
		}
		free(service);
	}
}

static void
told_functions(void *context, const PGresult *result)
{
	Check *check = context;

	if (result && PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) == 1)
		say(check, PQgetvalue(result, 0, 0)[0] == 't', "database", PQgetvalue(result, 0, 1),
			PQgetvalue(result, 0, 0)[0] == 't'
				? "connected to the lead"
				: "this role may not call aurora's functions for nodes: it has to be the login "
				  "role of a node, see register_node()");
	else
		say(check, false, "database", "",
			result
				? "aurora's functions for nodes are not there: is the extension in this database?"
				: "the connection was lost");
	end_answer(check);
}

static void
up(void *context)
{
	Check *check = context;

	check->is_known = true;
	connection_query(check->connection,
					 "SELECT has_function_privilege(p.oid, 'EXECUTE'), current_user "
					 "FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace "
					 "WHERE n.nspname = 'aurora' AND p.proname = 'take_generations' LIMIT 1",
					 0, NULL, told_functions, check);
	ask_keys(check);
}

static void
down(void *context, const char *reason)
{
	Check *check = context;

	if (!check->is_known)
		printf("database  %-20s no connection: %s\n", "", reason);
}

/* ---- backends ---- */

static void
changed(void *context, Backend *backend)
{
	Check *check = context;
	bool is_well = backend->state == BACKEND_READY;
	Buffer found = {0};

	if (backend->logged_state != BACKEND_UNKNOWN || backend->wants_key)
		return;
	backend->logged_state = backend->state;
	buffer_print(&found, is_well ? "%s, %d slots, %d models" : "%s",
				 is_well ? backend_kind_names[backend->kind] : backend->problem, backend->slots,
				 backend->model_count);
	for (int i = 0; is_well && i < backend->model_count; i++)
		buffer_print(&found, "%s %s%s", i > 0 ? "," : ":", backend->models[i].name,
					 backend->models[i].is_resident ? "" : " (not loaded)");
	say(check, is_well && backend->model_count > 0, "backend", backend->config.name, found.bytes);
	buffer_wipe(&found);
	end_answer(check);
}

static void
time_is_up(void *context)
{
	Check *check = context;

	if (!check->is_known)
		say(check, false, "database", "", "no host of conninfo is a lead that answers");
	for (int i = 0; i < check->config->backend_count; i++)
		if (check->backends[i]->logged_state == BACKEND_UNKNOWN)
			say(check, false, "backend", check->config->backends[i].name,
				check->backends[i]->wants_key ? "its key cannot be had" : "it does not answer");
	loop_end(&check->loop);
}

int
check_run(Config *config)
{
	static const ConnectionEvents events = {up, down, NULL};
	Check *check = memory_get(sizeof(Check));
	Http *http;
	char *problem;
	int problems;

	log_open(LOG_NOTHING, LOG_LOGFMT);
	signal(SIGPIPE, SIG_IGN);
	check->config = config;
	check_devices(check);
	if (!loop_open(&check->loop) || (http = http_open(&check->loop)) == NULL)
		return EXIT_FAILURE;
	check->connection = connection_open(&check->loop, config->conninfo, "aurora-gpu-worker", NULL,
										&events, check, &problem);
	if (check->connection == NULL)
		say(check, false, "database", "", problem);
	check->waiting = config->backend_count + (check->connection != NULL);
	for (int i = 0; i < config->backend_count; i++)
		check->backends[i] = backend_open(&check->loop, http, &config->backends[i], changed, check);
	if (config->backend_count == 0)
		say(check, false, "backend", "", "none is configured: [backend NAME] with a url");
	check->limit = (Timer) {.due = time_is_up, .context = check};
	loop_set(&check->loop, &check->limit, clock_ms() + LIMIT);
	if (check->waiting > 0)
		loop_run(&check->loop);
	connection_close(check->connection);
	for (int i = 0; i < config->backend_count; i++)
		backend_close(check->backends[i]);
	http_close(http);
	loop_close(&check->loop);
	config_free(config);
	problems = check->problems;
	free(check);
	return problems > 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
