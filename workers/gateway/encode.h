/*
 * JSON from what libpq has, in text format, without a tree in between.
 */
#ifndef GATEWAY_ENCODE_H
#define GATEWAY_ENCODE_H

#include <libpq-fe.h>
#include <stddef.h>

#include "common/memory.h"

/* Adds a text in quotes. What is no UTF-8 becomes U+FFFD. */
extern void encode_text(Buffer *to, const char *text, size_t size);

/* Adds one value by its type's oid; see encode.c for what becomes what. */
extern void encode_value(Buffer *to, Oid type, const char *text, size_t size);

/* Adds a row as an object, and all rows as an array of them. */
extern void encode_row(Buffer *to, const PGresult *result, int row);
extern void encode_rows(Buffer *to, const PGresult *result);

#endif
