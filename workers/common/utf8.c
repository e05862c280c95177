/*
 * Text that PostgreSQL takes.
 */
#include "common/utf8.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */

/*
 * What a first byte says: how long the character is, and the limits of the second byte, which keep
 * out overlong forms, surrogates and what lies behind U+10FFFF.
 */
static int
expected_size(uint8_t first, uint8_t *least, uint8_t *most)
{
	*least = 0x80;
	*most = 0xbf;
	if (first < 0x80)
		return 1;
	if (first >= 0xc2 && first <= 0xdf)
		return 2;
	if (first >= 0xe0 && first <= 0xef)
	{
		*least = first == 0xe0 ? 0xa0 : 0x80;
		*most = first == 0xed ? 0x9f : 0xbf;
		return 3;
	}
	if (first >= 0xf0 && first <= 0xf4)
	{
		*least = first == 0xf0 ? 0x90 : 0x80;
		*most = first == 0xf4 ? 0x8f : 0xbf;
		return 4;
	}
	return 0;
}

int
utf8_character(const char *bytes, size_t size)
{
	const uint8_t *at = (const uint8_t *) bytes;
	uint8_t least;
	uint8_t most;
	int expected = expected_size(at[0], &least, &most);

	if (expected == 0)
		return -1;
	for (int i = 1; i < expected; i++)
	{
		if ((size_t) i == size)
			return 0;
		if (at[i] < least || at[i] > most)
			return -i;
		least = 0x80;
		most = 0xbf;
	}
	return expected;
}

/*
 * Adds all whole characters at the front; how many bytes that took.
 */
static size_t
add_characters(Buffer *to, const char *bytes, size_t size)
{
	size_t at = 0;
	size_t from = 0; /* of what is right and not added yet */

	while (at < size)
	{
		int character = utf8_character(bytes + at, size - at);

		if (character == 0)
			break;
		if (character > 0 && bytes[at] != '\0')
		{
			at += (size_t) character;
			continue;
		}
		buffer_add(to, bytes + from, at - from);
		buffer_add_text(to, REPLACEMENT);
		at += character > 0 ? 1 : (size_t) -character;
		from = at;
	}
	buffer_add(to, bytes + from, at - from);
	return at;
}

/*
 * Completes what is held back with bytes from the front; how many it took.
 */
static size_t
end_held(Utf8 *utf8, Buffer *to, const char *bytes, size_t size)
{
	size_t taken = 0;

	while (utf8->held_size > 0 && taken < size)
	{
		int character;

		utf8->held[utf8->held_size++] = bytes[taken++];
		character = utf8_character(utf8->held, utf8->held_size);
		if (character == 0)
			continue;
		if (character > 0)
			buffer_add(to, utf8->held, utf8->held_size);
		else
		{
			buffer_add_text(to, REPLACEMENT);
			taken--; /* this byte is none of the character, and may begin another */
		}
		utf8->held_size = 0;
	}
	return taken;
}

void
utf8_take(Utf8 *utf8, Buffer *to, const char *bytes, size_t size)
{
	size_t taken = end_held(utf8, to, bytes, size);

	if (utf8->held_size > 0)
		return;
	bytes += taken;
	size -= taken;
	taken = add_characters(to, bytes, size);
	utf8->held_size = size - taken;
	memcpy(utf8->held, bytes + taken, utf8->held_size);
}

void
utf8_end(Utf8 *utf8, Buffer *to)
{
	if (utf8->held_size > 0)
		buffer_add_text(to, REPLACEMENT);
	utf8->held_size = 0;
}
