/*
 * Writes JSON into buffers.
 */
#include "gateway/json_text.h"

#include <inttypes.h>
#include <string.h>

#include "gateway/encode.h"

void
json_text_add(Buffer *to, const char *text)
{
	if (text)
		encode_text(to, text, strlen(text));
	else
		buffer_add_text(to, "null");
}

static void
add_name(Buffer *to, const char *name)
{
	if (to->size > 0 && to->bytes[to->size - 1] != '{')
		buffer_add_char(to, ',');
	buffer_add_char(to, '"');
	buffer_add_text(to, name);
	buffer_add_text(to, "\":");
}

void
json_text_member(Buffer *to, const char *name, const char *text)
{
	add_name(to, name);
	json_text_add(to, text);
}

void
json_text_number(Buffer *to, const char *name, int64_t number)
{
	add_name(to, name);
	buffer_print(to, "%" PRId64, number);
}

void
json_text_raw(Buffer *to, const char *name, const char *json)
{
	add_name(to, name);
	buffer_add_text(to, json ? json : "null");
}
