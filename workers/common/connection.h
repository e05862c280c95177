/*
 * A connection to the lead in the loop: it looks for the host that takes writes among those of the
 * connection string, comes back by itself when it is lost, and runs "queries", one after the other.
 */
#ifndef COMMON_CONNECTION_H
#define COMMON_CONNECTION_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>

#include "common/loop.h"

#define CONNECTION_PARAMETERS 8 /* of a query, at most */

typedef struct Connection Connection;

/*
 * The answer to a query: a result, which may be an error; NULL when the connection was lost first,
 * and nobody knows whether the query was done. The result is freed behind the call.
 */
typedef void (*ConnectionAnswer)(void *context, const PGresult *result);

/* What the owner is told. */
typedef struct ConnectionEvents
{
	void (*up)(void *context);
	void (*down)(void *context, const char *reason); /* also when it cannot be made */
	void (*notified)(void *context, const char *channel, const char *payload);
} ConnectionEvents;

/*
 * Begins to connect. "channels" are listened to, up to a NULL. Returns NULL, and what is wrong with
 * the connection string, to be freed.
 */
extern Connection *connection_open(Loop *loop, const char *conninfo, const char *program,
								   const char *const *channels, const ConnectionEvents *events,
								   void *context, char **problem);

/* Whatever waits is dropped without an answer. */
extern void connection_close(Connection *connection);

extern bool connection_is_up(const Connection *connection);

/*
 * Has a query done, with parameters in text format up to count, which are copied. Without a
 * connection it is answered at once with NULL.
 */
extern void connection_query(Connection *connection, const char *sql, int count,
							 const char *const *values, ConnectionAnswer answer, void *context);

/* Queries that have no answer yet. */
extern size_t connection_waiting(const Connection *connection);

/* Loses the connection, as when the host turned out to be no lead any more. */
extern void connection_lose(Connection *connection, const char *reason);

#endif
