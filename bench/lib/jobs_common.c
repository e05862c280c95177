/* Statements by name, payloads, and batches of jobs as arrays; see jobs_common.h. */
#include "jobs_common.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MOST_STATEMENTS 32

static struct
{
	char *name;
	char *sql;
} statements[MOST_STATEMENTS];
static int statement_count;

void
die(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
	_exit(1);
}

/* The monotonic clock, which all processes of a machine share. */
double
now_seconds(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double) time.tv_sec + (double) time.tv_nsec / 1e9;
}

void
pause_ms(double ms)
{
	struct timespec time = {(time_t) (ms / 1000), (long) (ms * 1e6) % 1000000000L};

	nanosleep(&time, NULL);
}

void
text_clear(Text *text)
{
	text->size = 0;
	text_add(text, "%s", "");
}

void
text_add(Text *text, const char *format, ...)
{
	va_list arguments;
	int wanted;

	va_start(arguments, format);
	wanted = vsnprintf(NULL, 0, format, arguments);
	va_end(arguments);
	if (text->size + (size_t) wanted + 1 > text->room)
	{
		text->room = 2 * (text->size + (size_t) wanted + 1);
		text->text = realloc(text->text, text->room);
		if (text->text == NULL)
			die("out of memory");
	}
	va_start(arguments, format);
	vsnprintf(text->text + text->size, text->room - text->size, format, arguments);
	va_end(arguments);
	text->size += (size_t) wanted;
}

/* Adds a line of a statement, with the queue's name where it belongs. Names here need no escapes.
 */
static void
add_line(Text *sql, const char *line, const char *queue)
{
	const char *mark;

	while ((mark = strstr(line, ":'queue'")) != NULL)
	{
		text_add(sql, "%.*s'%s'", (int) (mark - line), line, queue);
		line = mark + strlen(":'queue'");
	}
	text_add(sql, "%s", line);
}

void
statements_read(const char *path, const char *queue)
{
	FILE *file = fopen(path, "r");
	char line[4096];
	char name[64];
	Text sql = {0, 0, NULL};

	if (file == NULL)
		die("%s cannot be read", path);
	while (fgets(line, sizeof(line), file) != NULL)
	{
		if (sscanf(line, "-- name: %63s", name) == 1)
		{
			if (statement_count == MOST_STATEMENTS)
				die("%s has too many statements", path);
			sql = (Text) {0, 0, NULL};
			statements[statement_count++].name = strdup(name);
		}
		else if (statement_count > 0)
		{
			add_line(&sql, line, queue);
			statements[statement_count - 1].sql = sql.text;
		}
	}
	fclose(file);
}

/* NULL when the file has no such statement. */
const char *
statement_sql(const char *name)
{
	for (int i = 0; i < statement_count; i++)
		if (strcmp(statements[i].name, name) == 0)
			return statements[i].sql;
	return NULL;
}

/* False, with libpq's message, when the server refuses it or is gone. */
bool
prepare(PGconn *connection, const char *name)
{
	const char *sql = statement_sql(name);
	PGresult *result;
	bool done;

	if (sql == NULL)
		die("there is no statement %s", name);
	result = PQprepare(connection, name, sql, 0, NULL);
	done = PQresultStatus(result) == PGRES_COMMAND_OK;
	PQclear(result);
	return done;
}

/* The result of a prepared statement, or NULL with libpq's message. */
PGresult *
execute(PGconn *connection, const char *name, int count, const char *const *values)
{
	PGresult *result = PQexecPrepared(connection, name, count, values, NULL, NULL, 0);
	ExecStatusType status = PQresultStatus(result);

	if (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK)
		return result;
	PQclear(result);
	return NULL;
}

/* A JSON object of PAYLOAD_SIZE bytes and a terminating zero. */
void
payload_write(char *payload, long long number, const char *class)
{
	int size = snprintf(payload, PAYLOAD_SIZE + 1, "{\"n\": %lld, \"class\": \"%s\", \"pad\": \"",
						number, class);

	memset(payload + size, 'x', (size_t) (PAYLOAD_SIZE - 2 - size));
	memcpy(payload + PAYLOAD_SIZE - 2, "\"}", 3);
}

/* An array of payloads, as text. */
void
payloads_write(Text *array, long long first, int count)
{
	char payload[PAYLOAD_SIZE + 1];
	char escaped[2 * PAYLOAD_SIZE + 1];

	text_clear(array);
	for (int i = 0; i < count; i++)
	{
		char *to = escaped;

		payload_write(payload, first + i, "none");
		for (const char *from = payload; *from != '\0'; from++)
		{
			if (*from == '"')
				*to++ = '\\';
			*to++ = *from;
		}
		*to = '\0';
		text_add(array, "%s\"%s\"", i == 0 ? "{" : ",", escaped);
	}
	text_add(array, "}");
}

/* A batch as two arrays, as text. */
void
batch_arrays(const Batch *batch, Text *jobs, Text *attempts)
{
	text_clear(jobs);
	text_clear(attempts);
	for (int i = 0; i < batch->count; i++)
	{
		text_add(jobs, "%s%lld", i == 0 ? "{" : ",", batch->job[i]);
		text_add(attempts, "%s%d", i == 0 ? "{" : ",", batch->attempt[i]);
	}
	text_add(jobs, batch->count == 0 ? "{}" : "}");
	text_add(attempts, batch->count == 0 ? "{}" : "}");
}

/* From a result whose first columns are job and attempt. */
void
batch_read(Batch *batch, const PGresult *result)
{
	batch->count = PQntuples(result);
	if (batch->count > MOST_BATCH)
		die("more jobs than a batch can hold");
	for (int i = 0; i < batch->count; i++)
	{
		batch->job[i] = atoll(PQgetvalue(result, i, 0));
		batch->attempt[i] = atoi(PQgetvalue(result, i, 1));
	}
}
