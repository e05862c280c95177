/*
 * A WebSocket that a request became: reads and writes its socket in the loop, pings, and closes.
 * What is sent is a queue of shared frames, so that one made for a thousand clients is there once.
 */
#ifndef GATEWAY_SOCKET_H
#define GATEWAY_SOCKET_H

#include <microhttpd.h>

#include "gateway/gateway.h"
#include "gateway/stream.h"
#include "gateway/ws.h"

typedef struct Socket Socket;

typedef struct SocketEvents
{
	void (*message)(void *context, const char *text, size_t size);

	/* The queue has become short. */
	void (*drained)(void *context);

	/* It is over; the socket is freed behind this. Never called from within another function. */
	void (*gone)(void *context);
} SocketEvents;

/* All sockets of a gateway. */
typedef struct Sockets
{
	Gateway *gateway;
	Socket *first;
	Timer bury;
} Sockets;

extern void sockets_open(Sockets *sockets, Gateway *gateway);

/* Once a second: pings, and ends those that did not answer. */
extern void sockets_sweep(Sockets *sockets);

/* Closes all with WS_GOING_AWAY. */
extern void sockets_drain(Sockets *sockets);

/* Ends all at once. */
extern void sockets_close(Sockets *sockets);

/* Takes a socket over, as UpgradeTaken has it. Messages come only when the loop has gone on. */
extern Socket *socket_open(Sockets *sockets, int fd, const char *extra, size_t extra_size,
						   struct MHD_UpgradeResponseHandle *handle, const SocketEvents *events,
						   void *context);

/*
 * Queue a message, or a frame of ws_add_frame(), until socket_flush() or the loop goes on. With
 * more than stream_queue bytes in the queue what is not sent is dropped and the socket closed with
 * WS_RESUME.
 */
extern void socket_send(Socket *socket, const Buffer *message);
extern void socket_send_shared(Socket *socket, Shared *frame);
extern void socket_flush(Socket *socket);

/* Bytes that are not sent yet. */
extern size_t socket_queued(const Socket *socket);

/*
 * Says why, closes, and waits a little for the client to do the same. No message comes any more;
 * what is sent any more is dropped.
 */
extern void socket_close(Socket *socket, unsigned code, const char *reason, bool resume);

/* Has it closed with WS_POLICY when that many ms have gone by; 0 for never. */
extern void socket_limit(Socket *socket, int64_t limit, const char *reason);
extern bool socket_is_open(const Socket *socket);

/* The code that it was closed with, by whichever side; 1006 when by none. */
extern unsigned socket_code(const Socket *socket);

#endif
