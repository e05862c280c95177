/*
 * What the test server answers over HTTP.
 */
#ifndef TESTSERVER_SERVER_H
#define TESTSERVER_SERVER_H

#include <microhttpd.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "gpu/testserver/fault.h"

/* What the server was started with. */
typedef struct Server
{
	int port;
	int slots;
	int delay;		 /* ms before each token */
	int fault_every; /* of so many generations one is done wrong; 0 for none */
	int load; /* ms that a model takes to load when it is first asked for; 0: all are loaded */
	bool has_old_names; /* of vLLM's metrics */
	const char *owner;
	const char *api_key;
	atomic_int busy;
	atomic_int generations;
	atomic_bool is_loading;
	atomic_bool is_full;				/* more requests wait inside of it than it has room for */
	atomic_bool is_loaded[FAULT_COUNT]; /* by the fault that a model is named after */
} Server;

extern Server server;

/* Takes a request, as libmicrohttpd calls it, and frees what it had when that is over. */
extern enum MHD_Result server_handle(void *context, struct MHD_Connection *connection,
									 const char *path, const char *method, const char *version,
									 const char *data, size_t *size, void **state);
extern void server_completed(void *context, struct MHD_Connection *connection, void **state,
							 enum MHD_RequestTerminationCode code);

#endif
