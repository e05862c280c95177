/*
 * What OpenAI's clients ask for, as aurora.generate() and aurora.embed() take it. Fields that are
 * not known are passed over; what is known and cannot be had is refused.
 */
#ifndef GATEWAY_OPENAI_REQUEST_H
#define GATEWAY_OPENAI_REQUEST_H

#include <jansson.h>
#include <stdbool.h>

typedef enum OpenaiKind
{
	OPENAI_CHAT,
	OPENAI_COMPLETION,
	OPENAI_EMBEDDING
} OpenaiKind;

typedef struct OpenaiRequest
{
	char *model;
	char *question;	   /* messages or input as JSON, or the prompt as it is */
	char *options;	   /* an object */
	const char *class; /* of the job */
	bool is_stream;
	bool has_usage; /* the stream is to end with it */
	bool is_base64;

	/* What is wrong: "param" is the field, or NULL. */
	const char *problem;
	const char *param;
} OpenaiRequest;

/* Reads a body; see "problem" whether it can be done. To be freed by openai_request_free(). */
extern void openai_request_read(OpenaiRequest *request, OpenaiKind kind, const json_t *body);
extern void openai_request_free(OpenaiRequest *request);

#endif
