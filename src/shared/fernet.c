/*
 * Fernet tokens. The contexts of OpenSSL are kept with the key, and the HMAC starts from digests
 * that have taken in its pads, so that a token costs no set-up.
 */
#include "shared/fernet.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#include "shared/base64url.h"

#define VERSION 0x80
#define HEAD_SIZE 25 /* version, time and IV */
#define MAC_SIZE 32
#define BLOCK_SIZE 16
#define LEAST_SIZE (HEAD_SIZE + BLOCK_SIZE + MAC_SIZE)
#define HALF_KEY_SIZE 16
#define DIGEST_BLOCK_SIZE 64
#define KEY_ID_TEXT "aurora secrets key id"

bool
aurora_fernet_parse_key(const char *text, size_t length, uint8_t key[AURORA_FERNET_KEY_SIZE])
{
	uint8_t bytes[AURORA_FERNET_KEY_SIZE + 1];
	size_t decoded;
	bool valid = length == AURORA_FERNET_KEY_TEXT_SIZE &&
				 aurora_base64url_decode(text, length, bytes, &decoded) &&
				 decoded == AURORA_FERNET_KEY_SIZE;

	if (valid)
		memcpy(key, bytes, AURORA_FERNET_KEY_SIZE);
	OPENSSL_cleanse(bytes, sizeof(bytes));
	return valid;
}

/* ---- keys ---- */

static bool
take_in_pad(EVP_MD_CTX *digest, const uint8_t key[HALF_KEY_SIZE], uint8_t pad)
{
	uint8_t block[DIGEST_BLOCK_SIZE];
	bool taken;

	memset(block, pad, sizeof(block));
	for (int i = 0; i < HALF_KEY_SIZE; i++)
		block[i] ^= key[i];
	taken = EVP_DigestInit_ex(digest, EVP_sha256(), NULL) &&
			EVP_DigestUpdate(digest, block, sizeof(block));
	OPENSSL_cleanse(block, sizeof(block));
	return taken;
}

static bool
hmac(AuroraFernet *fernet, const void *bytes, size_t length, uint8_t mac[MAC_SIZE])
{
	uint8_t digest[MAC_SIZE];

	return EVP_MD_CTX_copy_ex(fernet->work, fernet->inner) &&
		   EVP_DigestUpdate(fernet->work, bytes, length) &&
		   EVP_DigestFinal_ex(fernet->work, digest, NULL) &&
		   EVP_MD_CTX_copy_ex(fernet->work, fernet->outer) &&
		   EVP_DigestUpdate(fernet->work, digest, sizeof(digest)) &&
		   EVP_DigestFinal_ex(fernet->work, mac, NULL);
}

static bool
make_contexts(AuroraFernet *fernet, const uint8_t key[AURORA_FERNET_KEY_SIZE])
{
	fernet->inner = EVP_MD_CTX_new();
	fernet->outer = EVP_MD_CTX_new();
	fernet->work = EVP_MD_CTX_new();
	fernet->encrypt = EVP_CIPHER_CTX_new();
	fernet->decrypt = EVP_CIPHER_CTX_new();
	return fernet->inner && fernet->outer && fernet->work && fernet->encrypt && fernet->decrypt &&
		   take_in_pad(fernet->inner, key, 0x36) && take_in_pad(fernet->outer, key, 0x5c) &&
		   EVP_EncryptInit_ex(fernet->encrypt, EVP_aes_128_cbc(), NULL, key + HALF_KEY_SIZE,
							  NULL) &&
		   EVP_DecryptInit_ex(fernet->decrypt, EVP_aes_128_cbc(), NULL, key + HALF_KEY_SIZE, NULL);
}

bool
aurora_fernet_open(AuroraFernet *fernet, const uint8_t key[AURORA_FERNET_KEY_SIZE])
{
	uint8_t mac[MAC_SIZE];

	memset(fernet, 0, sizeof(*fernet));
	if (!make_contexts(fernet, key) || !hmac(fernet, KEY_ID_TEXT, strlen(KEY_ID_TEXT), mac))
	{
		aurora_fernet_close(fernet);
		return false;
	}
	for (int i = 0; i < (AURORA_FERNET_KEY_ID_SIZE - 1) / 2; i++)
		snprintf(fernet->key_id + (ptrdiff_t) 2 * i, 3, "%02x", mac[i]);
	return true;
}

void
aurora_fernet_close(AuroraFernet *fernet)
{
	EVP_MD_CTX_free(fernet->inner);
	EVP_MD_CTX_free(fernet->outer);
	EVP_MD_CTX_free(fernet->work);
	EVP_CIPHER_CTX_free(fernet->encrypt);
	EVP_CIPHER_CTX_free(fernet->decrypt);
	memset(fernet, 0, sizeof(*fernet));
}

/* ---- tokens ---- */

static size_t
raw_size(size_t bytes)
{
	return HEAD_SIZE + (bytes / BLOCK_SIZE + 1) * BLOCK_SIZE + MAC_SIZE;
}

size_t
aurora_fernet_token_size(size_t bytes)
{
	return aurora_base64url_size(raw_size(bytes));
}

size_t
aurora_fernet_scratch_size(size_t token_size)
{
	return token_size / 4 * 3 + BLOCK_SIZE;
}

bool
aurora_fernet_encrypt(AuroraFernet *fernet, const uint8_t *plain, size_t length, int64_t now,
					  const uint8_t iv[AURORA_FERNET_IV_SIZE], uint8_t *scratch, char *token)
{
	size_t size = raw_size(length);
	uint8_t *cipher = scratch + HEAD_SIZE;
	int written;
	int last;

	if (length > INT32_MAX / 2)
		return false;
	scratch[0] = VERSION;
	for (int i = 0; i < 8; i++)
		scratch[1 + i] = (uint8_t) ((uint64_t) now >> (56 - 8 * i));
	memcpy(scratch + 9, iv, AURORA_FERNET_IV_SIZE);
	if (!EVP_EncryptInit_ex(fernet->encrypt, NULL, NULL, NULL, iv) ||
		!EVP_EncryptUpdate(fernet->encrypt, cipher, &written, plain, (int) length) ||
		!EVP_EncryptFinal_ex(fernet->encrypt, cipher + written, &last) ||
		!hmac(fernet, scratch, size - MAC_SIZE, scratch + size - MAC_SIZE))
		return false;
	aurora_base64url_encode(scratch, size, token);
	return true;
}

static AuroraFernetResult
check_age(const uint8_t *raw, int64_t now, int64_t age_limit)
{
	uint64_t made_at = 0;

	if (age_limit < 0)
		return AURORA_FERNET_OK;
	for (int i = 0; i < 8; i++)
		made_at = made_at << 8 | raw[1 + i];
	if (made_at > (uint64_t) now + AURORA_FERNET_MAX_SKEW_S)
		return AURORA_FERNET_FUTURE;
	if (made_at + (uint64_t) age_limit < (uint64_t) now)
		return AURORA_FERNET_EXPIRED;
	return AURORA_FERNET_OK;
}

static AuroraFernetResult
decrypt_in_place(AuroraFernet *fernet, uint8_t *raw, size_t size, size_t *length)
{
	uint8_t *cipher = raw + HEAD_SIZE;
	int cipher_size = (int) (size - HEAD_SIZE - MAC_SIZE);
	int written;
	int last;

	if (!EVP_DecryptInit_ex(fernet->decrypt, NULL, NULL, NULL, raw + 9) ||
		!EVP_DecryptUpdate(fernet->decrypt, cipher, &written, cipher, cipher_size))
		return AURORA_FERNET_FAILED;
	if (!EVP_DecryptFinal_ex(fernet->decrypt, cipher + written, &last))
		return AURORA_FERNET_BAD_PADDING;
	*length = (size_t) written + (size_t) last;
	return AURORA_FERNET_OK;
}

AuroraFernetResult
aurora_fernet_decrypt(AuroraFernet *fernet, const char *token, size_t token_size, int64_t now,
					  int64_t age_limit, uint8_t *scratch, uint8_t **plain, size_t *length)
{
	uint8_t mac[MAC_SIZE];
	AuroraFernetResult result;
	size_t size;

	if (token_size > INT32_MAX / 2 || !aurora_base64url_decode(token, token_size, scratch, &size) ||
		size < LEAST_SIZE || (size - LEAST_SIZE) % BLOCK_SIZE != 0 || scratch[0] != VERSION)
		return AURORA_FERNET_MALFORMED;
	if (!hmac(fernet, scratch, size - MAC_SIZE, mac))
		return AURORA_FERNET_FAILED;
	if (CRYPTO_memcmp(mac, scratch + size - MAC_SIZE, MAC_SIZE) != 0)
		return AURORA_FERNET_WRONG_MAC;
	result = check_age(scratch, now, age_limit);
	if (result != AURORA_FERNET_OK)
		return result;
	*plain = scratch + HEAD_SIZE;
	return decrypt_in_place(fernet, scratch, size, length);
}

const char *
aurora_fernet_error(AuroraFernetResult result)
{
	switch (result)
	{
		case AURORA_FERNET_OK:
			return "it is well";
		case AURORA_FERNET_MALFORMED:
			return "it is no Fernet token";
		case AURORA_FERNET_WRONG_MAC:
			return "it was made with another key, or changed since";
		case AURORA_FERNET_EXPIRED:
			return "it is older than allowed";
		case AURORA_FERNET_FUTURE:
			return "it is from the future";
		case AURORA_FERNET_BAD_PADDING:
			return "its padding is wrong";
		case AURORA_FERNET_FAILED:
			break;
	}
	return "the cryptographic library failed";
}
