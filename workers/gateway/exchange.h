/*
 * What only listeners and streams see of a request: how it goes from phase to phase.
 */
#ifndef GATEWAY_EXCHANGE_H
#define GATEWAY_EXCHANGE_H

#include "gateway/arena.h"
#include "gateway/headers.h"
#include "gateway/request.h"

typedef struct Stream Stream;

typedef enum Phase
{
	PHASE_IDLE,		/* there is none */
	PHASE_HEADER,	/* the request line is there */
	PHASE_BODY,		/* the header is there and the body comes */
	PHASE_HANDLING, /* within the route's function */
	PHASE_WAITING,	/* for its answer; the connection sleeps */
	PHASE_ANSWERED, /* the answer is there, not yet the library's */
	PHASE_SENDING,	/* the library sends it */
	PHASE_GONE		/* the client has gone, or the answer cannot be made */
} Phase;

typedef struct AddedHeader
{
	const char *name;
	const char *value;
} AddedHeader;

typedef struct RequestInside
{
	Phase phase;
	Headers headers;
	Arena arena;
	char *target; /* as it came */
	char *path;	  /* of the target, decoded */
	char *query;  /* as it came, or NULL */
	unsigned groups;
	AddedHeader added[REQUEST_HEADERS];
	int added_count;
	struct MHD_Response *response;
	int status;
	size_t size;   /* of the answer's body, as far as it is known */
	bool is_final; /* the answer ends the connection */

	/* of the unit that is under way */
	Ticket *ticket;
	Unit unit;
	UnitAnswer answer;

	/* while it waits for the node's own database to catch up */
	bool is_behind;
	int64_t behind_limit; /* ms */
	Request *next_behind;

	/* of a stream, and of an upgrade */
	Stream *stream;
	UpgradeTaken taken;
	void *taken_context;
} RequestInside;

/* ---- from the listener ---- */

extern void request_open(Request *request, Client *client);
extern void request_close(Request *request);
extern void request_take_line(Request *request, struct MHD_Connection *connection,
							  const char *target);
extern enum MHD_Result request_take(Request *request, const char *method, const char *version,
									const char *data, size_t *size);
extern void request_complete(Request *request, bool is_sent);

/* The client of a request that waits has gone. */
extern void request_gone(Request *request);
extern bool request_is_idle(const Request *request);

/* ---- within requests ---- */

/* Takes an answer over: it is sent as soon as the library asks for it. */
extern void request_respond(Request *request, int status, struct MHD_Response *response);

/* Adds to an answer the headers that all have, and those that were asked for. */
extern void request_finish_headers(Request *request, struct MHD_Response *response);

/* Reads and checks parameters and the body; false when it has answered with what is wrong. */
extern bool parameters_take(Request *request);

/* Decodes the path and finds the route; false when it has answered. */
extern bool request_route(Request *request);

/* Reads the credential; false when it has answered. */
extern bool request_credential(Request *request);

/* Has the unit of the request wait for its LSN, and run then; and ends that when it has gone. */
extern void lsn_open(Gateway *gateway);
extern void lsn_wait(Request *request);
extern void lsn_forget(Request *request);

/* Runs the unit that was put into the request. */
extern void request_run_now(Request *request);

/* Runs the route's statement and answers with what comes of it. */
extern void request_serve(Request *request);

#endif
