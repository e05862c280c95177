/*
 * Fernet tokens: the examples of the specification (https://github.com/fernet/spec), and what holds
 * for all tokens.
 */
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdlib.h>
#include <string.h>

#include "shared/base64url.h"
#include "shared/fernet.h"
#include "tests/tap.h"

#define LONGEST (1 << 20)
#define NO_LIMIT (-1)

/* ---- the examples ---- */

#define SPEC_KEY "cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4="
#define SPEC_TIME 499162800 /* 1985-10-26 01:20:00 -07:00 */
#define SPEC_LIMIT 60
#define SPEC_TOKEN                                                                                \
	"gAAAAAAdwJ6wAAECAwQFBgcICQoLDA0ODy021cpGVWKZ_eEwCGM4BLLF_5CV9dOPmrhuVUPgJobwOz7JcbmrR64jVmp" \
	"U4IwqDA=="

static const struct
{
	const char *name;
	const char *token;
	int64_t now;
	AuroraFernetResult result;			 /* with the limit */
	AuroraFernetResult result_unlimited; /* without */
} invalid[] = {
	{"a wrong MAC",
	 "gAAAAAAdwJ6xAAECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPAl1-szkFVzXTuGb4hR8AKtwcaX1YdykQUFBQUFBQ"
	 "UFBQQ==",
	 SPEC_TIME + 1, AURORA_FERNET_WRONG_MAC, AURORA_FERNET_WRONG_MAC},
	{"a token that is too short", "gAAAAAAdwJ6xAAECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPA==",
	 SPEC_TIME + 1, AURORA_FERNET_MALFORMED, AURORA_FERNET_MALFORMED},
	{"no base64",
	 "%%%%%%%%%%%%%AECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPAl1-szkFVzXTuGb4hR8AKtwcaX1YdykRtfsH-"
	 "p1Ys"
	 "UD2Q==",
	 SPEC_TIME + 1, AURORA_FERNET_MALFORMED, AURORA_FERNET_MALFORMED},
	{"a ciphertext of no whole blocks",
	 "gAAAAAAdwJ6xAAECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPOm73QeoCk9uGib28Xe5vz6oxq5nmxbx_v7mrfyud"
	 "zUm",
	 SPEC_TIME + 1, AURORA_FERNET_MALFORMED, AURORA_FERNET_MALFORMED},
	{"wrong padding",
	 "gAAAAAAdwJ6xAAECAwQFBgcICQoLDA0ODz4LEpdELGQAad7aNEHbf-JkLPIpuiYRLQ3RtXatOYREu2FWke6CnJNYIbkuK"
	 "NqOhw==",
	 SPEC_TIME + 1, AURORA_FERNET_BAD_PADDING, AURORA_FERNET_BAD_PADDING},
	{"a time in the far future",
	 "gAAAAAAdwStRAAECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPAnja1xKYyhd-Y6mSkTOyTGJmw2Xc2a6kBd-iX9b_"
	 "qXQcw==",
	 SPEC_TIME + 1, AURORA_FERNET_FUTURE, AURORA_FERNET_OK},
	{"a token that is too old",
	 "gAAAAAAdwJ6xAAECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPAl1-szkFVzXTuGb4hR8AKtwcaX1YdykRtfsH-p1Y"
	 "sUD2Q==",
	 SPEC_TIME + 91, AURORA_FERNET_EXPIRED, AURORA_FERNET_OK},
	{"a wrong IV",
	 "gAAAAAAdwJ6xBQECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-"
	 "fWPAkLhFLHpGtDBRLRTZeUfWgHSv49TF2AUEZ1TIvcZj"
	 "K1zQ==",
	 SPEC_TIME + 1, AURORA_FERNET_BAD_PADDING, AURORA_FERNET_BAD_PADDING},
};

static AuroraFernet fernet;
static uint8_t *scratch;

static void
open_key(AuroraFernet *opened, const char *text)
{
	uint8_t key[AURORA_FERNET_KEY_SIZE];

	if (!aurora_fernet_parse_key(text, strlen(text), key) || !aurora_fernet_open(opened, key))
		abort();
}

static AuroraFernetResult
decrypt(const char *token, size_t size, int64_t now, int64_t limit, uint8_t **plain, size_t *length)
{
	return aurora_fernet_decrypt(&fernet, token, size, now, limit, scratch, plain, length);
}

static void
try_examples(void)
{
	uint8_t iv[AURORA_FERNET_IV_SIZE];
	char token[sizeof(SPEC_TOKEN)] = "";
	uint8_t *plain;
	size_t length = 0;

	for (int i = 0; i < AURORA_FERNET_IV_SIZE; i++)
		iv[i] = (uint8_t) i;
	ok(aurora_fernet_token_size(5) == strlen(SPEC_TOKEN) &&
		   aurora_fernet_encrypt(&fernet, (const uint8_t *) "hello", 5, SPEC_TIME, iv, scratch,
								 token),
	   "the specification's example is encrypted");
	is(token, SPEC_TOKEN, "and gives its token");
	ok(decrypt(SPEC_TOKEN, strlen(SPEC_TOKEN), SPEC_TIME + 1, SPEC_LIMIT, &plain, &length) ==
			   AURORA_FERNET_OK &&
		   length == 5 && memcmp(plain, "hello", 5) == 0,
	   "which opens again");
	for (size_t i = 0; i < sizeof(invalid) / sizeof(invalid[0]); i++)
	{
		const char *text = invalid[i].token;

		ok(decrypt(text, strlen(text), invalid[i].now, SPEC_LIMIT, &plain, &length) ==
			   invalid[i].result,
		   "%s does not open", invalid[i].name);
		ok(decrypt(text, strlen(text), invalid[i].now, NO_LIMIT, &plain, &length) ==
			   invalid[i].result_unlimited,
		   "... without a limit of age it %s",
		   invalid[i].result_unlimited == AURORA_FERNET_OK ? "does, as it is not too old then"
														   : "does neither");
	}
}

/* ---- limits of age ---- */

static void
try_ages(void)
{
	static const struct
	{
		int64_t now;
		int64_t limit;
		AuroraFernetResult result;
	} cases[] = {
		{SPEC_TIME, 0, AURORA_FERNET_OK},
		{SPEC_TIME + 1, 0, AURORA_FERNET_EXPIRED},
		{SPEC_TIME + 60, 60, AURORA_FERNET_OK},
		{SPEC_TIME + 61, 60, AURORA_FERNET_EXPIRED},
		{SPEC_TIME - 60, 60, AURORA_FERNET_OK},
		{SPEC_TIME - 61, 60, AURORA_FERNET_FUTURE},
		{SPEC_TIME - 61, -1, AURORA_FERNET_OK},
		{0, NO_LIMIT, AURORA_FERNET_OK},
		{INT64_MAX / 2, NO_LIMIT, AURORA_FERNET_OK},
	};
	uint8_t *plain;
	size_t length;
	bool right = true;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		right &= decrypt(SPEC_TOKEN, strlen(SPEC_TOKEN), cases[i].now, cases[i].limit, &plain,
						 &length) == cases[i].result;
	ok(right, "a token is as old as its limit at most, and from 60 seconds ahead");
}

/* ---- what holds for all tokens ---- */

static char *
make_token(const uint8_t *plain, size_t length, size_t *size)
{
	uint8_t iv[AURORA_FERNET_IV_SIZE];
	char *token;

	*size = aurora_fernet_token_size(length);
	token = malloc(*size);
	random_bytes(iv, sizeof(iv));
	if (!aurora_fernet_encrypt(&fernet, plain, length, (int64_t) random_below(UINT32_MAX), iv,
							   scratch, token))
		abort();
	return token;
}

static bool
comes_back(const uint8_t *bytes, size_t length)
{
	size_t size;
	char *token = make_token(bytes, length, &size);
	char *copy = malloc(size); /* of exactly that size, for the address sanitizer */
	uint8_t *plain;
	size_t found = 0;
	bool back;

	memcpy(copy, token, size);
	back = decrypt(copy, size, 0, NO_LIMIT, &plain, &found) == AURORA_FERNET_OK &&
		   found == length && memcmp(plain, bytes, length) == 0;
	free(copy);
	free(token);
	return back;
}

static void
try_round_trips(const uint8_t *bytes)
{
	size_t failed = 0;

	for (size_t length = 0; length <= 2000; length++)
		failed += !comes_back(bytes, length);
	ok(failed == 0, "texts of 0 to 2,000 bytes come back");
	ok(comes_back(bytes, LONGEST), "one of 1 MiB comes back");
	ok(comes_back(bytes, LONGEST - 1) && comes_back(bytes, LONGEST + 1), "and those beside it");
}

/*
 * Bits of the text of the token, and of the bytes that it stands for.
 */
static void
try_flips(const uint8_t *bytes)
{
	static const size_t lengths[] = {0, 1, 15, 16, 17, 300};
	size_t opened = 0;
	size_t tried = 0;

	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++)
	{
		uint8_t *plain;
		size_t length;
		size_t size;
		size_t raw_size;
		char *token = make_token(bytes, lengths[i], &size);
		uint8_t *raw = malloc(size);

		for (size_t bit = 0; bit < size * 8; bit++, tried++)
		{
			token[bit / 8] = (char) (token[bit / 8] ^ (1 << bit % 8));
			opened += decrypt(token, size, 0, NO_LIMIT, &plain, &length) == AURORA_FERNET_OK;
			token[bit / 8] = (char) (token[bit / 8] ^ (1 << bit % 8));
		}
		if (!aurora_base64url_decode(token, size, raw, &raw_size))
			abort();
		for (size_t bit = 0; bit < raw_size * 8; bit++, tried++)
		{
			raw[bit / 8] = (uint8_t) (raw[bit / 8] ^ (1 << bit % 8));
			aurora_base64url_encode(raw, raw_size, token);
			opened += decrypt(token, size, 0, NO_LIMIT, &plain, &length) == AURORA_FERNET_OK;
			raw[bit / 8] = (uint8_t) (raw[bit / 8] ^ (1 << bit % 8));
		}
		free(raw);
		free(token);
	}
	ok(opened == 0, "no token opens with one bit flipped (%zu tried)", tried);
}

static void
try_cuts(const uint8_t *bytes)
{
	size_t opened = 0;
	size_t tried = 0;

	for (size_t length = 0; length < 70; length++)
	{
		uint8_t *plain;
		size_t found;
		size_t size;
		char *token = make_token(bytes, length, &size);

		for (size_t cut = 0; cut < size; cut++, tried += 2)
		{
			opened += decrypt(token, cut, 0, NO_LIMIT, &plain, &found) == AURORA_FERNET_OK;
			opened +=
				decrypt(token + size - cut, cut, 0, NO_LIMIT, &plain, &found) == AURORA_FERNET_OK;
		}
		free(token);
	}
	ok(opened == 0, "no beginning and no end of a token opens (%zu tried)", tried);
}

static void
try_wrong_keys(const uint8_t *bytes)
{
	size_t size;
	char *token = make_token(bytes, 100, &size);
	size_t opened = 0;
	uint8_t *plain;
	size_t length;

	for (int i = 0; i < 1000; i++)
	{
		AuroraFernet other;
		uint8_t key[AURORA_FERNET_KEY_SIZE];

		random_bytes(key, sizeof(key));
		if (!aurora_fernet_open(&other, key))
			abort();
		opened += aurora_fernet_decrypt(&other, token, size, 0, NO_LIMIT, scratch, &plain,
										&length) != AURORA_FERNET_WRONG_MAC;
		aurora_fernet_close(&other);
	}
	ok(opened == 0, "no other key opens a token, and the MAC tells");
	free(token);
}

/*
 * Paddings, all signed rightly: only 1 to 16 of the same number may open.
 */
static void
try_paddings(const char *key_text)
{
	uint8_t key[AURORA_FERNET_KEY_SIZE];
	uint8_t raw[25 + 16 + 32] = {0x80};
	char token[100];
	size_t wrong = 0;
	EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();

	if (!aurora_fernet_parse_key(key_text, strlen(key_text), key))
		abort();
	for (int last = 0; last < 256; last++)
		for (int broken = 0; broken < 17; broken++)
		{
			uint8_t block[16];
			uint8_t *plain;
			size_t length;
			int written;
			bool is_good = last >= 1 && last <= 16 && broken >= last;

			memset(block, last, sizeof(block));
			if (broken < 16)
				block[15 - broken] ^= broken == 0 ? 0 : 0x55;
			if (broken == 0)
				is_good = last >= 1 && last <= 16; /* the last byte is left alone */
			if (!EVP_EncryptInit_ex(context, EVP_aes_128_cbc(), NULL, key + 16, raw + 9) ||
				!EVP_CIPHER_CTX_set_padding(context, 0) ||
				!EVP_EncryptUpdate(context, raw + 25, &written, block, sizeof(block)) ||
				!HMAC(EVP_sha256(), key, 16, raw, 41, raw + 41, NULL))
				abort();
			aurora_base64url_encode(raw, sizeof(raw), token);
			wrong += (decrypt(token, sizeof(token), 0, NO_LIMIT, &plain, &length) ==
					  AURORA_FERNET_OK) != is_good;
		}
	ok(wrong == 0, "of paddings only the right ones open");
	EVP_CIPHER_CTX_free(context);
}

/*
 * Ciphertexts of all sizes, signed rightly.
 */
static void
try_sizes(const char *key_text)
{
	uint8_t key[AURORA_FERNET_KEY_SIZE];
	uint8_t raw[25 + 64 + 32] = {0x80};
	char token[200];
	size_t wrong = 0;

	if (!aurora_fernet_parse_key(key_text, strlen(key_text), key))
		abort();
	for (size_t size = 0; size <= 64; size++)
	{
		size_t raw_size = 25 + size + 32;
		uint8_t *plain;
		size_t length;
		bool is_malformed;

		if (!HMAC(EVP_sha256(), key, 16, raw, 25 + size, raw + 25 + size, NULL))
			abort();
		aurora_base64url_encode(raw, raw_size, token);
		is_malformed = decrypt(token, aurora_base64url_size(raw_size), 0, NO_LIMIT, &plain,
							   &length) == AURORA_FERNET_MALFORMED;
		wrong += is_malformed != (size == 0 || size % 16 != 0);
		memset(raw + 25, 0, 64 + 32);
	}
	ok(wrong == 0, "a ciphertext has one or more whole blocks");
}

static void
try_versions(const uint8_t *bytes, const char *key_text)
{
	uint8_t key[AURORA_FERNET_KEY_SIZE];
	uint8_t raw[200];
	size_t size;
	size_t raw_size;
	char *token = make_token(bytes, 10, &size);
	size_t opened = 0;
	uint8_t *plain;
	size_t length;

	if (!aurora_fernet_parse_key(key_text, strlen(key_text), key) ||
		!aurora_base64url_decode(token, size, raw, &raw_size))
		abort();
	for (int version = 0; version < 256; version++)
	{
		raw[0] = (uint8_t) version;
		if (!HMAC(EVP_sha256(), key, 16, raw, raw_size - 32, raw + raw_size - 32, NULL))
			abort();
		aurora_base64url_encode(raw, raw_size, token);
		opened += decrypt(token, size, 0, NO_LIMIT, &plain, &length) == AURORA_FERNET_OK;
	}
	ok(opened == 1, "of versions only one opens");
	free(token);
}

/* ---- keys ---- */

static void
try_keys(void)
{
	uint8_t key[AURORA_FERNET_KEY_SIZE];
	AuroraFernet empty = {0};
	bool taken = false;

	is(fernet.key_id, "bf109974cb3ce7fb", "a key has its id");
	ok(aurora_fernet_parse_key(SPEC_KEY, 44, key), "a key of 44 characters is one");
	for (size_t size = 0; size < 44; size++)
		taken |= aurora_fernet_parse_key(SPEC_KEY, size, key);
	ok(!taken, "a shorter one is none");
	ok(!aurora_fernet_parse_key(SPEC_KEY "AAAA", 48, key), "nor a longer one");
	ok(!aurora_fernet_parse_key("cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e==", 44, key),
	   "nor one of 31 bytes");
	ok(!aurora_fernet_parse_key("cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4A", 44, key),
	   "nor one of 33 bytes");
	ok(!aurora_fernet_parse_key("cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e5=", 44, key),
	   "nor one with bits behind its end");
	aurora_fernet_close(&empty);
	ok(true, "one that was never opened can be closed");
}

int
main(void)
{
	uint8_t *bytes = malloc(LONGEST + 1);

	scratch = malloc(aurora_fernet_scratch_size(aurora_fernet_token_size(LONGEST + 1)));
	random_bytes(bytes, LONGEST + 1);
	open_key(&fernet, SPEC_KEY);
	try_examples();
	try_ages();
	try_keys();
	try_round_trips(bytes);
	try_flips(bytes);
	try_cuts(bytes);
	try_wrong_keys(bytes);
	try_paddings(SPEC_KEY);
	try_sizes(SPEC_KEY);
	try_versions(bytes, SPEC_KEY);
	aurora_fernet_close(&fernet);
	free(scratch);
	free(bytes);
	return done();
}
