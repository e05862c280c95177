/*
 * What opening a Fernet token costs: with the library's own function, with nothing but the calls of
 * OpenSSL that it cannot do without, and with contexts that are made anew each time. Prints
 * nanoseconds, the least of several rounds that take turns: own floor naive.
 */
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "shared/base64url.h"
#include "shared/fernet.h"

#define CALLS 200000
#define ROUNDS 9
#define VALUE_SIZE 64
#define HEAD_SIZE 25
#define MAC_SIZE 32

static uint8_t key[AURORA_FERNET_KEY_SIZE];
static char token[1024];
static char classic[1024]; /* the same with + and /, as OpenSSL decodes it */
static size_t token_size;
static AuroraFernet fernet;
static EVP_MD_CTX *inner, *outer, *work;
static EVP_CIPHER_CTX *cipher;

static void
need(int done)
{
	if (!done)
		abort();
}

static double
now_ns(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double) time.tv_sec * 1e9 + (double) time.tv_nsec;
}

static void
open_own(void)
{
	uint8_t scratch[1024];
	uint8_t *plain;
	size_t length;

	need(aurora_fernet_decrypt(&fernet, token, token_size, 0, -1, scratch, &plain, &length) ==
			 AURORA_FERNET_OK &&
		 length == VALUE_SIZE);
}

static size_t
decode(uint8_t *raw)
{
	int size = EVP_DecodeBlock(raw, (const uint8_t *) classic, (int) token_size);
	size_t padding = (size_t) (classic[token_size - 1] == '=') + (classic[token_size - 2] == '=');

	need(size > 0);
	return (size_t) size - padding;
}

static void
open_floor(void)
{
	uint8_t raw[1024];
	uint8_t mac[MAC_SIZE];
	size_t size = decode(raw);
	int written;
	int last;

	need(EVP_MD_CTX_copy_ex(work, inner) && EVP_DigestUpdate(work, raw, size - MAC_SIZE) &&
		 EVP_DigestFinal_ex(work, mac, NULL) && EVP_MD_CTX_copy_ex(work, outer) &&
		 EVP_DigestUpdate(work, mac, MAC_SIZE) && EVP_DigestFinal_ex(work, mac, NULL));
	need(memcmp(mac, raw + size - MAC_SIZE, MAC_SIZE) == 0);
	need(EVP_DecryptInit_ex(cipher, NULL, NULL, NULL, raw + 9) &&
		 EVP_DecryptUpdate(cipher, raw + HEAD_SIZE, &written, raw + HEAD_SIZE,
						   (int) (size - HEAD_SIZE - MAC_SIZE)) &&
		 EVP_DecryptFinal_ex(cipher, raw + HEAD_SIZE + written, &last));
	need(written + last == VALUE_SIZE);
}

static void
open_naive(void)
{
	EVP_CIPHER_CTX *made = EVP_CIPHER_CTX_new();
	uint8_t raw[1024];
	uint8_t mac[MAC_SIZE];
	size_t size = decode(raw);
	int written;
	int last;

	need(HMAC(EVP_sha256(), key, 16, raw, size - MAC_SIZE, mac, NULL) != NULL);
	need(memcmp(mac, raw + size - MAC_SIZE, MAC_SIZE) == 0);
	need(EVP_DecryptInit_ex(made, EVP_aes_128_cbc(), NULL, key + 16, raw + 9) &&
		 EVP_DecryptUpdate(made, raw + HEAD_SIZE, &written, raw + HEAD_SIZE,
						   (int) (size - HEAD_SIZE - MAC_SIZE)) &&
		 EVP_DecryptFinal_ex(made, raw + HEAD_SIZE + written, &last));
	EVP_CIPHER_CTX_free(made);
}

static EVP_MD_CTX *
padded(uint8_t pad)
{
	EVP_MD_CTX *digest = EVP_MD_CTX_new();
	uint8_t block[64];

	memset(block, pad, sizeof(block));
	for (int i = 0; i < 16; i++)
		block[i] ^= key[i];
	need(EVP_DigestInit_ex(digest, EVP_sha256(), NULL) &&
		 EVP_DigestUpdate(digest, block, sizeof(block)));
	return digest;
}

static void
set_up(void)
{
	uint8_t value[VALUE_SIZE];
	uint8_t iv[AURORA_FERNET_IV_SIZE] = {1};
	uint8_t scratch[1024];

	for (size_t i = 0; i < sizeof(key); i++)
		key[i] = (uint8_t) (7 * i + 1);
	memset(value, 'x', sizeof(value));
	need(aurora_fernet_open(&fernet, key));
	token_size = aurora_fernet_token_size(sizeof(value));
	need(aurora_fernet_encrypt(&fernet, value, sizeof(value), 0, iv, scratch, token));
	for (size_t i = 0; i < token_size; i++)
		classic[i] = token[i] == '-' ? '+' : token[i] == '_' ? '/' : token[i];
	inner = padded(0x36);
	outer = padded(0x5c);
	work = EVP_MD_CTX_new();
	cipher = EVP_CIPHER_CTX_new();
	need(EVP_DecryptInit_ex(cipher, EVP_aes_128_cbc(), NULL, key + 16, NULL));
}

static double
time_of(void (*open)(void))
{
	double began = now_ns();

	for (int i = 0; i < CALLS; i++)
		open();
	return (now_ns() - began) / CALLS;
}

int
main(void)
{
	void (*const ways[3])(void) = {open_own, open_floor, open_naive};
	double least[3] = {1e9, 1e9, 1e9};

	set_up();
	for (int round = 0; round < ROUNDS; round++)
		for (int way = 0; way < 3; way++)
		{
			double ns = time_of(ways[way]);

			least[way] = ns < least[way] ? ns : least[way];
		}
	printf("%.0f %.0f %.0f\n", least[0], least[1], least[2]);
	return 0;
}
