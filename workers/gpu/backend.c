/*
 * A backend as it is. What its answers to probes say is read in probe.c.
 */
#include "gpu/backend.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "gpu/probe.h"

#define PROBE_LIMIT 5000 /* ms */
#define LONGEST_ANSWER ((size_t) 8 << 20)
#define LONGEST_KEY 4096
#define SOON 1000 /* ms until the next probe of one that is not ready */

static void end_probe(void *context, const HttpEnd *end);

/* ---- probes ---- */

static bool
take_bytes(void *context, const char *bytes, size_t size)
{
	Backend *backend = context;

	if (backend->body.size + size <= LONGEST_ANSWER)
		buffer_add(&backend->body, bytes, size);
	return true;
}

static void
ask(Backend *backend)
{
	static const HttpEvents events = {take_bytes, end_probe};
	Buffer url = {0};
	HttpOptions options = {
		.api_key = backend->api_key, .connect_timeout = PROBE_LIMIT, .timeout = PROBE_LIMIT};

	buffer_print(&url, "%s%s", backend->config.url, probe_path(backend->step));
	options.url = url.bytes;
	buffer_clear(&backend->body);
	buffer_add_text(&backend->body, "");
	backend->probe = http_start(backend->http, &options, &events, backend);
	buffer_wipe(&url);
}

static void
finish_round(Backend *backend)
{
	bool is_well = backend->state == BACKEND_READY;
	int64_t interval = backend->config.probe_interval;

	backend->step = PROBE_HEALTH;
	if (!is_well && interval > SOON)
		interval = SOON;
	loop_set(backend->loop, &backend->timer, clock_ms() + interval);
	backend->changed(backend->context, backend);
}

static void
end_probe(void *context, const HttpEnd *end)
{
	Backend *backend = context;

	backend->probe = NULL;
	if (end->problem)
	{
		backend_set_state(backend, BACKEND_DOWN, end->problem);
		backend->step = PROBE_END;
	}
	else
		backend->step = probe_take(backend, backend->step, end->status);
	buffer_clear(&backend->body);
	if (backend->step == PROBE_END)
		finish_round(backend);
	else
		ask(backend);
}

/*
 * A command is there when it is configured: whether it runs shows when it does.
 */
static void
become_command(Backend *backend)
{
	backend->slots = backend->config.slots > 0 ? (int) backend->config.slots : 1;
	probe_configured_models(backend);
	backend_set_state(backend, BACKEND_READY, "");
	backend->changed(backend->context, backend);
}

void
backend_probe(Backend *backend)
{
	loop_unset(backend->loop, &backend->timer);
	if (backend->config.command)
		become_command(backend);
	else if (backend->probe == NULL)
	{
		backend->step = PROBE_HEALTH;
		ask(backend);
	}
}

static void
probe_due(void *context)
{
	backend_probe(context);
}

/* ---- keys ---- */

void
backend_set_key(Backend *backend, const char *key, const char *problem)
{
	memory_wipe(backend->api_key);
	backend->api_key = NULL;
	backend->key_read_at = clock_ms();
	backend->wants_key = key == NULL;
	backend->is_key_refused = false;
	if (key)
	{
		backend->api_key = memory_copy(key);
		backend->api_key[strcspn(key, "\r\n")] = '\0';
		backend_probe(backend);
		return;
	}
	backend_set_state(backend, BACKEND_DOWN, problem);
	backend->changed(backend->context, backend);
}

void
backend_read_key(Backend *backend)
{
	char key[LONGEST_KEY] = "";
	FILE *file = fopen(backend->config.api_key_file, "re");
	Buffer problem = {0};

	if (file && fgets(key, sizeof(key), file) && key[0] != '\n')
		backend_set_key(backend, key, NULL);
	else
	{
		buffer_print(&problem, "the key in %s cannot be read: %s", backend->config.api_key_file,
					 file ? "it is empty" : strerror(errno));
		backend_set_key(backend, NULL, problem.bytes);
		buffer_wipe(&problem);
	}
	explicit_bzero(key, sizeof(key));
	if (file)
		fclose(file);
}

/* ---- a backend ---- */

Backend *
backend_open(Loop *loop, Http *http, const BackendConfig *config,
			 void (*changed)(void *context, Backend *backend), void *context)
{
	Backend *backend = memory_get(sizeof(Backend));

	backend_config_copy(&backend->config, config);
	backend->kind = (BackendKind) config->kind;
	backend->slots = config->slots > 0 ? (int) config->slots : 1;
	backend->loop = loop;
	backend->http = http;
	backend->changed = changed;
	backend->context = context;
	backend->timer = (Timer) {.due = probe_due, .context = backend};
	backend->wants_key = config->api_key_secret || config->api_key_file;
	if (config->models)
		probe_configured_models(backend);
	if (config->api_key_file)
		backend_read_key(backend);
	else if (!backend->wants_key)
		loop_set(loop, &backend->timer, clock_ms());
	return backend;
}

void
backend_close(Backend *backend)
{
	loop_unset(backend->loop, &backend->timer);
	if (backend->probe)
		http_cancel(backend->probe);
	for (int i = 0; i < backend->model_count; i++)
		free(backend->models[i].name);
	buffer_wipe(&backend->body);
	memory_wipe(backend->api_key);
	backend_config_free(&backend->config);
	free(backend);
}

int
backend_free(const Backend *backend, int64_t now)
{
	int left = backend->slots - backend->running - backend->others;

	if (backend->state != BACKEND_READY || backend->is_retired || backend->is_full ||
		backend->rest_until > now || backend->wants_key)
		return 0;
	return left > 0 ? left : 0;
}

const Model *
backend_find_model(const Backend *backend, const char *name)
{
	for (int i = 0; i < backend->model_count; i++)
		if (strcmp(backend->models[i].name, name) == 0)
			return &backend->models[i];
	return NULL;
}

void
backend_note_loaded(Backend *backend, const char *name)
{
	for (int i = 0; i < backend->model_count; i++)
		if (strcmp(backend->models[i].name, name) == 0)
			backend->models[i].is_resident = true;
	loop_set_by(backend->loop, &backend->timer, clock_ms());
}

void
backend_rest(Backend *backend, int64_t until)
{
	if (until > backend->rest_until)
		backend->rest_until = until;
}

void
backend_set_state(Backend *backend, BackendState state, const char *problem)
{
	backend->state = state;
	snprintf(backend->problem, sizeof(backend->problem), "%s", problem ? problem : "");
	/* One that breaks is looked at soon. */
	if (state != BACKEND_READY && backend->probe == NULL && !backend->wants_key)
		loop_set_by(backend->loop, &backend->timer, clock_ms() + SOON);
}

ContinueStyle
backend_continues(const Backend *backend)
{
	if (backend->config.continues > 0)
		return (ContinueStyle) (backend->config.continues - 1);
	switch (backend->kind)
	{
		case BACKEND_LLAMA:
		case BACKEND_OLLAMA:
			return CONTINUE_PREFILL;
		case BACKEND_VLLM:
			return CONTINUE_FLAGS;
		default:
			return CONTINUE_NEVER;
	}
}
