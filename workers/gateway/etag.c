/*
 * ETags.
 */
#include "gateway/etag.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

/*
 * Two lanes of multiplying and folding over 16 bytes at a time. It is no defence against someone
 * who makes answers that collide: who can write the answer can also write that it has not changed.
 */
static uint64_t
fold(uint64_t one, uint64_t other)
{
	unsigned __int128 product = (unsigned __int128) one * other;

	return (uint64_t) product ^ (uint64_t) (product >> 64);
}

void
etag_make(const char *bytes, size_t size, char tag[ETAG_SIZE])
{
	uint64_t one = 0x9e3779b97f4a7c15u ^ size;
	uint64_t other = 0xc2b2ae3d27d4eb4fu + size;
	size_t left = size;

	while (left > 0)
	{
		uint64_t words[2] = {0, 0};
		size_t taken = left < sizeof(words) ? left : sizeof(words);

		memcpy(words, bytes, taken);
		one = fold(one ^ words[0], 0xa0761d6478bd642fu ^ words[1]) + 0xe7037ed1a0b428dbu;
		other = fold(other ^ words[1], 0x8ebc6af09c88c6e3u ^ words[0]) ^ (one >> 17);
		bytes += taken;
		left -= taken;
	}
	snprintf(tag, ETAG_SIZE, "\"%016llx%016llx\"",
			 (unsigned long long) fold(one, 0x589965cc75374cc3u),
			 (unsigned long long) fold(other ^ size, 0x1d8e4e27c47d124fu));
}

/*
 * nginx makes a weak tag of one whose answer it compresses.
 */
bool
etag_matches(const char *list, const char *tag)
{
	size_t length = strlen(tag);

	while (*list)
	{
		list += strspn(list, " \t,");
		if (*list == '*')
			return true;
		if (strncmp(list, "W/", 2) == 0)
			list += 2;
		if (strncmp(list, tag, length) == 0)
			return true;
		if (*list == '"')
		{
			const char *end = strchr(list + 1, '"');

			list = end ? end + 1 : "";
		}
		else
			list += strcspn(list, ",");
	}
	return false;
}
