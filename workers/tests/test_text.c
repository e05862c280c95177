/*
 * Texts: numbers, times, patterns, and the ways to write them.
 */
#include <stdlib.h>
#include <string.h>

#include "recover/text.h"
#include "tests/tap.h"

static void
try_numbers(void)
{
	static const char *const bad[] = {"",
									  "-",
									  "+1",
									  " 1",
									  "1 ",
									  "1.0",
									  "0x1",
									  "a",
									  "1a",
									  "--1",
									  "9223372036854775808",
									  "-9223372036854775809"};
	int64_t number;
	bool taken = false;

	ok(text_number("0", &number) && number == 0, "0 is a number");
	ok(text_number("9223372036854775807", &number) && number == INT64_MAX, "the largest is one");
	ok(text_number("-9223372036854775808", &number) && number == INT64_MIN, "the least is one");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		taken |= text_number(bad[i], &number);
	ok(!taken, "other texts are none");
}

static void
try_times(void)
{
	static const struct
	{
		const char *text;
		int64_t time;
	} good[] = {
		{"1970-01-01 00:00:00+00", 0},
		{"1970-01-01 00:00:00.000001+00", 1},
		{"1969-12-31 23:59:59.5+00", -500000},
		{"2026-11-24 02:03:51.123456+00", 1795485831123456},
		{"2026-11-24T02:03:51.123456+00:00", 1795485831123456},
		{"2026-11-24T02:03:51.123456Z", 1795485831123456},
		{"2026-11-24 07:33:51.123456+05:30", 1795485831123456},
		{"2026-11-23 22:33:51.123456-03:30", 1795485831123456},
		{"1890-01-01 00:53:28+00:53:28", -2524521600000000},
		{"2024-02-29 12:00:00+00", 1709208000000000},
		{"2000-02-29 00:00:00+00", 951782400000000},
		{"2100-03-01 00:00:00+00", 4107542400000000},
		{"290000-01-01 00:00:00+00", 9089348860800000000},
		{"294276-12-31 23:59:59.999999+00", INT64_MAX},
		{"infinity", INT64_MAX},
		{"-infinity", INT64_MIN},
		{"0044-03-15 12:00:00+00 BC", INT64_MIN},
	};
	static const char *const bad[] = {"",
									  "now",
									  "2026",
									  "2026-11-24",
									  "2026-11-24 02:03:51",
									  "2026-11-24 02:03+00",
									  "2026-13-24 02:03:51+00",
									  "2026-00-24 02:03:51+00",
									  "2026-11-32 02:03:51+00",
									  "2026-11-24 02:63:51+00",
									  "2026-11-24 02:03:51.+00",
									  "2026-11-24 02:03:51.1234567+00",
									  "2026-11-24 02:03:51+00 AD",
									  "2026-11-24 02:03:51+0",
									  "24.11.2026 02:03:51 CET",
									  "9999999-01-01 00:00:00+00",
									  "infinity "};
	int64_t time;
	bool taken = false;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		ok(text_time(good[i].text, &time) && time == good[i].time, "%s is a time", good[i].text);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		taken |= text_time(bad[i], &time);
	ok(!taken, "other texts are none");
}

/*
 * Says the same slowly: a star is nothing, or a character and then again a star.
 */
static bool
matches_slowly(const char *pattern, const char *text)
{
	if (*pattern == '\0')
		return *text == '\0';
	if (*pattern == '*')
		return matches_slowly(pattern + 1, text) || (*text && matches_slowly(pattern, text + 1));
	return *pattern == *text && matches_slowly(pattern + 1, text + 1);
}

static void
try_patterns(void)
{
	size_t wrong = 0;
	size_t matched = 0;

	ok(text_matches("*", "") && text_matches("crm", "crm") && text_matches("c*", "crm") &&
		   text_matches("*m", "crm") && text_matches("c*m", "crm") && text_matches("**", "crm"),
	   "a star is any text");
	ok(!text_matches("", "crm") && !text_matches("cr", "crm") && !text_matches("crmx", "crm") &&
		   !text_matches("C*", "crm") && !text_matches("c?m", "crm") && !text_matches("", "c"),
	   "and anything else is itself");
	for (int i = 0; i < 200000; i++)
	{
		char pattern[9] = "";
		char text[9] = "";

		for (uint32_t c = random_below(9); c > 0; c--)
			strncat(pattern, &"ab*"[random_below(3)], 1);
		for (uint32_t c = random_below(9); c > 0; c--)
			strncat(text, &"ab"[random_below(2)], 1);
		wrong += text_matches(pattern, text) != matches_slowly(pattern, text);
		matched += matches_slowly(pattern, text);
	}
	ok(wrong == 0, "200,000 random patterns fit what they should (%zu do)", matched);
}

static void
is_written(void (*write)(Buffer *, const char *, size_t), const char *text, size_t size,
		   const char *expected, const char *name)
{
	Buffer buffer = {0};

	write(&buffer, text, size);
	is(buffer.bytes, expected, name);
	buffer_wipe(&buffer);
}

#define JSON(text, expected, name) is_written(text_add_json, text, sizeof(text) - 1, expected, name)

static void
try_json(void)
{
	JSON("", "\"\"", "an empty text is JSON");
	JSON("a\"b\\c/", "\"a\\\"b\\\\c/\"", "quotes and backslashes are escaped");
	JSON("\n\t\r\b\f\x01\x1f\x7f\0",
		 "\"\\u000a\\u0009\\u000d\\u0008\\u000c\\u0001\\u001f\\u007f\\u0000\"",
		 "control characters are escaped");
	JSON("gr\xc3\xbc\xc3\x9f \xe6\xbc\xa2 \xf0\x9f\x94\x91",
		 "\"gr\xc3\xbc\xc3\x9f \xe6\xbc\xa2 \xf0\x9f\x94\x91\"",
		 "other characters are as they are");
	JSON("\xc2\x9b\xe2\x80\xae", "\"\\u009b\\u202e\"", "what controls terminals is escaped");
	JSON("a\xff\xc3", "\"a\\ufffd\\ufffd\"", "what is no UTF-8 is replaced");
	JSON("\xc0\x80\xed\xa0\x80\xf4\x90\x80\x80",
		 "\"\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd\"",
		 "overlong forms, surrogates and what is beyond Unicode are no UTF-8");
	ok(text_is_utf8("", 0) && text_is_utf8("gr\xc3\xbc", 4) && text_is_utf8("\0", 1),
	   "UTF-8 is known");
	ok(!text_is_utf8("gr\xc3\xbc", 3) && !text_is_utf8("\xe0\x9f\xbf", 3) &&
		   !text_is_utf8("\xf0\x8f\xbf\xbf", 4) && !text_is_utf8("\xf5\x80\x80\x80", 4),
	   "and what is none");
}

static void
add_printable(Buffer *buffer, const char *text, size_t size)
{
	(void) size;
	text_add_printable(buffer, text);
}

static void
try_other_ways(void)
{
	char bytes[10000];
	char expected[10000 / 3 * 4 + 5];
	Buffer buffer = {0};

	is_written(text_add_quoted, "a'b\"c\\d$e`f\n", 12, "\"a'b\\\"c\\\\d\\$e\\`f\n\"",
			   "what a shell expands is escaped");
	is_written(add_printable, "a\x1b[31m\nb\xff\xc2\x9b", 0, "a\\u001b[31m\\u000ab\\xff\\u009b",
			   "people see no control characters");
	is_written(text_add_base64, "\xff\xfe\xfd", 3, "//79", "base64 is the usual one");
	is_written(text_add_base64, "\xff", 1, "/w==", "with padding");
	memset(bytes, 0, sizeof(bytes));
	memset(expected, 'A', sizeof(expected));
	memcpy(expected + sizeof(bytes) / 3 * 4, "AA==", 5);
	text_add_base64(&buffer, bytes, sizeof(bytes));
	is(buffer.bytes, expected, "of much, pieces fit together");
	buffer_wipe(&buffer);
}

/*
 * Strings of JSON and a shell's, read back by the simplest readers.
 */
static void
try_random(void)
{
	size_t wrong = 0;

	for (int i = 0; i < 20000; i++)
	{
		char text[20] = "";
		char back[20] = "";
		size_t size = random_below(19);
		Buffer buffer = {0};

		for (size_t c = 0; c < size; c++)
			text[c] = i % 2 ? "a'\"\\$`\n"[random_below(7)] : (char) (1 + random_below(127));
		text_add_quoted(&buffer, text, size);
		for (size_t from = 1, to = 0; from + 1 < buffer.size; from++)
			back[to++] = buffer.bytes[from] == '\\' ? buffer.bytes[++from] : buffer.bytes[from];
		wrong += strcmp(text, back) != 0;
		buffer_wipe(&buffer);
	}
	ok(wrong == 0, "20,000 random texts in quotes are read back");
}

int
main(void)
{
	try_numbers();
	try_times();
	try_patterns();
	try_json();
	try_other_ways();
	try_random();
	return done();
}
