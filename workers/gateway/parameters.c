/*
 * Parameters, one by one.
 */
#include "gateway/parameters.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/array.h"
#include "common/memory.h"
#include "common/utf8.h"

#define NAME_LENGTH 200
#define DIGITS "0123456789"

/* ---- encoded text ---- */

static int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool
is_utf8(const char *text, size_t size)
{
	for (size_t i = 0; i < size;)
	{
		int length = (unsigned char) text[i] < 0x80 ? 1 : utf8_character(text + i, size - i);

		if (length <= 0)
			return false;
		i += (size_t) length;
	}
	return true;
}

long
parameter_decode(char *text, size_t size, bool is_query)
{
	char *out = text;

	for (size_t i = 0; i < size; i++)
	{
		char c = text[i];

		if (c == '%')
		{
			int high = i + 2 < size ? hex_digit(text[i + 1]) : -1;

			if (high < 0 || hex_digit(text[i + 2]) < 0)
				return -1;
			c = (char) (high << 4 | hex_digit(text[i + 2]));
			i += 2;
		}
		else if (c == '+' && is_query)
			c = ' ';
		if (c == '\0')
			return -1;
		*out++ = c;
	}
	if (!is_utf8(text, (size_t) (out - text)))
		return -1;
	if ((size_t) (out - text) < size)
		*out = '\0';
	return out - text;
}

int
parameter_next(char **query, char **name, char **value)
{
	char *pair;
	size_t size;

	*query += strspn(*query, "&");
	if (**query == '\0')
		return 0;
	pair = *query;
	size = strcspn(pair, "&");
	*query += size;
	if (**query)
		*(*query)++ = '\0';
	*name = pair;
	*value = strchr(pair, '=');
	if (*value)
		*(*value)++ = '\0';
	else
		*value = pair + size;
	if (parameter_decode(*name, strlen(*name), true) < 0 ||
		parameter_decode(*value, strlen(*value), true) < 0)
		return -1;
	return 1;
}

bool
parameter_is_path(const char *path, size_t size)
{
	for (size_t i = 0; i < size; i++)
		if ((unsigned char) path[i] < ' ' || path[i] == 0x7f || path[i] == '\\')
			return false;
	for (const char *part = path; *part == '/'; part += strcspn(part, "/"))
	{
		size_t length = strcspn(++part, "/");

		if ((length == 0 && (size > 1 || part[0])) || (length == 1 && part[0] == '.') ||
			(length == 2 && part[0] == '.' && part[1] == '.'))
			return false;
	}
	return path[0] == '/';
}

/* ---- types ---- */

static const char *
check_integer(const Parameter *parameter, const char *text, int64_t least, int64_t most)
{
	char *end;
	long long number;

	errno = 0;
	number = strtoll(text, &end, 10);
	if ((*text != '-' && (*text < '0' || *text > '9')) || end == text || *end)
		return "is no whole number";
	if (parameter->least < parameter->most)
	{
		least = (int64_t) parameter->least;
		most = parameter->most < 9e18 ? (int64_t) parameter->most : most;
	}
	if (errno == ERANGE || number < least || number > most)
		return "is out of range";
	return NULL;
}

/*
 * As JSON writes numbers: no hexadecimal digits, no infinity.
 */
static const char *
check_number(const Parameter *parameter, const char *text)
{
	const char *at = text + (*text == '-');
	size_t digits = strspn(at, DIGITS);
	double number;

	at += digits;
	if (*at == '.')
	{
		size_t fraction = strspn(++at, DIGITS);

		at += fraction;
		digits = fraction > 0 ? digits : 0;
	}
	if (digits > 0 && (*at == 'e' || *at == 'E'))
	{
		at += at[1] == '+' || at[1] == '-' ? 2 : 1;
		digits = strspn(at, DIGITS);
		at += digits;
	}
	if (digits == 0 || *at)
		return "is no number";
	number = strtod(text, NULL);
	if (number > 1e300 || number < -1e300 ||
		(parameter->least < parameter->most &&
		 (number < parameter->least || number > parameter->most)))
		return "is out of range";
	return NULL;
}

static const char *
check_text(const Parameter *parameter, const char *text, size_t size)
{
	bool is_name = parameter->type == TYPE_NAME;
	double most = parameter->most > 0 ? parameter->most : is_name ? NAME_LENGTH : 0;

	if (!is_utf8(text, size))
		return "is no text in UTF-8";
	if (is_name && size == 0)
		return "is empty";
	if ((double) size < parameter->least)
		return "is too short";
	if (most > 0 && (double) size > most)
		return "is too long";
	for (size_t i = 0; is_name && i < size; i++)
		if ((unsigned char) text[i] < ' ' || text[i] == 0x7f)
			return "has a control character";
	for (int i = 0; parameter->choices; i++)
	{
		if (parameter->choices[i] == NULL)
			return "is none of the values that it may have";
		if (strcmp(parameter->choices[i], text) == 0)
			break;
	}
	return NULL;
}

/* Digits of the pattern "9" are digits of the text, all else is itself. */
static bool
fits(const char *text, const char *pattern)
{
	for (; *pattern; text++, pattern++)
		if (*pattern == '9' ? *text < '0' || *text > '9' : *text != *pattern)
			return false;
	return true;
}

static const char *
check_timestamp(const char *text)
{
	const char *at = text + 19;

	if (strlen(text) < 20 || strlen(text) > 40 || !fits(text, "9999-99-99") ||
		(text[10] != 'T' && text[10] != 't' && text[10] != ' ') || !fits(text + 11, "99:99:99"))
		return "is no time as 2026-01-31T12:00:00Z";
	if (*at == '.')
		at += 1 + strspn(at + 1, DIGITS);
	if (strcmp(at, "Z") == 0 || strcmp(at, "z") == 0 ||
		((*at == '+' || *at == '-') && fits(at + 1, "99:99") && at[6] == '\0'))
		return NULL;
	return "is no time as 2026-01-31T12:00:00Z";
}

static const char *
check_interval(const char *text)
{
	size_t size = strlen(text);

	if (size == 0 || size > 60 ||
		strspn(text, DIGITS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ :.+-") != size ||
		(*text != 'P' && strchr(DIGITS "+-", *text) == NULL))
		return "is no span of time as PT30S or 30 seconds";
	return NULL;
}

static const char *
check_uuid(const char *text)
{
	for (int i = 0; i < 36; i++)
		if (i == 8 || i == 13 || i == 18 || i == 23 ? text[i] != '-' : hex_digit(text[i]) < 0)
			return "is no UUID";
	return text[36] ? "is no UUID" : NULL;
}

/*
 * A list with commas, as a query has it.
 */
static const char *
check_texts(Arena *arena, const char *text, size_t size, const char **value)
{
	Buffer array = {0};
	const char *end = text + size;

	if (!is_utf8(text, size))
		return "is no text in UTF-8";
	while (size > 0 && text <= end)
	{
		const char *comma = memchr(text, ',', (size_t) (end - text));
		size_t length = comma ? (size_t) (comma - text) : (size_t) (end - text);

		array_add_text(&array, text, length);
		text += length + 1;
	}
	array_end(&array);
	*value = arena_copy(arena, array.bytes, array.size);
	buffer_wipe(&array);
	return NULL;
}

const char *
parameter_check(const Parameter *parameter, Arena *arena, const char *text, size_t size,
				const char **value)
{
	*value = text;
	if (parameter->type != TYPE_BYTES && memchr(text, '\0', size))
		return "has a zero character";
	switch (parameter->type)
	{
		case TYPE_TEXT:
		case TYPE_NAME:
			return check_text(parameter, text, size);
		case TYPE_INT:
			return check_integer(parameter, text, INT32_MIN, INT32_MAX);
		case TYPE_BIGINT:
			return check_integer(parameter, text, INT64_MIN, INT64_MAX);
		case TYPE_NUMBER:
			return check_number(parameter, text);
		case TYPE_BOOLEAN:
			return strcmp(text, "true") == 0 || strcmp(text, "false") == 0
					   ? NULL
					   : "is neither true nor false";
		case TYPE_TIMESTAMP:
			return check_timestamp(text);
		case TYPE_INTERVAL:
			return check_interval(text);
		case TYPE_UUID:
			return check_uuid(text);
		case TYPE_TEXTS:
			return check_texts(arena, text, size, value);
		default:
			return NULL;
	}
}
