/*
 * JSON as model servers write it, which may be none: texts with bytes that are no UTF-8, NUL, or
 * halves of surrogate pairs.
 */
#ifndef GPU_JSON_H
#define GPU_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "common/memory.h"

/* Reads a value, NULL when it is none. Texts in it are to be read with json_add_bytes(). */
extern json_t *json_read(const char *text, size_t size);

/*
 * Adds the bytes of a text, as the server wrote them: a character may end in the next one. False
 * when the value is no text.
 */
extern bool json_add_bytes(const json_t *value, Buffer *to);

/* A copy of a text that can be shown and stored, to be freed; NULL when the value is none. */
extern char *json_copy_text(const json_t *value);

/* The number, or "otherwise" when there is none. */
extern int64_t json_number_of(const json_t *object, const char *key, int64_t otherwise);

/* The text, NULL when there is none. */
extern const char *json_text_of(const json_t *object, const char *key);

#endif
