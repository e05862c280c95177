/*
 * What the clients of bench/jobs and bench/soak_jobs share. A "statement" is SQL with a name in a
 * file, see jobs_plain.sql; connections are as libpq's environment variables say.
 */
#ifndef BENCH_JOBS_COMMON_H
#define BENCH_JOBS_COMMON_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>

#define MOST_BATCH 1000
#define PAYLOAD_SIZE 200

/* Jobs that a worker has claimed, by number and attempt. */
typedef struct
{
	int count;
	long long job[MOST_BATCH];
	int attempt[MOST_BATCH];
} Batch;

typedef struct
{
	size_t size;
	size_t room;
	char *text;
} Text;

extern void die(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));
extern double now_seconds(void);
extern void pause_ms(double ms);

extern void text_clear(Text *text);
extern void text_add(Text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));

extern void statements_read(const char *path, const char *queue);
extern const char *statement_sql(const char *name);
extern bool prepare(PGconn *connection, const char *name);
extern PGresult *execute(PGconn *connection, const char *name, int count,
						 const char *const *values);

extern void payload_write(char *payload, long long number, const char *class);
extern void payloads_write(Text *array, long long first, int count);
extern void batch_arrays(const Batch *batch, Text *jobs, Text *attempts);
extern void batch_read(Batch *batch, const PGresult *result);

#endif
