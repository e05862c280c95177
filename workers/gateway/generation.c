/*
 * A request whose answer a model makes.
 */
#include "gateway/generation.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "gateway/abandon.h"

#define CHECK_INTERVAL 10000 /* ms */
#define CHECK_SPREAD 3000
#define CHECKS_AT_ONCE 16 /* of all generations */

/* ---- its end ---- */

static void
free_generation(Generation *generation)
{
	Generation **place = &generation->streams->generations;

	while (*place != generation)
		place = &(*place)->next;
	*place = generation->next;
	if (generation->output)
		feed_leave(generation->output);
	if (generation->key)
		streams_leave(generation->streams, generation->key);
	if (generation->kind->free_own)
		generation->kind->free_own(generation->own);
	credential_drop(&generation->credential);
	for (int i = 0; i < generation->count; i++)
		memory_wipe(generation->texts[i]);
	free(generation->route);
	free(generation);
}

/*
 * What is left of it waits for its statement, or for its stream.
 */
static void
free_when_over(Generation *generation)
{
	if (generation->is_ended && generation->ticket == NULL && generation->check == NULL &&
		generation->stream == NULL)
		free_generation(generation);
}

static void
cancel_job(const Generation *generation)
{
	abandon_job(generation->streams, &generation->credential, generation->route,
				generation->job_id);
}

static void
stop(Generation *generation)
{
	bool is_running = generation->output != NULL;

	if (generation->is_ended)
		return;
	generation->is_ended = true;
	if (generation->output)
		feed_leave(generation->output);
	generation->output = NULL;
	if (is_running && generation->is_own)
		cancel_job(generation);
}

void
generation_end(Generation *generation)
{
	stop(generation);
	if (generation->request)
		generation->request->gone = NULL;
	generation->request = NULL;
	if (generation->stream)
		stream_end(generation->stream);
	else
		free_when_over(generation);
}

static void
request_is_gone(Request *request)
{
	Generation *generation = request->state;

	generation->request = NULL;
	stop(generation);
	free_when_over(generation);
}

static void
stream_is_gone(void *context)
{
	Generation *generation = context;

	generation->stream = NULL;
	stop(generation);
	free_when_over(generation);
}

/* ---- its beginning ---- */

static void
take_news(void *context, const OutputNews *news)
{
	Generation *generation = context;

	generation->is_seen = true;
	if (news->finish_reason)
		generation->output = NULL; /* the feed frees it */
	generation->kind->news(generation, news);
}

/*
 * Streams with text that may take long are not ended when the gateway drains, so that nothing is
 * told of that.
 */
static void
open_stream(Generation *generation)
{
	static const StreamEvents events = {stream_is_gone, NULL, NULL};

	generation->request->gone = NULL;
	generation->stream =
		stream_begin(generation->request, "text/event-stream", &events, generation);
	generation->request = NULL;
	generation->written_at = clock_ms();
}

static int64_t
check_time(void)
{
	return clock_ms() + CHECK_INTERVAL - random() % CHECK_SPREAD;
}

static void
follow(Generation *generation)
{
	generation->check_at = check_time();
	if (generation->is_stream)
		open_stream(generation);
	generation->output = feed_follow(generation->streams->feed, generation->job_id,
									 generation->after_token, take_news, generation);
	streams_watch(generation->streams);
	if (generation->kind->begin)
		generation->kind->begin(generation);
}

static void
take_job(Generation *generation, const PGresult *result)
{
	generation->job_id = strtoll(PQgetvalue(result, 0, 0), NULL, 10);
	generation->is_own = generation->kind->submits &&
						 (PQnfields(result) == 1 || strcmp(PQgetvalue(result, 0, 1), "t") == 0);
}

/*
 * The client may have gone meanwhile: then a job that was made is there for nobody.
 */
static void
submitted(void *context, const Answer *answer)
{
	Generation *generation = context;
	bool is_there = answer->state == ANSWER_OK && PQntuples(answer->result) == 1 &&
					!PQgetisnull(answer->result, 0, 0);

	generation->ticket = NULL;
	if (is_there)
		take_job(generation, answer->result);
	if (generation->request == NULL)
	{
		if (generation->is_own)
			cancel_job(generation);
		free_when_over(generation);
		return;
	}
	generation->request->spent_db += answer->spent;
	if (is_there)
	{
		if (answer->lsn)
			request_header(generation->request, "Aurora-LSN", answer->lsn);
		follow(generation);
		return;
	}
	if (answer->state == ANSWER_OK)
		generation->kind->missing(generation);
	else
		request_fail(generation->request, answer);
	generation_end(generation);
}

static void
run(Generation *generation)
{
	const GenerationKind *kind = generation->kind;
	const Route *route = generation->request->route;
	Unit unit = {.side = kind->submits || kind->is_leads ? SIDE_LEAD : SIDE_LOCAL,
				 .statement = kind->statement,
				 .sql = kind->sql,
				 .count = generation->count,
				 .values = generation->values,
				 .credential = &generation->credential,
				 .route = generation->route,
				 .roles = route->roles,
				 .is_write = kind->submits};

	generation->ticket = pool_run(generation->streams->gateway->pool, &unit, submitted, generation);
}

bool
generation_begin(Request *request, const GenerationKind *kind, void *own, bool is_stream,
				 const char *const *values, int count)
{
	Streams *streams = streams_of(request->gateway);
	KeyCount *key = streams_admit(request);
	Generation *generation;

	if (key == NULL)
	{
		if (kind->free_own)
			kind->free_own(own);
		return false;
	}
	generation = memory_get(sizeof(Generation));
	*generation = (Generation) {.kind = kind,
								.streams = streams,
								.request = request,
								.own = own,
								.is_stream = is_stream,
								.route = memory_copy(route_name(request->route)),
								.key = key,
								.count = count,
								.deadline = LOOP_NEVER,
								.next = streams->generations};
	streams->generations = generation;
	credential_keep(&generation->credential, &request->credential);
	for (int i = 0; i < count; i++)
		generation->values[i] = generation->texts[i] = memory_copy(values[i]);
	request->state = generation;
	request->gone = request_is_gone;
	run(generation);
	return true;
}

static void
query_answered(void *context, const Answer *answer)
{
	Generation *generation = context;

	generation->ticket = NULL;
	if (generation->is_ended)
		free_when_over(generation);
	else
		generation->kind->found(generation, answer);
}

void
generation_query(Generation *generation, const char *statement, const char *sql)
{
	Unit unit = {.side = SIDE_LOCAL,
				 .statement = statement,
				 .sql = sql,
				 .count = 1,
				 .values = generation->query_values,
				 .credential = &generation->credential,
				 .route = generation->route,
				 .roles = ROLE_ANY};

	snprintf(generation->id_text, sizeof(generation->id_text), "%" PRId64, generation->job_id);
	generation->query_values[0] = generation->id_text;
	generation->ticket =
		pool_run(generation->streams->gateway->pool, &unit, query_answered, generation);
}

void
generation_skip(Generation *generation, int64_t token)
{
	generation->after_token = token;
}

void
generation_limit(Generation *generation, int64_t limit)
{
	generation->deadline = clock_ms() + limit;
}

/* ---- writing ---- */

void
generation_write(Generation *generation, const Buffer *text)
{
	if (generation->stream == NULL)
		return;
	stream_write(generation->stream, text->bytes, text->size);
	generation->written_at = clock_ms();
}

/* ---- rights ---- */

/*
 * A job that has not been replicated yet is not there for this node; one that was seen is, unless
 * it may not be seen any more.
 */
static bool
is_refusal(const Generation *generation, const Answer *answer)
{
	if (answer->state != ANSWER_ERROR)
		return false;
	if (strncmp(answer->sqlstate, "42704", 5) == 0)
		return generation->is_seen || !(generation->kind->submits || generation->kind->is_leads);
	return strncmp(answer->sqlstate, "28", 2) == 0 || strncmp(answer->sqlstate, "42501", 5) == 0;
}

static void
checked(void *context, const Answer *answer)
{
	Generation *generation = context;

	generation->check = NULL;
	generation->streams->generation_checks--;
	generation->check_at = check_time();
	if (generation->is_ended)
		free_when_over(generation);
	else if (generation->output && is_refusal(generation, answer))
		generation->kind->refused(generation, answer);
}

/*
 * May the client still read the text? Not asked in the same moment as for the others.
 */
static void
check(Generation *generation)
{
	Unit unit = {.side = SIDE_LOCAL,
				 .statement = OUTPUT_END_STATEMENT,
				 .sql = OUTPUT_END_SQL,
				 .count = 1,
				 .values = generation->query_values,
				 .credential = &generation->credential,
				 .route = generation->route,
				 .roles = ROLE_ANY};

	snprintf(generation->id_text, sizeof(generation->id_text), "%" PRId64, generation->job_id);
	generation->query_values[0] = generation->id_text;
	generation->streams->generation_checks++;
	generation->check = pool_run(generation->streams->gateway->pool, &unit, checked, generation);
}

/* ---- all of them ---- */

void
generations_sweep(Streams *streams)
{
	int64_t now = clock_ms();
	int64_t interval = streams->gateway->config->ping_interval;
	Generation *next;

	for (Generation *generation = streams->generations; generation; generation = next)
	{
		next = generation->next;
		if (!generation->is_ended && generation->output && now >= generation->deadline)
			generation->kind->late(generation);
		else if (!generation->is_ended && generation->output && generation->check == NULL &&
				 now >= generation->check_at && streams->generation_checks < CHECKS_AT_ONCE)
			check(generation);
		else if (generation->stream && !generation->is_ended &&
				 now - generation->written_at >= interval)
		{
			stream_write(generation->stream, ": ping\n\n", 8);
			generation->written_at = now;
		}
	}
}

bool
generations_give_up(Streams *streams)
{
	Generation *next;
	bool are_there = false;

	for (Generation *generation = streams->generations; generation; generation = next)
	{
		next = generation->next;
		if (generation->is_ended || generation->output == NULL)
			continue;
		are_there = true;
		generation->kind->late(generation);
	}
	return are_there;
}
