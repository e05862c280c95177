/*
 * What an event of a stream says.
 */
#include "gpu/chunk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gpu/json.h"

#define MOST_TOOLS 128

static char *
copy_scalar(const json_t *value)
{
	char *text = NULL;

	if (json_is_integer(value) &&
		asprintf(&text, "%lld", (long long) json_integer_value(value)) < 0)
		return NULL;
	return text ? text : json_copy_text(value);
}

bool
chunk_read_error(Chunk *chunk, const json_t *body)
{
	const json_t *error = json_object_get(body, "error");

	if (json_is_string(error)) /* as Ollama has it */
	{
		chunk->error = json_copy_text(error);
		return true;
	}
	if (error == NULL && json_text_of(body, "object") &&
		strcmp(json_text_of(body, "object"), "error") == 0)
		error = body; /* as old vLLM has it */
	if (error == NULL && json_is_integer(json_object_get(body, "code")) &&
		json_text_of(body, "message"))
		error = body;
	if (!json_is_object(error))
		return false;
	chunk->error = json_copy_text(json_object_get(error, "message"));
	if (chunk->error == NULL)
		chunk->error = memory_copy("an error without a message");
	chunk->error_type = copy_scalar(json_object_get(error, "type"));
	chunk->error_code = copy_scalar(json_object_get(error, "code"));
	return true;
}

/*
 * The text is in delta.content, message.content or text. Reasoning has fields of its own.
 */
static void
read_choice(Chunk *chunk, const json_t *choice)
{
	const json_t *message = json_object_get(choice, "delta");
	const json_t *calls;

	if (message == NULL)
		message = json_object_get(choice, "message");
	if (json_add_bytes(json_object_get(message, "content"), &chunk->bytes) ||
		json_add_bytes(json_object_get(choice, "text"), &chunk->bytes))
		chunk->has_text = chunk->bytes.size > 0;
	chunk->has_thought = json_is_string(json_object_get(message, "reasoning_content")) ||
						 json_is_string(json_object_get(message, "reasoning"));
	calls = json_object_get(message, "tool_calls");
	if (json_array_size(calls) > 0)
		chunk->tool_calls = json_deep_copy(calls);
	chunk->finish_reason = json_copy_text(json_object_get(choice, "finish_reason"));
}

static void
read_object(Chunk *chunk, const json_t *object)
{
	const json_t *choices = json_object_get(object, "choices");
	const json_t *usage = json_object_get(object, "usage");
	const json_t *timings = json_object_get(object, "timings");

	if (chunk_read_error(chunk, object))
	{
		chunk->kind = CHUNK_ERROR;
		return;
	}
	if (!json_is_array(choices) && !json_is_object(usage))
		return;
	chunk->kind = CHUNK_DATA;
	for (size_t i = 0; i < json_array_size(choices); i++)
		if (json_number_of(json_array_get(choices, i), "index", 0) == 0)
			read_choice(chunk, json_array_get(choices, i));
	if (json_is_object(usage))
		chunk->usage = json_deep_copy(usage);
	if (json_is_object(timings))
		chunk->timings = json_deep_copy(timings);
}

void
chunk_read(Chunk *chunk, const char *data, size_t size)
{
	json_t *object;

	memset(chunk, 0, sizeof(*chunk));
	while (size > 0 && strchr(" \t\r\n", data[size - 1]) && data[size - 1])
		size--;
	if (size == 6 && memcmp(data, "[DONE]", 6) == 0)
	{
		chunk->kind = CHUNK_DONE;
		return;
	}
	object = json_read(data, size);
	if (json_is_object(object))
		read_object(chunk, object);
	json_decref(object);
}

void
chunk_free(Chunk *chunk)
{
	buffer_wipe(&chunk->bytes);
	free(chunk->finish_reason);
	json_decref(chunk->tool_calls);
	json_decref(chunk->usage);
	json_decref(chunk->timings);
	free(chunk->error);
	free(chunk->error_type);
	free(chunk->error_code);
	memset(chunk, 0, sizeof(*chunk));
}

/* ---- tool calls ---- */

/*
 * Texts stay as they were read until all of them are joined: a character may be cut between two.
 */
static void
append_text(json_t *object, const char *key, const json_t *more)
{
	Buffer text = {0};

	if (!json_is_string(more))
		return;
	buffer_add(&text, json_string_value(json_object_get(object, key)),
			   json_string_length(json_object_get(object, key)));
	buffer_add(&text, json_string_value(more), json_string_length(more));
	(void) json_object_set_new(object, key, json_stringn_nocheck(text.bytes, text.size));
	buffer_wipe(&text);
}

static void
join_call(json_t *call, const json_t *fragment)
{
	const json_t *function = json_object_get(fragment, "function");
	json_t *joined = json_object_get(call, "function");

	if (json_is_string(json_object_get(fragment, "id")))
		(void) json_object_set(call, "id", json_object_get(fragment, "id"));
	append_text(joined, "name", json_object_get(function, "name"));
	append_text(joined, "arguments", json_object_get(function, "arguments"));
}

void
chunk_join_tools(json_t *calls, const json_t *fragments)
{
	for (size_t i = 0; i < json_array_size(fragments); i++)
	{
		const json_t *fragment = json_array_get(fragments, i);
		int64_t index = json_number_of(fragment, "index", (int64_t) i);

		if (index < 0 || index >= MOST_TOOLS)
			continue;
		while ((int64_t) json_array_size(calls) <= index)
			(void) json_array_append_new(calls, json_pack("{s:s,s:{s:s,s:s}}", "type", "function",
														  "function", "name", "", "arguments", ""));
		join_call(json_array_get(calls, (size_t) index), fragment);
	}
}

static void
clean_text(json_t *object, const char *key)
{
	char *text = json_copy_text(json_object_get(object, key));

	if (text)
		(void) json_object_set_new(object, key, json_string(text));
	free(text);
}

void
chunk_end_tools(json_t *calls)
{
	for (size_t i = 0; i < json_array_size(calls); i++)
	{
		json_t *call = json_array_get(calls, i);

		clean_text(call, "id");
		clean_text(json_object_get(call, "function"), "name");
		clean_text(json_object_get(call, "function"), "arguments");
	}
}
