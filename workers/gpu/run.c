/*
 * Runs jobs: chooses the way, and looks at the time.
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "gpu/command.h"
#include "gpu/stream.h"
#include "gpu/worker.h"

static void
log_start(const Job *job, const Request *request)
{
	const Config *config = job->worker->config;

	log_event(LOG_INFO, "job started", NUMBER("job", job->id), NUMBER("attempt", job->attempt),
			  TEXT("model", job->model), TEXT("backend", job->backend->config.name),
			  NUMBER("device", job->device), NUMBER("resumed_tokens", job->tokens),
			  TEXT("prompt", config->log_prompts ? request->body : NULL));
}

/*
 * Will its model have to be loaded for it? Of several jobs that begin meanwhile only the first says
 * how long that takes.
 */
static bool
is_cold(const Job *job)
{
	const Model *model = backend_find_model(job->backend, job->model);

	for (const Job *other = job->worker->jobs; other; other = other->next)
		if (other != job && other->backend == job->backend && strcmp(other->model, job->model) == 0)
			return false;
	return model && !model->is_resident;
}

void
job_start(Job *job)
{
	const Backend *backend = job->backend;
	Request request;

	job->backend->running++;
	job->is_cold = is_cold(job);
	if (backend->config.command)
	{
		request_make_prompt(&request, job->payload, job->is_embed);
		request.is_restart = job->partial[0] != '\0';
	}
	else
		request_make(&request, job->payload, job->model, job->is_embed, job->partial, job->tokens,
					 backend_continues(backend));
	if (request.is_restart)
	{
		job->needs_restart = true;
		job->tokens = 0;
		writer_wake(job->worker, true);
	}
	job->is_stream = request.is_stream;
	log_start(job, &request);
	if (request.problem)
		job_fail(job, (Retry) {.is_final = true, .wait = RETRY_BY_QUEUE}, "%s", request.problem);
	else if (request.is_spent)
	{
		job->finish_reason = memory_copy("length");
		job_done(job);
	}
	else if (backend->config.command)
		command_start(job, &request);
	else
		stream_start(job, &request);
	request_free(&request);
}

void
job_stop(Job *job)
{
	if (job->http)
		http_cancel(job->http);
	job->http = NULL;
	command_stop(job);
}

void
job_resume(Job *job)
{
	if (!job->is_held)
		return;
	job->is_held = false;
	job->last_token_at = clock_ms(); /* the time until now was ours */
	if (job->http)
		http_resume(job->http);
	else
		command_resume(job);
}

void
job_check(Job *job, int64_t now)
{
	const BackendConfig *config = &job->backend->config;
	const Retry again = {.wait = RETRY_BY_QUEUE};

	if (job->phase != JOB_RUNNING)
		return;
	if (job->is_broken)
		stream_fail_broken(job);
	else if (now >= job->deadline)
		job_fail(job, (Retry) {.is_final = true, .wait = RETRY_BY_QUEUE}, "the job's time is up");
	else if (now - job->taken_at >= config->job_timeout)
		job_fail(job, again, "it took longer than job_timeout");
	else if (job->is_held)
		return;
	else if (job->first_token_at == 0 && now - job->taken_at >= config->first_token_timeout)
		job_fail(job, again, "no token came within first_token_timeout");
	else if (job->first_token_at > 0 && now - job->last_token_at >= config->token_timeout)
		job_fail(job, again, "the next token did not come within token_timeout");
}
