/*
 * Looks up the addresses of a host without blocking the loop: the system's resolver runs in a
 * thread, for as long as it takes.
 */
#ifndef COMMON_RESOLVE_H
#define COMMON_RESOLVE_H

#include <netinet/in.h>

#include "common/loop.h"

#define RESOLVE_ADDRESSES 8 /* of a host, at most */

typedef struct Resolve Resolve;

typedef struct Addresses
{
	int count; /* 0: the host has none, for that reason */
	char texts[RESOLVE_ADDRESSES]
			  [INET6_ADDRSTRLEN + 16]; /* as numbers, with the scope where there is one */
	char problem[160];
} Addresses;

/* The look-up is gone behind this call. */
typedef void (*ResolveDone)(void *context, const Addresses *addresses);

/* Is it a name that has to be looked up, not an address, and no folder of a socket? */
extern bool resolve_is_needed(const char *host);

/* Begins to look up a host; NULL when there is no thread for it. */
extern Resolve *resolve_start(Loop *loop, const char *host, ResolveDone done, void *context);

/* Nothing is told any more. The thread ends by itself. */
extern void resolve_cancel(Resolve *resolve);

#endif
