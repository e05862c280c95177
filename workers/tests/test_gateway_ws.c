/*
 * WebSocket: handshakes, frames in whatever pieces they come, and what breaks the protocol.
 */
#include <stdlib.h>
#include <string.h>

#include "gateway/ws.h"
#include "tests/tap.h"

#define LONGEST 1000
#define CONTINUED 0x0
#define BINARY 0x2
#define PONG 0xa
#define FINAL 0x80

/* ---- handshakes ---- */

static void
answers(WsHandshake handshake, int status, const char *name)
{
	const char *problem = NULL;
	int found = ws_check(&handshake, &problem);

	ok(found == status && (status == 0) == (problem == NULL), "%s: %d, found %d", name, status,
	   found);
}

static void
try_handshakes(void)
{
	const WsHandshake right = {.upgrade = "websocket",
							   .connection = "Upgrade",
							   .version = "13",
							   .key = "dGhlIHNhbXBsZSBub25jZQ=="};
	WsHandshake wrong = right;
	char accept[WS_ACCEPT_SIZE];

	answers(right, 0, "a handshake is taken");
	wrong.upgrade = "WebSocket";
	wrong.connection = "keep-alive, upgrade";
	answers(wrong, 0, "words have no case, and stand in a list");
	wrong.connection = "upgraded";
	answers(wrong, 426, "a word that begins like it is another");
	wrong = right;
	wrong.upgrade = NULL;
	answers(wrong, 426, "no upgrade");
	wrong = right;
	wrong.version = "8";
	answers(wrong, 426, "an old version");
	wrong = right;
	wrong.key = "dGhlIHNhbXBsZSBub25jZQ=";
	answers(wrong, 400, "a short key");
	wrong.key = "dGhlIHNhbXBsZSBub25jZR==";
	answers(wrong, 400, "a key of other than 16 bytes");
	wrong.key = "dGhlIHNhbXBsZSBub25jZQ\"=";
	answers(wrong, 400, "a key that is no base64");
	wrong.key = NULL;
	answers(wrong, 400, "no key");
	ws_accept(right.key, accept);
	is(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", "the key of the standard has the standard's answer");
}

/* ---- frames ---- */

/*
 * Adds a frame of a client.
 */
static void
add_frame(Buffer *to, unsigned first, const char *bytes, size_t size, bool is_masked)
{
	static const char mask[4] = {0x11, 0x22, 0x44, 0x08};

	buffer_add_char(to, (char) first);
	buffer_add_char(to, (char) ((is_masked ? 0x80 : 0) | (size < 126 ? size : 126)));
	if (size >= 126)
	{
		buffer_add_char(to, (char) (size >> 8));
		buffer_add_char(to, (char) (size & 0xff));
	}
	if (is_masked)
		buffer_add(to, mask, sizeof(mask));
	for (size_t i = 0; i < size; i++)
		buffer_add_char(to, (char) (is_masked ? bytes[i] ^ mask[i % 4] : bytes[i]));
}

static void
add_text(Buffer *to, unsigned first, const char *text)
{
	add_frame(to, first, text, strlen(text), true);
}

/* What came of bytes: messages as [text]; frames that were sent, as they are. */
typedef struct Heard
{
	Buffer told;
	Buffer sent;
	bool goes_on;
	unsigned code;
} Heard;

static void
tell_message(void *context, const char *text, size_t size)
{
	Heard *heard = context;

	buffer_print(&heard->told, "[%.*s]", (int) size, text);
	if (text[size] != '\0')
		ok(false, "a zero is behind a message");
}

static void
tell_sent(void *context, const void *bytes, size_t size)
{
	buffer_add(&((Heard *) context)->sent, bytes, size);
}

/*
 * Adds frames that were sent as <opcode:payload>, or <close:code>.
 */
static void
tell_frames(Heard *heard)
{
	const unsigned char *bytes = (const unsigned char *) heard->sent.bytes;

	for (size_t at = 0; at + 2 <= heard->sent.size; at += 2 + bytes[at + 1])
	{
		if (bytes[at] == (FINAL | WS_CLOSE) && bytes[at + 1] >= 2)
			buffer_print(&heard->told, "<close:%d>", bytes[at + 2] << 8 | bytes[at + 3]);
		else
			buffer_print(&heard->told, "<%x:%.*s>", bytes[at], (int) bytes[at + 1],
						 (const char *) bytes + at + 2);
	}
}

/*
 * Takes bytes in pieces of that size, 0 for random ones.
 */
static void
hear(Heard *heard, const Buffer *bytes, size_t piece)
{
	static const WsEvents events = {tell_message, tell_sent};
	Ws *ws = ws_open(LONGEST, &events, heard);

	memset(heard, 0, sizeof(*heard));
	buffer_add_text(&heard->told, "");
	heard->goes_on = true;
	for (size_t at = 0; at < bytes->size && heard->goes_on;)
	{
		size_t next = piece > 0 ? piece : 1 + random_below(7);
		char *copy;

		next = next < bytes->size - at ? next : bytes->size - at;
		copy = malloc(next); /* of exactly that size, for the address sanitizer */
		memcpy(copy, bytes->bytes + at, next);
		heard->goes_on = ws_take(ws, copy, next);
		free(copy);
		at += next;
	}
	heard->code = ws_code(ws);
	tell_frames(heard);
	ws_free(ws);
}

/*
 * Bytes give what is expected in whatever pieces, and are forgotten; the code is 0 where it goes
 * on.
 */
static void
gives(Buffer *bytes, const char *expected, unsigned code, const char *name)
{
	static const size_t pieces[] = {0, 1, 3, 100000};

	for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++)
	{
		Heard heard;

		hear(&heard, bytes, pieces[i]);
		if (i == 0 || strcmp(heard.told.bytes, expected) != 0)
			is(heard.told.bytes, expected, name);
		if (heard.code != code || heard.goes_on != (code == 0))
			ok(false, "%s: code %u, found %u", name, code, heard.code);
		buffer_wipe(&heard.told);
		buffer_wipe(&heard.sent);
	}
	buffer_clear(bytes);
}

static void
try_messages(void)
{
	Buffer bytes = {0};
	char *longest = malloc(LONGEST + 4);

	add_text(&bytes, FINAL | WS_TEXT, "one");
	add_text(&bytes, FINAL | WS_TEXT, "two \xe2\x82\xac");
	gives(&bytes, "[one][two \xe2\x82\xac]", 0, "messages come one by one");
	add_text(&bytes, FINAL | WS_TEXT, "");
	gives(&bytes, "[]", 0, "a message may be empty");
	add_text(&bytes, WS_TEXT, "a\xe2");
	add_text(&bytes, CONTINUED, "\x82");
	add_text(&bytes, FINAL | WS_PING, "hi");
	add_text(&bytes, CONTINUED, "");
	add_text(&bytes, FINAL | CONTINUED,
			 "\xac"
			 "b");
	gives(&bytes,
		  "[a\xe2\x82\xac"
		  "b]<8a:hi>",
		  0, "fragments are joined, and a ping among them is answered");
	add_text(&bytes, FINAL | PONG, "");
	gives(&bytes, "", 0, "a pong that nobody asked for is passed over");
	memset(longest, 'x', LONGEST + 2);
	longest[0] = '[';
	longest[LONGEST + 1] = ']';
	longest[LONGEST + 2] = '\0';
	add_frame(&bytes, FINAL | WS_TEXT, longest + 1, LONGEST, true);
	gives(&bytes, longest, 0, "a message as long as one may be");
	add_frame(&bytes, FINAL | WS_TEXT, longest + 1, LONGEST + 1, true);
	gives(&bytes, "<close:1009>", WS_TOO_BIG, "a longer one is refused");
	add_frame(&bytes, WS_TEXT, longest, LONGEST, true);
	add_text(&bytes, FINAL | CONTINUED, "x");
	gives(&bytes, "<close:1009>", WS_TOO_BIG, "... in fragments as well");
	free(longest);
	buffer_wipe(&bytes);
}

static void
try_closing(void)
{
	Buffer bytes = {0};

	add_frame(&bytes, FINAL | WS_CLOSE,
			  "\x03\xe8"
			  "bye",
			  5, true);
	add_text(&bytes, FINAL | WS_TEXT, "more");
	gives(&bytes, "<close:1000>", 1000, "a close is answered, and ends it");
	add_frame(&bytes, FINAL | WS_CLOSE, "", 0, true);
	gives(&bytes, "<88:>", 1005, "a close without a code is answered without one");
	add_frame(&bytes, FINAL | WS_CLOSE, "\x03\xed", 2, true);
	gives(&bytes, "<close:1002>", 1002, "a code that may not be sent");
	add_frame(&bytes, FINAL | WS_CLOSE, "\x03", 1, true);
	gives(&bytes, "<88:>", 1005, "half a code is none");
	buffer_wipe(&bytes);
}

static void
try_broken(void)
{
	Buffer bytes = {0};

	add_frame(&bytes, FINAL | WS_TEXT, "one", 3, false);
	gives(&bytes, "<close:1002>", 1002, "frames are masked");
	add_frame(&bytes, FINAL | BINARY, "one", 3, true);
	gives(&bytes, "<close:1003>", WS_UNSUPPORTED, "messages are text");
	add_text(&bytes, FINAL | WS_TEXT, "a\xff");
	gives(&bytes, "<close:1007>", 1007, "text is UTF-8");
	add_text(&bytes, FINAL | WS_TEXT, "a\xed\xa0\x80");
	gives(&bytes, "<close:1007>", 1007, "... without halves of surrogate pairs");
	add_text(&bytes, FINAL | WS_TEXT, "a\xe2\x82");
	gives(&bytes, "<close:1007>", 1007, "... and no character is cut at its end");
	add_text(&bytes, FINAL | CONTINUED, "a");
	gives(&bytes, "<close:1002>", 1002, "nothing is continued that was not begun");
	add_text(&bytes, WS_TEXT, "a");
	add_text(&bytes, FINAL | WS_TEXT, "b");
	gives(&bytes, "<close:1002>", 1002, "a message begins in another one");
	add_text(&bytes, WS_PING, "a");
	gives(&bytes, "<close:1002>", 1002, "a ping has no fragments");
	add_text(&bytes, FINAL | 0x3, "a");
	gives(&bytes, "<close:1002>", 1002, "an unknown kind of frame");
	add_text(&bytes, FINAL | 0x40 | WS_TEXT, "a");
	gives(&bytes, "<close:1002>", 1002, "a bit of an extension that nobody agreed on");
	buffer_wipe(&bytes);
}

static void
try_lengths(void)
{
	static const unsigned char longer[] = {FINAL | WS_TEXT, 0x80 | 126, 0, 5, 1, 2, 3, 4};
	static const unsigned char negative[] = {
		FINAL | WS_TEXT, 0x80 | 127, 0x80, 0, 0, 0, 0, 0, 0, 1, 1, 2, 3, 4};
	static const unsigned char huge[] = {
		FINAL | WS_TEXT, 0x80 | 127, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4, 5};
	static const unsigned char ping[] = {FINAL | WS_PING, 0x80 | 126, 0, 126, 1, 2, 3, 4};
	Buffer bytes = {0};

	buffer_add(&bytes, longer, sizeof(longer));
	gives(&bytes, "<close:1002>", 1002, "a length that is written longer than it has to");
	buffer_add(&bytes, negative, sizeof(negative));
	gives(&bytes, "<close:1002>", 1002, "a length with the highest bit");
	buffer_add(&bytes, huge, sizeof(huge));
	gives(&bytes, "<close:1009>", WS_TOO_BIG, "the greatest length");
	buffer_add(&bytes, ping, sizeof(ping));
	gives(&bytes, "<close:1002>", 1002, "a ping of more than 125 bytes");
	buffer_wipe(&bytes);
}

/* ---- frames that go out ---- */

static void
try_frames(void)
{
	static const size_t sizes[] = {0, 125, 126, 65535, 65536};
	static const size_t heads[] = {2, 2, 4, 4, 10};
	char *payload = calloc(1, 65536);
	Buffer closing = {0};

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
	{
		Buffer frame = {0};
		size_t length = 0;

		ws_add_frame(&frame, WS_TEXT, payload, sizes[i]);
		if (heads[i] == 2)
			length = (unsigned char) frame.bytes[1];
		for (size_t at = 2; at < heads[i]; at++)
			length = length << 8 | (unsigned char) frame.bytes[at];
		ok(frame.size == heads[i] + sizes[i] && length == sizes[i],
		   "a frame of %zu bytes has a head of %zu that says so", sizes[i], heads[i]);
		buffer_wipe(&frame);
	}
	memset(payload, 'r', 200);
	ws_add_close(&closing, WS_RESUME, payload);
	ok(closing.size == 127 && (unsigned char) closing.bytes[2] == 0x0f &&
		   (unsigned char) closing.bytes[3] == 0xa0,
	   "a frame that closes has its code, and of a long reason the beginning");
	buffer_wipe(&closing);
	free(payload);
}

int
main(void)
{
	try_handshakes();
	try_messages();
	try_closing();
	try_broken();
	try_lengths();
	try_frames();
	return done();
}
