/*
 * Connections to the node's own database and to the lead.
 */
#include "gateway/pool_inside.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/memory.h"
#include "gateway/token.h"

#define LONGEST_WAIT 2000	 /* ms for a link, while one may come soon */
#define LONGEST_QUEUE 8000	 /* ms more, while all are busy */
#define GRACE 3000			 /* ms over its time-out until a unit is given up with its connection */
#define SWEEP_INTERVAL 100	 /* ms; each side cancels one unit each time */
#define CANCEL_AFTER 100000	 /* us that it has run */
#define CANCEL_AGAIN 1000000 /* us */
#define RENEW_INTERVAL 1000000 /* us in which statements are prepared anew so often at most */
#define MOST_RENEWALS 4

/* Units on one link, and waiting for one, by kind. */
static const int depths[UNIT_KINDS] = {64, 16};
static const int most_waiting[UNIT_KINDS] = {8192, 1024};

static const char *const side_names[SIDES] = {"local", "lead", "wake"};

/* ---- the queue ---- */

static bool
is_up(const Half *half)
{
	return half->state.connections > 0;
}

static UnitKind
kind_of(const Ticket *ticket)
{
	return ticket->unit.is_background ? UNIT_BACKGROUND : UNIT_ASKED;
}

static bool
is_full(const Link *link, UnitKind kind)
{
	int count = kind == UNIT_BACKGROUND ? link->background : link->under_way - link->background;

	return count >= depths[kind];
}

/*
 * Slow units take no more than the links that leave one for the others.
 */
static Link *
choose_link(Half *half, UnitKind kind, bool is_slow)
{
	int64_t now = clock_us();
	Link *best = NULL;
	int best_load = 0;
	int slow = 0;

	for (int i = 0; i < half->link_count; i++)
	{
		Link *link = &half->links[i];
		int load = link_load(link, now);

		slow += link->state == LINK_UP && link->slow > 0;
		if (link->state != LINK_UP || is_full(link, kind) || (is_slow && link->slow > 0))
			continue;
		if (best == NULL || load < best_load)
		{
			best = link;
			best_load = load;
		}
	}
	if (is_slow && half->state.connections > 1 && slow >= half->state.connections - 1)
		return NULL;
	return best;
}

static void
append(Queue *queue, Ticket *ticket)
{
	ticket->next = NULL;
	if (queue->last)
		queue->last->next = ticket;
	else
		queue->first = ticket;
	queue->last = ticket;
	queue->count++;
}

void
pool_fail(Ticket *ticket)
{
	ticket->next = ticket->pool->failed;
	ticket->pool->failed = ticket;
	loop_set(ticket->pool->loop, &ticket->pool->turn, 0);
}

/*
 * A unit that finds no link waits for one, unless there is none to be had. Reads of a node whose
 * own database is down are the lead's.
 */
void
pool_dispatch(Ticket *ticket)
{
	Pool *pool = ticket->pool;
	Half *half = &pool->halves[ticket->side];
	UnitKind kind = kind_of(ticket);
	Queue *queue;
	Link *link = NULL;

	if (ticket->side == SIDE_LOCAL && half->is_down && is_up(&pool->halves[SIDE_LEAD]))
	{
		ticket->side = SIDE_LEAD;
		half = &pool->halves[SIDE_LEAD];
	}
	queue = &half->queues[kind];
	if (queue->first == NULL || !ticket->unit.is_slow)
		link = choose_link(half, kind, ticket->unit.is_slow);
	if (link)
	{
		half->state.units++;
		link_send(link, ticket);
		return;
	}
	if (!is_up(half) && (half->is_down || ticket->limit <= clock_ms()))
	{
		pool_fail(ticket);
		return;
	}
	if (queue->count >= most_waiting[kind] || ticket->limit + LONGEST_QUEUE <= clock_ms())
	{
		ticket->limit = 0;
		pool_fail(ticket);
		return;
	}
	append(queue, ticket);
}

/*
 * Lets those that wait try again, in their order; those that find nothing wait on. Unless "all" are
 * asked for, to find those that have waited too long, it ends when all links are full.
 */
static void
dispatch_queue(Half *half, UnitKind kind, bool all)
{
	Queue *queue = &half->queues[kind];
	Queue left = *queue;

	*queue = (Queue) {0};
	while (left.first && (all || !is_up(half) || choose_link(half, kind, false)))
	{
		Ticket *ticket = left.first;

		left.first = ticket->next;
		left.count--;
		ticket->next = NULL;
		if (ticket->is_dropped)
			ticket_free(ticket);
		else
			pool_dispatch(ticket);
	}
	if (left.first == NULL)
		return;
	if (queue->last)
		queue->last->next = left.first;
	else
		queue->first = left.first;
	queue->last = left.last;
	queue->count += left.count;
}

static void
dispatch_waiting(Half *half, bool all)
{
	for (int kind = 0; kind < UNIT_KINDS; kind++)
		dispatch_queue(half, (UnitKind) kind, all);
}

void
pool_try_again(Ticket *ticket)
{
	ticket_clear(ticket);
	if (ticket->is_dropped)
	{
		ticket_free(ticket);
		return;
	}
	ticket->tries++;
	ticket->pool->halves[ticket->side].state.retries++;
	ticket->limit = clock_ms() + LONGEST_WAIT;
	pool_dispatch(ticket);
}

Ticket *
pool_run(Pool *pool, const Unit *unit, UnitAnswer answer, void *context)
{
	Ticket *ticket = memory_get(sizeof(Ticket));

	ticket->pool = pool;
	ticket->unit = *unit;
	ticket->credential = unit->credential ? unit->credential->kind : CREDENTIAL_NONE;
	ticket->answer = answer;
	ticket->context = context;
	ticket->side = unit->is_write && unit->side == SIDE_LOCAL ? SIDE_LEAD : unit->side;
	ticket->limit = clock_ms() + LONGEST_WAIT;
	if (ticket->unit.timeout == 0)
		ticket->unit.timeout = pool->timeout;
	pool_dispatch(ticket);
	return ticket;
}

void
pool_cancel(Ticket *ticket)
{
	ticket->is_dropped = true;
}

/* ---- links ---- */

void
pool_linked(Pool *pool, Side side)
{
	Half *half = &pool->halves[side];

	half->state.connections++;
	if (half->is_down || !half->was_logged)
		log_event(LOG_INFO, "database connected", TEXT("side", side_names[side]));
	half->is_down = false;
	half->was_logged = true;
	if (side == SIDE_LOCAL)
		pool->reached = 0; /* it may be another server than before */
	loop_set(pool->loop, &pool->turn, 0);
}

void
pool_unlinked(Pool *pool, Link *link, bool was_up, bool was_last_host, const char *reason)
{
	Half *half = &pool->halves[link->side];

	snprintf(half->reason, sizeof(half->reason), "%s", reason);
	if (was_up)
	{
		half->state.connections--;
		half->state.losses++;
		log_event(LOG_WARNING, "database connection lost", TEXT("side", side_names[link->side]),
				  TEXT("reason", reason));
	}
	if (is_up(half) || !was_last_host)
		return;
	if (!half->is_down)
		log_event(LOG_WARNING, "database not connected", TEXT("side", side_names[link->side]),
				  TEXT("reason", reason));
	half->is_down = true;
	loop_set(pool->loop, &pool->turn, 0);
}

/*
 * What one statement suffers from, others on all connections do, too, so that one more try is
 * enough for a unit. Where an error only looks like that, this does not go on and on.
 */
bool
pool_renew(Pool *pool, int64_t sent_at)
{
	int64_t now = clock_us();

	if (sent_at <= pool->renewed_at)
		return true;
	if (now - pool->renewals_since >= RENEW_INTERVAL)
	{
		pool->renewals_since = now;
		pool->renewals = 0;
	}
	if (pool->renewals == MOST_RENEWALS)
		return false;
	pool->renewals++;
	pool->renewed_at = now;
	for (int side = 0; side < SIDES; side++)
		for (int i = 0; i < pool->halves[side].link_count; i++)
			link_renew(&pool->halves[side].links[i]);
	log_event(LOG_INFO, "statements are prepared anew");
	return true;
}

/* ---- turns ---- */

static void
answer_failed(Pool *pool)
{
	Ticket *ticket = pool->failed;

	pool->failed = NULL;
	while (ticket)
	{
		Ticket *next = ticket->next;

		if (ticket->is_lost)
			ticket_answer(ticket, &(Answer) {.state = ANSWER_LOST,
											 .sqlstate = POOL_LOST,
											 .message = "the connection was lost"});
		else if (ticket->limit == 0)
			ticket_answer_error(ticket, "53300", "too much waits for the database", NULL);
		else
			ticket_answer(
				ticket,
				&(Answer) {.state = ANSWER_UNAVAILABLE,
						   .sqlstate = "08001",
						   .message = ticket->side == SIDE_LEAD
										  ? "the lead cannot be reached, so nothing can be written"
										  : "the database cannot be reached",
						   .hint = "Try again: reads go on while the lead is away."});
		ticket = next;
	}
}

static void
turn(void *context)
{
	Pool *pool = context;

	for (int side = 0; side < SIDES; side++)
		dispatch_waiting(&pool->halves[side], false);
	answer_failed(pool);
}

/*
 * Each cancel costs the server a connection and a process, and may hit others: one is sent only for
 * what has run for a while, and seldom.
 */
static bool
needs_cancel(const Link *link, int64_t now)
{
	const Ticket *head = link->first;

	return link->state == LINK_UP && head && head->is_dropped &&
		   now - link->head_since >= CANCEL_AFTER &&
		   (!head->is_cancelled || now - link->cancelled_at >= CANCEL_AGAIN);
}

static void
sweep_cancels(Half *half, int64_t now)
{
	for (int i = 0; i < half->link_count; i++)
		if (needs_cancel(&half->links[i], now) && link_cancel(&half->links[i]))
		{
			half->state.cancels++;
			return;
		}
}

/*
 * A connection that does not answer. What libpq has read at some time without epoll's word is
 * looked at, at last.
 */
static void
sweep_link(Link *link, int64_t now)
{
	const Ticket *head;

	if (link->state == LINK_UP)
		link_take_results(link);
	head = link->first;
	if (link->state != LINK_UP || head == NULL)
		return;
	if (head->side != SIDE_WAKE &&
		now - link->head_since > ((int64_t) head->unit.timeout + GRACE) * 1000)
		link_lose(link, "a statement is not answered");
}

/*
 * What has waited too long, too, and what no longer has a client.
 */
static void
sweep(void *context)
{
	Pool *pool = context;
	int64_t now = clock_us();

	for (int side = 0; side < SIDES; side++)
	{
		Half *half = &pool->halves[side];

		for (int i = 0; i < half->link_count; i++)
			sweep_link(&half->links[i], now);
		sweep_cancels(half, now);
		dispatch_waiting(half, true);
	}
	loop_set(pool->loop, &pool->sweep, clock_ms() + SWEEP_INTERVAL);
}

/* ---- the whole ---- */

static bool
open_half(Pool *pool, Side side, const char *conninfo, int count, char **problem)
{
	Half *half = &pool->halves[side];

	if (!hosts_read(&half->hosts, conninfo, problem))
		return false;
	half->links = memory_get((size_t) count * sizeof(Link));
	half->link_count = count;
	for (int i = 0; i < count; i++)
		link_open(&half->links[i], pool, pool->loop, &half->hosts, side);
	return true;
}

Pool *
pool_open(Loop *loop, const PoolConfig *config, char **problem)
{
	Pool *pool = memory_get(sizeof(Pool));

	pool->loop = loop;
	pool->timeout = config->timeout;
	pool->turn = (Timer) {.due = turn, .context = pool};
	pool->sweep = (Timer) {.due = sweep, .context = pool};
	loop_set(loop, &pool->sweep, clock_ms());
	for (int side = 0; side < SIDES; side++)
		if (!open_half(pool, (Side) side,
					   side == SIDE_LEAD && config->lead ? config->lead : config->local,
					   config->connections[side], problem))
		{
			pool_close(pool);
			return NULL;
		}
	return pool;
}

static void
drop_all(Ticket *ticket)
{
	while (ticket)
	{
		Ticket *next = ticket->next;

		ticket_free(ticket);
		ticket = next;
	}
}

void
pool_close(Pool *pool)
{
	if (pool == NULL)
		return;
	loop_unset(pool->loop, &pool->turn);
	loop_unset(pool->loop, &pool->sweep);
	for (int side = 0; side < SIDES; side++)
	{
		Half *half = &pool->halves[side];

		for (int i = 0; i < half->link_count; i++)
		{
			for (Ticket *ticket = half->links[i].first; ticket; ticket = ticket->next)
				ticket->is_dropped = true;
			link_close(&half->links[i]);
		}
		free(half->links);
		hosts_free(&half->hosts);
		for (int kind = 0; kind < UNIT_KINDS; kind++)
			drop_all(half->queues[kind].first);
	}
	drop_all(pool->failed);
	loop_unset(pool->loop, &pool->turn);
	free(pool);
}

bool
pool_is_up(const Pool *pool, Side side)
{
	return is_up(&pool->halves[side]);
}

const char *
pool_reason(const Pool *pool, Side side)
{
	return pool->halves[side].reason;
}

int
pool_timeout(const Pool *pool)
{
	return pool->timeout;
}

void
pool_set_timeout(Pool *pool, int timeout)
{
	pool->timeout = timeout;
}

bool
pool_has_reached(const Pool *pool, const char *lsn)
{
	return token_lsn(lsn) <= pool->reached;
}

void
pool_note_reached(Pool *pool, const char *lsn)
{
	uint64_t position = token_lsn(lsn);

	if (position > pool->reached)
		pool->reached = position;
}

void
pool_state(const Pool *pool, Side side, PoolState *state)
{
	const Half *half = &pool->halves[side];

	*state = half->state;
	state->under_way = state->waiting = 0;
	for (int kind = 0; kind < UNIT_KINDS; kind++)
		state->waiting += half->queues[kind].count;
	for (int i = 0; i < half->link_count; i++)
		state->under_way += half->links[i].under_way;
}
