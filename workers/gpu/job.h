/*
 * A job that the worker has, from when it is taken until the database knows how it ended.
 *
 * Its "text" is what is not known to be stored: the "batch" at the front has been sent, and is sent
 * again with the same borders when the connection was lost, so that the database can tell that it
 * has it. What was stored last is "kept", since the next lead may lack it. A "token" is a piece of
 * text that the backend sent, which most servers do one by one.
 */
#ifndef GPU_JOB_H
#define GPU_JOB_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/child.h"
#include "common/utf8.h"
#include "gpu/backend.h"
#include "gpu/chunk.h"
#include "gpu/request.h"
#include "gpu/retry.h"
#include "gpu/sse.h"

struct Worker;

typedef enum JobPhase
{
	JOB_RUNNING, /* in its backend */
	JOB_ENDING,	 /* it is known what becomes of it, but the database does not know yet */
	JOB_WRITING	 /* it is being told */
} JobPhase;

typedef struct Job
{
	struct Worker *worker;
	int64_t id;
	int attempt;
	char *model;
	bool is_embed;
	json_t *payload;
	char *partial; /* the text of earlier attempts */
	int device;
	Backend *backend; /* NULL when the device has none any more */
	JobPhase phase;
	struct Job *next;

	int64_t taken_at; /* times of clock_ms() */
	int64_t deadline;
	int64_t first_token_at; /* 0 until there is one */
	int64_t last_token_at;
	int64_t lease; /* ms */
	int64_t renewed_at;
	bool is_renewing;

	HttpRequest *http;
	Child child;
	Buffer input;	  /* for the command */
	bool is_stopping; /* the command is being ended */
	Sse sse;
	Buffer body; /* an answer that is no stream */
	bool is_stream;
	bool is_held;	   /* the backend is not read from, since too much is not stored */
	bool is_broken;	   /* what it sends is of no use: it is stopped in the next turn */
	Chunk event_error; /* why, when the server says so */
	Utf8 utf8;

	Buffer text;
	size_t batch_size;
	int batch_tokens;
	bool is_batch_sent;
	Buffer kept;
	int kept_tokens;
	int tokens;			/* that are stored, of all attempts */
	int new_tokens;		/* behind the batch */
	int produced;		/* by this attempt */
	bool needs_restart; /* what is stored is to be given up first */
	bool is_restart_sent;

	char *finish_reason;
	json_t *usage;
	json_t *timings;
	json_t *tool_calls;
	json_t *embeddings;

	bool is_done;
	bool is_cancelled;
	bool is_given_back; /* the attempt is not the job's fault */
	bool is_cold;		/* its model was not loaded when it began */
	char *error;
	Retry retry;
	int64_t write_at; /* not before, after an error of the database */
} Job;

extern Job *job_make(struct Worker *worker, int64_t id, int attempt);
extern void job_free(Job *job);

/* Adds bytes of a token to its text. */
extern void job_add_token(Job *job, const char *bytes, size_t size);

/* It is done, with what has been collected. */
extern void job_done(Job *job);

/* The attempt has failed. Both are for the first time only: what comes later is passed over. */
extern void job_fail(Job *job, Retry retry, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Stops it in its backend; it is to be cancelled, or given back. */
extern void job_cancel(Job *job);
extern void job_give_back(Job *job);

/* What finish_generation() is told, to be freed. */
extern char *job_result(const Job *job);

/* ---- running it, see run.c ---- */

/* Begins it in its backend. */
extern void job_start(Job *job);

/* Ends what runs of it, without a word. */
extern void job_stop(Job *job);

/* Looks whether it takes too long. */
extern void job_check(Job *job, int64_t now);

/* Reads on when there is room again. */
extern void job_resume(Job *job);

#endif
