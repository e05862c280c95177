/*
 * What the fuzzers share.
 */
#include "fuzz/harness.h"

#include <stdlib.h>
#include <string.h>

#include "recover/message.h"
#include "shared/base64url.h"

#define TOKENS 5

static KeyRing ring;
static char *tokens[TOKENS];

static char *
make_token(AuroraFernet *fernet, const char *value, size_t size)
{
	static const uint8_t iv[AURORA_FERNET_IV_SIZE] = {1, 2, 3};
	size_t token_size = aurora_fernet_token_size(size);
	uint8_t *scratch = memory_get(aurora_fernet_scratch_size(token_size));
	char *token = memory_get(token_size + 1);

	REQUIRE(aurora_fernet_encrypt(fernet, (const uint8_t *) value, size, 1795485831, iv, scratch,
								  token));
	free(scratch);
	return token;
}

static void
make_tokens(void)
{
	static const char values[2][4] = {"v\n\"", "\xff\xfe$"};
	char text[AURORA_FERNET_KEY_TEXT_SIZE + 1] = "";
	uint8_t key[AURORA_FERNET_KEY_SIZE] = "the keys of the fuzzers, not of";

	message_is_quiet = true;
	aurora_base64url_encode(key, sizeof(key), text);
	REQUIRE(keys_add(&ring, text, strlen(text), "fuzz") == 0);
	for (int i = 0; i < 2; i++)
	{
		AuroraFernet data_key;

		key[0] = (uint8_t) i;
		aurora_base64url_encode(key, sizeof(key), text);
		REQUIRE(aurora_fernet_open(&data_key, key));
		tokens[1 + i] = make_token(&ring.keys[0], text, strlen(text));
		tokens[3 + i] = make_token(&data_key, values[i], 3);
		aurora_fernet_close(&data_key);
	}
}

const KeyRing *
harness_ring(void)
{
	if (ring.count == 0)
		make_tokens();
	return &ring;
}

void
harness_expand(Buffer *to, const uint8_t *data, size_t size)
{
	(void) harness_ring();
	buffer_add_text(to, "");
	for (size_t i = 0; i < size; i++)
	{
		if (data[i] > 0 && data[i] < TOKENS)
			buffer_add_text(to, tokens[data[i]]);
		else
			buffer_add_char(to, (char) data[i]);
	}
}

char *
harness_recover(Stores *stores, const Wish *wish)
{
	Output output = {.fd = NO_FILE};

	buffer_add_text(&output.buffer, "");
	for (size_t i = 0; i < stores->count; i++)
		recover_store(stores->list[i], harness_ring(), wish, &output);
	stores_free(stores);
	return output.buffer.bytes;
}
