/*
 * The gateway's pool, when its server breaks off, has its statements vanish, is asked to cancel, or
 * has much to do.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "gateway/pool.h"
#include "tests/fake_postgres.h"
#include "tests/tap.h"

#define PATIENCE 20000 /* ms */

typedef struct Asked
{
	bool is_answered;
	AnswerState state;
	char sqlstate[6];
	bool has_lsn;
	int64_t after; /* ms */
	Ticket *ticket;
} Asked;

static Loop loop;
static FakePostgres fake;
static Pool *pool;
static Timer ticking;
static int64_t limit;
static int64_t began;
static bool (*is_reached)(void);
static Asked *awaited;
static int awaited_count;

static const Credential someone = {
	.kind = CREDENTIAL_KEY,
	.key_hash = "\\x0000000000000000000000000000000000000000000000000000000000000000"};

/* ---- waiting ---- */

static void
tick(void *context)
{
	(void) context;
	if (is_reached() || clock_ms() >= limit)
		loop_end(&loop);
	else
		loop_set(&loop, &ticking, clock_ms() + 1);
}

static bool
comes(bool (*condition)(void), int patience)
{
	is_reached = condition;
	limit = clock_ms() + patience;
	loop.is_ending = false;
	ticking = (Timer) {.due = tick};
	loop_set(&loop, &ticking, clock_ms());
	loop_run(&loop);
	return condition();
}

static bool
never(void)
{
	return false;
}

static bool
all_is_answered(void)
{
	for (int i = 0; i < awaited_count; i++)
		if (!awaited[i].is_answered)
			return false;
	return true;
}

static bool
is_answered(Asked *asked, int count)
{
	awaited = asked;
	awaited_count = count;
	return comes(all_is_answered, PATIENCE);
}

/* ---- asking ---- */

static void
take(void *context, const Answer *answer)
{
	Asked *asked = context;

	asked->is_answered = true;
	asked->state = answer->state;
	asked->has_lsn = answer->lsn != NULL;
	asked->after = clock_ms() - began;
	snprintf(asked->sqlstate, sizeof(asked->sqlstate), "%s",
			 answer->sqlstate ? answer->sqlstate : "");
}

/* What they point to stays. */
static const char *const values[FAKE_VALUES][1] = {{"0"}, {"1"}, {"2"}, {"3"}};

static void
ask_to_write(Asked *asked, int value)
{
	Unit unit = {.side = SIDE_LEAD,
				 .statement = "write",
				 .sql = "insert",
				 .count = 1,
				 .values = values[value],
				 .credential = &someone,
				 .route = "POST /",
				 .is_write = true};

	*asked = (Asked) {.ticket = pool_run(pool, &unit, take, asked)};
}

static void
ask(Asked *asked, const Unit *unit)
{
	*asked = (Asked) {.ticket = pool_run(pool, unit, take, asked)};
}

static bool
is_connected(void)
{
	PoolState local;
	PoolState lead;

	pool_state(pool, SIDE_LOCAL, &local);
	pool_state(pool, SIDE_LEAD, &lead);
	return local.connections == awaited_count && lead.connections == awaited_count;
}

static void
open_pool(int connections)
{
	char conninfo[128];
	char *problem = NULL;
	PoolConfig config = {
		.local = conninfo, .connections = {connections, connections, 1}, .timeout = 5000};

	snprintf(conninfo, sizeof(conninfo), "host=%s user=x dbname=x sslmode=disable", fake.folder);
	pool = pool_open(&loop, &config, &problem);
	awaited_count = connections;
	if (pool == NULL || !comes(is_connected, PATIENCE))
		abort();
	began = clock_ms();
}

/* ---- writes ---- */

/*
 * Is what was told true? Two writes are under way; each was done once or not at all.
 */
static bool
is_true(const Asked *asked, int done)
{
	switch (asked->state)
	{
		case ANSWER_OK:
			return done == 1;
		case ANSWER_LOST:
			return done <= 1;
		default:
			return done == 0;
	}
}

/*
 * Two writes whose server breaks off after "at" messages; false when it does not any more.
 */
static bool
write_with(FakeFault fault, int at, bool is_warm, int *wrong, int states[4])
{
	Asked asked[2];
	bool was_reached;

	open_pool(1);
	if (is_warm)
	{
		ask_to_write(&asked[0], 0);
		is_answered(asked, 1);
	}
	fake_arm(&fake, fault, at);
	for (int i = 0; i < 2; i++)
		ask_to_write(&asked[i], i + 1);
	if (!is_answered(asked, 2))
		++*wrong;
	for (int i = 0; i < 2; i++)
	{
		states[asked[i].state]++;
		if (is_true(&asked[i], fake.commits[i + 1]))
			continue;
		++*wrong;
		note("after %d: write %d is answered %d, and done %d times", at, i, asked[i].state,
			 fake.commits[i + 1]);
	}
	was_reached = fake.is_reached;
	pool_close(pool);
	return was_reached;
}

static void
test_writes(void)
{
	static const char *const names[] = {"", "its answers are lost", "it goes", "it says FATAL"};

	for (FakeFault fault = FAKE_MUTE; fault <= FAKE_FATAL; fault++)
		for (int is_warm = 0; is_warm <= 1; is_warm++)
		{
			int wrong = 0;
			int states[4] = {0};
			int at = 0;

			while (write_with(fault, at, is_warm, &wrong, states))
				at++;
			ok(wrong == 0 && at > 10,
			   "a write is done once or known not to be, when %s after each of %d messages%s",
			   names[fault], at, is_warm ? ", its statement prepared before" : "");
			note("%d were done, %d were not known", states[ANSWER_OK], states[ANSWER_LOST]);
			ok(states[ANSWER_LOST] > 0 && states[ANSWER_ERROR] + states[ANSWER_UNAVAILABLE] == 0,
			   "... and where it is not known, that is said");
			if (fault == FAKE_FATAL)
				ok(states[ANSWER_LOST] < states[ANSWER_OK] / 4, "... and most are tried again");
		}
}

/* ---- statements that vanish ---- */

static void
test_vanished(const char *state, const char *name)
{
	Unit read = {.side = SIDE_LOCAL,
				 .statement = "read",
				 .sql = "select",
				 .credential = &someone,
				 .route = "GET /"};
	Asked asked[40];
	int good = 0;

	open_pool(4);
	for (int round = 0; round < 2; round++)
	{
		for (int i = 0; i < 36; i++)
			ask(&asked[i], &read);
		for (int i = 36; i < 40; i++)
			ask_to_write(&asked[i], i - 36);
		is_answered(asked, 40);
		if (round == 1)
			break;
		fake_arm(&fake, FAKE_WELL, 0);
		fake.generation++;
		fake.gone = state;
	}
	for (int i = 0; i < 40; i++)
		good += asked[i].state == ANSWER_OK;
	ok(good == 40, "%s: all is prepared anew, and works (%d of 40)", name, good);
	for (int i = 0; i < FAKE_VALUES; i++)
		ok(fake.commits[i] == 1, "... write %d was done once", i);
	ok(asked[36].has_lsn, "... and has its position");
	pool_close(pool);
}

static void
test_unsupported(void)
{
	Unit unit = {.side = SIDE_LOCAL, .statement = "unsupported", .sql = "unsupported"};
	Asked asked;

	open_pool(1);
	fake_arm(&fake, FAKE_WELL, 0);
	ask(&asked, &unit);
	is_answered(&asked, 1);
	is(asked.sqlstate, "0A000", "what the database cannot do is told");
	ok(fake.executed == 1, "... without another try");
	pool_close(pool);
}

/* ---- cancels ---- */

static const Unit *
sleeping(const char *const *milliseconds)
{
	static Unit unit;

	unit = (Unit) {.side = SIDE_LOCAL,
				   .statement = "sleep",
				   .sql = "sleep",
				   .count = 1,
				   .values = milliseconds};
	return &unit;
}

static const char *const short_time[] = {"5"};
static const char *const some_time[] = {"400"};
static const char *const long_time[] = {"4000"};
static const char *const rather_long_time[] = {"1500"};

static bool
is_cancelled(void)
{
	return fake.cancels > 0;
}

static void
test_short_cancels(void)
{
	Asked gone[100];
	Asked stays[100];
	int good = 0;

	open_pool(2);
	fake_arm(&fake, FAKE_WELL, 0);
	for (int i = 0; i < 100; i++)
	{
		ask(&gone[i], sleeping(short_time));
		ask(&stays[i], sleeping(short_time));
		pool_cancel(gone[i].ticket);
		comes(never, 3);
	}
	is_answered(stays, 100);
	for (int i = 0; i < 100; i++)
		good += stays[i].state == ANSWER_OK && !gone[i].is_answered;
	ok(fake.cancels <= 2, "what takes short is not cancelled when its client goes (%d cancels)",
	   fake.cancels);
	ok(good == 100, "... and others are answered");
	pool_close(pool);
}

/*
 * The cancel of one unit arrives when the one behind it runs.
 */
static void
test_stray_cancel(void)
{
	Asked asked[3];
	PoolState state;

	open_pool(1);
	fake_arm(&fake, FAKE_WELL, 0);
	fake.cancel_delay = 350;
	ask(&asked[0], sleeping(some_time));
	ask(&asked[1], sleeping(some_time));
	ask(&asked[2], sleeping(some_time));
	pool_cancel(asked[0].ticket);
	is_answered(&asked[1], 2);
	pool_state(pool, SIDE_LOCAL, &state);
	ok(fake.cancels >= 1, "what has run for a while is cancelled when its client has gone");
	ok(asked[1].state == ANSWER_OK && asked[2].state == ANSWER_OK,
	   "who is hit instead is tried again (%d times)", (int) state.retries);
	fake.cancel_delay = 0;
	pool_close(pool);
}

static void
test_cancel(void)
{
	Asked asked[2];

	open_pool(1);
	fake_arm(&fake, FAKE_WELL, 0);
	ask(&asked[0], sleeping(long_time));
	ask(&asked[1], sleeping(short_time));
	pool_cancel(asked[0].ticket);
	is_answered(&asked[1], 1);
	ok(asked[1].state == ANSWER_OK && asked[1].after < 1500,
	   "what runs long is cancelled for those behind it, after %d ms", (int) asked[1].after);
	ok(asked[1].after >= 100 && fake.cancels == 1, "... once, and not at once");
	pool_close(pool);
}

static int
entries_of(const char *folder)
{
	DIR *entries = opendir(folder);
	int count = 0;

	while (readdir(entries))
		count++;
	closedir(entries);
	return count;
}

/*
 * Each connection has one cancel on its way, at most; none is for ever.
 */
static void
test_cancels_that_hang(void)
{
	Asked asked[20];
	int descriptors;

	open_pool(8);
	descriptors = entries_of("/proc/self/fd");
	fake_arm(&fake, FAKE_WELL, 0);
	fake.cancel_delay = -1;
	for (int i = 0; i < 16; i++)
	{
		ask(&asked[i], sleeping(rather_long_time));
		pool_cancel(asked[i].ticket);
	}
	comes(never, 1500);
	ok(fake.cancels > 0 && fake.cancels <= 8, "cancels that hang are few (%d)", fake.cancels);
	comes(never, 7500);
	ok(entries_of("/proc/self/task") == 3, "... and leave no threads");
	ok(entries_of("/proc/self/fd") == descriptors, "... nor sockets");
	fake_arm(&fake, FAKE_WELL, 0);
	fake.cancel_delay = 0;
	ask(&asked[0], sleeping(long_time));
	pool_cancel(asked[0].ticket);
	ok(comes(is_cancelled, 2000), "... and given up: others are cancelled later");
	pool_close(pool);
}

/* ---- much to do ---- */

static void
test_fairness(void)
{
	static Asked many[6000];
	Unit check = {.side = SIDE_LOCAL, .statement = "check", .sql = "select", .is_background = true};
	Unit read = {.side = SIDE_LOCAL, .statement = "read", .sql = "select"};
	Asked asked[100];
	int good = 0;
	int before = 0;

	open_pool(1);
	for (int i = 0; i < 6000; i++)
		ask(&many[i], &check);
	for (int i = 0; i < 100; i++)
		ask(&asked[i], &read);
	is_answered(asked, 100);
	for (int i = 0; i < 6000; i++)
		before += many[i].is_answered && many[i].state == ANSWER_OK;
	for (int i = 0; i < 100; i++)
		good += asked[i].state == ANSWER_OK;
	ok(good == 100, "requests are answered, whatever else waits (%d of 100)", good);
	ok(before < 400, "... and before it (behind %d)", before);
	ok(is_answered(many, 6000), "what waits behind is answered, too");
	good = 0;
	for (int i = 0; i < 6000; i++)
		good += many[i].state == ANSWER_OK ||
				(many[i].state == ANSWER_ERROR && strcmp(many[i].sqlstate, "53300") == 0);
	ok(good == 6000, "... or told that it is too much");
	pool_close(pool);
}

static Asked of_much;

static void
ask_much(void)
{
	static char much[1 << 20];
	static const char *const sleep_and_much[] = {"1500", much};
	Unit unit = *sleeping(sleep_and_much);

	memset(much, 'x', sizeof(much) - 1);
	unit.count = 2;
	ask(&of_much, &unit);
}

/*
 * When more is sent than the socket takes, libpq reads what has come meanwhile.
 */
static void
test_full_socket(void)
{
	Unit read = {.side = SIDE_LOCAL, .statement = "read", .sql = "select"};
	Asked asked;

	open_pool(1);
	ask(&asked, sleeping(short_time));
	is_answered(&asked, 1);
	began = clock_ms();
	fake.answered = ask_much;
	ask(&asked, &read);
	is_answered(&asked, 1);
	ok(asked.state == ANSWER_OK && asked.after < 1000,
	   "what is read while much is sent is answered at once, after %d ms", (int) asked.after);
	ok(is_answered(&of_much, 1) && of_much.state == ANSWER_OK, "... and that much, too");
	pool_close(pool);
}

int
main(void)
{
	log_open(LOG_ERROR, LOG_LOGFMT);
	if (!loop_open(&loop))
		return 1;
	fake_open(&fake, &loop);
	test_writes();
	test_vanished(NULL, "a statement gives other columns");
	test_vanished("26000", "statements are gone");
	test_vanished("XX000", "a statement's types are gone");
	test_unsupported();
	test_short_cancels();
	test_stray_cancel();
	test_cancel();
	test_cancels_that_hang();
	test_fairness();
	test_full_socket();
	fake_close(&fake);
	loop_close(&loop);
	return done();
}
