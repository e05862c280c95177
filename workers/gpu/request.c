/*
 * Makes the request of a job.
 */
#include "gpu/request.h"

#include <stdlib.h>
#include <string.h>

#include "gpu/json.h"

#define BODY_FORMAT (JSON_COMPACT | JSON_ENCODE_ANY)

static void
refuse(Request *request, const char *problem)
{
	request_free(request);
	request->problem = memory_copy(problem);
}

/*
 * Lowers the limits of the answer's length by what is there already; false when nothing is left.
 */
static bool
lower_limit(json_t *body, const char *key, int tokens)
{
	int64_t limit = json_number_of(body, key, -1);

	if (limit < 0)
		return true;
	if (limit <= tokens)
		return false;
	(void) json_object_set_new(body, key, json_integer(limit - tokens));
	return true;
}

/*
 * Adds the text so far as the beginning of the assistant's answer.
 */
static void
add_partial_message(json_t *body, const char *partial, ContinueStyle style)
{
	json_t *messages = json_copy(json_object_get(body, "messages"));

	(void) json_array_append_new(messages,
								 json_pack("{s:s,s:s}", "role", "assistant", "content", partial));
	(void) json_object_set_new(body, "messages", messages);
	if (style != CONTINUE_FLAGS)
		return;
	(void) json_object_set_new(body, "add_generation_prompt", json_false());
	(void) json_object_set_new(body, "continue_final_message", json_true());
}

static void
add_partial_prompt(json_t *body, const char *partial)
{
	Buffer prompt = {0};

	buffer_add_text(&prompt, json_text_of(body, "prompt"));
	buffer_add_text(&prompt, partial);
	(void) json_object_set_new(body, "prompt", json_string(prompt.bytes));
	buffer_wipe(&prompt);
}

/*
 * Texts that are structured, or call tools, cannot be gone on with: the beginning is no prompt.
 */
static bool
can_continue(const json_t *body, ContinueStyle style)
{
	return style != CONTINUE_NEVER && json_array_size(json_object_get(body, "tools")) == 0 &&
		   json_object_get(body, "response_format") == NULL &&
		   (json_is_array(json_object_get(body, "messages")) ||
			json_is_string(json_object_get(body, "prompt")));
}

static void
make_generation(Request *request, json_t *body, const char *partial, int tokens,
				ContinueStyle style)
{
	bool is_chat = json_is_array(json_object_get(body, "messages"));

	if (json_number_of(body, "n", 1) > 1)
	{
		refuse(request, "only one answer at a time can be generated: leave n out");
		return;
	}
	request->path = is_chat ? "/chat/completions" : "/completions";
	request->is_stream = true;
	(void) json_object_set_new(body, "stream", json_true());
	(void) json_object_set_new(body, "stream_options", json_pack("{s:b}", "include_usage", 1));
	if (partial[0] == '\0')
		return;
	if (!can_continue(body, style))
	{
		request->is_restart = true;
		return;
	}
	request->is_spent = !lower_limit(body, "max_tokens", tokens) ||
						!lower_limit(body, "max_completion_tokens", tokens);
	if (is_chat)
		add_partial_message(body, partial, style);
	else
		add_partial_prompt(body, partial);
}

static bool
has_question(const json_t *payload, bool is_embed)
{
	return is_embed ? json_object_get(payload, "input") != NULL
					: json_array_size(json_object_get(payload, "messages")) > 0 ||
						  json_object_get(payload, "prompt") != NULL;
}

void
request_make(Request *request, const json_t *payload, const char *model, bool is_embed,
			 const char *partial, int tokens, ContinueStyle style)
{
	json_t *body;

	memset(request, 0, sizeof(*request));
	if (!has_question(payload, is_embed))
	{
		refuse(request, is_embed ? "the job's payload has no input"
								 : "the job's payload has neither messages nor a prompt");
		return;
	}
	body = json_copy((json_t *) payload);
	(void) json_object_set_new(body, "model", json_string(model));
	(void) json_object_del(body, "stream_options");
	(void) json_object_del(body, "stream");
	if (is_embed)
	{
		request->path = "/embeddings";
		(void) json_object_set_new(body, "encoding_format", json_string("float"));
	}
	else
		make_generation(request, body, partial, tokens, style);
	if (request->problem == NULL)
		request->body = json_dumps(body, BODY_FORMAT);
	json_decref(body);
}

/* ---- a prompt for a command ---- */

/*
 * A message's content is a text, or parts of which some are.
 */
static void
add_content(Buffer *prompt, const json_t *content)
{
	if (json_is_string(content))
		buffer_add_text(prompt, json_string_value(content));
	for (size_t i = 0; i < json_array_size(content); i++)
	{
		const char *text = json_text_of(json_array_get(content, i), "text");

		if (text)
			buffer_add_text(prompt, text);
	}
}

/*
 * One message is the prompt by itself; of several each begins with its role.
 */
static void
add_messages(Buffer *prompt, const json_t *messages)
{
	size_t count = json_array_size(messages);

	for (size_t i = 0; i < count; i++)
	{
		const json_t *message = json_array_get(messages, i);
		const char *role = json_text_of(message, "role");

		if (count > 1)
			buffer_print(prompt, "%s: ", role ? role : "user");
		add_content(prompt, json_object_get(message, "content"));
		if (count > 1)
			buffer_add_char(prompt, '\n');
	}
	if (count > 1)
		buffer_add_text(prompt, "assistant: ");
}

void
request_make_prompt(Request *request, const json_t *payload, bool is_embed)
{
	const json_t *messages = json_object_get(payload, "messages");
	const char *text = json_text_of(payload, "prompt");
	Buffer prompt = {0};

	memset(request, 0, sizeof(*request));
	buffer_add_text(&prompt, "");
	if (json_array_size(messages) > 0)
		add_messages(&prompt, messages);
	else if (text)
		buffer_add_text(&prompt, text);
	if (is_embed || (json_array_size(messages) == 0 && text == NULL))
	{
		buffer_wipe(&prompt);
		refuse(request, is_embed ? "a command makes no embeddings"
								 : "the job's payload has neither messages nor a prompt");
		return;
	}
	request->body = prompt.bytes;
	request->is_stream = true;
}

void
request_free(Request *request)
{
	memory_wipe(request->body);
	free(request->problem);
	memset(request, 0, sizeof(*request));
}
