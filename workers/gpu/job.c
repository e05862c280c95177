/*
 * A job that the worker has: its text, and what becomes of it.
 */
#include "gpu/job.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "gpu/json.h"
#include "gpu/worker.h"

Job *
job_make(Worker *worker, int64_t id, int attempt)
{
	Job *job = memory_get(sizeof(Job));

	job->worker = worker;
	job->id = id;
	job->attempt = attempt;
	job->taken_at = job->renewed_at = clock_ms();
	job->deadline = LOOP_NEVER;
	job->child = (Child) {0, -1, -1};
	return job;
}

void
job_free(Job *job)
{
	job_stop(job);
	free(job->model);
	memory_wipe(job->partial);
	memory_wipe(job->error);
	free(job->finish_reason);
	json_decref(job->payload);
	json_decref(job->usage);
	json_decref(job->timings);
	json_decref(job->tool_calls);
	json_decref(job->embeddings);
	buffer_wipe(&job->input);
	buffer_wipe(&job->body);
	buffer_wipe(&job->text);
	buffer_wipe(&job->kept);
	sse_free(&job->sse);
	chunk_free(&job->event_error);
	free(job);
}

/* ---- text ---- */

void
job_add_token(Job *job, const char *bytes, size_t size)
{
	bool is_first = job->first_token_at == 0;

	job->last_token_at = clock_ms();
	if (is_first)
	{
		job->first_token_at = job->last_token_at;
		if (job->is_cold)
			backend_note_loaded(job->backend, job->model);
	}
	if (size == 0)
		return;
	job->produced++;
	job->new_tokens++;
	utf8_take(&job->utf8, &job->text, bytes, size);
	writer_wake(job->worker, is_first);
}

/*
 * The beginning of a character that never ended comes as text of its own.
 */
static void
end_text(Job *job)
{
	if (job->utf8.held_size == 0)
		return;
	utf8_end(&job->utf8, &job->text);
	job->new_tokens++;
}

/* ---- the end ---- */

static void
end(Job *job)
{
	job_stop(job);
	end_text(job);
	job->phase = JOB_ENDING;
	if (job->backend)
		job->backend->running--;
	writer_wake(job->worker, true);
	report_wake(job->worker);
	claim_wake(job->worker, job->device);
}

void
job_done(Job *job)
{
	if (job->phase != JOB_RUNNING)
		return;
	job->is_done = true;
	end(job);
}

void
job_fail(Job *job, Retry retry, const char *format, ...)
{
	va_list arguments;

	if (job->phase != JOB_RUNNING)
		return;
	va_start(arguments, format);
	if (vasprintf(&job->error, format, arguments) < 0)
		job->error = memory_copy(format);
	va_end(arguments);
	job->retry = retry;
	if (retry.rest > 0 && job->backend)
		backend_rest(job->backend, clock_ms() + retry.rest);
	if (retry.is_loading && job->backend)
		backend_set_state(job->backend, BACKEND_LOADING, job->error);
	log_event(job->is_cancelled ? LOG_INFO : LOG_WARNING,
			  job->is_cancelled ? "job cancelled" : "job failed", NUMBER("job", job->id),
			  NUMBER("attempt", job->attempt), TEXT("model", job->model),
			  TEXT("backend", job->backend ? job->backend->config.name : NULL),
			  NUMBER("tokens", job->produced), NUMBER("ms", clock_ms() - job->taken_at),
			  TEXT("again", retry.is_final ? "no" : "yes"), TEXT("error", job->error));
	end(job);
}

void
job_cancel(Job *job)
{
	if (job->phase != JOB_RUNNING)
		return;
	job->is_cancelled = true;
	job_fail(job, (Retry) {.wait = 0}, "cancelled");
}

void
job_give_back(Job *job)
{
	if (job->phase != JOB_RUNNING)
		return;
	job->is_given_back = true;
	job_fail(job, (Retry) {.wait = 0}, "given back: the worker of the node ends");
}

/* ---- the result ---- */

static json_t *
number_or_null(int64_t number)
{
	return number < 0 ? json_null() : json_integer(number);
}

static json_t *
make_usage(const Job *job)
{
	const json_t *details = json_object_get(job->usage, "prompt_tokens_details");
	int64_t cached =
		json_number_of(details, "cached_tokens", json_number_of(job->timings, "cache_n", -1));
	json_t *usage = json_object();

	(void) json_object_set_new(usage, "prompt_tokens",
							   number_or_null(json_number_of(job->usage, "prompt_tokens", -1)));
	(void) json_object_set_new(
		usage, "completion_tokens",
		json_integer(json_number_of(job->usage, "completion_tokens", job->produced)));
	(void) json_object_set_new(usage, "cached_tokens", number_or_null(cached));
	return usage;
}

/*
 * A server that does not tell how long it took is timed from here. What a model that was not loaded
 * took to the first token is its loading, but for the prompt where the server tells of that.
 */
static json_t *
make_timings(const Job *job)
{
	int64_t first = job->first_token_at > 0 ? job->first_token_at - job->taken_at : -1;
	int64_t decode = job->first_token_at > 0 ? job->last_token_at - job->first_token_at : -1;
	int64_t prompt = json_number_of(job->timings, "prompt_ms", job->is_cold ? -1 : first);
	int64_t load = -1;
	json_t *timings = json_object();

	if (job->is_cold && first >= 0)
		load = prompt > 0 && prompt < first ? first - prompt : first;
	(void) json_object_set_new(timings, "load_ms", number_or_null(load));
	(void) json_object_set_new(timings, "prompt_ms", number_or_null(prompt));
	(void) json_object_set_new(
		timings, "decode_ms", number_or_null(json_number_of(job->timings, "predicted_ms", decode)));
	(void) json_object_set_new(timings, "first_token_ms", number_or_null(first));
	return timings;
}

char *
job_result(const Job *job)
{
	json_t *result = json_object();
	char *text;

	(void) json_object_set_new(result, "finish_reason",
							   json_string(job->finish_reason ? job->finish_reason : "stop"));
	(void) json_object_set_new(result, "model", json_string(job->model));
	(void) json_object_set_new(result, "usage", make_usage(job));
	(void) json_object_set_new(result, "timings", make_timings(job));
	if (job->embeddings)
		(void) json_object_set(result, "embeddings", job->embeddings);
	if (job->tool_calls)
	{
		chunk_end_tools(job->tool_calls);
		(void) json_object_set(result, "tool_calls", job->tool_calls);
	}
	text = json_dumps(result, JSON_COMPACT);
	json_decref(result);
	return text;
}
