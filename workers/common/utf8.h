/*
 * Text that PostgreSQL takes, from whatever bytes come: what is no UTF-8, and the character NUL,
 * become U+FFFD.
 */
#ifndef COMMON_UTF8_H
#define COMMON_UTF8_H

#include <stddef.h>

#include "common/memory.h"

/* The beginning of a character whose end has not come yet. */
typedef struct Utf8
{
	char held[4];
	size_t held_size;
} Utf8;

/* Adds the next bytes as text; the beginning of a character at their end is held back. */
extern void utf8_take(Utf8 *utf8, Buffer *to, const char *bytes, size_t size);

/* Adds what is held back, for no more comes. */
extern void utf8_end(Utf8 *utf8, Buffer *to);

/*
 * The bytes of the character at the front: its size when it is whole and right, 0 when it is the
 * beginning of one that ends behind "size", minus the number of bytes that are none otherwise.
 */
extern int utf8_character(const char *bytes, size_t size);

#endif
