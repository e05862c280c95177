/*
 * Clients of /ws.
 */
#include "gateway/peer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "gateway/allowance.h"
#include "gateway/follows.h"
#include "gateway/publication.h"
#include "gateway/streams.h"
#include "gateway/token.h"

#define AUTH_LIMIT 5000 /* ms to say who one is */

/* Messages at once and a second, and those of them that subscribe or unsubscribe. */
#define MESSAGES_AT_ONCE 2000
#define MESSAGES_EACH_SECOND 1000
#define FOLLOWS_AT_ONCE 600
#define FOLLOWS_EACH_SECOND 60

/* What a key has to be for, besides the route of the socket, to publish. */
#define PUBLISH_ROUTE "POST /api/events/{topic}"

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
	Stranger *stranger; /* until it is known who it is, when it is counted as a stream */
	Ticket *ticket;		/* of asking who it is */
	Follows follows;
	Publisher *publisher;
	Allowance messages;
	Allowance changes; /* of what it follows */
	int64_t began_at;
} Peer;

/* ---- telling ---- */

static void
refuse(Peer *peer, const char *id, int status, const char *detail)
{
	Problem problem = {.status = status, .title = problem_title(status), .detail = detail};

	follows_tell_problem(peer->socket, id, NULL, &problem);
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

/*
 * Once it is known who it is, and there is a socket.
 */
static void
begin_following(Peer *peer)
{
	peer->follows = (Follows) {.streams = peer->streams,
							   .socket = peer->socket,
							   .credential = &peer->credential,
							   .quota = streams_quota(peer->key)};
}

static Unit
identity_unit(void)
{
	return (Unit) {.side = SIDE_LOCAL, .statement = "whoami", .sql = "SELECT 1", .roles = ROLE_ANY};
}

/*
 * Counts it among the streams, of its key and in all; false when there are too many.
 */
static bool
enter(Peer *peer)
{
	peer->key = streams_enter(peer->streams, &peer->credential);
	if (peer->key == NULL || !gateway_enter_stream(peer->streams->gateway))
		return false;
	strangers_leave(&peer->streams->strangers, peer->stranger);
	peer->stranger = NULL;
	return true;
}

static void
authenticated(void *context, const Answer *answer)
{
	Peer *peer = context;

	peer->ticket = NULL;
	if (answer->state == ANSWER_OK && !enter(peer))
		socket_close(peer->socket, WS_TRY_LATER,
					 peer->key ? "there are as many streams as there may be"
							   : "this key has as many streams as it may have",
					 false);
	else if (answer->state == ANSWER_OK)
	{
		take_identity(peer, answer->identity);
		begin_following(peer);
		socket_limit(peer->socket, 0, NULL);
		tell_ready(peer);
	}
	else
	{
		Problem problem = publication_problem(answer);

		follows_tell_problem(peer->socket, NULL, NULL, &problem);
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
		if (peer->publisher)
			publisher_renew(peer->publisher, &peer->credential);
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
										 PUBLISH_ROUTE, published, peer);
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

/*
 * False when it was said already that this comes too often; a client that goes on is closed.
 */
static bool
is_allowed(Peer *peer, const Message *message)
{
	int64_t now = clock_ms();
	Grant grant = allowance_take(&peer->messages, MESSAGES_AT_ONCE, MESSAGES_EACH_SECOND, now);

	if (grant == GRANTED &&
		(message->type == MESSAGE_SUBSCRIBE || message->type == MESSAGE_UNSUBSCRIBE))
		grant = allowance_take(&peer->changes, FOLLOWS_AT_ONCE, FOLLOWS_EACH_SECOND, now);
	if (grant == GRANT_REFUSED)
		refuse(peer, message->id, 429, "too many messages in a short time: wait a second");
	else if (grant == GRANT_ENDED)
		socket_close(peer->socket, WS_POLICY, "too many messages in a short time", false);
	return grant == GRANTED;
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
		follows_subscribe(&peer->follows, message);
	else if (message->type == MESSAGE_UNSUBSCRIBE)
		follows_unsubscribe(&peer->follows, message);
	else
		take_publish(peer, message);
}

static void
take_message(void *context, const char *text, size_t size)
{
	Peer *peer = context;
	Message message;
	const char *wrong = message_read(&message, text, size);
	bool may = is_allowed(peer, &message);
	Buffer detail = {0};

	if (may && wrong == NULL)
		take(peer, &message);
	else if (may)
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
	follows_drained(&((Peer *) context)->follows);
}

/* ---- beginning and end ---- */

static void
free_peer(Peer *peer)
{
	if (peer->ticket)
		pool_cancel(peer->ticket);
	follows_leave(&peer->follows);
	if (peer->publisher)
		publisher_leave(peer->publisher);
	if (peer->key)
		streams_leave(peer->streams, peer->key);
	if (peer->stranger)
		strangers_leave(&peer->streams->strangers, peer->stranger);
	else
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
	{
		begin_following(peer);
		tell_ready(peer);
	}
	else
		socket_limit(peer->socket, AUTH_LIMIT, "who this is was not said in time");
	socket_flush(peer->socket);
}

/*
 * Counts who comes with a key as a stream, others as strangers. False when it is answered.
 */
static bool
admit(Request *request, Streams *streams, bool is_known, KeyCount **key, Stranger **stranger)
{
	if (is_known && (*key = streams_admit(request)) == NULL)
		return false;
	if (is_known && gateway_enter_stream(request->gateway))
		return true;
	if (!is_known && (*stranger = strangers_enter(&streams->strangers, request->address)) != NULL)
		return true;
	request_problem(request, 503, NULL, NULL,
					is_known ? "there are as many streams as there may be"
							 : "too many have not said yet who they are",
					is_known ? NULL : "A key in the header Authorization has a place of its own.");
	if (*key)
		streams_leave(streams, *key);
	return false;
}

static void
upgrade(Request *request, const PGresult *identity)
{
	char accept[WS_ACCEPT_SIZE];
	Streams *streams = streams_of(request->gateway);
	KeyCount *key = NULL;
	Stranger *stranger = NULL;
	Peer *peer;

	if (!admit(request, streams, identity != NULL, &key, &stranger))
		return;
	peer = memory_get(sizeof(Peer));
	*peer = (Peer) {.streams = streams,
					.route = memory_copy(route_name(request->route)),
					.key = key,
					.stranger = stranger,
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
