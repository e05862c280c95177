/*
 * The protocol of /ws: texts of JSON, one object a message, with a "type". What a client sends:
 *
 *   {"type":"auth","key":"aur_..."}          who could not say it in the handshake; within 5
 * seconds
 *   {"type":"auth","csrf":"..."}             who has a cookie and wants to publish
 *   {"type":"subscribe","topic":"orders","cursor":{"seq":42,"epoch":"6a0e..."},"id":1}
 *   {"type":"unsubscribe","topic":"orders","id":2}
 *   {"type":"publish","topic":"orders","payload":{...},"client_id":"...","id":3}
 *   {"type":"ping","id":4}
 *
 * A cursor is the seq and the epoch of the event that was read last; seq 0 is before the oldest
 * event; without an epoch it is not checked; null, or none, is for what is published from now on.
 * An "id", a text or an integer, comes back with the answer. What the server sends:
 *
 *   {"type":"ready","company":"acme","owner":"anna"}
 *   {"type":"subscribed","id":1,"topic":"orders","state":"continues","resume_after":42,
 *    "epoch":"6a0e...","last_seq":57}
 *   {"type":"event","topic":"orders","seq":43,"epoch":"6a0e...","at":"...","publisher":"anna",
 *    "client_id":null,"payload":{...}}
 *   {"type":"unsubscribed","id":2,"topic":"orders"}
 *   {"type":"published","id":3,"topic":"orders","client_id":"...","seq":58}
 *   {"type":"pong","id":4}
 *   {"type":"error","id":3,"topic":"orders","status":403,"sqlstate":"42501","title":"Forbidden",
 *    "detail":"...","hint":null}
 *   {"type":"closing","code":4000,"reason":"...","resume":true}
 *
 * States: continues; lost: what was read after resume_after was lost with a former lead, forget it;
 * trimmed: events up to resume_after are no longer kept and were missed; ahead: this node has not
 * come that far, and goes on by itself when it has. "subscribed" comes again, without an id,
 * whenever that changes. Behind an error with a topic nothing more comes of that subscription.
 * Behind "closing" with resume: connect again, and subscribe with the cursors of the last events.
 */
#ifndef GATEWAY_MESSAGE_H
#define GATEWAY_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/memory.h"
#include "gateway/problem.h"

#define MESSAGE_LONGEST (64 * 1024)
#define EPOCH_SIZE 37 /* a UUID and a zero */
#define FROM_NOW (-1) /* the seq of no cursor */

/* What was read last. */
typedef struct Cursor
{
	int64_t seq;
	char epoch[EPOCH_SIZE]; /* empty for none */
} Cursor;

typedef enum MessageType
{
	MESSAGE_AUTH,
	MESSAGE_SUBSCRIBE,
	MESSAGE_UNSUBSCRIBE,
	MESSAGE_PUBLISH,
	MESSAGE_PING
} MessageType;

/* A client's message; NULL for a text that it does not have. */
typedef struct Message
{
	MessageType type;
	char *id; /* as JSON */
	char *topic;
	char *client_id;
	char *whole; /* of a publish: the message as it came, whose payload PostgreSQL takes out */
	char *key;
	char *csrf;
	Cursor cursor;
} Message;

/*
 * Reads a message. Returns NULL, or what is wrong with it ("has no topic"); the id is there in any
 * case when it could be read. To be freed by message_free() in both.
 */
extern const char *message_read(Message *message, const char *text, size_t size);
extern void message_free(Message *message);

/* Is this how a UUID is written? */
extern bool epoch_is_valid(const char *text);

/*
 * Reads a cursor as a header has it, EPOCH/SEQ or SEQ, as the ids of Server-Sent Events are. False
 * when it is none.
 */
extern bool cursor_read(const char *text, Cursor *cursor);

/* Adds a cursor so. */
extern void cursor_add(Buffer *to, const Cursor *cursor);

/* An event, as its row has it. */
typedef struct EventRow
{
	const char *topic;
	const char *seq;
	const char *epoch;
	const char *at;
	const char *publisher;
	const char *client_id; /* may be NULL */
	const char *payload;
} EventRow;

/* What the server sends; all but the id may be NULL or empty. */
extern void message_add_ready(Buffer *to, const char *company, const char *owner);
extern void message_add_subscribed(Buffer *to, const char *id, const char *topic, const char *state,
								   const Cursor *cursor, int64_t last_seq);
extern void message_add_event(Buffer *to, const EventRow *row);
extern void message_add_done(Buffer *to, const char *type, const char *id, const char *topic);
extern void message_add_published(Buffer *to, const Message *message, const char *seq);
extern void message_add_closing(Buffer *to, unsigned code, const char *reason, bool resume);

extern void message_add_error(Buffer *to, const char *id, const char *topic,
							  const Problem *problem);

#endif
