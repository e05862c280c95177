/*
 * Clients of /ws, "peers": who they are, what they follow, and what they publish. message.h has the
 * protocol.
 */
#ifndef GATEWAY_PEER_H
#define GATEWAY_PEER_H

#include "gateway/request.h"

/* Answers GET /ws. */
extern void peer_handle(Request *request);

#endif
