/*
 * The text that the test server generates. Each token follows from all text before it, so that a
 * beginning is gone on with as if it had never been cut.
 */
#ifndef TESTSERVER_TEXT_H
#define TESTSERVER_TEXT_H

#include <stdbool.h>
#include <stdint.h>

#include "common/memory.h"

/* What has been read or written so far. */
typedef struct TextState
{
	uint64_t hash;
	char last;
	bool is_over; /* a line that ends with a sentence ends the text */
} TextState;

extern void text_begin(TextState *state);

/* Text that is there: the prompt, and the beginning of an answer. */
extern void text_read(TextState *state, const char *text);

/* Adds the next token; false when the text ends by itself. */
extern bool text_next(TextState *state, Buffer *token);

#endif
