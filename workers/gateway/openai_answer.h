/*
 * What OpenAI's clients read: answers, chunks of streams, errors.
 */
#ifndef GATEWAY_OPENAI_ANSWER_H
#define GATEWAY_OPENAI_ANSWER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/memory.h"

/* What all parts of an answer have in common. */
typedef struct OpenaiAnswer
{
	bool is_chat;
	bool has_usage; /* the stream ends with one */
	int64_t job_id;
	int64_t created; /* seconds */
	char *model;
} OpenaiAnswer;

typedef struct OpenaiUsage
{
	int64_t prompt_tokens;
	int64_t completion_tokens;
} OpenaiUsage;

typedef struct OpenaiError
{
	int status;
	const char *message;
	const char *param; /* may be NULL */
	const char *code;  /* NULL: the status's */
} OpenaiError;

/* Add an answer as a whole. */
extern void openai_add_whole(Buffer *to, const OpenaiAnswer *answer, const char *text, size_t size,
							 const char *finish_reason, const OpenaiUsage *usage);

/*
 * Add events of a stream: the first, which tells the role and is of chats only; text; the one with
 * the reason of the end; and what is behind it.
 */
extern void openai_add_first(Buffer *to, const OpenaiAnswer *answer);
extern void openai_add_text(Buffer *to, const OpenaiAnswer *answer, const char *text, size_t size);
extern void openai_add_last(Buffer *to, const OpenaiAnswer *answer, const char *finish_reason,
							const OpenaiUsage *usage);

/* Add an error, as a body and as an event. */
extern void openai_add_error(Buffer *to, const OpenaiError *error);
extern void openai_add_error_event(Buffer *to, const OpenaiError *error);

/*
 * Adds embeddings from an array of arrays of numbers, as JSON, in its order. False when it is none.
 */
extern bool openai_add_embeddings(Buffer *to, const char *model, const char *vectors,
								  bool is_base64, int64_t prompt_tokens);

#endif
