/*
 * The configuration: the database, how the worker works, devices and "backends", which are the
 * model servers and commands that run jobs.
 */
#ifndef GPU_CONFIG_H
#define GPU_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "common/log.h"
#include "gpu/inventory.h"
#include "gpu/request.h"

#define BACKENDS 32
#define BACKEND_MODELS 256

/* What a model server is; auto until it has told. */
typedef enum BackendKind
{
	BACKEND_AUTO,
	BACKEND_LLAMA,
	BACKEND_VLLM,
	BACKEND_OLLAMA,
	BACKEND_OPENAI, /* any other */
	BACKEND_COMMAND
} BackendKind;

extern const char *const backend_kind_names[];

typedef struct BackendConfig
{
	char *name;
	char *url; /* without /v1 at its end */
	char *command;
	char **words; /* of the command */
	int kind;
	int64_t device;
	int64_t slots;		  /* 0: as many as the server says, or 1 */
	char *models;		  /* those it is used for; NULL for all that it tells */
	int continues;		  /* place in the names: auto, never, prefill, flags */
	char *api_key_secret; /* service/key */
	char *api_key_file;
	int64_t connect_timeout;
	int64_t first_token_timeout;
	int64_t token_timeout;
	int64_t job_timeout;
	int64_t probe_interval;
} BackendConfig;

typedef struct Config
{
	char *conninfo;
	char *node;	   /* NULL: that of the login role */
	int64_t lease; /* ms; 0: the queue's */
	int64_t batch_interval;
	int64_t poll_interval;
	int64_t report_interval;
	int64_t drain_limit;
	int64_t buffer_limit; /* of each job's text that is not stored yet */
	int log_level;
	int log_format;
	bool log_prompts;
	bool use_nvml;
	bool use_smi;
	bool use_amd;
	int64_t inventory_interval;
	InventorySources sources;
	BackendConfig backends[BACKENDS];
	int backend_count;
} Config;

/*
 * Reads a file. Returns NULL, and what is wrong with it, to be freed.
 */
extern Config *config_read(const char *path, char **problem);

/* The same of a text. */
extern Config *config_parse(const char *text, char **problem);

extern void config_free(Config *config);

/* Would a backend be the same with the other configuration? */
extern bool config_same_backend(const BackendConfig *one, const BackendConfig *other);

extern void backend_config_copy(BackendConfig *to, const BackendConfig *from);
extern void backend_config_free(BackendConfig *backend);

#endif
