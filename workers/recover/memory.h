/*
 * Memory that never runs out (the program ends instead), and a "buffer": bytes that grow. What a
 * buffer had is wiped whenever it moves or goes.
 */
#ifndef RECOVER_MEMORY_H
#define RECOVER_MEMORY_H

#include <stddef.h>

typedef struct Buffer
{
	char *bytes; /* with a zero behind them, once something was added */
	size_t size;
	size_t room;
} Buffer;

/* Memory of zeros. */
extern void *memory_get(size_t size);

/*
 * An array of "count" elements with room for one more; what was there stays. Where the array lies
 * changes only when the count is a power of two.
 */
extern void *memory_extend(void *array, size_t count, size_t element_size);

/* A copy of a text; NULL of NULL. */
extern char *memory_copy(const char *text);

extern void buffer_add(Buffer *buffer, const void *bytes, size_t size);
extern void buffer_add_text(Buffer *buffer, const char *text);
extern void buffer_add_char(Buffer *buffer, char c);

/* Empties it, and keeps its memory. */
extern void buffer_clear(Buffer *buffer);

/* Wipes and frees it; it may be used again. */
extern void buffer_wipe(Buffer *buffer);

#endif
