/*
 * A generation of the test server.
 */
#include "gpu/testserver/answer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STANDARD_LIMIT 64
#define DIMENSIONS 8

/* ---- what is asked for ---- */

static void
read_part(Answer *answer, const json_t *content)
{
	if (json_is_string(content))
		text_read(&answer->text, json_string_value(content));
	for (size_t i = 0; i < json_array_size(content); i++)
	{
		const char *text = json_string_value(json_object_get(json_array_get(content, i), "text"));

		if (text)
			text_read(&answer->text, text);
	}
}

/*
 * The assistant's last message, when it is the last of all, is the beginning of the answer.
 */
static void
read_messages(Answer *answer, const json_t *messages)
{
	size_t count = json_array_size(messages);
	const char *role = NULL;

	if (count == 0)
		answer->problem = memory_copy("'messages' is required");
	for (size_t i = 0; i < count; i++)
	{
		const json_t *message = json_array_get(messages, i);

		role = json_string_value(json_object_get(message, "role"));
		if (role == NULL)
		{
			answer->problem = memory_copy("a message lacks its role");
			return;
		}
		text_read(&answer->text, role);
		text_read(&answer->text, ": ");
		read_part(answer, json_object_get(message, "content"));
		if (i + 1 < count || strcmp(role, "assistant") != 0)
			text_read(&answer->text, "\n");
	}
	if (role && strcmp(role, "assistant") != 0)
		text_read(&answer->text, "assistant: ");
}

static void
read_limit(Answer *answer, const json_t *body)
{
	const json_t *limit = json_object_get(body, "max_completion_tokens");

	if (limit == NULL)
		limit = json_object_get(body, "max_tokens");
	answer->limit = json_is_integer(limit) ? (int) json_integer_value(limit) : STANDARD_LIMIT;
	if (answer->limit < 1)
		answer->problem = memory_copy("max_tokens is at least 1");
}

Answer *
answer_make(const json_t *body, bool is_chat)
{
	Answer *answer = memory_get(sizeof(Answer));
	const char *model = json_string_value(json_object_get(body, "model"));
	const char *prompt = json_string_value(json_object_get(body, "prompt"));

	answer->is_chat = is_chat;
	answer->is_stream = json_is_true(json_object_get(body, "stream"));
	answer->has_usage =
		json_is_true(json_object_get(json_object_get(body, "stream_options"), "include_usage"));
	answer->model = memory_copy(model ? model : "");
	answer->prompt_tokens = 5;
	text_begin(&answer->text);
	if (is_chat)
		read_messages(answer, json_object_get(body, "messages"));
	else if (prompt)
		text_read(&answer->text, prompt);
	else
		answer->problem = memory_copy("'prompt' is required");
	if (answer->problem == NULL)
		read_limit(answer, body);
	return answer;
}

void
answer_free(Answer *answer)
{
	if (answer == NULL)
		return;
	free(answer->model);
	free(answer->problem);
	buffer_wipe(&answer->carry);
	free(answer);
}

/* ---- events ---- */

/*
 * Adds a text as JSON, with whatever bytes.
 */
static void
add_text(Buffer *event, const Buffer *text)
{
	buffer_add_char(event, '"');
	for (size_t i = 0; i < text->size; i++)
	{
		unsigned char c = (unsigned char) text->bytes[i];

		if (c == '"' || c == '\\')
			buffer_print(event, "\\%c", c);
		else if (c < ' ')
			buffer_print(event, "\\u%04x", c);
		else
			buffer_add_char(event, (char) c);
	}
	buffer_add_char(event, '"');
}

static void
add_chunk(const Answer *answer, Buffer *event, const Buffer *text, const char *finish)
{
	buffer_print(event,
				 "data: {\"id\":\"test-1\",\"object\":\"%s\",\"created\":1795485831,"
				 "\"model\":\"%s\",\"choices\":[{\"index\":0,",
				 answer->is_chat ? "chat.completion.chunk" : "text_completion", answer->model);
	buffer_add_text(event, answer->is_chat ? "\"delta\":{" : "\"text\":");
	if (text)
	{
		if (answer->is_chat)
			buffer_add_text(event, "\"content\":");
		add_text(event, text);
	}
	else if (!answer->is_chat)
		buffer_add_text(event, "\"\"");
	buffer_add_text(event, answer->is_chat ? "}," : ",");
	buffer_print(event, "\"finish_reason\":%s%s%s}]", finish ? "\"" : "", finish ? finish : "null",
				 finish ? "\"" : "");
	buffer_add_text(event, answer->has_usage ? ",\"usage\":null}\n\n" : "}\n\n");
}

static void
add_usage(const Answer *answer, Buffer *event)
{
	buffer_print(event,
				 "data: {\"id\":\"test-1\",\"object\":\"chat.completion.chunk\","
				 "\"created\":1795485831,\"model\":\"%s\",\"choices\":[],\"usage\":"
				 "{\"prompt_tokens\":%d,\"completion_tokens\":%d,\"total_tokens\":%d},"
				 "\"timings\":{\"cache_n\":0,\"prompt_n\":%d,\"prompt_ms\":1.5,\"predicted_n\":%d,"
				 "\"predicted_ms\":%d.5}}\n\n",
				 answer->model, answer->prompt_tokens, answer->count,
				 answer->prompt_tokens + answer->count, answer->prompt_tokens, answer->count,
				 answer->count);
}

/*
 * What a fault does to a token.
 */
static void
spoil(Answer *answer, Buffer *token)
{
	Buffer whole = {0};

	if (answer->fault == FAULT_UTF8 && answer->count % 3 == 1)
		buffer_add_text(token, answer->count % 2 ? "\xff" : "\xe2\x82");
	if (answer->fault == FAULT_NUL && answer->count % 3 == 1)
		buffer_add_char(token, '\0');
	if (answer->fault != FAULT_SPLIT)
		return;
	/* Each token keeps its last byte for the next. */
	buffer_add(&whole, answer->carry.bytes, answer->carry.size);
	buffer_add(&whole, token->bytes, token->size);
	buffer_clear(&answer->carry);
	buffer_clear(token);
	buffer_add(token, whole.bytes, whole.size - 1);
	buffer_add(&answer->carry, whole.bytes + whole.size - 1, 1);
	buffer_wipe(&whole);
}

static void
add_token(Answer *answer, Buffer *event)
{
	Buffer token = {0};
	bool goes_on = answer->fault == FAULT_LONG || answer->count < answer->limit;
	const char *finish = "length";

	if (goes_on && !text_next(&answer->text, &token))
	{
		/* A text without end says the same for ever. */
		goes_on = answer->fault == FAULT_LONG;
		finish = "stop";
		if (goes_on)
			text_read(&answer->text, "\n");
		buffer_add_text(&token, goes_on ? "\n" : "");
	}
	if (goes_on)
	{
		answer->count++;
		spoil(answer, &token);
		add_chunk(answer, event, &token, NULL);
	}
	else
	{
		add_chunk(answer, event, answer->carry.size > 0 ? &answer->carry : NULL, finish);
		answer->phase = answer->has_usage ? 2 : 3;
	}
	buffer_wipe(&token);
}

static void
add_head(Answer *answer, Buffer *event)
{
	buffer_add_text(event, ": a comment\n\n");
	if (answer->is_chat)
	{
		Buffer none = {0};

		add_chunk(answer, event, &none, NULL);
	}
	answer->phase = 1;
}

bool
answer_next(Answer *answer, Buffer *event)
{
	switch (answer->phase)
	{
		case 0:
			add_head(answer, event);
			return true;
		case 1:
			if (answer->fault == FAULT_ERROR && answer->count == 3)
			{
				buffer_add_text(event, "data: {\"error\":{\"message\":\"the engine broke\","
									   "\"type\":\"server_error\",\"code\":500}}\n\n");
				answer->phase = 3;
			}
			else if (answer->fault == FAULT_GARBAGE && answer->count == 3)
				buffer_add_text(event, "data: {\"choices\":[{\"del\n\n");
			else
				add_token(answer, event);
			return true;
		case 2:
			add_usage(answer, event);
			answer->phase = 3;
			return true;
		case 3:
			buffer_add_text(event, "data: [DONE]\n\n");
			answer->phase = 4;
			return true;
		default:
			return false;
	}
}

/* ---- as a whole ---- */

json_t *
answer_whole(Answer *answer)
{
	Buffer text = {0};
	const char *finish = "length";
	json_t *choice;

	buffer_add_text(&text, "");
	while (answer->count < answer->limit)
	{
		if (!text_next(&answer->text, &text))
		{
			finish = "stop";
			break;
		}
		answer->count++;
	}
	choice =
		answer->is_chat
			? json_pack("{s:i,s:{s:s,s:s},s:s}", "index", 0, "message", "role", "assistant",
						"content", text.bytes, "finish_reason", finish)
			: json_pack("{s:i,s:s,s:s}", "index", 0, "text", text.bytes, "finish_reason", finish);
	buffer_wipe(&text);
	return json_pack("{s:s,s:s,s:i,s:s,s:[o],s:{s:i,s:i,s:i}}", "id", "test-1", "object",
					 answer->is_chat ? "chat.completion" : "text_completion", "created", 1795485831,
					 "model", answer->model, "choices", choice, "usage", "prompt_tokens",
					 answer->prompt_tokens, "completion_tokens", answer->count, "total_tokens",
					 answer->prompt_tokens + answer->count);
}

static json_t *
make_vector(const char *input, int index)
{
	json_t *vector = json_array();
	TextState state;

	text_begin(&state);
	text_read(&state, input);
	for (int i = 0; i < DIMENSIONS; i++)
	{
		text_read(&state, "x");
		(void) json_array_append_new(vector,
									 json_real((double) (state.hash % 2000) / 1000.0 - 1.0));
	}
	return json_pack("{s:s,s:i,s:o}", "object", "embedding", "index", index, "embedding", vector);
}

json_t *
answer_embeddings(const json_t *body)
{
	const json_t *input = json_object_get(body, "input");
	json_t *data;

	if (input == NULL)
		return NULL;
	data = json_array();
	if (json_is_string(input))
		(void) json_array_append_new(data, make_vector(json_string_value(input), 0));
	/* Out of order, which the index tells. */
	for (size_t i = json_array_size(input); i > 0; i--)
	{
		const char *text = json_string_value(json_array_get(input, i - 1));

		(void) json_array_append_new(data, make_vector(text ? text : "", (int) i - 1));
	}
	return json_pack("{s:s,s:o,s:O,s:{s:i,s:i}}", "object", "list", "data", data, "model",
					 json_object_get(body, "model"), "usage", "prompt_tokens", 5, "total_tokens",
					 5);
}
