/*
 * A "chunk" is what an event of a stream says, or a whole answer that came without one, of
 * /v1/chat/completions or /v1/completions.
 */
#ifndef GPU_CHUNK_H
#define GPU_CHUNK_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "common/memory.h"

typedef enum ChunkKind
{
	CHUNK_BROKEN, /* no JSON, or not of that form */
	CHUNK_DATA,
	CHUNK_ERROR,
	CHUNK_DONE /* [DONE] */
} ChunkKind;

typedef struct Chunk
{
	ChunkKind kind;
	bool has_text;
	Buffer bytes;		 /* of the text */
	bool has_thought;	 /* the model reasons, which is no part of its answer */
	char *finish_reason; /* NULL as long as there is none */
	json_t *tool_calls;	 /* fragments, as they came */
	json_t *usage;
	json_t *timings; /* of llama-server */
	char *error;	 /* what is wrong */
	char *error_type;
	char *error_code;
} Chunk;

extern void chunk_read(Chunk *chunk, const char *data, size_t size);
extern void chunk_free(Chunk *chunk);

/* Reads what an error says, from the body of an answer or an event; false when there is none. */
extern bool chunk_read_error(Chunk *chunk, const json_t *body);

/* Joins fragments of tool calls into an array, by their indexes. */
extern void chunk_join_tools(json_t *calls, const json_t *fragments);

/* All fragments are there: makes texts of them that can be stored. */
extern void chunk_end_tools(json_t *calls);

#endif
