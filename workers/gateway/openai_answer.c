/*
 * What OpenAI's clients read.
 */
#include "gateway/openai_answer.h"

#include <inttypes.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/encode.h"
#include "gateway/json_text.h"

/* ---- parts ---- */

static void
add_head(Buffer *to, const OpenaiAnswer *answer, const char *object)
{
	buffer_print(to, "{\"id\":\"%s-%" PRId64 "\"", answer->is_chat ? "chatcmpl" : "cmpl",
				 answer->job_id);
	json_text_member(to, "object", object);
	json_text_number(to, "created", answer->created);
	json_text_member(to, "model", answer->model);
	json_text_member(to, "system_fingerprint", NULL);
}

static void
add_usage(Buffer *to, const OpenaiUsage *usage)
{
	buffer_print(to,
				 ",\"usage\":{\"prompt_tokens\":%" PRId64 ",\"completion_tokens\":%" PRId64
				 ",\"total_tokens\":%" PRId64 "}",
				 usage->prompt_tokens, usage->completion_tokens,
				 usage->prompt_tokens + usage->completion_tokens);
}

static void
add_chunk_head(Buffer *to, const OpenaiAnswer *answer)
{
	buffer_add_text(to, "data: ");
	add_head(to, answer, answer->is_chat ? "chat.completion.chunk" : "text_completion");
}

static void
add_chunk_end(Buffer *to, const OpenaiAnswer *answer)
{
	buffer_add_text(to, answer->has_usage ? ",\"usage\":null}\n\n" : "}\n\n");
}

/* ---- as a whole ---- */

void
openai_add_whole(Buffer *to, const OpenaiAnswer *answer, const char *text, size_t size,
				 const char *finish_reason, const OpenaiUsage *usage)
{
	add_head(to, answer, answer->is_chat ? "chat.completion" : "text_completion");
	buffer_add_text(to, ",\"choices\":[{\"index\":0,");
	buffer_add_text(to, answer->is_chat ? "\"message\":{\"role\":\"assistant\",\"content\":"
										: "\"text\":");
	encode_text(to, text, size);
	if (answer->is_chat)
		buffer_add_text(to, ",\"refusal\":null}");
	buffer_add_text(to, ",\"logprobs\":null");
	json_text_member(to, "finish_reason", finish_reason);
	buffer_add_text(to, "}]");
	add_usage(to, usage);
	buffer_add_char(to, '}');
}

/* ---- as a stream ---- */

void
openai_add_first(Buffer *to, const OpenaiAnswer *answer)
{
	add_chunk_head(to, answer);
	buffer_add_text(
		to, ",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},"
			"\"logprobs\":null,\"finish_reason\":null}]");
	add_chunk_end(to, answer);
}

void
openai_add_text(Buffer *to, const OpenaiAnswer *answer, const char *text, size_t size)
{
	add_chunk_head(to, answer);
	buffer_add_text(to, answer->is_chat ? ",\"choices\":[{\"index\":0,\"delta\":{\"content\":"
										: ",\"choices\":[{\"index\":0,\"text\":");
	encode_text(to, text, size);
	buffer_add_text(to, answer->is_chat ? "}" : "");
	buffer_add_text(to, ",\"logprobs\":null,\"finish_reason\":null}]");
	add_chunk_end(to, answer);
}

void
openai_add_last(Buffer *to, const OpenaiAnswer *answer, const char *finish_reason,
				const OpenaiUsage *usage)
{
	add_chunk_head(to, answer);
	buffer_add_text(to, answer->is_chat ? ",\"choices\":[{\"index\":0,\"delta\":{}"
										: ",\"choices\":[{\"index\":0,\"text\":\"\"");
	buffer_add_text(to, ",\"logprobs\":null");
	json_text_member(to, "finish_reason", finish_reason);
	buffer_add_text(to, "}]");
	add_chunk_end(to, answer);
	if (answer->has_usage)
	{
		add_chunk_head(to, answer);
		buffer_add_text(to, ",\"choices\":[]");
		add_usage(to, usage);
		buffer_add_text(to, "}\n\n");
	}
	buffer_add_text(to, "data: [DONE]\n\n");
}

/* ---- errors ---- */

static const struct
{
	int status;
	const char *type;
	const char *code;
} errors[] = {
	{400, "invalid_request_error", NULL},
	{401, "invalid_request_error", "invalid_api_key"},
	{403, "permission_error", "permission_denied"},
	{404, "invalid_request_error", "not_found"},
	{413, "invalid_request_error", "request_too_large"},
	{415, "invalid_request_error", "unsupported_media_type"},
	{429, "rate_limit_error", "rate_limit_exceeded"},
	{503, "server_error", "overloaded"},
	{504, "server_error", "timeout"},
};

#define ERRORS (sizeof(errors) / sizeof(errors[0]))

void
openai_add_error(Buffer *to, const OpenaiError *error)
{
	const char *type = error->status < 500 ? "invalid_request_error" : "server_error";
	const char *code = error->code;

	for (size_t i = 0; i < ERRORS; i++)
		if (errors[i].status == error->status)
		{
			type = errors[i].type;
			code = code ? code : errors[i].code;
		}
	buffer_add_text(to, "{\"error\":{");
	json_text_member(to, "message", error->message);
	json_text_member(to, "type", type);
	json_text_member(to, "param", error->param);
	json_text_member(to, "code", code);
	buffer_add_text(to, "}}");
}

void
openai_add_error_event(Buffer *to, const OpenaiError *error)
{
	buffer_add_text(to, "data: ");
	openai_add_error(to, error);
	buffer_add_text(to, "\n\n");
}

/* ---- embeddings ---- */

/*
 * Goes over white space and the character; false when another one is there.
 */
static bool
takes(const char **at, char c)
{
	*at += strspn(*at, " \t\r\n");
	if (**at != c)
		return false;
	(*at)++;
	return true;
}

/*
 * Reads the numbers of an array whose bracket was taken, as little-endian floats.
 */
static bool
read_vector(const char **at, Buffer *floats)
{
	do
	{
		char *end;
		float number = strtof(*at, &end);
		uint32_t bits;

		if (end == *at)
			return false;
		*at = end;
		memcpy(&bits, &number, sizeof(bits));
		for (int shift = 0; shift < 32; shift += 8)
			buffer_add_char(floats, (char) (bits >> shift & 0xff));
	} while (takes(at, ','));
	return takes(at, ']');
}

static void
add_base64(Buffer *to, const Buffer *floats)
{
	unsigned char *text = memory_get(floats->size / 3 * 4 + 5);

	(void) EVP_EncodeBlock(text, (const unsigned char *) floats->bytes, (int) floats->size);
	json_text_member(to, "embedding", (const char *) text);
	free(text);
}

/*
 * A vector, whose bracket was taken, as it was written or as base64.
 */
static bool
add_vector(Buffer *to, const char **at, bool is_base64)
{
	const char *begin = *at;
	Buffer floats = {0};
	bool is_right = read_vector(at, &floats);

	if (is_right && is_base64)
		add_base64(to, &floats);
	else if (is_right)
	{
		buffer_add_text(to, ",\"embedding\":[");
		buffer_add(to, begin, (size_t) (*at - begin));
	}
	buffer_wipe(&floats);
	return is_right;
}

bool
openai_add_embeddings(Buffer *to, const char *model, const char *vectors, bool is_base64,
					  int64_t prompt_tokens)
{
	const char *at = vectors;
	int index = 0;

	buffer_add_text(to, "{\"object\":\"list\",\"data\":[");
	if (!takes(&at, '['))
		return false;
	do
	{
		if (!takes(&at, '['))
			return false;
		buffer_print(to, "%s{\"object\":\"embedding\",\"index\":%d", index > 0 ? "," : "", index);
		index++;
		if (!add_vector(to, &at, is_base64))
			return false;
		buffer_add_char(to, '}');
	} while (takes(&at, ','));
	buffer_add_char(to, ']');
	json_text_member(to, "model", model);
	buffer_print(to, ",\"usage\":{\"prompt_tokens\":%" PRId64 ",\"total_tokens\":%" PRId64 "}}",
				 prompt_tokens, prompt_tokens);
	return takes(&at, ']') && at[strspn(at, " \t\r\n")] == '\0';
}
