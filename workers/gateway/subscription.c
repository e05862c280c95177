/*
 * A subscription: its right, its cursor, and what it is given.
 */
#include "gateway/topic.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"

#define CHECK_INTERVAL 10000 /* ms */
#define AGAIN_INTERVAL 1000

static const char open_sql[] = "SELECT topic_id, state, resume_after, last_seq, epoch FROM "
							   "aurora.open_stream($1, $2, $3, NULL)";

enum
{
	COLUMN_TOPIC_ID,
	COLUMN_STATE,
	COLUMN_RESUME_AFTER,
	COLUMN_LAST_SEQ,
	COLUMN_EPOCH
};

void
subscription_free(Subscription *subscription)
{
	if (subscription->ticket)
		pool_cancel(subscription->ticket);
	subscription->hub->count--;
	free(subscription->name);
	free(subscription);
}

/*
 * Leaves the list that it is in. Within a topic that is gone over it is freed later.
 */
static void
leave(Subscription *subscription)
{
	Subscription **place = &subscription->hub->homeless;

	subscription->state = SUBSCRIPTION_LEFT;
	if (subscription->ticket)
		pool_cancel(subscription->ticket);
	subscription->ticket = NULL;
	if (subscription->topic)
	{
		(void) topic_tidy(subscription->topic);
		return;
	}
	while (*place != subscription)
		place = &(*place)->next;
	*place = subscription->next;
	subscription_free(subscription);
}

void
hub_unsubscribe(Subscription *subscription)
{
	leave(subscription);
}

static int64_t
number_of(const PGresult *result, int column)
{
	return PQgetisnull(result, 0, column) ? 0 : strtoll(PQgetvalue(result, 0, column), NULL, 10);
}

/* ---- opening ---- */

static void
tell_opened(Subscription *subscription, const char *state, int64_t last_seq, const Answer *answer)
{
	Opening opening = {.state = state,
					   .cursor = subscription->cursor,
					   .last_seq = last_seq,
					   .identity = subscription->is_told || !answer ? NULL : answer->identity};

	subscription->is_told = true;
	subscription->events.opened(subscription->context, &opening);
}

/*
 * The epoch that it goes on after.
 */
static void
take_epoch(Cursor *cursor, const Answer *answer)
{
	snprintf(cursor->epoch, EPOCH_SIZE, "%s", PQgetvalue(answer->result, 0, COLUMN_EPOCH));
}

/*
 * The cursor of who begins now is the last event's. Its epoch has to be asked for when nobody else
 * follows the topic; true then.
 */
static bool
begin_now(Subscription *subscription, int64_t last_seq)
{
	const Topic *topic = subscription->topic;

	subscription->cursor.seq = last_seq;
	if (topic->last_seq == last_seq)
		memcpy(subscription->cursor.epoch, topic->epoch, EPOCH_SIZE);
	if (last_seq == 0 || subscription->cursor.epoch[0])
		return false;
	subscription_check(subscription);
	return true;
}

/*
 * What it has read last is of the history that this node has.
 */
static void
go_on(Subscription *subscription, const Answer *answer)
{
	bool is_news = !subscription->is_told || subscription->state == SUBSCRIPTION_WAITING;
	int64_t last_seq = number_of(answer->result, COLUMN_LAST_SEQ);

	if (subscription->cursor.seq == FROM_NOW && begin_now(subscription, last_seq))
		return;
	if (subscription->cursor.epoch[0] == '\0' &&
		subscription->cursor.seq == subscription->asked.seq)
		take_epoch(&subscription->cursor, answer);
	subscription->crosses = true;
	subscription->state = SUBSCRIPTION_OPEN;
	if (is_news)
		tell_opened(subscription, "continues", last_seq, answer);
}

/*
 * It goes on elsewhere. What it was given while that was asked for is of the same kind.
 */
static void
go_elsewhere(Subscription *subscription, const char *state, const Answer *answer)
{
	int64_t resume_after = number_of(answer->result, COLUMN_RESUME_AFTER);

	subscription->state = SUBSCRIPTION_OPEN;
	if (strcmp(state, "trimmed") == 0 && subscription->cursor.seq >= resume_after)
		return;
	subscription->cursor = (Cursor) {.seq = resume_after};
	take_epoch(&subscription->cursor, answer);
	subscription->is_live = false;
	tell_opened(subscription, state, number_of(answer->result, COLUMN_LAST_SEQ), answer);
}

static void
wait_for_node(Subscription *subscription, const Answer *answer)
{
	bool is_news = subscription->state != SUBSCRIPTION_WAITING;

	subscription->state = SUBSCRIPTION_WAITING;
	subscription->check_at = clock_ms() + AGAIN_INTERVAL;
	if (is_news)
		tell_opened(subscription, "ahead", number_of(answer->result, COLUMN_LAST_SEQ), answer);
}

static const char *
company_of(const Answer *answer)
{
	int column = answer->identity ? PQfnumber(answer->identity, "company") : -1;

	return column < 0 || PQntuples(answer->identity) == 0 ? ""
														  : PQgetvalue(answer->identity, 0, column);
}

/*
 * Finds its topic, which may be another one than before: one that was made, or made anew.
 */
static void
find_topic(Subscription *subscription, const Answer *answer)
{
	bool is_mesh = strncmp(subscription->name, "mesh/", 5) == 0;
	int64_t id = number_of(answer->result, COLUMN_TOPIC_ID);
	Topic *before = subscription->topic;
	Topic *topic =
		topic_get(subscription->hub, id, is_mesh ? "" : company_of(answer), subscription->name);
	Subscription **place = before ? &before->first : &subscription->hub->homeless;

	if (topic == before)
		return;
	while (*place != subscription)
		place = &(*place)->next;
	*place = subscription->next;
	topic_enter(topic, subscription);
	if (before == NULL)
		return;
	/* What one who waited for the topic has found is there for the others, too. */
	for (Subscription *other = before->id == 0 ? before->first : NULL; other; other = other->next)
		subscription_check(other);
	(void) topic_tidy(before);
}

static void
open_with(Subscription *subscription, const Answer *answer)
{
	const char *state = PQgetvalue(answer->result, 0, COLUMN_STATE);
	Hub *hub;
	Topic *topic;

	find_topic(subscription, answer);
	hub = subscription->hub;
	topic = subscription->topic;
	topic->is_locked = true;
	if (strcmp(state, "ahead") == 0)
		wait_for_node(subscription, answer);
	else if (strcmp(state, "lost") == 0 || strcmp(state, "trimmed") == 0)
		go_elsewhere(subscription, state, answer);
	else
		go_on(subscription, answer);
	topic->is_locked = false;
	/* What the head's epoch is only topic_heads() tells. */
	if (topic->last_seq < number_of(answer->result, COLUMN_LAST_SEQ))
	{
		if (topic->epoch[0] == '\0')
			topic->last_seq = number_of(answer->result, COLUMN_LAST_SEQ);
		hub_wake(hub);
	}
	if (topic_tidy(topic))
		topic_read(topic);
}

/*
 * Is that error one of the right or of the name, and not of the database's state?
 */
static bool
is_final(const Subscription *subscription, const Answer *answer)
{
	if (!subscription->is_told)
		return true;
	return answer->state == ANSWER_ERROR &&
		   (strncmp(answer->sqlstate, "28", 2) == 0 || strncmp(answer->sqlstate, "42", 2) == 0 ||
			strncmp(answer->sqlstate, "22", 2) == 0);
}

static void
checked(void *context, const Answer *answer)
{
	Subscription *subscription = context;

	subscription->ticket = NULL;
	subscription->check_at = clock_ms() + CHECK_INTERVAL;
	if (answer->state == ANSWER_OK && PQntuples(answer->result) == 1)
	{
		open_with(subscription, answer);
		return;
	}
	if (is_final(subscription, answer))
	{
		subscription->events.ended(subscription->context, answer);
		leave(subscription);
	}
	else
		subscription->check_at = clock_ms() + AGAIN_INTERVAL;
}

void
subscription_check(Subscription *subscription)
{
	Unit unit = {.side = SIDE_LOCAL,
				 .statement = "open_stream",
				 .sql = open_sql,
				 .count = 3,
				 .values = subscription->values,
				 .credential = subscription->credential,
				 .route = subscription->route,
				 .roles = ROLE_ANY};

	if (subscription->ticket || subscription->state == SUBSCRIPTION_LEFT)
		return;
	subscription->asked = subscription->cursor;
	snprintf(subscription->seq_text, ID_SIZE, "%" PRId64,
			 subscription->asked.seq == FROM_NOW ? 0 : subscription->asked.seq);
	subscription->values[0] = subscription->name;
	subscription->values[1] = subscription->seq_text;
	subscription->values[2] = subscription->asked.epoch[0] ? subscription->asked.epoch : NULL;
	subscription->ticket = pool_run(subscription->hub->gateway->pool, &unit, checked, subscription);
}

void
subscription_check_anew(Subscription *subscription)
{
	if (subscription->ticket)
		pool_cancel(subscription->ticket);
	subscription->ticket = NULL;
	subscription_check(subscription);
}

Subscription *
hub_subscribe(Hub *hub, const char *topic, const Cursor *cursor, const Credential *credential,
			  const char *route, const SubscriptionEvents *events, void *context)
{
	Subscription *subscription = memory_get(sizeof(Subscription));

	*subscription = (Subscription) {.hub = hub,
									.name = memory_copy(topic),
									.credential = credential,
									.route = route,
									.events = *events,
									.context = context,
									.cursor = *cursor,
									.next = hub->homeless};
	hub->homeless = subscription;
	hub->count++;
	subscription_check(subscription);
	return subscription;
}

void
hub_drained(Subscription *subscription)
{
	if (subscription->topic)
		topic_read(subscription->topic);
}

const char *
hub_topic(const Subscription *subscription)
{
	return subscription->name;
}

/* ---- events ---- */

/*
 * Events between were removed before it could read them.
 */
static void
miss(Subscription *subscription, const Event *event)
{
	subscription->cursor = (Cursor) {.seq = event->seq - 1};
	tell_opened(subscription, "trimmed", subscription->topic->last_seq, NULL);
}

/*
 * The event of another epoch may follow its cursor, or be another history than the cursor's: a lead
 * that was lost may have had events of the same numbers. So that is asked for.
 */
static bool
epoch_follows(Subscription *subscription, const char *epoch)
{
	if (strcmp(subscription->cursor.epoch, epoch) == 0)
		return true;
	if (subscription->cursor.epoch[0] && !subscription->crosses)
	{
		subscription->state = SUBSCRIPTION_OPENING;
		subscription_check(subscription);
		return false;
	}
	snprintf(subscription->cursor.epoch, EPOCH_SIZE, "%s", epoch);
	return true;
}

bool
subscription_give(Subscription *subscription, Event *event)
{
	if (event->seq > subscription->cursor.seq + 1 && subscription->cursor.seq > 0)
		miss(subscription, event);
	if (subscription->state != SUBSCRIPTION_OPEN || !epoch_follows(subscription, event->row.epoch))
		return false;
	subscription->crosses = false;
	subscription->cursor.seq = event->seq;
	subscription->events.event(subscription->context, event);
	return subscription->state == SUBSCRIPTION_OPEN;
}
