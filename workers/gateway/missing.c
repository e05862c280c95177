/*
 * Topics that are followed and not there yet: one question for all of them, now and then. Those
 * that are there by now are opened by one of those who wait for each.
 */
#include "gateway/topic.h"

#include <stdlib.h>
#include <string.h>

#include "common/array.h"
#include "common/clock.h"

static const char there_sql[] = "SELECT company, topic FROM aurora.topics_there($1, $2)";

/*
 * The more there are, the less often they are asked for.
 */
static int64_t
pause_after(int asked)
{
	return MISSING_INTERVAL + asked / 10;
}

static void
answered(void *context, const Answer *answer)
{
	Hub *hub = context;

	hub->missing_ticket = NULL;
	if (hub->missing_is_woken)
		missing_wake(hub);
	hub->missing_is_woken = false;
	if (answer->state != ANSWER_OK)
		return;
	for (int row = 0; row < PQntuples(answer->result); row++)
	{
		Topic *topic = topic_find_missing(hub, PQgetvalue(answer->result, row, 0),
										  PQgetvalue(answer->result, row, 1));

		if (topic && topic->first)
			subscription_check(topic->first);
	}
}

/*
 * Lists them; what is beyond the limit is found by its own checks.
 */
static int
list_missing(Hub *hub)
{
	int count = 0;

	buffer_clear(&hub->missing_companies);
	buffer_clear(&hub->missing_names);
	for (Topic *topic = hub->topics; topic && count < MISSING_AT_ONCE; topic = topic->next)
	{
		if (topic->id > 0 || topic->first == NULL)
			continue;
		array_add_text(&hub->missing_companies, topic->company, strlen(topic->company));
		array_add_text(&hub->missing_names, topic->name, strlen(topic->name));
		count++;
	}
	return count;
}

static void
ask(void *context)
{
	Hub *hub = context;
	Unit unit = {.side = SIDE_LOCAL,
				 .statement = "topics_there",
				 .sql = there_sql,
				 .count = 2,
				 .values = hub->missing_values,
				 .is_background = true};
	int count;

	hub->missing_is_woken = hub->missing_ticket != NULL;
	if (hub->missing_ticket)
		return;
	count = list_missing(hub);
	hub->missing_from = clock_ms() + pause_after(count);
	if (count == 0)
		return;
	hub->missing_values[0] = array_end(&hub->missing_companies);
	hub->missing_values[1] = array_end(&hub->missing_names);
	hub->missing_ticket = pool_run(hub->gateway->pool, &unit, answered, hub);
}

void
missing_wake(Hub *hub)
{
	if (!hub->missing.is_listed)
		loop_set(&hub->gateway->loop, &hub->missing, hub->missing_from);
}

void
missing_open(Hub *hub)
{
	hub->missing = (Timer) {.due = ask, .context = hub};
}

void
missing_close(Hub *hub)
{
	if (hub->missing_ticket)
		pool_cancel(hub->missing_ticket);
	loop_unset(&hub->gateway->loop, &hub->missing);
	buffer_wipe(&hub->missing_companies);
	buffer_wipe(&hub->missing_names);
}
