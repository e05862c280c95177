/*
 * Clients that have text generated, from a model server directly or by jobs, and time it. A
 * "client" asks again and again, and waits for the whole text each time. Connections to the
 * database are as libpq's environment variables say.
 *
 *   gpu_stream direct|jobs|cancel|resume OPTION=VALUE...
 *
 * direct, jobs  tokens a second of all clients; p50 and p99 of the first token and of the whole, ms
 * cancel        from cancel_job() until the server's slot is free: p50 and most, ms
 * resume        kills the worker that has the job: ms until more text is stored, and whether all of
 * it is right
 */
#include <curl/curl.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "jobs_common.h"

#define MOST_CLIENTS 64
#define MOST_REQUESTS 10000

/* Options. */
static const char *url = "";
static const char *workers = ""; /* NODE=PID with commas */
static int clients = 1;
static int requests = 1; /* of each client */
static int tokens = 64;
static int after = 10;	/* tokens that a job has when it is cancelled, or its worker killed */
static double poll = 2; /* ms between two looks at a job's text */
static int first_prompt;
static bool use_jobs;

/* What was measured. */
static double first_ms[MOST_REQUESTS];
static double whole_ms[MOST_REQUESTS];
static long long token_count;
static int measured;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

typedef struct
{
	double began;
	double first; /* 0 until there is text */
	double ended;
	int tokens;
	Text text;
	Text line; /* of the server, as far as it is there */
} Run;

static int
option_number(const char *value)
{
	char *end;
	long number = strtol(value, &end, 10);

	if (end == value || *end)
		die("%s is no number", value);
	return (int) number;
}

static void
read_options(int count, char **arguments)
{
	for (int i = 0; i < count; i++)
	{
		char *value = strchr(arguments[i], '=');

		if (value == NULL)
			die("%s is no option", arguments[i]);
		*value++ = '\0';
		if (strcmp(arguments[i], "url") == 0)
			url = value;
		else if (strcmp(arguments[i], "workers") == 0)
			workers = value;
		else if (strcmp(arguments[i], "clients") == 0)
			clients = option_number(value);
		else if (strcmp(arguments[i], "requests") == 0)
			requests = option_number(value);
		else if (strcmp(arguments[i], "tokens") == 0)
			tokens = option_number(value);
		else if (strcmp(arguments[i], "after") == 0)
			after = option_number(value);
		else if (strcmp(arguments[i], "poll") == 0)
			poll = option_number(value);
		else if (strcmp(arguments[i], "prompt") == 0)
			first_prompt = option_number(value);
		else
			die("there is no option %s", arguments[i]);
	}
	if (clients < 1 || clients > MOST_CLIENTS || clients * requests > MOST_REQUESTS)
		die("too many clients or requests");
}

/* ---- the server ---- */

/* A line of the stream: a token is a piece of text. The server here escapes quotes and backslashes
 * only. */
static void
take_line(Run *run, const char *line)
{
	const char *text = strstr(line, "\"content\":\"");

	if (text == NULL)
		text = strstr(line, "\"text\":\"");
	if (text == NULL)
		return;
	text = strchr(text, ':') + 2;
	if (*text == '"')
		return;
	run->tokens++;
	if (run->first == 0)
		run->first = now_seconds();
	for (; *text && *text != '"'; text++)
	{
		if (strncmp(text, "\\u000a", 6) == 0)
		{
			text_add(&run->text, "\n");
			text += 5;
			continue;
		}
		if (*text == '\\')
			text++;
		text_add(&run->text, "%c", *text);
	}
}

static size_t
take_bytes(char *bytes, size_t one, size_t size, void *context)
{
	Run *run = context;

	(void) one;
	for (size_t i = 0; i < size; i++)
		if (bytes[i] != '\n')
			text_add(&run->line, "%c", bytes[i]);
		else
		{
			text_add(&run->line, "%s", "");
			take_line(run, run->line.text);
			text_clear(&run->line);
		}
	return size;
}

static void
ask_server(CURL *easy, Run *run, const char *prompt)
{
	char body[300];
	char address[200];
	struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/json");
	CURLcode code;

	snprintf(body, sizeof(body),
			 "{\"model\":\"test\",\"prompt\":\"%s\",\"max_tokens\":%d,\"stream\":true}", prompt,
			 tokens);
	snprintf(address, sizeof(address), "%s/v1/completions", url);
	text_clear(&run->line);
	curl_easy_setopt(easy, CURLOPT_URL, address);
	curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(easy, CURLOPT_POSTFIELDS, body);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_bytes);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, run);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	code = curl_easy_perform(easy);
	curl_slist_free_all(headers);
	if (code != CURLE_OK || run->tokens == 0)
		die("the server gives no text: %s", curl_easy_strerror(code));
}

static size_t
count_busy(char *bytes, size_t one, size_t size, void *context)
{
	Text *answer = context;

	text_add(answer, "%.*s", (int) (one * size), bytes);
	return size;
}

/* Has the server a slot that is busy? */
static bool
is_busy(CURL *easy)
{
	Text answer = {0, 0, NULL};
	char address[200];
	bool found;

	snprintf(address, sizeof(address), "%s/slots", url);
	text_clear(&answer);
	curl_easy_setopt(easy, CURLOPT_URL, address);
	curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, count_busy);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, &answer);
	if (curl_easy_perform(easy) != CURLE_OK)
		die("the server does not tell of its slots");
	found = strstr(answer.text, "\"is_processing\":true") != NULL;
	free(answer.text);
	return found;
}

/* ---- jobs ---- */

static PGresult *
query(PGconn *connection, const char *name, const char *first, int second)
{
	char number[20];
	const char *values[2] = {first, number};
	PGresult *result;

	snprintf(number, sizeof(number), "%d", second);
	result = PQexecPrepared(connection, name, second < 0 ? 1 : 2, values, NULL, NULL, 0);
	if (PQresultStatus(result) != PGRES_TUPLES_OK)
		die("%s: %s", name, PQerrorMessage(connection));
	return result;
}

static void
submit(PGconn *connection, const char *prompt, char *job, size_t size)
{
	PGresult *result = query(connection, "generate", prompt, tokens);

	snprintf(job, size, "%s", PQgetvalue(result, 0, 0));
	PQclear(result);
}

/* Looks for more text; true when the job has ended. */
static bool
look(PGconn *connection, const char *job, Run *run)
{
	PGresult *result = query(connection, "output", job, run->tokens);
	bool is_over = false;

	for (int i = 0; i < PQntuples(result); i++)
	{
		if (run->first == 0 && !PQgetisnull(result, i, 1) && *PQgetvalue(result, i, 1))
			run->first = now_seconds();
		text_add(&run->text, "%s", PQgetvalue(result, i, 1));
		run->tokens = atoi(PQgetvalue(result, i, 0));
		is_over = !PQgetisnull(result, i, 2);
		if (is_over && strcmp(PQgetvalue(result, i, 2), "error") == 0)
			die("job %s has failed", job);
	}
	PQclear(result);
	return is_over;
}

static PGconn *
connect_now(void)
{
	PGconn *connection = PQconnectdb("");
	char job[30];
	Run run = {0};

	if (PQstatus(connection) != CONNECTION_OK)
		die("%s", PQerrorMessage(connection));
	PQclear(PQprepare(
		connection, "generate",
		"SELECT aurora.generate('test', $1, max_tokens => $2::int, class => 'interactive')", 0,
		NULL));
	PQclear(PQprepare(
		connection, "output",
		"SELECT token_no, text, finish_reason FROM aurora.job_output($1::bigint, $2::int)", 0,
		NULL));
	PQclear(PQprepare(connection, "cancel", "SELECT aurora.cancel_job($1::bigint)", 0, NULL));
	PQclear(PQprepare(
		connection, "job",
		"SELECT split_part(taker, '/', 1), attempt FROM aurora.jobs WHERE job_id = $1::bigint", 0,
		NULL));
	/* A connection's first calls take longer, since it has to plan them. */
	PQclear(PQexec(connection, "BEGIN"));
	submit(connection, "to be undone", job, sizeof(job));
	(void) look(connection, job, &run);
	PQclear(PQexec(connection, "ROLLBACK"));
	free(run.text.text);
	return connection;
}

static void
ask_job(PGconn *connection, Run *run, const char *prompt)
{
	char job[30];

	submit(connection, prompt, job, sizeof(job));
	while (!look(connection, job, run))
		pause_ms(poll);
}

/* ---- many clients ---- */

static void *
be_client(void *argument)
{
	int number = *(int *) argument;
	PGconn *connection = use_jobs ? connect_now() : NULL;
	CURL *easy = curl_easy_init();

	for (int i = 0; i < requests; i++)
	{
		char prompt[60];
		Run run = {0};

		snprintf(prompt, sizeof(prompt), "prompt %d", first_prompt + number * requests + i);
		text_clear(&run.text);
		run.began = now_seconds();
		if (use_jobs)
			ask_job(connection, &run, prompt);
		else
			ask_server(easy, &run, prompt);
		run.ended = now_seconds();
		pthread_mutex_lock(&lock);
		first_ms[measured] = 1000 * (run.first - run.began);
		whole_ms[measured++] = 1000 * (run.ended - run.began);
		token_count += run.tokens;
		pthread_mutex_unlock(&lock);
		free(run.text.text);
		free(run.line.text);
	}
	curl_easy_cleanup(easy);
	PQfinish(connection);
	return NULL;
}

static int
compare(const void *a, const void *b)
{
	double left = *(const double *) a;
	double right = *(const double *) b;

	return left < right ? -1 : left > right;
}

static double
percentile(double *values, int count, double share)
{
	qsort(values, (size_t) count, sizeof(double), compare);
	return values[(int) ((count - 1) * share + 0.5)];
}

static void
run_clients(void)
{
	pthread_t threads[MOST_CLIENTS];
	int numbers[MOST_CLIENTS];
	double began = now_seconds();

	for (int i = 0; i < clients; i++)
	{
		numbers[i] = i;
		if (pthread_create(&threads[i], NULL, be_client, &numbers[i]) != 0)
			die("there is no thread");
	}
	for (int i = 0; i < clients; i++)
		pthread_join(threads[i], NULL);
	printf("%.1f %.2f %.2f %.1f %.1f\n", (double) token_count / (now_seconds() - began),
		   percentile(first_ms, measured, 0.5), percentile(first_ms, measured, 0.99),
		   percentile(whole_ms, measured, 0.5), percentile(whole_ms, measured, 0.99));
}

/* ---- one job, disturbed ---- */

static void
stream_until(PGconn *connection, const char *job, Run *run)
{
	while (run->tokens < after)
	{
		if (look(connection, job, run))
			die("job %s is over too early", job);
		pause_ms(poll);
	}
}

static void
cancel_jobs(void)
{
	PGconn *connection = connect_now();
	CURL *easy = curl_easy_init();

	for (int i = 0; i < requests; i++)
	{
		char prompt[60];
		char job[30];
		Run run = {0};
		double began;

		snprintf(prompt, sizeof(prompt), "prompt %d", first_prompt + i);
		text_clear(&run.text);
		submit(connection, prompt, job, sizeof(job));
		stream_until(connection, job, &run);
		began = now_seconds();
		PQclear(query(connection, "cancel", job, -1));
		while (is_busy(easy))
			pause_ms(1);
		whole_ms[i] = 1000 * (now_seconds() - began);
		while (!look(connection, job, &run))
			pause_ms(poll);
		free(run.text.text);
	}
	printf("%.1f %.1f\n", percentile(whole_ms, requests, 0.5), percentile(whole_ms, requests, 1));
}

static int
worker_of(const char *node)
{
	size_t length = strlen(node);

	for (const char *at = workers; at && *at; at = strchr(at, ','))
	{
		at += *at == ',';
		if (strncmp(at, node, length) == 0 && at[length] == '=')
			return atoi(at + length + 1);
	}
	die("node \"%s\" has no worker here", node);
}

static void
resume_job(void)
{
	PGconn *connection = connect_now();
	CURL *easy = curl_easy_init();
	char job[30];
	Run run = {0};
	Run uncut = {0};
	PGresult *result;
	double killed;
	int stored;

	text_clear(&run.text);
	text_clear(&uncut.text);
	ask_server(easy, &uncut, "to be resumed");
	submit(connection, "to be resumed", job, sizeof(job));
	stream_until(connection, job, &run);
	result = query(connection, "job", job, -1);
	if (kill(worker_of(PQgetvalue(result, 0, 0)), SIGKILL) != 0)
		die("the worker of %s cannot be killed: %s", PQgetvalue(result, 0, 0), strerror(errno));
	killed = now_seconds();
	PQclear(result);
	pause_ms(100); /* what it had sent to the database is there now */
	(void) look(connection, job, &run);
	stored = run.tokens;
	while (!look(connection, job, &run) && run.tokens == stored)
		pause_ms(poll);
	printf("%.0f ", 1000 * (now_seconds() - killed));
	while (!look(connection, job, &run))
		pause_ms(poll);
	printf("%s\n", strcmp(run.text.text, uncut.text.text) == 0 ? "right" : "wrong");
}

int
main(int count, char **arguments)
{
	const char *mode = count > 1 ? arguments[1] : "";

	read_options(count - 2, arguments + 2);
	curl_global_init(CURL_GLOBAL_DEFAULT);
	use_jobs = strcmp(mode, "jobs") == 0;
	if (use_jobs || strcmp(mode, "direct") == 0)
		run_clients();
	else if (strcmp(mode, "cancel") == 0)
		cancel_jobs();
	else if (strcmp(mode, "resume") == 0)
		resume_job();
	else
		die("modes: direct, jobs, cancel, resume");
	return 0;
}
