/*
 * Reading what one has written: a read with the header Aurora-LSN waits until the node's own
 * database has come to that position, for lsn_wait at most; then it is the lead's. One statement
 * asks for all that wait.
 */
#include <string.h>

#include "common/clock.h"
#include "gateway/exchange.h"
#include "gateway/gateway.h"

#define ASK_INTERVAL 5 /* ms */

static const Unit position_unit = {
	.side = SIDE_LOCAL,
	.statement = "reached_position",
	/* A lead has all that it has written: what it lacks will never come, and is not waited for. */
	.sql = "SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() "
		   "ELSE 'FFFFFFFF/FFFFFFFF' END",
};

static void
remove_waiter(Gateway *gateway, Request *request)
{
	Request **place = &gateway->lsn_waiters;

	while (*place && *place != request)
		place = &(*place)->inside->next_behind;
	if (*place)
		*place = request->inside->next_behind;
	request->inside->is_behind = false;
}

void
lsn_forget(Request *request)
{
	remove_waiter(request->gateway, request);
}

/*
 * Those that have waited long enough go to the lead, if there is one.
 */
static void
give_up(Request *request)
{
	remove_waiter(request->gateway, request);
	if (pool_is_up(request->gateway->pool, SIDE_LEAD))
	{
		request->inside->unit.side = SIDE_LEAD;
		request_run_now(request);
	}
	else
		request_problem(
			request, 503, NULL, NULL,
			"this node has not yet received what Aurora-LSN asks for, and the lead cannot be "
			"reached",
			"Try again, or without Aurora-LSN for what this node has.");
}

static void
settle(Gateway *gateway)
{
	int64_t now = clock_ms();
	Request *next;

	for (Request *request = gateway->lsn_waiters; request; request = next)
	{
		next = request->inside->next_behind;
		if (pool_has_reached(gateway->pool, request->lsn))
		{
			remove_waiter(gateway, request);
			request_run_now(request);
		}
		else if (request->inside->behind_limit <= now)
			give_up(request);
	}
	if (gateway->lsn_waiters)
		loop_set(&gateway->loop, &gateway->lsn_timer, now + ASK_INTERVAL);
}

static void
told(void *context, const Answer *answer)
{
	Gateway *gateway = context;

	gateway->lsn_is_asked = false;
	if (answer->state == ANSWER_OK && answer->side == SIDE_LOCAL &&
		PQntuples(answer->result) == 1 && !PQgetisnull(answer->result, 0, 0))
		pool_note_reached(gateway->pool, PQgetvalue(answer->result, 0, 0));
	settle(gateway);
}

static void
ask(void *context)
{
	Gateway *gateway = context;

	if (gateway->lsn_is_asked)
	{
		settle(gateway);
		return;
	}
	gateway->lsn_is_asked = true;
	pool_run(gateway->pool, &position_unit, told, gateway);
}

void
lsn_open(Gateway *gateway)
{
	gateway->lsn_timer = (Timer) {.due = ask, .context = gateway};
}

void
lsn_wait(Request *request)
{
	Gateway *gateway = request->gateway;

	request->inside->is_behind = true;
	request->inside->behind_limit = clock_ms() + gateway->config->lsn_wait;
	request->inside->next_behind = gateway->lsn_waiters;
	gateway->lsn_waiters = request;
	loop_set_by(&gateway->loop, &gateway->lsn_timer, clock_ms());
}
