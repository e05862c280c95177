/*
 * Fuzzes what comes over a WebSocket: frames give the same messages in whatever pieces, messages
 * are UTF-8, and what is answered to them is JSON.
 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "common/utf8.h"
#include "fuzz/harness.h"
#include "gateway/message.h"
#include "gateway/ws.h"

#define LONGEST 4096

/* What came of bytes. */
typedef struct Heard
{
	Buffer told;
	Buffer sent;
} Heard;

static void
require_json(const Buffer *text)
{
	json_t *json =
		json_loadb(text->bytes, text->size, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);

	REQUIRE(json_is_object(json));
	json_decref(json);
}

/*
 * What could be answered.
 */
static void
answer(const Message *message, const char *wrong)
{
	Problem problem = {.status = 400, .detail = wrong};
	Buffer text = {0};

	message_add_error(&text, message->id, message->topic, &problem);
	require_json(&text);
	buffer_clear(&text);
	if (wrong == NULL)
	{
		message_add_subscribed(&text, message->id, message->topic, "continues", &message->cursor,
							   1);
		require_json(&text);
		buffer_clear(&text);
		message_add_published(&text, message, "1");
		require_json(&text);
	}
	buffer_wipe(&text);
}

static void
take_message(void *context, const char *text, size_t size)
{
	Heard *heard = context;
	Message message;

	REQUIRE(text[size] == '\0' && size <= LONGEST);
	for (size_t at = 0; at < size;)
	{
		int character = utf8_character(text + at, size - at);

		REQUIRE(character > 0);
		at += (size_t) character;
	}
	answer(&message, message_read(&message, text, size));
	message_free(&message);
	buffer_add(&heard->told, text, size);
	buffer_add_char(&heard->told, '\0');
}

static void
take_sent(void *context, const void *bytes, size_t size)
{
	buffer_add(&((Heard *) context)->sent, bytes, size);
}

static void
hear(Heard *heard, const Buffer *bytes, size_t piece)
{
	static const WsEvents events = {take_message, take_sent};
	Ws *ws = ws_open(LONGEST, &events, heard);
	bool goes_on = true;

	memset(heard, 0, sizeof(*heard));
	buffer_add_text(&heard->told, "");
	buffer_add_text(&heard->sent, "");
	for (size_t at = 0; at < bytes->size && goes_on; at += piece)
		goes_on =
			ws_take(ws, bytes->bytes + at, piece < bytes->size - at ? piece : bytes->size - at);
	REQUIRE(goes_on == (ws_code(ws) == 0));
	ws_free(ws);
}

/*
 * Each line of the input is a frame: its first byte, and what it carries, which is masked as a
 * client does.
 */
static void
frame_lines(Buffer *to, const uint8_t *data, size_t size)
{
	for (size_t at = 0; at < size;)
	{
		const uint8_t *end = memchr(data + at, '\n', size - at);
		size_t length = end ? (size_t) (end - data) - at : size - at;
		size_t payload = length > 0 ? length - 1 : 0;

		buffer_add_char(to, (char) (length > 0 ? data[at] : 0x81));
		if (payload < 126)
			buffer_add_char(to, (char) (0x80 | payload));
		else
			buffer_print(to, "\xfe%c%c", (int) (payload >> 8 & 0xff), (int) (payload & 0xff));
		buffer_add(to, "\0\0\0", 4);
		buffer_add(to, data + at + 1, payload);
		at += length + 1;
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Buffer bytes = {0};
	Heard whole;
	Heard pieces;

	if (size == 0 || size > 60000)
		return 0;
	if (data[0] == 'f')
		frame_lines(&bytes, data + 1, size - 1);
	else
		buffer_add(&bytes, data, size);
	hear(&whole, &bytes, bytes.size + 1);
	hear(&pieces, &bytes, 1 + size % 7);
	REQUIRE(whole.told.size == pieces.told.size &&
			memcmp(whole.told.bytes, pieces.told.bytes, whole.told.size) == 0);
	buffer_wipe(&whole.told);
	buffer_wipe(&whole.sent);
	buffer_wipe(&pieces.told);
	buffer_wipe(&pieces.sent);
	buffer_wipe(&bytes);
	return 0;
}
