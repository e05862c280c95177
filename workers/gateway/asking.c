/*
 * Asking for the rights of subscriptions: so many at once, the others in the order in which they
 * came, so that the database has time for other questions however many subscriptions there are.
 */
#include "gateway/topic.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "gateway/streams.h"

static const char open_sql[] = "SELECT topic_id, state, resume_after, last_seq, epoch FROM "
							   "aurora.open_stream($1, $2, $3, NULL)";

int64_t
check_time(void)
{
	return clock_ms() + CHECK_INTERVAL - random() % CHECK_SPREAD;
}

/* ---- the queue ---- */

static void
enqueue(Subscription *subscription)
{
	Hub *hub = subscription->hub;

	subscription->is_queued = true;
	subscription->queued_before = hub->queue_last;
	subscription->queued_behind = NULL;
	if (hub->queue_last)
		hub->queue_last->queued_behind = subscription;
	else
		hub->queue_first = subscription;
	hub->queue_last = subscription;
}

static void
dequeue(Subscription *subscription)
{
	Hub *hub = subscription->hub;

	if (!subscription->is_queued)
		return;
	subscription->is_queued = false;
	if (subscription->queued_before)
		subscription->queued_before->queued_behind = subscription->queued_behind;
	else
		hub->queue_first = subscription->queued_behind;
	if (subscription->queued_behind)
		subscription->queued_behind->queued_before = subscription->queued_before;
	else
		hub->queue_last = subscription->queued_before;
}

/* ---- checks ---- */

static void
free_check(Check *check)
{
	Check **place = &check->hub->checks;

	while (*place != check)
		place = &(*place)->next;
	*place = check->next;
	check->hub->check_count--;
	credential_drop(&check->credential);
	free(check->route);
	free(check->name);
	free(check);
}

static void ask_next(Hub *hub);

static void
answered(void *context, const Answer *answer)
{
	Check *check = context;
	Hub *hub = check->hub;
	Subscription *subscription = check->subscription;

	free_check(check);
	if (subscription)
	{
		subscription->check = NULL;
		subscription_checked(subscription, answer);
	}
	ask_next(hub);
}

static void
ask(Subscription *subscription)
{
	Hub *hub = subscription->hub;
	Check *check = memory_get(sizeof(Check));
	Unit unit = {.side = SIDE_LOCAL,
				 .statement = "open_stream",
				 .sql = open_sql,
				 .count = 3,
				 .values = check->values,
				 .credential = &check->credential,
				 .roles = ROLE_ANY};

	subscription->asked = subscription->cursor;
	subscription->check = check;
	*check = (Check) {.hub = hub,
					  .subscription = subscription,
					  .route = memory_copy(subscription->client.route),
					  .name = memory_copy(subscription->name),
					  .next = hub->checks};
	hub->checks = check;
	hub->check_count++;
	credential_keep(&check->credential, subscription->client.credential);
	snprintf(check->seq_text, ID_SIZE, "%" PRId64,
			 subscription->asked.seq == FROM_NOW ? 0 : subscription->asked.seq);
	memcpy(check->epoch, subscription->asked.epoch, EPOCH_SIZE);
	check->values[0] = check->name;
	check->values[1] = check->seq_text;
	check->values[2] = check->epoch[0] ? check->epoch : NULL;
	unit.route = check->route;
	check->ticket = pool_run(hub->gateway->pool, &unit, answered, check);
}

static void
ask_next(Hub *hub)
{
	while (hub->queue_first && hub->check_count < CHECKS_AT_ONCE)
	{
		Subscription *subscription = hub->queue_first;

		dequeue(subscription);
		ask(subscription);
	}
}

void
subscription_check(Subscription *subscription)
{
	if (subscription->check || subscription->is_queued || subscription->state == SUBSCRIPTION_LEFT)
		return;
	enqueue(subscription);
	ask_next(subscription->hub);
}

void
subscription_forget_check(Subscription *subscription)
{
	dequeue(subscription);
	if (subscription->check)
		subscription->check->subscription = NULL;
	subscription->check = NULL;
}

void
subscription_check_anew(Subscription *subscription)
{
	subscription_forget_check(subscription);
	subscription_check(subscription);
}

void
checks_drop(Hub *hub)
{
	while (hub->checks)
	{
		Check *check = hub->checks;

		if (check->subscription)
			check->subscription->check = NULL;
		pool_cancel(check->ticket);
		free_check(check);
	}
}
