/*
 * JSON bodies. jansson reads them; what is passed on as JSON is cut out of them as it was written,
 * so that numbers keep their digits.
 */
#ifndef GATEWAY_BODY_H
#define GATEWAY_BODY_H

#include <jansson.h>
#include <stddef.h>

#define BODY_DEPTH 64

/*
 * Reads; NULL, and what is wrong ("is nested too deeply"). With a whole number of more than 64 bits
 * in it all numbers are reals.
 */
extern json_t *body_read(const char *bytes, size_t size, const char **wrong);

/*
 * Where the value of a member of an object stands in a text that body_read() took. NULL when there
 * is none of that name.
 */
extern const char *body_find(const char *bytes, size_t size, const char *name, size_t *value_size);

#endif
