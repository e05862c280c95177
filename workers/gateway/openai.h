/*
 * The routes under /v1 that OpenAI's clients use, over the job table: POST /v1/chat/completions,
 * /v1/completions and /v1/embeddings, GET /v1/models.
 */
#ifndef GATEWAY_OPENAI_H
#define GATEWAY_OPENAI_H

#include "gateway/openai_answer.h"
#include "gateway/request.h"

extern void openai_chat_handle(Request *request);
extern void openai_completion_handle(Request *request);
extern void openai_embedding_handle(Request *request);
extern void openai_models_handle(Request *request);
extern void openai_model_handle(Request *request);

/* Answers with an error as OpenAI writes it; a route's "problem". */
extern void openai_problem(Request *request, int status, const char *sqlstate, const char *title,
						   const char *detail, const char *hint);
extern void openai_refuse(Request *request, const OpenaiError *error);
extern void openai_refuse_model(Request *request, const char *model);

/* The status of what a job has failed with; NULL for nothing. */
extern int openai_job_status(const char *error);

/* How long a job may take, in ms, and as an interval; OpenAI's clients wait as long. */
#define OPENAI_LIMIT 600000
#define OPENAI_TIMEOUT "'10 minutes'"

#endif
