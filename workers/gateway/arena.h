/*
 * Memory for what lives as long as a request: taken piece by piece, wiped and given back at once.
 */
#ifndef GATEWAY_ARENA_H
#define GATEWAY_ARENA_H

#include <stddef.h>

#define ARENA_FIRST 2048

typedef struct ArenaBlock
{
	struct ArenaBlock *next;
	size_t size;
	char bytes[];
} ArenaBlock;

typedef struct Arena
{
	char first[ARENA_FIRST];
	size_t used;
	ArenaBlock *blocks; /* what did not fit */
} Arena;

extern char *arena_get(Arena *arena, size_t size);

/* A copy with a zero behind it. */
extern char *arena_copy(Arena *arena, const char *bytes, size_t size);
extern void arena_clear(Arena *arena);

#endif
