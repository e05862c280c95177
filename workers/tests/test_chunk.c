/*
 * What events of a stream say, and requests.
 */
#include <stdlib.h>
#include <string.h>

#include "gpu/chunk.h"
#include "gpu/json.h"
#include "gpu/metrics.h"
#include "gpu/request.h"
#include "tests/tap.h"

/* ---- chunks ---- */

static const char *
kind_of(const char *text)
{
	static const char *const names[] = {"broken", "data", "error", "done"};
	Chunk chunk;
	ChunkKind kind;

	chunk_read(&chunk, text, strlen(text));
	kind = chunk.kind;
	chunk_free(&chunk);
	return names[kind];
}

static void
try_kinds(void)
{
	is(kind_of("[DONE]"), "done", "[DONE] is the end");
	is(kind_of("[DONE] \r\n"), "done", "... with blanks behind it");
	is(kind_of("{\"choices\":[]}"), "data", "no choice is data");
	is(kind_of("{\"choices\":[],\"usage\":{\"prompt_tokens\":1}}"), "data", "usage is");
	is(kind_of("{\"error\":{\"message\":\"x\"}}"), "error", "an error is one");
	is(kind_of("{\"error\":\"x\"}"), "error", "... as Ollama writes it");
	is(kind_of("{\"object\":\"error\",\"message\":\"x\"}"), "error", "... as old vLLM does");
	is(kind_of("{\"code\":500,\"message\":\"x\"}"), "error", "... as old llama-server does");
	is(kind_of("{\"error\":null,\"choices\":[]}"), "data", "no error is none");
	is(kind_of("{}"), "broken", "an object of something else is not understood");
	is(kind_of("[]"), "broken", "a list is not");
	is(kind_of("{\"choices\":[{"), "broken", "what is no JSON is not");
	is(kind_of(""), "broken", "nothing is not");
}

static void
try_texts(void)
{
	Chunk chunk;
	static const char delta[] =
		"{\"choices\":[{\"index\":1,\"delta\":{\"content\":\"other\"}},"
		"{\"index\":0,\"delta\":{\"content\":\"text\"},\"finish_reason\":\"stop\"}]}";
	static const char thought[] = "{\"choices\":[{\"delta\":{\"reasoning_content\":\"hm\"}}]}";
	static const char whole[] = "{\"choices\":[{\"text\":\"all\",\"finish_reason\":\"length\"}]}";

	chunk_read(&chunk, delta, strlen(delta));
	is(chunk.bytes.bytes, "text", "the first answer's text is read");
	is(chunk.finish_reason, "stop", "... and why it ended");
	chunk_free(&chunk);
	chunk_read(&chunk, thought, strlen(thought));
	ok(chunk.has_thought && !chunk.has_text, "a thought is no text");
	chunk_free(&chunk);
	chunk_read(&chunk, whole, strlen(whole));
	is(chunk.bytes.bytes, "all", "a text of a completion is read");
	chunk_free(&chunk);
}

static void
try_tools(void)
{
	static const char *const fragments[] = {
		"[{\"index\":0,\"id\":\"a\",\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"x\"}}]",
		"[{\"index\":1,\"id\":\"b\",\"function\":{\"name\":\"g\",\"arguments\":\"\"}}]",
		"[{\"index\":0,\"function\":{\"arguments\":\"\\\":1}\"}}]",
		"[{\"index\":-1},{\"index\":99999999}]"};
	json_t *calls = json_array();
	char *text;

	for (size_t i = 0; i < sizeof(fragments) / sizeof(fragments[0]); i++)
	{
		json_t *fragment = json_read(fragments[i], strlen(fragments[i]));

		chunk_join_tools(calls, fragment);
		json_decref(fragment);
	}
	chunk_end_tools(calls);
	text = json_dumps(calls, JSON_COMPACT | JSON_SORT_KEYS);
	is(text,
	   "[{\"function\":{\"arguments\":\"{\\\"x\\\":1}\",\"name\":\"f\"},\"id\":\"a\",\"type\":"
	   "\"function\"},{\"function\":{\"arguments\":\"\",\"name\":\"g\"},\"id\":\"b\",\"type\":"
	   "\"function\"}]",
	   "fragments of tool calls are joined by their indexes");
	free(text);
	json_decref(calls);
}

/* ---- requests ---- */

static void
asks(const char *payload, bool is_embed, const char *partial, int tokens, ContinueStyle style,
	 const char *expected, const char *name)
{
	json_t *object = json_loads(payload, 0, NULL);
	json_t *body;
	Request request;
	Buffer found = {0};
	char *text;

	request_make(&request, object, "m", is_embed, partial, tokens, style);
	body = json_loads(request.body ? request.body : "null", JSON_DECODE_ANY, NULL);
	text = json_dumps(body, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY);
	buffer_print(&found, "%s%s%s%s", request.problem ? "refused" : request.path,
				 request.is_restart ? " anew " : " ", request.is_spent ? "spent " : "", text);
	is(found.bytes, expected, name);
	buffer_wipe(&found);
	free(text);
	json_decref(body);
	json_decref(object);
	request_free(&request);
}

#define STREAM "\"stream\":true,\"stream_options\":{\"include_usage\":true}"

static void
try_requests(void)
{
	asks("{\"prompt\":\"p\",\"stream\":false}", false, "", 0, CONTINUE_PREFILL,
		 "/completions {\"model\":\"m\",\"prompt\":\"p\"," STREAM "}", "a prompt is asked for");
	asks("{\"messages\":[{\"role\":\"user\",\"content\":\"q\"}],\"max_tokens\":9}", false, "", 0,
		 CONTINUE_PREFILL,
		 "/chat/completions {\"max_tokens\":9,\"messages\":[{\"content\":\"q\",\"role\":\"user\"}],"
		 "\"model\":\"m\"," STREAM "}",
		 "a chat is");
	asks("{\"input\":[\"a\"],\"encoding_format\":\"base64\"}", true, "", 0, CONTINUE_PREFILL,
		 "/embeddings {\"encoding_format\":\"float\",\"input\":[\"a\"],\"model\":\"m\"}",
		 "vectors are");
	asks("{\"prompt\":\"p\",\"max_tokens\":9}", false, " q", 4, CONTINUE_PREFILL,
		 "/completions {\"max_tokens\":5,\"model\":\"m\",\"prompt\":\"p q\"," STREAM "}",
		 "a prompt goes on with the text so far, and what is left of the limit");
	asks("{\"messages\":[{\"role\":\"user\",\"content\":\"q\"}],\"max_completion_tokens\":9}",
		 false, "so far", 4, CONTINUE_PREFILL,
		 "/chat/completions {\"max_completion_tokens\":5,\"messages\":[{\"content\":\"q\",\"role\":"
		 "\"user\"},{\"content\":\"so far\",\"role\":\"assistant\"}],\"model\":\"m\"," STREAM "}",
		 "a chat goes on with it as the assistant's");
	asks("{\"messages\":[{\"role\":\"user\",\"content\":\"q\"}]}", false, "x", 1, CONTINUE_FLAGS,
		 "/chat/completions {\"add_generation_prompt\":false,\"continue_final_message\":true,"
		 "\"messages\":[{\"content\":\"q\",\"role\":\"user\"},{\"content\":\"x\",\"role\":"
		 "\"assistant\"}],\"model\":\"m\"," STREAM "}",
		 "... with flags for vLLM");
	asks("{\"prompt\":\"p\"}", false, "x", 1, CONTINUE_NEVER,
		 "/completions anew {\"model\":\"m\",\"prompt\":\"p\"," STREAM "}",
		 "where a server cannot go on, the text starts anew");
	asks("{\"messages\":[{\"role\":\"user\"}],\"tools\":[{}]}", false, "x", 1, CONTINUE_PREFILL,
		 "/chat/completions anew {\"messages\":[{\"role\":\"user\"}],\"model\":\"m\"," STREAM
		 ",\"tools\":[{}]}",
		 "... and with tools");
	asks("{\"prompt\":\"p\",\"max_tokens\":4}", false, "x", 4, CONTINUE_PREFILL,
		 "/completions spent {\"max_tokens\":4,\"model\":\"m\",\"prompt\":\"px\"," STREAM "}",
		 "a text that is as long as it may be is spent");
	asks("{\"prompt\":\"p\",\"n\":2}", false, "", 0, CONTINUE_NEVER, "refused null",
		 "several answers are refused");
	asks("{}", false, "", 0, CONTINUE_NEVER, "refused null", "no question is refused");
	asks("[1]", true, "", 0, CONTINUE_NEVER, "refused null", "a list is");
}

static void
prompt_is(const char *payload, const char *expected, const char *name)
{
	json_t *object = json_loads(payload, 0, NULL);
	Request request;

	request_make_prompt(&request, object, false);
	is(request.body, expected, name);
	request_free(&request);
	json_decref(object);
}

static void
try_prompts(void)
{
	prompt_is("{\"prompt\":\"p\"}", "p", "a command gets the prompt");
	prompt_is("{\"messages\":[{\"role\":\"user\",\"content\":\"q\"}]}", "q", "one message is it");
	prompt_is(
		"{\"messages\":[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\",\"content\":"
		"[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"text\",\"text\":\"b\"}]}]}",
		"system: s\nuser: ab\nassistant: ", "several are told by their roles");
	prompt_is("{\"input\":1}", NULL, "without a question there is none");
}

/* ---- metrics ---- */

static void
try_metrics(void)
{
	static const char text[] = "# HELP a x\n# TYPE a gauge\n"
							   "a{model_name=\"m } 5\",engine=\"0\"} 2\n"
							   "a{model_name=\"n\"} 3.5 1700000000\nab 7\nb NaN\nc\n";
	static const char *const a[] = {"none", "a", NULL};
	static const char *const b[] = {"b", NULL};
	static const char *const c[] = {"c", NULL};
	double sum;

	ok(metrics_sum(text, a, &sum) && sum == 5.5, "a metric is summed up over its labels");
	ok(!metrics_sum(text, b, &sum), "no number is none");
	ok(!metrics_sum(text, c, &sum), "a name without a value is none");
	ok(!metrics_sum("", a, &sum), "nothing is none");
}

int
main(void)
{
	try_kinds();
	try_texts();
	try_tools();
	try_requests();
	try_prompts();
	try_metrics();
	return done();
}
