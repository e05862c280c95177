/*
 * Models and embeddings for OpenAI's clients.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/generation.h"
#include "gateway/json_text.h"
#include "gateway/openai.h"
#include "gateway/openai_request.h"

/* ---- models ---- */

/* When a model was made nobody knows; clients want a number. */
static const char models_sql[] =
	"SELECT m.model, max(m.context), string_agg(DISTINCT m.node, ',' ORDER BY m.node)"
	" FROM aurora.gpu_model m WHERE $1::text IS NULL OR m.model = $1 GROUP BY m.model ORDER BY "
	"m.model";

static void
add_model(Buffer *to, const PGresult *result, int row)
{
	buffer_add_char(to, '{');
	json_text_member(to, "id", PQgetvalue(result, row, 0));
	json_text_member(to, "object", "model");
	json_text_number(to, "created", 0);
	json_text_member(to, "owned_by", "aurora");
	json_text_raw(to, "max_model_len",
				  PQgetisnull(result, row, 1) ? NULL : PQgetvalue(result, row, 1));
	json_text_member(to, "nodes", PQgetvalue(result, row, 2));
	buffer_add_char(to, '}');
}

static void
models_answered(void *context, const Answer *answer)
{
	Request *request = context;
	Buffer body = {0};

	if (answer->state != ANSWER_OK)
	{
		request_fail(request, answer);
		return;
	}
	buffer_add_text(&body, "{\"object\":\"list\",\"data\":[");
	for (int row = 0; row < PQntuples(answer->result); row++)
	{
		if (row > 0)
			buffer_add_char(&body, ',');
		add_model(&body, answer->result, row);
	}
	buffer_add_text(&body, "]}");
	request_answer(request, 200, "application/json", &body);
}

static void
model_answered(void *context, const Answer *answer)
{
	Request *request = context;
	Buffer body = {0};

	if (answer->state != ANSWER_OK)
		request_fail(request, answer);
	else if (PQntuples(answer->result) == 0)
		openai_refuse_model(request, request_value(request, "model"));
	else
	{
		add_model(&body, answer->result, 0);
		request_answer(request, 200, "application/json", &body);
	}
}

static void
ask_for_models(Request *request, UnitAnswer answer)
{
	static const char *const all[1] = {NULL};
	Unit unit = {.side = SIDE_LOCAL,
				 .statement = "openai_models",
				 .sql = models_sql,
				 .count = 1,
				 .values = request->route->parameters[0].name ? request->values : all};

	request_run(request, &unit, answer);
}

void
openai_models_handle(Request *request)
{
	ask_for_models(request, models_answered);
}

void
openai_model_handle(Request *request)
{
	ask_for_models(request, model_answered);
}

/* ---- embeddings ---- */

typedef struct Embedding
{
	char *model;
	bool is_base64;
} Embedding;

static void
fail(Generation *generation, int status, const char *message)
{
	if (generation->request)
		openai_refuse(generation->request, &(OpenaiError) {.status = status, .message = message});
	generation_end(generation);
}

/*
 * The vectors are in the job's result.
 */
static void
take_news(Generation *generation, const OutputNews *news)
{
	static const char sql[] =
		"SELECT j.result -> 'embeddings', (j.result -> 'usage' ->> 'prompt_tokens')::bigint"
		" FROM aurora.jobs j WHERE j.job_id = $1";

	if (news->finish_reason == NULL)
		return;
	if (strcmp(news->finish_reason, "error") == 0 || strcmp(news->finish_reason, "cancelled") == 0)
		fail(generation, openai_job_status(news->error),
			 news->error ? news->error : "the job failed");
	else
		generation_query(generation, "openai_embeddings", sql);
}

static void
take_result(Generation *generation, const Answer *answer)
{
	const Embedding *embedding = generation->own;
	Buffer body = {0};

	if (answer->state != ANSWER_OK)
	{
		request_fail(generation->request, answer);
		generation_end(generation);
		return;
	}
	if (PQntuples(answer->result) == 1 &&
		openai_add_embeddings(&body, embedding->model, PQgetvalue(answer->result, 0, 0),
							  embedding->is_base64,
							  strtoll(PQgetvalue(answer->result, 0, 1), NULL, 10)))
	{
		request_answer(generation->request, 200, "application/json", &body);
		generation_end(generation);
		return;
	}
	buffer_wipe(&body);
	fail(generation, 500, "the job has no embeddings");
}

static void
begin(Generation *generation)
{
	generation_limit(generation, OPENAI_LIMIT + 10000);
}

static void
is_late(Generation *generation)
{
	fail(generation, 504, "no node has made an answer in time");
}

static void
is_refused(Generation *generation, const Answer *answer)
{
	fail(generation, problem_status(answer->sqlstate, answer->is_refused), answer->message);
}

static void
is_missing(Generation *generation)
{
	openai_refuse_model(generation->request, ((Embedding *) generation->own)->model);
}

static void
free_embedding(void *own)
{
	free(((Embedding *) own)->model);
	free(own);
}

void
openai_embedding_handle(Request *request)
{
	static const GenerationKind kind = {
		.statement = "openai_embed",
		.sql = "SELECT CASE WHEN EXISTS (SELECT FROM aurora.gpu_model m WHERE m.model = $1) THEN"
			   " aurora.embed(model => $1, input => $2::jsonb, options => $3::jsonb, class => $4,"
			   " timeout => " OPENAI_TIMEOUT ") END",
		.submits = true,
		.missing = is_missing,
		.begin = begin,
		.news = take_news,
		.found = take_result,
		.late = is_late,
		.refused = is_refused,
		.free_own = free_embedding};
	OpenaiRequest asked;
	Embedding *embedding;

	openai_request_read(&asked, OPENAI_EMBEDDING, request->json);
	if (asked.problem)
		openai_refuse(request, &(OpenaiError) {
								   .status = 400, .message = asked.problem, .param = asked.param});
	else
	{
		embedding = memory_get(sizeof(Embedding));
		*embedding = (Embedding) {.model = memory_copy(asked.model), .is_base64 = asked.is_base64};
		(void) generation_begin(
			request, &kind, embedding, false,
			(const char *const[]) {asked.model, asked.question, asked.options, asked.class}, 4);
	}
	openai_request_free(&asked);
}
