/*
 * Texts that models generate. An "output" follows the text of one job; the feed asks for what is
 * new of all of them at once, when the database has stored some, but not more often than each 50
 * ms, and once a second in any case.
 */
#ifndef GATEWAY_FEED_H
#define GATEWAY_FEED_H

#include "gateway/gateway.h"

typedef struct Feed Feed;
typedef struct Output Output;

/* What comes of a job; texts are the database's. */
typedef struct OutputNews
{
	const char *state;
	const char *text; /* NULL, or what follows */
	size_t size;
	int64_t last_token;
	bool restarted;			   /* the text begins anew with this one: what came before is void */
	const char *finish_reason; /* NULL while it goes on; cancelled, error, or the model's */
	const char *error;		   /* why it failed, or NULL */
	int64_t prompt_tokens;
	int64_t completion_tokens;
} OutputNews;

typedef void (*OutputTake)(void *context, const OutputNews *news);

extern Feed *feed_open(Gateway *gateway);
extern void feed_close(Feed *feed);

/*
 * Follows a job from a token on. What is new is told until there is a finish_reason, when the
 * output is freed behind the call.
 */
extern Output *feed_follow(Feed *feed, int64_t job_id, int64_t after_token, OutputTake take,
						   void *context);

/* Follows it no more; also from within a call. */
extern void feed_leave(Output *output);

/* Something was stored. */
extern void feed_wake(Feed *feed);
extern void feed_sweep(Feed *feed);
extern size_t feed_outputs(const Feed *feed);

#endif
