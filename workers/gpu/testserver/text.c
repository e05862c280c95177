/*
 * The text that the test server generates.
 */
#include "gpu/testserver/text.h"

#include <string.h>

static const char *const words[] = {
	" the",
	" deal",
	" is",
	" silent",
	" since",
	" Monday",
	",",
	" and",
	" nobody",
	" has",
	" called",
	" them",
	" back",
	".",
	" A",
	" gr\xc3\xbc\xc3\x9f",
	" \xe2\x82\xac"
	"12",
	" of",
	" it",
	" waits",
	" \xf0\x9f\x94\x91",
	" for",
	" you",
	"\n",
};

void
text_begin(TextState *state)
{
	*state = (TextState) {.hash = 14695981039346656037u};
}

void
text_read(TextState *state, const char *text)
{
	for (; *text; text++)
	{
		state->hash = (state->hash ^ (uint8_t) *text) * 1099511628211u;
		state->is_over = *text == '\n' && state->last == '.';
		state->last = *text;
	}
}

static uint64_t
mix(uint64_t value)
{
	value ^= value >> 33;
	value *= 0xff51afd7ed558ccdu;
	value ^= value >> 33;
	value *= 0xc4ceb9fe1a85ec53u;
	return value ^ value >> 33;
}

bool
text_next(TextState *state, Buffer *token)
{
	uint64_t value = mix(state->hash);
	const char *word = words[value % (sizeof(words) / sizeof(words[0]))];

	if (state->is_over)
		return false;
	buffer_add_text(token, word);
	text_read(state, word);
	return true;
}
