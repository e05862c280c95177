/*
 * Answers that go on: bytes are queued as they come and sent as the client takes them. Used for
 * Server-Sent Events.
 */
#ifndef GATEWAY_STREAM_H
#define GATEWAY_STREAM_H

#include <stddef.h>

#include "gateway/request.h"

typedef struct Stream Stream;

/* Bytes that several streams send, with one copy of them. */
typedef struct Shared
{
	int references;
	size_t size;
	char bytes[];
} Shared;

/* Has one reference, the caller's. */
extern Shared *shared_make(const void *bytes, size_t size);
extern Shared *shared_hold(Shared *shared);
extern void shared_release(Shared *shared);

typedef struct StreamEvents
{
	/*
	 * The stream has ended: its client has gone, its queue was overrun, the gateway drains or
	 * stream_end() was called and all is sent. Called once, always; the stream is freed behind it.
	 */
	void (*gone)(void *context);

	/* The queue, which was not empty, is empty again. May be NULL. */
	void (*drained)(void *context);

	/*
	 * The gateway is about to end: a last word may be written and the stream be ended. NULL for one
	 * that ends by itself, and is waited for as long as the gateway may.
	 */
	void (*draining)(void *context);
} StreamEvents;

/*
 * Answers the request with 200, the headers that were added and a body that comes. The request must
 * not be used afterwards; its client is watched, and "gone" is called when it goes.
 */
extern Stream *stream_begin(Request *request, const char *content_type, const StreamEvents *events,
							void *context);

/*
 * Queues bytes. With more than stream_queue bytes in the queue the stream is given up: it takes no
 * more, and "gone" is called soon, but never from within.
 */
extern void stream_write(Stream *stream, const void *bytes, size_t size);
extern void stream_write_shared(Stream *stream, Shared *shared);

/* Bytes that are not sent yet. */
extern size_t stream_queued(const Stream *stream);

/* Ends the stream when all is sent. */
extern void stream_end(Stream *stream);

/* ---- for request.c and gateway.c ---- */

/* The client has gone; the connection has ended. */
extern void stream_gone(Stream *stream);
extern void stream_ended(Stream *stream);

/* Tells all streams that the gateway drains. */
extern void streams_drain(Gateway *gateway);

#endif
