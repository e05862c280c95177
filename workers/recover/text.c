/*
 * Texts: numbers, patterns, and ways to write them.
 */
#include "recover/text.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BASE64_PIECE 3000 /* a multiple of 3, so that pieces join without padding */

bool
text_number(const char *text, int64_t *number)
{
	const char *digits = text[0] == '-' ? text + 1 : text;
	char *end;

	if (digits[0] < '0' || digits[0] > '9')
		return false;
	errno = 0;
	*number = strtoll(text, &end, 10);
	return *end == '\0' && errno == 0;
}

/*
 * Goes back to the last star when it fails, which finds a match if there is one.
 */
bool
text_matches(const char *pattern, const char *text)
{
	const char *star = NULL;
	const char *resume = NULL;

	while (*text)
	{
		if (*pattern == '*')
		{
			star = ++pattern;
			resume = text;
		}
		else if (*pattern == *text)
		{
			pattern++;
			text++;
		}
		else if (star)
		{
			pattern = star;
			text = ++resume;
		}
		else
			return false;
	}
	while (*pattern == '*')
		pattern++;
	return *pattern == '\0';
}

/* ---- UTF-8 ---- */

/*
 * The character that begins here, and how many bytes it has; 0 when it is no UTF-8.
 */
static size_t
read_character(const uint8_t *text, size_t size, uint32_t *character)
{
	static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
	size_t length;

	if (text[0] < 0x80)
		length = 1;
	else if (text[0] >= 0xC2 && text[0] < 0xE0)
		length = 2;
	else if (text[0] >= 0xE0 && text[0] < 0xF0)
		length = 3;
	else if (text[0] >= 0xF0 && text[0] < 0xF5)
		length = 4;
	else
		return 0;
	if (length > size)
		return 0;
	*character = length == 1 ? text[0] : text[0] & (0x7Fu >> length);
	for (size_t i = 1; i < length; i++)
	{
		if ((text[i] & 0xC0) != 0x80)
			return 0;
		*character = *character << 6 | (text[i] & 0x3F);
	}
	if (*character < least[length] || *character > 0x10FFFF ||
		(*character >= 0xD800 && *character <= 0xDFFF))
		return 0;
	return length;
}

bool
text_is_utf8(const char *text, size_t size)
{
	uint32_t character = 0;

	for (size_t i = 0; i < size;)
	{
		size_t length = read_character((const uint8_t *) text + i, size - i, &character);

		if (length == 0)
			return false;
		i += length;
	}
	return true;
}

/*
 * Those of ASCII and of Latin-1, and what ends lines or turns their direction.
 */
static bool
is_control(uint32_t character)
{
	return character < 0x20 || (character >= 0x7F && character < 0xA0) ||
		   (character >= 0x200E && character <= 0x200F) ||
		   (character >= 0x2028 && character <= 0x202E) ||
		   (character >= 0x2066 && character <= 0x2069);
}

/* ---- ways to write a text ---- */

void
text_add_json(Buffer *buffer, const char *text, size_t size)
{
	char escape[7];
	uint32_t character = 0;

	buffer_add_char(buffer, '"');
	for (size_t i = 0; i < size;)
	{
		size_t length = read_character((const uint8_t *) text + i, size - i, &character);

		if (length == 0)
			buffer_add_text(buffer, "\\ufffd");
		else if (text[i] == '"' || text[i] == '\\')
		{
			buffer_add_char(buffer, '\\');
			buffer_add_char(buffer, text[i]);
		}
		else if (is_control(character))
		{
			snprintf(escape, sizeof(escape), "\\u%04x", character & 0xFFFF);
			buffer_add_text(buffer, escape);
		}
		else
			buffer_add(buffer, text + i, length);
		i += length > 0 ? length : 1;
	}
	buffer_add_char(buffer, '"');
}

void
text_add_base64(Buffer *buffer, const char *bytes, size_t size)
{
	unsigned char piece[BASE64_PIECE / 3 * 4 + 1];

	while (size > 0)
	{
		size_t taken = size < BASE64_PIECE ? size : BASE64_PIECE;
		int written = EVP_EncodeBlock(piece, (const unsigned char *) bytes, (int) taken);

		buffer_add(buffer, piece, (size_t) written);
		bytes += taken;
		size -= taken;
	}
	explicit_bzero(piece, sizeof(piece));
}

void
text_add_quoted(Buffer *buffer, const char *text, size_t size)
{
	buffer_add_char(buffer, '"');
	for (size_t i = 0; i < size; i++)
	{
		if (strchr("\\\"$`", text[i]))
			buffer_add_char(buffer, '\\');
		buffer_add_char(buffer, text[i]);
	}
	buffer_add_char(buffer, '"');
}

void
text_add_printable(Buffer *buffer, const char *text)
{
	size_t size = strlen(text);
	char escape[11];
	uint32_t character = 0;

	for (size_t i = 0; i < size;)
	{
		size_t length = read_character((const uint8_t *) text + i, size - i, &character);

		if (length == 0)
			snprintf(escape, sizeof(escape), "\\x%02x", (uint8_t) text[i]);
		else if (is_control(character))
			snprintf(escape, sizeof(escape), "\\u%04x", character & 0xFFFF);
		if (length == 0 || is_control(character))
			buffer_add_text(buffer, escape);
		else
			buffer_add(buffer, text + i, length);
		i += length > 0 ? length : 1;
	}
}
