/*
 * Arrays as PostgreSQL reads them, {1,2} and {"a","b"}, built element by element.
 */
#ifndef COMMON_ARRAY_H
#define COMMON_ARRAY_H

#include <stdint.h>

#include "common/memory.h"

extern void array_add_number(Buffer *array, int64_t number);
extern void array_add_text(Buffer *array, const char *text, size_t size);

/* Ends the array, which may have no element; the text is the buffer's. */
extern const char *array_end(Buffer *array);

#endif
