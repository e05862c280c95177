/*
 * Fuzzes the reading of dumps, and all that is done with what they have: it must give the same in
 * whatever pieces the dump comes.
 */
#include <stdlib.h>
#include <string.h>

#include "fuzz/harness.h"
#include "recover/dump.h"
#include "recover/message.h"

#define NOW ((int64_t) 1795485831 * 1000000)

static char *
read_dump(const Buffer *text, size_t piece, const Wish *wish)
{
	Stores stores = {.now = NOW, .keeps_all = wish->all_versions};
	Dump dump;

	dump_open(&dump, &stores);
	for (size_t at = 0; at < text->size; at += piece)
	{
		size_t size = piece < text->size - at ? piece : text->size - at;

		if (!dump_take(&dump, text->bytes + at, size))
			break;
	}
	dump_close(&dump);
	return harness_recover(&stores, wish);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Wish wish = {.service = size % 7 == 0 ? "c*" : "*", .all_versions = size % 3 == 0};
	unsigned long problems[3];
	Buffer text = {0};
	char *whole;
	char *pieces;

	if (size % 5 == 0 && !wish.all_versions)
		wish.format = FORMAT_ENV;
	harness_expand(&text, data, size);
	problems[0] = message_problems();
	whole = read_dump(&text, text.size + 1, &wish);
	problems[1] = message_problems();
	pieces = read_dump(&text, 1 + size % 11, &wish);
	problems[2] = message_problems();
	REQUIRE(strcmp(whole, pieces) == 0);
	REQUIRE(problems[1] - problems[0] == problems[2] - problems[1]);
	free(whole);
	free(pieces);
	buffer_wipe(&text);
	return 0;
}
