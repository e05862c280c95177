/*
 * The topics that a client of /ws follows.
 */
#include "gateway/follows.h"

#include <stdlib.h>
#include <string.h>

#include "gateway/publication.h"

#define MOST_FOLLOWS 256
#define MUCH (1024 * 1024 * 1024) /* bytes that a closed socket has to take, as it were */

/* What a key has to be for, besides the route of the socket. */
#define FOLLOW_ROUTE "GET /api/events/{topic}"

struct Follow
{
	Follows *follows;
	Subscription *subscription;
	bool is_told; /* that it was opened */
	char *id;	  /* of the message, until then */
	Follow *next;
};

void
follows_tell_problem(Socket *socket, const char *id, const char *topic, const Problem *problem)
{
	Buffer message = {0};

	message_add_error(&message, id, topic, problem);
	socket_send(socket, &message);
	buffer_wipe(&message);
}

static void
refuse(Follows *follows, const char *id, const char *detail)
{
	Problem problem = {.status = 429, .title = problem_title(429), .detail = detail};

	follows_tell_problem(follows->socket, id, NULL, &problem);
}

static void
forget(Follow *follow)
{
	Follow **place = &follow->follows->first;

	while (*place != follow)
		place = &(*place)->next;
	*place = follow->next;
	follow->follows->count--;
	free(follow->id);
	free(follow);
}

static Follow *
find(const Follows *follows, const char *topic)
{
	for (Follow *follow = follows->first; follow; follow = follow->next)
		if (strcmp(hub_topic(follow->subscription), topic) == 0)
			return follow;
	return NULL;
}

static void
unfollow(Follow *follow)
{
	hub_unsubscribe(follow->subscription);
	forget(follow);
}

static void
follow_opened(void *context, const Opening *opening)
{
	Follow *follow = context;
	Buffer message = {0};

	message_add_subscribed(&message, follow->id, hub_topic(follow->subscription), opening->state,
						   &opening->cursor, opening->last_seq);
	free(follow->id);
	follow->id = NULL;
	follow->is_told = true;
	socket_send(follow->follows->socket, &message);
	socket_flush(follow->follows->socket);
	buffer_wipe(&message);
}

static void
follow_event(void *context, Event *event)
{
	socket_send_shared(((Follow *) context)->follows->socket, event_frame(event));
}

static void
follow_page(void *context)
{
	socket_flush(((Follow *) context)->follows->socket);
}

static size_t
follow_queued(void *context)
{
	const Socket *socket = ((Follow *) context)->follows->socket;

	return socket_is_open(socket) ? socket_queued(socket) : MUCH;
}

/*
 * Whose key is not valid any more has no other business here, either; one that is not for following
 * may publish.
 */
static void
follow_ended(void *context, const Answer *answer)
{
	Follow *follow = context;
	Socket *socket = follow->follows->socket;
	Problem problem = publication_problem(answer);

	follows_tell_problem(socket, follow->id, hub_topic(follow->subscription), &problem);
	forget(follow);
	if (answer->is_refused && strncmp(answer->sqlstate, "28", 2) == 0)
		socket_close(socket, WS_POLICY, "the key is not valid any more", false);
	socket_flush(socket);
}

/*
 * Who follows a topic already goes on from the new cursor.
 */
void
follows_subscribe(Follows *follows, const Message *message)
{
	static const SubscriptionEvents events = {follow_opened, follow_event, follow_page,
											  follow_ended, follow_queued};
	const HubClient client = {follows->credential, FOLLOW_ROUTE, follows->quota};
	Follow *follow = find(follows, message->topic);

	if (follow && !follow->is_told)
	{
		refuse(follows, message->id, "the topic is being subscribed to: wait for the answer");
		return;
	}
	if (follow)
		unfollow(follow);
	if (follows->count >= MOST_FOLLOWS)
	{
		refuse(follows, message->id, "no more than 256 topics can be followed at once");
		return;
	}
	follow = memory_get(sizeof(Follow));
	*follow = (Follow) {.follows = follows, .id = memory_copy(message->id), .next = follows->first};
	follows->first = follow;
	follows->count++;
	follow->subscription = hub_subscribe(follows->streams->hub, message->topic, &message->cursor,
										 &client, &events, follow);
	if (follow->subscription)
		streams_watch(follows->streams);
	else
	{
		forget(follow);
		refuse(follows, message->id, "this key follows as many topics as it may");
	}
}

void
follows_unsubscribe(Follows *follows, const Message *message)
{
	Follow *follow = find(follows, message->topic);
	Buffer answer = {0};

	if (follow)
		unfollow(follow);
	message_add_done(&answer, "unsubscribed", message->id, message->topic);
	socket_send(follows->socket, &answer);
	buffer_wipe(&answer);
}

void
follows_drained(Follows *follows)
{
	for (Follow *follow = follows->first; follow; follow = follow->next)
		hub_drained(follow->subscription);
}

void
follows_leave(Follows *follows)
{
	while (follows->first)
		unfollow(follows->first);
}
