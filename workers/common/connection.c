/*
 * A connection to the lead in the loop.
 *
 * libpq tries the hosts of a connection string by itself, but waits for each as long as the kernel
 * does when nobody blocks for it; so they are tried here one by one, each with a time limit. It
 * also blocks while a name is looked up, so that it gets addresses.
 */
#include "common/connection.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "common/clock.h"
#include "common/memory.h"
#include "common/resolve.h"

#define CONNECT_LIMIT 5000 /* ms for each host */
#define QUERY_LIMIT 60000  /* ms: an answer that takes longer never comes */
#define LEAST_BACKOFF 200
#define MOST_BACKOFF 5000
#define HOSTS 32
#define KEYWORDS 64

typedef struct Query
{
	char *sql;
	int count;
	char *values[CONNECTION_PARAMETERS];
	ConnectionAnswer answer;
	void *context;
	struct Query *next;
} Query;

typedef enum ConnectionState
{
	CONNECTION_WAITING,	   /* for the time of the next try */
	CONNECTION_CONNECTING, /* its name may be being looked up */
	CONNECTION_LISTENING,  /* to channels, before it is up */
	CONNECTION_UP
} ConnectionState;

struct Connection
{
	Loop *loop;
	ConnectionEvents events;
	void *context;
	const char *program;
	const char *const *channels;
	PQconninfoOption *options;
	int host_count;
	int host;
	unsigned tries;
	Resolve *resolve;
	ConnectionState state;
	PGconn *conn;
	int fd;
	Query *first;
	Query *last;
	size_t waiting;
	bool is_sent; /* the first query */
	int backoff;
	Timer timer; /* the next try, or the limit of what is under way */
};

static void become_up(Connection *connection);

/* ---- hosts ---- */

static const char *
option_of(const Connection *connection, const char *keyword)
{
	for (const PQconninfoOption *option = connection->options; option->keyword; option++)
		if (strcmp(option->keyword, keyword) == 0)
			return option->val;
	return NULL;
}

static int
count_parts(const char *list)
{
	int count = 1;

	for (; list && *list; list++)
		count += *list == ',';
	return count;
}

/*
 * A part of a list with commas, to be freed; of a list with one part that one.
 */
static char *
part_of(const char *list, int part)
{
	char *copy;

	if (list == NULL)
		return NULL;
	if (count_parts(list) == 1)
		part = 0;
	for (; part > 0; part--)
		list = strchr(list, ',') + 1;
	copy = memory_copy(list);
	copy[strcspn(copy, ",")] = '\0';
	return copy;
}

static bool
has_parts(const char *list)
{
	return list && *list;
}

/*
 * Checks that lists of hosts, addresses and ports go together, as libpq does.
 */
static char *
count_hosts(Connection *connection)
{
	const char *host = option_of(connection, "host");
	const char *address = option_of(connection, "hostaddr");
	const char *port = option_of(connection, "port");
	int count = count_parts(has_parts(address) ? address : host);

	if (count > HOSTS)
		return memory_copy("there are too many hosts");
	if ((has_parts(host) && count_parts(host) != count) ||
		(has_parts(port) && count_parts(port) != 1 && count_parts(port) != count))
		return memory_copy("there are not as many hosts as addresses or ports");
	connection->host_count = count;
	return NULL;
}

typedef struct Keywords
{
	const char *names[KEYWORDS];
	char *values[KEYWORDS];
	int count;
} Keywords;

static void
add_keyword(Keywords *keywords, const char *name, char *value)
{
	if (value == NULL || keywords->count == KEYWORDS - 1)
	{
		memory_wipe(value);
		return;
	}
	keywords->names[keywords->count] = name;
	keywords->values[keywords->count++] = value;
}

/*
 * The host's name or its addresses as a list, since each address is a host to libpq. The first is
 * another one at each try: one that does not answer takes up all the time that there is.
 */
static char *
list_of(const Connection *connection, const Addresses *addresses, const char *name)
{
	Buffer list = {0};

	for (int i = 0; i < addresses->count; i++)
	{
		int turn = (int) ((connection->tries + (unsigned) i) % (unsigned) addresses->count);

		buffer_print(&list, "%s%s", i > 0 ? "," : "", name ? name : addresses->texts[turn]);
	}
	return list.bytes;
}

/*
 * The parameters for the host whose turn it is: what the connection string has, and what finds a
 * dead host soon. "addresses" are of a name that was looked up, else NULL.
 */
static void
make_keywords(const Connection *connection, const Addresses *addresses, Keywords *keywords)
{
	static const char *const standard[][2] = {
		{"target_session_attrs", "read-write"}, {"keepalives_idle", "10"},
		{"keepalives_interval", "5"},			{"keepalives_count", "3"},
		{"tcp_user_timeout", "15000"},			{"client_encoding", "UTF8"}};

	for (size_t i = 0; i < sizeof(standard) / sizeof(standard[0]); i++)
		if (option_of(connection, standard[i][0]) == NULL)
			add_keyword(keywords, standard[i][0], memory_copy(standard[i][1]));
	if (option_of(connection, "application_name") == NULL)
		add_keyword(keywords, "application_name", memory_copy(connection->program));
	for (const PQconninfoOption *option = connection->options; option->keyword; option++)
	{
		bool is_host = strcmp(option->keyword, "host") == 0;
		bool is_address = strcmp(option->keyword, "hostaddr") == 0;
		bool is_list = is_host || is_address || strcmp(option->keyword, "port") == 0;
		char *value = is_list ? part_of(option->val, connection->host) : memory_copy(option->val);

		if (addresses && (is_host || is_address))
		{
			char *list = list_of(connection, addresses, is_host ? value : NULL);

			free(value);
			value = list;
		}
		add_keyword(keywords, option->keyword, value);
	}
}

/* ---- losing it ---- */

static void
drop_queries(Connection *connection, bool is_answered)
{
	while (connection->first)
	{
		Query *query = connection->first;

		connection->first = query->next;
		connection->waiting--;
		if (is_answered && query->answer)
			query->answer(query->context, NULL);
		for (int i = 0; i < query->count; i++)
			memory_wipe(query->values[i]);
		free(query->sql);
		free(query);
	}
	connection->last = NULL;
	connection->is_sent = false;
}

static void
hang_up(Connection *connection)
{
	if (connection->fd >= 0)
		loop_forget(connection->loop, connection->fd);
	connection->fd = -1;
	resolve_cancel(connection->resolve);
	connection->resolve = NULL;
	PQfinish(connection->conn);
	connection->conn = NULL;
}

/*
 * Once all hosts were tried in vain the wait doubles.
 */
void
connection_lose(Connection *connection, const char *reason)
{
	char *copy;

	if (connection->state == CONNECTION_WAITING)
		return;
	copy = memory_copy(reason);
	if (connection->state == CONNECTION_UP)
		connection->backoff = LEAST_BACKOFF;
	connection->state = CONNECTION_WAITING;
	hang_up(connection);
	connection->host = (connection->host + 1) % connection->host_count;
	loop_set(connection->loop, &connection->timer,
			 clock_ms() + (connection->host == 0 ? connection->backoff : 0));
	if (connection->host == 0)
		connection->backoff =
			connection->backoff * 2 > MOST_BACKOFF ? MOST_BACKOFF : connection->backoff * 2;
	copy[strcspn(copy, "\n")] = '\0';
	drop_queries(connection, true);
	connection->events.down(connection->context, copy);
	free(copy);
}

/* ---- queries ---- */

static void handle(void *context, int fd, uint32_t events);

static void
flush(Connection *connection)
{
	int left = PQflush(connection->conn);

	if (left < 0)
		connection_lose(connection, PQerrorMessage(connection->conn));
	else
		loop_watch(connection->loop, connection->fd, left > 0 ? EPOLLIN | EPOLLOUT : EPOLLIN,
				   handle, connection);
}

static void
send_next(Connection *connection)
{
	Query *query = connection->first;

	if (query == NULL || connection->is_sent || connection->state < CONNECTION_LISTENING)
		return;
	connection->is_sent = true;
	loop_set(connection->loop, &connection->timer, clock_ms() + QUERY_LIMIT);
	if (!PQsendQueryParams(connection->conn, query->sql, query->count, NULL,
						   (const char *const *) query->values, NULL, NULL, 0))
		connection_lose(connection, PQerrorMessage(connection->conn));
	else
		flush(connection);
}

static void
answer_first(Connection *connection, const PGresult *result)
{
	Query *query = connection->first;

	connection->first = query->next;
	if (connection->first == NULL)
		connection->last = NULL;
	connection->waiting--;
	connection->is_sent = false;
	loop_unset(connection->loop, &connection->timer);
	if (query->answer)
		query->answer(query->context, result);
	for (int i = 0; i < query->count; i++)
		memory_wipe(query->values[i]);
	free(query->sql);
	free(query);
}

/*
 * A query has one statement and so one result, behind which comes NULL.
 */
static void
take_results(Connection *connection)
{
	while (connection->conn && connection->is_sent && !PQisBusy(connection->conn))
	{
		PGresult *result = PQgetResult(connection->conn);
		PGresult *more;

		while ((more = PQgetResult(connection->conn)) != NULL)
			PQclear(more);
		if (PQstatus(connection->conn) == CONNECTION_BAD)
		{
			PQclear(result);
			connection_lose(connection, PQerrorMessage(connection->conn));
			return;
		}
		answer_first(connection, result);
		PQclear(result);
		if (connection->state == CONNECTION_LISTENING && connection->first == NULL)
			become_up(connection);
		if (connection->conn)
			send_next(connection);
	}
}

static void
take_notifications(Connection *connection)
{
	PGnotify *notification;

	while (connection->conn && (notification = PQnotifies(connection->conn)) != NULL)
	{
		if (connection->events.notified)
			connection->events.notified(connection->context, notification->relname,
										notification->extra);
		PQfreemem(notification);
	}
}

static void
add_query(Connection *connection, const char *sql, int count, const char *const *values,
		  ConnectionAnswer answer, void *context)
{
	Query *query = memory_get(sizeof(Query));

	query->sql = memory_copy(sql);
	query->count = count;
	for (int i = 0; i < count; i++)
		query->values[i] = memory_copy(values[i]);
	query->answer = answer;
	query->context = context;
	if (connection->last)
		connection->last->next = query;
	else
		connection->first = query;
	connection->last = query;
	connection->waiting++;
	send_next(connection);
}

void
connection_query(Connection *connection, const char *sql, int count, const char *const *values,
				 ConnectionAnswer answer, void *context)
{
	if (connection->state == CONNECTION_UP)
		add_query(connection, sql, count, values, answer, context);
	else if (answer)
		answer(context, NULL);
}

size_t
connection_waiting(const Connection *connection)
{
	return connection->waiting;
}

/* ---- connecting ---- */

static void
become_up(Connection *connection)
{
	connection->state = CONNECTION_UP;
	connection->backoff = LEAST_BACKOFF;
	connection->events.up(connection->context);
}

/*
 * Who listens to nothing is refused as little as who listens: an error is one of the connection.
 */
static void
listen_answered(void *context, const PGresult *result)
{
	Connection *connection = context;

	if (result && PQresultStatus(result) != PGRES_COMMAND_OK)
		connection_lose(connection, PQresultErrorMessage(result));
}

static void
begin_session(Connection *connection)
{
	connection->state = CONNECTION_LISTENING;
	PQsetnonblocking(connection->conn, 1);
	loop_watch(connection->loop, connection->fd, EPOLLIN, handle, connection);
	loop_unset(connection->loop, &connection->timer);
	if (connection->channels == NULL || connection->channels[0] == NULL)
		become_up(connection);
	for (int i = 0; connection->channels && connection->channels[i] && connection->conn; i++)
	{
		Buffer sql = {0};

		buffer_print(&sql, "LISTEN %s", connection->channels[i]);
		add_query(connection, sql.bytes, 0, NULL, listen_answered, connection);
		buffer_wipe(&sql);
	}
}

/*
 * The socket may be another one at each step.
 */
static void
continue_connecting(Connection *connection, PostgresPollingStatusType status)
{
	if (status == PGRES_POLLING_FAILED)
	{
		connection_lose(connection, PQerrorMessage(connection->conn));
		return;
	}
	if (connection->fd >= 0 && connection->fd != PQsocket(connection->conn))
		loop_forget(connection->loop, connection->fd);
	connection->fd = PQsocket(connection->conn);
	if (status == PGRES_POLLING_OK)
		begin_session(connection);
	else
		loop_watch(connection->loop, connection->fd,
				   status == PGRES_POLLING_READING ? EPOLLIN : EPOLLOUT, handle, connection);
}

static void
handle(void *context, int fd, uint32_t events)
{
	Connection *connection = context;

	(void) fd;
	if (connection->state == CONNECTION_CONNECTING)
	{
		/* libpq may close the socket and open another one with the same number. */
		loop_forget(connection->loop, connection->fd);
		connection->fd = -1;
		continue_connecting(connection, PQconnectPoll(connection->conn));
		return;
	}
	if ((events & ~(uint32_t) EPOLLOUT) && !PQconsumeInput(connection->conn))
	{
		connection_lose(connection, PQerrorMessage(connection->conn));
		return;
	}
	flush(connection);
	if (connection->conn)
		take_results(connection);
	take_notifications(connection);
}

static void
connect_to(Connection *connection, const Addresses *addresses)
{
	Keywords keywords = {0};

	make_keywords(connection, addresses, &keywords);
	connection->tries++;
	connection->conn =
		PQconnectStartParams(keywords.names, (const char *const *) keywords.values, 0);
	for (int i = 0; i < keywords.count; i++)
		memory_wipe(keywords.values[i]);
	if (connection->conn == NULL || PQstatus(connection->conn) == CONNECTION_BAD)
		connection_lose(connection,
						connection->conn ? PQerrorMessage(connection->conn) : "there is no memory");
	else
		continue_connecting(connection, PGRES_POLLING_WRITING);
}

static void
resolved(void *context, const Addresses *addresses)
{
	Connection *connection = context;

	connection->resolve = NULL;
	if (addresses->count > 0)
		connect_to(connection, addresses);
	else
		connection_lose(connection, addresses->problem);
}

static void
connect_now(Connection *connection)
{
	char *host = part_of(option_of(connection, "host"), connection->host);
	char *address = part_of(option_of(connection, "hostaddr"), connection->host);

	connection->state = CONNECTION_CONNECTING;
	loop_set(connection->loop, &connection->timer, clock_ms() + CONNECT_LIMIT);
	if ((address == NULL || *address == '\0') && resolve_is_needed(host))
	{
		connection->resolve = resolve_start(connection->loop, host, resolved, connection);
		if (connection->resolve == NULL)
			connection_lose(connection, "there is no thread to look up the host");
	}
	else
		connect_to(connection, NULL);
	free(host);
	free(address);
}

static void
time_is_up(void *context)
{
	Connection *connection = context;

	if (connection->state == CONNECTION_WAITING)
		connect_now(connection);
	else if (connection->state == CONNECTION_CONNECTING)
		connection_lose(connection, "the host does not answer");
	else if (connection->is_sent)
		connection_lose(connection, "a query is not answered");
}

Connection *
connection_open(Loop *loop, const char *conninfo, const char *program, const char *const *channels,
				const ConnectionEvents *events, void *context, char **problem)
{
	Connection *connection = memory_get(sizeof(Connection));
	char *message = NULL;

	*connection = (Connection) {.loop = loop,
								.events = *events,
								.context = context,
								.program = program,
								.channels = channels,
								.fd = -1,
								.backoff = LEAST_BACKOFF,
								.timer = {.due = time_is_up, .context = connection}};
	connection->options = PQconninfoParse(conninfo, &message);
	*problem = connection->options ? count_hosts(connection)
								   : memory_copy(message ? message : "there is no memory");
	PQfreemem(message);
	if (*problem)
	{
		(*problem)[strcspn(*problem, "\n")] = '\0';
		connection_close(connection);
		return NULL;
	}
	loop_set(loop, &connection->timer, clock_ms());
	return connection;
}

void
connection_close(Connection *connection)
{
	if (connection == NULL)
		return;
	loop_unset(connection->loop, &connection->timer);
	hang_up(connection);
	drop_queries(connection, false);
	PQconninfoFree(connection->options);
	free(connection);
}

bool
connection_is_up(const Connection *connection)
{
	return connection->state == CONNECTION_UP;
}
