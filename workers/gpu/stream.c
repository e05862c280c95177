/*
 * Runs a job on a model server. An answer is complete with a finish reason, whatever else has come.
 */
#include "gpu/stream.h"

#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "gpu/json.h"
#include "gpu/worker.h"

#define LONGEST_BODY ((size_t) 64 << 20)
#define LONGEST_ERROR ((size_t) 64 << 10)

static void
keep(json_t **place, json_t **from)
{
	if (*from == NULL)
		return;
	json_decref(*place);
	*place = *from;
	*from = NULL;
}

static void
fail_with_error(Job *job, const Chunk *chunk, long status, int64_t retry_after)
{
	Retry retry =
		retry_http(status, chunk->error_type, chunk->error_code, chunk->error, retry_after);

	if (retry.lacks_model)
		backend_probe(job->backend);
	if (status == 401 || status == 403)
		job->backend->is_key_refused = true;
	job_fail(job, retry, "HTTP status %ld: %s", status,
			 chunk->error ? chunk->error : "the server gives no reason");
}

/*
 * An error behind the head counts by its own code, which some servers give, else as one of the
 * server's.
 */
static void
take_error_event(Job *job, const Chunk *chunk)
{
	long status = chunk->error_code ? strtol(chunk->error_code, NULL, 10) : 0;

	fail_with_error(job, chunk, status >= 400 && status < 600 ? status : 500, -1);
}

static void
take_data(Job *job, Chunk *chunk)
{
	if (chunk->has_text || chunk->has_thought || chunk->tool_calls)
		job_add_token(job, chunk->bytes.bytes ? chunk->bytes.bytes : "", chunk->bytes.size);
	if (chunk->finish_reason && job->finish_reason == NULL)
	{
		job->finish_reason = chunk->finish_reason;
		chunk->finish_reason = NULL;
	}
	if (chunk->tool_calls)
	{
		if (job->tool_calls == NULL)
			job->tool_calls = json_array();
		chunk_join_tools(job->tool_calls, chunk->tool_calls);
	}
	keep(&job->usage, &chunk->usage);
	keep(&job->timings, &chunk->timings);
}

/*
 * The request cannot be given up from within, so that a job that is to end does so in the next
 * turn.
 */
static void
take_event(void *context, const char *data, size_t size)
{
	Job *job = context;
	Chunk chunk;

	if (job->is_broken || job->error)
		return;
	chunk_read(&chunk, data, size);
	if (chunk.kind == CHUNK_DATA)
		take_data(job, &chunk);
	else if (chunk.kind == CHUNK_ERROR)
	{
		job->event_error = chunk;
		memset(&chunk, 0, sizeof(chunk));
		job->is_broken = true;
	}
	else if (chunk.kind == CHUNK_BROKEN)
		job->is_broken = true;
	chunk_free(&chunk);
	if (job->is_broken)
		loop_set_by(&job->worker->loop, &job->worker->housekeeping, clock_ms());
}

static bool
is_too_much(const Job *job)
{
	return job->text.size >= (size_t) job->worker->config->buffer_limit;
}

static bool
take_bytes(void *context, const char *bytes, size_t size)
{
	Job *job = context;
	bool is_error = http_status(job->http) != 200;

	if (job->is_broken)
		return true;
	if (is_error || !job->is_stream || !http_is_event_stream(job->http))
	{
		if (job->body.size + size <= (is_error ? LONGEST_ERROR : LONGEST_BODY))
			buffer_add(&job->body, bytes, size);
		return true;
	}
	if (is_too_much(job))
	{
		job->is_held = true;
		return false;
	}
	if (!sse_take(&job->sse, bytes, size, take_event, job))
	{
		job->is_broken = true;
		loop_set_by(&job->worker->loop, &job->worker->housekeeping, clock_ms());
	}
	return true;
}

/* ---- the end ---- */

static void
end_with_error(Job *job, const HttpEnd *end)
{
	Chunk chunk = {0};
	json_t *body = json_read(job->body.bytes ? job->body.bytes : "", job->body.size);

	(void) chunk_read_error(&chunk, body);
	fail_with_error(job, &chunk, end->status, end->retry_after);
	chunk_free(&chunk);
	json_decref(body);
}

/*
 * Vectors, in the order of the input.
 */
static void
end_embeddings(Job *job)
{
	json_t *body = json_read(job->body.bytes ? job->body.bytes : "", job->body.size);
	const json_t *data = json_object_get(body, "data");
	size_t count = json_array_size(data);
	json_t *vectors = json_array();

	for (size_t i = 0; i < count; i++)
		(void) json_array_append_new(vectors, json_null());
	for (size_t i = 0; i < count; i++)
	{
		const json_t *entry = json_array_get(data, i);
		int64_t index = json_number_of(entry, "index", (int64_t) i);
		json_t *vector = json_object_get(entry, "embedding");

		if (json_is_array(vector) && index >= 0 && (size_t) index < count)
			(void) json_array_set(vectors, (size_t) index, vector);
	}
	for (size_t i = 0; i < count; i++)
		if (!json_is_array(json_array_get(vectors, i)))
			count = 0;
	if (count > 0)
	{
		job->embeddings = vectors;
		job->usage = json_deep_copy(json_object_get(body, "usage"));
		job->finish_reason = memory_copy("stop");
		job->first_token_at = job->last_token_at = clock_ms();
		job_done(job);
	}
	else
	{
		json_decref(vectors);
		job_fail(job, (Retry) {.wait = RETRY_BY_QUEUE}, "the server's answer has no vectors");
	}
	json_decref(body);
}

static void
end_stream(Job *job)
{
	if (job->body.size > 0) /* a server that does not stream */
		take_event(job, job->body.bytes, job->body.size);
	sse_end(&job->sse, take_event, job);
	if (job->is_broken)
		job_check(job, clock_ms());
	else if (job->finish_reason == NULL)
		job_fail(job, retry_broken(true), "the answer ended without a finish reason");
	else
		job_done(job);
}

static void
ended(void *context, const HttpEnd *end)
{
	Job *job = context;

	job->http = NULL;
	if (job->is_broken)
		job_check(job, clock_ms());
	else if (end->problem && job->finish_reason == NULL)
	{
		if (!end->was_reached)
			backend_set_state(job->backend, BACKEND_DOWN, end->problem);
		job_fail(job, retry_broken(end->was_reached), "%s", end->problem);
	}
	else if (end->status != 200)
		end_with_error(job, end);
	else if (job->is_embed)
		end_embeddings(job);
	else
		end_stream(job);
}

void
stream_start(Job *job, const Request *request)
{
	static const HttpEvents events = {take_bytes, ended};
	const Backend *backend = job->backend;
	Buffer url = {0};
	HttpOptions options = {.body = request->body,
						   .api_key = backend->api_key,
						   .connect_timeout = backend->config.connect_timeout};

	buffer_print(&url, "%s/v1%s", backend->config.url, request->path);
	options.url = url.bytes;
	job->http = http_start(backend->http, &options, &events, job);
	buffer_wipe(&url);
}

void
stream_fail_broken(Job *job)
{
	if (job->event_error.kind == CHUNK_ERROR)
		take_error_event(job, &job->event_error);
	else
		job_fail(job, (Retry) {.wait = RETRY_BY_QUEUE}, "the server's answer cannot be read");
}
