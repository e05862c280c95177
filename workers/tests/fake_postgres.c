/*
 * A server that speaks as much of PostgreSQL's protocol as the gateway's pool does.
 */
#include "tests/fake_postgres.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/memory.h"

#define PROTOCOL 196608
#define CANCEL 80877102

/* ---- answers ---- */

static void
put(FakeSession *session, const void *bytes, size_t size)
{
	if (session->output_size + size > sizeof(session->output))
		abort();
	memcpy(session->output + session->output_size, bytes, size);
	session->output_size += size;
}

static void
put_message(FakeSession *session, char type, const char *bytes, size_t size)
{
	uint32_t length = htonl((uint32_t) size + 4);

	if (session->fake->fault == FAKE_MUTE && session->fake->at-- <= 0)
	{
		session->fake->is_reached = true;
		session->fake->at = 0;
		return;
	}
	put(session, &type, 1);
	put(session, &length, 4);
	put(session, bytes, size);
}

static void
put_error(FakeSession *session, const char *severity, const char *state, const char *routine)
{
	char text[256];
	int size =
		snprintf(text, sizeof(text), "S%s%cV%s%cC%s%cM%s%cR%s%c", severity, 0, severity, 0, state,
				 0, strcmp(state, "XX000") == 0 ? "cache lookup failed for type 1" : "it failed", 0,
				 routine, 0);

	put_message(session, 'E', text, (size_t) size + 1);
	session->is_failed = true;
}

static void
put_row(FakeSession *session)
{
	static const char description[] = "\0\1a\0\0\0\0\0\0\0\0\0\0\31\377\377\377\377\377\377\0";

	put_message(session, 'T', description, sizeof(description));
	put_message(session, 'D',
				"\0\1\0\0\0\3"
				"0/1",
				9);
	put_message(session, 'C', "SELECT 1", 9);
}

static void
hang_up(FakeSession *session)
{
	FakePostgres *fake = session->fake;

	for (int i = 0; i < FAKE_SESSIONS; i++)
		if (fake->sessions[i] == session)
			fake->sessions[i] = NULL;
	if (fake->cancelled == session)
		fake->cancelled = NULL;
	loop_unset(fake->loop, &session->alarm);
	loop_forget(fake->loop, session->fd);
	close(session->fd);
	free(session);
}

static void
flush(FakeSession *session)
{
	if (session->output_size > 0)
		(void) !send(session->fd, session->output, session->output_size, MSG_NOSIGNAL);
	session->output_size = 0;
}

/* ---- statements ---- */

static FakeStatement *
find(FakeSession *session, const char *name)
{
	for (int i = 0; i < session->statement_count; i++)
		if (strcmp(session->statements[i].name, name) == 0)
			return &session->statements[i];
	return NULL;
}

static void
parse(FakeSession *session, const char *name)
{
	const char *sql = name + strlen(name) + 1;
	FakeStatement *statement = find(session, name);

	if (statement && *name)
	{
		put_error(session, "ERROR", "42P05", "StorePreparedStatement");
		return;
	}
	if (statement == NULL && session->statement_count == FAKE_STATEMENTS)
		abort();
	if (statement == NULL)
		statement = &session->statements[session->statement_count++];
	snprintf(statement->name, sizeof(statement->name), "%s", name);
	snprintf(statement->sql, sizeof(statement->sql), "%s", sql);
	statement->generation = session->fake->generation;
	put_message(session, '1', "", 0);
}

/*
 * The first parameter is a number, as text.
 */
static void
bind_portal(FakeSession *session, const char *portal)
{
	const char *name = portal + strlen(portal) + 1;
	const unsigned char *rest = (const unsigned char *) name + strlen(name) + 1;
	int formats = rest[0] << 8 | rest[1];
	int values;

	rest += 2 + formats * 2;
	values = rest[0] << 8 | rest[1];
	session->value = values > 0 ? atoi((const char *) rest + 6) : 0;
	session->bound = find(session, name);
	if (session->bound == NULL)
		put_error(session, "ERROR", "26000", "FetchPreparedStatement");
	else if (session->bound->generation < session->fake->generation)
		put_error(session, "ERROR", session->fake->gone ? session->fake->gone : "0A000",
				  "RevalidateCachedQuery");
	else
		put_message(session, '2', "", 0);
}

static void
deallocate(FakeSession *session, const char *sql)
{
	char name[64] = "";
	FakeStatement *statement;

	(void) sscanf(sql, "DEALLOCATE \"%63[^\"]\"", name);
	statement = find(session, name);
	if (statement == NULL)
	{
		put_error(session, "ERROR", "26000", "FetchPreparedStatement");
		return;
	}
	*statement = session->statements[--session->statement_count];
	put_message(session, 'C', "DEALLOCATE", 11);
}

static void
execute(FakeSession *session)
{
	const char *sql = session->bound->sql;

	if (strncmp(sql, "DEALLOCATE", 10) == 0)
	{
		deallocate(session, sql);
		return;
	}
	session->fake->executed += strstr(sql, "aurora.") == NULL;
	if (strstr(sql, "unsupported"))
		put_error(session, "ERROR", "0A000", "transformSelectStmt");
	else if (strstr(sql, "sleep"))
	{
		session->is_asleep = true;
		loop_set(session->fake->loop, &session->alarm, clock_ms() + session->value);
	}
	else
	{
		if (strstr(sql, "insert"))
			session->writes[session->value % FAKE_VALUES]++;
		put_row(session);
	}
}

static void
sync_all(FakeSession *session)
{
	for (int i = 0; i < FAKE_VALUES; i++)
	{
		if (!session->is_failed)
			session->fake->commits[i] += session->writes[i];
		session->writes[i] = 0;
	}
	session->is_failed = false;
	put_message(session, 'Z', "I", 1);
}

/* ---- messages ---- */

static void
take_message(FakeSession *session, char type, const char *bytes)
{
	if (type == 'S')
		sync_all(session);
	else if (session->is_failed)
		return;
	else if (type == 'P')
		parse(session, bytes);
	else if (type == 'B')
		bind_portal(session, bytes);
	else if (type == 'E')
		execute(session);
}

static void
take_cancel(FakePostgres *fake, FakeSession *session, int number)
{
	fake->cancels++;
	if (fake->cancel_delay < 0)
	{
		session->input_size = 0;
		return;
	}
	if (fake->cancel_fd >= 0)
		close(fake->cancel_fd);
	fake->cancel_fd = dup(session->fd);
	fake->cancelled = number < FAKE_SESSIONS ? fake->sessions[number] : NULL;
	loop_set(fake->loop, &fake->cancel_due, clock_ms() + fake->cancel_delay);
	hang_up(session);
}

static void
greet(FakeSession *session)
{
	static const char *const parameters[][2] = {{"server_version", "15.0"},
												{"client_encoding", "UTF8"},
												{"default_transaction_read_only", "off"},
												{"in_hot_standby", "off"}};
	uint32_t key[2] = {0, 0};
	char text[64];

	while (session->fake->sessions[ntohl(key[0])] != session)
		key[0] = htonl(ntohl(key[0]) + 1);
	put_message(session, 'R', "\0\0\0\0", 4);
	for (size_t i = 0; i < sizeof(parameters) / sizeof(parameters[0]); i++)
		put_message(
			session, 'S', text,
			(size_t) snprintf(text, sizeof(text), "%s%c%s", parameters[i][0], 0, parameters[i][1]) +
				1);
	put_message(session, 'K', (const char *) key, 8);
	put_message(session, 'Z', "I", 1);
}

static uint32_t
number_at(const char *bytes)
{
	uint32_t number;

	memcpy(&number, bytes, 4);
	return ntohl(number);
}

/*
 * Takes one message; false when there is none, or no session any more.
 */
static bool
take_next(FakeSession *session)
{
	FakePostgres *fake = session->fake;
	size_t head = session->statement_count < 0 ? 0 : 1; /* what comes first has no type */
	size_t size;

	if (session->input_size < head + 4 ||
		session->input_size < head + (size = number_at(session->input + head)))
		return false;
	if (head == 0 && number_at(session->input + 4) == CANCEL)
	{
		take_cancel(fake, session, (int) number_at(session->input + 8));
		return false;
	}
	if (head == 0)
	{
		session->statement_count = 0;
		greet(session);
	}
	else if ((fake->fault == FAKE_CLOSE || fake->fault == FAKE_FATAL) && fake->at-- == 0)
	{
		if (fake->fault == FAKE_FATAL)
			put_error(session, "FATAL", "57P01", "ProcessInterrupts");
		fake->is_reached = true;
		return false;
	}
	else
		take_message(session, session->input[0], session->input + 5);
	session->input_size -= head + size;
	memmove(session->input, session->input + head + size, session->input_size);
	return true;
}

static void
go_on(FakeSession *session)
{
	FakePostgres *fake = session->fake;
	bool was_reached = fake->is_reached;
	void (*answered)(void) = fake->answered;
	int fd = session->fd;

	fake->answered = NULL;
	while (!session->is_asleep && take_next(session))
		;
	for (int i = 0; i < FAKE_SESSIONS; i++)
		if (fake->sessions[i] == session && session->fd == fd)
		{
			if (!session->is_asleep)
				flush(session);
			if (answered)
				answered();
			if (fake->is_reached && !was_reached)
			{
				fake->fault = FAKE_WELL;
				hang_up(session);
			}
			return;
		}
}

static void
wake(void *context)
{
	FakeSession *session = context;

	session->is_asleep = false;
	put_row(session);
	go_on(session);
}

static void
deliver_cancel(void *context)
{
	FakePostgres *fake = context;
	FakeSession *session = fake->cancelled;

	close(fake->cancel_fd);
	fake->cancel_fd = -1;
	fake->cancelled = NULL;
	if (session == NULL || !session->is_asleep)
		return;
	loop_unset(fake->loop, &session->alarm);
	session->is_asleep = false;
	put_error(session, "ERROR", "57014", "ProcessInterrupts");
	go_on(session);
}

static void
read_more(void *context, int fd, uint32_t events)
{
	FakeSession *session = context;
	ssize_t size = recv(fd, session->input + session->input_size,
						sizeof(session->input) - session->input_size, MSG_DONTWAIT);

	(void) events;
	if (size <= 0)
	{
		hang_up(session);
		return;
	}
	session->input_size += (size_t) size;
	go_on(session);
}

static void
accept_one(void *context, int fd, uint32_t events)
{
	FakePostgres *fake = context;
	FakeSession *session = memory_get(sizeof(FakeSession));
	int place = 0;

	(void) events;
	while (fake->sessions[place])
		if (++place == FAKE_SESSIONS)
			abort();
	session->fake = fake;
	session->fd = accept(fd, NULL, NULL);
	session->statement_count = -1;
	session->alarm = (Timer) {.due = wake, .context = session};
	fake->sessions[place] = session;
	loop_watch(fake->loop, session->fd, EPOLLIN, read_more, session);
}

/* ---- the whole ---- */

void
fake_open(FakePostgres *fake, Loop *loop)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	*fake = (FakePostgres) {.loop = loop, .folder = "/tmp/fake-postgres.XXXXXX", .cancel_fd = -1};
	fake->cancel_due = (Timer) {.due = deliver_cancel, .context = fake};
	if (mkdtemp(fake->folder) == NULL)
		abort();
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/.s.PGSQL.5432", fake->folder);
	fake->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(fake->listener, (struct sockaddr *) &address, sizeof(address)) != 0 ||
		listen(fake->listener, 64) != 0)
		abort();
	loop_watch(loop, fake->listener, EPOLLIN, accept_one, fake);
}

void
fake_close(FakePostgres *fake)
{
	char path[128];

	for (int i = 0; i < FAKE_SESSIONS; i++)
		if (fake->sessions[i])
			hang_up(fake->sessions[i]);
	loop_unset(fake->loop, &fake->cancel_due);
	loop_forget(fake->loop, fake->listener);
	close(fake->listener);
	if (fake->cancel_fd >= 0)
		close(fake->cancel_fd);
	snprintf(path, sizeof(path), "%s/.s.PGSQL.5432", fake->folder);
	unlink(path);
	rmdir(fake->folder);
}

void
fake_arm(FakePostgres *fake, FakeFault fault, int at)
{
	memset(fake->commits, 0, sizeof(fake->commits));
	fake->executed = fake->cancels = 0;
	fake->is_reached = false;
	fake->fault = fault;
	fake->at = at;
}
