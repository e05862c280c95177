/*
 * ETags: a mark of an answer's bytes, by which a client learns that they are those it has.
 */
#ifndef GATEWAY_ETAG_H
#define GATEWAY_ETAG_H

#include <stdbool.h>
#include <stddef.h>

#define ETAG_SIZE 40

extern void etag_make(const char *bytes, size_t size, char tag[ETAG_SIZE]);

/* Is it in the list of an If-None-Match header? */
extern bool etag_matches(const char *list, const char *tag);

#endif
