/*
 * The headers of a request: those that the gateway reads, and whether they may be believed. The
 * HTTP library lets some by that others would read in another way than it does.
 */
#ifndef GATEWAY_HEADERS_H
#define GATEWAY_HEADERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum Header
{
	HEADER_HOST,
	HEADER_CONTENT_LENGTH,
	HEADER_CONTENT_TYPE,
	HEADER_TRANSFER_ENCODING,
	HEADER_AUTHORIZATION,
	HEADER_COOKIE,
	HEADER_CSRF_TOKEN,
	HEADER_NODE_NAME,
	HEADER_REQUEST_ID,
	HEADER_FORWARDED_FOR,
	HEADER_ORIGIN,
	HEADER_IF_NONE_MATCH,
	HEADER_LSN,
	HEADERS
} Header;

typedef struct Headers
{
	const char *values[HEADERS]; /* NULL when it was not sent; they are the library's */
	size_t sizes[HEADERS];
	size_t size;	  /* of all headers */
	const char *last; /* where the value of the last one ends */
	bool is_first;	  /* that is the request line */
	int status;		  /* 0, or that of the answer that refuses the request */
	const char *problem;
	int64_t content_length; /* 0 without */
} Headers;

/* Begins; the version has to lie where the library found it, in the request line. */
extern void headers_begin(Headers *headers, const char *target, const char *version);

/* Takes a header, in the order in which they came. */
extern void headers_take(Headers *headers, const char *name, size_t name_size, const char *value,
						 size_t value_size);

/* When all were taken: do they go together? False: see status and problem. */
extern bool headers_end(Headers *headers, bool is_http_10, size_t header_limit, size_t body_limit);

/* The value of a cookie: its size, 0 when it is not there or is there twice. */
extern size_t headers_cookie(const char *cookies, const char *name, const char **value);

#endif
