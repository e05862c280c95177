/*
 * Fuzzes what the gateway reads from clients: the first byte says what, the rest is the text.
 */
#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/memory.h"
#include "common/utf8.h"
#include "gateway/body.h"
#include "gateway/encode.h"
#include "gateway/etag.h"
#include "gateway/headers.h"
#include "gateway/parameters.h"
#include "gateway/route.h"
#include "gateway/token.h"

#define REQUIRE(condition) \
	do                     \
	{                      \
		if (!(condition))  \
			abort();       \
	} while (0)

extern int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool
is_utf8(const char *text)
{
	size_t size = strlen(text);

	for (size_t i = 0; i < size;)
	{
		int length = utf8_character(text + i, size - i);

		if (length <= 0)
			return false;
		i += (size_t) length;
	}
	return true;
}

/*
 * What is decoded is text without zeros.
 */
static void
try_query(char *text)
{
	char *name;
	char *value;

	while (parameter_next(&text, &name, &value) > 0)
		REQUIRE(is_utf8(name) && is_utf8(value));
}

/*
 * What may be used as a path has no way up, and its route's values are of the path.
 */
static void
try_path(char *text)
{
	const char *values[ROUTE_PARAMETERS] = {0};
	size_t size = strlen(text);
	unsigned methods;
	const Route *route;
	long decoded = parameter_decode(text, size, false);

	if (decoded < 0 || !parameter_is_path(text, (size_t) decoded))
		return;
	REQUIRE(strstr(text, "/../") == NULL && strstr(text, "//") == NULL);
	route = route_find(METHOD_GET, text, (1u << GROUPS) - 1, values, &methods);
	for (int i = 0; route && i < ROUTE_PARAMETERS; i++)
		REQUIRE(values[i] == NULL || (values[i] > text && values[i] <= text + size));
}

/*
 * What is taken is what PostgreSQL can take: text without zeros and control characters.
 */
static void
try_types(const char *text, size_t size)
{
	Arena arena = {0};

	for (int type = 0; type < TYPES; type++)
	{
		Parameter parameter = {.name = "p", .type = (ParameterType) type};
		const char *value = NULL;

		if (parameter_check(&parameter, &arena, text, size, &value) != NULL)
			continue;
		REQUIRE(value != NULL);
		if (type <= TYPE_UUID || type == TYPE_TEXTS)
			REQUIRE(strlen(text) == size && is_utf8(value));
		if (type > TYPE_NAME && type <= TYPE_UUID)
			REQUIRE(strpbrk(value, "'\"\\\n;") == NULL);
	}
	arena_clear(&arena);
}

/*
 * Members of an object are found where they stand.
 */
static void
try_body(const char *text, size_t size)
{
	const char *wrong;
	json_t *json = body_read(text, size, &wrong);
	const char *name;
	json_t *member;

	REQUIRE((json == NULL) == (wrong != NULL));
	json_object_foreach(json, name, member)
	{
		size_t found_size = 0;
		const char *found = body_find(text, size, name, &found_size);
		json_t *again;

		REQUIRE(found && found >= text && found + found_size <= text + size);
		again = json_loadb(found, found_size, JSON_DECODE_ANY, NULL);
		if (again == NULL)
			again = json_loadb(found, found_size, JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL, NULL);
		REQUIRE(again &&
				(json_equal(again, member) || json_is_number(member) || !json_is_string(member)));
		json_decref(again);
	}
	json_decref(json);
}

static void
try_encoding(const char *text, size_t size)
{
	Buffer out = {0};
	json_t *json;

	encode_text(&out, text, size);
	json = json_loadb(out.bytes, out.size, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
	REQUIRE(json_is_string(json));
	json_decref(json);
	buffer_clear(&out);
	encode_value(&out, 1009, text, size);
	encode_value(&out, 1184, text, size);
	encode_value(&out, 1700, text, size);
	buffer_wipe(&out);
}

static void
try_headers(const char *text, size_t size)
{
	const char *value;
	size_t found = headers_cookie(text, "aurora_session", &value);
	char tag[ETAG_SIZE];

	REQUIRE(found == 0 || (value >= text && value + found <= text + size));
	etag_make(text, size, tag);
	(void) etag_matches(text, tag);
	REQUIRE(!token_is_key(text) || size >= 47);
	if (token_is_lsn(text))
		(void) token_lsn(text);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text;

	if (size == 0)
		return 0;
	route_index();
	text = memory_get(size);
	memcpy(text, data + 1, size - 1);
	switch (data[0] % 6)
	{
		case 0:
			try_query(text);
			break;
		case 1:
			try_path(text);
			break;
		case 2:
			try_types(text, size - 1);
			break;
		case 3:
			try_body(text, size - 1);
			break;
		case 4:
			try_encoding(text, size - 1);
			break;
		default:
			try_headers(text, size - 1);
	}
	free(text);
	return 0;
}
