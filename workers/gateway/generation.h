/*
 * A request whose answer a model makes: it submits a job, or finds one, follows its text, and
 * answers as a stream or, when all is there, as a whole. When the client goes, a job that the
 * request has made is cancelled; one that it found, by a unique key, goes on.
 */
#ifndef GATEWAY_GENERATION_H
#define GATEWAY_GENERATION_H

#include "gateway/streams.h"

/* Gives back the number of a job whose text the caller may see, or raises 42704. */
#define OUTPUT_END_STATEMENT "output_end"
#define OUTPUT_END_SQL \
	"SELECT $1::bigint FROM (SELECT count(*) FROM aurora.job_output($1::bigint, 2147483647)) o"

/* How such requests are answered. Whoever answers, or ends the stream, calls generation_end(). */
typedef struct GenerationKind
{
	/*
	 * Gives the number of the job, which the caller may see, or null. A second column, if there is
	 * one, says whether the job was made and not found.
	 */
	const char *statement;
	const char *sql;
	bool submits;
	bool is_leads; /* asked on the lead, since this node is behind */

	/* There is no job: the statement gave null. Answers. */
	void (*missing)(Generation *generation);

	/* The job is there, and so is the stream when it is to be one. May be NULL. */
	void (*begin)(Generation *generation);
	void (*news)(Generation *generation, const OutputNews *news);

	/* What generation_query() has found; only while nobody has gone. May be NULL. */
	void (*found)(Generation *generation, const Answer *answer);

	/* It takes longer than it may. */
	void (*late)(Generation *generation);

	/* The client may no longer see it, or is no longer who it was. */
	void (*refused)(Generation *generation, const Answer *answer);
	void (*free_own)(void *own);
} GenerationKind;

struct Generation
{
	const GenerationKind *kind;
	Streams *streams;
	Request *request; /* NULL when it is answered, has become a stream or is gone */
	Stream *stream;	  /* NULL when it is none, or gone */
	void *own;		  /* the kind's */
	bool is_stream;
	int64_t job_id;

	/* The rest is generation.c's. */
	Credential credential;
	char *route;
	KeyCount *key;
	Ticket *ticket;
	Output *output;
	bool is_own;   /* the job was made for this request */
	bool is_seen;  /* on this node */
	Ticket *check; /* whether the client may still see it */
	int64_t check_at;
	bool is_ended;
	int count;
	const char *values[ROUTE_PARAMETERS];
	char *texts[ROUTE_PARAMETERS];
	char id_text[24];
	const char *query_values[1];
	int64_t after_token;
	int64_t deadline;
	int64_t written_at;
	Generation *next;
};

/*
 * Begins; the values are copied, and "own" is taken over. The statement is run as the request's
 * principal, on the lead when it submits. False when it is answered already.
 */
extern bool generation_begin(Request *request, const GenerationKind *kind, void *own,
							 bool is_stream, const char *const *values, int count);

/* The text up to that token is not wanted. Before anything else comes. */
extern void generation_skip(Generation *generation, int64_t token);

/* How long it may take, in ms. */
extern void generation_limit(Generation *generation, int64_t limit);

/*
 * Asks the node's own database, as the request's principal, something about the job, which is $1.
 * When there is an answer "found" is told.
 */
extern void generation_query(Generation *generation, const char *statement, const char *sql);

extern void generation_write(Generation *generation, const Buffer *text);

/*
 * It is answered, or the stream is to end: nothing is told any more. A job that goes on is
 * cancelled when it was made for the request.
 */
extern void generation_end(Generation *generation);

/* Once a second. */
extern void generations_sweep(Streams *streams);

/* Has all end as if they were late; false when there are none. */
extern bool generations_give_up(Streams *streams);

#endif
