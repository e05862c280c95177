/*
 * Texts: numbers and times in them, patterns, and how they are written as JSON, for a shell and for
 * people.
 */
#ifndef RECOVER_TEXT_H
#define RECOVER_TEXT_H

#include <stdbool.h>
#include <stdint.h>

#include "common/memory.h"

/* Reads a whole text as a decimal number. */
extern bool text_number(const char *text, int64_t *number);

/*
 * Reads a time as PostgreSQL writes it with DateStyle ISO, or in JSON: microseconds since 1970.
 * infinity is INT64_MAX, -infinity and times B.C. are INT64_MIN.
 */
extern bool text_time(const char *text, int64_t *time);

/* Does the pattern, in which * is any text, fit the text. */
extern bool text_matches(const char *pattern, const char *text);

/* Is it UTF-8, without overlong forms and surrogates. */
extern bool text_is_utf8(const char *text, size_t size);

/* Adds it as a JSON string, in ASCII where it controls terminals; bytes of no UTF-8 become U+FFFD.
 */
extern void text_add_json(Buffer *buffer, const char *text, size_t size);

/* Adds the bytes in base64, the usual one. */
extern void text_add_base64(Buffer *buffer, const char *bytes, size_t size);

/* Adds it in double quotes, as shells and import_secrets_env() read it. It may have no zero byte.
 */
extern void text_add_quoted(Buffer *buffer, const char *text, size_t size);

/* Adds it for people: on one line, and so that it cannot control a terminal. */
extern void text_add_printable(Buffer *buffer, const char *text);

#endif
