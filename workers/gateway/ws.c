/*
 * WebSocket, the server's side without its socket.
 */
#include "gateway/ws.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <wslay/wslay.h>

#define KEY_TEXT_SIZE 24 /* 16 bytes in base64 */
#define MOST_REASON 123

/* ---- the handshake ---- */

/*
 * Is the word in a list with commas, in whatever case?
 */
static bool
has_word(const char *list, const char *word)
{
	size_t size = strlen(word);

	while (list && *list)
	{
		size_t skipped = strspn(list, " \t,");
		size_t length;

		list += skipped;
		length = strcspn(list, " \t,");
		if (length == size && strncasecmp(list, word, size) == 0)
			return true;
		list += length;
	}
	return false;
}

/*
 * Sixteen bytes in base64 end with "==", and the last letter before it has four bits of nothing.
 */
static bool
is_key(const char *key)
{
	static const char letters[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

	return key && strlen(key) == KEY_TEXT_SIZE && strspn(key, letters) == KEY_TEXT_SIZE - 2 &&
		   strcmp(key + KEY_TEXT_SIZE - 2, "==") == 0 && strchr("AQgw", key[KEY_TEXT_SIZE - 3]);
}

int
ws_check(const WsHandshake *handshake, const char **problem)
{
	if (!has_word(handshake->upgrade, "websocket") || !has_word(handshake->connection, "upgrade"))
	{
		*problem = "this address speaks WebSocket";
		return 426;
	}
	if (handshake->version == NULL || strcmp(handshake->version, "13") != 0)
	{
		*problem = "the version of WebSocket is not 13";
		return 426;
	}
	if (!is_key(handshake->key))
	{
		*problem = "Sec-WebSocket-Key is not 16 bytes in base64";
		return 400;
	}
	return 0;
}

void
ws_accept(const char *key, char accept[WS_ACCEPT_SIZE])
{
	static const char suffix[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
	char text[KEY_TEXT_SIZE + sizeof(suffix)];
	unsigned char hash[EVP_MAX_MD_SIZE];

	memcpy(text, key, KEY_TEXT_SIZE);
	memcpy(text + KEY_TEXT_SIZE, suffix, sizeof(suffix));
	if (!EVP_Digest(text, sizeof(text) - 1, hash, NULL, EVP_sha1(), NULL))
		abort();
	(void) EVP_EncodeBlock((unsigned char *) accept, hash, 20);
}

/* ---- frames that go out ---- */

void
ws_add_frame(Buffer *to, WsOpcode opcode, const void *bytes, size_t size)
{
	int length_bytes = size < 126 ? 0 : size <= UINT16_MAX ? 2 : 8;

	buffer_add_char(to, (char) (0x80 | opcode));
	buffer_add_char(to, (char) (length_bytes == 0 ? size : length_bytes == 2 ? 126 : 127));
	for (int shift = (length_bytes - 1) * 8; shift >= 0; shift -= 8)
		buffer_add_char(to, (char) (size >> shift & 0xff));
	buffer_add(to, bytes, size);
}

void
ws_add_close(Buffer *to, uint16_t code, const char *reason)
{
	char payload[2 + MOST_REASON] = {(char) (code >> 8), (char) (code & 0xff)};
	size_t size = reason ? strnlen(reason, MOST_REASON) : 0;

	if (size > 0)
		memcpy(payload + 2, reason, size);
	ws_add_frame(to, WS_CLOSE, payload, size + 2);
}

/* ---- frames that come ---- */

struct Ws
{
	wslay_event_context_ptr wslay;
	WsEvents events;
	void *context;
	const uint8_t *input; /* of the call that runs */
	size_t input_size;
	bool is_broken; /* so that libwslay does not know where the next frame begins */
	Buffer text;
};

static ssize_t
give_input(wslay_event_context_ptr wslay, uint8_t *bytes, size_t size, int flags, void *context)
{
	Ws *ws = context;

	(void) flags;
	if (ws->input_size == 0)
	{
		wslay_event_set_error(wslay, WSLAY_ERR_WOULDBLOCK);
		return -1;
	}
	if (size > ws->input_size)
		size = ws->input_size;
	memcpy(bytes, ws->input, size);
	ws->input += size;
	ws->input_size -= size;
	return (ssize_t) size;
}

static ssize_t
take_output(wslay_event_context_ptr wslay, const uint8_t *bytes, size_t size, int flags,
			void *context)
{
	Ws *ws = context;

	(void) wslay;
	(void) flags;
	ws->events.send(ws->context, bytes, size);
	return (ssize_t) size;
}

/*
 * libwslay has checked texts for UTF-8, put fragments together, and answers pings and close by
 * itself. Pongs need no answer: that bytes came is enough of a sign.
 */
static void
take_message(wslay_event_context_ptr wslay, const struct wslay_event_on_msg_recv_arg *message,
			 void *context)
{
	static const char reason[] = "messages are text";
	Ws *ws = context;

	if (message->opcode == WSLAY_BINARY_FRAME)
	{
		(void) wslay_event_queue_close(wslay, WS_UNSUPPORTED, (const uint8_t *) reason,
									   sizeof(reason) - 1);
		wslay_event_shutdown_read(wslay);
	}
	else if (message->opcode == WSLAY_TEXT_FRAME)
	{
		buffer_add(&ws->text, message->msg, message->msg_length);
		ws->events.message(ws->context, ws->text.bytes, ws->text.size);
		buffer_wipe(&ws->text);
	}
}

Ws *
ws_open(size_t longest, const WsEvents *events, void *context)
{
	static const struct wslay_event_callbacks callbacks = {.recv_callback = give_input,
														   .send_callback = take_output,
														   .on_msg_recv_callback = take_message};
	Ws *ws = memory_get(sizeof(Ws));

	ws->events = *events;
	ws->context = context;
	if (wslay_event_context_server_init(&ws->wslay, &callbacks, ws) != 0)
		exit(STATUS_NO_MEMORY);
	wslay_event_config_set_max_recv_msg_length(ws->wslay, longest);
	return ws;
}

void
ws_free(Ws *ws)
{
	if (ws == NULL)
		return;
	wslay_event_context_free(ws->wslay);
	buffer_wipe(&ws->text);
	free(ws);
}

/*
 * For what is no frame libwslay would close without a code.
 */
static void
break_off(Ws *ws)
{
	Buffer frame = {0};

	ws->is_broken = true;
	ws_add_close(&frame, WS_PROTOCOL, "this is no frame of WebSocket");
	ws->events.send(ws->context, frame.bytes, frame.size);
	buffer_wipe(&frame);
}

bool
ws_take(Ws *ws, const void *bytes, size_t size)
{
	ws->input = bytes;
	ws->input_size = size;
	while (!ws->is_broken && ws->input_size > 0 && wslay_event_want_read(ws->wslay))
		if (wslay_event_recv(ws->wslay) != 0)
			break_off(ws);
	ws->input_size = 0;
	if (!ws->is_broken && wslay_event_want_write(ws->wslay))
		(void) wslay_event_send(ws->wslay);
	return !ws->is_broken && wslay_event_want_read(ws->wslay);
}

unsigned
ws_code(const Ws *ws)
{
	if (ws->is_broken)
		return WS_PROTOCOL;
	if (wslay_event_get_close_received(ws->wslay))
		return wslay_event_get_status_code_received(ws->wslay);
	if (wslay_event_get_close_sent(ws->wslay))
		return wslay_event_get_status_code_sent(ws->wslay);
	return 0;
}
