/*
 * What the parts of the pool have in common.
 */
#ifndef GATEWAY_POOL_INSIDE_H
#define GATEWAY_POOL_INSIDE_H

#include "gateway/link.h"

typedef struct Queue
{
	Ticket *first;
	Ticket *last;
	int count;
} Queue;

typedef struct Half
{
	Hosts hosts;
	Link *links;
	int link_count;
	Queue queues[UNIT_KINDS]; /* of those that wait for a link */
	bool is_down;			  /* all hosts were tried in vain */
	bool was_logged;
	char reason[256]; /* why it was not connected last */
	PoolState state;
} Half;

struct Pool
{
	Loop *loop;
	Half halves[SIDES];
	int timeout;
	Ticket *failed; /* to be told that there is no connection */
	Timer turn;
	Timer sweep;
	uint64_t reached;
	int64_t renewed_at; /* us: when all statements were found to be stale */
	int64_t renewals_since;
	int renewals; /* since then */
};

/* Each ends the ticket; a dropped one is not told. */
extern void ticket_free(Ticket *ticket);
extern void ticket_answer(Ticket *ticket, Answer *what);
extern void ticket_answer_error(Ticket *ticket, const char *sqlstate, const char *message,
								const char *hint);

/* Forgets what was answered so far. */
extern void ticket_clear(Ticket *ticket);

/* Sends it, or has it wait. */
extern void pool_dispatch(Ticket *ticket);

/* The same once more. */
extern void pool_try_again(Ticket *ticket);

/* Statements of what was sent then are stale. False when it cannot be that: they were made since.
 */
extern bool pool_renew(Pool *pool, int64_t sent_at);

/* It is told in the next turn that it failed. */
extern void pool_fail(Ticket *ticket);

#endif
