/*
 * Fuzzes the opening of tokens. Most inputs are signed first, since the MAC would keep all others
 * out: then what opens has to be what encrypting gives.
 */
#include <openssl/hmac.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz/harness.h"
#include "shared/base64url.h"

#define HEAD_SIZE 25
#define MAC_SIZE 32

static const uint8_t key[AURORA_FERNET_KEY_SIZE] = "the key of a fuzzer, and of nob";

/*
 * Encrypting the same at the same time with the same IV gives the same token.
 */
static void
compare_again(AuroraFernet *fernet, const char *token, size_t token_size, const uint8_t *plain,
			  size_t length)
{
	size_t scratch_size = aurora_fernet_scratch_size(token_size);
	uint8_t *scratch = memory_get(scratch_size);
	char *again = memory_get(token_size);
	uint8_t iv[AURORA_FERNET_IV_SIZE];
	uint64_t time = 0;
	size_t size;

	REQUIRE(aurora_base64url_decode(token, token_size, scratch, &size));
	for (int i = 0; i < 8; i++)
		time = time << 8 | scratch[1 + i];
	memcpy(iv, scratch + 9, sizeof(iv));
	REQUIRE(aurora_fernet_token_size(length) == token_size);
	REQUIRE(aurora_fernet_encrypt(fernet, plain, length, (int64_t) time, iv, scratch, again));
	REQUIRE(memcmp(again, token, token_size) == 0);
	free(again);
	free(scratch);
}

static void
decrypt(const char *token, size_t token_size, int64_t age_limit)
{
	static AuroraFernet fernet;
	size_t scratch_size = aurora_fernet_scratch_size(token_size);
	uint8_t *scratch = memory_get(scratch_size);
	uint8_t *plain = NULL;
	size_t length = 0;

	if (fernet.work == NULL)
		REQUIRE(aurora_fernet_open(&fernet, key));
	if (aurora_fernet_decrypt(&fernet, token, token_size, 1795485831, age_limit, scratch, &plain,
							  &length) == AURORA_FERNET_OK)
	{
		REQUIRE(plain >= scratch && plain + length <= scratch + scratch_size);
		compare_again(&fernet, token, token_size, plain, length);
	}
	free(scratch);
}

/*
 * Takes the input for a token without its MAC, and adds the right one.
 */
static void
decrypt_signed(const uint8_t *data, size_t size, int64_t age_limit)
{
	uint8_t *raw = memory_get(size + MAC_SIZE);
	size_t token_size = aurora_base64url_size(size + MAC_SIZE);
	char *token = memory_get(token_size);

	memcpy(raw, data, size);
	REQUIRE(HMAC(EVP_sha256(), key, 16, raw, size, raw + size, NULL) != NULL);
	aurora_base64url_encode(raw, size + MAC_SIZE, token);
	decrypt(token, token_size, age_limit);
	free(token);
	free(raw);
}

/*
 * Encrypts the input, so that there are padded blocks of all kinds.
 */
static void
decrypt_encrypted(const uint8_t *data, size_t size, int64_t age_limit)
{
	AuroraFernet fernet;
	size_t token_size = aurora_fernet_token_size(size);
	uint8_t *scratch = memory_get(aurora_fernet_scratch_size(token_size));
	char *token = memory_get(token_size);

	REQUIRE(aurora_fernet_open(&fernet, key));
	REQUIRE(aurora_fernet_encrypt(&fernet, data, size, 1795485831, key, scratch, token));
	decrypt(token, token_size, age_limit);
	aurora_fernet_close(&fernet);
	free(token);
	free(scratch);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int64_t age_limit;

	if (size == 0)
		return 0;
	age_limit = data[0] & 4 ? 60 : -1;
	switch (data[0] & 3)
	{
		case 0:
			decrypt((const char *) data + 1, size - 1, age_limit);
			break;
		case 1:
			decrypt_encrypted(data + 1, size - 1, age_limit);
			break;
		default:
			decrypt_signed(data + 1, size - 1, age_limit);
	}
	return 0;
}
