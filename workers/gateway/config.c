/*
 * The configuration.
 */
#include "gateway/config.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "common/ini.h"
#include "common/log.h"
#include "common/memory.h"
#include "common/setting.h"

#define MINUTE ((int64_t) 60 * 1000)
#define HOUR (60 * MINUTE)
#define KIB ((int64_t) 1024)
#define MIB (1024 * KIB)

const char *const group_names[GROUPS + 1] = {"health", "priorities", "secrets", "registry", "gpu",
											 "events", "webhooks",	 "metrics", "web",		NULL};
static const char *const level_names[] = {"debug", "info", "warning", "error", NULL};
static const char *const format_names[] = {"logfmt", "json", NULL};

#define IN_CONFIG(field) offsetof(Config, field)
#define IN_LISTEN(field) offsetof(ListenConfig, field)

static const Setting settings[] = {
	{"database", "local", SETTING_TEXT, IN_CONFIG(local), 0, 0, NULL},
	{"database", "lead", SETTING_TEXT, IN_CONFIG(lead), 0, 0, NULL},
	{"database", "local_connections", SETTING_NUMBER, IN_CONFIG(local_connections), 1, 64, NULL},
	{"database", "lead_connections", SETTING_NUMBER, IN_CONFIG(lead_connections), 1, 64, NULL},
	{"gateway", "header_timeout", SETTING_DURATION, IN_CONFIG(header_timeout), 10, HOUR, NULL},
	{"gateway", "body_timeout", SETTING_DURATION, IN_CONFIG(body_timeout), 10, HOUR, NULL},
	{"gateway", "idle_timeout", SETTING_DURATION, IN_CONFIG(idle_timeout), 10, HOUR, NULL},
	{"gateway", "header_limit", SETTING_SIZE, IN_CONFIG(header_limit), KIB, MIB, NULL},
	{"gateway", "body_limit", SETTING_SIZE, IN_CONFIG(body_limit), KIB, 256 * MIB, NULL},
	{"gateway", "statement_timeout", SETTING_DURATION, IN_CONFIG(statement_timeout), 10, HOUR,
	 NULL},
	{"gateway", "lsn_wait", SETTING_DURATION, IN_CONFIG(lsn_wait), 0, MINUTE, NULL},
	{"gateway", "drain_limit", SETTING_DURATION, IN_CONFIG(drain_limit), 0, HOUR, NULL},
	{"gateway", "connections", SETTING_NUMBER, IN_CONFIG(connections), 1, 100000, NULL},
	{"gateway", "streams", SETTING_NUMBER, IN_CONFIG(streams), 0, 100000, NULL},
	{"gateway", "streams_per_key", SETTING_NUMBER, IN_CONFIG(streams_per_key), 1, 100000, NULL},
	{"gateway", "stream_queue", SETTING_SIZE, IN_CONFIG(stream_queue), 4 * KIB, 256 * MIB, NULL},
	{"gateway", "ping_interval", SETTING_DURATION, IN_CONFIG(ping_interval), 10, HOUR, NULL},
	{"gateway", "origins", SETTING_TEXT, IN_CONFIG(origins), 0, 0, NULL},
	{"gateway", "cookie_secure", SETTING_SWITCH, IN_CONFIG(cookie_secure), 0, 0, NULL},
	{"gateway", "trust_forwarded", SETTING_SWITCH, IN_CONFIG(trust_forwarded), 0, 0, NULL},
	{"gateway", "log_level", SETTING_CHOICE, IN_CONFIG(log_level), 0, 0, level_names},
	{"gateway", "log_format", SETTING_CHOICE, IN_CONFIG(log_format), 0, 0, format_names},
	{"listen", "socket", SETTING_TEXT, IN_LISTEN(socket), 0, 0, NULL},
	{"listen", "address", SETTING_TEXT, IN_LISTEN(address), 0, 0, NULL},
	{"listen", "routes", SETTING_TEXT, IN_LISTEN(routes), 0, 0, NULL},
};

#define SETTINGS (sizeof(settings) / sizeof(settings[0]))

/* ---- sections ---- */

static ListenConfig *
find_listener(Config *config, const char *name)
{
	ListenConfig *listener;

	for (int i = 0; i < config->listener_count; i++)
		if (strcmp(config->listeners[i].name, name) == 0)
			return &config->listeners[i];
	if (config->listener_count == LISTENERS)
		return NULL;
	listener = &config->listeners[config->listener_count++];
	listener->name = memory_copy(name);
	return listener;
}

static char *
take(void *context, const char *section, const char *name, const char *key, const char *value)
{
	Config *config = context;
	void *structure = config;

	if (strcmp(section, "listen") == 0)
	{
		if (*name == '\0')
			return memory_copy("a listener has a name: [listen web]");
		structure = find_listener(config, name);
		if (structure == NULL)
			return memory_copy("there are too many listeners");
	}
	else if (*section == '\0')
		return memory_copy("a setting stands in a section, as [database]");
	else if (*name)
		return memory_copy("only sections of listeners have names");
	return setting_take(settings, SETTINGS, section, key, value, structure);
}

/* ---- what has to fit together ---- */

static char *
complain(const char *format, const char *one, const char *other)
{
	char *text;

	return asprintf(&text, format, one, other) < 0 ? memory_copy(format) : text;
}

static char *
read_groups(ListenConfig *listener)
{
	char *list = memory_copy(listener->routes ? listener->routes : "all");
	char *problem = NULL;
	char *rest = list;
	char *word;

	listener->groups = 1u << GROUP_HEALTH;
	while (problem == NULL && (word = strsep(&rest, " ,\t")) != NULL)
	{
		int group = 0;

		if (*word == '\0')
			continue;
		if (strcmp(word, "all") == 0)
		{
			listener->groups |= (1u << GROUPS) - 1;
			continue;
		}
		while (group_names[group] && strcmp(group_names[group], word) != 0)
			group++;
		if (group_names[group])
			listener->groups |= 1u << group;
		else
			problem = complain("listen %s: there are no routes called %s", listener->name, word);
	}
	free(list);
	return problem;
}

/*
 * The address is a number with a port, and one of this machine or of the mesh; who publishes the
 * gateway without nginx says so by writing 0.0.0.0.
 */
static char *
check_listener(ListenConfig *listener)
{
	struct sockaddr_un address;

	if ((listener->socket == NULL) == (listener->address == NULL))
		return complain("listen %s has either a socket or an address%s", listener->name, "");
	if (listener->socket && strlen(listener->socket) >= sizeof(address.sun_path))
		return complain("listen %s: the socket's path is too long%s", listener->name, "");
	if (listener->address && strrchr(listener->address, ':') == NULL)
		return complain("listen %s: an address has a port, as 127.0.0.1:3000%s", listener->name,
						"");
	return read_groups(listener);
}

static char *
cut_origins(Config *config)
{
	char *rest = config->origins;
	char *word;

	while (rest && (word = strsep(&rest, " ,\t")) != NULL)
	{
		if (*word == '\0')
			continue;
		if (config->origin_count == ORIGINS)
			return memory_copy("there are too many origins");
		if (strncmp(word, "http://", 7) != 0 && strncmp(word, "https://", 8) != 0)
			return complain("an origin begins with http:// or https://, not %s%s", word, "");
		if (strchr(strstr(word, "//") + 2, '/'))
			return complain("an origin has no path: %s%s", word, "");
		config->origin_list[config->origin_count++] = word;
	}
	return NULL;
}

static char *
check(Config *config)
{
	char *problem;

	if (config->local == NULL)
		config->local = memory_copy("dbname=aurora");
	if (config->lead == NULL)
		config->lead = memory_copy(config->local);
	if (config->listener_count == 0)
		return memory_copy("there is no listener: [listen web] with a socket");
	for (int i = 0; i < config->listener_count; i++)
		if ((problem = check_listener(&config->listeners[i])) != NULL)
			return problem;
	return cut_origins(config);
}

static Config *
make_default(void)
{
	Config *config = memory_get(sizeof(Config));

	config->local_connections = 4;
	config->lead_connections = 4;
	config->header_timeout = 10 * 1000;
	config->body_timeout = 30 * 1000;
	config->idle_timeout = 75 * 1000;
	config->header_limit = 16 * KIB;
	config->body_limit = MIB;
	config->statement_timeout = 5000;
	config->lsn_wait = 1000;
	config->drain_limit = 10 * 1000;
	config->connections = 4096;
	config->streams = 2048;
	config->streams_per_key = 1024;
	config->stream_queue = MIB;
	config->ping_interval = 20 * 1000;
	config->cookie_secure = true;
	config->trust_forwarded = true;
	config->log_level = LOG_INFO;
	config->log_format = LOG_JSON;
	return config;
}

static Config *
end_reading(Config *config, char *wrong, char **problem)
{
	*problem = wrong ? wrong : check(config);
	if (*problem)
	{
		config_free(config);
		return NULL;
	}
	return config;
}

Config *
config_parse(const char *text, char **problem)
{
	Config *config = make_default();

	return end_reading(config, ini_read(text, take, config), problem);
}

Config *
config_read(const char *path, char **problem)
{
	Config *config = make_default();

	return end_reading(config, ini_read_file(path, take, config), problem);
}

void
config_free(Config *config)
{
	if (config == NULL)
		return;
	for (int i = 0; i < config->listener_count; i++)
	{
		setting_free(settings, SETTINGS, "listen", &config->listeners[i]);
		free(config->listeners[i].name);
	}
	setting_free(settings, SETTINGS, "database", config);
	setting_free(settings, SETTINGS, "gateway", config);
	free(config);
}

static void
exchange(void *one, void *other, size_t size)
{
	char kept[sizeof(((Config *) NULL)->origin_list)];

	memcpy(kept, one, size);
	memcpy(one, other, size);
	memcpy(other, kept, size);
}

void
config_take_over(Config *config, Config *from)
{
	static const char *const fixed[] = {"header_limit", "connections", NULL}; /* of the daemons */

	for (size_t i = 0; i < SETTINGS; i++)
	{
		const Setting *setting = &settings[i];
		size_t size = setting->type == SETTING_TEXT		? sizeof(char *)
					  : setting->type == SETTING_SWITCH ? sizeof(bool)
					  : setting->type == SETTING_CHOICE ? sizeof(int)
														: sizeof(int64_t);
		bool is_fixed = strcmp(setting->section, "gateway") != 0;

		for (int j = 0; fixed[j]; j++)
			is_fixed |= strcmp(setting->key, fixed[j]) == 0;
		if (!is_fixed)
			exchange((char *) config + setting->offset, (char *) from + setting->offset, size);
	}
	exchange(config->origin_list, from->origin_list, sizeof(config->origin_list));
	exchange(&config->origin_count, &from->origin_count, sizeof(config->origin_count));
}

/* ---- questions ---- */

/*
 * A page of the same origin has the host that the request went to, whatever scheme nginx speaks.
 */
bool
config_allows_origin(const Config *config, const char *origin, const char *host)
{
	const char *authority = strstr(origin, "://");

	for (int i = 0; i < config->origin_count; i++)
		if (strcasecmp(config->origin_list[i], origin) == 0)
			return true;
	return authority && host && strcasecmp(authority + 3, host) == 0;
}
