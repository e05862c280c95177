/*
 * Keys, and positions in the log of changes, as texts.
 */
#ifndef GATEWAY_TOKEN_H
#define GATEWAY_TOKEN_H

#include <stdbool.h>

#include "gateway/pool.h"

/* Could it be a key? aur_ and 43 characters of base64url. */
extern bool token_is_key(const char *text);

/* Its SHA-256 as PostgreSQL writes bytea. */
extern void token_hash(const char *key, char to[KEY_HASH_SIZE]);

extern bool token_is_lsn(const char *text);

/* Its number, of a text that is one. */
extern uint64_t token_lsn(const char *text);

#endif
