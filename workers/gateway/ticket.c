/*
 * What becomes of a unit that was sent: an answer, or another try.
 */
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "gateway/pool_inside.h"

#define MOST_TRIES 4

/* ---- tickets ---- */

void
ticket_clear(Ticket *ticket)
{
	PQclear(ticket->identity);
	PQclear(ticket->result);
	PQclear(ticket->error);
	ticket->identity = ticket->result = ticket->error = NULL;
	ticket->is_refused = ticket->is_cancelled = false;
	ticket->unprepared = NULL;
	ticket->is_outdated = false;
	ticket->lsn[0] = '\0';
}

void
ticket_free(Ticket *ticket)
{
	ticket_clear(ticket);
	free(ticket);
}

void
ticket_answer(Ticket *ticket, Answer *what)
{
	if (!ticket->is_dropped)
	{
		what->side = ticket->side;
		what->spent = ticket->sent_at > 0 ? clock_us() - ticket->sent_at : 0;
		ticket->answer(ticket->context, what);
	}
	ticket_free(ticket);
}

void
ticket_answer_error(Ticket *ticket, const char *sqlstate, const char *message, const char *hint)
{
	ticket_answer(
		ticket,
		&(Answer) {.state = ANSWER_ERROR, .sqlstate = sqlstate, .message = message, .hint = hint});
}

/* ---- answers ---- */

static bool
is_state(const char *state, const char *wanted)
{
	return state && strncmp(state, wanted, strlen(wanted)) == 0;
}

/*
 * Was it cancelled by a cancel that was meant for another? Its own time-out has the same SQLSTATE.
 */
static bool
is_stray(const Ticket *ticket)
{
	return ticket->is_exposed && ticket->ran < (int64_t) ticket->unit.timeout * 950;
}

/*
 * What failed in a way that another try may not.
 */
static bool
is_tried_again(Ticket *ticket, const char *state)
{
	Pool *pool = ticket->pool;

	if (ticket->tries >= MOST_TRIES)
		return false;
	if (ticket->is_outdated)
		return pool_renew(pool, ticket->sent_at);
	if (is_state(state, "40001") || is_state(state, "40P01"))
		return true;
	if (is_state(state, "57014"))
		return is_stray(ticket);
	if (!is_state(state, "25006") || ticket->side == SIDE_WAKE)
		return false;
	ticket->side = SIDE_LEAD; /* or another one of those that may be it */
	return true;
}

static void
answer_result(Ticket *ticket)
{
	ticket_answer(ticket, &(Answer) {.state = ANSWER_OK,
									 .result = ticket->result,
									 .identity = ticket->identity,
									 .lsn = ticket->lsn[0] ? ticket->lsn : NULL});
}

void
pool_answered(Pool *pool, Ticket *ticket)
{
	Half *half = &pool->halves[ticket->side];
	const char *state = ticket->unprepared ? ticket->unprepared->sqlstate
						: ticket->error	   ? PQresultErrorField(ticket->error, PG_DIAG_SQLSTATE)
										   : NULL;

	if (half->queues[UNIT_ASKED].first || half->queues[UNIT_BACKGROUND].first)
		loop_set(pool->loop, &pool->turn, 0);
	if (ticket->is_dropped)
		ticket_free(ticket);
	else if (ticket->error == NULL && ticket->result)
		answer_result(ticket);
	else if (is_tried_again(ticket, state))
		pool_try_again(ticket);
	else if (ticket->unprepared)
		ticket_answer(ticket, &(Answer) {.state = ANSWER_ERROR,
										 .sqlstate = ticket->unprepared->sqlstate,
										 .message = ticket->unprepared->message});
	else if (ticket->is_refused && is_state(state, "22P02"))
		ticket_answer(ticket, &(Answer) {.state = ANSWER_ERROR,
										 .sqlstate = "42501",
										 .message = "keys of this role may not do this",
										 .is_refused = true});
	else
		ticket_answer(
			ticket,
			&(Answer) {.state = ANSWER_ERROR,
					   .identity = ticket->identity,
					   .sqlstate = state ? state : "XX000",
					   .message = PQresultErrorField(ticket->error, PG_DIAG_MESSAGE_PRIMARY),
					   .detail = PQresultErrorField(ticket->error, PG_DIAG_MESSAGE_DETAIL),
					   .hint = PQresultErrorField(ticket->error, PG_DIAG_MESSAGE_HINT),
					   .is_refused = ticket->is_refused});
}

/*
 * Is it certain that a unit was not done, whose connection was lost before its transaction's end
 * was told? All of it was sent at once, and what has not been heard may have been said: the server
 * may be further than its answers, which come in order. So, with what was heard last:
 *
 * - nothing, PREPARE, or the row of assume_key(): the server may since have run the statement, come
 *   to the Sync and committed. Not certain.
 * - an error of the server within the unit, with the statement not complete: the transaction was
 *   aborted, and its Sync could only roll it back. Certain.
 * - the statement's result: the Sync commits it, which may have been done. Not certain, even with
 * an error behind: a server that is told to go, or crashes, may do so behind its commit. An error
 * of the commit itself (a deferred constraint, 40001) ends with the Sync's answer, and is no loss.
 * - FATAL or PANIC, at whichever place: the server took up nothing behind it. So whatever had no
 *   result then, this unit's statement or a later unit, was not done. Certain.
 *
 * Results that libpq makes of a lost connection are none of these: see is_of_libpq(). Behind the
 * Sync only the position is missing, and the unit is answered with what is known.
 */
static bool
is_undone(const Ticket *ticket, bool is_over)
{
	return ticket->result == NULL && (ticket->error || is_over);
}

void
pool_lost(Pool *pool, Ticket *ticket, bool is_over)
{
	if (ticket->is_settled)
	{
		pool_answered(pool, ticket);
		return;
	}
	ticket->is_lost = ticket->unit.is_write && !is_undone(ticket, is_over);
	if (ticket->is_dropped)
		ticket_free(ticket);
	else if (ticket->is_lost || ticket->tries >= MOST_TRIES)
		pool_fail(ticket);
	else
		pool_try_again(ticket);
}
