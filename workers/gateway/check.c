/*
 * --check: tries out what the configuration names.
 */
#include "gateway/check.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/memory.h"
#include "gateway/listener.h"
#include "gateway/pool.h"

#define LIMIT 10000 /* ms */

typedef struct Check
{
	Loop loop;
	const Config *config;
	Pool *pool;
	bool is_told[SIDES];
	int waiting; /* for so many answers */
	int problems;
	Timer limit;
} Check;

/* Of whose answers the context is. */
typedef struct Question
{
	Check *check;
	Side side;
} Question;

static void
say(Check *check, bool is_well, const char *what, const char *name, const char *found)
{
	printf("%-9s %-10s %s%s\n", what, name, is_well ? "" : "PROBLEM: ", found);
	check->problems += !is_well;
}

/* ---- databases ---- */

static const char *const side_names[SIDES] = {"local", "lead", "wake"};

static const char sql[] =
	"SELECT current_user, pg_is_in_recovery(), e.extversion, "
	"coalesce(pg_has_role(current_user, g.oid, 'MEMBER'), false), r.rolsuper, current_database(), "
	"current_setting('server_version') "
	"FROM pg_roles r LEFT JOIN pg_extension e ON e.extname = 'aurora' "
	"LEFT JOIN pg_roles g ON g.rolname = 'aurora_gateway' WHERE r.rolname = current_user";

static const char *
find_problem(const PGresult *result, Side side)
{
	if (PQgetisnull(result, 0, 2))
		return "the extension aurora is not in this database";
	if (PQgetvalue(result, 0, 4)[0] == 't')
		return "the role is a superuser, and would be let by row level security";
	if (PQgetvalue(result, 0, 3)[0] != 't')
		return "the role is no member of aurora_gateway: GRANT aurora_gateway TO it";
	if (side == SIDE_LEAD && PQgetvalue(result, 0, 1)[0] == 't')
		return "this is a standby and no lead";
	return NULL;
}

static void
answered(void *context, const Answer *answer)
{
	Question *question = context;
	Check *check = question->check;
	Buffer found = {0};
	const char *problem = answer->message;

	if (answer->state == ANSWER_UNAVAILABLE && *pool_reason(check->pool, question->side))
		problem = pool_reason(check->pool, question->side);
	if (answer->state == ANSWER_OK && PQntuples(answer->result) == 1)
	{
		const PGresult *result = answer->result;

		problem = find_problem(result, question->side);
		buffer_print(&found, "%s in database %s, PostgreSQL %s, %s, aurora %s",
					 PQgetvalue(result, 0, 0), PQgetvalue(result, 0, 5), PQgetvalue(result, 0, 6),
					 PQgetvalue(result, 0, 1)[0] == 't' ? "a standby" : "the lead",
					 PQgetvalue(result, 0, 2));
	}
	check->is_told[question->side] = true;
	say(check, problem == NULL, "database", side_names[question->side],
		problem ? problem : found.bytes);
	buffer_wipe(&found);
	if (--check->waiting == 0)
		loop_end(&check->loop);
}

static void
time_is_up(void *context)
{
	Check *check = context;

	for (int side = SIDE_LOCAL; side <= SIDE_LEAD; side++)
		if (!check->is_told[side])
			say(check, false, "database", side_names[side], "it does not answer");
	loop_end(&check->loop);
}

static void
check_databases(Check *check)
{
	PoolConfig wanted = {.local = check->config->local,
						 .lead = check->config->lead,
						 .connections = {1, 1, 1},
						 .timeout = LIMIT};
	Question questions[] = {{check, SIDE_LOCAL}, {check, SIDE_LEAD}};
	char *problem;

	check->pool = pool_open(&check->loop, &wanted, &problem);
	if (check->pool == NULL)
	{
		say(check, false, "database", "", problem);
		free(problem);
		return;
	}
	check->waiting = 2;
	for (int i = 0; i < 2; i++)
		pool_run(check->pool, &(Unit) {.side = questions[i].side, .statement = "check", .sql = sql},
				 answered, &questions[i]);
	check->limit = (Timer) {.due = time_is_up, .context = check};
	loop_set(&check->loop, &check->limit, clock_ms() + LIMIT);
	loop_run(&check->loop);
	pool_close(check->pool);
}

/* ---- listeners ---- */

static void
check_listener(Check *check, const ListenConfig *listener)
{
	char *problem = NULL;
	Buffer found = {0};
	int fd = listener_socket(listener, &problem);
	bool is_used = fd < 0 && errno == EADDRINUSE;

	buffer_print(&found, "%s, routes:", listener->socket ? listener->socket : listener->address);
	for (int group = 0; group < GROUPS; group++)
		if (listener->groups & 1u << group)
			buffer_print(&found, " %s", group_names[group]);
	if (is_used)
		buffer_add_text(&found, "; somebody listens there now");
	say(check, fd >= 0 || is_used, "listener", listener->name,
		fd >= 0 || is_used ? found.bytes : problem);
	if (fd >= 0)
	{
		close(fd);
		if (listener->socket)
			(void) unlink(listener->socket);
	}
	free(problem);
	buffer_wipe(&found);
}

int
check_run(Config *config)
{
	Check *check = memory_get(sizeof(Check));
	int problems;

	log_open(LOG_NOTHING, LOG_LOGFMT);
	signal(SIGPIPE, SIG_IGN);
	check->config = config;
	if (!loop_open(&check->loop))
		return EXIT_FAILURE;
	check_databases(check);
	for (int i = 0; i < config->listener_count; i++)
		check_listener(check, &config->listeners[i]);
	loop_close(&check->loop);
	config_free(config);
	problems = check->problems;
	free(check);
	return problems > 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
