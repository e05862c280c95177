/*
 * Arrays as PostgreSQL reads them.
 */
#include "common/array.h"

void
array_add_number(Buffer *array, int64_t number)
{
	buffer_print(array, "%c%lld", array->size > 0 ? ',' : '{', (long long) number);
}

void
array_add_text(Buffer *array, const char *text, size_t size)
{
	buffer_add_text(array, array->size > 0 ? ",\"" : "{\"");
	for (size_t i = 0; i < size; i++)
	{
		if (text[i] == '"' || text[i] == '\\')
			buffer_add_char(array, '\\');
		buffer_add_char(array, text[i]);
	}
	buffer_add_char(array, '"');
}

const char *
array_end(Buffer *array)
{
	buffer_add_text(array, array->size > 0 ? "}" : "{}");
	return array->bytes;
}
