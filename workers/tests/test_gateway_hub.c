/*
 * The hub before a pool that answers when it is told to, at a time that stands still: how much is
 * asked at once, who asks again and when, and what it costs that clients come and go.
 */
#include <stdlib.h>
#include <string.h>

#include "gateway/topic.h"
#include "tests/tap.h"

#define MOST_ASKED 40000

/* What was asked, in its order; the answered ones are NULL. */
typedef struct Asked
{
	UnitAnswer answer;
	void *context;
	bool is_check;
	bool is_missing;
	const char *first; /* value */
} Asked;

static Asked asked[MOST_ASKED];
static int asked_count;
static int answered_count;
static int cancels;
static int64_t now = 1000000;
static Gateway gateway;
static Config config = {.stream_queue = 1 << 20};
static Quota quota;
static int opened_count;
static int ended_count;
static char ended_with[8];

/* ---- what stands for the pool and the clock ---- */

Ticket *__wrap_pool_run(Pool *pool, const Unit *unit, UnitAnswer answer, void *context);
void __wrap_pool_cancel(Ticket *ticket);
int64_t __wrap_clock_ms(void);

Ticket *
__wrap_pool_run(Pool *pool, const Unit *unit, UnitAnswer answer, void *context)
{
	Asked *one = &asked[asked_count++];

	(void) pool;
	*one = (Asked) {answer, context, strcmp(unit->statement, "open_stream") == 0,
					strcmp(unit->statement, "topics_there") == 0, unit->values[0]};
	return (Ticket *) one;
}

void
__wrap_pool_cancel(Ticket *ticket)
{
	((Asked *) ticket)->answer = NULL;
	cancels++;
}

int64_t
__wrap_clock_ms(void)
{
	return now;
}

/* ---- answers ---- */

static PGresult *
new_result(int columns, const char *const *names)
{
	PGresult *result = PQmakeEmptyPGresult(NULL, PGRES_TUPLES_OK);
	PGresAttDesc descriptions[5] = {0};

	for (int i = 0; i < columns; i++)
		descriptions[i].name = (char *) names[i];
	(void) PQsetResultAttrs(result, columns, descriptions);
	return result;
}

static void
set_row(PGresult *result, int row, const char *const *values)
{
	for (int i = 0; i < PQnfields(result); i++)
		(void) PQsetvalue(result, row, i, (char *) values[i],
						  values[i] ? (int) strlen(values[i]) : -1);
}

static void
give(Asked *one, const Answer *answer)
{
	UnitAnswer taken = one->answer;

	one->answer = NULL;
	answered_count++;
	if (taken)
		taken(one->context, answer);
}

/*
 * Answers a check with a topic's number, NULL for one that is not there.
 */
static void
open_one(Asked *one, const char *topic_id)
{
	static const char *const names[] = {"topic_id", "state", "resume_after", "last_seq", "epoch"};
	PGresult *result = new_result(5, names);

	set_row(result, 0, (const char *const[]) {topic_id, "continues", "0", "0", ""});
	give(one, &(Answer) {.state = ANSWER_OK, .result = result});
	PQclear(result);
}

static void
fail_one(Asked *one, const char *sqlstate)
{
	give(one, &(Answer) {.state = ANSWER_ERROR, .sqlstate = sqlstate, .message = "no"});
}

/*
 * The oldest check without an answer, or NULL.
 */
static Asked *
next_check(void)
{
	for (int i = 0; i < asked_count; i++)
		if (asked[i].answer && asked[i].is_check)
			return &asked[i];
	return NULL;
}

static void
open_all(const char *topic_id)
{
	Asked *check;

	while ((check = next_check()) != NULL)
		open_one(check, topic_id);
}

static int
count_waiting(bool is_missing)
{
	int count = 0;

	for (int i = 0; i < asked_count; i++)
		count += asked[i].answer && (is_missing ? asked[i].is_missing : asked[i].is_check);
	return count;
}

/* ---- clients ---- */

static void
opened(void *context, const Opening *opening)
{
	(void) context, (void) opening;
	opened_count++;
}

static void
take_event(void *context, Event *event)
{
	(void) context, (void) event;
}

static void
end_page(void *context)
{
	(void) context;
}

static void
ended(void *context, const Answer *answer)
{
	(void) context;
	ended_count++;
	strncpy(ended_with, answer->sqlstate, sizeof(ended_with) - 1);
}

static size_t
queued(void *context)
{
	(void) context;
	return 0;
}

static Subscription *
subscribe(Hub *hub, const char *topic)
{
	static const SubscriptionEvents events = {opened, take_event, end_page, ended, queued};
	static const Credential credential = {.kind = CREDENTIAL_KEY, .key_hash = "\\x00"};
	const HubClient client = {&credential, "GET /x", &quota};

	return hub_subscribe(hub, topic, &(Cursor) {.seq = 0}, &client, &events, NULL);
}

static Hub *
begin(void)
{
	asked_count = answered_count = cancels = opened_count = ended_count = 0;
	ended_with[0] = '\0';
	quota = (Quota) {0};
	gateway.config = &config;
	return hub_open(&gateway);
}

static void
subscribe_many(Hub *hub, Subscription **to, int count)
{
	for (int i = 0; i < count; i++)
	{
		char name[32];

		snprintf(name, sizeof(name), "topic %d", i);
		to[i] = subscribe(hub, name);
	}
}

/* ---- tests ---- */

static void
try_budget(void)
{
	static Subscription *all[1000];
	Hub *hub = begin();
	bool in_order = true;
	int most = 0;

	subscribe_many(hub, all, 1000);
	ok(asked_count == CHECKS_AT_ONCE, "of 1000 subscriptions %d are asked for at once, found %d",
	   CHECKS_AT_ONCE, asked_count);
	for (Asked *check = next_check(); check; check = next_check())
	{
		char name[32];

		snprintf(name, sizeof(name), "topic %d", answered_count);
		in_order &= strcmp(check->first, name) == 0;
		if (count_waiting(false) > most)
			most = count_waiting(false);
		open_one(check, "7");
	}
	ok(most == CHECKS_AT_ONCE && opened_count == 1000, "the others follow: %d at most, %d opened",
	   most, opened_count);
	ok(in_order, "in the order in which they came");
	hub_close(hub);
}

static void
try_spread(void)
{
	static Subscription *all[1000];
	Hub *hub = begin();
	int64_t first = INT64_MAX;
	int64_t last = 0;
	int early = 0;

	subscribe_many(hub, all, 1000);
	open_all("7");
	for (int i = 0; i < 1000; i++)
	{
		first = all[i]->check_at < first ? all[i]->check_at : first;
		last = all[i]->check_at > last ? all[i]->check_at : last;
		early += all[i]->check_at < now + CHECK_INTERVAL - CHECK_SPREAD / 2;
	}
	ok(last - first > CHECK_SPREAD / 2 && last <= now + CHECK_INTERVAL,
	   "they are not asked for again in step, and within ten seconds: %d to %d ms",
	   (int) (first - now), (int) (last - now));
	ok(early > 300 && early < 700, "%d of 1000 in the first half", early);
	now += CHECK_INTERVAL;
	hub_sweep(hub);
	ok(count_waiting(false) == CHECKS_AT_ONCE, "then %d at once", count_waiting(false));
	hub_close(hub);
}

/*
 * Somebody subscribes and unsubscribes as fast as it goes.
 */
static void
try_flapping(void)
{
	Hub *hub = begin();

	for (int i = 0; i < 5000; i++)
		hub_unsubscribe(subscribe(hub, "orders"));
	ok(cancels == 0 && asked_count == CHECKS_AT_ONCE,
	   "who comes and goes has nothing cancelled (%d), and asks no more than others (%d)", cancels,
	   asked_count);
	(void) subscribe(hub, "orders");
	open_all("7");
	ok(opened_count == 1 && hub_subscriptions(hub) == 1, "only who stays is told");
	/* The topic is being read when its last client goes. */
	hub->topics->last_seq = 5;
	topic_read(hub->topics);
	hub_unsubscribe(hub->topics->first);
	ok(cancels == 0 && hub->topics == NULL && hub->left, "a topic that is read ends with that");
	fail_one(&asked[asked_count - 1], "53300");
	ok(hub->left == NULL, "and is forgotten then");
	ok(quota.subscriptions == 0 && quota.missing == 0, "nothing is counted any more");
	hub_close(hub);
}

static void
try_busy(void)
{
	Hub *hub = begin();

	(void) subscribe(hub, "orders");
	fail_one(next_check(), "53300");
	ok(ended_count == 0, "a first check that meets too many others is not the last");
	now += 1000;
	hub_sweep(hub);
	ok(next_check() != NULL, "it is asked for again");
	now += 10000;
	fail_one(next_check(), "53300");
	is(ended_with, "53300", "but not for ever");
	(void) subscribe(hub, "orders");
	fail_one(next_check(), "42501");
	is(ended_with, "42501", "what is not allowed is over at once");
	ok(quota.subscriptions == 0, "and not counted any more");
	hub_close(hub);
}

static void
wake_often(Hub *hub, int times)
{
	for (int i = 0; i < times; i++)
	{
		hub_wake(hub);
		if (hub->missing.at <= now)
		{
			loop_unset(&gateway.loop, &hub->missing);
			hub->missing.due(hub->missing.context);
		}
		now++;
	}
}

static void
try_missing(void)
{
	static Subscription *all[500];
	static const char *const names[] = {"company", "topic"};
	Hub *hub = begin();
	PGresult *result;
	int questions = 0;

	subscribe_many(hub, all, 500);
	open_all(NULL);
	ok(quota.missing == 500, "500 topics are not there");
	asked_count = 0;
	wake_often(hub, 50);
	ok(asked_count == 1 && count_waiting(true) == 1, "one question is for all of them, found %d",
	   asked_count);
	result = new_result(2, names);
	set_row(result, 0, (const char *const[]) {"", "topic 3"});
	set_row(result, 1, (const char *const[]) {"", "topic 4"});
	give(&asked[0], &(Answer) {.state = ANSWER_OK, .result = result});
	PQclear(result);
	ok(count_waiting(false) == 2, "those that are there are opened, %d", count_waiting(false));
	open_one(next_check(), "3");
	open_one(next_check(), "4");
	ok(quota.missing == 498, "the others wait on, %d", quota.missing);
	asked_count = 0;
	for (int i = 0; i < 20; i++)
	{
		wake_often(hub, 50);
		for (int j = 0; j < asked_count; j++)
			if (asked[j].answer)
				fail_one(&asked[j], "57014");
	}
	for (int i = 0; i < asked_count; i++)
		questions += asked[i].is_missing;
	ok(questions >= 5 && questions <= 10,
	   "they are not asked for at each event: %d questions in a second", questions);
	hub_close(hub);
}

static void
try_quota(void)
{
	static Subscription *all[MOST_SUBSCRIPTIONS];
	Hub *hub = begin();

	subscribe_many(hub, all, MOST_MISSING + 1);
	open_all(NULL);
	ok(ended_count == 1 && quota.missing == MOST_MISSING && quota.subscriptions == MOST_MISSING,
	   "a key waits for %d topics that are not there", quota.missing);
	is(ended_with, "53400", "and is told so");
	hub_close(hub);
	hub = begin();
	subscribe_many(hub, all, MOST_SUBSCRIPTIONS);
	ok(all[MOST_SUBSCRIPTIONS - 1] && subscribe(hub, "one more") == NULL,
	   "it follows %d topics in all", MOST_SUBSCRIPTIONS);
	for (int i = 0; i < MOST_SUBSCRIPTIONS; i++)
		hub_unsubscribe(all[i]);
	ok(quota.subscriptions == 0 && hub_subscriptions(hub) == 0, "and none when it has left them");
	hub_close(hub);
}

int
main(void)
{
	try_budget();
	try_spread();
	try_flapping();
	try_busy();
	try_missing();
	try_quota();
	return done();
}
