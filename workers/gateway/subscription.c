/*
 * A subscription: its right, its cursor, and what it is given.
 */
#include "gateway/topic.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"

#define AGAIN_INTERVAL 1000
#define FIRST_LIMIT 10000 /* ms that the first check may meet a database that is busy */

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
	subscription_forget_check(subscription);
	subscription->hub->count--;
	free(subscription->name);
	free(subscription);
}

static bool
waits_for_topic(const Subscription *subscription)
{
	return subscription->topic && subscription->topic->id == 0;
}

/*
 * What its key has of subscriptions, which may be gone before it is freed.
 */
static void
give_back_quota(Subscription *subscription)
{
	Quota *quota = subscription->client.quota;

	if (quota == NULL)
		return;
	quota->subscriptions--;
	quota->missing -= waits_for_topic(subscription);
	subscription->client.quota = NULL;
}

/*
 * Leaves the list that it is in. Within a topic that is gone over it is freed later.
 */
static void
leave(Subscription *subscription)
{
	Subscription **place = &subscription->hub->homeless;

	subscription->state = SUBSCRIPTION_LEFT;
	subscription_forget_check(subscription);
	give_back_quota(subscription);
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
	subscription->client.quota->missing += (id == 0) - waits_for_topic(subscription);
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
 * Is that error one of the right or of the name, and not of the database's state? The client of a
 * first check can come again, but for one that meets too many others who ask.
 */
static bool
is_final(const Subscription *subscription, const Answer *answer)
{
	if (answer->state == ANSWER_ERROR && strcmp(answer->sqlstate, "53300") == 0)
		return !subscription->is_told && clock_ms() >= subscription->opened_by;
	if (!subscription->is_told)
		return true;
	return answer->state == ANSWER_ERROR &&
		   (strncmp(answer->sqlstate, "28", 2) == 0 || strncmp(answer->sqlstate, "42", 2) == 0 ||
			strncmp(answer->sqlstate, "22", 2) == 0);
}

static void
end(Subscription *subscription, const Answer *answer)
{
	give_back_quota(subscription);
	subscription->events.ended(subscription->context, answer);
	leave(subscription);
}

/*
 * Is this one more topic that is not there than its key may wait for?
 */
static bool
is_one_too_many(const Subscription *subscription, const Answer *answer)
{
	return number_of(answer->result, COLUMN_TOPIC_ID) == 0 && !waits_for_topic(subscription) &&
		   subscription->client.quota->missing >= MOST_MISSING;
}

void
subscription_checked(Subscription *subscription, const Answer *answer)
{
	subscription->check_at = check_time();
	if (answer->state == ANSWER_OK && PQntuples(answer->result) == 1)
	{
		if (is_one_too_many(subscription, answer))
			end(subscription, &(Answer) {.state = ANSWER_ERROR,
										 .sqlstate = "53400",
										 .message = "this key waits for as many topics that are "
													"not there as it may"});
		else
			open_with(subscription, answer);
		return;
	}
	if (is_final(subscription, answer))
		end(subscription, answer);
	else
		subscription->check_at = clock_ms() + AGAIN_INTERVAL;
}

Subscription *
hub_subscribe(Hub *hub, const char *topic, const Cursor *cursor, const HubClient *client,
			  const SubscriptionEvents *events, void *context)
{
	Subscription *subscription;

	if (client->quota->subscriptions >= MOST_SUBSCRIPTIONS)
		return NULL;
	subscription = memory_get(sizeof(Subscription));
	*subscription = (Subscription) {.hub = hub,
									.name = memory_copy(topic),
									.client = *client,
									.events = *events,
									.context = context,
									.cursor = *cursor,
									.check_at = LOOP_NEVER,
									.opened_by = clock_ms() + FIRST_LIMIT,
									.next = hub->homeless};
	hub->homeless = subscription;
	hub->count++;
	client->quota->subscriptions++;
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
