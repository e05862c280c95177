/*
 * HTTP requests in the loop.
 */
#ifndef GPU_HTTP_H
#define GPU_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/loop.h"

typedef struct Http Http;
typedef struct HttpRequest HttpRequest;

/* How a request ended. */
typedef struct HttpEnd
{
	const char *problem; /* NULL when the whole answer came, whatever its status */
	bool was_reached;	 /* else there was not even a connection */
	long status;		 /* 0 when no head came */
	int64_t retry_after; /* ms, or -1 */
} HttpEnd;

typedef struct HttpEvents
{
	/* Bytes of the body. False: they come again behind http_resume(). */
	bool (*bytes)(void *context, const char *bytes, size_t size);
	/* The request is gone behind this call. */
	void (*ended)(void *context, const HttpEnd *end);
} HttpEvents;

typedef struct HttpOptions
{
	const char *url;
	const char *body; /* NULL: GET */
	const char *api_key;
	int64_t connect_timeout; /* ms */
	int64_t timeout;		 /* ms for all of it; 0 for none */
} HttpOptions;

/* NULL when there is no memory for it. */
extern Http *http_open(Loop *loop);
extern void http_close(Http *http);

/* Begins a request; the texts are copied. */
extern HttpRequest *http_start(Http *http, const HttpOptions *options, const HttpEvents *events,
							   void *context);

/* The status, once the head is there, else 0. */
extern long http_status(const HttpRequest *request);
extern bool http_is_event_stream(const HttpRequest *request);

/* Reads on where bytes were refused. */
extern void http_resume(HttpRequest *request);

/* Gives it up and closes its connection; nothing is told any more. */
extern void http_cancel(HttpRequest *request);

#endif
