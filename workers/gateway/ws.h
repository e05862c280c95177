/*
 * WebSocket (RFC 6455), the server's side without its socket: the handshake, "messages" that come
 * in frames, and frames that go out. libwslay reads frames; those that go out are made here once,
 * and sent to as many clients as want them.
 */
#ifndef GATEWAY_WS_H
#define GATEWAY_WS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/memory.h"

#define WS_ACCEPT_SIZE 29 /* with the zero behind it */

/* Codes to close with. */
#define WS_NORMAL 1000
#define WS_GOING_AWAY 1001 /* the server ends: come back */
#define WS_PROTOCOL 1002
#define WS_UNSUPPORTED 1003
#define WS_POLICY 1008 /* not, or no longer, allowed */
#define WS_TOO_BIG 1009
#define WS_TRY_LATER 1013
#define WS_RESUME 4000 /* too slow a reader: come back with the cursor */

typedef enum WsOpcode
{
	WS_TEXT = 0x1,
	WS_CLOSE = 0x8,
	WS_PING = 0x9
} WsOpcode;

/* What a client asks with; NULL for a header that is missing. */
typedef struct WsHandshake
{
	const char *upgrade;
	const char *connection;
	const char *version;
	const char *key;
} WsHandshake;

/* Zero for a handshake that is right, else the HTTP status and what is wrong with it. */
extern int ws_check(const WsHandshake *handshake, const char **problem);

/* Makes what answers the key of a handshake. */
extern void ws_accept(const char *key, char accept[WS_ACCEPT_SIZE]);

/* Adds a frame of a server to a buffer. */
extern void ws_add_frame(Buffer *to, WsOpcode opcode, const void *bytes, size_t size);
extern void ws_add_close(Buffer *to, uint16_t code, const char *reason);

typedef struct Ws Ws;

typedef struct WsEvents
{
	/* A whole message, which is UTF-8, with a zero behind it. It may not free the Ws. */
	void (*message)(void *context, const char *text, size_t size);
	/* Frames that answer pings and close. */
	void (*send)(void *context, const void *bytes, size_t size);
} WsEvents;

/* Messages of more than "longest" bytes are refused. */
extern Ws *ws_open(size_t longest, const WsEvents *events, void *context);
extern void ws_free(Ws *ws);

/*
 * Takes bytes that came. False once the client has closed or broken the protocol: then the frame
 * that closes was given to send(), and nothing more is read.
 */
extern bool ws_take(Ws *ws, const void *bytes, size_t size);

/* The code that the client closed with, or that was sent to it for what it did; 0 for none yet. */
extern unsigned ws_code(const Ws *ws);

#endif
