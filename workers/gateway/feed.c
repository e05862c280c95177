/*
 * Texts that models generate.
 */
#include "gateway/feed.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/array.h"
#include "common/clock.h"

#define INTERVAL 50		   /* ms between questions, at least */
#define MOST_INTERVAL 1000 /* when one takes long; it is asked for about a quarter of the time */

static const char outputs_sql[] =
	"SELECT job_id, state, last_token, text, restarted, finish_reason, error, prompt_tokens,"
	" completion_tokens FROM aurora.job_outputs($1, $2)";

enum
{
	COLUMN_JOB_ID,
	COLUMN_STATE,
	COLUMN_LAST_TOKEN,
	COLUMN_TEXT,
	COLUMN_RESTARTED,
	COLUMN_FINISH_REASON,
	COLUMN_ERROR,
	COLUMN_PROMPT_TOKENS,
	COLUMN_COMPLETION_TOKENS
};

struct Output
{
	Feed *feed;
	int64_t job_id;
	int64_t token;
	OutputTake take;
	void *context;
	bool is_left;
	bool is_asked;	   /* for, in the question under way */
	uint64_t asked_in; /* the last question that asked for it */
	Output *next;
};

struct Feed
{
	Gateway *gateway;
	Output *first;	   /* by job, the newest first; several may follow one */
	uint64_t question; /* its number */
	size_t count;
	bool is_given; /* somebody goes over the outputs */
	bool is_woken; /* again, while it asks */
	Ticket *ticket;
	const char *values[2];
	Buffer ids;
	Buffer tokens;
	int64_t asked_at;
	int64_t interval; /* from the last question to the next */
	Timer timer;
};

static void ask(void *context);

Feed *
feed_open(Gateway *gateway)
{
	Feed *feed = memory_get(sizeof(Feed));

	*feed =
		(Feed) {.gateway = gateway, .interval = INTERVAL, .timer = {.due = ask, .context = feed}};
	return feed;
}

static void
remove_left(Feed *feed)
{
	Output **place = &feed->first;

	while (*place)
	{
		Output *output = *place;

		if (!output->is_left)
		{
			place = &output->next;
			continue;
		}
		*place = output->next;
		free(output);
	}
}

void
feed_close(Feed *feed)
{
	if (feed == NULL)
		return;
	if (feed->ticket)
		pool_cancel(feed->ticket);
	for (Output *output = feed->first; output; output = output->next)
		output->is_left = true;
	remove_left(feed);
	loop_unset(&feed->gateway->loop, &feed->timer);
	buffer_wipe(&feed->ids);
	buffer_wipe(&feed->tokens);
	free(feed);
}

size_t
feed_outputs(const Feed *feed)
{
	return feed->count;
}

Output *
feed_follow(Feed *feed, int64_t job_id, int64_t after_token, OutputTake take, void *context)
{
	Output *output = memory_get(sizeof(Output));
	Output **place = &feed->first;

	while (*place && (*place)->job_id > job_id)
		place = &(*place)->next;
	*output = (Output) {.feed = feed,
						.job_id = job_id,
						.token = after_token,
						.take = take,
						.context = context,
						.next = *place};
	*place = output;
	feed->count++;
	feed_wake(feed);
	return output;
}

void
feed_leave(Output *output)
{
	Feed *feed = output->feed;

	output->is_left = true;
	feed->count--;
	if (!feed->is_given)
		remove_left(feed);
}

/* ---- news ---- */

static int64_t
number_of(const PGresult *result, int row, int column)
{
	return PQgetisnull(result, row, column) ? 0
											: strtoll(PQgetvalue(result, row, column), NULL, 10);
}

static const char *
text_of(const PGresult *result, int row, int column)
{
	return PQgetisnull(result, row, column) ? NULL : PQgetvalue(result, row, column);
}

static void
give(Output *output, const PGresult *result, int row)
{
	OutputNews news = {.state = text_of(result, row, COLUMN_STATE),
					   .text = text_of(result, row, COLUMN_TEXT),
					   .size = (size_t) PQgetlength(result, row, COLUMN_TEXT),
					   .last_token = number_of(result, row, COLUMN_LAST_TOKEN),
					   .restarted = PQgetvalue(result, row, COLUMN_RESTARTED)[0] == 't',
					   .finish_reason = text_of(result, row, COLUMN_FINISH_REASON),
					   .error = text_of(result, row, COLUMN_ERROR),
					   .prompt_tokens = number_of(result, row, COLUMN_PROMPT_TOKENS),
					   .completion_tokens = number_of(result, row, COLUMN_COMPLETION_TOKENS)};

	if (news.last_token > output->token)
		output->token = news.last_token;
	if (news.finish_reason)
	{
		output->is_left = true;
		output->feed->count--;
	}
	output->take(output->context, &news);
}

/*
 * The output of a job that the question was for. Rows come in about the order of the outputs.
 */
static Output *
find(Feed *feed, Output *near, int64_t job_id)
{
	for (Output *output = near; output; output = output->next)
		if (output->job_id == job_id && output->is_asked)
			return output;
	for (Output *output = feed->first; output != near; output = output->next)
		if (output->job_id == job_id && output->is_asked)
			return output;
	return NULL;
}

static void
answered(void *context, const Answer *answer)
{
	Feed *feed = context;
	Output *near = feed->first;

	feed->ticket = NULL;
	feed->interval = answer->spent * 4 / 1000;
	feed->interval = feed->interval < INTERVAL		  ? INTERVAL
					 : feed->interval > MOST_INTERVAL ? MOST_INTERVAL
													  : feed->interval;
	feed->is_given = true;
	for (int row = 0; answer->state == ANSWER_OK && row < PQntuples(answer->result); row++)
	{
		int64_t job_id = number_of(answer->result, row, COLUMN_JOB_ID);
		Output *output = find(feed, near, job_id);

		if (output)
			near = output;
		if (output && !output->is_left)
			give(output, answer->result, row);
	}
	feed->is_given = false;
	remove_left(feed);
	if (feed->is_woken)
		feed_wake(feed);
}

/*
 * Of several outputs of one job each is asked for in turn. Returns the first of the next job.
 */
static Output *
add_job(Feed *feed, Output *first)
{
	Output *chosen = first;
	Output *output = first;

	for (; output && output->job_id == first->job_id; output = output->next)
	{
		output->is_asked = false;
		if (output->asked_in < chosen->asked_in)
			chosen = output;
		feed->is_woken = feed->is_woken || output != first;
	}
	chosen->is_asked = true;
	chosen->asked_in = feed->question;
	array_add_number(&feed->ids, chosen->job_id);
	array_add_number(&feed->tokens, chosen->token);
	return output;
}

static void
ask(void *context)
{
	Feed *feed = context;
	Unit unit = {.side = SIDE_LOCAL,
				 .statement = "job_outputs",
				 .sql = outputs_sql,
				 .count = 2,
				 .values = feed->values};

	if (feed->first == NULL || feed->ticket)
		return;
	feed->is_woken = false;
	feed->asked_at = clock_ms();
	buffer_clear(&feed->ids);
	buffer_clear(&feed->tokens);
	feed->question++;
	for (Output *output = feed->first; output;)
		output = add_job(feed, output);
	feed->values[0] = array_end(&feed->ids);
	feed->values[1] = array_end(&feed->tokens);
	feed->ticket = pool_run(feed->gateway->pool, &unit, answered, feed);
}

void
feed_wake(Feed *feed)
{
	feed->is_woken = true;
	if (feed->first && feed->ticket == NULL)
		loop_set_by(&feed->gateway->loop, &feed->timer, feed->asked_at + feed->interval);
}

void
feed_sweep(Feed *feed)
{
	feed_wake(feed);
}
