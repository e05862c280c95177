/*
 * Reads what a model server answers to a probe.
 *
 * What a server is shows in the owner that it gives its models, unless the configuration says it.
 */
#include "gpu/probe.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gpu/chunk.h"
#include "gpu/json.h"
#include "gpu/metrics.h"

const char *
probe_path(ProbeStep step)
{
	static const char *const paths[] = {
		[PROBE_HEALTH] = "/health",	  [PROBE_MODELS] = "/v1/models", [PROBE_SLOTS] = "/slots",
		[PROBE_METRICS] = "/metrics", [PROBE_TAGS] = "/api/tags",	 [PROBE_LOADED] = "/api/ps",
	};

	return paths[step];
}

/* ---- health ---- */

/*
 * A server that has no such page is asked for its models.
 */
static ProbeStep
take_health(Backend *backend, long status)
{
	Chunk chunk = {0};
	json_t *body;
	ProbeStep next = PROBE_END;

	if (status != 503 && status != 500 && status != 502 && status != 504)
		return PROBE_MODELS;
	body = json_read(backend->body.bytes, backend->body.size);
	(void) chunk_read_error(&chunk, body);
	if (chunk.error && strcasestr(chunk.error, "loading"))
		backend_set_state(backend, BACKEND_LOADING, chunk.error);
	else
		backend_set_state(backend, BACKEND_DOWN,
						  chunk.error ? chunk.error : "the server says that it is not well");
	chunk_free(&chunk);
	json_decref(body);
	return next;
}

/* ---- models ---- */

static bool
is_wanted(const Backend *backend, const char *name)
{
	size_t length = strlen(name);
	const char *at = backend->config.models;

	if (at == NULL)
		return true;
	while (*at)
	{
		size_t word = strcspn(at, ", \t");

		if (word == length && strncmp(at, name, length) == 0)
			return true;
		at += word;
		at += strspn(at, ", \t");
	}
	return false;
}

static void
forget_models(Backend *backend)
{
	for (int i = 0; i < backend->model_count; i++)
		free(backend->models[i].name);
	backend->model_count = 0;
}

static Model *
add_model(Backend *backend, char *name)
{
	Model *model;

	if (name == NULL || backend->model_count == BACKEND_MODELS || *name == '\0' ||
		!is_wanted(backend, name) || backend_find_model(backend, name))
	{
		free(name);
		return NULL;
	}
	model = &backend->models[backend->model_count++];
	*model = (Model) {.name = name, .is_resident = true, .size = -1, .context = -1};
	return model;
}

void
probe_configured_models(Backend *backend)
{
	char *names = memory_copy(backend->config.models);
	char *rest = names;
	char *name;

	forget_models(backend);
	while ((name = strsep(&rest, ", \t")) != NULL)
		if (*name)
		{
			Model *model = add_model(backend, memory_copy(name));

			if (model)
				model->is_resident = backend->kind == BACKEND_COMMAND; /* a server has to tell */
		}
	free(names);
}

static void
recognise(Backend *backend, const char *owner)
{
	static const struct
	{
		const char *owner;
		BackendKind kind;
	} owners[] = {{"llamacpp", BACKEND_LLAMA}, {"vllm", BACKEND_VLLM}, {"library", BACKEND_OLLAMA}};

	if (backend->kind != BACKEND_AUTO)
		return;
	backend->kind = BACKEND_OPENAI;
	for (size_t i = 0; owner && i < sizeof(owners) / sizeof(owners[0]); i++)
		if (strcmp(owner, owners[i].owner) == 0)
			backend->kind = owners[i].kind;
}

static void
take_model(Backend *backend, const json_t *entry)
{
	const json_t *meta = json_object_get(entry, "meta");
	const char *status = json_text_of(json_object_get(entry, "status"), "value");
	Model *model;

	recognise(backend, json_text_of(entry, "owned_by"));
	model = add_model(backend, json_copy_text(json_object_get(entry, "id")));
	if (model == NULL)
		return;
	model->size = json_number_of(meta, "size", -1);
	model->context =
		json_number_of(entry, "max_model_len", json_number_of(meta, "n_ctx_train", -1));
	if (status) /* of a llama-server that loads models when they are asked for */
		model->is_resident = strcmp(status, "loaded") == 0 || strcmp(status, "sleeping") == 0;
}

/*
 * Ollama tells what is loaded in another answer: until that comes it is as it was.
 */
static void
keep_loaded(Backend *backend, const Model *old, int count)
{
	for (int i = 0; i < backend->model_count; i++)
	{
		Model *model = &backend->models[i];

		model->is_resident = false;
		for (int j = 0; j < count; j++)
			if (strcmp(old[j].name, model->name) == 0)
			{
				model->is_resident = old[j].is_resident;
				model->size = old[j].size;
				model->context = old[j].context;
			}
	}
}

static void
read_models(Backend *backend, const json_t *list)
{
	static Model old[BACKEND_MODELS];
	int count = backend->model_count;

	memcpy(old, backend->models, sizeof(old));
	backend->model_count = 0;
	for (size_t i = 0; i < json_array_size(list); i++)
		take_model(backend, json_array_get(list, i));
	if (backend->kind == BACKEND_OLLAMA)
		keep_loaded(backend, old, count);
	for (int i = 0; i < count; i++)
		free(old[i].name);
}

static ProbeStep
step_behind_models(const Backend *backend)
{
	switch (backend->kind)
	{
		case BACKEND_LLAMA:
			return PROBE_SLOTS;
		case BACKEND_VLLM:
			return PROBE_METRICS;
		case BACKEND_OLLAMA:
			return PROBE_TAGS;
		default:
			return PROBE_END;
	}
}

static ProbeStep
take_models(Backend *backend, long status)
{
	json_t *body = json_read(backend->body.bytes, backend->body.size);
	const json_t *list = json_object_get(body, "data");
	char problem[80];

	if (status == 200 && json_is_array(list))
	{
		read_models(backend, list);
		if (backend->config.slots == 0 && backend->kind != BACKEND_LLAMA)
			backend->slots = 1;
		backend->others = 0;
		backend->is_full = false;
		backend_set_state(backend, BACKEND_READY, "");
		json_decref(body);
		return step_behind_models(backend);
	}
	if (status == 503)
		backend_set_state(backend, BACKEND_LOADING, "the server loads its model");
	else
	{
		backend->is_key_refused = status == 401 || status == 403;
		snprintf(problem, sizeof(problem), "/v1/models is answered with HTTP status %ld", status);
		backend_set_state(backend, BACKEND_DOWN, problem);
	}
	json_decref(body);
	return PROBE_END;
}

/* ---- how busy it is ---- */

/*
 * What is busy and not by us is others'.
 */
static void
take_busy(Backend *backend, int busy)
{
	backend->others = busy > backend->running ? busy - backend->running : 0;
}

static ProbeStep
take_slots(Backend *backend, long status)
{
	json_t *body = json_read(backend->body.bytes, backend->body.size);
	size_t count = json_array_size(body);
	int busy = 0;

	for (size_t i = 0; i < count; i++)
	{
		const json_t *slot = json_array_get(body, i);
		int64_t context = json_number_of(slot, "n_ctx", -1);

		busy += json_is_true(json_object_get(slot, "is_processing"));
		for (int j = 0; i == 0 && context > 0 && j < backend->model_count; j++)
			backend->models[j].context = context; /* of a slot, not of the training */
	}
	if (status == 200 && count > 0)
	{
		if (backend->config.slots == 0)
			backend->slots = (int) count;
		take_busy(backend, busy);
	}
	json_decref(body);
	return PROBE_METRICS;
}

static ProbeStep
take_metrics(Backend *backend, long status)
{
	static const char *const running[] = {"vllm:num_requests_running", NULL};
	static const char *const waiting[] = {"vllm:num_requests_waiting", "llamacpp:requests_deferred",
										  NULL};
	static const char *const cache[] = {"vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc",
										NULL};
	double number;

	if (status != 200)
		return PROBE_END;
	if (metrics_sum(backend->body.bytes, running, &number))
		take_busy(backend, (int) number);
	if (metrics_sum(backend->body.bytes, waiting, &number) && number > 0)
		backend->is_full = true;
	if (metrics_sum(backend->body.bytes, cache, &number) && number > 0.9)
		backend->is_full = true;
	return PROBE_END;
}

/* ---- what Ollama has ---- */

static Model *
find_named(Backend *backend, const json_t *entry)
{
	const char *name = json_text_of(entry, "name");

	for (int i = 0; name && i < backend->model_count; i++)
		if (strcmp(backend->models[i].name, name) == 0)
			return &backend->models[i];
	return NULL;
}

/*
 * The size of a model's file is about what it takes when it is loaded.
 */
static ProbeStep
take_tags(Backend *backend)
{
	json_t *body = json_read(backend->body.bytes, backend->body.size);
	const json_t *list = json_object_get(body, "models");

	for (size_t i = 0; i < json_array_size(list); i++)
	{
		Model *model = find_named(backend, json_array_get(list, i));

		if (model)
			model->size = json_number_of(json_array_get(list, i), "size", -1);
	}
	json_decref(body);
	return PROBE_LOADED;
}

static ProbeStep
take_loaded(Backend *backend)
{
	json_t *body = json_read(backend->body.bytes, backend->body.size);
	const json_t *list = json_object_get(body, "models");

	for (int i = 0; json_is_array(list) && i < backend->model_count; i++)
		backend->models[i].is_resident = false;
	for (size_t i = 0; i < json_array_size(list); i++)
	{
		const json_t *entry = json_array_get(list, i);
		Model *model = find_named(backend, entry);

		if (model == NULL)
			continue;
		model->is_resident = true;
		model->size = json_number_of(entry, "size_vram", model->size);
		model->context = json_number_of(entry, "context_length", -1);
	}
	json_decref(body);
	return PROBE_END;
}

ProbeStep
probe_take(Backend *backend, ProbeStep step, long status)
{
	switch (step)
	{
		case PROBE_HEALTH:
			return take_health(backend, status);
		case PROBE_MODELS:
			return take_models(backend, status);
		case PROBE_SLOTS:
			return take_slots(backend, status);
		case PROBE_METRICS:
			return take_metrics(backend, status);
		case PROBE_TAGS:
			return take_tags(backend);
		case PROBE_LOADED:
			return take_loaded(backend);
		case PROBE_END:
			break;
	}
	return PROBE_END;
}
