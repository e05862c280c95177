/*
 * A request, from its headers to its answer. It is answered once, by one of the functions here or
 * by a stream; until then its connection sleeps.
 */
#ifndef GATEWAY_REQUEST_H
#define GATEWAY_REQUEST_H

#include <jansson.h>
#include <microhttpd.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/memory.h"
#include "gateway/pool.h"
#include "gateway/route.h"

#define REQUEST_ID_SIZE 64
#define REQUEST_HEADERS 8 /* that are added to an answer, at most */

typedef struct Gateway Gateway;
typedef struct Client Client;

typedef struct Request
{
	char id[REQUEST_ID_SIZE]; /* X-Request-Id; also in the log and in problems */
	Gateway *gateway;
	Client *client; /* its connection */
	struct MHD_Connection *connection;
	Method method;
	const Route *route; /* NULL until it is found */

	/*
	 * Parameters in the order of the route's list, checked, as PostgreSQL takes them; NULL when not
	 * given and without a standard. Of TYPE_BYTES the size is the body's.
	 */
	const char *values[ROUTE_PARAMETERS];
	Credential credential;
	Buffer body;	  /* as it came */
	json_t *json;	  /* the body, when the route takes JSON, else NULL */
	int64_t started;  /* us, see clock_us() */
	int64_t spent_db; /* us; for the log */
	const char *if_none_match;
	const char *lsn;	/* Aurora-LSN of the request, checked, or NULL */
	const char *origin; /* of a page that may read the answer, or NULL */
	char address[64];	/* the client's; with trust_forwarded that of X-Forwarded-For */

	/*
	 * For handlers. "gone" is called when the client has gone before the answer, or the request
	 * ends otherwise; afterwards the request must not be used, nor answered. Units that were run
	 * with request_run() are cancelled already. It is not called once the request was answered, has
	 * become a stream or was upgraded.
	 */
	void *state;
	void (*gone)(Request *request);

	/* The rest is request.c's. */
	struct RequestInside *inside;
} Request;

/* The value of a parameter by its name; NULL when it was not given or the route has none such. */
extern const char *request_value(const Request *request, const char *name);

/* A header of the request, or NULL. */
extern const char *request_header_of(const Request *request, const char *name);

/* ---- answers ---- */

/* Adds a header to the answer, before that. The value is copied, the name is not. */
extern void request_header(Request *request, const char *name, const char *value);

/*
 * Answers. The bytes of the body are taken over, and the buffer is empty afterwards; NULL for none.
 * content_type is static; NULL for none. Cache-Control: no-store is added unless the route has
 * CACHE_ETAG, for which this also answers 304.
 */
extern void request_answer(Request *request, int status, const char *content_type, Buffer *body);

/* Answers with a static text. */
extern void request_answer_text(Request *request, int status, const char *content_type,
								const char *text);

/*
 * Answers with a problem (RFC 9457), or as the route's "problem" has it. sqlstate, detail and hint
 * may be NULL; title NULL is the status's.
 */
extern void request_problem(Request *request, int status, const char *sqlstate, const char *title,
							const char *detail, const char *hint);

/* Answers with what is wrong with a parameter: 400. */
extern void request_refuse_parameter(Request *request, const char *name, const char *wrong);

/* Answers what a unit that went wrong comes to: the SQLSTATE's status, Retry-After, and so on. */
extern void request_fail(Request *request, const Answer *answer);

/* ---- units ---- */

/*
 * Runs a unit for the request, with its credential when the unit has none and the route asks for
 * one, its route, and roles when they are 0; has a read with Aurora-LSN wait for it; and has it
 * cancelled when the client goes. "answer" gets every answer, also an error; the context is the
 * request. One at a time.
 */
extern void request_run(Request *request, const Unit *unit, UnitAnswer answer);

/* ---- upgrade ---- */

/*
 * The socket is the caller's until MHD_upgrade_action(handle, MHD_UPGRADE_ACTION_CLOSE). It is
 * non-blocking. extra is what came already behind the request. The request has ended when this is
 * called. NULL handle: the client had gone, only the context is to be freed.
 */
typedef void (*UpgradeTaken)(void *context, int fd, const char *extra, size_t extra_size,
							 struct MHD_UpgradeResponseHandle *handle);

/*
 * Answers 101 with Upgrade: protocol and the headers that were added by request_header(). The
 * socket may be watched in gateway->loop.
 */
extern void request_upgrade(Request *request, const char *protocol, UpgradeTaken taken,
							void *context);

#endif
