/*
 * A WebSocket that a request became.
 */
#include "gateway/socket.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "gateway/listener.h"
#include "gateway/message.h"

#define READ_SIZE (16 * 1024)
#define FRAMES_AT_ONCE 64
#define SHORT_QUEUE (16 * 1024)
#define CLOSE_LIMIT 10000 /* ms that the client has to read what is left and to close, too */

typedef enum SocketState
{
	SOCKET_OPEN,
	SOCKET_CLOSING, /* this side has closed: what is left is sent, and the client's frame awaited */
	SOCKET_ENDING,	/* both have: what is left is sent */
	SOCKET_OVER		/* to be buried */
} SocketState;

struct Socket
{
	Sockets *sockets;
	int fd;
	struct MHD_UpgradeResponseHandle *handle;
	SocketEvents events;
	void *context;
	SocketState state;
	unsigned code;
	Ws *ws;
	char *extra;
	size_t extra_size;
	Shared **queue; /* a ring */
	size_t room;
	size_t first;
	size_t count;
	size_t sent;   /* of the first */
	size_t queued; /* bytes */
	bool was_long;
	int64_t heard_at;  /* ms */
	int64_t pinged_at; /* 0: not since it was heard */
	int64_t closed_at;
	int64_t limit_at; /* 0 for none */
	const char *limit_reason;
	Socket *next;
	Socket **place;
};

/* ---- the queue ---- */

static void
push(Socket *socket, Shared *frame)
{
	if (socket->count == socket->room)
	{
		size_t room = socket->room > 0 ? socket->room * 2 : 8;
		Shared **queue = memory_get(room * sizeof(Shared *));

		for (size_t i = 0; i < socket->count; i++)
			queue[i] = socket->queue[(socket->first + i) % socket->room];
		free(socket->queue);
		socket->queue = queue;
		socket->room = room;
		socket->first = 0;
	}
	socket->queue[(socket->first + socket->count++) % socket->room] = shared_hold(frame);
	socket->queued += frame->size;
	if (socket->queued > SHORT_QUEUE)
		socket->was_long = true;
}

static void
pop(Socket *socket)
{
	Shared *frame = socket->queue[socket->first];

	socket->queued -= frame->size - socket->sent;
	socket->sent = 0;
	socket->first = (socket->first + 1) % socket->room;
	socket->count--;
	shared_release(frame);
}

static void
push_frame(Socket *socket, const Buffer *frame)
{
	Shared *shared = shared_make(frame->bytes, frame->size);

	push(socket, shared);
	shared_release(shared);
}

/*
 * Drops what has not begun to be sent.
 */
static void
drop_queue(Socket *socket, size_t kept)
{
	while (socket->count > kept)
	{
		Shared *last = socket->queue[(socket->first + --socket->count) % socket->room];

		socket->queued -= last->size - (socket->count == 0 ? socket->sent : 0);
		shared_release(last);
	}
	if (socket->count == 0)
		socket->sent = 0;
}

/* ---- ends ---- */

/*
 * Whoever called may be going over a list of sockets or of what belongs to them.
 */
static void
end(Socket *socket)
{
	if (socket->state == SOCKET_OVER)
		return;
	socket->state = SOCKET_OVER;
	loop_forget(&socket->sockets->gateway->loop, socket->fd);
	loop_set(&socket->sockets->gateway->loop, &socket->sockets->bury, clock_ms());
}

static void
bury(Socket *socket)
{
	*socket->place = socket->next;
	if (socket->next)
		socket->next->place = socket->place;
	loop_forget(&socket->sockets->gateway->loop, socket->fd);
	socket->events.gone(socket->context);
	(void) shutdown(socket->fd, SHUT_RDWR);
	(void) MHD_upgrade_action(socket->handle, MHD_UPGRADE_ACTION_CLOSE);
	listeners_wake(socket->sockets->gateway);
	drop_queue(socket, 0);
	free(socket->queue);
	free(socket->extra);
	ws_free(socket->ws);
	free(socket);
}

static void
bury_all(void *context)
{
	Sockets *sockets = context;
	Socket *next;

	for (Socket *socket = sockets->first; socket; socket = next)
	{
		next = socket->next;
		if (socket->state == SOCKET_OVER)
			bury(socket);
	}
}

void
sockets_open(Sockets *sockets, Gateway *gateway)
{
	*sockets = (Sockets) {.gateway = gateway, .bury = {.due = bury_all, .context = sockets}};
}

void
sockets_close(Sockets *sockets)
{
	for (Socket *socket = sockets->first; socket; socket = socket->next)
		end(socket);
	bury_all(sockets);
	loop_unset(&sockets->gateway->loop, &sockets->bury);
}

/* ---- writing ---- */

static void ready(void *context, int fd, uint32_t events);

static void
watch(Socket *socket)
{
	if (socket->state != SOCKET_OVER)
		loop_watch(&socket->sockets->gateway->loop, socket->fd,
				   (socket->state == SOCKET_ENDING ? 0 : EPOLLIN) |
					   (socket->count > 0 ? EPOLLOUT : 0),
				   ready, socket);
}

static void
take_sent(Socket *socket, size_t size)
{
	while (size > 0)
	{
		size_t left = socket->queue[socket->first]->size - socket->sent;

		if (size < left)
		{
			socket->sent += size;
			socket->queued -= size;
			return;
		}
		size -= left;
		pop(socket);
	}
}

static ssize_t
write_some(Socket *socket)
{
	struct iovec parts[FRAMES_AT_ONCE];
	size_t count = socket->count < FRAMES_AT_ONCE ? socket->count : FRAMES_AT_ONCE;

	for (size_t i = 0; i < count; i++)
	{
		Shared *frame = socket->queue[(socket->first + i) % socket->room];
		size_t skipped = i == 0 ? socket->sent : 0;

		parts[i] = (struct iovec) {frame->bytes + skipped, frame->size - skipped};
	}
	if (count == 1)
		return write(socket->fd, parts[0].iov_base, parts[0].iov_len);
	return writev(socket->fd, parts, (int) count);
}

void
socket_flush(Socket *socket)
{
	while (socket->state != SOCKET_OVER && socket->count > 0)
	{
		ssize_t size = write_some(socket);

		if (size >= 0)
			take_sent(socket, (size_t) size);
		else if (errno == EAGAIN || errno == EWOULDBLOCK)
			break;
		else if (errno != EINTR)
			end(socket);
	}
	if (socket->state == SOCKET_ENDING && socket->count == 0)
		end(socket);
	watch(socket);
}

void
socket_send_shared(Socket *socket, Shared *frame)
{
	size_t most = (size_t) socket->sockets->gateway->config->stream_queue;

	if (socket->state != SOCKET_OPEN)
		return;
	if (socket->queued > most)
		socket_flush(socket);
	if (socket->queued <= most)
		push(socket, frame);
	else if (socket->state == SOCKET_OPEN)
	{
		log_event(LOG_INFO, "websocket reads too slowly",
				  NUMBER("queued", (int64_t) socket->queued));
		drop_queue(socket, socket->sent > 0 ? 1 : 0);
		socket_close(socket, WS_RESUME, "events came faster than they were read", true);
	}
}

void
socket_send(Socket *socket, const Buffer *message)
{
	Buffer frame = {0};
	Shared *shared;

	ws_add_frame(&frame, WS_TEXT, message->bytes, message->size);
	shared = shared_make(frame.bytes, frame.size);
	socket_send_shared(socket, shared);
	shared_release(shared);
	buffer_wipe(&frame);
}

size_t
socket_queued(const Socket *socket)
{
	return socket->queued;
}

void
socket_close(Socket *socket, unsigned code, const char *reason, bool resume)
{
	Buffer message = {0};
	Buffer frames = {0};

	if (socket->state != SOCKET_OPEN)
		return;
	message_add_closing(&message, code, reason, resume);
	ws_add_frame(&frames, WS_TEXT, message.bytes, message.size);
	ws_add_close(&frames, (uint16_t) code, reason);
	push_frame(socket, &frames);
	buffer_wipe(&message);
	buffer_wipe(&frames);
	socket->state = SOCKET_CLOSING;
	socket->code = code;
	socket->closed_at = clock_ms();
	socket_flush(socket);
}

void
socket_limit(Socket *socket, int64_t limit, const char *reason)
{
	socket->limit_at = limit > 0 ? clock_ms() + limit : 0;
	socket->limit_reason = reason;
}

bool
socket_is_open(const Socket *socket)
{
	return socket->state == SOCKET_OPEN;
}

unsigned
socket_code(const Socket *socket)
{
	unsigned code = socket->code > 0 ? socket->code : ws_code(socket->ws);

	return code > 0 ? code : 1006;
}

/* ---- reading ---- */

static void
take_message(void *context, const char *text, size_t size)
{
	Socket *socket = context;

	if (socket->state == SOCKET_OPEN)
		socket->events.message(socket->context, text, size);
}

/*
 * Answers of libwslay to pings and close; of these at most one when this side has closed already.
 */
static void
take_frame(void *context, const void *bytes, size_t size)
{
	Socket *socket = context;
	Shared *frame = shared_make(bytes, size);

	socket_send_shared(socket, frame);
	shared_release(frame);
}

static void
take_bytes(Socket *socket, const char *bytes, size_t size)
{
	socket->heard_at = clock_ms();
	socket->pinged_at = 0;
	if (ws_take(socket->ws, bytes, size))
		return;
	if (socket->state == SOCKET_OPEN || socket->state == SOCKET_CLOSING)
		socket->state = SOCKET_ENDING;
}

/*
 * One piece at a time, so that nobody who sends much keeps the others waiting.
 */
static void
read_some(Socket *socket)
{
	static char bytes[READ_SIZE];
	ssize_t size = read(socket->fd, bytes, sizeof(bytes));

	if (size > 0)
		take_bytes(socket, bytes, (size_t) size);
	else if (size == 0 || (errno != EAGAIN && errno != EINTR))
		end(socket);
}

static void
ready(void *context, int fd, uint32_t events)
{
	Socket *socket = context;

	(void) fd;
	if (socket->extra)
	{
		take_bytes(socket, socket->extra, socket->extra_size);
		free(socket->extra);
		socket->extra = NULL;
	}
	if ((events & EPOLLIN) && socket->state < SOCKET_ENDING)
		read_some(socket);
	else if (events & (EPOLLERR | EPOLLHUP))
		end(socket);
	socket_flush(socket);
	if (socket->was_long && socket->queued <= SHORT_QUEUE && socket->state == SOCKET_OPEN)
	{
		socket->was_long = false;
		socket->events.drained(socket->context);
	}
}

Socket *
socket_open(Sockets *sockets, int fd, const char *extra, size_t extra_size,
			struct MHD_UpgradeResponseHandle *handle, const SocketEvents *events, void *context)
{
	static const WsEvents ws_events = {take_message, take_frame};
	Socket *socket = memory_get(sizeof(Socket));
	int yes = 1;
	int no = 0;

	*socket = (Socket) {.sockets = sockets,
						.fd = fd,
						.handle = handle,
						.events = *events,
						.context = context,
						.heard_at = clock_ms(),
						.next = sockets->first,
						.place = &sockets->first};
	if (sockets->first)
		sockets->first->place = &socket->next;
	sockets->first = socket;
	socket->ws = ws_open(MESSAGE_LONGEST, &ws_events, socket);
	if (extra_size > 0)
	{
		socket->extra = memory_get(extra_size);
		memcpy(socket->extra, extra, extra_size);
		socket->extra_size = extra_size;
	}
	/* Messages are small, and nobody else puts them together; no error where there is no TCP. */
	(void) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
	(void) setsockopt(fd, IPPROTO_TCP, TCP_CORK, &no, sizeof(no));
	/* A socket can be written at once, so that what came already is looked at, too. */
	loop_watch(&sockets->gateway->loop, fd, EPOLLIN | (extra_size > 0 ? EPOLLOUT : 0), ready,
			   socket);
	return socket;
}

/* ---- pings ---- */

static void
ping(Socket *socket, int64_t now)
{
	Buffer frame = {0};

	ws_add_frame(&frame, WS_PING, "", 0);
	push_frame(socket, &frame);
	buffer_wipe(&frame);
	socket->pinged_at = now;
	socket_flush(socket);
}

void
sockets_sweep(Sockets *sockets)
{
	int64_t now = clock_ms();
	int64_t interval = sockets->gateway->config->ping_interval;

	for (Socket *socket = sockets->first; socket; socket = socket->next)
	{
		if (socket->state == SOCKET_OPEN && socket->limit_at > 0 && now >= socket->limit_at)
			socket_close(socket, WS_POLICY, socket->limit_reason, false);
		else if (socket->state == SOCKET_OPEN && socket->pinged_at > 0)
		{
			if (now - socket->pinged_at > interval)
				end(socket);
		}
		else if (socket->state == SOCKET_OPEN && now - socket->heard_at >= interval)
			ping(socket, now);
		else if (socket->state == SOCKET_CLOSING && now - socket->closed_at > CLOSE_LIMIT)
			end(socket);
		else if (socket->state == SOCKET_ENDING && now - socket->heard_at > CLOSE_LIMIT)
			end(socket);
	}
}

void
sockets_drain(Sockets *sockets)
{
	for (Socket *socket = sockets->first; socket; socket = socket->next)
		socket_close(socket, WS_GOING_AWAY, "the gateway is about to end", true);
}
