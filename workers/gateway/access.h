/*
 * The line that the log gets for each request. It has no query, no body and no header.
 */
#ifndef GATEWAY_ACCESS_H
#define GATEWAY_ACCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#include "gateway/request.h"

extern void access_log(const Request *request, bool is_sent);

/* Writes an address as a number; "" for a unix socket. */
extern void access_address(const struct sockaddr *address, char *to, size_t size);

#endif
