/*
 * The configuration.
 */
#include "gpu/config.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/child.h"
#include "common/ini.h"
#include "common/memory.h"
#include "common/setting.h"

#define HOUR ((int64_t) 3600 * 1000)
#define DAY (24 * HOUR)
#define LEAST_LEASE 2000 /* ms */
#define TIB ((int64_t) 1 << 40)

const char *const backend_kind_names[] = {"auto",	"llama-server", "vllm", "ollama",
										  "openai", "command",		NULL};
static const char *const server_kinds[] = {"auto",	 "llama-server", "vllm",
										   "ollama", "openai",		 NULL};
static const char *const device_kinds[] = {"declared", "metal", "cuda", "rocm", "cpu", NULL};
static const char *const continue_names[] = {"auto", "never", "prefill", "flags", NULL};
static const char *const level_names[] = {"debug", "info", "warning", "error", NULL};
static const char *const format_names[] = {"logfmt", "json", NULL};

#define IN_CONFIG(field) offsetof(Config, field)
#define IN_BACKEND(field) offsetof(BackendConfig, field)
#define IN_DEVICE(field) offsetof(DeclaredDevice, field)

/* A device as the configuration has it. */
typedef struct DeclaredDevice
{
	char *name;
	int kind;
	char *uuid;
	int64_t memory;
	bool unified;
} DeclaredDevice;

static const Setting settings[] = {
	{"database", "conninfo", SETTING_TEXT, IN_CONFIG(conninfo), 0, 0, NULL},
	{"database", "node", SETTING_TEXT, IN_CONFIG(node), 0, 0, NULL},
	{"worker", "lease", SETTING_DURATION, IN_CONFIG(lease), 0, HOUR, NULL},
	{"worker", "batch_interval", SETTING_DURATION, IN_CONFIG(batch_interval), 1, 5000, NULL},
	{"worker", "poll_interval", SETTING_DURATION, IN_CONFIG(poll_interval), 50, 60000, NULL},
	{"worker", "report_interval", SETTING_DURATION, IN_CONFIG(report_interval), 100, 60000, NULL},
	{"worker", "drain_limit", SETTING_DURATION, IN_CONFIG(drain_limit), 0, DAY, NULL},
	{"worker", "buffer_limit", SETTING_SIZE, IN_CONFIG(buffer_limit), 4096, (int64_t) 1 << 30,
	 NULL},
	{"log", "level", SETTING_CHOICE, IN_CONFIG(log_level), 0, 0, level_names},
	{"log", "format", SETTING_CHOICE, IN_CONFIG(log_format), 0, 0, format_names},
	{"log", "prompts", SETTING_SWITCH, IN_CONFIG(log_prompts), 0, 0, NULL},
	{"inventory", "nvml", SETTING_SWITCH, IN_CONFIG(use_nvml), 0, 0, NULL},
	{"inventory", "smi", SETTING_SWITCH, IN_CONFIG(use_smi), 0, 0, NULL},
	{"inventory", "amd", SETTING_SWITCH, IN_CONFIG(use_amd), 0, 0, NULL},
	{"inventory", "interval", SETTING_DURATION, IN_CONFIG(inventory_interval), 500, HOUR, NULL},
	{"inventory", "nvml_library", SETTING_TEXT, IN_CONFIG(sources.nvml_library), 0, 0, NULL},
	{"inventory", "nvidia_smi", SETTING_TEXT, IN_CONFIG(sources.nvidia_smi), 0, 0, NULL},
	{"inventory", "drm_folder", SETTING_TEXT, IN_CONFIG(sources.drm_folder), 0, 0, NULL},
	{"inventory", "meminfo", SETTING_TEXT, IN_CONFIG(sources.meminfo), 0, 0, NULL},
	{"device", "name", SETTING_TEXT, IN_DEVICE(name), 0, 0, NULL},
	{"device", "kind", SETTING_CHOICE, IN_DEVICE(kind), 0, 0, device_kinds},
	{"device", "uuid", SETTING_TEXT, IN_DEVICE(uuid), 0, 0, NULL},
	{"device", "memory", SETTING_SIZE, IN_DEVICE(memory), 0, 64 * TIB, NULL},
	{"device", "unified", SETTING_SWITCH, IN_DEVICE(unified), 0, 0, NULL},
	{"backend", "url", SETTING_TEXT, IN_BACKEND(url), 0, 0, NULL},
	{"backend", "command", SETTING_TEXT, IN_BACKEND(command), 0, 0, NULL},
	{"backend", "kind", SETTING_CHOICE, IN_BACKEND(kind), 0, 0, server_kinds},
	{"backend", "device", SETTING_NUMBER, IN_BACKEND(device), 0, DEVICES - 1, NULL},
	{"backend", "slots", SETTING_NUMBER, IN_BACKEND(slots), 0, 1024, NULL},
	{"backend", "models", SETTING_TEXT, IN_BACKEND(models), 0, 0, NULL},
	{"backend", "continue", SETTING_CHOICE, IN_BACKEND(continues), 0, 0, continue_names},
	{"backend", "api_key_secret", SETTING_TEXT, IN_BACKEND(api_key_secret), 0, 0, NULL},
	{"backend", "api_key_file", SETTING_TEXT, IN_BACKEND(api_key_file), 0, 0, NULL},
	{"backend", "connect_timeout", SETTING_DURATION, IN_BACKEND(connect_timeout), 10, HOUR, NULL},
	{"backend", "first_token_timeout", SETTING_DURATION, IN_BACKEND(first_token_timeout), 10, DAY,
	 NULL},
	{"backend", "token_timeout", SETTING_DURATION, IN_BACKEND(token_timeout), 10, DAY, NULL},
	{"backend", "job_timeout", SETTING_DURATION, IN_BACKEND(job_timeout), 10, 7 * DAY, NULL},
	{"backend", "probe_interval", SETTING_DURATION, IN_BACKEND(probe_interval), 50, HOUR, NULL},
};

#define SETTINGS (sizeof(settings) / sizeof(settings[0]))

/* ---- sections ---- */

/* What is being read. */
typedef struct Reader
{
	Config *config;
	DeclaredDevice declared[DEVICES]; /* by place in the sources' list */
} Reader;

static BackendConfig *
find_backend(Config *config, const char *name)
{
	BackendConfig *backend;

	for (int i = 0; i < config->backend_count; i++)
		if (strcmp(config->backends[i].name, name) == 0)
			return &config->backends[i];
	if (config->backend_count == BACKENDS)
		return NULL;
	backend = &config->backends[config->backend_count++];
	*backend = (BackendConfig) {.name = memory_copy(name),
								.connect_timeout = 5000,
								.first_token_timeout = 5 * 60 * 1000,
								.token_timeout = 60 * 1000,
								.job_timeout = HOUR,
								.probe_interval = 5000};
	return backend;
}

static DeclaredDevice *
find_device(Reader *reader, int index)
{
	Inventory *declared = &reader->config->sources.declared;

	for (int i = 0; i < declared->count; i++)
		if (declared->devices[i].index == index)
			return &reader->declared[i];
	device_init(&declared->devices[declared->count], index, "declared");
	reader->declared[declared->count].memory = UNKNOWN;
	return &reader->declared[declared->count++];
}

static char *
take(void *context, const char *section, const char *name, const char *key, const char *value)
{
	Reader *reader = context;
	void *structure = reader->config;

	if (strcmp(section, "backend") == 0)
	{
		if (*name == '\0')
			return memory_copy("a backend has a name: [backend local]");
		structure = find_backend(reader->config, name);
		if (structure == NULL)
			return memory_copy("there are too many backends");
	}
	else if (strcmp(section, "device") == 0)
	{
		char *end;
		long index = strtol(name, &end, 10);

		if (*name == '\0' || *end || index < 0 || index >= DEVICES)
			return memory_copy("a device has a number from 0 to 63: [device 0]");
		structure = find_device(reader, (int) index);
	}
	else if (*section == '\0')
		return memory_copy("a setting stands in a section, as [database]");
	else if (*name)
		return memory_copy("only sections of backends and devices have names");
	return setting_take(settings, SETTINGS, section, key, value, structure);
}

/* ---- what has to fit together ---- */

static void
end_declared(Reader *reader)
{
	Inventory *declared = &reader->config->sources.declared;

	for (int i = 0; i < declared->count; i++)
	{
		Device *device = &declared->devices[i];
		const DeclaredDevice *from = &reader->declared[i];

		device_copy_text(device->name, sizeof(device->name), from->name ? from->name : "declared");
		device_copy_text(device->uuid, sizeof(device->uuid), from->uuid);
		device_copy_text(device->kind, sizeof(device->kind), device_kinds[from->kind]);
		device->memory_total = from->memory;
		device->unified = from->unified;
		setting_free(settings, SETTINGS, "device", &reader->declared[i]);
	}
}

static char *
check_backend(BackendConfig *backend)
{
	size_t length;

	if ((backend->url == NULL) == (backend->command == NULL))
		return memory_copy("it has either a url or a command");
	if (backend->api_key_secret && strchr(backend->api_key_secret, '/') == NULL)
		return memory_copy("api_key_secret is a service and a key: llm/api_key");
	if (backend->api_key_secret && backend->api_key_file)
		return memory_copy("the key is either a secret or in a file");
	if (backend->command)
	{
		backend->kind = BACKEND_COMMAND;
		backend->words = child_words(backend->command);
		if (backend->words == NULL || backend->words[0] == NULL)
			return memory_copy("the command is a program and its arguments, and quotes end");
		return backend->models ? NULL : memory_copy("a command needs models = NAME, ...");
	}
	if (strncmp(backend->url, "http://", 7) != 0 && strncmp(backend->url, "https://", 8) != 0)
		return memory_copy("url begins with http:// or https://");
	length = strlen(backend->url);
	while (length > 0 && backend->url[length - 1] == '/')
		backend->url[--length] = '\0';
	if (length > 3 && strcmp(backend->url + length - 3, "/v1") == 0)
		backend->url[length - 3] = '\0';
	return NULL;
}

static char *
check(Config *config)
{
	if (config->conninfo == NULL)
		config->conninfo = memory_copy("");
	if (config->lease > 0 && config->lease < LEAST_LEASE)
		return memory_copy("lease is at least 2s, or 0 for the queue's");
	for (int i = 0; i < config->backend_count; i++)
	{
		char *wrong = check_backend(&config->backends[i]);
		char *problem;

		if (wrong == NULL)
			continue;
		if (asprintf(&problem, "backend %s: %s", config->backends[i].name, wrong) < 0)
			return wrong;
		free(wrong);
		return problem;
	}
	config->sources.use_nvml = config->use_nvml;
	config->sources.use_smi = config->use_smi;
	config->sources.use_amd = config->use_amd;
	return NULL;
}

static Config *
make_default(void)
{
	Config *config = memory_get(sizeof(Config));

	config->batch_interval = 30;
	config->poll_interval = 1000;
	config->report_interval = 5000;
	config->drain_limit = 60 * 1000;
	config->buffer_limit = 1 << 20;
	config->log_level = LOG_INFO;
	config->use_nvml = config->use_smi = config->use_amd = true;
	config->inventory_interval = 2000;
	config->sources.nvml_library = memory_copy("libnvidia-ml.so.1");
	config->sources.nvidia_smi = memory_copy("nvidia-smi");
	config->sources.drm_folder = memory_copy("/sys/class/drm");
	config->sources.meminfo = memory_copy("/proc/meminfo");
	return config;
}

static Config *
end_reading(Reader *reader, char *wrong, char **problem)
{
	end_declared(reader);
	*problem = wrong ? wrong : check(reader->config);
	if (*problem)
	{
		config_free(reader->config);
		reader->config = NULL;
	}
	return reader->config;
}

Config *
config_parse(const char *text, char **problem)
{
	Reader reader = {.config = make_default()};

	return end_reading(&reader, ini_read(text, take, &reader), problem);
}

Config *
config_read(const char *path, char **problem)
{
	Reader reader = {.config = make_default()};

	return end_reading(&reader, ini_read_file(path, take, &reader), problem);
}

/* ---- copies ---- */

void
backend_config_copy(BackendConfig *to, const BackendConfig *from)
{
	*to = *from;
	to->name = memory_copy(from->name);
	to->url = memory_copy(from->url);
	to->command = memory_copy(from->command);
	to->words = from->command ? child_words(from->command) : NULL;
	to->models = memory_copy(from->models);
	to->api_key_secret = memory_copy(from->api_key_secret);
	to->api_key_file = memory_copy(from->api_key_file);
}

void
backend_config_free(BackendConfig *backend)
{
	setting_free(settings, SETTINGS, "backend", backend);
	free(backend->name);
	if (backend->words)
		child_free_words(backend->words);
	memset(backend, 0, sizeof(*backend));
}

static bool
same_text(const char *one, const char *other)
{
	return one && other ? strcmp(one, other) == 0 : one == other;
}

bool
config_same_backend(const BackendConfig *one, const BackendConfig *other)
{
	return same_text(one->name, other->name) && same_text(one->url, other->url) &&
		   same_text(one->command, other->command) && same_text(one->models, other->models) &&
		   same_text(one->api_key_secret, other->api_key_secret) &&
		   same_text(one->api_key_file, other->api_key_file) && one->kind == other->kind &&
		   one->device == other->device && one->slots == other->slots &&
		   one->continues == other->continues;
}

void
config_free(Config *config)
{
	if (config == NULL)
		return;
	for (int i = 0; i < config->backend_count; i++)
		backend_config_free(&config->backends[i]);
	setting_free(settings, SETTINGS, "database", config);
	setting_free(settings, SETTINGS, "inventory", config);
	free(config);
}
