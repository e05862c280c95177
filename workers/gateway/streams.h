/*
 * What streams share: the hub of topics, the feed of texts, the WebSockets, the one query that
 * waits for what is new, and how many streams each key has.
 */
#ifndef GATEWAY_STREAMS_H
#define GATEWAY_STREAMS_H

#include "gateway/feed.h"
#include "gateway/hub.h"
#include "gateway/socket.h"
#include "gateway/strangers.h"

typedef struct KeyCount KeyCount;
typedef struct EventStream EventStream;
typedef struct Generation Generation;
typedef struct Abandoned Abandoned;

typedef struct Streams
{
	Gateway *gateway;
	Hub *hub;
	Feed *feed;
	Sockets sockets;
	EventStream *event_streams;
	Generation *generations;
	int generation_checks; /* under way */
	Abandoned *abandoned;
	KeyCount *keys;
	Stranger *strangers;
	Ticket *wait; /* for what is new */
	const char *wait_values[2];
	char position[24];
	int64_t waited_at; /* when that began */
	Timer sweep;
	Timer again; /* the wait, when it went wrong */
} Streams;

/* Those of the gateway, which are made when they are first asked for. */
extern Streams *streams_of(Gateway *gateway);

/* WebSockets are closed, with a word that the client is to come back. */
extern void streams_drain_sockets(Gateway *gateway);

/*
 * Texts that are still being made when the gateway has to end: their clients are told, and the jobs
 * cancelled. False when there are none.
 */
extern bool streams_give_up(Gateway *gateway);

/* Ends WebSockets, before the listeners are closed. */
extern void streams_close_sockets(Gateway *gateway);

/* Between the listeners and the pool. */
extern void streams_close(Gateway *gateway);

/* Has what is new waited for; to be called by who wants to know. */
extern void streams_watch(Streams *streams);

/* Counts a stream of a credential; NULL when it has as many as it may have. */
extern KeyCount *streams_enter(Streams *streams, const Credential *credential);
extern void streams_leave(Streams *streams, KeyCount *key);

/* What it follows; until streams_leave(). */
extern Quota *streams_quota(KeyCount *key);

/*
 * The same for a request, before stream_begin(). NULL, and it is answered: 429 when the key has as
 * many streams as it may have, 503 when the gateway has.
 */
extern KeyCount *streams_admit(Request *request);

/* A copy whose texts are its own, to be freed by credential_drop(). */
extern void credential_keep(Credential *copy, const Credential *credential);
extern void credential_drop(Credential *credential);

#endif
