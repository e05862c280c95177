/*
 * The gateway: puts its parts together, and begins and ends them.
 */
#include "gateway/gateway.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/notify.h"
#include "gateway/exchange.h"
#include "gateway/listener.h"
#include "gateway/metrics.h"
#include "gateway/stream.h"
#include "gateway/streams.h"

#define SWEEP_INTERVAL 100 /* ms */
#define LAST_MOMENT 500

/* ---- the turn ---- */

void
gateway_wake(Gateway *gateway)
{
	loop_set(&gateway->loop, &gateway->turn, 0);
}

static bool
is_answering(const Gateway *gateway)
{
	for (const Client *client = gateway->clients; client; client = client->next)
		if (client->is_upgraded || !request_is_idle(&client->request))
			return true;
	return false;
}

static void
turn(void *context)
{
	listeners_turn(context);
}

static void
sweep(void *context)
{
	Gateway *gateway = context;

	clients_sweep(gateway);
	if (gateway->is_draining && !is_answering(gateway))
		loop_end(&gateway->loop);
	loop_set(&gateway->loop, &gateway->sweep, clock_ms() + SWEEP_INTERVAL);
}

bool
gateway_enter_stream(Gateway *gateway)
{
	if (gateway->stream_count >= gateway->config->streams)
		return false;
	gateway->stream_count++;
	return true;
}

void
gateway_leave_stream(Gateway *gateway)
{
	gateway->stream_count--;
}

/* ---- signals ---- */

/*
 * Limits and origins are taken over; databases and listeners stay as they are until a restart.
 */
static void
reload(Gateway *gateway)
{
	char *problem;
	Config *config = config_read(gateway->config_path, &problem);

	if (config == NULL)
	{
		log_event(LOG_ERROR, "configuration not reloaded", TEXT("file", gateway->config_path),
				  TEXT("error", problem));
		free(problem);
		return;
	}
	notify("RELOADING=1");
	config_take_over(gateway->config, config);
	config_free(config);
	log_open((LogLevel) gateway->config->log_level, (LogFormat) gateway->config->log_format);
	pool_set_timeout(gateway->pool, (int) gateway->config->statement_timeout);
	log_event(LOG_INFO, "configuration reloaded", TEXT("file", gateway->config_path));
	notify("READY=1");
}

static void
drain_is_over(void *context)
{
	Gateway *gateway = context;

	/* A last moment for what tells clients, and the database, that nobody waits any more. */
	if (!gateway->has_given_up && streams_give_up(gateway))
	{
		gateway->has_given_up = true;
		loop_set(&gateway->loop, &gateway->drain, clock_ms() + LAST_MOMENT);
		return;
	}
	log_event(LOG_WARNING, "clients left without an answer",
			  NUMBER("clients", gateway->client_count));
	loop_end(&gateway->loop);
}

static void
begin_drain(Gateway *gateway)
{
	if (gateway->is_draining)
	{
		loop_set(&gateway->loop, &gateway->drain, clock_ms()); /* told twice: in a hurry */
		return;
	}
	gateway->is_draining = true;
	notify("STOPPING=1");
	log_event(LOG_INFO, "draining", NUMBER("clients", gateway->client_count),
			  NUMBER("limit_ms", gateway->config->drain_limit));
	loop_set(&gateway->loop, &gateway->drain, clock_ms() + gateway->config->drain_limit);
	listeners_stop(gateway);
	streams_drain(gateway);
	streams_drain_sockets(gateway);
	loop_set(&gateway->loop, &gateway->sweep, clock_ms());
}

static void
take_signal(void *context, int signal)
{
	Gateway *gateway = context;

	if (signal == SIGHUP)
	{
		if (!gateway->is_draining)
			reload(gateway);
	}
	else
		begin_drain(gateway);
}

static void
feed_watchdog(void *context)
{
	Gateway *gateway = context;

	notify("WATCHDOG=1");
	loop_set(&gateway->loop, &gateway->watchdog, clock_ms() + gateway->watchdog_interval);
}

/* ---- from begin to end ---- */

/*
 * As many descriptors as the limits on connections and streams may want.
 */
static void
raise_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	(void) setrlimit(RLIMIT_NOFILE, &limit);
}

static bool
open_pool(Gateway *gateway)
{
	const Config *config = gateway->config;
	PoolConfig wanted = {
		.local = config->local,
		.lead = config->lead,
		.connections = {(int) config->local_connections, (int) config->lead_connections, 1},
		.timeout = (int) config->statement_timeout};
	char *problem;

	gateway->pool = pool_open(&gateway->loop, &wanted, &problem);
	if (gateway->pool)
		return true;
	log_event(LOG_ERROR, "a connection string cannot be used", TEXT("error", problem));
	free(problem);
	return false;
}

static bool
begin(Gateway *gateway)
{
	sigset_t signals;

	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGHUP);
	signal(SIGPIPE, SIG_IGN);
	raise_limit();
	if (!loop_open(&gateway->loop) || !loop_signals(&gateway->loop, &signals, take_signal, gateway))
	{
		log_event(LOG_ERROR, "the gateway cannot begin", TEXT("error", strerror(errno)));
		return false;
	}
	gateway->turn = (Timer) {.due = turn, .context = gateway};
	gateway->sweep = (Timer) {.due = sweep, .context = gateway};
	gateway->drain = (Timer) {.due = drain_is_over, .context = gateway};
	gateway->watchdog = (Timer) {.due = feed_watchdog, .context = gateway};
	gateway->metrics = metrics_open();
	lsn_open(gateway);
	if (!open_pool(gateway) || !listeners_open(gateway))
		return false;
	loop_set(&gateway->loop, &gateway->sweep, clock_ms());
	gateway->watchdog_interval = notify_watchdog_interval();
	if (gateway->watchdog_interval > 0)
		loop_set(&gateway->loop, &gateway->watchdog, clock_ms());
	return true;
}

static void
end(Gateway *gateway)
{
	streams_close_sockets(gateway);
	listeners_close(gateway);
	streams_close(gateway);
	pool_close(gateway->pool);
	metrics_close(gateway->metrics);
	loop_close(&gateway->loop);
	config_free(gateway->config);
}

int
gateway_run(const char *config_path, Config *config)
{
	Gateway *gateway = memory_get(sizeof(Gateway));
	int status = EXIT_FAILURE;

	gateway->config = config;
	gateway->config_path = config_path;
	gateway->started_at = clock_ms();
	log_open((LogLevel) config->log_level, (LogFormat) config->log_format);
	if (begin(gateway))
	{
		log_event(LOG_INFO, "started", TEXT("version", AURORA_VERSION),
				  NUMBER("listeners", config->listener_count));
		notify("READY=1");
		loop_run(&gateway->loop);
		log_event(LOG_INFO, "ended", NUMBER("clients_left", gateway->client_count));
		status = EXIT_SUCCESS;
	}
	end(gateway);
	free(gateway);
	return status;
}
