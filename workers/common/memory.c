/*
 * Memory that never runs out, and buffers.
 */
#include "common/memory.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_ROOM 256

static _Noreturn void
run_out(void)
{
	fprintf(stderr, "%s: there is no memory\n", program_invocation_short_name);
	exit(STATUS_NO_MEMORY);
}

void *
memory_get(size_t size)
{
	void *memory = calloc(1, size > 0 ? size : 1);

	if (memory == NULL)
		run_out();
	return memory;
}

void *
memory_extend(void *array, size_t count, size_t element_size)
{
	void *moved;

	if (count & (count - 1))
		return array; /* between two powers there is room */
	if (count > SIZE_MAX / 2 / element_size)
		run_out();
	moved = memory_get((count > 0 ? count * 2 : 1) * element_size);
	if (count > 0)
	{
		memcpy(moved, array, count * element_size);
		explicit_bzero(array, count * element_size);
	}
	free(array);
	return moved;
}

char *
memory_copy(const char *text)
{
	size_t size;
	char *copy;

	if (text == NULL)
		return NULL;
	size = strlen(text) + 1;
	copy = memory_get(size);
	memcpy(copy, text, size);
	return copy;
}

void
memory_wipe(char *text)
{
	if (text)
		explicit_bzero(text, strlen(text));
	free(text);
}

static void
make_room(Buffer *buffer, size_t more)
{
	size_t room = buffer->room > 0 ? buffer->room : FIRST_ROOM;
	char *moved;

	if (more > SIZE_MAX / 4 - buffer->size)
		run_out();
	if (buffer->size + more < buffer->room)
		return;
	while (room <= buffer->size + more)
		room *= 2;
	moved = memory_get(room);
	if (buffer->bytes)
	{
		memcpy(moved, buffer->bytes, buffer->size);
		explicit_bzero(buffer->bytes, buffer->room);
		free(buffer->bytes);
	}
	buffer->bytes = moved;
	buffer->room = room;
}

void
buffer_add(Buffer *buffer, const void *bytes, size_t size)
{
	make_room(buffer, size);
	if (size > 0)
		memcpy(buffer->bytes + buffer->size, bytes, size);
	buffer->size += size;
	buffer->bytes[buffer->size] = '\0';
}

void
buffer_add_text(Buffer *buffer, const char *text)
{
	buffer_add(buffer, text, strlen(text));
}

void
buffer_add_char(Buffer *buffer, char c)
{
	buffer_add(buffer, &c, 1);
}

void
buffer_print(Buffer *buffer, const char *format, ...)
{
	va_list arguments;
	int size;

	va_start(arguments, format);
	size = vsnprintf(NULL, 0, format, arguments);
	va_end(arguments);
	if (size < 0)
		return;
	make_room(buffer, (size_t) size);
	va_start(arguments, format);
	vsnprintf(buffer->bytes + buffer->size, (size_t) size + 1, format, arguments);
	va_end(arguments);
	buffer->size += (size_t) size;
}

char *
buffer_room(Buffer *buffer, size_t size)
{
	make_room(buffer, size);
	return buffer->bytes + buffer->size;
}

void
buffer_remove(Buffer *buffer, size_t size)
{
	if (size == 0)
		return;
	memmove(buffer->bytes, buffer->bytes + size, buffer->size - size);
	explicit_bzero(buffer->bytes + buffer->size - size, size);
	buffer->size -= size;
	buffer->bytes[buffer->size] = '\0';
}

void
buffer_clear(Buffer *buffer)
{
	buffer->size = 0;
	if (buffer->bytes)
		buffer->bytes[0] = '\0';
}

void
buffer_wipe(Buffer *buffer)
{
	if (buffer->bytes)
		explicit_bzero(buffer->bytes, buffer->room);
	free(buffer->bytes);
	memset(buffer, 0, sizeof(*buffer));
}
