/*
 * Answers to OpenAI's clients: chats, completions, and errors.
 */
#include "gateway/openai.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "gateway/generation.h"
#include "gateway/openai_request.h"

typedef struct Completion
{
	OpenaiAnswer answer;
	Buffer text;   /* of an answer that is no stream */
	bool has_text; /* was sent */
} Completion;

/* ---- errors ---- */

void
openai_refuse(Request *request, const OpenaiError *error)
{
	Buffer body = {0};

	openai_add_error(&body, error);
	request_answer(request, error->status, "application/json", &body);
}

/*
 * Hints of the database name SQL functions; of its errors the message is told.
 */
void
openai_problem(Request *request, int status, const char *sqlstate, const char *title,
			   const char *detail, const char *hint)
{
	OpenaiError error = {.status = status, .message = detail};

	(void) sqlstate;
	if (error.message == NULL)
		error.message = title ? title : hint ? hint : problem_title(status);
	openai_refuse(request, &error);
}

void
openai_refuse_model(Request *request, const char *model)
{
	Buffer message = {0};

	buffer_print(&message, "The model `%.200s` does not exist", model);
	openai_refuse(request, &(OpenaiError) {.status = 404,
										   .message = message.bytes,
										   .param = "model",
										   .code = "model_not_found"});
	buffer_wipe(&message);
}

/* ---- answers ---- */

/*
 * An error behind the head of a stream is an event, and the end without a finish reason.
 */
static void
fail(Generation *generation, const OpenaiError *error)
{
	Buffer event = {0};

	if (generation->stream)
	{
		openai_add_error_event(&event, error);
		generation_write(generation, &event);
		buffer_wipe(&event);
	}
	else if (generation->request)
		openai_refuse(generation->request, error);
	generation_end(generation);
}

static void
write_events(Generation *generation, Buffer *events)
{
	generation_write(generation, events);
	buffer_wipe(events);
}

static void
begin(Generation *generation)
{
	Completion *completion = generation->own;
	Buffer events = {0};

	completion->answer.job_id = generation->job_id;
	completion->answer.created = (int64_t) time(NULL);
	generation_limit(generation, OPENAI_LIMIT + 10000);
	if (!generation->is_stream || !completion->answer.is_chat)
		return;
	openai_add_first(&events, &completion->answer);
	write_events(generation, &events);
}

static void
take_text(Generation *generation, const OutputNews *news)
{
	Completion *completion = generation->own;
	Buffer events = {0};

	if (!generation->is_stream)
	{
		buffer_add(&completion->text, news->text, news->size);
		return;
	}
	completion->has_text = true;
	openai_add_text(&events, &completion->answer, news->text, news->size);
	write_events(generation, &events);
}

static void
finish(Generation *generation, const OutputNews *news)
{
	Completion *completion = generation->own;
	OpenaiUsage usage = {news->prompt_tokens, news->completion_tokens};
	Buffer body = {0};

	if (generation->is_stream)
	{
		openai_add_last(&body, &completion->answer, news->finish_reason, &usage);
		write_events(generation, &body);
	}
	else if (generation->request)
	{
		openai_add_whole(&body, &completion->answer,
						 completion->text.bytes ? completion->text.bytes : "",
						 completion->text.size, news->finish_reason, &usage);
		request_answer(generation->request, 200, "application/json", &body);
	}
	generation_end(generation);
}

static bool
is_failure(const OutputNews *news)
{
	return news->finish_reason && (strcmp(news->finish_reason, "error") == 0 ||
								   strcmp(news->finish_reason, "cancelled") == 0);
}

/*
 * What a model server refused is the client's to know; the worker writes its status into the error.
 */
int
openai_job_status(const char *error)
{
	int status = 0;

	if (error && strstr(error, "time-out"))
		return 504;
	if (error && sscanf(error, "HTTP status %d", &status) == 1)
		return status == 400 || status == 413 || status == 422 ? 400 : status == 429 ? 429 : 502;
	return 500;
}

static void
fail_job(Generation *generation, const OutputNews *news)
{
	bool is_cancelled = strcmp(news->finish_reason, "cancelled") == 0;
	OpenaiError error = {.status = openai_job_status(news->error), .message = news->error};

	if (error.message == NULL)
		error.message = is_cancelled ? "the job was cancelled" : "the job failed";
	if (error.status == 500)
		error.code = is_cancelled ? "cancelled" : "job_failed";
	fail(generation, &error);
}

/*
 * A text that begins anew cannot be taken back from a stream.
 */
static void
take_news(Generation *generation, const OutputNews *news)
{
	Completion *completion = generation->own;

	if (news->restarted)
		buffer_clear(&completion->text);
	if (news->restarted && completion->has_text)
	{
		fail(generation,
			 &(OpenaiError) {.status = 503,
							 .message = "the node that wrote this was lost, and the text "
										"would begin anew: ask again",
							 .code = "text_restarted"});
		return;
	}
	if (is_failure(news))
	{
		fail_job(generation, news);
		return;
	}
	if (news->size > 0)
		take_text(generation, news);
	if (news->finish_reason)
		finish(generation, news);
}

/*
 * The gateway cannot wait any longer, or the client should not.
 */
static void
is_late(Generation *generation)
{
	if (generation->streams->gateway->is_draining)
		fail(generation,
			 &(OpenaiError) {.status = 503, .message = "the gateway is about to end: ask again"});
	else
		fail(generation,
			 &(OpenaiError) {.status = 504, .message = "no node has made an answer in time"});
}

static void
is_refused(Generation *generation, const Answer *answer)
{
	fail(generation, &(OpenaiError) {.status = problem_status(answer->sqlstate, answer->is_refused),
									 .message = answer->message});
}

static void
is_missing(Generation *generation)
{
	openai_refuse_model(generation->request, ((Completion *) generation->own)->answer.model);
}

static void
free_completion(void *own)
{
	Completion *completion = own;

	free(completion->answer.model);
	buffer_wipe(&completion->text);
	free(completion);
}

/* ---- requests ---- */

#define SUBMIT_SQL(argument)                                                           \
	"SELECT CASE WHEN EXISTS (SELECT FROM aurora.gpu_model m WHERE m.model = $1) THEN" \
	" aurora.generate(model => $1, " argument ", options => $3::jsonb, class => $4,"   \
	" timeout => " OPENAI_TIMEOUT ") END"

static void
handle(Request *request, OpenaiKind openai_kind, const GenerationKind *kind)
{
	OpenaiRequest asked;
	Completion *completion;

	openai_request_read(&asked, openai_kind, request->json);
	if (asked.problem)
	{
		openai_refuse(request, &(OpenaiError) {
								   .status = 400, .message = asked.problem, .param = asked.param});
		openai_request_free(&asked);
		return;
	}
	completion = memory_get(sizeof(Completion));
	completion->answer = (OpenaiAnswer) {.is_chat = openai_kind == OPENAI_CHAT,
										 .has_usage = asked.has_usage,
										 .model = memory_copy(asked.model)};
	(void) generation_begin(
		request, kind, completion, asked.is_stream,
		(const char *const[]) {asked.model, asked.question, asked.options, asked.class}, 4);
	openai_request_free(&asked);
}

void
openai_chat_handle(Request *request)
{
	static const GenerationKind kind = {.statement = "openai_chat",
										.sql = SUBMIT_SQL("messages => $2::jsonb"),
										.submits = true,
										.missing = is_missing,
										.begin = begin,
										.news = take_news,
										.late = is_late,
										.refused = is_refused,
										.free_own = free_completion};

	handle(request, OPENAI_CHAT, &kind);
}

void
openai_completion_handle(Request *request)
{
	static const GenerationKind kind = {.statement = "openai_completion",
										.sql = SUBMIT_SQL("prompt => $2"),
										.submits = true,
										.missing = is_missing,
										.begin = begin,
										.news = take_news,
										.late = is_late,
										.refused = is_refused,
										.free_own = free_completion};

	handle(request, OPENAI_COMPLETION, &kind);
}
