/*
 * Topics and subscriptions, within the hub.
 */
#ifndef GATEWAY_TOPIC_H
#define GATEWAY_TOPIC_H

#include "gateway/hub.h"

#define ID_SIZE 24

/*
 * Of all subscriptions, that are under way. So few are no background units: rights are asked for in
 * time however much there is to read.
 */
#define CHECKS_AT_ONCE 32
#define CHECK_INTERVAL 10000 /* ms between checks of a subscription, at most */
#define CHECK_SPREAD 3000	 /* ms that it may be less */
#define MISSING_INTERVAL 100 /* ms between questions for topics that are not there, at least */
#define MISSING_AT_ONCE 10000

typedef struct Topic Topic;
typedef struct Check Check;

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
	HubClient client;
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
	int64_t opened_by; /* until then the first check is tried again */
	Check *check;	   /* that is under way */
	bool is_queued;	   /* for a check */
	Subscription *queued_before;
	Subscription *queued_behind;
	Subscription *next; /* in the topic, or among those without one */
};

/*
 * A question for a subscription's right and cursor. It ends with its answer also when the
 * subscription was left meanwhile: what is under way is counted, and nothing is cancelled for a
 * client that comes and goes. So what it points to is its own.
 */
struct Check
{
	Hub *hub;
	Subscription *subscription; /* NULL when nobody wants to know any more */
	Credential credential;
	char *route;
	char *name;
	char seq_text[ID_SIZE];
	char epoch[EPOCH_SIZE];
	const char *values[3];
	Ticket *ticket; /* of open_stream() */
	Check *next;
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
	bool is_left;	/* nobody follows it: it goes when it is read */
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
	Topic *left;   /* that are being read */
	Topic **by_id; /* those that have one, in its order */
	size_t id_count;
	Subscription *homeless; /* that are opened for the first time */
	size_t count;
	Ticket *ticket; /* of topic_heads() */
	bool is_woken;	/* again, while that is under way */
	const char *values[1];
	Buffer ids;
	Check *checks; /* under way */
	int check_count;
	Subscription *queue_first; /* that wait for a check */
	Subscription *queue_last;
	Ticket *missing_ticket; /* of topics_there() */
	const char *missing_values[2];
	Buffer missing_companies;
	Buffer missing_names;
	bool missing_is_woken; /* while that is under way */
	Timer missing;		   /* the next question */
	int64_t missing_from;
};

/* ---- topic.c ---- */

/* One that is not there yet; NULL when nobody waits for it. */
extern Topic *topic_find_missing(const Hub *hub, const char *company, const char *name);

/* The topic of that number; a number of 0 looks by company and name. Made when there is none. */
extern Topic *topic_get(Hub *hub, int64_t id, const char *company, const char *name);
extern Topic *topic_find(const Hub *hub, int64_t id);
extern void topic_enter(Topic *topic, Subscription *subscription);

/* Frees subscriptions that were left, and the topic when it has none: then false. */
extern bool topic_tidy(Topic *topic);
extern void topic_free(Topic *topic);

/* Of one that nobody follows: its memory. */
extern void topic_free_left(Topic *topic);

/* Reads what some of its subscriptions lack, if it is not being read. */
extern void topic_read(Topic *topic);

/* ---- subscription.c ---- */

/* Takes the answer to a check. */
extern void subscription_checked(Subscription *subscription, const Answer *answer);
extern void subscription_free(Subscription *subscription);

/* Gives it what follows its cursor. False when it does not follow, and is being asked for. */
extern bool subscription_give(Subscription *subscription, Event *event);

/* ---- asking.c ---- */

/* Has its right asked for, and whether its cursor goes on, when its turn has come. */
extern void subscription_check(Subscription *subscription);

/* The same, though it is asked for already: of a time before. */
extern void subscription_check_anew(Subscription *subscription);

/* Its check, if there is one, concerns nobody any more. */
extern void subscription_forget_check(Subscription *subscription);

/* When it is to be checked next, which is not when the others are. */
extern int64_t check_time(void);

/* Ends all checks without an answer. */
extern void checks_drop(Hub *hub);

/* ---- missing.c ---- */

/* Has topics that are not there yet asked for soon, all at once. */
extern void missing_wake(Hub *hub);
extern void missing_open(Hub *hub);
extern void missing_close(Hub *hub);

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
