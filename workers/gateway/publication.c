/*
 * Publishing for a client.
 */
#include "gateway/publication.h"

#include <stdlib.h>
#include <string.h>

#include "gateway/route.h"
#include "gateway/streams.h"

#define MOST_WAITING 64

static const char publish_sql[] = "SELECT aurora.publish($1, ($2::jsonb) -> 'payload', $3)";

typedef struct Publication
{
	Message message;
	struct Publication *next;
} Publication;

struct Publisher
{
	Pool *pool;
	Credential credential;
	Credential renewed; /* for the next */
	bool is_renewed;
	char *route;
	Published told;
	void *context;
	bool is_left;
	Publication *first; /* is under way */
	Publication *last;
	int count;
	const char *values[3];
};

Problem
publication_problem(const Answer *answer)
{
	Problem problem = {.sqlstate = answer->sqlstate};

	problem.status =
		answer->state == ANSWER_ERROR ? problem_status(answer->sqlstate, answer->is_refused) : 503;
	problem.title = problem_title(problem.status);
	if (answer->state == ANSWER_LOST)
	{
		problem.detail =
			"the connection to the database was lost, and it is not known whether this was done";
		problem.hint = "Send it again with the same client_id.";
	}
	else if (answer->state == ANSWER_UNAVAILABLE || problem_is_told(problem.status))
	{
		problem.detail = answer->message;
		problem.hint = answer->hint ? answer->hint : answer->detail;
	}
	else
		problem.detail = "the database cannot answer now";
	return problem;
}

static void
free_publisher(Publisher *publisher)
{
	credential_drop(&publisher->credential);
	credential_drop(&publisher->renewed);
	free(publisher->route);
	free(publisher);
}

static void publish_first(Publisher *publisher);

static void
answered(void *context, const Answer *answer)
{
	Publisher *publisher = context;
	Publication *publication = publisher->first;
	Problem problem = {0};
	bool is_done = answer->state == ANSWER_OK && PQntuples(answer->result) == 1;

	if (!is_done)
		problem = publication_problem(answer);
	if (!publisher->is_left)
		publisher->told(publisher->context, &publication->message,
						is_done ? PQgetvalue(answer->result, 0, 0) : NULL,
						is_done ? NULL : &problem);
	publisher->first = publication->next;
	publisher->count--;
	message_free(&publication->message);
	free(publication);
	if (publisher->first)
		publish_first(publisher);
	else if (publisher->is_left)
		free_publisher(publisher);
}

static void
publish_first(Publisher *publisher)
{
	const Message *message = &publisher->first->message;
	Unit unit = {.side = SIDE_LEAD,
				 .statement = "ws_publish",
				 .sql = publish_sql,
				 .count = 3,
				 .values = publisher->values,
				 .credential = &publisher->credential,
				 .route = publisher->route,
				 .roles = ROLE_ANY,
				 .is_write = true};

	if (publisher->is_renewed)
	{
		credential_drop(&publisher->credential);
		publisher->credential = publisher->renewed;
		publisher->renewed = (Credential) {0};
		publisher->is_renewed = false;
	}
	publisher->values[0] = message->topic;
	publisher->values[1] = message->whole;
	publisher->values[2] = message->client_id;
	(void) pool_run(publisher->pool, &unit, answered, publisher);
}

Publisher *
publisher_open(Pool *pool, const Credential *credential, const char *route, Published told,
			   void *context)
{
	Publisher *publisher = memory_get(sizeof(Publisher));

	*publisher =
		(Publisher) {.pool = pool, .route = memory_copy(route), .told = told, .context = context};
	credential_keep(&publisher->credential, credential);
	return publisher;
}

bool
publisher_take(Publisher *publisher, Message *message)
{
	Publication *publication;

	if (publisher->count >= MOST_WAITING)
		return false;
	publication = memory_get(sizeof(Publication));
	publication->message = *message;
	memset(message, 0, sizeof(*message));
	if (publisher->first)
		publisher->last->next = publication;
	else
		publisher->first = publication;
	publisher->last = publication;
	if (publisher->count++ == 0)
		publish_first(publisher);
	return true;
}

/*
 * The one that is under way has the old credential until it is answered.
 */
void
publisher_renew(Publisher *publisher, const Credential *credential)
{
	credential_drop(&publisher->renewed);
	credential_keep(&publisher->renewed, credential);
	publisher->is_renewed = true;
}

void
publisher_leave(Publisher *publisher)
{
	publisher->is_left = true;
	if (publisher->first == NULL)
		free_publisher(publisher);
}
