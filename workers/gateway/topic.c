/*
 * A topic of the hub: who follows it, and reading it.
 *
 * A page of events is read for those that are furthest behind among the live ones, and then in turn
 * for those among the others; whoever stands within it takes what follows its cursor.
 */
#include "gateway/topic.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_ROWS 25
#define MOST_ROWS 200
#define PAGE_BYTES (512 * 1024) /* that a page is to have, about */

static const char events_sql[] = "SELECT seq, epoch, to_char(at AT TIME ZONE 'UTC', "
								 "'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), publisher,"
								 " client_id, payload FROM aurora.topic_events($1, $2, $3)";

enum
{
	COLUMN_SEQ,
	COLUMN_EPOCH,
	COLUMN_AT,
	COLUMN_PUBLISHER,
	COLUMN_CLIENT_ID,
	COLUMN_PAYLOAD
};

/* ---- finding ---- */

/*
 * The place of a number among those that have one.
 */
static size_t
place_of(const Hub *hub, int64_t id)
{
	size_t from = 0;
	size_t to = hub->id_count;

	while (from < to)
	{
		size_t middle = (from + to) / 2;

		if (hub->by_id[middle]->id < id)
			from = middle + 1;
		else
			to = middle;
	}
	return from;
}

Topic *
topic_find(const Hub *hub, int64_t id)
{
	size_t place = place_of(hub, id);

	return place < hub->id_count && hub->by_id[place]->id == id ? hub->by_id[place] : NULL;
}

Topic *
topic_find_missing(const Hub *hub, const char *company, const char *name)
{
	for (Topic *topic = hub->topics; topic; topic = topic->next)
		if (topic->id == 0 && strcmp(topic->name, name) == 0 &&
			strcmp(topic->company, company) == 0)
			return topic;
	return NULL;
}

static void
index_topic(Hub *hub, Topic *topic)
{
	size_t place = place_of(hub, topic->id);

	hub->by_id = memory_extend(hub->by_id, hub->id_count, sizeof(Topic *));
	memmove(hub->by_id + place + 1, hub->by_id + place, (hub->id_count - place) * sizeof(Topic *));
	hub->by_id[place] = topic;
	hub->id_count++;
}

Topic *
topic_get(Hub *hub, int64_t id, const char *company, const char *name)
{
	Topic *topic = id > 0 ? topic_find(hub, id) : topic_find_missing(hub, company, name);

	if (topic)
		return topic;
	topic = memory_get(sizeof(Topic));
	*topic = (Topic) {.hub = hub,
					  .id = id,
					  .company = memory_copy(company),
					  .name = memory_copy(name),
					  .rows = FIRST_ROWS,
					  .next = hub->topics};
	snprintf(topic->id_text, ID_SIZE, "%" PRId64, id);
	hub->topics = topic;
	if (id > 0)
		index_topic(hub, topic);
	return topic;
}

void
topic_enter(Topic *topic, Subscription *subscription)
{
	subscription->topic = topic;
	subscription->next = topic->first;
	subscription->is_live = false;
	topic->first = subscription;
}

void
topic_free_left(Topic *topic)
{
	Topic **place = &topic->hub->left;

	while (*place != topic)
		place = &(*place)->next;
	*place = topic->next;
	free(topic->company);
	free(topic->name);
	free(topic);
}

/*
 * While it is read its memory stays: nothing is cancelled for clients that come and go.
 */
void
topic_free(Topic *topic)
{
	Hub *hub = topic->hub;
	Topic **link = &hub->topics;
	size_t place = place_of(hub, topic->id);

	while (*link != topic)
		link = &(*link)->next;
	*link = topic->next;
	if (topic->id > 0)
	{
		memmove(hub->by_id + place, hub->by_id + place + 1,
				(hub->id_count - place - 1) * sizeof(Topic *));
		hub->id_count--;
	}
	topic->is_left = true;
	topic->next = hub->left;
	hub->left = topic;
	if (topic->ticket == NULL)
		topic_free_left(topic);
}

bool
topic_tidy(Topic *topic)
{
	Subscription **place = &topic->first;

	if (topic->is_locked)
		return true;
	while (*place)
	{
		Subscription *subscription = *place;

		if (subscription->state != SUBSCRIPTION_LEFT)
		{
			place = &subscription->next;
			continue;
		}
		*place = subscription->next;
		subscription_free(subscription);
	}
	if (topic->first)
		return true;
	topic_free(topic);
	return false;
}

/* ---- reading ---- */

/*
 * Has its client so much to take yet that it gets nothing that is old?
 */
static bool
is_choked(const Subscription *subscription)
{
	size_t most = (size_t) subscription->hub->gateway->config->stream_queue / 4;

	return subscription->events.queued(subscription->context) > most;
}

/*
 * The number that the next page follows, of the live ones or of the others; -1 when none lacks any.
 */
static int64_t
least_position(const Topic *topic, bool is_live)
{
	int64_t least = -1;

	for (const Subscription *subscription = topic->first; subscription;
		 subscription = subscription->next)
		if (subscription->state == SUBSCRIPTION_OPEN && subscription->is_live == is_live &&
			subscription->cursor.seq < topic->last_seq &&
			(least < 0 || subscription->cursor.seq < least) &&
			(is_live || !is_choked(subscription)))
			least = subscription->cursor.seq;
	return least;
}

/*
 * Who has read everything is live.
 */
static void
find_live(Topic *topic)
{
	for (Subscription *subscription = topic->first; subscription; subscription = subscription->next)
		if (subscription->state == SUBSCRIPTION_OPEN && subscription->cursor.seq >= topic->last_seq)
			subscription->is_live = true;
}

/*
 * The next event of a page for all that stand before it. Who is behind leaves the rest of a page
 * that its client does not take.
 */
static void
give(Topic *topic, Event *event, int64_t after)
{
	for (Subscription *subscription = topic->first; subscription; subscription = subscription->next)
	{
		if (subscription->state != SUBSCRIPTION_OPEN || subscription->skips ||
			subscription->cursor.seq < after || subscription->cursor.seq >= event->seq)
			continue;
		(void) subscription_give(subscription, event);
		subscription->skips = !subscription->is_live && is_choked(subscription);
	}
}

static void
read_row(Event *event, const Topic *topic, const PGresult *result, int row)
{
	*event = (Event) {.row = {.topic = topic->name,
							  .seq = PQgetvalue(result, row, COLUMN_SEQ),
							  .epoch = PQgetvalue(result, row, COLUMN_EPOCH),
							  .at = PQgetvalue(result, row, COLUMN_AT),
							  .publisher = PQgetvalue(result, row, COLUMN_PUBLISHER),
							  .client_id = PQgetisnull(result, row, COLUMN_CLIENT_ID)
											   ? NULL
											   : PQgetvalue(result, row, COLUMN_CLIENT_ID),
							  .payload = PQgetvalue(result, row, COLUMN_PAYLOAD)},
					  .seq = strtoll(PQgetvalue(result, row, COLUMN_SEQ), NULL, 10)};
}

/*
 * Pages have about as many bytes, whatever the size of events.
 */
static void
fit_rows(Topic *topic, int rows, size_t bytes)
{
	size_t mean = rows > 0 ? bytes / (size_t) rows + 1 : 1;
	size_t fitting = PAGE_BYTES / mean;
	size_t most = (size_t) topic->rows * 2;

	if (fitting > most)
		fitting = most;
	topic->rows = fitting < 1 ? 1 : fitting > MOST_ROWS ? MOST_ROWS : (int) fitting;
}

static void
give_page(Topic *topic, const PGresult *result)
{
	int rows = PQntuples(result);
	size_t bytes = 0;

	for (Subscription *subscription = topic->first; subscription; subscription = subscription->next)
		subscription->skips = !subscription->is_live && is_choked(subscription);
	for (int row = 0; row < rows; row++)
	{
		Event event;

		read_row(&event, topic, result, row);
		give(topic, &event, topic->after);
		event_free(&event);
		bytes += (size_t) PQgetlength(result, row, COLUMN_PAYLOAD);
		if (event.seq > topic->last_seq)
			topic->last_seq = event.seq;
	}
	for (Subscription *subscription = topic->first; subscription; subscription = subscription->next)
		if (subscription->state == SUBSCRIPTION_OPEN)
			subscription->events.page(subscription->context);
	fit_rows(topic, rows, bytes);
}

static void
answered(void *context, const Answer *answer)
{
	Topic *topic = context;
	bool is_read = answer->state == ANSWER_OK && PQntuples(answer->result) > 0;

	topic->ticket = NULL;
	if (topic->is_left)
	{
		topic_free_left(topic);
		return;
	}
	topic->is_locked = true;
	if (is_read)
		give_page(topic, answer->result);
	topic->is_locked = false;
	/* When nothing came although there is something, the sweep tries again. */
	if (topic_tidy(topic) && is_read)
		topic_read(topic);
}

void
topic_read(Topic *topic)
{
	Unit unit = {.side = SIDE_LOCAL,
				 .statement = "topic_events",
				 .sql = events_sql,
				 .count = 3,
				 .values = topic->values,
				 .is_background = true};
	int64_t live;
	int64_t back;

	if (topic->ticket || topic->is_locked || topic->id == 0)
		return;
	find_live(topic);
	live = least_position(topic, true);
	back = least_position(topic, false);
	if (live < 0 && back < 0)
		return;
	topic->was_back = live < 0 || (back >= 0 && !topic->was_back);
	topic->after = topic->was_back ? back : live;
	snprintf(topic->after_text, ID_SIZE, "%" PRId64, topic->after);
	snprintf(topic->rows_text, ID_SIZE, "%d", topic->rows);
	topic->values[0] = topic->id_text;
	topic->values[1] = topic->after_text;
	topic->values[2] = topic->rows_text;
	topic->ticket = pool_run(topic->hub->gateway->pool, &unit, answered, topic);
}
