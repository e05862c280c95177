/*
 * Texts of jobs as Server-Sent Events.
 */
#include "gateway/generate.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/event_stream.h"
#include "gateway/exchange.h"
#include "gateway/generation.h"
#include "gateway/json_text.h"

/* What it has told. */
typedef struct Told
{
	char state[16];
} Told;

static void
write_event(Generation *generation, const char *name, const Buffer *members)
{
	Buffer text = {0};

	buffer_print(&text, "event: %s\ndata: {", name);
	if (members)
		buffer_add(&text, members->bytes, members->size);
	buffer_add_text(&text, "}\n\n");
	generation_write(generation, &text);
	buffer_wipe(&text);
}

static void
begin(Generation *generation)
{
	Buffer members = {0};

	json_text_number(&members, "job_id", generation->job_id);
	write_event(generation, "job", &members);
	buffer_wipe(&members);
}

static void
tell_state(Generation *generation, const char *state)
{
	Told *told = generation->own;
	Buffer members = {0};

	if (state == NULL || strcmp(told->state, state) == 0)
		return;
	strncpy(told->state, state, sizeof(told->state) - 1);
	json_text_member(&members, "state", state);
	write_event(generation, "state", &members);
	buffer_wipe(&members);
}

static void
tell_text(Generation *generation, const OutputNews *news)
{
	Buffer text = {0};

	buffer_print(&text, "id: %" PRId64 "\ndata: {", news->last_token);
	json_text_member(&text, "text", news->text);
	json_text_number(&text, "token", news->last_token);
	buffer_add_text(&text, "}\n\n");
	generation_write(generation, &text);
	buffer_wipe(&text);
}

static void
tell_end(Generation *generation, const OutputNews *news)
{
	bool is_failure =
		strcmp(news->finish_reason, "error") == 0 || strcmp(news->finish_reason, "cancelled") == 0;
	Buffer members = {0};

	json_text_member(&members, "finish_reason", news->finish_reason);
	if (is_failure)
		json_text_member(&members, "error", news->error);
	json_text_number(&members, "prompt_tokens", news->prompt_tokens);
	json_text_number(&members, "completion_tokens", news->completion_tokens);
	write_event(generation, is_failure ? "error" : "done", &members);
	buffer_wipe(&members);
}

static void
take_news(Generation *generation, const OutputNews *news)
{
	if (news->finish_reason == NULL)
		tell_state(generation, news->state);
	if (news->restarted)
		write_event(generation, "restart", NULL);
	if (news->size > 0)
		tell_text(generation, news);
	if (news->finish_reason == NULL)
		return;
	tell_end(generation, news);
	generation_end(generation);
}

static void
is_missing(Generation *generation)
{
	request_problem(generation->request, 404, "42704", NULL, "there is no such job", NULL);
}

static void
end_with_error(Generation *generation, const char *error)
{
	Buffer members = {0};

	json_text_member(&members, "finish_reason", "error");
	json_text_member(&members, "error", error);
	write_event(generation, "error", &members);
	buffer_wipe(&members);
	generation_end(generation);
}

static void
is_late(Generation *generation)
{
	end_with_error(generation, "the gateway is about to end");
}

static void
is_refused(Generation *generation, const Answer *answer)
{
	end_with_error(generation, answer->message);
}

/* ---- requests ---- */

void
generate_handle(Request *request)
{
	/* With a unique key it may be a job of another one's. */
	static const GenerationKind kind = {
		.statement = "generate_stream",
		.sql = "SELECT s.job_id, s.is_new FROM aurora.generate($1, $2, $3, $4, $5, $6, "
			   "coalesce($7, '{}'::jsonb), timeout => $8, unique_key => $9) g (job_id), "
			   "aurora.submitted_job(g.job_id) s",
		.submits = true,
		.missing = is_missing,
		.begin = begin,
		.news = take_news,
		.late = is_late,
		.refused = is_refused,
		.free_own = free};
	const char *stream = request_value(request, "stream");

	if (stream && *stream == 't')
		(void) generation_begin(request, &kind, memory_get(sizeof(Told)), true, request->values,
								route_statement_count(request->route));
	else
		request_serve(request);
}

static void
follow(Request *request, bool on_lead)
{
	static const GenerationKind kinds[2] = {{.statement = OUTPUT_END_STATEMENT,
											 .sql = OUTPUT_END_SQL,
											 .missing = is_missing,
											 .begin = begin,
											 .news = take_news,
											 .late = is_late,
											 .refused = is_refused,
											 .free_own = free},
											{.statement = OUTPUT_END_STATEMENT,
											 .sql = OUTPUT_END_SQL,
											 .is_leads = true,
											 .missing = is_missing,
											 .begin = begin,
											 .news = take_news,
											 .late = is_late,
											 .refused = is_refused,
											 .free_own = free}};
	const char *values[1] = {request_value(request, "job_id")};
	const char *after = request_header_of(request, "Last-Event-ID");

	if (after == NULL)
		after = request_value(request, "after");
	if (generation_begin(request, &kinds[on_lead], memory_get(sizeof(Told)), true, values, 1) &&
		after)
		generation_skip(request->state, strtoll(after, NULL, 10));
}

/*
 * This node has what the client has written, or the lead has to say whether the job is there.
 */
static void
caught_up(void *context, const Answer *answer)
{
	Request *request = context;

	if (answer->state == ANSWER_OK)
		follow(request, answer->side == SIDE_LEAD);
	else
		request_fail(request, answer);
}

void
output_handle(Request *request)
{
	static const Unit unit = {.side = SIDE_LOCAL, .statement = "whoami", .sql = "SELECT 1"};

	if (!event_stream_is_wanted(request))
		request_serve(request);
	else if (request->lsn)
		request_run(request, &unit, caught_up);
	else
		follow(request, false);
}
