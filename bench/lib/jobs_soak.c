/*
 * The submitter and the takers of bench/soak_jobs, which live with a server that is killed now and
 * then, and kill themselves. Every job has a number in its payload.
 *   jobs_soak STATEMENTS QUEUE submit JOBS STOP_FILE   submits numbers 1 to JOBS, each once
 *   jobs_soak STATEMENTS QUEUE take SEED STOP_FILE     takes jobs
 * Both end when the stop file is there.
 */
#include "jobs_common.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SUBMIT_BATCH 20
#define TAKE_BATCH 10
#define MOST_OPEN \
	500 /* jobs submitted and not done, so that a job that comes back is taken at once */
#define CHECK_EVERY 200
#define LEASE_MS 3000

/* One in so many batches. */
#define KILL_ONE_IN 100
#define OVERSLEEP_ONE_IN 1500

/* Jobs whose number this divides fail at their first two attempts. */
#define FAIL_EVERY 50

static PGconn *connection;
static const char *stop_file;

static bool
is_stopped(void)
{
	return access(stop_file, F_OK) == 0;
}

static void
connect_until_there(const char *const *names)
{
	for (;;)
	{
		bool ready;

		PQfinish(connection);
		connection = PQconnectdb("");
		ready = PQstatus(connection) == CONNECTION_OK;
		for (int i = 0; ready && names[i] != NULL; i++)
			ready = prepare(connection, names[i]);
		if (ready)
			return;
		if (PQstatus(connection) == CONNECTION_OK)
			die("%s", PQerrorMessage(connection));
		if (is_stopped())
			exit(0);
		pause_ms(50);
	}
}

/* An error of a statement ends the soak; that the server is gone does not. */
static void
need_lost_connection(const char *name)
{
	if (PQstatus(connection) == CONNECTION_OK)
		die("%s: %s", name, PQerrorMessage(connection));
}

/* ---- the submitter ---- */

static const char *const submit_statements[] = {"soak_submit", "soak_submitted", "soak_finished",
												NULL};

/* The number that a statement gives; -1 when the server is gone. */
static long long
ask(const char *name, int count, const char *const *values)
{
	PGresult *result = execute(connection, name, count, values);
	long long answer;

	if (result == NULL)
	{
		need_lost_connection(name);
		return -1;
	}
	answer = atoll(PQgetvalue(result, 0, 0));
	PQclear(result);
	return answer;
}

/* Whether a batch is there: when the server was killed at its commit, only the server knows. */
static bool
is_submitted(long long first)
{
	char number[32];
	const char *values[1] = {number};
	long long answer;

	snprintf(number, sizeof(number), "%lld", first);
	while ((answer = ask("soak_submitted", 1, values)) < 0)
		connect_until_there(submit_statements);
	return answer > 0;
}

static void
submit_batch(Text *payloads, Text *numbers, long long first, int count)
{
	const char *values[2];
	PGresult *result;

	payloads_write(payloads, first, count);
	text_clear(numbers);
	for (int i = 0; i < count; i++)
		text_add(numbers, "%s%lld", i == 0 ? "{" : ",", first + i);
	text_add(numbers, "}");
	values[0] = payloads->text;
	values[1] = numbers->text;
	while ((result = execute(connection, "soak_submit", 2, values)) == NULL)
	{
		need_lost_connection("soak_submit");
		connect_until_there(submit_statements);
		if (is_submitted(first))
			return;
	}
	PQclear(result);
}

/* Waits until not too many jobs are open. */
static void
hold_back(long long submitted)
{
	while (!is_stopped())
	{
		long long finished = ask("soak_finished", 0, NULL);

		if (finished < 0)
			connect_until_there(submit_statements);
		else if (submitted - finished <= MOST_OPEN)
			return;
		else
			pause_ms(20);
	}
}

static void
submit_all(long long jobs)
{
	Text payloads = {0, 0, NULL};
	Text numbers = {0, 0, NULL};

	connect_until_there(submit_statements);
	for (long long first = 1; first <= jobs && !is_stopped(); first += SUBMIT_BATCH)
	{
		long long left = jobs - first + 1;

		submit_batch(&payloads, &numbers, first, left < SUBMIT_BATCH ? (int) left : SUBMIT_BATCH);
		if (first / CHECK_EVERY != (first + SUBMIT_BATCH) / CHECK_EVERY)
			hold_back(first + SUBMIT_BATCH - 1);
	}
}

/* ---- takers ---- */

static const char *const take_statements[] = {"soak_take", "soak_fail", "wait", NULL};

static bool
one_in(int chance)
{
	return random() % chance == 0;
}

static void
kill_self(void)
{
	kill(getpid(), SIGKILL);
}

/* Completes what is held and takes more. May die before the call, while it runs, or with the jobs.
 */
static PGresult *
take(Batch *held, Text *jobs, Text *attempts)
{
	char most[16];
	const char *values[3] = {most};
	PGresult *result;
	int fate = one_in(KILL_ONE_IN) ? (int) (random() % 3) : -1;

	snprintf(most, sizeof(most), "%d", TAKE_BATCH);
	batch_arrays(held, jobs, attempts);
	values[1] = jobs->text;
	values[2] = attempts->text;
	if (fate == 0)
		kill_self();
	if (fate == 1)
	{
		PQsendQueryPrepared(connection, "soak_take", 3, values, NULL, NULL, 0);
		PQflush(connection);
		pause_ms((double) (random() % 3));
		kill_self();
	}
	result = execute(connection, "soak_take", 3, values);
	if (fate == 2)
		kill_self();
	return result;
}

static long long
number_of(const char *payload)
{
	const char *mark = strstr(payload, "\"n\": ");

	if (mark == NULL)
		die("a payload without a number: %s", payload);
	return atoll(mark + strlen("\"n\": "));
}

/* Fails those that are to fail and drops them from the batch. False when the server is gone. */
static bool
fail_some(Batch *batch, const PGresult *taken)
{
	int kept = 0;

	for (int i = 0; i < batch->count; i++)
	{
		char job[32];
		char attempt[16];
		const char *values[2] = {job, attempt};
		PGresult *result;

		if (number_of(PQgetvalue(taken, i, 2)) % FAIL_EVERY != 0 || batch->attempt[i] > 2)
		{
			batch->job[kept] = batch->job[i];
			batch->attempt[kept++] = batch->attempt[i];
			continue;
		}
		snprintf(job, sizeof(job), "%lld", batch->job[i]);
		snprintf(attempt, sizeof(attempt), "%d", batch->attempt[i]);
		result = execute(connection, "soak_fail", 2, values);
		if (result == NULL)
			return false;
		PQclear(result);
	}
	batch->count = kept;
	return true;
}

/* Between jobs: works for a while, or longer than the lease, or waits when there was none. */
static bool
spend_time(const Batch *held)
{
	PGresult *result;

	if (held->count > 0)
	{
		pause_ms(one_in(OVERSLEEP_ONE_IN) ? LEASE_MS + 1000 : (double) (random() % 20));
		return true;
	}
	result = execute(connection, "wait", 0, NULL);
	PQclear(result);
	return result != NULL;
}

static void
take_all(void)
{
	static Batch held;
	Text jobs = {0, 0, NULL};
	Text attempts = {0, 0, NULL};

	connect_until_there(take_statements);
	while (held.count > 0 || !is_stopped())
	{
		PGresult *taken = take(&held, &jobs, &attempts);

		if (taken == NULL)
		{
			/* What is held may have been completed by then; doing it again does no harm. */
			need_lost_connection("soak_take");
			connect_until_there(take_statements);
			continue;
		}
		batch_read(&held, taken);
		if (!fail_some(&held, taken) || !spend_time(&held))
		{
			need_lost_connection("soak_fail or wait");
			connect_until_there(take_statements);
			held.count = 0;
		}
		PQclear(taken);
	}
}

int
main(int count, char **arguments)
{
	if (count != 6)
		die("usage: jobs_soak STATEMENTS QUEUE submit JOBS STOP_FILE | take SEED STOP_FILE");
	stop_file = arguments[5];
	statements_read(arguments[1], arguments[2]);
	if (strcmp(arguments[3], "submit") == 0)
		submit_all(atoll(arguments[4]));
	else if (strcmp(arguments[3], "take") == 0)
	{
		srandom((unsigned) atol(arguments[4]));
		take_all();
	}
	else
		die("there is no mode %s", arguments[3]);
	return 0;
}
