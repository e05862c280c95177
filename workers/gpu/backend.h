/*
 * A backend as it is: what it can run, and how busy it is. Model servers are "probed" again and
 * again: their health, models and slots.
 */
#ifndef GPU_BACKEND_H
#define GPU_BACKEND_H

#include <stdbool.h>
#include <stdint.h>

#include "common/loop.h"
#include "common/memory.h"
#include "gpu/config.h"
#include "gpu/http.h"

typedef enum BackendState
{
	BACKEND_UNKNOWN, /* not probed yet */
	BACKEND_READY,
	BACKEND_LOADING, /* its model */
	BACKEND_DOWN
} BackendState;

typedef struct Model
{
	char *name;
	bool is_resident; /* in the device's memory now */
	int64_t size;	  /* bytes, or -1 */
	int64_t context;  /* tokens, or -1 */
} Model;

/* What a probe asks for, one after the other. */
typedef enum ProbeStep
{
	PROBE_HEALTH,
	PROBE_MODELS,
	PROBE_SLOTS,   /* llama-server */
	PROBE_METRICS, /* llama-server, vLLM */
	PROBE_TAGS,	   /* Ollama */
	PROBE_LOADED,  /* Ollama */
	PROBE_END
} ProbeStep;

typedef struct Backend Backend;

struct Backend
{
	BackendConfig config;
	BackendState state;
	BackendKind kind; /* as it is configured, or has told */
	char problem[160];
	Model models[BACKEND_MODELS];
	int model_count;
	int slots;			/* as it is configured or tells, at least 1 */
	int others;			/* slots that others had at the last probe */
	bool is_full;		/* requests wait inside of it */
	int running;		/* jobs of ours */
	int64_t rest_until; /* gets nothing before */
	char *api_key;
	int64_t key_read_at;
	bool wants_key;		 /* has to have one, which is not there yet */
	bool is_key_refused; /* by the server: it may be another one by now */
	BackendState logged_state;
	bool is_kept;	 /* by a configuration that is being read again */
	bool is_retired; /* no longer configured: goes when its last job has ended */
	Backend *next;

	Loop *loop;
	Http *http;
	void (*changed)(void *context, Backend *backend);
	void *context;
	Timer timer;
	HttpRequest *probe;
	ProbeStep step;
	Buffer body;
};

/* Begins to probe; "changed" is called when a probe or a job has changed what can be run. */
extern Backend *backend_open(Loop *loop, Http *http, const BackendConfig *config,
							 void (*changed)(void *context, Backend *backend), void *context);
extern void backend_close(Backend *backend);

/* Probes it now, unless that is under way. */
extern void backend_probe(Backend *backend);

/* How many more jobs it could run now. */
extern int backend_free(const Backend *backend, int64_t now);

/* The model, NULL when it has none of that name. */
extern const Model *backend_find_model(const Backend *backend, const char *name);

/* Takes note of what a job has learned; that a model is loaded has the backend probed for the rest.
 */
extern void backend_note_loaded(Backend *backend, const char *name);
extern void backend_rest(Backend *backend, int64_t until);
extern void backend_set_state(Backend *backend, BackendState state, const char *problem);

/* Gives it its key, which is copied; NULL: the key cannot be had, for that reason. */
extern void backend_set_key(Backend *backend, const char *key, const char *problem);

/* Reads its key again from the file that has it. */
extern void backend_read_key(Backend *backend);

/* How it goes on with the beginning of an answer. */
extern ContinueStyle backend_continues(const Backend *backend);

#endif
