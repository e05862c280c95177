/*
 * The protocol of /ws.
 */
#include "gateway/message.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/body.h"
#include "gateway/json_text.h"

#define MOST_ID 100

static const char *const type_names[] = {"auth", "subscribe", "unsubscribe", "publish", "ping"};

#define TYPES (sizeof(type_names) / sizeof(type_names[0]))

/* ---- cursors ---- */

bool
epoch_is_valid(const char *text)
{
	size_t i = 0;

	for (; i < EPOCH_SIZE - 1 && text[i]; i++)
		if (i == 8 || i == 13 || i == 18 || i == 23 ? text[i] != '-'
													: !isxdigit((unsigned char) text[i]))
			return false;
	return i == EPOCH_SIZE - 1 && text[i] == '\0';
}

static bool
seq_read(const char *text, int64_t *seq)
{
	char *end;

	if (!isdigit((unsigned char) text[0]))
		return false;
	errno = 0;
	*seq = strtoll(text, &end, 10);
	return errno == 0 && *end == '\0';
}

bool
cursor_read(const char *text, Cursor *cursor)
{
	const char *slash = strchr(text, '/');

	*cursor = (Cursor) {.seq = FROM_NOW};
	if (slash)
	{
		if (slash - text != EPOCH_SIZE - 1)
			return false;
		memcpy(cursor->epoch, text, EPOCH_SIZE - 1);
		if (!epoch_is_valid(cursor->epoch))
			return false;
		text = slash + 1;
	}
	return seq_read(text, &cursor->seq);
}

void
cursor_add(Buffer *to, const Cursor *cursor)
{
	if (cursor->epoch[0])
		buffer_print(to, "%s/", cursor->epoch);
	buffer_print(to, "%" PRId64, cursor->seq);
}

/* ---- what a client sends ---- */

/*
 * Copies a text of the message; false for one that is none, or that is missing and must not be.
 */
static bool
take_text(const json_t *object, const char *name, bool is_required, char **text)
{
	const json_t *value = json_object_get(object, name);

	if (value == NULL || json_is_null(value))
		return !is_required;
	if (!json_is_string(value))
		return false;
	*text = memory_copy(json_string_value(value));
	return true;
}

static bool
take_id(Message *message, const json_t *object)
{
	const json_t *id = json_object_get(object, "id");

	if (id == NULL || json_is_null(id))
		return true;
	if (!json_is_integer(id) && !(json_is_string(id) && json_string_length(id) <= MOST_ID))
		return false;
	message->id = json_dumps(id, JSON_ENCODE_ANY | JSON_COMPACT);
	return true;
}

static bool
take_cursor(Cursor *cursor, const json_t *value)
{
	const json_t *seq = json_object_get(value, "seq");
	const json_t *epoch = json_object_get(value, "epoch");

	*cursor = (Cursor) {.seq = FROM_NOW};
	if (value == NULL || json_is_null(value))
		return true;
	if (!json_is_integer(seq) || json_integer_value(seq) < 0)
		return false;
	cursor->seq = json_integer_value(seq);
	if (epoch == NULL || json_is_null(epoch))
		return true;
	if (!json_is_string(epoch) || !epoch_is_valid(json_string_value(epoch)))
		return false;
	strcpy(cursor->epoch, json_string_value(epoch));
	return true;
}

static const char *
take_type(Message *message, const json_t *object)
{
	const char *type = json_string_value(json_object_get(object, "type"));

	for (size_t i = 0; type && i < TYPES; i++)
		if (strcmp(type, type_names[i]) == 0)
		{
			message->type = (MessageType) i;
			return NULL;
		}
	return "has a type that is none of auth, subscribe, unsubscribe, publish, ping";
}

/*
 * What the type takes.
 */
static const char *
take_members(Message *message, const json_t *object, const char *text)
{
	bool has_topic = message->type >= MESSAGE_SUBSCRIBE && message->type <= MESSAGE_PUBLISH;

	if (!take_text(object, "topic", has_topic, &message->topic))
		return "has no topic, or one that is no text";
	if (!take_text(object, "key", false, &message->key) ||
		!take_text(object, "csrf", false, &message->csrf) ||
		(message->type == MESSAGE_AUTH && !message->key && !message->csrf))
		return "has neither a key nor the csrf of a session, or one that is no text";
	if (!take_cursor(&message->cursor, json_object_get(object, "cursor")))
		return "has a cursor that is neither null nor a seq of at least 0 with an epoch";
	if (!take_text(object, "client_id", false, &message->client_id))
		return "has a client_id that is no text";
	if (message->type != MESSAGE_PUBLISH)
		return NULL;
	if (json_object_get(object, "payload") == NULL)
		return "has no payload";
	message->whole = memory_copy(text);
	return NULL;
}

const char *
message_read(Message *message, const char *text, size_t size)
{
	const char *problem;
	json_t *object;

	memset(message, 0, sizeof(*message));
	object = body_read(text, size, &problem);
	if (object && !json_is_object(object))
		problem = "is no object";
	else if (object)
	{
		problem = take_id(message, object)
					  ? take_type(message, object)
					  : "has an id that is neither an integer nor a text of up to 100 bytes";
		if (problem == NULL)
			problem = take_members(message, object, text);
	}
	json_decref(object);
	return problem;
}

void
message_free(Message *message)
{
	free(message->id);
	free(message->topic);
	free(message->client_id);
	memory_wipe(message->whole);
	memory_wipe(message->key);
	memory_wipe(message->csrf);
	memset(message, 0, sizeof(*message));
}

/* ---- what the server sends ---- */

static void
begin(Buffer *to, const char *type, const char *id)
{
	buffer_print(to, "{\"type\":\"%s\"", type);
	if (id)
		json_text_raw(to, "id", id);
}

void
message_add_ready(Buffer *to, const char *company, const char *owner)
{
	begin(to, "ready", NULL);
	json_text_member(to, "company", company);
	json_text_member(to, "owner", owner);
	buffer_add_char(to, '}');
}

void
message_add_subscribed(Buffer *to, const char *id, const char *topic, const char *state,
					   const Cursor *cursor, int64_t last_seq)
{
	begin(to, "subscribed", id);
	json_text_member(to, "topic", topic);
	json_text_member(to, "state", state);
	json_text_number(to, "resume_after", cursor->seq);
	json_text_member(to, "epoch", cursor->epoch[0] ? cursor->epoch : NULL);
	json_text_number(to, "last_seq", last_seq);
	buffer_add_char(to, '}');
}

void
message_add_event(Buffer *to, const EventRow *row)
{
	begin(to, "event", NULL);
	json_text_member(to, "topic", row->topic);
	json_text_raw(to, "seq", row->seq);
	json_text_member(to, "epoch", row->epoch);
	json_text_member(to, "at", row->at);
	json_text_member(to, "publisher", row->publisher);
	json_text_member(to, "client_id", row->client_id);
	json_text_raw(to, "payload", row->payload);
	buffer_add_char(to, '}');
}

void
message_add_done(Buffer *to, const char *type, const char *id, const char *topic)
{
	begin(to, type, id);
	if (topic)
		json_text_member(to, "topic", topic);
	buffer_add_char(to, '}');
}

void
message_add_published(Buffer *to, const Message *message, const char *seq)
{
	begin(to, "published", message->id);
	json_text_member(to, "topic", message->topic);
	json_text_member(to, "client_id", message->client_id);
	json_text_raw(to, "seq", seq);
	buffer_add_char(to, '}');
}

void
message_add_error(Buffer *to, const char *id, const char *topic, const Problem *problem)
{
	begin(to, "error", id);
	if (topic)
		json_text_member(to, "topic", topic);
	json_text_number(to, "status", problem->status);
	json_text_member(to, "sqlstate", problem->sqlstate);
	json_text_member(to, "title", problem->title);
	json_text_member(to, "detail", problem->detail);
	json_text_member(to, "hint", problem->hint);
	buffer_add_char(to, '}');
}

void
message_add_closing(Buffer *to, unsigned code, const char *reason, bool resume)
{
	begin(to, "closing", NULL);
	json_text_number(to, "code", code);
	json_text_member(to, "reason", reason);
	json_text_raw(to, "resume", resume ? "true" : "false");
	buffer_add_char(to, '}');
}
