/*
 * Cancels what a connection runs, without blocking the loop as PQcancel() does.
 */
#ifndef GATEWAY_CANCEL_H
#define GATEWAY_CANCEL_H

#include <libpq-fe.h>
#include <stdbool.h>

/* False when it cannot be done now. Whether it arrives, and in time, nobody learns. */
extern bool cancel_start(PGconn *conn);

#endif
