/*
 * Text that PostgreSQL takes: UTF-8 without NUL, from whatever bytes, in whatever pieces.
 */
#include <stdlib.h>
#include <string.h>

#include "common/utf8.h"
#include "gpu/json.h"
#include "tests/tap.h"

#define BAD "\xef\xbf\xbd"

static char *
clean(const char *bytes, size_t size, size_t piece)
{
	Utf8 utf8 = {0};
	Buffer text = {0};

	buffer_add_text(&text, "");
	for (size_t at = 0; at < size;)
	{
		size_t next = piece > 0 ? piece : 1 + random_below(3);

		next = next < size - at ? next : size - at;
		utf8_take(&utf8, &text, bytes + at, next);
		at += next;
	}
	utf8_end(&utf8, &text);
	return text.bytes;
}

static void
gives(const char *bytes, size_t size, const char *expected, const char *name)
{
	for (size_t piece = 0; piece < 6; piece++)
	{
		char *found = clean(bytes, size, piece);

		if (strcmp(found, expected) != 0 || piece == 5)
			is(found, expected, name);
		free(found);
	}
}

#define GIVES(bytes, expected, name) gives(bytes, sizeof(bytes) - 1, expected, name)

static void
try_bytes(void)
{
	GIVES("plain", "plain", "ASCII stays");
	GIVES("gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x94\x91",
		  "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x94\x91",
		  "characters of two, three and four bytes stay");
	GIVES("a\0b", "a" BAD "b", "NUL is replaced");
	GIVES("a\xff"
		  "b",
		  "a" BAD "b", "a byte that is in no character is");
	GIVES("a\x80"
		  "b",
		  "a" BAD "b", "a middle without a beginning is");
	GIVES("a\xe2\x82", "a" BAD, "a character that is cut at the end is one replacement");
	GIVES("a\xe2\x82"
		  "b",
		  "a" BAD "b", "... in the middle, too");
	GIVES("\xe2\x82\xe2\x82\xac", BAD "\xe2\x82\xac", "a beginning may follow on a beginning");
	GIVES("\xf0\x9f\x94\xf0\x9f\x94\x91", BAD "\xf0\x9f\x94\x91", "... of four bytes, too");
	GIVES("\xc0\xaf", BAD BAD, "overlong forms are none");
	GIVES("\xed\xa0\x80", BAD BAD BAD, "surrogates are none");
	GIVES("\xf4\x90\x80\x80", BAD BAD BAD BAD, "nothing lies behind U+10FFFF");
	GIVES("\xf4\x8f\xbf\xbf", "\xf4\x8f\xbf\xbf", "U+10FFFF stays");
}

static void
try_random(void)
{
	bool is_same = true;
	bool is_right = true;

	for (int round = 0; round < 2000; round++)
	{
		uint8_t bytes[24];
		char *whole;
		char *pieces;

		random_bytes(bytes, sizeof(bytes));
		for (size_t i = 0; i < sizeof(bytes); i++)
			if (random_below(2))
				bytes[i] = (uint8_t) "\xe2\x82\xac\xf0\x9f\x94\x91\xc3"[random_below(8)];
		whole = clean((char *) bytes, sizeof(bytes), sizeof(bytes));
		pieces = clean((char *) bytes, sizeof(bytes), 0);
		is_same &= strcmp(whole, pieces) == 0;
		for (size_t at = 0; whole[at];)
		{
			int character = utf8_character(whole + at, strlen(whole + at));

			is_right &= character > 0;
			at += character > 0 ? (size_t) character : strlen(whole + at);
		}
		free(whole);
		free(pieces);
	}
	ok(is_same, "random bytes give the same in pieces as in one");
	ok(is_right, "... and always UTF-8");
}

/* ---- JSON ---- */

static void
text_is(const char *json, size_t size, const char *expected, size_t expected_size, const char *name)
{
	json_t *value = json_read(json, size);
	Buffer bytes = {0};

	(void) json_add_bytes(value, &bytes);
	ok(bytes.size == expected_size &&
		   (expected_size == 0 || memcmp(bytes.bytes, expected, expected_size) == 0),
	   "%s", name);
	buffer_wipe(&bytes);
	json_decref(value);
}

#define TEXT_IS(json, expected, name) \
	text_is(json, sizeof(json) - 1, expected, sizeof(expected) - 1, name)

static void
try_json(void)
{
	TEXT_IS("\"\xe2\x82\xac\"", "\xe2\x82\xac", "a text in JSON stays");
	TEXT_IS("\"a\xe2\x82\"", "a\xe2\x82", "half a character stays half a character");
	TEXT_IS("\"\xff\xfe\"", "\xff\xfe", "bytes that are no UTF-8 stay");
	TEXT_IS("\"a\0b\"", "a\0b", "NUL stays");
	TEXT_IS("\"a\\u0000b\"", "a\0b", "an escaped NUL is one");
	TEXT_IS("\"\\ud83d\\udd11\"", "\xf0\x9f\x94\x91", "a pair of surrogates is a character");
	TEXT_IS("\"\\ud83d\"", BAD, "half a pair is replaced");
	TEXT_IS("\"\\udd11\\ud83d\"", BAD BAD, "... also the other half");
	TEXT_IS("\"\\\\ud83d\"", "\\ud83d", "an escaped backslash begins no escape");
	TEXT_IS("\"\xf4\x8f\xbf\xbd\"", "\xf4\x8f\xbf\xbd",
			"a character that stands for bytes stays itself");
	TEXT_IS("\"\\", "", "a text that is cut is none");
	TEXT_IS("\"\\u12", "", "... in an escape, too");
}

int
main(void)
{
	try_bytes();
	try_random();
	try_json();
	return done();
}
