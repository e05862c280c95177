/*
 * Parameters: from the path, the query, headers and the body, checked by the route's list.
 */
#ifndef GATEWAY_PARAMETERS_H
#define GATEWAY_PARAMETERS_H

#include <stdbool.h>
#include <stddef.h>

#include "gateway/arena.h"
#include "gateway/route.h"

/*
 * Decodes %XX in place, and + as a blank where "is_query". The size afterwards; -1 when there is a
 * % without two digits, a zero byte, or what is no UTF-8.
 */
extern long parameter_decode(char *text, size_t size, bool is_query);

/* Takes the next name and value of a query, decoded in place; 0 at its end, -1 when it is wrong. */
extern int parameter_next(char **query, char **name, char **value);

/*
 * Checks a value and writes it as PostgreSQL takes it, into the arena when it is another. Returns
 * what is wrong ("is no number"), else NULL.
 */
extern const char *parameter_check(const Parameter *parameter, Arena *arena, const char *text,
								   size_t size, const char **value);

/* May a path be used that was decoded? Not with "..", empty parts, backslashes or control
 * characters. */
extern bool parameter_is_path(const char *path, size_t size);

#endif
