/*
 * A generation of the test server: what was asked for, and the answer, which a stream gives piece
 * by piece.
 */
#ifndef TESTSERVER_ANSWER_H
#define TESTSERVER_ANSWER_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/memory.h"
#include "gpu/testserver/fault.h"
#include "gpu/testserver/text.h"

typedef struct Answer
{
	Fault fault;
	bool is_chat;
	bool is_stream;
	bool has_usage; /* is asked for */
	char *model;
	char *problem; /* what is wrong with the request */
	TextState text;
	int prompt_tokens;
	int limit;	  /* tokens */
	int count;	  /* tokens that have come */
	int delay;	  /* ms before each */
	int phase;	  /* of a stream: 0 head, 1 tokens, 2 usage, 3 [DONE], 4 over */
	Buffer carry; /* bytes of a character that the last event has cut */
} Answer;

/* What a request asks for; to be freed. */
extern Answer *answer_make(const json_t *body, bool is_chat);
extern void answer_free(Answer *answer);

/* Adds the next event of a stream; false when there is none. */
extern bool answer_next(Answer *answer, Buffer *event);

/* The answer as a whole. */
extern json_t *answer_whole(Answer *answer);

/* Vectors for an input; to be freed. NULL when there is no input. */
extern json_t *answer_embeddings(const json_t *body);

#endif
