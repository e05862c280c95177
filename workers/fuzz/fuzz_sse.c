/*
 * Fuzzes the reading of a model server's stream: events must be the same in whatever pieces they
 * come, and the text that is made of them is always UTF-8 without NUL.
 */
#include <stdlib.h>
#include <string.h>

#include "common/utf8.h"
#include "fuzz/harness.h"
#include "gpu/chunk.h"
#include "gpu/sse.h"

typedef struct Stream
{
	Buffer raw; /* the data of all events */
	Buffer text;
	Utf8 utf8;
	json_t *calls;
} Stream;

static void
take_event(void *context, const char *data, size_t size)
{
	Stream *stream = context;
	Chunk chunk;

	buffer_add(&stream->raw, data, size);
	buffer_add_char(&stream->raw, '\0');
	chunk_read(&chunk, data, size);
	if (chunk.has_text)
		utf8_take(&stream->utf8, &stream->text, chunk.bytes.bytes, chunk.bytes.size);
	if (chunk.tool_calls)
		chunk_join_tools(stream->calls, chunk.tool_calls);
	chunk_free(&chunk);
}

static void
read_stream(Stream *stream, const uint8_t *data, size_t size, size_t piece)
{
	Sse sse = {0};

	memset(stream, 0, sizeof(*stream));
	stream->calls = json_array();
	buffer_add_text(&stream->raw, "");
	buffer_add_text(&stream->text, "");
	for (size_t at = 0; at < size; at += piece)
		REQUIRE(sse_take(&sse, (const char *) data + at, piece < size - at ? piece : size - at,
						 take_event, stream));
	sse_end(&sse, take_event, stream);
	sse_free(&sse);
	utf8_end(&stream->utf8, &stream->text);
	chunk_end_tools(stream->calls);
}

static void
require_utf8(const Buffer *text)
{
	REQUIRE(strlen(text->bytes) == text->size);
	for (size_t at = 0; at < text->size;)
	{
		int character = utf8_character(text->bytes + at, text->size - at);

		REQUIRE(character > 0);
		at += (size_t) character;
	}
}

static void
free_stream(Stream *stream)
{
	json_decref(stream->calls);
	buffer_wipe(&stream->raw);
	buffer_wipe(&stream->text);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Stream whole;
	Stream pieces;

	if (size > SSE_LONGEST / 2)
		return 0;
	read_stream(&whole, data, size, size + 1);
	read_stream(&pieces, data, size, 1 + size % 7);
	REQUIRE(whole.raw.size == pieces.raw.size &&
			memcmp(whole.raw.bytes, pieces.raw.bytes, whole.raw.size) == 0);
	REQUIRE(strcmp(whole.text.bytes, pieces.text.bytes) == 0);
	require_utf8(&whole.text);
	free_stream(&whole);
	free_stream(&pieces);
	return 0;
}
