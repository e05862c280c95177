/*
 * JSON as model servers write it.
 *
 * The library takes UTF-8 only, so that before it reads them bytes that are none become characters
 * of their own, U+10FF00 + byte, and go back to bytes behind it. These characters are private and
 * at the very end of Unicode; where a text has them itself they are taken for bytes first, and come
 * out as they went in.
 */
#include "gpu/json.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/utf8.h"

static void
hide_byte(Buffer *to, char byte)
{
	uint8_t value = (uint8_t) byte;
	char hidden[4] = {(char) 0xf4, (char) 0x8f, (char) (0xbc | value >> 6),
					  (char) (0x80 | (value & 0x3f))};

	buffer_add(to, hidden, sizeof(hidden));
}

static bool
is_hidden(const char *at, size_t size)
{
	return size >= 4 && (uint8_t) at[0] == 0xf4 && (uint8_t) at[1] == 0x8f &&
		   (uint8_t) at[2] >= 0xbc;
}

static bool
read_hex(const char *at, size_t size, unsigned *value)
{
	*value = 0;
	if (size < 6 || at[0] != '\\' || at[1] != 'u')
		return false;
	for (int i = 2; i < 6; i++)
	{
		char c = at[i];
		int digit = c >= '0' && c <= '9'   ? c - '0'
					: c >= 'a' && c <= 'f' ? c - 'a' + 10
					: c >= 'A' && c <= 'F' ? c - 'A' + 10
										   : -1;

		if (digit < 0)
			return false;
		*value = *value << 4 | (unsigned) digit;
	}
	return true;
}

/*
 * Copies an escape; half of a surrogate pair becomes U+FFFD. How many bytes that took.
 */
static size_t
copy_escape(Buffer *to, const char *at, size_t size)
{
	unsigned first;
	unsigned second;

	if (!read_hex(at, size, &first) || first < 0xd800 || first > 0xdfff)
	{
		size_t length = size < 2 ? size : 2;

		buffer_add(to, at, length);
		return length;
	}
	if (first <= 0xdbff && read_hex(at + 6, size - 6, &second) && second >= 0xdc00 &&
		second <= 0xdfff)
	{
		buffer_add(to, at, 12);
		return 12;
	}
	buffer_add_text(to, "\\ufffd");
	return 6;
}

static void
hide_bytes(Buffer *to, const char *text, size_t size)
{
	size_t at = 0;

	while (at < size)
	{
		int character = utf8_character(text + at, size - at);

		if (text[at] == '\\')
			at += copy_escape(to, text + at, size - at);
		else if (character <= 0 || text[at] == '\0' || is_hidden(text + at, size - at))
			hide_byte(to, text[at++]);
		else
		{
			buffer_add(to, text + at, (size_t) character);
			at += (size_t) character;
		}
	}
}

json_t *
json_read(const char *text, size_t size)
{
	Buffer clean = {0};
	json_t *value;

	hide_bytes(&clean, text, size);
	value = json_loadb(clean.bytes ? clean.bytes : "", clean.size, JSON_DECODE_ANY | JSON_ALLOW_NUL,
					   NULL);
	if (value == NULL) /* numbers may be larger than the machine has integers */
		value = json_loadb(clean.bytes ? clean.bytes : "", clean.size,
						   JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, NULL);
	buffer_wipe(&clean);
	return value;
}

bool
json_add_bytes(const json_t *value, Buffer *to)
{
	const char *text = json_string_value(value);
	size_t size = json_string_length(value);

	if (text == NULL)
		return false;
	for (size_t i = 0; i < size;)
	{
		if (!is_hidden(text + i, size - i))
		{
			buffer_add_char(to, text[i++]);
			continue;
		}
		buffer_add_char(to, (char) ((text[i + 2] & 0x03) << 6 | (text[i + 3] & 0x3f)));
		i += 4;
	}
	return true;
}

char *
json_copy_text(const json_t *value)
{
	Utf8 utf8 = {0};
	Buffer bytes = {0};
	Buffer text = {0};

	if (!json_add_bytes(value, &bytes))
		return NULL;
	buffer_add_text(&text, "");
	utf8_take(&utf8, &text, bytes.bytes ? bytes.bytes : "", bytes.size);
	utf8_end(&utf8, &text);
	buffer_wipe(&bytes);
	return text.bytes;
}

int64_t
json_number_of(const json_t *object, const char *key, int64_t otherwise)
{
	const json_t *value = json_object_get(object, key);

	if (json_is_integer(value))
		return json_integer_value(value);
	if (json_is_real(value) && json_real_value(value) > -9e18 && json_real_value(value) < 9e18)
		return (int64_t) json_real_value(value);
	return otherwise;
}

const char *
json_text_of(const json_t *object, const char *key)
{
	return json_string_value(json_object_get(object, key));
}
