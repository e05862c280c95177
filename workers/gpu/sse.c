/*
 * Reads server-sent events. Lines end with LF, CRLF or CR. Only data is of interest, and "error",
 * which old servers have for a field of its own.
 */
#include "gpu/sse.h"

#include <string.h>

#define BYTE_ORDER_MARK "\xef\xbb\xbf"

static void
tell(Sse *sse, SseEvent event, void *context)
{
	if (!sse->has_data)
		return;
	sse->has_data = false;
	buffer_add(&sse->data, "", 0); /* an event may have no bytes at all */
	event(context, sse->data.bytes, sse->data.size);
	buffer_clear(&sse->data);
}

/*
 * Is the line of that field: where its value begins, behind one blank; NULL when not.
 */
static const char *
value_of(const Sse *sse, const char *field)
{
	size_t length = strlen(field);
	const char *value = sse->line.bytes + length;

	if (sse->line.size < length || memcmp(sse->line.bytes, field, length) != 0)
		return NULL;
	if (sse->line.size == length)
		return value;
	if (*value++ != ':')
		return NULL;
	return value < sse->line.bytes + sse->line.size && *value == ' ' ? value + 1 : value;
}

static void
end_line(Sse *sse, SseEvent event, void *context)
{
	const char *value;

	if (!sse->is_begun)
	{
		sse->is_begun = true;
		if (sse->line.size >= 3 && memcmp(sse->line.bytes, BYTE_ORDER_MARK, 3) == 0)
			buffer_remove(&sse->line, 3);
	}
	if (sse->line.size == 0)
	{
		tell(sse, event, context);
		return;
	}
	value = value_of(sse, "data");
	if (value == NULL)
		value = value_of(sse, "error");
	if (value)
	{
		if (sse->has_data)
			buffer_add_char(&sse->data, '\n');
		buffer_add(&sse->data, value, sse->line.size - (size_t) (value - sse->line.bytes));
		sse->has_data = true;
	}
	buffer_clear(&sse->line);
}

static size_t
find_line_end(const char *bytes, size_t size)
{
	const char *newline = memchr(bytes, '\n', size);
	const char *cr = memchr(bytes, '\r', newline ? (size_t) (newline - bytes) : size);

	return cr ? (size_t) (cr - bytes) : newline ? (size_t) (newline - bytes) : size;
}

bool
sse_take(Sse *sse, const char *bytes, size_t size, SseEvent event, void *context)
{
	size_t at = 0;

	buffer_add(&sse->line, "", 0);
	while (at < size)
	{
		size_t length;

		if (sse->is_after_cr && bytes[at] == '\n')
			at++;
		sse->is_after_cr = false;
		length = find_line_end(bytes + at, size - at);
		if (sse->line.size + sse->data.size + length > SSE_LONGEST)
			return false;
		buffer_add(&sse->line, bytes + at, length);
		at += length;
		if (at == size)
			break;
		sse->is_after_cr = bytes[at++] == '\r';
		end_line(sse, event, context);
	}
	return true;
}

void
sse_end(Sse *sse, SseEvent event, void *context)
{
	tell(sse, event, context);
}

void
sse_free(Sse *sse)
{
	buffer_wipe(&sse->line);
	buffer_wipe(&sse->data);
	memset(sse, 0, sizeof(*sse));
}
