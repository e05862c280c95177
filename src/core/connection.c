/*
 * One libpq connection that never waits.
 */
#include "core/connection.h"

#include <sys/epoll.h>

static void serve(void *argument, int fd, uint32 events);

void
aurora_one_line(char *to, size_t size, const char *message)
{
	size_t length;

	strlcpy(to, message ? message : "", size);
	for (char *c = to; *c; c++)
		if ((unsigned char) *c < ' ')
			*c = ' ';
	for (length = strlen(to); length > 0 && to[length - 1] == ' '; length--)
		to[length - 1] = '\0';
}

static void
watch(AuroraConnection *connection, uint32 events)
{
	int fd = PQsocket(connection->conn);

	if (connection->fd != fd)
		aurora_poller_forget(connection->poller, connection->fd);
	connection->fd = fd;
	if (fd >= 0)
		aurora_poller_watch(connection->poller, fd, events, serve, connection);
}

void
aurora_connection_close(AuroraConnection *connection)
{
	if (connection->conn == NULL)
		return;
	aurora_poller_forget(connection->poller, connection->fd);
	connection->fd = -1;
	PQfinish(connection->conn);
	connection->conn = NULL;
	connection->state = AURORA_CONNECTION_CLOSED;
}

static void
fail(AuroraConnection *connection, const char *message)
{
	aurora_one_line(connection->error, AURORA_ERROR_SIZE, message);
	connection->needs_password = PQconnectionNeedsPassword(connection->conn) != 0;
	aurora_connection_close(connection);
	PQclear(connection->result);
	connection->result = NULL;
	connection->changed(connection->owner);
}

static void
ignore_notice(void *argument, const char *message)
{
}

void
aurora_connection_open(AuroraConnection *connection, const char *const *keywords,
					   const char *const *values, int64 timeout_us)
{
	aurora_connection_close(connection);
	connection->fd = -1;
	connection->error[0] = '\0';
	connection->deadline_us = aurora_clock_us() + timeout_us;
	connection->conn = PQconnectStartParams(keywords, values, 0);
	if (connection->conn == NULL)
	{
		strlcpy(connection->error, "out of memory", AURORA_ERROR_SIZE);
		connection->changed(connection->owner);
		return;
	}
	connection->state = AURORA_CONNECTION_CONNECTING;
	PQsetNoticeProcessor(connection->conn, ignore_notice, NULL);
	if (PQstatus(connection->conn) == CONNECTION_BAD)
		fail(connection, PQerrorMessage(connection->conn));
	else
		watch(connection, EPOLLOUT);
}

static void
go_on_connecting(AuroraConnection *connection)
{
	switch (PQconnectPoll(connection->conn))
	{
		case PGRES_POLLING_READING:
			watch(connection, EPOLLIN);
			break;
		case PGRES_POLLING_WRITING:
			watch(connection, EPOLLOUT);
			break;
		case PGRES_POLLING_OK:
			PQsetnonblocking(connection->conn, 1);
			connection->state = AURORA_CONNECTION_IDLE;
			watch(connection, EPOLLIN);
			connection->changed(connection->owner);
			break;
		default:
			fail(connection, PQerrorMessage(connection->conn));
	}
}

/*
 * Takes in what has come; the first result of a query is its answer.
 */
static void
go_on_reading(AuroraConnection *connection)
{
	int unsent;

	if (!PQconsumeInput(connection->conn) || (unsent = PQflush(connection->conn)) < 0)
	{
		fail(connection, PQerrorMessage(connection->conn));
		return;
	}
	watch(connection, unsent > 0 ? EPOLLIN | EPOLLOUT : EPOLLIN);
	if (connection->state != AURORA_CONNECTION_BUSY)
		return;
	while (!PQisBusy(connection->conn))
	{
		PGresult *result = PQgetResult(connection->conn);

		if (result == NULL)
		{
			PGresult *answer = connection->result;

			connection->state = AURORA_CONNECTION_IDLE;
			connection->changed(connection->owner);
			PQclear(answer);
			connection->result = NULL;
			return;
		}
		if (connection->result == NULL)
			connection->result = result;
		else
			PQclear(result);
	}
}

static void
serve(void *argument, int fd, uint32 events)
{
	AuroraConnection *connection = argument;

	if (connection->conn == NULL)
		return;
	if (connection->state == AURORA_CONNECTION_CONNECTING)
		go_on_connecting(connection);
	else
		go_on_reading(connection);
}

void
aurora_connection_send(AuroraConnection *connection, const char *sql, int count,
					   const char *const *parameters, int64 timeout_us)
{
	Assert(connection->state == AURORA_CONNECTION_IDLE);
	connection->state = AURORA_CONNECTION_BUSY;
	connection->deadline_us = aurora_clock_us() + timeout_us;
	if (!PQsendQueryParams(connection->conn, sql, count, NULL, parameters, NULL, NULL, 0))
		fail(connection, PQerrorMessage(connection->conn));
	else
		go_on_reading(connection);
}

void
aurora_connection_expire(AuroraConnection *connection)
{
	if ((connection->state == AURORA_CONNECTION_CONNECTING ||
		 connection->state == AURORA_CONNECTION_BUSY) &&
		connection->deadline_us <= aurora_clock_us())
		fail(connection, connection->state == AURORA_CONNECTION_BUSY ? "no answer in time"
																	 : "no connection in time");
}
