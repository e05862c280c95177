/*
 * Configurations, retries, log lines and arrays.
 */
#include <stdlib.h>
#include <string.h>

#include "common/array.h"
#include "common/child.h"
#include "common/log.h"
#include "gpu/config.h"
#include "gpu/retry.h"
#include "tests/tap.h"

#define BACKEND "[backend a]\nurl = http://x/v1\n"

/* ---- configurations ---- */

static void
refuses(const char *text, const char *part, const char *name)
{
	char *problem;
	Config *config = config_parse(text, &problem);

	if (!ok(config == NULL && problem && strstr(problem, part), "refused: %s", name))
		note("found: %s", problem ? problem : "(nothing)");
	config_free(config);
	free(problem);
}

static void
try_good(void)
{
	static const char text[] =
		"# a comment\n; another\n\n"
		"[database]\nconninfo = \"host=a,b dbname='x y' # not a comment\" # one\n"
		"[worker]\n  lease=2min\n buffer_limit = 64 kB ; comment\n"
		"[log]\nformat = json\nprompts = on\r\n"
		"[device 2]\nname = M3\nkind = metal\nmemory = 96GB\nunified = yes\n"
		"[backend one]\nurl = http://127.0.0.1:8080/v1/\ndevice = 2\nslots = 3\n"
		"first_token_timeout = 1.5s\nmodels = a, b\n"
		"[backend two]\ncommand = run --model {model} 'two words' \\\"x\nmodels = c\n"
		"[backend one]\ncontinue = flags\n";
	char *problem;
	Config *config = config_parse(text, &problem);

	if (!ok(config != NULL, "a configuration is read"))
	{
		note("%s", problem);
		return;
	}
	is(config->conninfo, "host=a,b dbname='x y' # not a comment", "a value in quotes is whole");
	ok(config->lease == 120000 && config->buffer_limit == 65536, "values have units");
	ok(config->log_format == LOG_JSON && config->log_prompts, "choices and switches are read");
	ok(config->sources.declared.count == 1 && config->sources.declared.devices[0].index == 2 &&
		   config->sources.declared.devices[0].memory_total == (int64_t) 96 << 30 &&
		   strcmp(config->sources.declared.devices[0].kind, "metal") == 0,
	   "a device is declared");
	ok(config->backend_count == 2, "a section may come twice");
	is(config->backends[0].url, "http://127.0.0.1:8080", "/v1 is none of a server's address");
	ok(config->backends[0].first_token_timeout == 1500 && config->backends[0].continues == 3 &&
		   config->backends[0].slots == 3 && config->backends[0].device == 2,
	   "a backend has its settings");
	is(config->backends[1].words[3], "two words", "a command is split as a shell splits words");
	is(config->backends[1].words[4], "\"x", "... with backslashes");
	ok(config->backends[1].words[5] == NULL, "... and ends");
	config_free(config);
}

static void
try_bad(void)
{
	refuses("x = 1\n", "line 1", "a setting outside of sections");
	refuses("[nothing]\na = 1\n", "no section [nothing]", "a section that there is not");
	refuses("[worker]\nleese = 1s\n", "no setting leese", "a setting that there is not");
	refuses("[worker]\n\nlease = 30\n", "line 3: lease is a time with a unit",
			"a time without a unit");
	refuses("[worker]\nlease = 1ms\n", "at least 2s", "a time that is too short");
	refuses("[worker]\nlease = 2h\n", "from 0 to 3600000 ms", "a time out of range");
	refuses("[worker]\nlease = nan s\n", "goes", "a time that is no number");
	refuses("[worker]\nbuffer_limit = 1mb\n", "a size with a unit", "a size with another unit");
	refuses("[log]\nprompts = maybe\n", "on or off", "a switch that is neither");
	refuses("[log]\nlevel = loud\n", "one of: debug, info, warning, error", "a wrong choice");
	refuses("[worker\n", "ends with ]", "a section that does not end");
	refuses("[worker] x\n", "behind the ]", "something behind a section");
	refuses("[worker]\nlease\n", "key = value", "a line that is nothing");
	refuses("[database]\nconninfo = \"a\n", "double quotes", "quotes that do not end");
	refuses("[worker main]\nlease = 1s\n", "only sections of", "a section that has no name");
	refuses("[backend]\nurl = x\n", "has a name", "a backend without one");
	refuses("[device x]\nname = x\n", "a number", "a device without a number");
	refuses("[device 64]\nname = x\n", "a number", "a device with too large a number");
	refuses("[backend a]\nslots = 2\n", "either a url or a command", "a backend without either");
	refuses(BACKEND "command = x\n", "either a url or a command", "a backend with both");
	refuses("[backend a]\nurl = ftp://x\n", "http://", "another protocol");
	refuses("[backend a]\ncommand = x 'y\nmodels = m\n", "quotes end", "a command in open quotes");
	refuses("[backend a]\ncommand = x\n", "needs models", "a command without models");
	refuses(BACKEND "api_key_secret = x\n", "service and a key", "a secret without its key");
	refuses(BACKEND "api_key_secret = x/y\napi_key_file = z\n", "either", "two keys");
	refuses(BACKEND "kind = command\n", "one of: auto", "a kind that is none of servers");
	refuses(BACKEND "slots = 1.5\n", "is a number", "half a slot");
}

/* ---- retries ---- */

static void
retries(long status, const char *type, const char *message, int64_t after, const char *expected)
{
	Retry retry = retry_http(status, type, NULL, message, after);
	Buffer found = {0};

	buffer_print(&found, "%s wait %lld rest %lld%s%s", retry.is_final ? "final" : "again",
				 (long long) retry.wait, (long long) retry.rest, retry.is_loading ? " loading" : "",
				 retry.lacks_model ? " no model" : "");
	buffer_add_text(&found, "");
	is(found.bytes, expected, expected);
	buffer_wipe(&found);
}

static void
try_retries(void)
{
	static const long final[] = {400, 401, 403, 405, 409, 413, 415, 422, 499, 501};

	for (size_t i = 0; i < sizeof(final) / sizeof(final[0]); i++)
		ok(retry_http(final[i], NULL, NULL, NULL, -1).is_final, "%ld is final", final[i]);
	retries(404, NULL, NULL, -1, "again wait -1 rest 0 no model");
	retries(408, NULL, NULL, -1, "again wait -1 rest 0");
	retries(429, "rate_limit_error", NULL, 7000, "again wait 7000 rest 7000");
	retries(429, NULL, NULL, -1, "again wait -1 rest 1000");
	retries(429, "insufficient_quota", NULL, 7000, "final wait -1 rest 7000");
	retries(429, NULL, NULL, 999999999, "again wait 3600000 rest 3600000");
	retries(500, NULL, NULL, -1, "again wait -1 rest 0");
	retries(502, NULL, NULL, -1, "again wait -1 rest 1000");
	retries(503, NULL, "Loading model", -1, "again wait 2000 rest 2000 loading");
	retries(503, NULL, "server busy", 3000, "again wait 3000 rest 3000");
	retries(504, NULL, NULL, -1, "again wait -1 rest 1000");
	ok(!retry_broken(true).is_final && retry_broken(false).rest > 0,
	   "a server that is not reached has a rest");
	ok(retry_command(64).is_final && retry_command(127).is_final && !retry_command(1).is_final &&
		   !retry_command(75).is_final,
	   "commands tell by their status whether to run them again");
	ok(retry_after_header("5", 0) == 5000 && retry_after_header(" 0 ", 0) == 0 &&
		   retry_after_header("-3", 0) == 0,
	   "retry-after is in seconds");
	ok(retry_after_header("Sun, 06 Nov 1994 08:49:37 GMT", 784111777 - 9) == 9000, "... or a date");
	ok(retry_after_header("Sun, 06 Nov 1994 08:49:37 GMT", 784111777 + 9) == 0, "... that is over");
	ok(retry_after_header("soon", 0) == -1 && retry_after_header(NULL, 0) == -1, "... or nothing");
	ok(retry_after_header("99999999999999999999", 0) == 3600000, "... and an hour at most");
}

/* ---- what else is written ---- */

static void
try_lines(void)
{
	Buffer line = {0};
	const LogField fields[] = {
		TEXT("a", "plain"), TEXT("b", "two words"), TEXT("c", "q\"\\\n\x01"), TEXT("d", NULL),
		TEXT("e", ""),		NUMBER("f", -5),		{NULL, NULL, 0, false}};

	log_format(&line, LOG_LOGFMT, LOG_INFO, "an event", fields);
	is(line.bytes,
	   "level=info event=\"an event\" a=plain b=\"two words\" c=\"q\\\"\\\\\\n\\u0001\" e=\"\" "
	   "f=-5",
	   "a line of logfmt");
	buffer_clear(&line);
	buffer_add_char(&line, '{');
	log_format(&line, LOG_JSON, LOG_ERROR, "x", fields);
	is(line.bytes,
	   "{\"level\":\"error\",\"event\":\"x\",\"a\":\"plain\",\"b\":\"two words\",\"c\":"
	   "\"q\\\"\\\\\\n\\u0001\",\"e\":\"\",\"f\":-5",
	   "a line of JSON");
	buffer_clear(&line);
	is(array_end(&line), "{}", "an array may be empty");
	buffer_clear(&line);
	array_add_number(&line, 1);
	array_add_number(&line, -2);
	is(array_end(&line), "{1,-2}", "an array of numbers");
	buffer_clear(&line);
	array_add_text(&line, "a\"b\\c", 5);
	array_add_text(&line, "", 0);
	array_add_text(&line, "NULL,{}", 7);
	is(array_end(&line), "{\"a\\\"b\\\\c\",\"\",\"NULL,{}\"}", "an array of texts");
	buffer_wipe(&line);
}

static void
try_children(void)
{
	const char *const echo[] = {"echo", "$HOME;", NULL};
	const char *const hang[] = {"sleep", "1000", NULL};
	const char *const fail[] = {"sh", "-c", "exit 7", NULL};
	Buffer output = {0};

	ok(child_run(echo, 10000, &output) == 0, "a program runs");
	is(output.bytes, "$HOME;\n", "... without a shell");
	ok(child_run(fail, 10000, &output) == 7, "its status is told");
	ok(child_run(hang, 50, &output) == -1, "one that hangs is ended");
	buffer_wipe(&output);
}

int
main(void)
{
	try_good();
	try_bad();
	try_retries();
	try_lines();
	try_children();
	return done();
}
