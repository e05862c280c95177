/*
 * Jobs that are there for nobody any more.
 */
#include "gateway/abandon.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "gateway/route.h"

#define AGAIN_INTERVAL 2000
#define LONGEST 120000 /* ms that the lead may be away */

struct Abandoned
{
	Streams *streams;
	Credential credential;
	char *route;
	char id[24];
	const char *values[1];
	Ticket *ticket;
	int64_t again_at;
	int64_t until;
	Abandoned *next;
};

static void
free_abandoned(Abandoned *abandoned)
{
	Abandoned **place = &abandoned->streams->abandoned;

	while (*place != abandoned)
		place = &(*place)->next;
	*place = abandoned->next;
	credential_drop(&abandoned->credential);
	free(abandoned->route);
	free(abandoned);
}

/*
 * Cancelling twice is as good as once, so that it may be tried again in any case but one in which
 * the database has an opinion.
 */
static bool
is_tried_again(const Abandoned *abandoned, const Answer *answer)
{
	if (answer->state == ANSWER_ERROR && strncmp(answer->sqlstate, "25006", 5) != 0 &&
		strncmp(answer->sqlstate, "53", 2) != 0 && strncmp(answer->sqlstate, "57", 2) != 0 &&
		strncmp(answer->sqlstate, "08", 2) != 0 && strncmp(answer->sqlstate, "40", 2) != 0)
		return false;
	return clock_ms() < abandoned->until;
}

static void
cancelled(void *context, const Answer *answer)
{
	Abandoned *abandoned = context;

	abandoned->ticket = NULL;
	if (answer->state == ANSWER_OK)
		log_event(LOG_INFO, "job cancelled, since its client has gone", TEXT("job", abandoned->id));
	else if (is_tried_again(abandoned, answer))
	{
		abandoned->again_at = clock_ms() + AGAIN_INTERVAL;
		return;
	}
	else
		log_event(LOG_WARNING, "job not cancelled, though its client has gone",
				  TEXT("job", abandoned->id), TEXT("error", answer->message));
	free_abandoned(abandoned);
}

static void
ask(Abandoned *abandoned)
{
	Unit unit = {.side = SIDE_LEAD,
				 .statement = "cancel_job_of_stream",
				 .sql = "SELECT aurora.cancel_job($1, 'its client has gone')",
				 .count = 1,
				 .values = abandoned->values,
				 .credential = &abandoned->credential,
				 .route = abandoned->route,
				 .roles = ROLE_ANY,
				 .is_write = true};

	abandoned->values[0] = abandoned->id;
	abandoned->ticket = pool_run(abandoned->streams->gateway->pool, &unit, cancelled, abandoned);
}

void
abandon_job(Streams *streams, const Credential *credential, const char *route, int64_t job_id)
{
	Abandoned *abandoned = memory_get(sizeof(Abandoned));

	*abandoned = (Abandoned) {.streams = streams,
							  .route = memory_copy(route),
							  .until = clock_ms() + LONGEST,
							  .next = streams->abandoned};
	streams->abandoned = abandoned;
	credential_keep(&abandoned->credential, credential);
	snprintf(abandoned->id, sizeof(abandoned->id), "%" PRId64, job_id);
	ask(abandoned);
}

void
abandon_sweep(Streams *streams)
{
	int64_t now = clock_ms();

	for (Abandoned *abandoned = streams->abandoned; abandoned; abandoned = abandoned->next)
		if (abandoned->ticket == NULL && abandoned->again_at <= now)
			ask(abandoned);
}

void
abandon_close(Streams *streams)
{
	while (streams->abandoned)
	{
		if (streams->abandoned->ticket)
			pool_cancel(streams->abandoned->ticket);
		free_abandoned(streams->abandoned);
	}
}
