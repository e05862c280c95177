/*
 * Keys and positions.
 */
#include "gateway/token.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#define PREFIX "aur_"
#define KEY_LENGTH 47

bool
token_is_key(const char *text)
{
	return strncmp(text, PREFIX, 4) == 0 && strlen(text) == KEY_LENGTH &&
		   strspn(text + 4, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") ==
			   KEY_LENGTH - 4;
}

void
token_hash(const char *key, char to[KEY_HASH_SIZE])
{
	static const char digits[] = "0123456789abcdef";
	static EVP_MD *sha256;
	static EVP_MD_CTX *context;
	unsigned char hash[32];

	if (context == NULL)
	{
		sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
		context = EVP_MD_CTX_new();
	}
	if (sha256 == NULL || context == NULL || !EVP_DigestInit_ex2(context, sha256, NULL) ||
		!EVP_DigestUpdate(context, key, strlen(key)) || !EVP_DigestFinal_ex(context, hash, NULL))
		abort();
	memcpy(to, "\\x", 2);
	for (int i = 0; i < 32; i++)
	{
		to[2 + 2 * i] = digits[hash[i] >> 4];
		to[3 + 2 * i] = digits[hash[i] & 15];
	}
	to[KEY_HASH_SIZE - 1] = '\0';
}

bool
token_is_lsn(const char *text)
{
	static const char digits[] = "0123456789abcdefABCDEF";
	size_t high = strspn(text, digits);
	size_t low;

	if (high < 1 || high > 8 || text[high] != '/')
		return false;
	low = strspn(text + high + 1, digits);
	return low >= 1 && low <= 8 && text[high + 1 + low] == '\0';
}

uint64_t
token_lsn(const char *text)
{
	char *slash;
	uint64_t high = strtoull(text, &slash, 16);

	return high << 32 | strtoull(slash + 1, NULL, 16);
}
