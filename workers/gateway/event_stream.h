/*
 * Topics as Server-Sent Events. The id of an event is its cursor, EPOCH/SEQ, so that a browser that
 * comes back with Last-Event-ID goes on behind it. An event without a name has the JSON that a
 * WebSocket gets; "state" says where the stream goes on, as "subscribed" does there; "error" that
 * it is over; "closing" that the client is to come back. Comments come when nothing else has for
 * ping_interval.
 */
#ifndef GATEWAY_EVENT_STREAM_H
#define GATEWAY_EVENT_STREAM_H

#include "gateway/streams.h"

/* Does the client want such a stream? */
extern bool event_stream_is_wanted(const Request *request);

/*
 * GET /api/events/{topic}: the rows of the route's statement, or a stream of the events behind
 * Last-Event-ID, or else behind the parameters "after" and "epoch", or else from now on.
 */
extern void event_stream_handle(Request *request);

/* Once a second. */
extern void event_streams_sweep(Streams *streams);

/* Tells a stream what went wrong, as an event. */
extern void event_stream_problem(Stream *stream, const Answer *answer);

#endif
