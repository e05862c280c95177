/*
 * A check of another Postgres: does it take a connection and answer a query. One that asks for a
 * password answers, too; it gets none.
 */
#include "core/connection.h"

#include "utils/memutils.h"

#define MAX_KEYWORDS 64
#define PING_US (60 * 1000000L) /* who checks has a shorter limit of its own */

struct AuroraPing
{
	AuroraConnection connection;
	AuroraPinged pinged;
	void *argument;
};

/*
 * Tells who asked, unless the ping was cancelled, and ends.
 */
static void
finish(AuroraPing *ping, const char *error)
{
	AuroraPinged pinged = ping->pinged;

	ping->pinged = NULL;
	if (pinged)
		pinged(ping->argument, error);
}

static void
connection_changed(void *owner)
{
	AuroraPing *ping = owner;
	AuroraConnection *connection = &ping->connection;

	if (connection->state == AURORA_CONNECTION_CLOSED)
		finish(ping, connection->needs_password ? NULL : connection->error);
	else if (connection->result == NULL)
		aurora_connection_send(connection, "SELECT 1", 0, NULL, PING_US);
	else if (PQresultStatus(connection->result) == PGRES_TUPLES_OK)
		finish(ping, NULL);
	else
		finish(ping, PQresultErrorMessage(connection->result));
}

AuroraPing *
aurora_ping_start(AuroraPoller *poller, const char *conninfo, AuroraPinged pinged, void *argument)
{
	AuroraPing *ping = MemoryContextAllocZero(TopMemoryContext, sizeof(AuroraPing));
	PQconninfoOption *options = PQconninfoParse(conninfo, NULL);
	const char *keywords[MAX_KEYWORDS];
	const char *values[MAX_KEYWORDS];
	int count = 0;

	for (PQconninfoOption *o = options; o && o->keyword; o++)
	{
		if (o->val == NULL || count >= MAX_KEYWORDS - 4)
			continue;
		keywords[count] = o->keyword;
		values[count++] = o->val;
	}
	/* The node's own passwords are not for whom an operator names. */
	keywords[count] = "password";
	values[count++] = "";
	keywords[count] = "passfile";
	values[count++] = "/dev/null";
	keywords[count] = "fallback_application_name";
	values[count++] = "aurora check";
	keywords[count] = NULL;
	values[count] = NULL;
	ping->connection.poller = poller;
	ping->connection.fd = -1;
	ping->connection.changed = connection_changed;
	ping->connection.owner = ping;
	ping->pinged = pinged;
	ping->argument = argument;
	aurora_connection_open(&ping->connection, keywords, values, PING_US);
	PQconninfoFree(options);
	return ping;
}

/*
 * Ends a ping, also one that has told; not to be called from what it calls.
 */
void
aurora_ping_cancel(AuroraPing *ping)
{
	ping->pinged = NULL;
	aurora_connection_close(&ping->connection);
	pfree(ping);
}
