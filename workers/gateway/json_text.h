/*
 * Writes JSON into buffers: members of an object that was begun, each with the comma before it when
 * it is not the first.
 */
#ifndef GATEWAY_JSON_TEXT_H
#define GATEWAY_JSON_TEXT_H

#include <stdint.h>

#include "common/memory.h"

/* Adds a text in quotes, null for NULL. */
extern void json_text_add(Buffer *to, const char *text);

/* Adds a member whose value is a text, a number, or JSON already; null for NULL. */
extern void json_text_member(Buffer *to, const char *name, const char *text);
extern void json_text_number(Buffer *to, const char *name, int64_t number);
extern void json_text_raw(Buffer *to, const char *name, const char *json);

#endif
