/*
 * Rows as JSON: what is written is what jansson reads back.
 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/encode.h"
#include "gateway/etag.h"
#include "tests/tap.h"

#define TRIES 3000

/* ---- single values ---- */

static void
becomes(Oid type, const char *text, const char *expected)
{
	Buffer json = {0};

	encode_value(&json, type, text, strlen(text));
	is(json.bytes, expected, expected);
	buffer_wipe(&json);
}

static void
try_values(void)
{
	becomes(16, "t", "true");
	becomes(16, "f", "false");
	becomes(20, "-9223372036854775808", "-9223372036854775808");
	becomes(701, "1e+300", "1e+300");
	becomes(701, "NaN", "null");
	becomes(700, "-Infinity", "null");
	becomes(1700, "12.50", "12.50");
	becomes(1700, "NaN", "null");
	becomes(3802, "{\"a\": 1.10}", "{\"a\": 1.10}");
	becomes(1184, "2026-01-31 12:00:00.5+00", "\"2026-01-31T12:00:00.5Z\"");
	becomes(1184, "2026-01-31 12:00:00+00", "\"2026-01-31T12:00:00Z\"");
	becomes(1184, "infinity", "\"infinity\"");
	becomes(1184, "0044-03-15 12:00:00+00 BC", "\"0044-03-15 12:00:00+00 BC\"");
	becomes(1186, "P1DT2H", "\"P1DT2H\"");
	becomes(25, "a\"\\\n\x01\x7f", "\"a\\\"\\\\\\n\\u0001\x7f\"");
	becomes(25, "caf\xc3\xa9 \xf0\x9f\x98\x80", "\"caf\xc3\xa9 \xf0\x9f\x98\x80\"");
	becomes(25, "\xc3(\xff\xf0\x9f", "\"\xef\xbf\xbd(\xef\xbf\xbd\xef\xbf\xbd\"");
	becomes(25, "", "\"\"");
	becomes(123456, "anything", "\"anything\"");
}

static void
try_arrays(void)
{
	becomes(1007, "{}", "[]");
	becomes(1007, "{1,NULL,3}", "[1,null,3]");
	becomes(1007, "{{1,2},{3,4}}", "[[1,2],[3,4]]");
	becomes(1007, "[0:1]={5,6}", "[5,6]");
	becomes(1009, "{a,\"b c\",\"q\\\"\\\\\",NULL,\"NULL\",\"\"}",
			"[\"a\",\"b c\",\"q\\\"\\\\\",null,\"NULL\",\"\"]");
	becomes(1009, "{\"a,b\",\"{c}\"}", "[\"a,b\",\"{c}\"]");
	becomes(1000, "{t,f}", "[true,false]");
	becomes(1022, "{1.5,NaN}", "[1.5,null]");
	becomes(3807, "{\"{\\\"a\\\": 1}\"}", "[{\"a\": 1}]");
	becomes(1185, "{\"2026-01-31 12:00:00+00\"}", "[\"2026-01-31T12:00:00Z\"]");
}

/* ---- whole results ---- */

/*
 * A text of all kinds of characters, as UTF-8 without zeros.
 */
static size_t
make_text(char *to, size_t most)
{
	size_t count = random_below((uint32_t) most / 4);
	size_t size = 0;

	while (count-- > 0)
		switch (random_below(6))
		{
			case 0:
				to[size++] = (char) (1 + random_below(31));
				break;
			case 1:
				to[size++] = "\"\\/\x7f"[random_below(4)];
				break;
			case 2:
				to[size++] = (char) (0xc2 + random_below(30));
				to[size++] = (char) (0x80 + random_below(64));
				break;
			case 3:
				to[size++] = (char) (0xe1 + random_below(12));
				to[size++] = (char) (0x80 + random_below(64));
				to[size++] = (char) (0x80 + random_below(64));
				break;
			case 4:
				to[size++] = (char) (0xf1 + random_below(3));
				to[size++] = (char) (0x80 + random_below(64));
				to[size++] = (char) (0x80 + random_below(64));
				to[size++] = (char) (0x80 + random_below(64));
				break;
			default:
				to[size++] = (char) (' ' + random_below(94));
		}
	return size;
}

static PGresult *
make_result(int rows, int columns, char names[][64])
{
	PGresult *result = PQmakeEmptyPGresult(NULL, PGRES_TUPLES_OK);
	PGresAttDesc columns_of[8] = {0};

	for (int i = 0; i < columns; i++)
	{
		size_t size = make_text(names[i] + 1, 56);

		names[i][0] = (char) ('a' + i); /* so that no two are the same */
		names[i][1 + size] = '\0';
		columns_of[i].name = names[i];
		columns_of[i].typid = 25;
	}
	if (!PQsetResultAttrs(result, columns, columns_of))
		abort();
	for (int row = 0; row < rows; row++)
		for (int i = 0; i < columns; i++)
		{
			char text[256];
			size_t size = make_text(text, sizeof(text));
			bool is_null = random_below(5) == 0;

			if (!PQsetvalue(result, row, i, is_null ? NULL : text, is_null ? -1 : (int) size))
				abort();
		}
	return result;
}

static bool
is_same(const json_t *json, const PGresult *result)
{
	if (json_array_size(json) != (size_t) PQntuples(result))
		return false;
	for (int row = 0; row < PQntuples(result); row++)
	{
		const json_t *object = json_array_get(json, (size_t) row);

		if (json_object_size(object) != (size_t) PQnfields(result))
			return false;
		for (int i = 0; i < PQnfields(result); i++)
		{
			const json_t *value = json_object_get(object, PQfname(result, i));

			if (PQgetisnull(result, row, i)
					? !json_is_null(value)
					: value == NULL ||
						  strcmp(json_string_value(value), PQgetvalue(result, row, i)) != 0)
				return false;
		}
	}
	return true;
}

static void
try_results(void)
{
	int good = 0;

	for (int i = 0; i < TRIES; i++)
	{
		char names[8][64];
		PGresult *result = make_result((int) random_below(5), (int) random_below(8), names);
		Buffer text = {0};
		json_t *json;

		encode_rows(&text, result);
		json = json_loadb(text.bytes, text.size, JSON_REJECT_DUPLICATES, NULL);
		good += is_same(json, result);
		json_decref(json);
		buffer_wipe(&text);
		PQclear(result);
	}
	ok(good == TRIES, "%d of %d random results are read back as they were", good, TRIES);
}

/* ---- ETags ---- */

static void
try_etags(void)
{
	char one[ETAG_SIZE];
	char other[ETAG_SIZE];
	char bytes[100];
	int same = 0;

	random_bytes((uint8_t *) bytes, sizeof(bytes));
	etag_make(bytes, sizeof(bytes), one);
	etag_make(bytes, sizeof(bytes), other);
	is(one, other, "the same bytes have the same tag");
	for (size_t i = 0; i < sizeof(bytes) * 8; i++)
	{
		bytes[i / 8] ^= (char) (1 << i % 8);
		etag_make(bytes, sizeof(bytes), other);
		same += strcmp(one, other) == 0;
		bytes[i / 8] ^= (char) (1 << i % 8);
	}
	etag_make(bytes, sizeof(bytes) - 1, other);
	ok(same == 0 && strcmp(one, other) != 0, "each bit and the size change the tag");
	ok(etag_matches("\"a\"", "\"a\"") && etag_matches("W/\"a\"", "\"a\"") &&
		   etag_matches("\"b\", W/\"a\"", "\"a\"") && etag_matches("*", "\"a\""),
	   "a tag is found in a list");
	ok(!etag_matches("\"b\"", "\"a\"") && !etag_matches("", "\"a\"") &&
		   !etag_matches("\"", "\"a\"") && !etag_matches("a", "\"a\"") &&
		   !etag_matches("\"x\"a\"", "\"a\""),
	   "and not where it is not");
}

int
main(void)
{
	try_values();
	try_arrays();
	try_results();
	try_etags();
	return done();
}
