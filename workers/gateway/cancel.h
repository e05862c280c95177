/*
 * Cancels what a connection runs, in a thread, since PQcancel() blocks and knows no time-out.
 */
#ifndef GATEWAY_CANCEL_H
#define GATEWAY_CANCEL_H

#include <libpq-fe.h>
#include <stdbool.h>

#include "common/loop.h"

typedef struct Cancel Cancel;

/* "is_delivered": if it hits anything, it has by now. Else it may yet come, any time. */
typedef void (*CancelDone)(void *context, bool is_delivered);

/* NULL when it cannot be done now. It is done, or given up, within a few seconds. */
extern Cancel *cancel_start(Loop *loop, PGconn *conn, CancelDone done, void *context);

/* Gives it up: nobody is told. NULL is nothing to do. */
extern void cancel_end(Cancel *cancel);

#endif
