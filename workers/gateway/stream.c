/*
 * Answers that go on.
 */
#include "gateway/stream.h"

#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include "common/clock.h"
#include "gateway/exchange.h"
#include "gateway/listener.h"

#define PIECE 32768 /* bytes that the library asks for at a time */

/* What is queued is a list of pieces. */
typedef struct Piece
{
	struct Piece *next;
	Shared *shared;
	size_t sent;
} Piece;

struct Stream
{
	Request *request;
	const StreamEvents *events;
	void *context;
	Piece *first;
	Piece *last;
	size_t queued;
	bool is_ending; /* when all is sent */
	bool is_given_up;
	bool is_told; /* that it has ended */
};

/* ---- shared bytes ---- */

Shared *
shared_make(const void *bytes, size_t size)
{
	Shared *shared = memory_get(sizeof(Shared) + size);

	shared->references = 1;
	shared->size = size;
	memcpy(shared->bytes, bytes, size);
	return shared;
}

Shared *
shared_hold(Shared *shared)
{
	shared->references++;
	return shared;
}

void
shared_release(Shared *shared)
{
	if (--shared->references == 0)
		free(shared);
}

/* ---- the queue ---- */

static void
drop_first(Stream *stream)
{
	Piece *piece = stream->first;

	stream->first = piece->next;
	if (stream->first == NULL)
		stream->last = NULL;
	stream->queued -= piece->shared->size - piece->sent;
	shared_release(piece->shared);
	free(piece);
}

static size_t
take_bytes(Stream *stream, char *to, size_t room)
{
	size_t taken = 0;

	while (stream->first && taken < room)
	{
		Piece *piece = stream->first;
		size_t size = piece->shared->size - piece->sent;

		if (size > room - taken)
			size = room - taken;
		memcpy(to + taken, piece->shared->bytes + piece->sent, size);
		piece->sent += size;
		stream->queued -= size;
		taken += size;
		if (piece->sent == piece->shared->size)
			drop_first(stream);
	}
	return taken;
}

static void
tell(Stream *stream)
{
	if (stream->is_told)
		return;
	stream->is_told = true;
	stream->events->gone(stream->context);
}

/*
 * The library asks for what is next. Without anything the connection sleeps until there is.
 */
static ssize_t
give(void *context, uint64_t position, char *to, size_t room)
{
	Stream *stream = context;
	size_t taken;

	(void) position;
	if (stream->is_given_up)
		return MHD_CONTENT_READER_END_WITH_ERROR;
	taken = take_bytes(stream, to, room);
	stream->request->inside->size += taken;
	if (taken > 0)
	{
		/* A stream that goes on has no end of its time; one whose client takes nothing has. */
		stream->request->client->deadline =
			clock_ms() + stream->request->gateway->config->body_timeout;
		if (stream->first == NULL && !stream->is_ending && stream->events->drained)
			stream->events->drained(stream->context);
		return (ssize_t) taken;
	}
	if (stream->is_ending)
		return MHD_CONTENT_READER_END_OF_STREAM;
	client_suspend(stream->request->client);
	client_watch(stream->request->client);
	return 0;
}

static void
free_stream(void *context)
{
	Stream *stream = context;

	tell(stream);
	while (stream->first)
		drop_first(stream);
	gateway_leave_stream(stream->request->gateway);
	stream->request->inside->stream = NULL;
	free(stream);
}

static void
wake(Stream *stream)
{
	client_resume(stream->request->client);
}

/* ---- for handlers ---- */

Stream *
stream_begin(Request *request, const char *content_type, const StreamEvents *events, void *context)
{
	Stream *stream = memory_get(sizeof(Stream));
	struct MHD_Response *response;

	*stream = (Stream) {.request = request, .events = events, .context = context};
	request->gateway->stream_count++;
	request->inside->stream = stream;
	response =
		MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, PIECE, give, stream, free_stream);
	MHD_add_response_header(response, "Content-Type", content_type);
	MHD_add_response_header(response, "Cache-Control", "no-store");
	MHD_add_response_header(response, "X-Accel-Buffering", "no");
	request_finish_headers(request, response);
	request_respond(request, 200, response);
	return stream;
}

static void
add(Stream *stream, Shared *shared)
{
	Piece *piece;

	if (stream->is_given_up || stream->is_ending || stream->is_told || shared->size == 0)
	{
		shared_release(shared);
		return;
	}
	piece = memory_get(sizeof(Piece));
	piece->shared = shared;
	if (stream->last)
		stream->last->next = piece;
	else
		stream->first = piece;
	stream->last = piece;
	/* One that is larger than the queue by itself is sent all the same. */
	if (stream->queued > (size_t) stream->request->gateway->config->stream_queue)
		stream->is_given_up = true;
	stream->queued += shared->size;
	wake(stream);
}

void
stream_write(Stream *stream, const void *bytes, size_t size)
{
	add(stream, shared_make(bytes, size));
}

void
stream_write_shared(Stream *stream, Shared *shared)
{
	add(stream, shared_hold(shared));
}

size_t
stream_queued(const Stream *stream)
{
	return stream->queued;
}

void
stream_end(Stream *stream)
{
	stream->is_ending = true;
	wake(stream);
}

/* ---- for request.c and gateway.c ---- */

void
stream_gone(Stream *stream)
{
	stream->is_given_up = true;
	wake(stream);
}

void
stream_ended(Stream *stream)
{
	stream->is_given_up = true;
	tell(stream);
}

void
streams_drain(Gateway *gateway)
{
	Client *next;

	for (Client *client = gateway->clients; client; client = next)
	{
		Stream *stream = client->request.inside->stream;

		next = client->next;
		if (stream == NULL || stream->is_told)
			continue;
		if (stream->events->draining)
			stream->events->draining(stream->context);
	}
}
