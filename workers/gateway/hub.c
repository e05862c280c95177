/*
 * The hub: which topics have moved, and which subscriptions are to be asked for again.
 */
#include "gateway/hub.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/array.h"
#include "common/clock.h"
#include "gateway/topic.h"

static const char heads_sql[] = "SELECT topic_id, last_seq, epoch FROM aurora.topic_heads($1)";

Hub *
hub_open(Gateway *gateway)
{
	Hub *hub = memory_get(sizeof(Hub));

	hub->gateway = gateway;
	missing_open(hub);
	return hub;
}

/*
 * Whose subscriptions these were may be gone.
 */
static void
close_topic(Topic *topic)
{
	for (Subscription *subscription = topic->first; subscription; subscription = subscription->next)
	{
		subscription->state = SUBSCRIPTION_LEFT;
		subscription->client.quota = NULL;
	}
	(void) topic_tidy(topic);
}

void
hub_close(Hub *hub)
{
	if (hub == NULL)
		return;
	if (hub->ticket)
		pool_cancel(hub->ticket);
	missing_close(hub);
	while (hub->homeless)
	{
		hub->homeless->client.quota = NULL;
		hub_unsubscribe(hub->homeless);
	}
	while (hub->topics)
		close_topic(hub->topics);
	checks_drop(hub);
	while (hub->left)
	{
		pool_cancel(hub->left->ticket);
		topic_free_left(hub->left);
	}
	free(hub->by_id);
	buffer_wipe(&hub->ids);
	free(hub);
}

size_t
hub_subscriptions(const Hub *hub)
{
	return hub->count;
}

/* ---- heads ---- */

/*
 * A head that went back, or is of another epoch, may be another history: each cursor is asked for
 * before anything is given.
 */
static void
doubt(Topic *topic)
{
	for (Subscription *subscription = topic->first; subscription; subscription = subscription->next)
		if (subscription->state == SUBSCRIPTION_OPEN)
		{
			subscription->state = SUBSCRIPTION_OPENING;
			subscription->crosses = false;
			subscription_check_anew(subscription);
		}
}

static void
take_head(Topic *topic, int64_t last_seq, const char *epoch)
{
	bool is_doubtful =
		last_seq < topic->last_seq || (topic->epoch[0] && strcmp(epoch, topic->epoch) != 0);

	topic->last_seq = last_seq;
	snprintf(topic->epoch, EPOCH_SIZE, "%s", epoch);
	if (is_doubtful)
		doubt(topic);
	else
		topic_read(topic);
}

static void
heads_answered(void *context, const Answer *answer)
{
	Hub *hub = context;

	hub->ticket = NULL;
	if (answer->state == ANSWER_OK)
		for (int row = 0; row < PQntuples(answer->result); row++)
		{
			Topic *topic = topic_find(hub, strtoll(PQgetvalue(answer->result, row, 0), NULL, 10));

			if (topic)
				take_head(topic, strtoll(PQgetvalue(answer->result, row, 1), NULL, 10),
						  PQgetvalue(answer->result, row, 2));
		}
	if (hub->is_woken)
		hub_wake(hub);
}

void
hub_wake(Hub *hub)
{
	Unit unit = {.side = SIDE_LOCAL,
				 .statement = "topic_heads",
				 .sql = heads_sql,
				 .count = 1,
				 .values = hub->values};

	missing_wake(hub);
	hub->is_woken = hub->ticket != NULL;
	if (hub->ticket)
		return;
	if (hub->id_count == 0)
		return;
	buffer_clear(&hub->ids);
	for (size_t i = 0; i < hub->id_count; i++)
		array_add_number(&hub->ids, hub->by_id[i]->id);
	hub->values[0] = array_end(&hub->ids);
	hub->ticket = pool_run(hub->gateway->pool, &unit, heads_answered, hub);
}

static void
check_due(Subscription *first, int64_t now)
{
	for (Subscription *subscription = first; subscription; subscription = subscription->next)
		if (subscription->check_at <= now)
			subscription_check(subscription);
}

void
hub_sweep(Hub *hub)
{
	int64_t now = clock_ms();

	check_due(hub->homeless, now);
	for (Topic *topic = hub->topics; topic; topic = topic->next)
		check_due(topic->first, now);
	hub_wake(hub);
}
