/*
 * Base64 with the alphabet of URLs.
 */
#include "shared/base64url.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/* The value of each character with this bit set; 0 is of no character. */
#define IS_VALUE 0x40
#define V(character, value) [character] = IS_VALUE | (value)
static const uint8_t value_of[256] = {
	V('A', 0),	V('B', 1),	V('C', 2),	V('D', 3),	V('E', 4),	V('F', 5),	V('G', 6),	V('H', 7),
	V('I', 8),	V('J', 9),	V('K', 10), V('L', 11), V('M', 12), V('N', 13), V('O', 14), V('P', 15),
	V('Q', 16), V('R', 17), V('S', 18), V('T', 19), V('U', 20), V('V', 21), V('W', 22), V('X', 23),
	V('Y', 24), V('Z', 25), V('a', 26), V('b', 27), V('c', 28), V('d', 29), V('e', 30), V('f', 31),
	V('g', 32), V('h', 33), V('i', 34), V('j', 35), V('k', 36), V('l', 37), V('m', 38), V('n', 39),
	V('o', 40), V('p', 41), V('q', 42), V('r', 43), V('s', 44), V('t', 45), V('u', 46), V('v', 47),
	V('w', 48), V('x', 49), V('y', 50), V('z', 51), V('0', 52), V('1', 53), V('2', 54), V('3', 55),
	V('4', 56), V('5', 57), V('6', 58), V('7', 59), V('8', 60), V('9', 61), V('-', 62), V('_', 63),
};

size_t
aurora_base64url_size(size_t bytes)
{
	return (bytes + 2) / 3 * 4;
}

void
aurora_base64url_encode(const uint8_t *bytes, size_t length, char *text)
{
	size_t i;

	for (i = 0; i + 2 < length; i += 3)
	{
		uint32_t group =
			(uint32_t) bytes[i] << 16 | (uint32_t) bytes[i + 1] << 8 | (uint32_t) bytes[i + 2];

		*text++ = alphabet[group >> 18];
		*text++ = alphabet[group >> 12 & 63];
		*text++ = alphabet[group >> 6 & 63];
		*text++ = alphabet[group & 63];
	}
	if (i < length)
	{
		bool two = length - i == 2;
		uint32_t group = (uint32_t) bytes[i] << 16 | (two ? (uint32_t) bytes[i + 1] << 8 : 0);

		*text++ = alphabet[group >> 18];
		*text++ = alphabet[group >> 12 & 63];
		*text++ = two ? alphabet[group >> 6 & 63] : '=';
		*text = '=';
	}
}

/*
 * The last four characters, which may end in padding: how many bytes they are, 0 when they are bad.
 */
static size_t
decode_last(const char *text, uint8_t *bytes)
{
	size_t count = text[3] != '=' ? 3 : text[2] != '=' ? 2 : 1;
	uint32_t group = 0;

	for (size_t i = 0; i < 4; i++)
	{
		uint8_t value = value_of[(uint8_t) text[i]];

		if (i <= count && !(value & IS_VALUE))
			return 0;
		if (i > count && text[i] != '=')
			return 0;
		group = group << 6 | (value & 63);
	}
	for (size_t i = 0; i < count; i++)
		bytes[i] = (uint8_t) (group >> (16 - 8 * i));
	return (group & (0xFFFFFFu >> (8 * count))) == 0 ? count : 0;
}

bool
aurora_base64url_decode(const char *text, size_t length, uint8_t *bytes, size_t *decoded)
{
	const uint8_t *from = (const uint8_t *) text;
	uint8_t all = IS_VALUE;
	size_t last;

	*decoded = 0;
	if (length % 4 != 0)
		return false;
	if (length == 0)
		return true;
	for (size_t groups = length / 4 - 1; groups > 0; groups--, from += 4, bytes += 3)
	{
		uint8_t a = value_of[from[0]];
		uint8_t b = value_of[from[1]];
		uint8_t c = value_of[from[2]];
		uint8_t d = value_of[from[3]];

		all &= a & b & c & d;
		bytes[0] = (uint8_t) (a << 2 | (b & 63) >> 4);
		bytes[1] = (uint8_t) (b << 4 | (c & 63) >> 2);
		bytes[2] = (uint8_t) (c << 6 | (d & 63));
	}
	last = decode_last((const char *) from, bytes);
	if (!all || last == 0)
		return false;
	*decoded = length / 4 * 3 - (3 - last);
	return true;
}
