/*
 * Memory that never runs out (the program ends instead), and a "buffer": bytes that grow. What a
 * buffer had is wiped whenever it moves or goes.
 */
#ifndef COMMON_MEMORY_H
#define COMMON_MEMORY_H

#include <stdarg.h>
#include <stddef.h>

#define STATUS_NO_MEMORY 2

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

/* Wipes and frees a text. */
extern void memory_wipe(char *text);

extern void buffer_add(Buffer *buffer, const void *bytes, size_t size);
extern void buffer_add_text(Buffer *buffer, const char *text);
extern void buffer_add_char(Buffer *buffer, char c);
extern void buffer_print(Buffer *buffer, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* Makes room for that many more bytes, and a zero behind them: where they go. */
extern char *buffer_room(Buffer *buffer, size_t size);

/* Removes that many bytes from the front. */
extern void buffer_remove(Buffer *buffer, size_t size);

/* Empties it, and keeps its memory. */
extern void buffer_clear(Buffer *buffer);

/* Wipes and frees it; it may be used again. */
extern void buffer_wipe(Buffer *buffer);

#endif
