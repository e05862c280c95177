/*
 * The protocol of /ws: what clients send, what they are told, and cursors.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/message.h"
#include "tests/tap.h"

#define EPOCH "6a0e1b2c-0000-4000-8000-00000000abcd"

/* ---- what clients send ---- */

static void
refuses(const char *text, const char *expected)
{
	Message message;
	const char *wrong = message_read(&message, text, strlen(text));

	is(wrong ? wrong : "is taken", expected, text);
	message_free(&message);
}

static void
try_broken(void)
{
	char deep[400];

	refuses("", "is empty, and has to be JSON");
	refuses("{", "is no JSON");
	refuses("[1]", "is no object");
	refuses("{\"type\":1}",
			"has a type that is none of auth, subscribe, unsubscribe, publish, ping");
	refuses("{\"type\":\"shout\"}",
			"has a type that is none of auth, subscribe, unsubscribe, publish, ping");
	refuses("{\"type\":\"subscribe\"}", "has no topic, or one that is no text");
	refuses("{\"type\":\"subscribe\",\"topic\":7}", "has no topic, or one that is no text");
	refuses("{\"type\":\"publish\",\"topic\":\"a\"}", "has no payload");
	refuses("{\"type\":\"publish\",\"topic\":\"a\",\"payload\":1,\"client_id\":2}",
			"has a client_id that is no text");
	refuses("{\"type\":\"auth\"}",
			"has neither a key nor the csrf of a session, or one that is no text");
	refuses("{\"type\":\"ping\",\"id\":{}}",
			"has an id that is neither an integer nor a text of up to 100 bytes");
	refuses("{\"type\":\"ping\",\"type\":\"ping\"}", "has a name twice in one object");
	refuses("{\"type\":\"ping\",\"id\":\"\\u0000\"}",
			"has a text with a zero character, which PostgreSQL has no place for");
	memset(deep, 0, sizeof(deep));
	strcpy(deep, "{\"type\":\"ping\",\"x\":");
	memset(deep + strlen(deep), '[', 100);
	memset(deep + strlen(deep), ']', 100);
	strcat(deep, "}");
	refuses(deep, "is nested too deeply");
}

static void
refuses_cursor(const char *cursor)
{
	Message message;
	char text[200];

	snprintf(text, sizeof(text), "{\"type\":\"subscribe\",\"topic\":\"a\",\"cursor\":%s}", cursor);
	ok(message_read(&message, text, strlen(text)) != NULL, "no cursor: %s", cursor);
	message_free(&message);
}

static void
try_cursors(void)
{
	static const char text[] =
		"{\"type\":\"subscribe\",\"topic\":\"a\",\"id\":\"x\\\"\",\"cursor\":{\"seq\":42,"
		"\"epoch\":\"" EPOCH "\"},\"more\":true}";
	static const char without[] = "{\"type\":\"subscribe\",\"topic\":\"a\",\"cursor\":null}";
	Message message;

	ok(message_read(&message, text, sizeof(text) - 1) == NULL &&
		   message.type == MESSAGE_SUBSCRIBE && message.cursor.seq == 42,
	   "a cursor is read, and what is not known passed over");
	is(message.cursor.epoch, EPOCH, "its epoch");
	is(message.id, "\"x\\\"\"", "the id comes back as JSON");
	message_free(&message);
	ok(message_read(&message, without, sizeof(without) - 1) == NULL &&
		   message.cursor.seq == FROM_NOW,
	   "no cursor is from now on");
	message_free(&message);
	refuses_cursor("1");
	refuses_cursor("{}");
	refuses_cursor("{\"seq\":-1}");
	refuses_cursor("{\"seq\":1.5}");
	refuses_cursor("{\"seq\":\"1\"}");
	refuses_cursor("{\"seq\":1,\"epoch\":\"6a0e\"}");
	refuses_cursor("{\"seq\":1,\"epoch\":\"6a0e1b2c-0000-4000-8000-00000000abcg\"}");
	refuses_cursor("{\"seq\":1,\"epoch\":\"" EPOCH "0\"}");
}

static void
header_gives(const char *text, const char *expected)
{
	Cursor cursor;
	Buffer written = {0};

	buffer_add_text(&written, "");
	if (cursor_read(text, &cursor))
		cursor_add(&written, &cursor);
	else
		buffer_add_text(&written, "none");
	is(written.bytes, expected, *text ? text : "an empty header");
	buffer_wipe(&written);
}

static void
try_headers(void)
{
	header_gives(EPOCH "/42", EPOCH "/42");
	header_gives("42", "42");
	header_gives("0", "0");
	header_gives("", "none");
	header_gives("/42", "none");
	header_gives(EPOCH "/", "none");
	header_gives(EPOCH "/-1", "none");
	header_gives(EPOCH "/+1", "none");
	header_gives("42 ", "none");
	header_gives("9223372036854775807", "9223372036854775807");
	header_gives("9223372036854775808", "none");
}

static void
try_publish(void)
{
	static const char text[] = "{\"type\":\"publish\",\"topic\":\"a\",\"client_id\":\"c\","
							   "\"payload\":1.0000000000000000000001}";
	Message message;

	ok(message_read(&message, text, sizeof(text) - 1) == NULL, "an event to publish is read");
	is(message.whole, text, "... and kept as it was written, with all digits");
	is(message.client_id, "c", "... with its client_id");
	message_free(&message);
}

/* ---- what they are told ---- */

static void
told(Buffer *message, const char *expected, const char *name)
{
	is(message->bytes, expected, name);
	buffer_wipe(message);
}

static void
try_told(void)
{
	Cursor cursor = {.seq = 42, .epoch = EPOCH};
	Message asked = {.id = "7", .topic = "a\"b", .client_id = NULL};
	Buffer message = {0};

	message_add_ready(&message, "acme", NULL);
	told(&message, "{\"type\":\"ready\",\"company\":\"acme\",\"owner\":null}", "ready");
	message_add_subscribed(&message, NULL, "a", "lost", &cursor, 57);
	told(&message,
		 "{\"type\":\"subscribed\",\"topic\":\"a\",\"state\":\"lost\",\"resume_after\":42,"
		 "\"epoch\":\"" EPOCH "\",\"last_seq\":57}",
		 "subscribed");
	message_add_event(
		&message, &(EventRow) {"a", "1", EPOCH, "2026-01-01T00:00:00Z", "x\n", NULL, "{\"b\": 1}"});
	told(&message,
		 "{\"type\":\"event\",\"topic\":\"a\",\"seq\":1,\"epoch\":\"" EPOCH
		 "\",\"at\":\"2026-01-01T00:00:00Z\",\"publisher\":\"x\\n\",\"client_id\":null,"
		 "\"payload\":{\"b\": 1}}",
		 "event");
	message_add_published(&message, &asked, "9");
	told(&message,
		 "{\"type\":\"published\",\"id\":7,\"topic\":\"a\\\"b\",\"client_id\":null,\"seq\":9}",
		 "published");
	message_add_done(&message, "pong", NULL, NULL);
	told(&message, "{\"type\":\"pong\"}", "pong");
	message_add_error(&message, "7", NULL,
					  &(Problem) {.status = 403, .sqlstate = "42501", .title = "Forbidden"});
	told(&message,
		 "{\"type\":\"error\",\"id\":7,\"status\":403,\"sqlstate\":\"42501\","
		 "\"title\":\"Forbidden\",\"detail\":null,\"hint\":null}",
		 "error");
	message_add_closing(&message, 4000, "slow", true);
	told(&message, "{\"type\":\"closing\",\"code\":4000,\"reason\":\"slow\",\"resume\":true}",
		 "closing");
}

int
main(void)
{
	try_broken();
	try_cursors();
	try_headers();
	try_publish();
	try_told();
	return done();
}
