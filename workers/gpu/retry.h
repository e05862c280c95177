/*
 * What becomes of a job whose attempt failed: is it tried again, when, and does its server need a
 * rest.
 */
#ifndef GPU_RETRY_H
#define GPU_RETRY_H

#include <stdbool.h>
#include <stdint.h>

#define RETRY_BY_QUEUE (-1) /* after the wait that the job's queue has */

typedef struct Retry
{
	bool is_final;	  /* the same would come of it again */
	int64_t wait;	  /* ms until the next attempt, or RETRY_BY_QUEUE */
	int64_t rest;	  /* ms for which the server gets nothing more */
	bool is_loading;  /* the server loads its model */
	bool lacks_model; /* the server has no such model */
} Retry;

/*
 * By the status of an HTTP answer, and what its error says, of which either text may be NULL.
 * "retry_after" is what the header says, in ms, or -1.
 */
extern Retry retry_http(long status, const char *type, const char *code, const char *message,
						int64_t retry_after);

/* The server was not reached, or the connection broke. */
extern Retry retry_broken(bool was_reached);

/* By how a command ended. */
extern Retry retry_command(int exit_status);

/* What a Retry-After header says, in ms from "now" (seconds since 1970); -1 when it says nothing.
 */
extern int64_t retry_after_header(const char *value, int64_t now);

#endif
