/*
 * The configuration: the databases, the limits, and "listeners", which are the sockets that nginx
 * forwards to, each with the groups of routes that it serves.
 */
#ifndef GATEWAY_CONFIG_H
#define GATEWAY_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#define LISTENERS 16
#define ORIGINS 32

/* Groups of routes; GROUP_HEALTH is served by every listener. */
typedef enum Group
{
	GROUP_HEALTH,
	GROUP_PRIORITIES,
	GROUP_SECRETS,
	GROUP_REGISTRY,
	GROUP_GPU,
	GROUP_EVENTS,
	GROUP_WEBHOOKS,
	GROUP_METRICS,
	GROUP_WEB, /* logging in and out, keys */
	GROUPS
} Group;

extern const char *const group_names[GROUPS + 1];

typedef struct ListenConfig
{
	char *name;
	char *socket;  /* either a unix socket */
	char *address; /* or 127.0.0.1:3000 */
	char *routes;
	unsigned groups; /* a bit for each Group */
} ListenConfig;

typedef struct Config
{
	char *local; /* connection strings */
	char *lead;
	int64_t local_connections;
	int64_t lead_connections;

	int64_t header_timeout; /* all times in ms */
	int64_t body_timeout;
	int64_t idle_timeout;
	int64_t header_limit; /* all sizes in bytes */
	int64_t body_limit;
	int64_t statement_timeout;
	int64_t lsn_wait;
	int64_t drain_limit;
	int64_t connections;
	int64_t streams;
	int64_t streams_per_key;
	int64_t stream_queue;
	int64_t ping_interval;
	char *origins;
	char *origin_list[ORIGINS]; /* parts of origins, which were cut */
	int origin_count;
	bool cookie_secure;
	bool trust_forwarded;
	int log_level;
	int log_format;

	ListenConfig listeners[LISTENERS];
	int listener_count;
} Config;

/* Reads a file. Returns NULL, and what is wrong with it, to be freed. */
extern Config *config_read(const char *path, char **problem);

/* The same of a text. */
extern Config *config_parse(const char *text, char **problem);

extern void config_free(Config *config);

/* Takes what may change while the gateway runs from another one. */
extern void config_take_over(Config *config, Config *from);

/* May a page of that origin use the gateway? "host" is the request's own Host header. */
extern bool config_allows_origin(const Config *config, const char *origin, const char *host);

#endif
