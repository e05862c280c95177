/*
 * Learns at once that there may be something to take: a second connection sleeps in wait_jobs().
 * When it returns and nothing was there for a device of this node, it sleeps no sooner than the
 * next poll, since it would return at once for what others should take.
 */
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "gpu/worker.h"

#define WAIT "CALL aurora.wait_jobs('gpu', interval '20 seconds')"

static void wait_for_jobs(Worker *worker);

static void
rang(void *context, const PGresult *result)
{
	Worker *worker = context;

	worker->is_waiting = false;
	if (result == NULL)
		return;
	if (PQresultStatus(result) == PGRES_COMMAND_OK)
		claim_wake(worker, -1);
	else
	{
		/* Until the first job there is no queue. */
		log_event(LOG_DEBUG, "no bell",
				  TEXT("error", PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY)));
		if (strcmp(PQresultErrorField(result, PG_DIAG_SQLSTATE), "25006") == 0)
			connection_lose(worker->bell, "this is no lead any more");
	}
	loop_set(&worker->loop, &worker->bell_timer, clock_ms() + worker->config->poll_interval);
}

static void
wait_for_jobs(Worker *worker)
{
	if (worker->is_waiting || worker->is_draining || !connection_is_up(worker->bell))
		return;
	loop_unset(&worker->loop, &worker->bell_timer);
	worker->is_waiting = true;
	connection_query(worker->bell, WAIT, 0, NULL, rang, worker);
}

static void
bell_due(void *context)
{
	wait_for_jobs(context);
}

static void
bell_up(void *context)
{
	wait_for_jobs(context);
}

/* The connection that matters says why. */
static void
bell_down(void *context, const char *reason)
{
	(void) context;
	log_event(LOG_DEBUG, "no bell", TEXT("reason", reason));
}

bool
bell_open(Worker *worker)
{
	static const ConnectionEvents events = {bell_up, bell_down, NULL};
	char *problem;

	worker->bell_timer = (Timer) {.due = bell_due, .context = worker};
	worker->bell = connection_open(&worker->loop, worker->config->conninfo,
								   "aurora-gpu-worker bell", NULL, &events, worker, &problem);
	free(problem);
	return worker->bell != NULL;
}

void
bell_close(Worker *worker)
{
	loop_unset(&worker->loop, &worker->bell_timer);
	connection_close(worker->bell);
	worker->bell = NULL;
	worker->is_waiting = false;
}

void
bell_wake(Worker *worker)
{
	wait_for_jobs(worker);
}
