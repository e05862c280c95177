/*
 * Logging in and out, and who one is.
 */
#ifndef GATEWAY_SESSION_H
#define GATEWAY_SESSION_H

#include "gateway/request.h"

extern void session_log_in(Request *request);
extern void session_show(Request *request);
extern void session_log_out(Request *request);

#endif
