/*
 * Topics as Server-Sent Events.
 */
#include "gateway/event_stream.h"

#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "gateway/exchange.h"
#include "gateway/publication.h"

#define RETRY "retry: 2000\n\n"
#define MUCH (1024 * 1024 * 1024) /* bytes that a stream that has ended has to take, as it were */

struct EventStream
{
	Streams *streams;
	Request *request; /* until it is answered */
	Stream *stream;	  /* from then on */
	Subscription *subscription;
	Credential credential;
	char *route;
	KeyCount *key;
	int64_t written_at;
	EventStream *next;
};

bool
event_stream_is_wanted(const Request *request)
{
	const char *accept = request_header_of(request, "Accept");

	return request->method == METHOD_GET && accept && strstr(accept, "text/event-stream");
}

static void
free_event_stream(EventStream *events)
{
	EventStream **place = &events->streams->event_streams;

	while (*place != events)
		place = &(*place)->next;
	*place = events->next;
	if (events->subscription)
		hub_unsubscribe(events->subscription);
	streams_leave(events->streams, events->key);
	credential_drop(&events->credential);
	free(events->route);
	free(events);
}

/* ---- the stream ---- */

static void
write_text(EventStream *events, const Buffer *text)
{
	stream_write(events->stream, text->bytes, text->size);
	events->written_at = clock_ms();
}

static void
stream_is_gone(void *context)
{
	free_event_stream(context);
}

static void
stream_is_drained(void *context)
{
	EventStream *events = context;

	if (events->subscription)
		hub_drained(events->subscription);
}

static void
stream_drains(void *context)
{
	static const char closing[] = "event: closing\ndata: {\"type\":\"closing\",\"code\":1001,"
								  "\"reason\":\"the gateway is about to end\",\"resume\":true}\n\n";
	EventStream *events = context;

	stream_write(events->stream, closing, sizeof(closing) - 1);
	stream_end(events->stream);
}

void
event_stream_problem(Stream *stream, const Answer *answer)
{
	Problem problem = publication_problem(answer);
	Buffer text = {0};

	buffer_add_text(&text, "event: error\ndata: ");
	message_add_error(&text, NULL, NULL, &problem);
	buffer_add_text(&text, "\n\n");
	stream_write(stream, text.bytes, text.size);
	stream_end(stream);
	buffer_wipe(&text);
}

/* ---- what the hub tells ---- */

static void
begin(EventStream *events)
{
	static const StreamEvents stream_events = {stream_is_gone, stream_is_drained, stream_drains};

	events->request->gone = NULL;
	events->stream = stream_begin(events->request, "text/event-stream", &stream_events, events);
	events->request = NULL;
	stream_write(events->stream, RETRY, sizeof(RETRY) - 1);
}

static void
opened(void *context, const Opening *opening)
{
	EventStream *events = context;
	Buffer text = {0};

	if (events->stream == NULL)
		begin(events);
	buffer_add_text(&text, "id: ");
	cursor_add(&text, &opening->cursor);
	buffer_add_text(&text, "\nevent: state\ndata: ");
	message_add_subscribed(&text, NULL, hub_topic(events->subscription), opening->state,
						   &opening->cursor, opening->last_seq);
	buffer_add_text(&text, "\n\n");
	write_text(events, &text);
	buffer_wipe(&text);
	if (events->streams->gateway->is_draining) /* since it was asked for */
		stream_drains(events);
}

static void
take_event(void *context, Event *event)
{
	EventStream *events = context;

	stream_write_shared(events->stream, event_lines(event));
	events->written_at = clock_ms();
}

static void
end_page(void *context)
{
	(void) context;
}

static size_t
queued(void *context)
{
	const EventStream *events = context;

	return events->stream ? stream_queued(events->stream) : MUCH;
}

static void
ended(void *context, const Answer *answer)
{
	EventStream *events = context;

	events->subscription = NULL;
	if (events->stream)
	{
		event_stream_problem(events->stream, answer);
		return;
	}
	events->request->gone = NULL;
	request_fail(events->request, answer);
	free_event_stream(events);
}

/* ---- the request ---- */

/*
 * False when it is answered with what is wrong.
 */
static bool
read_cursor(Request *request, Cursor *cursor)
{
	const char *last = request_header_of(request, "Last-Event-ID");
	const char *after = request_value(request, "after");
	const char *epoch = request_value(request, "epoch");

	*cursor = (Cursor) {.seq = FROM_NOW};
	if (last && *last)
	{
		if (cursor_read(last, cursor))
			return true;
		request_refuse_parameter(request, "Last-Event-ID", "is no cursor as EPOCH/SEQ");
		return false;
	}
	if (after == NULL)
		return true;
	cursor->seq = strtoll(after, NULL, 10);
	if (epoch && epoch_is_valid(epoch))
		memcpy(cursor->epoch, epoch, EPOCH_SIZE);
	return true;
}

static void
request_is_gone(Request *request)
{
	free_event_stream(request->state);
}

static void
begin_request(Request *request)
{
	static const SubscriptionEvents hub_events = {opened, take_event, end_page, ended, queued};
	Streams *streams = streams_of(request->gateway);
	EventStream *events;
	HubClient client;
	Cursor cursor;
	KeyCount *key;

	if (!read_cursor(request, &cursor) || (key = streams_admit(request)) == NULL)
		return;
	events = memory_get(sizeof(EventStream));
	*events = (EventStream) {.streams = streams,
							 .request = request,
							 .route = memory_copy(route_name(request->route)),
							 .key = key,
							 .written_at = clock_ms(),
							 .next = streams->event_streams};
	streams->event_streams = events;
	credential_keep(&events->credential, &request->credential);
	request->state = events;
	request->gone = request_is_gone;
	client = (HubClient) {&events->credential, events->route, streams_quota(key)};
	events->subscription = hub_subscribe(streams->hub, request_value(request, "topic"), &cursor,
										 &client, &hub_events, events);
	if (events->subscription == NULL)
	{
		request->gone = NULL;
		request_problem(request, 429, NULL, NULL, "this key follows as many topics as it may",
						NULL);
		free_event_stream(events);
	}
	streams_watch(streams);
}

/*
 * A node that is behind goes on by the cursor when it has caught up.
 */
static void
caught_up(void *context, const Answer *answer)
{
	Request *request = context;

	if (answer->state == ANSWER_OK)
		begin_request(request);
	else
		request_fail(request, answer);
}

void
event_stream_handle(Request *request)
{
	static const Unit unit = {.side = SIDE_LOCAL, .statement = "whoami", .sql = "SELECT 1"};

	if (!event_stream_is_wanted(request))
		request_serve(request);
	else if (request->lsn)
		request_run(request, &unit, caught_up);
	else
		begin_request(request);
}

/* ---- pings ---- */

void
event_streams_sweep(Streams *streams)
{
	int64_t now = clock_ms();

	for (EventStream *events = streams->event_streams; events; events = events->next)
		if (events->stream && now - events->written_at >= streams->gateway->config->ping_interval)
		{
			stream_write(events->stream, ": ping\n\n", 8);
			events->written_at = now;
		}
}
