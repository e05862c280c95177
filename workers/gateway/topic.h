/*
 * Topics and subscriptions, within the hub.
 */
#ifndef GATEWAY_TOPIC_H
#define GATEWAY_TOPIC_H

#include "gateway/hub.h"

#define ID_SIZE 24

typedef struct Topic Topic;

typedef enum SubscriptionState
{
	SUBSCRIPTION_OPENING, /* its right and its cursor are asked for; nothing is given */
	SUBSCRIPTION_WAITING, /* this node has not come as far as its cursor */
	SUBSCRIPTION_OPEN,
	SUBSCRIPTION_LEFT /* its client has gone: to be freed when nobody goes over the list */
} SubscriptionState;

struct Subscription
{
	Hub *hub;
	Topic *topic; /* NULL before it is opened */
	char *name;
	const Credential *credential;
	const char *route;
	SubscriptionEvents events;
	void *context;
	SubscriptionState state;
	bool is_told;  /* that it was opened */
	bool is_live;  /* has read all there was */
	bool skips;	   /* the page that is given, since its client has enough to take */
	bool crosses;  /* its cursor goes on, so that the next epoch is the history's */
	Cursor cursor; /* of what it was given last */
	Cursor asked;
	int64_t check_at;
	Ticket *ticket; /* of open_stream() */
	const char *values[3];
	char seq_text[ID_SIZE];
	Subscription *next; /* in the topic, or among those without one */
};

struct Topic
{
	Hub *hub;
	int64_t id; /* 0: there is none yet */
	char id_text[ID_SIZE];
	char *company; /* empty for topics of the mesh */
	char *name;
	int64_t last_seq;
	char epoch[EPOCH_SIZE]; /* of the last event */
	Subscription *first;
	bool is_locked; /* somebody goes over the subscriptions */
	bool was_back;	/* the last page was one of those that are behind */
	int rows;		/* of a page */
	Ticket *ticket; /* of topic_events() */
	const char *values[3];
	char after_text[ID_SIZE];
	char rows_text[ID_SIZE];
	int64_t after;
	Topic *next;
};

struct Hub
{
	Gateway *gateway;
	Topic *topics;
	Topic **by_id; /* those that have one, in its order */
	size_t id_count;
	Subscription *homeless; /* that are opened for the first time */
	size_t count;
	Ticket *ticket; /* of topic_heads() */
	bool is_woken;	/* again, while that is under way */
	const char *values[1];
	Buffer ids;
};

/* ---- topic.c ---- */

/* The topic of that number; a number of 0 looks by company and name. Made when there is none. */
extern Topic *topic_get(Hub *hub, int64_t id, const char *company, const char *name);
extern Topic *topic_find(const Hub *hub, int64_t id);
extern void topic_enter(Topic *topic, Subscription *subscription);

/* Frees subscriptions that were left, and the topic when it has none: then false. */
extern bool topic_tidy(Topic *topic);
extern void topic_free(Topic *topic);

/* Reads what some of its subscriptions lack, if it is not being read. */
extern void topic_read(Topic *topic);

/* ---- subscription.c ---- */

/* Asks for its right, and whether its cursor goes on. */
extern void subscription_check(Subscription *subscription);

/* The same, though it is asked for already: of a time before. */
extern void subscription_check_anew(Subscription *subscription);
extern void subscription_free(Subscription *subscription);

/* Gives it what follows its cursor. False when it does not follow, and is being asked for. */
extern bool subscription_give(Subscription *subscription, Event *event);

/* ---- event.c ---- */

struct Event
{
	EventRow row;
	int64_t seq;
	Shared *frame;
	Shared *lines;
};

extern void event_free(Event *event);

#endif
