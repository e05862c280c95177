/*
 * OpenAI's requests as jobs, and what their clients read.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/openai_answer.h"
#include "gateway/openai_request.h"
#include "tests/tap.h"

#define MESSAGES "\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"

/* ---- requests ---- */

static OpenaiRequest
read_request(OpenaiKind kind, const char *text)
{
	OpenaiRequest request;
	json_t *body = json_loads(text, 0, NULL);

	openai_request_read(&request, kind, body);
	json_decref(body);
	return request;
}

/*
 * The body of a chat with these fields, and what its options are, or which field is refused.
 */
static void
chat_gives(const char *fields, const char *expected)
{
	char text[500];
	OpenaiRequest request;

	snprintf(text, sizeof(text), "{" MESSAGES "%s%s}", *fields ? "," : "", fields);
	request = read_request(OPENAI_CHAT, text);
	is(request.problem ? request.param : request.options, expected, *fields ? fields : "a chat");
	openai_request_free(&request);
}

static void
try_chats(void)
{
	OpenaiRequest request = read_request(OPENAI_CHAT, "{" MESSAGES "}");

	ok(request.problem == NULL && !request.is_stream, "a chat is taken");
	is(request.question, "[{\"role\":\"user\",\"content\":\"hi\"}]", "its messages are passed on");
	is(request.class, "interactive", "somebody waits for it");
	openai_request_free(&request);
	chat_gives("", "{}");
	chat_gives("\"temperature\":0.5,\"stop\":[\"a\"],\"user\":\"u\",\"unknown\":{}",
			   "{\"temperature\":0.5,\"stop\":[\"a\"]}");
	chat_gives("\"max_tokens\":5", "{\"max_tokens\":5}");
	chat_gives("\"max_tokens\":5,\"max_completion_tokens\":7", "{\"max_tokens\":7}");
	chat_gives("\"max_completion_tokens\":null,\"max_tokens\":5", "{\"max_tokens\":5}");
	chat_gives("\"n\":1,\"tools\":[],\"logprobs\":false,\"modalities\":[\"text\"]", "{}");
	chat_gives("\"tools\":[{}],\"tool_choice\":\"none\"", "{}");
}

static void
try_refusals(void)
{
	chat_gives("\"n\":2", "n");
	chat_gives("\"tools\":[{}]", "tools");
	chat_gives("\"functions\":[{}]", "tools");
	chat_gives("\"logprobs\":true", "logprobs");
	chat_gives("\"top_logprobs\":3", "logprobs");
	chat_gives("\"modalities\":[\"text\",\"audio\"]", "modalities");
	chat_gives("\"stream\":1", "stream");
	chat_gives("\"stream_options\":{}", "stream_options");
	chat_gives("\"stream\":true,\"stream_options\":[]", "stream_options");
}

static void
refuses(OpenaiKind kind, const char *text, const char *param)
{
	OpenaiRequest request = read_request(kind, text);

	is(request.problem ? request.param : "nothing", param, text);
	openai_request_free(&request);
}

static void
try_others(void)
{
	OpenaiRequest request = read_request(
		OPENAI_CHAT, "{" MESSAGES ",\"stream\":true,\"stream_options\":{\"include_usage\":true},"
					 "\"service_tier\":\"flex\"}");

	ok(request.is_stream && request.has_usage, "a stream with usage");
	is(request.class, "batch", "flex may wait");
	openai_request_free(&request);
	request = read_request(OPENAI_COMPLETION, "{\"model\":\"m\",\"prompt\":[\"one\"]}");
	is(request.question, "one", "a list of one prompt is one");
	openai_request_free(&request);
	request = read_request(OPENAI_EMBEDDING,
						   "{\"model\":\"m\",\"input\":[[1,2]],\"encoding_format\":\"base64\","
						   "\"dimensions\":3,\"stop\":\"x\"}");
	ok(request.is_base64 && strcmp(request.question, "[[1,2]]") == 0 &&
		   strcmp(request.options, "{\"dimensions\":3}") == 0,
	   "embeddings of tokens as base64");
	openai_request_free(&request);
	refuses(OPENAI_CHAT, "{\"messages\":[{}]}", "model");
	refuses(OPENAI_CHAT, "{\"model\":\"m\",\"messages\":[]}", "messages");
	refuses(OPENAI_CHAT, "{\"model\":\"m\",\"messages\":\"hi\"}", "messages");
	refuses(OPENAI_COMPLETION, "{\"model\":\"m\",\"prompt\":[\"a\",\"b\"]}", "prompt");
	refuses(OPENAI_COMPLETION, "{\"model\":\"m\",\"prompt\":\"a\",\"echo\":true}", "echo");
	refuses(OPENAI_COMPLETION, "{\"model\":\"m\",\"prompt\":\"a\",\"suffix\":\"b\"}", "suffix");
	refuses(OPENAI_COMPLETION, "{\"model\":\"m\",\"prompt\":\"a\",\"best_of\":2}", "best_of");
	refuses(OPENAI_EMBEDDING, "{\"model\":\"m\"}", "input");
	refuses(OPENAI_EMBEDDING, "{\"model\":\"m\",\"input\":\"a\",\"encoding_format\":\"x\"}",
			"encoding_format");
	request = read_request(OPENAI_CHAT, "[]");
	ok(request.problem != NULL, "a body that is no object");
	openai_request_free(&request);
}

/* ---- answers ---- */

static void
gives(Buffer *buffer, const char *expected, const char *name)
{
	is(buffer->bytes, expected, name);
	buffer_wipe(buffer);
}

#define HEAD(kind, object)                                                      \
	"{\"id\":\"" kind "-7\",\"object\":\"" object "\",\"created\":1,\"model\":" \
	"\"m\",\"system_fingerprint\":null,\"choices\":["
#define USAGE "\"usage\":{\"prompt_tokens\":2,\"completion_tokens\":3,\"total_tokens\":5}"

static void
try_answers(void)
{
	OpenaiAnswer answer = {.is_chat = true, .job_id = 7, .created = 1, .model = "m"};
	OpenaiUsage usage = {2, 3};
	Buffer buffer = {0};

	openai_add_whole(&buffer, &answer, "a\"b", 3, "stop", &usage);
	gives(&buffer,
		  HEAD("chatcmpl",
			   "chat.completion") "{\"index\":0,\"message\":{\"role\":\"assistant\","
								  "\"content\":\"a\\\"b\",\"refusal\":null},"
								  "\"logprobs\":null,\"finish_reason\":\"stop\"}]," USAGE "}",
		  "a chat as a whole");
	answer.has_usage = true;
	openai_add_text(&buffer, &answer, "x", 1);
	gives(&buffer,
		  "data: " HEAD("chatcmpl",
						"chat.completion.chunk") "{\"index\":0,\"delta\":{\"content\":\"x\"},"
												 "\"logprobs\":null,\"finish_reason\":null}],"
												 "\"usage\":null}\n\n",
		  "a chunk of a chat");
	openai_add_last(&buffer, &answer, "length", &usage);
	gives(
		&buffer,
		"data: " HEAD("chatcmpl",
					  "chat.completion.chunk") "{\"index\":0,\"delta\":{},"
											   "\"logprobs\":null,"
											   "\"finish_reason\":\"length\"}],"
											   "\"usage\":null}\n\n"
											   "data: " HEAD(
												   "chatcmpl",
												   "chat.completion.chunk") "]," USAGE
																			"}\n\ndata: [DONE]\n\n",
		"the end of a chat with usage");
	answer.is_chat = answer.has_usage = false;
	openai_add_text(&buffer, &answer, "x", 1);
	gives(&buffer,
		  "data: " HEAD("cmpl", "text_completion") "{\"index\":0,\"text\":\"x\",\"logprobs\":null,"
												   "\"finish_reason\":null}]}\n\n",
		  "a chunk of a completion");
	openai_add_error_event(&buffer, &(OpenaiError) {.status = 404, .message = "no", .code = "c"});
	gives(&buffer,
		  "data: {\"error\":{\"message\":\"no\",\"type\":\"invalid_request_error\",\"param\":null,"
		  "\"code\":\"c\"}}\n\n",
		  "an error");
}

static void
try_embeddings(void)
{
	static const char *const broken[] = {"",	   "null",		"[1]",		 "[[]]", "[[1]",
										 "[[1,]]", "[[\"a\"]]", "[[1]],[2]", "{}"};
	Buffer buffer = {0};

	ok(openai_add_embeddings(&buffer, "m", " [[1.5, -2e3],[0.25]] ", false, 4), "vectors are read");
	gives(
		&buffer,
		"{\"object\":\"list\",\"data\":[{\"object\":\"embedding\",\"index\":0,\"embedding\":[1.5, "
		"-2e3]},{\"object\":\"embedding\",\"index\":1,\"embedding\":[0.25]}],\"model\":\"m\","
		"\"usage\":{\"prompt_tokens\":4,\"total_tokens\":4}}",
		"... and go on as they were written");
	(void) openai_add_embeddings(&buffer, "m", "[[1, -2]]", true, 4);
	ok(strstr(buffer.bytes, "\"embedding\":\"AACAPwAAAMA=\"") != NULL,
	   "... or as base64 of floats");
	buffer_wipe(&buffer);
	for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++)
	{
		ok(!openai_add_embeddings(&buffer, "m", broken[i], i % 2, 0), "no vectors: %s", broken[i]);
		buffer_wipe(&buffer);
	}
}

int
main(void)
{
	try_chats();
	try_refusals();
	try_others();
	try_answers();
	try_embeddings();
	return done();
}
