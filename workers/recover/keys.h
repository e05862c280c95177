/*
 * A "key ring": master keys, each a Fernet key, of one or more files.
 */
#ifndef RECOVER_KEYS_H
#define RECOVER_KEYS_H

#include <stddef.h>

#include "shared/fernet.h"

typedef struct KeyRing
{
	AuroraFernet *keys;
	size_t count;
} KeyRing;

/* Opens a key file, or ends the program when others could read it too. */
extern int keys_open(const char *path);

/* Reads keys from an open file, which it closes, or ends the program when it has none. */
extern void keys_read(KeyRing *ring, int fd, const char *path);

/* Adds the keys of a text, one a line; how many lines are neither keys nor empty nor comments. */
extern size_t keys_add(KeyRing *ring, const char *text, size_t size, const char *path);

extern void keys_close(KeyRing *ring);

#endif
