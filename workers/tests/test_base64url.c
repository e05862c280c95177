/*
 * Base64url, against a decoder that is slow and plain.
 */
#include <stdlib.h>
#include <string.h>

#include "shared/base64url.h"
#include "tests/tap.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

#define LONGEST 600

/*
 * Reads bit by bit. A text is good when encoding what it says gives it back.
 */
static bool
decode_slowly(const char *text, size_t length, uint8_t *bytes, size_t *decoded)
{
	char again[LONGEST + 4];
	size_t signs = length;
	size_t bits = 0;
	uint32_t kept = 0;

	*decoded = 0;
	if (length % 4 != 0)
		return false;
	while (signs > 0 && length - signs < 2 && text[signs - 1] == '=')
		signs--;
	for (size_t i = 0; i < signs; i++)
	{
		const char *place = text[i] ? strchr(alphabet, text[i]) : NULL;

		if (place == NULL)
			return false;
		for (int bit = 5; bit >= 0; bit--)
		{
			kept = kept << 1 | ((uint32_t) (place - alphabet) >> bit & 1);
			if (++bits % 8 == 0)
				bytes[(*decoded)++] = (uint8_t) kept;
		}
	}
	if (aurora_base64url_size(*decoded) != length)
		return false;
	aurora_base64url_encode(bytes, *decoded, again);
	return memcmp(again, text, length) == 0;
}

/*
 * Do both decoders agree. The text and the bytes have exactly their size, for the address
 * sanitizer.
 */
static bool
agrees(const char *text, size_t length)
{
	uint8_t expected[LONGEST];
	char *copy = malloc(length > 0 ? length : 1);
	uint8_t *bytes = malloc(length / 4 * 3 + 1);
	size_t expected_size;
	size_t size = 99;
	bool is_good = decode_slowly(text, length, expected, &expected_size);
	bool same;

	memcpy(copy, text, length);
	same = aurora_base64url_decode(copy, length, bytes, &size) == is_good;
	if (is_good)
		same = same && size == expected_size && memcmp(bytes, expected, size) == 0;
	free(copy);
	free(bytes);
	return same;
}

/* ---- encoding ---- */

static void
try_encoding(void)
{
	static const struct
	{
		const char *bytes;
		const char *text;
	} cases[] = {{"", ""},
				 {"f", "Zg=="},
				 {"fo", "Zm8="},
				 {"foo", "Zm9v"},
				 {"foob", "Zm9vYg=="},
				 {"fooba", "Zm9vYmE="},
				 {"foobar", "Zm9vYmFy"},
				 {"\xff\xef\xfe", "_-_-"}}; /* those of RFC 4648, and the two characters of URLs */
	size_t wrong = 0;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		char text[16] = "";

		aurora_base64url_encode((const uint8_t *) cases[i].bytes, strlen(cases[i].bytes), text);
		wrong += strcmp(text, cases[i].text) != 0 ||
				 aurora_base64url_size(strlen(cases[i].bytes)) != strlen(cases[i].text);
	}
	ok(wrong == 0, "the examples of RFC 4648 are encoded");
	for (uint32_t i = 0; i < 1 << 16; i++)
	{
		uint8_t bytes[3] = {(uint8_t) (i >> 8), (uint8_t) i, (uint8_t) random_below(256)};
		uint8_t back[3];
		char text[4];
		size_t length = 1 + i % 3;
		size_t decoded;

		aurora_base64url_encode(bytes, length, text);
		wrong += !aurora_base64url_decode(text, 4, back, &decoded) || decoded != length ||
				 memcmp(bytes, back, length) != 0;
	}
	ok(wrong == 0, "what is encoded is decoded");
}

/* ---- decoding ---- */

static void
try_random_texts(void)
{
	static const char most[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=";
	static const char wrong_signs[] = "+/= \n\r\t.,%\0\x80\xff";
	size_t wrong = 0;
	size_t good = 0;

	for (int i = 0; i < 300000; i++)
	{
		char text[LONGEST];
		uint8_t bytes[LONGEST];
		size_t decoded;
		size_t length = random_below(i % 10 == 0 ? 400 : 24);

		for (size_t c = 0; c < length; c++)
			text[c] = alphabet[random_below(64)];
		if (length > 0 && i % 3 == 1)
			text[length - 1] = most[random_below(65)];
		if (length > 1 && i % 6 == 1)
			text[length - 2] = '=', text[length - 1] = '=';
		if (length > 0 && i % 3 == 2)
			text[random_below((uint32_t) length)] =
				wrong_signs[random_below(sizeof(wrong_signs) - 1)];
		wrong += !agrees(text, length);
		good += decode_slowly(text, length, bytes, &decoded);
	}
	ok(wrong == 0, "300,000 random texts decode as they should");
	ok(good > 30000, "of which many are good (%zu)", good);
}

/*
 * Every ending of one to three signs behind none or more whole groups, with its padding and
 * without.
 */
static void
try_endings(void)
{
	size_t wrong = 0;
	size_t tried = 0;

	for (int signs = 1; signs <= 3; signs++)
		for (int i = 0; i < 1 << (6 * signs); i++)
			for (int padding = 0; padding <= 3; padding++)
			{
				char text[16] = "AbC_xy-9";
				size_t length = i % 2 ? 8 : 0;

				for (int c = signs - 1; c >= 0; c--)
					text[length++] = alphabet[i >> (6 * c) & 63];
				for (int c = 0; c < padding; c++)
					text[length++] = '=';
				wrong += !agrees(text, length);
				tried++;
			}
	ok(wrong == 0, "every ending of one to three characters decodes as it should (%zu tried)",
	   tried);
}

/*
 * Every byte in every place of a last and of another group.
 */
static void
try_bytes(void)
{
	size_t wrong = 0;

	for (int c = 0; c < 256; c++)
		for (size_t place = 0; place < 8; place++)
			for (int padding = 0; padding < 3; padding++)
			{
				char text[8] = {'A',
								'A',
								'A',
								'A',
								'A',
								'A',
								padding == 2 ? '=' : 'A',
								padding > 0 ? '=' : 'A'};

				text[place] = (char) c;
				wrong += !agrees(text, 8);
			}
	ok(wrong == 0, "every byte in every place decodes as it should");
}

/*
 * All texts of four characters, with two that are of no base64url: what they say is ticked off, and
 * may come only once.
 */
static void
try_canonical(void)
{
	static const char signs[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=+/";
	static bool seen[4][1 << 24];
	size_t count = sizeof(signs) - 1;
	size_t twice = 0;
	size_t good = 0;

	for (size_t i = 0; i < count * count * count * count; i++)
	{
		char text[4] = {signs[i % count], signs[i / count % count],
						signs[i / count / count % count], signs[i / count / count / count]};
		uint8_t bytes[3] = {0};
		size_t decoded;
		uint32_t number;

		if (!aurora_base64url_decode(text, 4, bytes, &decoded))
			continue;
		number = (uint32_t) bytes[0] << 16 | (decoded > 1 ? (uint32_t) bytes[1] << 8 : 0) |
				 (decoded > 2 ? bytes[2] : 0);
		twice += seen[decoded][number];
		seen[decoded][number] = true;
		good++;
	}
	ok(twice == 0, "no two texts of four characters decode to the same");
	ok(good == (1 << 24) + (1 << 16) + (1 << 8), "and all of one to three bytes have one");
}

int
main(void)
{
	try_encoding();
	try_random_texts();
	try_endings();
	try_bytes();
	try_canonical();
	return done();
}
