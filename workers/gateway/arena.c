/*
 * Memory for what lives as long as a request.
 */
#include "gateway/arena.h"

#include <stdlib.h>
#include <string.h>

#include "common/memory.h"

char *
arena_get(Arena *arena, size_t size)
{
	size_t taken = (size + 7) & ~(size_t) 7;
	ArenaBlock *block;

	if (taken <= ARENA_FIRST - arena->used)
	{
		char *piece = arena->first + arena->used;

		arena->used += taken;
		return piece;
	}
	block = memory_get(sizeof(ArenaBlock) + size);
	block->size = size;
	block->next = arena->blocks;
	arena->blocks = block;
	return block->bytes;
}

char *
arena_copy(Arena *arena, const char *bytes, size_t size)
{
	char *copy = arena_get(arena, size + 1);

	memcpy(copy, bytes, size);
	copy[size] = '\0';
	return copy;
}

void
arena_clear(Arena *arena)
{
	explicit_bzero(arena->first, arena->used);
	arena->used = 0;
	while (arena->blocks)
	{
		ArenaBlock *block = arena->blocks;

		arena->blocks = block->next;
		explicit_bzero(block->bytes, block->size);
		free(block);
	}
}
