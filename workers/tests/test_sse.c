/*
 * Server-sent events: whatever pieces they come in.
 */
#include <stdlib.h>
#include <string.h>

#include "gpu/sse.h"
#include "tests/tap.h"

/* Events are told as [data]. */
static void
tell(void *context, const char *data, size_t size)
{
	Buffer *told = context;

	buffer_add_char(told, '[');
	buffer_add(told, data, size);
	buffer_add_char(told, ']');
}

/*
 * Reads a text in pieces of that size, 0 for random ones.
 */
static char *
events_of(const char *text, size_t size, size_t piece, bool *is_taken)
{
	Sse sse = {0};
	Buffer told = {0};

	buffer_add_text(&told, "");
	*is_taken = true;
	for (size_t at = 0; at < size && *is_taken;)
	{
		size_t next = piece > 0 ? piece : 1 + random_below(7);
		char *copy;

		next = next < size - at ? next : size - at;
		copy = malloc(next); /* of exactly that size, for the address sanitizer */
		memcpy(copy, text + at, next);
		*is_taken = sse_take(&sse, copy, next, tell, &told);
		free(copy);
		at += next;
	}
	sse_end(&sse, tell, &told);
	sse_free(&sse);
	return told.bytes;
}

static void
gives(const char *text, const char *expected, const char *name)
{
	bool is_taken;

	for (size_t piece = 0; piece < 4; piece++)
	{
		char *found = events_of(text, strlen(text), piece, &is_taken);

		if (strcmp(found, expected) != 0 || piece == 3)
			is(found, expected, name);
		free(found);
	}
}

static void
try_events(void)
{
	gives("data: one\n\ndata: two\n\n", "[one][two]", "events end with an empty line");
	gives("data:one\n\ndata:  two\n\n", "[one][ two]", "one blank behind the colon is none of it");
	gives("data: one\r\n\r\ndata: two\r\n\r\n", "[one][two]", "lines may end with CRLF");
	gives("data: one\r\rdata: two\r\r", "[one][two]", "... or with CR");
	gives("data: a\ndata: b\ndata:\n\n", "[a\nb\n]", "lines of data are joined");
	gives("data\n\n", "[]", "data may be nothing");
	gives(": ping\n\n: ping\ndata: a\n: ping\n\n", "[a]", "comments are passed over");
	gives("event: x\nid: 1\nretry: 5\ndata: a\ndatum: b\n\n", "[a]", "other fields are, too");
	gives("error: {\"a\":1}\n\n", "[{\"a\":1}]", "error is a field of old servers");
	gives("\n\n\ndata: a\n\n\n\n", "[a]", "empty lines are no events");
	gives("\xef\xbb\xbf"
		  "data: a\n\n",
		  "[a]", "a byte order mark is passed over");
	gives("data: a\n\ndata: b\n", "[a][b]", "the last empty line may be missing");
	gives("data: a\n\ndata: b", "[a]", "a line that is cut is none");
	gives("data: \xe2\x82\xac\xff\n\n", "[\xe2\x82\xac\xff]", "bytes come as they are");
	gives("", "", "nothing is nothing");
}

static void
try_limits(void)
{
	size_t size = SSE_LONGEST + 100;
	char *text = malloc(size);
	bool is_taken;
	char *found;

	memset(text, 'x', size);
	found = events_of(text, size, 1 << 16, &is_taken);
	ok(!is_taken, "a line that does not end is refused");
	free(found);
	for (size_t i = 0; i + 8 <= size; i += 8)
		memcpy(text + i, "data: x\n", 8);
	found = events_of(text, size, 1 << 16, &is_taken);
	ok(is_taken, "an event of many lines is taken up to a length");
	free(found);
	free(text);
}

static void
try_zero(void)
{
	static const char text[] = "data: a\0b\n\ndata: c\n\n";
	bool is_taken;
	char *found = events_of(text, sizeof(text) - 1, 0, &is_taken);

	ok(memcmp(found, "[a\0b][c]", 8) == 0, "NUL is a byte like others");
	free(found);
}

int
main(void)
{
	try_events();
	try_limits();
	try_zero();
	return done();
}
