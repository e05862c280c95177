/*
 * What comes from outside: paths, queries, parameters, bodies, headers, cookies and keys.
 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "common/memory.h"
#include "gateway/body.h"
#include "gateway/headers.h"
#include "gateway/parameters.h"
#include "gateway/token.h"
#include "tests/tap.h"

/*
 * A text as the name of a test: one line of plain characters.
 */
static const char *
shown(const char *text)
{
	static char name[60];
	size_t size = 0;

	for (; *text && size < sizeof(name) - 1; text++)
		name[size++] = *text >= ' ' && *text < 0x7f ? *text : '?';
	name[size] = '\0';
	return name;
}

/* ---- encoded texts ---- */

static void
decodes(const char *text, bool is_query, const char *expected)
{
	char *copy = memory_copy(text);
	long size = parameter_decode(copy, strlen(copy), is_query);

	if (expected)
		ok(size == (long) strlen(expected) && strcmp(copy, expected) == 0, "decoded: %s", text);
	else
		ok(size == -1, "refused: %s", text);
	free(copy);
}

static void
try_decoding(void)
{
	char *query = memory_copy("a=1&b=%26%3D&&c&d=x=y&e=+");
	char *rest = query;
	char *name;
	char *value;
	Buffer found = {0};

	decodes("a%20b+c", false, "a b+c");
	decodes("a%20b+c", true, "a b c");
	decodes("%c3%A9", true, "\xc3\xa9");
	decodes("", true, "");
	decodes("%", true, NULL);
	decodes("%4", true, NULL);
	decodes("%4g", true, NULL);
	decodes("a%00b", true, NULL);
	decodes("%ff", true, NULL);
	decodes("%c0%af", true, NULL);
	decodes("%ed%a0%80", true, NULL);
	while (parameter_next(&rest, &name, &value) > 0)
		buffer_print(&found, "[%s|%s]", name, value);
	is(found.bytes, "[a|1][b|&=][c|][d|x=y][e| ]", "a query is cut before it is decoded");
	buffer_wipe(&found);
	free(query);
}

static void
try_paths(void)
{
	static const char *const good[] = {"/", "/a", "/a/b", "/a/b.c", "/a/...", "/a/.b", "/a b"};
	static const char *const bad[] = {"",		"a",	 "//",	  "/a//b", "/a/",
									  "/.",		"/..",	 "/../a", "/a/..", "/a/../b",
									  "/a/./b", "/a\\b", "/a\nb", "/\x7f"};

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		ok(parameter_is_path(good[i], strlen(good[i])), "a path: %s", good[i]);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ok(!parameter_is_path(bad[i], strlen(bad[i])), "no path: number %d", (int) i);
}

/* ---- types ---- */

static void
check(ParameterType type, const char *text, bool is_good)
{
	static const char *const choices[] = {"one", "two", NULL};
	Parameter parameter = {.name = "p", .place = IN_QUERY, .type = type};
	Arena arena = {0};
	const char *value;
	const char *wrong;

	if (type == TYPE_INT)
	{
		parameter.least = 1;
		parameter.most = 1000;
	}
	if (type == TYPE_TEXT)
		parameter.choices = choices;
	wrong = parameter_check(&parameter, &arena, text, strlen(text), &value);
	ok((wrong == NULL) == is_good, "type %d, %s: %s", type, is_good ? "taken" : "refused",
	   shown(text));
	arena_clear(&arena);
}

static void
try_types(void)
{
	static const struct
	{
		ParameterType type;
		const char *good[6];
		const char *bad[10];
	} cases[] = {
		{TYPE_INT,
		 {"1", "1000", "007"},
		 {"0", "1001", "", "\n1", "1 ", "+1", "1.0", "1e2", "x", "99999999999999999999"}},
		{TYPE_BIGINT,
		 {"-9223372036854775808", "9223372036854775807", "0"},
		 {"9223372036854775808", "0x10", "-", "1\n"}},
		{TYPE_NUMBER,
		 {"1", "-1.5", "1e5", "1.5E-3", "0"},
		 {"", ".5", "1.", "0x1", "NaN", "Infinity", "1e", "1e999", "--1", "1 "}},
		{TYPE_BOOLEAN, {"true", "false"}, {"TRUE", "t", "1", ""}},
		{TYPE_TEXT, {"one", "two"}, {"", "three", "One"}},
		{TYPE_NAME, {"a", "caf\xc3\xa9"}, {"", "a\nb", "a\x7f", "\xff"}},
		{TYPE_TIMESTAMP,
		 {"2026-01-31T12:00:00Z", "2026-01-31T12:00:00.123456Z", "2026-01-31t12:00:00+02:00",
		  "2026-01-31 12:00:00-11:30"},
		 {"", "2026-01-31", "2026-01-31T12:00:00", "2026-01-31T12:00Z", "now", "infinity",
		  "2026-01-31T12:00:00Zx", "2026-01-31T12:00:00+0200"}},
		{TYPE_INTERVAL,
		 {"PT30S", "P1DT2H", "30 seconds", "1 day 2:00", "-1 hour"},
		 {"", "'; drop", "forever", "1\nday"}},
		{TYPE_UUID,
		 {"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11"},
		 {"", "a0eebc99", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1g",
		  "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a111", "{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}"}},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		for (int j = 0; j < 6 && cases[i].good[j]; j++)
			check(cases[i].type, cases[i].good[j], true);
		for (int j = 0; j < 10 && cases[i].bad[j]; j++)
			check(cases[i].type, cases[i].bad[j], false);
	}
}

static void
try_lists(void)
{
	Parameter parameter = {.name = "p", .type = TYPE_TEXTS};
	Arena arena = {0};
	const char *value;

	ok(parameter_check(&parameter, &arena, "a,b \"c\",", 8, &value) == NULL, "a list is taken");
	is(value, "{\"a\",\"b \\\"c\\\"\",\"\"}", "as an array");
	ok(parameter_check(&parameter, &arena, "", 0, &value) == NULL, "an empty list is taken");
	is(value, "{}", "as an empty array");
	arena_clear(&arena);
}

/* ---- bodies ---- */

static void
reads(const char *text, const char *expected)
{
	const char *wrong;
	json_t *json = body_read(text, strlen(text), &wrong);

	if (expected)
		ok(json == NULL && wrong && strstr(wrong, expected), "refused as it %s: %s",
		   wrong ? wrong : "(is not)", shown(text));
	else
		ok(json && wrong == NULL, "read: %s", shown(text));
	json_decref(json);
}

/*
 * Nested arrays, so many deep.
 */
static char *
nest(int depth)
{
	char *text = memory_get((size_t) depth * 2 + 1);

	memset(text, '[', (size_t) depth);
	memset(text + depth, ']', (size_t) depth);
	return text;
}

static void
try_bodies(void)
{
	char *deepest = nest(BODY_DEPTH);
	char *too_deep = nest(BODY_DEPTH + 1);

	reads("{}", NULL);
	reads("{\"a\":[1,2.50,\"x\",null,true,{}]}", NULL);
	reads("123456789012345678901234567890", NULL);
	reads("\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\"", NULL);
	reads(deepest, NULL);
	reads(too_deep, "deep");
	reads("", "empty");
	reads("{", "no JSON");
	reads("{} x", "no JSON");
	reads("{'a':1}", "no JSON");
	reads("{\"a\":1,\"a\":2}", "twice");
	reads("{\"a\":{\"b\":1,\"b\":2}}", "twice");
	reads("{\"a\":\"\\u0000\"}", "zero");
	reads("{\"a\":\"\xff\"}", "UTF-8");
	reads("[1e999]", "too large");
	free(deepest);
	free(too_deep);
}

static json_t *
make_value(int depth)
{
	char text[12] = "";
	json_t *value;

	switch (random_below(depth > 3 ? 5 : 7))
	{
		case 0:
			return json_integer((json_int_t) random_below(1000000) - 500000);
		case 1:
			return json_real(random_below(1000000) / 64.0);
		case 2:
			return json_null();
		case 3:
			return json_boolean(random_below(2));
		case 4:
			for (size_t i = 0; i < random_below(11); i++)
				text[i] = "a\"\\,:{}[]\n"[random_below(10)];
			return json_string(text);
		case 5:
			value = json_array();
			for (uint32_t i = random_below(4); i > 0; i--)
				json_array_append_new(value, make_value(depth + 1));
			return value;
		default:
			value = json_object();
			for (uint32_t i = random_below(4); i > 0; i--)
			{
				char name[16];

				snprintf(name, sizeof(name), "n%u\"\\%s", i, random_below(2) ? "," : "");
				json_object_set_new(value, name, make_value(depth + 1));
			}
			return value;
	}
}

/*
 * Each member of random objects is found where it stands, whatever blanks are between.
 */
static bool
finds_members(void)
{
	json_t *object = json_object();
	size_t flags = random_below(2) ? JSON_COMPACT : JSON_INDENT(random_below(4));
	bool is_good = true;
	const char *name;
	json_t *member;
	char *text;

	for (uint32_t i = random_below(6); i > 0; i--)
	{
		char key[16];

		snprintf(key, sizeof(key), "%s%u", random_below(2) ? "k" : "\"\\ \xc3\xa9", i);
		json_object_set_new(object, key, make_value(0));
	}
	text = json_dumps(object, flags | (random_below(2) ? JSON_ENSURE_ASCII : 0));
	json_object_foreach(object, name, member)
	{
		size_t size;
		const char *found = body_find(text, strlen(text), name, &size);
		json_t *again = found ? json_loadb(found, size, JSON_DECODE_ANY, NULL) : NULL;

		is_good &= again && json_equal(again, member);
		json_decref(again);
	}
	is_good &= body_find(text, strlen(text), "not there", &(size_t) {0}) == NULL;
	free(text);
	json_decref(object);
	return is_good;
}

static void
try_members(void)
{
	const char text[] = "{ \"a\" : 1.10 , \"b\":[1,{\"a\":2}]\n}";
	size_t size;
	const char *found = body_find(text, strlen(text), "a", &size);
	int good = 0;

	ok(found && size == 4 && memcmp(found, "1.10", 4) == 0, "a number keeps its digits");
	found = body_find(text, strlen(text), "b", &size);
	ok(found && size == 11, "an array is found whole");
	for (int i = 0; i < 2000; i++)
		good += finds_members();
	ok(good == 2000, "%d of 2000 random objects have their members found", good);
}

/* ---- headers ---- */

/*
 * Puts lines as the library leaves them: ends of values and lines become zeros.
 */
static int
take(const char *lines, size_t size, const char *version_end, Headers *headers)
{
	char *copy = memory_get(size + 1);
	char *at = copy + 9;

	memcpy(copy, lines, size);
	for (size_t i = 0; i < size; i++)
		if (copy[i] == '\r' || copy[i] == '\n')
			copy[i] = '\0';
	memset(headers, 0, sizeof(*headers));
	headers_begin(headers, "/", copy);
	at = copy + strlen(copy) + (version_end[0] == '\n' ? 1 : 2);
	while (at < copy + size && *at)
	{
		char *colon = strchr(at, ':');
		char *value = colon + 2;
		size_t length = strlen(value);

		headers_take(headers, at, (size_t) (colon - at), value, length);
		for (at = value + length; at < copy + size && *at == '\0' &&
								  at - value - (ptrdiff_t) length < 2 && lines[at - copy] != '\0';
			 at++)
			if (lines[at - copy] == '\n')
			{
				at++;
				break;
			}
		if (at < copy + size && at > copy && lines[at - copy - 1] != '\n')
			break; /* a zero byte: the library goes on with the next line */
	}
	headers_end(headers, false, 1000, 1000);
	for (int i = 0; i < HEADERS; i++)
		headers->values[i] = NULL; /* they were in the copy */
	free(copy);
	return headers->status;
}

static void
answers(const char *lines, size_t size, int status, const char *name)
{
	Headers headers;
	const char *end = lines + strcspn(lines, "\r\n");
	int found = take(lines, size, end, &headers);

	if (!ok(found == status, "%s: %d", name, status))
		note("found %d: %s", found, headers.problem ? headers.problem : "");
}

#define ANSWERS(lines, status, name) \
	answers("HTTP/1.1" lines, sizeof("HTTP/1.1" lines) - 1, status, name)

static void
try_headers(void)
{
	char large[1200] = "HTTP/1.1\r\nHost: x\r\nX-A: ";

	ANSWERS("\r\nHost: x\r\n\r\n", 0, "a host");
	ANSWERS("\r\nHost: x:8080\r\nAccept: a, b\r\nContent-Length: 1000\r\n\r\n", 0,
			"several headers");
	ANSWERS("\r\nAccept: a\r\n\r\n", 400, "no host");
	ANSWERS("\r\nHost: x\r\nHost: x\r\n\r\n", 400, "two hosts");
	ANSWERS("\r\nHost: x y\r\n\r\n", 400, "a host with a blank");
	ANSWERS("\r\nHost: x/y\r\n\r\n", 400, "a host with a path");
	ANSWERS("\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", 400, "two lengths");
	ANSWERS("\r\nHost: x\r\nContent-Length: +1\r\n\r\n", 400, "a length with a sign");
	ANSWERS("\r\nHost: x\r\nContent-Length: 1, 1\r\n\r\n", 400, "a list of lengths");
	ANSWERS("\r\nHost: x\r\nContent-Length: 1001\r\n\r\n", 413, "a body that is too large");
	ANSWERS("\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400,
			"a length and chunks");
	ANSWERS("\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", 411, "chunks");
	ANSWERS("\r\nHost: x\r\nAuthorization: a\r\nAuthorization: b\r\n\r\n", 400,
			"two authorizations");
	ANSWERS("\r\nHost: x\r\nX-Forwarded-For: a\r\nX-Forwarded-For: b\r\n\r\n", 0,
			"two headers that may be two");
	ANSWERS("\nHost: x\r\n\r\n", 400, "a bare line feed behind the request line");
	ANSWERS("\r\nHost: x\nAccept: a\r\n\r\n", 400, "a bare line feed");
	ANSWERS("\r\nHost: x\r\nX A: b\r\n\r\n", 400, "a blank in a name");
	ANSWERS("\r\nHost: x\r\nX-A: b\x01\r\n\r\n", 400, "a control character");
	ANSWERS("\r\nHost: x\r\nX-A: b\0c\r\n\r\n", 400, "a zero byte");
	memset(large + strlen(large), 'a', 1000);
	strcat(large, "\r\n\r\n");
	answers(large, strlen(large), 431, "a header that is too large");
}

static void
try_folded(void)
{
	static const char value[] = "y z\0\0";
	static const char first[] = "HTTP/1.1\0\0Host: x\0\0X-A: y\0\0";
	Headers headers = {0};

	headers_begin(&headers, "/", first);
	headers_take(&headers, first + 10, 4, first + 16, 1);
	headers_take(&headers, first + 19, 3, value, 3);
	headers_end(&headers, false, 1000, 1000);
	ok(headers.status == 400, "a line that lies elsewhere was folded");
}

static void
try_cookies(void)
{
	static const struct
	{
		const char *cookies;
		const char *expected;
	} cases[] = {
		{"s=abc", "abc"},	 {"a=1; s=abc; b=2", "abc"}, {"s=\"abc\"", "abc"},
		{"a=s=1;s=x ", "x"}, {"xs=abc", NULL},			 {"s=", NULL},
		{"", NULL},			 {"s=a; s=b", NULL},		 {"s", NULL},
		{";;;", NULL},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		const char *value;
		size_t size = headers_cookie(cases[i].cookies, "s", &value);

		ok(cases[i].expected
			   ? size == strlen(cases[i].expected) && memcmp(value, cases[i].expected, size) == 0
			   : size == 0,
		   "the cookie in \"%s\"", cases[i].cookies);
	}
}

static void
try_tokens(void)
{
	char hash[KEY_HASH_SIZE];

	ok(token_is_key("aur_SMesmY3yijcmAj5bQZDV5Fq0xIAAgUDJsJAz2cuAwnM"), "a key");
	ok(!token_is_key("aur_SMesmY3yijcmAj5bQZDV5Fq0xIAAgUDJsJAz2cuAwn") && !token_is_key("") &&
		   !token_is_key("aur_SMesmY3yijcmAj5bQZDV5Fq0xIAAgUDJsJAz2cuAwn+"),
	   "no keys");
	token_hash("abc", hash);
	is(hash, "\\xba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
	   "the hash of abc");
	ok(token_is_lsn("0/0") && token_is_lsn("16/B374D848") &&
		   token_lsn("1/2") == ((uint64_t) 1 << 32 | 2),
	   "positions");
	ok(!token_is_lsn("") && !token_is_lsn("1") && !token_is_lsn("1/") && !token_is_lsn("/1") &&
		   !token_is_lsn("g/1") && !token_is_lsn("123456789/1") && !token_is_lsn("1/1 "),
	   "no positions");
}

int
main(void)
{
	try_decoding();
	try_paths();
	try_types();
	try_lists();
	try_bodies();
	try_members();
	try_headers();
	try_folded();
	try_cookies();
	try_tokens();
	return done();
}
