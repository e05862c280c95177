/*
 * Enqueuers and workers of a queue, a thread and a connection each, with prepared statements.
 *   jobs_client STATEMENTS MODE [OPTION=NUMBER | OPTION=WORD]...
 * submit    clients submit jobs, by batch; prints jobs/s, and p50 and p99 of a call in ms
 * work      clients claim and complete jobs by batch, until so many are done, the time is over, or
 * the queue is empty and idle says none; prints jobs/s, p50 and p99 of a turn in ms, jobs done
 * pickup    submits a job each time that a worker has been idle for pause ms; prints p50 and p99
 * from the submitter's knowing that it is committed to the worker's having it, and p50 from before
 *           the submission, in ms
 * priority  500 low jobs wait, and before each claim comes a high one, so many times a second;
 * prints how many claims took a high one, and how many a low one buffers   prints the mean of
 * buffers that a claim touches
 */
#include "jobs_common.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_CLIENTS 64
#define MOST_SAMPLES 1000000
#define LOW_JOBS 500

static struct
{
	const char *queue;
	const char *statement;
	const char *idle; /* none, poll, wait or listen */
	int clients;
	int batch;
	long jobs;
	double seconds;
	double pause;
	double rate;
} option = {"bench", "submit", "none", 1, 1, 1000, 600, 20, 30};

typedef struct
{
	pthread_t thread;
	PGconn *connection;
	int number;
	bool two_steps; /* the queue has a claim and a finish instead of a take */
	Batch held;		/* claimed and not completed yet */
	PGresult *claimed;
	Text jobs;
	Text attempts;
} Client;

static Client clients[MOST_CLIENTS];
static pthread_barrier_t start_line;
static double started;
static double deadline;
static double *samples;
static atomic_long sample_count;
static atomic_long claimed_count;
static atomic_long done_count;

/* ---- samples ---- */

static void
add_sample(double ms)
{
	long place = atomic_fetch_add(&sample_count, 1);

	if (place < MOST_SAMPLES)
		samples[place] = ms;
}

static int
compare_samples(const void *left, const void *right)
{
	double a = *(const double *) left;
	double b = *(const double *) right;

	return (a > b) - (a < b);
}

/* Sorts samples and gives the one below which that share of them lies. */
static double
quantile(double *values, long count, double share)
{
	if (count == 0)
		return 0;
	qsort(values, (size_t) count, sizeof(double), compare_samples);
	return values[(long) (share * (double) (count - 1) + 0.5)];
}

static double
sample_quantile(double share)
{
	long count = atomic_load(&sample_count);

	return quantile(samples, count < MOST_SAMPLES ? count : MOST_SAMPLES, share);
}

/* ---- connections ---- */

static PGconn *
connect_client(void)
{
	PGconn *connection = PQconnectdb("");

	if (PQstatus(connection) != CONNECTION_OK)
		die("%s", PQerrorMessage(connection));
	return connection;
}

static void
need_prepared(Client *client, const char *name)
{
	if (!prepare(client->connection, name))
		die("%s: %s", name, PQerrorMessage(client->connection));
}

static PGresult *
need(Client *client, const char *name, int count, const char *const *values)
{
	PGresult *result = execute(client->connection, name, count, values);

	if (result == NULL)
		die("%s: %s", name, PQerrorMessage(client->connection));
	return result;
}

static void
open_worker(Client *client)
{
	client->connection = connect_client();
	client->two_steps = statement_sql("take") == NULL;
	need_prepared(client, client->two_steps ? "claim" : "take");
	need_prepared(client, "finish");
	if (strcmp(option.idle, "wait") == 0)
		need_prepared(client, "wait");
	if (strcmp(option.idle, "listen") == 0)
		PQclear(PQexec(client->connection, statement_sql("listen")));
}

/* ---- enqueuers ---- */

static void
submit_one(Client *client, const char *name, long long number, const char *class)
{
	char payload[PAYLOAD_SIZE + 1];
	const char *values[1] = {payload};

	payload_write(payload, number, class);
	PQclear(need(client, name, 1, values));
}

static void
submit_batch(Client *client, Text *payloads, long long first, int count)
{
	const char *values[1];

	payloads_write(payloads, first, count);
	values[0] = payloads->text;
	PQclear(need(client, "submit_many", 1, values));
}

static void *
submit_share(void *argument)
{
	Client *client = argument;
	Text payloads = {0, 0, NULL};
	long share = option.jobs / option.clients;

	for (long i = 0; i < share; i += option.batch)
	{
		long number = client->number * share + i;
		int count = share - i < option.batch ? (int) (share - i) : option.batch;
		double began;

		if (i == 0)
			pthread_barrier_wait(&start_line);
		began = now_seconds();
		if (option.batch == 1)
			submit_one(client, option.statement, number, "none");
		else
			submit_batch(client, &payloads, number, count);
		add_sample((now_seconds() - began) * 1e3);
		atomic_fetch_add(&done_count, count);
	}
	return NULL;
}

/* ---- workers ---- */

static void
finish_held(Client *client)
{
	const char *values[2];

	if (client->held.count == 0)
		return;
	batch_arrays(&client->held, &client->jobs, &client->attempts);
	values[0] = client->jobs.text;
	values[1] = client->attempts.text;
	PQclear(need(client, "finish", 2, values));
	atomic_fetch_add(&done_count, client->held.count);
	client->held.count = 0;
}

/* Completes what the client holds and claims up to so many jobs: in one call, where the queue has
 * it. */
static int
take(Client *client, int most)
{
	char number[16];
	const char *values[3] = {number};

	snprintf(number, sizeof(number), "%d", most);
	PQclear(client->claimed);
	if (client->two_steps)
	{
		finish_held(client);
		client->claimed = need(client, "claim", 1, values);
	}
	else
	{
		batch_arrays(&client->held, &client->jobs, &client->attempts);
		values[1] = client->jobs.text;
		values[2] = client->attempts.text;
		client->claimed = need(client, "take", 3, values);
		atomic_fetch_add(&done_count, client->held.count);
	}
	batch_read(&client->held, client->claimed);
	atomic_fetch_add(&claimed_count, client->held.count);
	return client->held.count;
}

/* Sleeps until there may be a job, as its way of being idle is. */
static void
be_idle(Client *client)
{
	struct pollfd socket = {PQsocket(client->connection), POLLIN, 0};
	PGnotify *notify;

	if (strcmp(option.idle, "wait") == 0)
		PQclear(need(client, "wait", 0, NULL));
	else if (strcmp(option.idle, "poll") == 0)
		pause_ms(10);
	else
	{
		PQconsumeInput(client->connection);
		if ((notify = PQnotifies(client->connection)) == NULL)
		{
			poll(&socket, 1, 1000);
			PQconsumeInput(client->connection);
			notify = PQnotifies(client->connection);
		}
		for (; notify != NULL; notify = PQnotifies(client->connection))
			PQfreemem(notify);
	}
}

static void *
work(void *argument)
{
	Client *client = argument;

	pthread_barrier_wait(&start_line);
	while (atomic_load(&claimed_count) < option.jobs && now_seconds() < deadline)
	{
		double began = now_seconds();
		int finished = client->held.count;

		if (take(client, option.batch) > 0)
			add_sample((now_seconds() - began) * 1e3);
		else if (finished > 0)
			continue;
		else if (strcmp(option.idle, "none") == 0)
			break;
		else
			be_idle(client);
	}
	finish_held(client);
	return NULL;
}

/* ---- running clients ---- */

/* Runs all clients, prints jobs/s, p50 and p99. */
static void
run_clients(void *(*act)(void *) )
{
	double took;

	if (option.clients < 1 || option.clients > MOST_CLIENTS || option.batch < 1 ||
		option.batch > MOST_BATCH || option.jobs < option.clients)
		die("clients, batch or jobs out of range");
	pthread_barrier_init(&start_line, NULL, (unsigned) option.clients + 1);
	for (int i = 0; i < option.clients; i++)
	{
		clients[i].number = i;
		if (act == work)
			open_worker(&clients[i]);
		else
		{
			clients[i].connection = connect_client();
			need_prepared(&clients[i], option.batch == 1 ? option.statement : "submit_many");
		}
		if (pthread_create(&clients[i].thread, NULL, act, &clients[i]) != 0)
			die("no thread could be made");
	}
	started = now_seconds();
	deadline = started + option.seconds;
	pthread_barrier_wait(&start_line);
	for (int i = 0; i < option.clients; i++)
		pthread_join(clients[i].thread, NULL);
	took = now_seconds() - started;
	printf("%.0f %.3f %.3f %ld\n", (double) atomic_load(&done_count) / took, sample_quantile(0.5),
		   sample_quantile(0.99), atomic_load(&done_count));
}

/* ---- pickup on an idle queue ---- */

static _Atomic double picked_up; /* when the worker had the last job; 0 while it has not */

static void *
pick_up(void *argument)
{
	Client *client = argument;

	while (atomic_load(&claimed_count) < option.jobs)
	{
		int finished = client->held.count;

		if (take(client, 1) > 0)
			atomic_store(&picked_up, now_seconds());
		else if (finished == 0)
			be_idle(client);
	}
	finish_held(client);
	return NULL;
}

static void
measure_pickup(void)
{
	Client *submitter = &clients[0];
	double *whole = calloc((size_t) option.jobs, sizeof(double));

	submitter->connection = connect_client();
	need_prepared(submitter, option.statement);
	open_worker(&clients[1]);
	if (pthread_create(&clients[1].thread, NULL, pick_up, &clients[1]) != 0)
		die("no thread could be made");
	for (long i = 0; i < option.jobs; i++)
	{
		double before;
		double known;
		double had;

		pause_ms(option.pause * (1 + (double) (i * 7 % 10) / 10));
		atomic_store(&picked_up, 0);
		before = now_seconds();
		submit_one(submitter, option.statement, i, "none");
		known = now_seconds();
		while ((had = atomic_load(&picked_up)) == 0)
			pause_ms(0.1);
		add_sample(had > known ? (had - known) * 1e3 : 0);
		whole[i] = (had - before) * 1e3;
	}
	pthread_join(clients[1].thread, NULL);
	printf("%.3f %.3f %.3f\n", sample_quantile(0.5), sample_quantile(0.99),
		   quantile(whole, option.jobs, 0.5));
}

/* ---- priorities ---- */

static void
measure_priority(void)
{
	Client *client = &clients[0];
	long high = 0;
	long low = 0;

	open_worker(client);
	need_prepared(client, "submit_low");
	need_prepared(client, "submit_high");
	for (int i = 0; i < LOW_JOBS; i++)
		submit_one(client, "submit_low", i, "low");
	started = now_seconds();
	for (long i = 0; i < option.jobs; i++)
	{
		double early = started + (double) i / option.rate - now_seconds();

		if (early > 0)
			pause_ms(early * 1e3);
		submit_one(client, "submit_high", i, "high");
		if (take(client, 1) == 0)
			die("no job was claimed though some wait");
		if (strstr(PQgetvalue(client->claimed, 0, 2), "\"high\"") != NULL)
			high++;
		else
			low++;
	}
	finish_held(client);
	printf("%ld %ld\n", high, low);
}

/* ---- buffers ---- */

/* Explains one claim of one job, and gives the buffers that it hit and read. */
static long
explain_claim(Client *client)
{
	PGresult *result =
		PQexec(client->connection, client->two_steps
									   ? "EXPLAIN (ANALYZE, BUFFERS) EXECUTE claim(1)"
									   : "EXPLAIN (ANALYZE, BUFFERS) EXECUTE take(1, '{}', '{}')");
	const char *part;
	long hit = 0;
	long read = 0;

	if (PQresultStatus(result) != PGRES_TUPLES_OK)
		die("%s", PQerrorMessage(client->connection));
	for (int i = 0; i < PQntuples(result); i++)
	{
		/* The first line about buffers is that of the whole statement. */
		if ((part = strstr(PQgetvalue(result, i, 0), "Buffers: shared")) == NULL)
			continue;
		if (strstr(part, "hit=") != NULL)
			hit = atol(strstr(part, "hit=") + 4);
		if (strstr(part, "read=") != NULL)
			read = atol(strstr(part, "read=") + 5);
		break;
	}
	PQclear(result);
	return hit + read;
}

/* The first calls fill the caches of the connection and find the plan, so they do not count. */
static void
measure_buffers(void)
{
	Client *client = &clients[0];
	long sum = 0;

	open_worker(client);
	for (int i = 0; i < 10; i++)
		take(client, 1);
	for (long i = 0; i < option.jobs; i++)
		sum += explain_claim(client);
	finish_held(client);
	printf("%.1f\n", (double) sum / (double) option.jobs);
}

/* ---- one statement ---- */

static void
run_statement(void)
{
	const char *sql = statement_sql(option.statement);
	PGconn *connection = connect_client();
	PGresult *result;

	if (sql == NULL)
		die("there is no statement %s", option.statement);
	result = PQexec(connection, sql);
	if (PQresultStatus(result) != PGRES_TUPLES_OK && PQresultStatus(result) != PGRES_COMMAND_OK)
		die("%s: %s", option.statement, PQerrorMessage(connection));
	for (int row = 0; row < PQntuples(result); row++)
		for (int column = 0; column < PQnfields(result); column++)
			printf("%s%c", PQgetvalue(result, row, column),
				   column + 1 < PQnfields(result) ? ' ' : '\n');
}

/* ---- arguments ---- */

static void
read_option(const char *argument)
{
	const char *value = strchr(argument, '=');
	size_t size;

	if (value == NULL)
		die("%s is no option", argument);
	size = (size_t) (value++ - argument);
#define IS(name) (size == strlen(name) && strncmp(argument, name, size) == 0)
	if (IS("queue"))
		option.queue = value;
	else if (IS("statement"))
		option.statement = value;
	else if (IS("idle"))
		option.idle = value;
	else if (IS("clients"))
		option.clients = atoi(value);
	else if (IS("batch"))
		option.batch = atoi(value);
	else if (IS("jobs"))
		option.jobs = atol(value);
	else if (IS("seconds"))
		option.seconds = atof(value);
	else if (IS("pause"))
		option.pause = atof(value);
	else if (IS("rate"))
		option.rate = atof(value);
	else
		die("%s is no option", argument);
#undef IS
}

int
main(int count, char **arguments)
{
	const char *mode;

	if (count < 3)
		die("usage: jobs_client STATEMENTS MODE [OPTION=VALUE]...");
	for (int i = 3; i < count; i++)
		read_option(arguments[i]);
	mode = arguments[2];
	statements_read(arguments[1], option.queue);
	samples = calloc(MOST_SAMPLES, sizeof(double));
	if (samples == NULL)
		die("out of memory");
	if (strcmp(mode, "submit") == 0)
		run_clients(submit_share);
	else if (strcmp(mode, "work") == 0)
		run_clients(work);
	else if (strcmp(mode, "pickup") == 0)
		measure_pickup();
	else if (strcmp(mode, "priority") == 0)
		measure_priority();
	else if (strcmp(mode, "buffers") == 0)
		measure_buffers();
	else if (strcmp(mode, "run") == 0)
		run_statement();
	else
		die("there is no mode %s", mode);
	return 0;
}
