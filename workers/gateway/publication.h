/*
 * Publishing for a client, one message after the other, so that they keep their order; also what is
 * left when the client has gone.
 */
#ifndef GATEWAY_PUBLICATION_H
#define GATEWAY_PUBLICATION_H

#include "gateway/message.h"
#include "gateway/pool.h"

typedef struct Publisher Publisher;

/* Told of each message in their order: its number, or a problem. */
typedef void (*Published)(void *context, const Message *message, const char *seq,
						  const Problem *problem);

/* The credential and the route are copied. */
extern Publisher *publisher_open(Pool *pool, const Credential *credential, const char *route,
								 Published told, void *context);

/* Takes the message over; false, and it stays the caller's, when too many wait. */
extern bool publisher_take(Publisher *publisher, Message *message);

/* What has not been published yet is published with this credential, which is copied. */
extern void publisher_renew(Publisher *publisher, const Credential *credential);

/* Nobody is told any more. It frees itself when all is published. */
extern void publisher_leave(Publisher *publisher);

/* What went wrong, as a message tells it. */
extern Problem publication_problem(const Answer *answer);

#endif
