/*
 * Reads server-sent events from bytes that come in pieces of any size.
 */
#ifndef GPU_SSE_H
#define GPU_SSE_H

#include <stdbool.h>
#include <stddef.h>

#include "common/memory.h"

#define SSE_LONGEST ((size_t) 4 << 20) /* bytes of an event */

/* Called with the data of each event, which may have any bytes in it; with a zero behind them. */
typedef void (*SseEvent)(void *context, const char *data, size_t size);

typedef struct Sse
{
	Buffer line; /* that has not ended yet */
	Buffer data; /* of the event that has not ended yet */
	bool has_data;
	bool is_after_cr;
	bool is_begun; /* something other than a byte order mark has come */
} Sse;

/* Reads the next bytes; false when an event is longer than any should be. */
extern bool sse_take(Sse *sse, const char *bytes, size_t size, SseEvent event, void *context);

/* No more comes: tells the last event, when only the empty line behind it is missing. */
extern void sse_end(Sse *sse, SseEvent event, void *context);

extern void sse_free(Sse *sse);

#endif
