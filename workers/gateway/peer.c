/*
 * Clients of /ws.
 */
#include "gateway/peer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "gateway/token.h"
#include "gateway/publication.h"
#include "gateway/streams.h"

#define AUTH_LIMIT 5000 /* ms to say who one is */
#define MOST_FOLLOWS 256
#define MUCH (1024 * 1024 * 1024) /* bytes that a closed socket has to take, as it were */

typedef struct Follow Follow;

typedef struct Peer
{
	Streams *streams;
	Socket *socket;
	char id[REQUEST_ID_SIZE]; /* of the request, for the log */
	char *route;
	Credential credential;
	bool is_known; /* who it is */
	char *company;
	char *owner;
	KeyCount *key;
	Ticket *ticket; /* of asking who it is */
	Follow *follows;
	int follow_count;
	Publisher *publisher;
	int64_t began_at;
} Peer;

/* What it follows. */
struct Follow
{
	Peer *peer;
	Subscription *subscription;
	bool is_told; /* that it was opened */
	char *id;	  /* of the message, until then */
	Follow *next;
};

/* ---- telling ---- */

static void
tell_problem(Peer *peer, const char *id, const char *topic, const Problem *problem)
{
	Buffer message = {0};

	message_add_error(&message, id, topic, problem);
	socket_send(peer->socket, &message);
	buffer_wipe(&message);
}

static void
refuse(Peer *peer, const char *id, int status, const char *detail)
{
	tell_problem(peer, id, NULL,
				 &(Problem) {.status = status, .title = problem_title(status), .detail = detail});
}

static void
tell_ready(Peer *peer)
{
	Buffer message = {0};

	message_add_ready(&message, peer->company, peer->owner);
	socket_send(peer->socket, &message);
	buffer_wipe(&message);
}

/* ---- who it is ---- */

static char *
identity_text(const PGresult *identity, const char *name)
{
	int column = identity ? PQfnumber(identity, name) : -1;

	return column < 0 || PQntuples(identity) == 0 || PQgetisnull(identity, 0, column)
			   ? NULL
			   : memory_copy(PQgetvalue(identity, 0, column));
}

static void
take_identity(Peer *peer, const PGresult *identity)
{
	peer->company = identity_text(identity, "company");
	peer->owner = identity_text(identity, "owner");
	peer->is_known = true;
}

static Unit
identity_unit(void)
{
	return (Unit) {.side = SIDE_LOCAL, .statement = "whoami", .sql = "SELECT 1", .roles = ROLE_ANY};
}

static void
authenticated(void *context, const Answer *answer)
{
	Peer *peer = context;

	peer->ticket = NULL;
	if (answer->state == ANSWER_OK)
	{
		peer->key = streams_enter(peer->streams, &peer->credential);
		if (peer->key == NULL)
		{
			socket_close(peer->socket, WS_TRY_LATER, "this key has as many streams as it may have",
						 false);
			return;
		}
		take_identity(peer, answer->identity);
		socket_limit(peer->socket, 0, NULL);
		tell_ready(peer);
	}
	else
	{
		Problem problem = publication_problem(answer);

		tell_problem(peer, NULL, NULL, &problem);
		socket_close(peer->socket, answer->is_refused ? WS_POLICY : WS_TRY_LATER,
					 answer->is_refused ? "the key is not valid" : "the database cannot answer now",
					 false);
	}
	socket_flush(peer->socket);
}

/*
 * A key is taken once. The CSRF token of a session may come later.
 */
static void
take_auth(Peer *peer, const Message *message)
{
	Unit unit = identity_unit();

	if (message->csrf && peer->credential.kind == CREDENTIAL_SESSION)
	{
		memory_wipe((char *) peer->credential.csrf);
		peer->credential.csrf = memory_copy(message->csrf);
		if (peer->publisher) /* has the old one */
			publisher_leave(peer->publisher);
		peer->publisher = NULL;
		tell_ready(peer);
	}
	else if (message->key == NULL || peer->credential.kind != CREDENTIAL_NONE)
		refuse(peer, message->id, 409, "who this is has been said already");
	else
	{
		token_hash(message->key, peer->credential.key_hash);
		peer->credential.kind = CREDENTIAL_KEY;
		unit.credential = &peer->credential;
		unit.route = peer->route;
		peer->ticket = pool_run(peer->streams->gateway->pool, &unit, authenticated, peer);
	}
}

/* ---- following ---- */

static void
forget(Follow *follow)
{
	Follow **place = &follow->peer->follows;

	while (*place != follow)
		place = &(*place)->next;
	*place = follow->next;
	follow->peer->follow_count--;
	free(follow->id);
	free(follow);
}

static Follow *
find(const Peer *peer, const char *topic)
{
	for (Follow *follow = peer->follows; follow; follow = follow->next)
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
	socket_send(follow->peer->socket, &message);
	socket_flush(follow->peer->socket);
	buffer_wipe(&message);
}

static void
follow_event(void *context, Event *event)
{
	socket_send_shared(((Follow *) context)->peer->socket, event_frame(event));
}

static void
follow_page(void *context)
{
	socket_flush(((Follow *) context)->peer->socket);
}

static size_t
follow_queued(void *context)
{
	const Socket *socket = ((Follow *) context)->peer->socket;

	return socket_is_open(socket) ? socket_queued(socket) : MUCH;
}

/*
 * Whose key is not valid any more has no other business here, either.
 */
static void
follow_ended(void *context, const Answer *answer)
{
	Follow *follow = context;
	Peer *peer = follow->peer;
	Problem problem = publication_problem(answer);

	tell_problem(peer, follow->id, hub_topic(follow->subscription), &problem);
	forget(follow);
	if (answer->is_refused)
		socket_close(peer->socket, WS_POLICY, "the key is not valid any more", false);
	socket_flush(peer->socket);
}

/*
 * Who follows a topic already goes on from the new cursor.
 */
static void
take_subscribe(Peer *peer, const Message *message)
{
	static const SubscriptionEvents events = {follow_opened, follow_event, follow_page,
											  follow_ended, follow_queued};
	Follow *follow = find(peer, message->topic);

	if (follow && !follow->is_told)
	{
		refuse(peer, message->id, 429, "the topic is being subscribed to: wait for the answer");
		return;
	}
	if (follow)
		unfollow(follow);
	if (peer->follow_count >= MOST_FOLLOWS)
	{
		refuse(peer, message->id, 429, "no more than 256 topics can be followed at once");
		return;
	}
	follow = memory_get(sizeof(Follow));
	*follow = (Follow) {.peer = peer, .id = memory_copy(message->id), .next = peer->follows};
	peer->follows = follow;
	peer->follow_count++;
	follow->subscription = hub_subscribe(peer->streams->hub, message->topic, &message->cursor,
										 &peer->credential, peer->route, &events, follow);
	streams_watch(peer->streams);
}

static void
take_unsubscribe(Peer *peer, const Message *message)
{
	Follow *follow = find(peer, message->topic);
	Buffer answer = {0};

	if (follow)
		unfollow(follow);
	message_add_done(&answer, "unsubscribed", message->id, message->topic);
	socket_send(peer->socket, &answer);
	buffer_wipe(&answer);
}

/* ---- publishing ---- */

static void
published(void *context, const Message *message, const char *seq, const Problem *problem)
{
	Peer *peer = context;
	Buffer answer = {0};

	if (problem)
		message_add_error(&answer, message->id, NULL, problem);
	else
		message_add_published(&answer, message, seq);
	socket_send(peer->socket, &answer);
	socket_flush(peer->socket);
	buffer_wipe(&answer);
}

static void
take_publish(Peer *peer, Message *message)
{
	if (peer->publisher == NULL)
		peer->publisher = publisher_open(peer->streams->gateway->pool, &peer->credential,
										 peer->route, published, peer);
	if (!publisher_take(peer->publisher, message))
		refuse(peer, message->id, 429, "too many messages wait to be published");
}

/* ---- messages ---- */

static void
pong(Peer *peer, const Message *message)
{
	Buffer answer = {0};

	message_add_done(&answer, "pong", message->id, NULL);
	socket_send(peer->socket, &answer);
	buffer_wipe(&answer);
}

static void
take(Peer *peer, Message *message)
{
	if (message->type == MESSAGE_PING)
		pong(peer, message);
	else if (message->type == MESSAGE_AUTH)
		take_auth(peer, message);
	else if (!peer->is_known)
		refuse(peer, message->id, 401, "who this is has to be said first, and answered with ready");
	else if (message->type == MESSAGE_SUBSCRIBE)
		take_subscribe(peer, message);
	else if (message->type == MESSAGE_UNSUBSCRIBE)
		take_unsubscribe(peer, message);
	else
		take_publish(peer, message);
}

static void
take_message(void *context, const char *text, size_t size)
{
	Peer *peer = context;
	Message message;
	const char *wrong = message_read(&message, text, size);
	Buffer detail = {0};

	if (wrong == NULL)
		take(peer, &message);
	else
	{
		buffer_print(&detail, "the message %s", wrong);
		refuse(peer, message.id, 400, detail.bytes);
		buffer_wipe(&detail);
	}
	message_free(&message);
}

static void
drained(void *context)
{
	for (Follow *follow = ((Peer *) context)->follows; follow; follow = follow->next)
		hub_drained(follow->subscription);
}

/* ---- beginning and end ---- */

static void
free_peer(Peer *peer)
{
	if (peer->ticket)
		pool_cancel(peer->ticket);
	while (peer->follows)
		unfollow(peer->follows);
	if (peer->publisher)
		publisher_leave(peer->publisher);
	if (peer->key)
		streams_leave(peer->streams, peer->key);
	gateway_leave_stream(peer->streams->gateway);
	credential_drop(&peer->credential);
	free(peer->route);
	free(peer->company);
	free(peer->owner);
	free(peer);
}

static void
gone(void *context)
{
	Peer *peer = context;

	log_event(LOG_INFO, "websocket closed", TEXT("request_id", peer->id),
			  NUMBER("code", socket_code(peer->socket)), NUMBER("ms", clock_ms() - peer->began_at));
	free_peer(peer);
}

static void
taken(void *context, int fd, const char *extra, size_t extra_size,
	  struct MHD_UpgradeResponseHandle *handle)
{
	static const SocketEvents events = {take_message, drained, gone};
	Peer *peer = context;

	if (handle == NULL)
	{
		free_peer(peer);
		return;
	}
	peer->socket =
		socket_open(&peer->streams->sockets, fd, extra, extra_size, handle, &events, peer);
	if (peer->streams->gateway->is_draining)
		socket_close(peer->socket, WS_GOING_AWAY, "the gateway is about to end", true);
	else if (peer->is_known)
		tell_ready(peer);
	else
		socket_limit(peer->socket, AUTH_LIMIT, "who this is was not said in time");
	socket_flush(peer->socket);
}

static void
upgrade(Request *request, const PGresult *identity)
{
	char accept[WS_ACCEPT_SIZE];
	Streams *streams = streams_of(request->gateway);
	KeyCount *key = NULL;
	Peer *peer;

	if (identity && (key = streams_admit(request)) == NULL)
		return;
	if (!gateway_enter_stream(request->gateway))
	{
		request_problem(request, 503, NULL, NULL, "there are as many streams as there may be",
						NULL);
		if (key)
			streams_leave(streams, key);
		return;
	}
	peer = memory_get(sizeof(Peer));
	*peer = (Peer) {.streams = streams,
					.route = memory_copy(route_name(request->route)),
					.key = key,
					.began_at = clock_ms()};
	snprintf(peer->id, sizeof(peer->id), "%s", request->id);
	credential_keep(&peer->credential, &request->credential);
	if (identity)
		take_identity(peer, identity);
	ws_accept(request_header_of(request, "Sec-WebSocket-Key"), accept);
	request_header(request, "Sec-WebSocket-Accept", accept);
	request_upgrade(request, "websocket", taken, peer);
}

static void
asked(void *context, const Answer *answer)
{
	Request *request = context;

	if (answer->state == ANSWER_OK)
		upgrade(request, answer->identity);
	else
		request_fail(request, answer);
}

/*
 * A page may connect only from an allowed origin; who comes with a cookie has to be a page.
 */
static bool
origin_is_right(const Request *request)
{
	const char *origin = request_header_of(request, "Origin");

	if (origin)
		return request->origin != NULL;
	return request->credential.kind != CREDENTIAL_SESSION;
}

void
peer_handle(Request *request)
{
	const WsHandshake handshake = {.upgrade = request_header_of(request, "Upgrade"),
								   .connection = request_header_of(request, "Connection"),
								   .version = request_header_of(request, "Sec-WebSocket-Version"),
								   .key = request_header_of(request, "Sec-WebSocket-Key")};
	const char *problem;
	int status = ws_check(&handshake, &problem);
	Unit unit = identity_unit();

	if (status == 0 && request->method != METHOD_GET)
		status = 426, problem = "this address speaks WebSocket";
	if (status == 426)
	{
		request_header(request, "Upgrade", "websocket");
		request_header(request, "Sec-WebSocket-Version", "13");
	}
	if (status)
		request_problem(request, status, NULL, NULL, problem, NULL);
	else if (!origin_is_right(request))
		request_problem(request, 403, NULL, NULL, "pages of this origin may not connect",
						"The gateway's setting \"origins\" names those that may.");
	else if (request->credential.kind == CREDENTIAL_NONE)
		upgrade(request, NULL);
	else
		request_run(request, &unit, asked);
}
