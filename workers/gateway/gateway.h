/*
 * The gateway: puts its parts together, and begins and ends them. "Draining" it takes no more
 * connections and ends with its last answer.
 */
#ifndef GATEWAY_GATEWAY_H
#define GATEWAY_GATEWAY_H

#include <stdbool.h>
#include <stdint.h>

#include "common/loop.h"
#include "gateway/config.h"
#include "gateway/pool.h"

typedef struct Listener Listener;
typedef struct Metrics Metrics;
typedef struct Client Client;

typedef struct Gateway
{
	Loop loop;
	Config *config;
	const char *config_path;
	Pool *pool;
	Listener *listeners;
	Client *clients; /* all connections */
	int client_count;
	int stream_count; /* SSE and WebSocket; who upgrades counts itself, see gateway_enter_stream()
					   */
	Metrics *metrics;
	void *streams;				 /* what the streams share: the hub */
	struct Request *lsn_waiters; /* reads that wait for the node's own database to catch up */
	bool lsn_is_asked;
	Timer lsn_timer;
	Timer turn; /* what is left to do before the loop waits */
	Timer sweep;
	Timer drain;
	Timer watchdog;
	int64_t watchdog_interval;
	int64_t started_at; /* ms */
	bool is_draining;
	bool has_given_up; /* what took longer than draining may */
} Gateway;

/* Runs until it is told to end; takes the configuration over. Returns the exit status. */
extern int gateway_run(const char *config_path, Config *config);

/* Has what is left to do done at the end of this turn of the loop. */
extern void gateway_wake(Gateway *gateway);

/*
 * Counts a stream or a WebSocket; false when there are as many as there may be. Streams of
 * stream_begin() are counted by that.
 */
extern bool gateway_enter_stream(Gateway *gateway);
extern void gateway_leave_stream(Gateway *gateway);

#endif
