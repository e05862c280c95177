/*
 * What streams share.
 */
#include "gateway/streams.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "gateway/abandon.h"
#include "gateway/event_stream.h"
#include "gateway/generation.h"

#define SWEEP_INTERVAL 1000
#define WAIT_LIMIT "20000" /* ms that a wait for what is new takes at most */
#define AGAIN_INTERVAL 500
#define LEAST_INTERVAL 2 /* ms between waits, when much is published */

/* A credential with streams. */
struct KeyCount
{
	char *name;
	int count;
	Quota quota;
	KeyCount *next;
};

/* ---- credentials ---- */

void
credential_keep(Credential *copy, const Credential *credential)
{
	*copy = *credential;
	copy->node = memory_copy(credential->node);
	copy->token = memory_copy(credential->token);
	copy->csrf = memory_copy(credential->csrf);
}

void
credential_drop(Credential *credential)
{
	memory_wipe((char *) credential->node);
	memory_wipe((char *) credential->token);
	memory_wipe((char *) credential->csrf);
	explicit_bzero(credential, sizeof(*credential));
}

KeyCount *
streams_enter(Streams *streams, const Credential *credential)
{
	const char *name =
		credential->kind == CREDENTIAL_SESSION ? credential->token : credential->key_hash;
	KeyCount *key = streams->keys;

	while (key && strcmp(key->name, name) != 0)
		key = key->next;
	if (key && key->count >= streams->gateway->config->streams_per_key)
		return NULL;
	if (key == NULL)
	{
		key = memory_get(sizeof(KeyCount));
		*key = (KeyCount) {.name = memory_copy(name), .next = streams->keys};
		streams->keys = key;
	}
	key->count++;
	return key;
}

void
streams_leave(Streams *streams, KeyCount *key)
{
	KeyCount **place = &streams->keys;

	if (--key->count > 0)
		return;
	while (*place != key)
		place = &(*place)->next;
	*place = key->next;
	memory_wipe(key->name);
	free(key);
}

Quota *
streams_quota(KeyCount *key)
{
	return &key->quota;
}

KeyCount *
streams_admit(Request *request)
{
	Gateway *gateway = request->gateway;
	KeyCount *key = NULL;

	if (gateway->is_draining)
		request_problem(request, 503, NULL, NULL, "the gateway is about to end", NULL);
	else if (gateway->stream_count >= gateway->config->streams)
		request_problem(request, 503, NULL, NULL, "there are as many streams as there may be",
						NULL);
	else if ((key = streams_enter(streams_of(gateway), &request->credential)) == NULL)
		request_problem(request, 429, NULL, NULL, "this key has as many streams as it may have",
						NULL);
	return key;
}

/* ---- waiting for what is new ---- */

static bool
is_needed(const Streams *streams)
{
	return hub_subscriptions(streams->hub) > 0 || feed_outputs(streams->feed) > 0;
}

static void
waited(void *context, const Answer *answer)
{
	Streams *streams = context;
	int column = answer->state == ANSWER_OK ? PQfnumber(answer->result, "position") : -1;

	streams->wait = NULL;
	if (column < 0 || PQntuples(answer->result) != 1)
	{
		loop_set(&streams->gateway->loop, &streams->again, clock_ms() + AGAIN_INTERVAL);
		return;
	}
	snprintf(streams->position, sizeof(streams->position), "%s",
			 PQgetvalue(answer->result, 0, column));
	/* Whatever comes while these ask is not missed: it is behind that position. */
	if (clock_ms() - streams->waited_at < LEAST_INTERVAL)
		loop_set(&streams->gateway->loop, &streams->again, clock_ms() + LEAST_INTERVAL);
	else
		streams_watch(streams);
	hub_wake(streams->hub);
	feed_wake(streams->feed);
}

void
streams_watch(Streams *streams)
{
	Unit unit = {.side = SIDE_WAKE,
				 .statement = "wait_published",
				 .sql = "CALL aurora.wait_published($1, $2)",
				 .count = 2,
				 .values = streams->wait_values,
				 .is_slow = true,
				 .timeout = 60000};

	if (streams->wait || streams->again.is_listed || !is_needed(streams))
		return;
	streams->waited_at = clock_ms();
	streams->wait_values[0] = streams->position;
	streams->wait_values[1] = WAIT_LIMIT;
	streams->wait = pool_run(streams->gateway->pool, &unit, waited, streams);
}

static void
watch_again(void *context)
{
	streams_watch(context);
}

/* ---- beginning and end ---- */

static void
sweep(void *context)
{
	Streams *streams = context;

	loop_set(&streams->gateway->loop, &streams->sweep, clock_ms() + SWEEP_INTERVAL);
	sockets_sweep(&streams->sockets);
	event_streams_sweep(streams);
	generations_sweep(streams);
	abandon_sweep(streams);
	hub_sweep(streams->hub);
	feed_sweep(streams->feed);
	streams_watch(streams);
}

Streams *
streams_of(Gateway *gateway)
{
	Streams *streams = gateway->streams;

	if (streams)
		return streams;
	streams = memory_get(sizeof(Streams));
	*streams = (Streams) {.gateway = gateway,
						  .position = "0",
						  .sweep = {.due = sweep, .context = streams},
						  .again = {.due = watch_again, .context = streams}};
	streams->hub = hub_open(gateway);
	streams->feed = feed_open(gateway);
	sockets_open(&streams->sockets, gateway);
	gateway->streams = streams;
	loop_set(&gateway->loop, &streams->sweep, clock_ms() + SWEEP_INTERVAL);
	return streams;
}

bool
streams_give_up(Gateway *gateway)
{
	Streams *streams = gateway->streams;

	return streams && generations_give_up(streams);
}

void
streams_drain_sockets(Gateway *gateway)
{
	Streams *streams = gateway->streams;

	if (streams)
		sockets_drain(&streams->sockets);
}

void
streams_close_sockets(Gateway *gateway)
{
	Streams *streams = gateway->streams;

	if (streams)
		sockets_close(&streams->sockets);
}

void
streams_close(Gateway *gateway)
{
	Streams *streams = gateway->streams;

	if (streams == NULL)
		return;
	hub_close(streams->hub);
	abandon_close(streams);
	feed_close(streams->feed);
	if (streams->wait)
		pool_cancel(streams->wait);
	loop_unset(&gateway->loop, &streams->sweep);
	loop_unset(&gateway->loop, &streams->again);
	free(streams);
	gateway->streams = NULL;
}
