/*
 * The topics that a client of /ws follows.
 */
#ifndef GATEWAY_FOLLOWS_H
#define GATEWAY_FOLLOWS_H

#include "gateway/streams.h"

typedef struct Follow Follow;

/* Zeros until it is known who the client is. */
typedef struct Follows
{
	Streams *streams;
	Socket *socket;
	const Credential *credential;
	Quota *quota;
	Follow *first;
	int count;
} Follows;

/* Follows a topic, or goes on from another cursor; answers the message. */
extern void follows_subscribe(Follows *follows, const Message *message);
extern void follows_unsubscribe(Follows *follows, const Message *message);

/* The client has taken what it had to. */
extern void follows_drained(Follows *follows);

/* Follows nothing any more. */
extern void follows_leave(Follows *follows);

/* An error, as a message; the id and the topic may be NULL. */
extern void follows_tell_problem(Socket *socket, const char *id, const char *topic,
								 const Problem *problem);

#endif
