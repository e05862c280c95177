/*
 * What OpenAI's clients ask for.
 */
#include "gateway/openai_request.h"

#include <stdlib.h>
#include <string.h>

#include "common/memory.h"

#define FORMAT (JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(17))

/* Fields that are passed on as they are; the last ones are those of local servers. */
static const char *const passed[] = {"temperature",
									 "top_p",
									 "stop",
									 "presence_penalty",
									 "frequency_penalty",
									 "seed",
									 "logit_bias",
									 "response_format",
									 "reasoning_effort",
									 "verbosity",
									 "top_k",
									 "min_p",
									 "typical_p",
									 "repeat_penalty",
									 "repetition_penalty",
									 "ignore_eos",
									 "grammar",
									 "cache_prompt",
									 "chat_template_kwargs",
									 NULL};

static void
refuse(OpenaiRequest *request, const char *param, const char *problem)
{
	if (request->problem)
		return;
	request->problem = problem;
	request->param = param;
}

/*
 * The value of a field that is there and not null.
 */
static json_t *
value_of(const json_t *body, const char *name)
{
	json_t *value = json_object_get(body, name);

	return json_is_null(value) ? NULL : value;
}

static bool
flag_of(OpenaiRequest *request, const json_t *body, const char *name)
{
	const json_t *value = value_of(body, name);

	if (value && !json_is_boolean(value))
		refuse(request, name, "this has to be true or false");
	return json_is_true(value);
}

/* ---- what cannot be had ---- */

static bool
is_more_than(const json_t *value, double most)
{
	return json_is_number(value) && json_number_value(value) > most;
}

static bool
has_audio(const json_t *modalities)
{
	for (size_t i = 0; i < json_array_size(modalities); i++)
	{
		const char *name = json_string_value(json_array_get(modalities, i));

		if (name && strcmp(name, "text") != 0)
			return true;
	}
	return false;
}

/*
 * Tools may be listed by who does not want one called.
 */
static bool
calls_tools(const json_t *body)
{
	const char *choice = json_string_value(value_of(body, "tool_choice"));

	return (json_array_size(value_of(body, "tools")) > 0 ||
			json_array_size(value_of(body, "functions")) > 0) &&
		   (choice == NULL || strcmp(choice, "none") != 0);
}

static void
refuse_missing(OpenaiRequest *request, const json_t *body)
{
	if (is_more_than(value_of(body, "n"), 1))
		refuse(request, "n", "only one answer at a time can be generated: leave n out");
	if (is_more_than(value_of(body, "best_of"), 1))
		refuse(request, "best_of", "only one answer can be generated: leave best_of out");
	if (calls_tools(body))
		refuse(request, "tools",
			   "tools cannot be called here: leave them out, or set tool_choice to none");
	if (json_is_true(value_of(body, "logprobs")) || json_is_number(value_of(body, "logprobs")) ||
		is_more_than(value_of(body, "top_logprobs"), 0))
		refuse(request, "logprobs", "the probabilities of tokens are not kept: leave logprobs out");
	if (has_audio(value_of(body, "modalities")) || value_of(body, "audio"))
		refuse(request, "modalities", "only text can be generated");
	if (json_is_true(value_of(body, "echo")))
		refuse(request, "echo", "the prompt is not repeated: leave echo out");
	if (value_of(body, "suffix"))
		refuse(request, "suffix", "text cannot be inserted: leave suffix out");
}

/* ---- what is asked ---- */

static void
read_model(OpenaiRequest *request, const json_t *body)
{
	const char *model = json_string_value(value_of(body, "model"));

	if (model == NULL || *model == '\0')
		refuse(request, "model", "you must provide a model parameter");
	else
		request->model = memory_copy(model);
}

static void
read_messages(OpenaiRequest *request, const json_t *body)
{
	const json_t *messages = value_of(body, "messages");

	if (json_array_size(messages) == 0)
		refuse(request, "messages", "messages has to be a list of one or more");
	else
		request->question = json_dumps(messages, FORMAT);
}

/*
 * A list of one prompt is one.
 */
static void
read_prompt(OpenaiRequest *request, const json_t *body)
{
	const json_t *prompt = value_of(body, "prompt");

	if (json_is_array(prompt) && json_array_size(prompt) == 1)
		prompt = json_array_get(prompt, 0);
	if (json_is_string(prompt))
		request->question = memory_copy(json_string_value(prompt));
	else
		refuse(request, "prompt", "the prompt has to be a text, or a list of one");
}

static void
read_input(OpenaiRequest *request, const json_t *body)
{
	const json_t *input = value_of(body, "input");
	const json_t *format = value_of(body, "encoding_format");

	if (!json_is_string(input) && !json_is_array(input))
		refuse(request, "input", "the input has to be a text or a list");
	else
		request->question = json_dumps(input, FORMAT);
	request->is_base64 =
		format && json_is_string(format) && strcmp(json_string_value(format), "base64") == 0;
	if (format && !request->is_base64 &&
		!(json_is_string(format) && strcmp(json_string_value(format), "float") == 0))
		refuse(request, "encoding_format", "encoding_format is float or base64");
}

/* ---- how ---- */

static void
read_stream(OpenaiRequest *request, const json_t *body)
{
	const json_t *options = value_of(body, "stream_options");

	request->is_stream = flag_of(request, body, "stream");
	if (options && !request->is_stream)
		refuse(request, "stream_options", "stream_options are for streams only: set stream");
	else if (options && !json_is_object(options))
		refuse(request, "stream_options", "stream_options have to be an object");
	request->has_usage = json_is_true(json_object_get(options, "include_usage"));
}

/*
 * Somebody waits for the answer, unless it may come when there is nothing else to do.
 */
static void
read_class(OpenaiRequest *request, const json_t *body)
{
	const char *tier = json_string_value(value_of(body, "service_tier"));

	request->class = tier && strcmp(tier, "flex") == 0 ? "batch" : "interactive";
}

static void
read_options(OpenaiRequest *request, OpenaiKind kind, const json_t *body)
{
	json_t *options = json_object();
	json_t *limit = value_of(body, "max_completion_tokens");
	json_t *dimensions = value_of(body, "dimensions");

	if (limit == NULL)
		limit = value_of(body, "max_tokens");
	if (limit && kind != OPENAI_EMBEDDING)
		(void) json_object_set(options, "max_tokens", limit);
	if (dimensions && kind == OPENAI_EMBEDDING)
		(void) json_object_set(options, "dimensions", dimensions);
	for (int i = 0; passed[i] && kind != OPENAI_EMBEDDING; i++)
		if (value_of(body, passed[i]))
			(void) json_object_set(options, passed[i], value_of(body, passed[i]));
	request->options = json_dumps(options, FORMAT);
	json_decref(options);
}

void
openai_request_read(OpenaiRequest *request, OpenaiKind kind, const json_t *body)
{
	memset(request, 0, sizeof(*request));
	if (!json_is_object(body))
	{
		refuse(request, NULL, "the body has to be an object");
		return;
	}
	read_model(request, body);
	if (kind == OPENAI_CHAT)
		read_messages(request, body);
	else if (kind == OPENAI_COMPLETION)
		read_prompt(request, body);
	else
		read_input(request, body);
	if (kind != OPENAI_EMBEDDING)
	{
		read_stream(request, body);
		refuse_missing(request, body);
	}
	read_class(request, body);
	read_options(request, kind, body);
}

void
openai_request_free(OpenaiRequest *request)
{
	free(request->model);
	memory_wipe(request->question);
	free(request->options);
	memset(request, 0, sizeof(*request));
}
