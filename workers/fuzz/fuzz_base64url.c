/*
 * Fuzzes the decoder: what it takes is what the encoder gives back, to the letter.
 */
#include <stdlib.h>
#include <string.h>

#include "fuzz/harness.h"
#include "shared/base64url.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *bytes = memory_get(size / 4 * 3);
	size_t decoded = 0;

	if (aurora_base64url_decode((const char *) data, size, bytes, &decoded))
	{
		char *text = memory_get(size);

		REQUIRE(aurora_base64url_size(decoded) == size);
		aurora_base64url_encode(bytes, decoded, text);
		REQUIRE(memcmp(text, data, size) == 0);
		free(text);
	}
	free(bytes);
	return 0;
}
