/*
 * Makes the request of a job: the path and the body for a model server, or the prompt for a
 * command.
 */
#ifndef GPU_REQUEST_H
#define GPU_REQUEST_H

#include <jansson.h>
#include <stdbool.h>

#include "common/memory.h"

/* How a server goes on with the beginning of an answer. */
typedef enum ContinueStyle
{
	CONTINUE_NEVER,	  /* it cannot: the text starts anew */
	CONTINUE_PREFILL, /* when the last message is the assistant's: llama-server, Ollama */
	CONTINUE_FLAGS	  /* with flags of vLLM's beside it */
} ContinueStyle;

typedef struct Request
{
	const char *path; /* behind the server's address */
	char *body;
	bool is_stream;
	bool is_restart; /* what is there of the text is given up */
	bool is_spent;	 /* the text there is as long as it may be: nothing is to be asked */
	char *problem;	 /* what is wrong with the job; nothing else is set then */
} Request;

/*
 * "partial" and "tokens" are what earlier attempts have brought, '' and 0 for nothing. "is_embed":
 * of the task embed.
 */
extern void request_make(Request *request, const json_t *payload, const char *model, bool is_embed,
						 const char *partial, int tokens, ContinueStyle style);

/* The prompt as a text, for a command, in "body". */
extern void request_make_prompt(Request *request, const json_t *payload, bool is_embed);

extern void request_free(Request *request);

#endif
