/*
 * Fernet tokens, version 0x80: AES-128-CBC under HMAC-SHA256, as base64url.
 * Source: the Fernet specification, https://github.com/fernet/spec/blob/master/Spec.md.
 *
 * A "key" is 32 bytes, of which the first 16 sign and the last 16 encrypt; as text it has 44
 * characters. A token is version (1 byte), time (8, big-endian seconds since 1970), IV (16),
 * ciphertext (a multiple of 16) and HMAC (32).
 */
#ifndef AURORA_FERNET_H
#define AURORA_FERNET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AURORA_FERNET_KEY_SIZE 32
#define AURORA_FERNET_KEY_TEXT_SIZE 44
#define AURORA_FERNET_IV_SIZE 16
#define AURORA_FERNET_KEY_ID_SIZE 17 /* 16 hexadecimal digits and an end */
#define AURORA_FERNET_MAX_SKEW_S 60	 /* how far in the future a token with an age limit may be */

/* A key that is ready for use: what depends on it alone is computed once. One thread at a time. */
typedef struct AuroraFernet
{
	void *inner; /* EVP_MD_CTX that has taken in the key's pads */
	void *outer;
	void *work;
	void *encrypt; /* EVP_CIPHER_CTX */
	void *decrypt;
	char key_id[AURORA_FERNET_KEY_ID_SIZE];
} AuroraFernet;

typedef enum AuroraFernetResult
{
	AURORA_FERNET_OK,
	AURORA_FERNET_MALFORMED, /* no base64url, no version 0x80, or of an impossible length */
	AURORA_FERNET_WRONG_MAC, /* of another key, or changed */
	AURORA_FERNET_EXPIRED,	 /* older than the age limit */
	AURORA_FERNET_FUTURE,	 /* from more than AURORA_FERNET_MAX_SKEW_S ahead, with an age limit */
	AURORA_FERNET_BAD_PADDING,
	AURORA_FERNET_FAILED /* the library had no memory, or the buffer is too small */
} AuroraFernetResult;

/* Reads the text of a key: exactly 44 characters of base64url. */
extern bool aurora_fernet_parse_key(const char *text, size_t length,
									uint8_t key[AURORA_FERNET_KEY_SIZE]);

/*
 * Makes a key ready; false when the library has no memory. The key's id is an HMAC-SHA256 of a
 * fixed text under the key, cut to 64 bits, so that it tells nothing about the key.
 */
extern bool aurora_fernet_open(AuroraFernet *fernet, const uint8_t key[AURORA_FERNET_KEY_SIZE]);

/* Wipes and frees it; one that is all zeros is left alone. */
extern void aurora_fernet_close(AuroraFernet *fernet);

/* Characters of a token of so many bytes, without an end. */
extern size_t aurora_fernet_token_size(size_t bytes);

/*
 * Writes a token of aurora_fernet_token_size(length) characters. The IV must be random, and of this
 * token alone. The scratch has to have aurora_fernet_scratch_size(token size) bytes.
 */
extern bool aurora_fernet_encrypt(AuroraFernet *fernet, const uint8_t *plain, size_t length,
								  int64_t now, const uint8_t iv[AURORA_FERNET_IV_SIZE],
								  uint8_t *scratch, char *token);

/* Bytes of scratch that work on a token of so many characters takes. */
extern size_t aurora_fernet_scratch_size(size_t token_size);

/*
 * Opens a token; "plain" then points into the scratch, which the caller wipes. The MAC is checked
 * in constant time before anything is decrypted. Times are seconds since 1970; an age limit below 0
 * is none.
 */
extern AuroraFernetResult aurora_fernet_decrypt(AuroraFernet *fernet, const char *token,
												size_t token_size, int64_t now, int64_t age_limit,
												uint8_t *scratch, uint8_t **plain, size_t *length);

/* What went wrong, for a message. */
extern const char *aurora_fernet_error(AuroraFernetResult result);

#endif
