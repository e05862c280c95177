/*
 * What the fuzzers share: fixed keys, and tokens that open, which no fuzzer would find.
 */
#ifndef FUZZ_HARNESS_H
#define FUZZ_HARNESS_H

#include <stdint.h>

#include "recover/keys.h"
#include "common/memory.h"
#include "recover/recover.h"
#include "recover/store.h"

/* Ends the fuzzer as a crash does. */
#define REQUIRE(condition)    \
	do                        \
	{                         \
		if (!(condition))     \
			__builtin_trap(); \
	} while (0)

extern int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The ring of the master key. */
extern const KeyRing *harness_ring(void);

/*
 * Adds the input, with tokens in the place of some bytes: 1 and 2 are data keys under the master
 * key, 3 and 4 values under these.
 */
extern void harness_expand(Buffer *to, const uint8_t *data, size_t size);

/* What comes out of the stores, which it frees; the text is to be freed. */
extern char *harness_recover(Stores *stores, const Wish *wish);

#endif
