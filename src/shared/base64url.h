/*
 * Base64 with the alphabet of URLs (RFC 4648, section 5), always padded, and read strictly: what
 * two texts decode to is the same only when the texts are.
 */
#ifndef AURORA_BASE64URL_H
#define AURORA_BASE64URL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How many characters so many bytes take. */
extern size_t aurora_base64url_size(size_t bytes);

/* Writes that many characters, and no end. */
extern void aurora_base64url_encode(const uint8_t *bytes, size_t length, char *text);

/*
 * Writes at most length / 4 * 3 bytes and says how many. False for a length that is no multiple of
 * 4, a character of no base64url, padding in the middle, and bits that no encoder would set.
 */
extern bool aurora_base64url_decode(const char *text, size_t length, uint8_t *bytes,
									size_t *decoded);

#endif
