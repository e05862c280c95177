/*
 * One libpq connection that never waits: its owner is called when it has connected, failed, or has
 * an answer. Only files of core include this.
 */
#ifndef AURORA_CONNECTION_H
#define AURORA_CONNECTION_H

#include "core/core.h"
#include "libpq-fe.h"

#define AURORA_ERROR_SIZE 240

typedef enum AuroraConnectionState
{
	AURORA_CONNECTION_CLOSED,
	AURORA_CONNECTION_CONNECTING,
	AURORA_CONNECTION_IDLE,
	AURORA_CONNECTION_BUSY
} AuroraConnectionState;

typedef struct AuroraConnection
{
	AuroraPoller *poller;
	AuroraConnectionState state;
	PGconn *conn;
	int fd; /* watched; -1 when none */
	int64 deadline_us;
	PGresult *result;			   /* the answer, while "changed" is called */
	bool needs_password;		   /* it was refused for want of one */
	char error[AURORA_ERROR_SIZE]; /* why it is closed; empty when asked to */
	void (*changed)(void *owner);
	void *owner;
} AuroraConnection;

extern void aurora_connection_open(AuroraConnection *connection, const char *const *keywords,
								   const char *const *values, int64 timeout_us);

/* Parameters are text; sql takes them as $1 and so on. */
extern void aurora_connection_send(AuroraConnection *connection, const char *sql, int count,
								   const char *const *parameters, int64 timeout_us);

/* Closes it when it has overrun its time; to be called now and then. */
extern void aurora_connection_expire(AuroraConnection *connection);
extern void aurora_connection_close(AuroraConnection *connection);

/* A libpq message as one line without its end. */
extern void aurora_one_line(char *to, size_t size, const char *message);

#endif
