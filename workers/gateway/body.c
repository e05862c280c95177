/*
 * JSON bodies.
 */
#include "gateway/body.h"

#include <stdbool.h>
#include <string.h>

static bool
is_deep(const char *bytes, size_t size)
{
	bool is_text = false;
	int depth = 0;

	for (size_t i = 0; i < size; i++)
	{
		char c = bytes[i];

		if (is_text)
		{
			if (c == '\\')
				i++;
			else if (c == '"')
				is_text = false;
			continue;
		}
		if (c == '"')
			is_text = true;
		else if ((c == '[' || c == '{') && ++depth > BODY_DEPTH)
			return true;
		else if (c == ']' || c == '}')
			depth--;
	}
	return false;
}

json_t *
body_read(const char *bytes, size_t size, const char **wrong)
{
	json_error_t error;
	json_t *json;

	*wrong = NULL;
	if (size == 0)
	{
		*wrong = "is empty, and has to be JSON";
		return NULL;
	}
	if (is_deep(bytes, size))
	{
		*wrong = "is nested too deeply";
		return NULL;
	}
	json = json_loadb(bytes, size, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
	if (json == NULL && json_error_code(&error) == json_error_numeric_overflow)
		json =
			json_loadb(bytes, size,
					   JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL, &error);
	if (json)
		return json;
	switch (json_error_code(&error))
	{
		case json_error_duplicate_key:
			*wrong = "has a name twice in one object";
			break;
		case json_error_numeric_overflow:
			*wrong = "has a number that is too large";
			break;
		case json_error_null_character:
		case json_error_null_byte_in_key:
			*wrong = "has a text with a zero character, which PostgreSQL has no place for";
			break;
		case json_error_invalid_utf8:
			*wrong = "is no UTF-8";
			break;
		default:
			*wrong = "is no JSON";
	}
	return NULL;
}

/* ---- where a member stands ---- */

static const char *
skip_blanks(const char *at, const char *end)
{
	while (at < end && (*at == ' ' || *at == '\t' || *at == '\n' || *at == '\r'))
		at++;
	return at;
}

static const char *
skip_text(const char *at, const char *end)
{
	for (at++; at < end && *at != '"'; at++)
		if (*at == '\\')
			at++;
	return at < end ? at + 1 : end;
}

/*
 * The text is JSON, so that only brackets have to be counted.
 */
static const char *
skip_value(const char *at, const char *end)
{
	int depth = 0;

	do
	{
		if (at < end && *at == '"')
		{
			at = skip_text(at, end);
			continue;
		}
		if (at < end && (*at == '[' || *at == '{'))
			depth++;
		if (at < end && (*at == ']' || *at == '}') && depth-- == 0)
			return at;
		if (at < end && *at == ',' && depth == 0)
			return at;
		at++;
	} while (at < end && (depth > 0 || (*at != ',' && *at != '}' && *at != ']')));
	return at < end ? at : end;
}

/*
 * A name may be written with escapes; jansson reads it.
 */
static bool
is_name(const char *at, size_t size, const char *name)
{
	json_t *text;
	bool is_same;

	if (memchr(at, '\\', size) == NULL)
		return size == strlen(name) + 2 && memcmp(at + 1, name, size - 2) == 0;
	text = json_loadb(at, size, JSON_DECODE_ANY, NULL);
	is_same = text && strcmp(json_string_value(text), name) == 0;
	json_decref(text);
	return is_same;
}

const char *
body_find(const char *bytes, size_t size, const char *name, size_t *value_size)
{
	const char *end = bytes + size;
	const char *at = skip_blanks(bytes, end);

	if (at == end || *at != '{')
		return NULL;
	at++;
	for (;;)
	{
		const char *key = skip_blanks(at, end);
		const char *key_end;
		const char *value;

		if (key == end || *key != '"')
			return NULL;
		key_end = skip_text(key, end);
		at = skip_blanks(key_end, end);
		if (at == end || *at != ':')
			return NULL;
		value = skip_blanks(at + 1, end);
		at = skip_value(value, end);
		if (is_name(key, (size_t) (key_end - key), name))
		{
			while (at > value && strchr(" \t\r\n", at[-1]))
				at--;
			*value_size = (size_t) (at - value);
			return value;
		}
		at = skip_blanks(at, end);
		if (at == end || *at != ',')
			return NULL;
		at++;
	}
}
