/*
 * Opens the values of a store, and writes them.
 */
#ifndef RECOVER_RECOVER_H
#define RECOVER_RECOVER_H

#include <stdbool.h>

#include "recover/keys.h"
#include "recover/output.h"
#include "recover/store.h"

typedef enum Format
{
	FORMAT_JSON,
	FORMAT_ENV
} Format;

/* Which values, and how. */
typedef struct Wish
{
	const char *service; /* a pattern */
	Format format;
	bool all_versions;
	bool names_only;
} Wish;

/* Writes what the wish names. What cannot be opened is said by its name, and the rest is written.
 */
extern void recover_store(Store *store, const KeyRing *ring, const Wish *wish, Output *output);

#endif
