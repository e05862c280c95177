/*
 * Writes what comes of jobs: text of all of them in one statement per tick, then how each ended;
 * and renews leases where no text does.
 */
#include <stdlib.h>
#include <string.h>

#include "common/array.h"
#include "common/clock.h"
#include "common/log.h"
#include "gpu/worker.h"

#define HOUSEKEEPING 200 /* ms */
#define WRITE_AGAIN 1000
#define MOST_KEPT ((size_t) 64 << 10) /* bytes of a job, and its last batch anyway */

/* Does not wait for the disk: a lead that forgets text gets it again, see rewind_batches(). */
#define APPEND                                                             \
	"SELECT job_id, state, set_config('synchronous_commit', 'off', true) " \
	"FROM aurora.append_outputs($1::bigint[], $2::int[], $3::int[], $4::text[], $5::int[])"

#define RENEW                                                                             \
	"SELECT j.job_id, r.state FROM unnest($1::bigint[], $2::int[]) j (job_id, attempt), " \
	"LATERAL aurora.renew_lease(j.job_id, j.attempt, $3::interval) r"

/* ---- answers about jobs ---- */

/*
 * An answer to a statement about one job: the worker, and which job it is, if it is still there.
 */
typedef struct Errand
{
	Worker *worker;
	int64_t job_id;
	int attempt;
} Errand;

static Errand *
make_errand(const Job *job)
{
	Errand *errand = memory_get(sizeof(Errand));

	*errand = (Errand) {job->worker, job->id, job->attempt};
	return errand;
}

/*
 * The job of an errand, which goes.
 */
static Job *
end_errand(Errand *errand)
{
	Job *job = worker_find_job(errand->worker, errand->job_id, errand->attempt);

	free(errand);
	return job;
}

static void
lose(Job *job)
{
	log_event(
		LOG_WARNING, "job lost", NUMBER("job", job->id), NUMBER("attempt", job->attempt),
		NUMBER("tokens", job->produced),
		TEXT("hint", "Its lease ran out, or it was ended otherwise: what has come is dropped."));
	worker_drop(job->worker, job);
}

static void
take_state(Job *job, const char *state)
{
	if (strcmp(state, "lost") == 0)
		lose(job);
	else if (strcmp(state, "cancelling") == 0)
		job_cancel(job);
}

/* Could the same statement succeed a moment later? */
static bool
is_passing(const PGresult *result)
{
	static const char *const classes[] = {"40", "53", "55P03", "57014", NULL};
	const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);

	for (int i = 0; state && classes[i]; i++)
		if (strncmp(state, classes[i], strlen(classes[i])) == 0)
			return true;
	return false;
}

/* ---- text ---- */

/*
 * A batch keeps its borders until the database has it.
 */
static void
make_batch(Job *job)
{
	if (job->batch_size > 0 || job->text.size == 0)
		return;
	job->batch_size = job->text.size;
	job->batch_tokens = job->new_tokens > 0 ? job->new_tokens : 1;
	job->new_tokens = 0;
}

/*
 * Keeps a batch that is stored. At least the last one is: whether the next lead has it shows what
 * it lacks.
 */
static void
keep_batch(Job *job)
{
	if (job->kept.size + job->batch_size > MOST_KEPT)
	{
		buffer_clear(&job->kept);
		job->kept_tokens = 0;
	}
	buffer_add(&job->kept, job->text.bytes, job->batch_size);
	job->kept_tokens += job->batch_tokens;
}

/*
 * Has what is kept sent again, as one batch: a lead that has it passes over it.
 */
static void
rewind_batches(Job *job)
{
	Buffer text = {0};

	if (job->kept.size == 0)
		return;
	buffer_add(&text, job->kept.bytes, job->kept.size);
	buffer_add(&text, job->text.bytes, job->text.size);
	buffer_wipe(&job->text);
	job->text = text;
	job->new_tokens += job->batch_tokens;
	job->batch_size = job->kept.size;
	job->batch_tokens = job->kept_tokens;
	job->tokens -= job->kept_tokens;
	job->is_batch_sent = false;
	buffer_clear(&job->kept);
	job->kept_tokens = 0;
}

static void
end_batch(Job *job)
{
	keep_batch(job);
	buffer_remove(&job->text, job->batch_size);
	job->tokens += job->batch_tokens;
	job->batch_size = 0;
	job->batch_tokens = 0;
	if (job->text.size < (size_t) job->worker->config->buffer_limit / 2)
		job_resume(job);
}

/*
 * A batch of several jobs was refused as a whole: they are sent one by one, and the one that it was
 * fails.
 */
static void
take_refusal(Worker *worker, const PGresult *result, int sent)
{
	for (Job *job = worker->jobs, *next; job; job = next)
	{
		next = job->next;
		if (!job->is_batch_sent)
			continue;
		job->is_batch_sent = false;
		if (sent > 1 || is_passing(result))
			continue;
		worker_log_error("text was refused", result, job->id);
		job->batch_size = job->batch_tokens = 0;
		buffer_clear(&job->text);
		job_fail(job, (Retry) {.wait = RETRY_BY_QUEUE}, "its text could not be stored: %s",
				 PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY));
	}
	worker->is_careful = sent > 1;
}

static void
appended(void *context, const PGresult *result)
{
	Worker *worker = context;
	bool is_urgent = worker->is_urgent;
	int sent = 0;

	worker->is_appending = worker->is_urgent = false;
	worker->flushed_at = clock_ms();
	for (Job *job = worker->jobs; job; job = job->next)
		sent += job->is_batch_sent;
	if (result == NULL || worker_leaves(worker, result))
	{
		for (Job *job = worker->jobs; job; job = job->next)
			job->is_batch_sent = false;
		return;
	}
	if (PQresultStatus(result) != PGRES_TUPLES_OK)
		take_refusal(worker, result, sent);
	for (Job *job = worker->jobs; job; job = job->next)
	{
		if (!job->is_batch_sent)
			continue;
		job->is_batch_sent = false;
		end_batch(job);
	}
	for (int i = 0; PQresultStatus(result) == PGRES_TUPLES_OK && i < PQntuples(result); i++)
	{
		Job *job = worker_find_job(worker, atoll(PQgetvalue(result, i, 0)), 0);

		if (job)
			take_state(job, PQgetvalue(result, i, 1));
	}
	writer_wake(worker, is_urgent && PQresultStatus(result) == PGRES_TUPLES_OK);
}

/*
 * Empty when there is nothing to send, or it has to wait for its restart.
 */
static bool
has_batch(Job *job)
{
	if (job->phase == JOB_WRITING || job->needs_restart)
		return false;
	make_batch(job);
	return job->batch_size > 0;
}

static void
append(Worker *worker)
{
	Buffer arrays[5] = {{0}};
	const char *values[5];
	int count = 0;

	for (Job *job = worker->jobs; job && !(worker->is_careful && count > 0); job = job->next)
	{
		if (!has_batch(job))
			continue;
		job->is_batch_sent = true;
		worker->is_urgent |= job->phase == JOB_ENDING; /* its end is told behind it */
		count++;
		array_add_number(&arrays[0], job->id);
		array_add_number(&arrays[1], job->attempt);
		array_add_number(&arrays[2], job->tokens);
		array_add_text(&arrays[3], job->text.bytes, job->batch_size);
		array_add_number(&arrays[4], job->batch_tokens);
	}
	if (count > 0)
	{
		for (int i = 0; i < 5; i++)
			values[i] = array_end(&arrays[i]);
		worker->is_appending = true;
		connection_query(worker->connection, APPEND, 5, values, appended, worker);
	}
	for (int i = 0; i < 5; i++)
		buffer_wipe(&arrays[i]);
}

/* ---- restarts ---- */

static void
restarted(void *context, const PGresult *result)
{
	Job *job = end_errand(context);

	if (job == NULL)
		return;
	job->is_restart_sent = false;
	if (result == NULL || worker_leaves(job->worker, result))
		return;
	if (PQresultStatus(result) == PGRES_TUPLES_OK)
		job->needs_restart = false;
	else
	{
		worker_log_error("a text could not be restarted", result, job->id);
		job->needs_restart = is_passing(result);
		if (!job->needs_restart)
		{
			buffer_clear(&job->text);
			job->batch_size = job->batch_tokens = 0;
			job_fail(job, (Retry) {.wait = RETRY_BY_QUEUE}, "its text could not be restarted");
		}
	}
	writer_wake(job->worker, true);
}

static void
restart(Job *job)
{
	Buffer numbers[2] = {{0}};
	const char *values[2];

	if (!job->needs_restart || job->is_restart_sent)
		return;
	job->is_restart_sent = true;
	buffer_print(&numbers[0], "%lld", (long long) job->id);
	buffer_print(&numbers[1], "%d", job->attempt);
	values[0] = numbers[0].bytes;
	values[1] = numbers[1].bytes;
	connection_query(job->worker->connection, "SELECT aurora.restart_output($1, $2)", 2, values,
					 restarted, make_errand(job));
	buffer_wipe(&numbers[0]);
	buffer_wipe(&numbers[1]);
}

/* ---- ends ---- */

static void
log_done(const Job *job)
{
	int64_t first = job->first_token_at > 0 ? job->first_token_at - job->taken_at : 0;

	log_event(LOG_INFO, "job done", NUMBER("job", job->id), NUMBER("attempt", job->attempt),
			  TEXT("model", job->model),
			  TEXT("backend", job->backend ? job->backend->config.name : NULL),
			  NUMBER("tokens", job->produced), NUMBER("first_token_ms", first),
			  NUMBER("ms", clock_ms() - job->taken_at), TEXT("finish", job->finish_reason));
}

static void
told(void *context, const PGresult *result)
{
	Job *job = end_errand(context);
	Worker *worker;

	if (job == NULL)
		return;
	worker = job->worker;
	job->phase = JOB_ENDING;
	if (result == NULL || worker_leaves(worker, result))
		return;
	if (PQresultStatus(result) == PGRES_TUPLES_OK)
	{
		if (job->is_done && PQntuples(result) == 1 && PQgetvalue(result, 0, 0)[0] != 't')
		{
			lose(job);
			return;
		}
		if (job->is_done)
			log_done(job);
		worker_drop(worker, job);
		return;
	}
	worker_log_error("a job's end was refused", result, job->id);
	if (is_passing(result))
		job->write_at = clock_ms() + WRITE_AGAIN;
	else if (job->is_done)
	{
		job->is_done = false;
		job->retry = (Retry) {.wait = RETRY_BY_QUEUE};
		job->error = memory_copy(PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY));
	}
	else
	{
		worker_drop(worker, job);
		return;
	}
	writer_wake(worker, false);
}

static void
tell_done(Job *job, const char *id, const char *attempt)
{
	char *result = job_result(job);
	const char *values[3] = {id, attempt, result};

	connection_query(job->worker->connection, "SELECT aurora.finish_generation($1, $2, $3::jsonb)",
					 3, values, told, make_errand(job));
	memory_wipe(result);
}

static void
tell_failed(Job *job, const char *id, const char *attempt)
{
	Buffer wait = {0};
	const char *values[5] = {id, attempt, job->error, NULL, job->retry.is_final ? "true" : "false"};

	if (job->retry.wait != RETRY_BY_QUEUE)
	{
		buffer_print(&wait, "%lld milliseconds", (long long) job->retry.wait);
		values[3] = wait.bytes;
	}
	connection_query(job->worker->connection,
					 "SELECT aurora.fail_job($1, $2, $3, $4::interval, $5::boolean)", 5, values,
					 told, make_errand(job));
	buffer_wipe(&wait);
}

static void
tell_given_back(Job *job, const char *id, const char *attempt)
{
	const char *values[3] = {id, attempt, job->error};

	connection_query(job->worker->connection, "SELECT aurora.give_back_generation($1, $2, $3)", 3,
					 values, told, make_errand(job));
}

static void
tell(Job *job)
{
	Buffer numbers[2] = {{0}};

	job->phase = JOB_WRITING;
	buffer_print(&numbers[0], "%lld", (long long) job->id);
	buffer_print(&numbers[1], "%d", job->attempt);
	if (job->is_done)
		tell_done(job, numbers[0].bytes, numbers[1].bytes);
	else if (job->is_given_back)
		tell_given_back(job, numbers[0].bytes, numbers[1].bytes);
	else
		tell_failed(job, numbers[0].bytes, numbers[1].bytes);
	buffer_wipe(&numbers[0]);
	buffer_wipe(&numbers[1]);
}

/*
 * A job's end is told behind the last of its text.
 */
static void
finish_jobs(Worker *worker)
{
	int64_t now = clock_ms();

	for (Job *job = worker->jobs; job; job = job->next)
		if (job->phase == JOB_ENDING && job->text.size == 0 && !job->needs_restart &&
			!job->is_batch_sent && job->write_at <= now && connection_is_up(worker->connection))
			tell(job);
}

/* ---- leases ---- */

static void
renewed(void *context, const PGresult *result)
{
	Worker *worker = context;

	worker->is_renewing = false;
	if (result && !worker_leaves(worker, result) && PQresultStatus(result) != PGRES_TUPLES_OK)
		worker_log_error("leases were not renewed", result, 0);
	for (int i = 0; result && PQresultStatus(result) == PGRES_TUPLES_OK && i < PQntuples(result);
		 i++)
	{
		Job *job = worker_find_job(worker, atoll(PQgetvalue(result, i, 0)), 0);

		if (job)
			take_state(job, PQgetvalue(result, i, 1));
	}
}

/*
 * Renews leases of which a third is gone; all of them with "all". Text renews them too, but by the
 * queue's lease, and not each time.
 */
static void
renew(Worker *worker, bool all)
{
	Buffer arrays[2] = {{0}};
	Buffer lease = {0};
	const char *values[3];
	int64_t now = clock_ms();
	int count = 0;

	if (worker->is_renewing || !connection_is_up(worker->connection))
		return;
	for (Job *job = worker->jobs; job; job = job->next)
	{
		if (job->phase == JOB_WRITING || (!all && now - job->renewed_at < job->lease / 3))
			continue;
		job->renewed_at = now;
		count++;
		array_add_number(&arrays[0], job->id);
		array_add_number(&arrays[1], job->attempt);
	}
	if (count > 0)
	{
		buffer_print(&lease, "%lld milliseconds", (long long) worker->config->lease);
		values[0] = array_end(&arrays[0]);
		values[1] = array_end(&arrays[1]);
		values[2] = worker->config->lease > 0 ? lease.bytes : NULL;
		worker->is_renewing = true;
		connection_query(worker->connection, RENEW, 3, values, renewed, worker);
	}
	buffer_wipe(&arrays[0]);
	buffer_wipe(&arrays[1]);
	buffer_wipe(&lease);
}

/* ---- ticks ---- */

static void
flush(void *context)
{
	Worker *worker = context;

	if (!connection_is_up(worker->connection))
		return;
	for (Job *job = worker->jobs; job; job = job->next)
		restart(job);
	if (!worker->is_appending)
		append(worker);
	finish_jobs(worker);
}

static bool
has_work(const Worker *worker)
{
	for (const Job *job = worker->jobs; job; job = job->next)
		if (job->text.size > 0 || job->phase == JOB_ENDING || job->needs_restart)
			return true;
	return false;
}

void
writer_wake(Worker *worker, bool now)
{
	int64_t at = clock_ms();
	int64_t tick = worker->flushed_at + worker->config->batch_interval;

	if (!has_work(worker))
		return;
	worker->is_urgent |= now && worker->is_appending;
	loop_set_by(&worker->loop, &worker->flush, now || tick < at ? at : tick);
}

static void
keep_house(void *context)
{
	Worker *worker = context;
	int64_t now = clock_ms();

	for (Job *job = worker->jobs; job; job = job->next)
		job_check(job, now);
	renew(worker, false);
	writer_wake(worker, false);
	loop_set(&worker->loop, &worker->housekeeping, now + HOUSEKEEPING);
}

void
writer_resume(Worker *worker)
{
	worker->is_appending = worker->is_urgent = worker->is_renewing = worker->is_careful = false;
	for (Job *job = worker->jobs; job; job = job->next)
		rewind_batches(job);
	renew(worker, true);
	writer_wake(worker, true);
}

void
writer_start(Worker *worker)
{
	worker->flush = (Timer) {.due = flush, .context = worker};
	worker->housekeeping = (Timer) {.due = keep_house, .context = worker};
	loop_set(&worker->loop, &worker->housekeeping, clock_ms() + HOUSEKEEPING);
}
