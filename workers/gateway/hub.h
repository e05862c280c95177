/*
 * Topics that clients follow. A "subscription" is a client's cursor in a topic; the hub asks the
 * node's own database which topics have moved, reads each once for all its subscriptions, and gives
 * them events whose bytes they share. A subscription that has read everything is "live"; one that
 * is behind reads pages, as fast as its client takes them.
 *
 * Nothing relies on being woken: once a second the hub looks by itself. Rights are asked for again
 * each ten seconds at the latest, so many at once; topics that are not there yet all at once.
 */
#ifndef GATEWAY_HUB_H
#define GATEWAY_HUB_H

#include "gateway/gateway.h"
#include "gateway/message.h"
#include "gateway/stream.h"

typedef struct Hub Hub;
typedef struct Subscription Subscription;
typedef struct Event Event;

#define MOST_SUBSCRIPTIONS 10240 /* of one key */
#define MOST_MISSING 1024		 /* of these, to topics that are not there */

/* What one key follows: counted by the hub, kept by who subscribes. */
typedef struct Quota
{
	int subscriptions;
	int missing;
} Quota;

/* Who subscribes. What is pointed to stays the caller's, and has to be there until the end. */
typedef struct HubClient
{
	const Credential *credential;
	const char *route; /* that the key has to be for */
	Quota *quota;
} HubClient;

/* Where a subscription goes on. */
typedef struct Opening
{
	const char *state; /* continues, lost, ahead, trimmed */
	Cursor cursor;
	int64_t last_seq;		  /* of the topic */
	const PGresult *identity; /* whose key it is; NULL but for the first */
} Opening;

/* None of these may be called from within hub_subscribe(). */
typedef struct SubscriptionEvents
{
	/* It was opened, or where it goes on has changed. */
	void (*opened)(void *context, const Opening *opening);

	void (*event)(void *context, Event *event);

	/* A page of events is over. */
	void (*page)(void *context);

	/* It is refused, or no longer allowed; it is freed behind this. */
	void (*ended)(void *context, const Answer *answer);

	/* Bytes that its client has not taken yet. */
	size_t (*queued)(void *context);
} SubscriptionEvents;

extern Hub *hub_open(Gateway *gateway);
extern void hub_close(Hub *hub);

/* Opens a subscription; NULL when the key has as many as it may have. */
extern Subscription *hub_subscribe(Hub *hub, const char *topic, const Cursor *cursor,
								   const HubClient *client, const SubscriptionEvents *events,
								   void *context);

/* Nothing is called any more. Also from within an event. */
extern void hub_unsubscribe(Subscription *subscription);

/* What its client had to take has become less. */
extern void hub_drained(Subscription *subscription);

extern const char *hub_topic(const Subscription *subscription);

/* An event for a WebSocket, as a frame, and for Server-Sent Events; made once, lent. */
extern Shared *event_frame(Event *event);
extern Shared *event_lines(Event *event);

/* Something was published. */
extern void hub_wake(Hub *hub);

/* Once a second. */
extern void hub_sweep(Hub *hub);

extern size_t hub_subscriptions(const Hub *hub);

#endif
