/*
 * Fuzzes the reading of exports.
 */
#include <stdlib.h>

#include "fuzz/harness.h"
#include "recover/export.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const Wish wish = {.service = "*"};
	Stores stores = {0};
	Buffer text = {0};
	int line = 0;

	harness_expand(&text, data, size);
	(void) export_read(text.bytes, text.size, &stores, &line);
	free(harness_recover(&stores, &wish));
	buffer_wipe(&text);
	return 0;
}
