/*
 * The table of routes, its description, and what SQLSTATEs and configurations come to.
 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "common/memory.h"
#include "gateway/config.h"
#include "gateway/describe.h"
#include "gateway/problem.h"
#include "gateway/route.h"
#include "tests/tap.h"

#define ALL ((1u << GROUPS) - 1)

/* ---- finding them ---- */

static bool
finds_itself(const Route *route)
{
	const char *values[ROUTE_PARAMETERS] = {0};
	unsigned methods;
	Buffer path = {0};
	bool is_found;

	for (const char *at = route->path; *at; at++)
		if (*at == '{')
		{
			buffer_add_text(&path, "value");
			at += strcspn(at, "}");
		}
		else
			buffer_add_char(&path, *at);
	is_found = route_find(route->method, path.bytes, ALL, values, &methods) == route;
	for (int i = 0; i < ROUTE_PARAMETERS && route->parameters[i].name; i++)
		is_found &= (route->parameters[i].place == IN_PATH) ==
					(values[i] && strcmp(values[i], "value") == 0);
	buffer_wipe(&path);
	return is_found;
}

/*
 * The statement has as many parameters as the list, or its function takes them.
 */
static bool
has_its_parameters(const Route *route)
{
	int count = route_statement_count(route);
	char name[16];

	if (route->sql == NULL)
		return route->handle != NULL;
	for (int i = 1; i <= count; i++)
	{
		snprintf(name, sizeof(name), "$%d", i);
		if (strstr(route->sql, name) == NULL)
			return false;
	}
	snprintf(name, sizeof(name), "$%d", count + 1);
	return strstr(route->sql, name) == NULL;
}

static void
try_table(void)
{
	size_t count = 0;

	for (const Route *route = route_next(NULL); route; route = route_next(route))
	{
		bool is_described = route->summary && (route->shape == SHAPE_NOTHING || route->columns ||
											   route->answer || route->handle);

		count++;
		ok(finds_itself(route), "%s is found", route_name(route));
		ok(has_its_parameters(route), "%s has its parameters", route_name(route));
		for (int i = 0; i < ROUTE_PARAMETERS && route->parameters[i].name; i++)
			is_described &= route->parameters[i].description != NULL;
		ok(is_described, "%s is described", route_name(route));
		if (strncmp(route->path, "/api/secrets", 12) == 0 && route->caching != CACHE_NO_STORE)
			ok(false, "%s is not cached", route_name(route));
		for (const Route *other = route_next(NULL); other != route; other = route_next(other))
			if (strcmp(route_statement(route), route_statement(other)) == 0)
				ok(false, "%s has a name of its own", route_statement(route));
		if (strlen(route_statement(route)) > 63)
			ok(false, "%s is short enough for a name", route_statement(route));
	}
	ok(count == route_count() && count > 30, "all %d routes were looked at", (int) count);
}

static const Route *
find(Method method, const char *path, unsigned groups, unsigned *methods)
{
	const char *values[ROUTE_PARAMETERS] = {0};
	char *copy = memory_copy(path);
	const Route *route = route_find(method, copy, groups, values, methods);

	free(copy);
	return route;
}

static void
try_finding(void)
{
	unsigned methods;

	ok(find(METHOD_GET, "/nowhere", ALL, &methods) == NULL && methods == 0, "no route, no methods");
	ok(find(METHOD_DELETE, "/live", ALL, &methods) == NULL &&
		   methods == (1u << METHOD_GET | 1u << METHOD_HEAD),
	   "another method: those that there are");
	ok(find(METHOD_HEAD, "/live", ALL, &methods) != NULL, "HEAD is GET without a body");
	ok(find(METHOD_GET, "/nodes/a", 1u << GROUP_HEALTH, &methods) == NULL && methods == 0,
	   "routes of other groups are not there");
	ok(find(METHOD_GET, "/nodes/a/b/c/d/e/f/g/h/i/j/k/l/m/n", ALL, &methods) == NULL,
	   "a long path");
	ok(find(METHOD_GET, "/", ALL, &methods) == NULL, "the root");
}

/* ---- descriptions ---- */

static void
try_openapi(void)
{
	Buffer text = {0};
	json_error_t error;
	json_t *json;
	size_t operations = 0;
	const char *path;
	json_t *item;

	describe_openapi(&text);
	json = json_loadb(text.bytes, text.size, JSON_REJECT_DUPLICATES, &error);
	if (!ok(json != NULL, "the OpenAPI description is JSON"))
		note("%s at %d", error.text, error.position);
	is(json_string_value(json_object_get(json, "openapi")), "3.1.0", "of OpenAPI 3.1");
	json_object_foreach(json_object_get(json, "paths"), path, item) operations +=
		json_object_size(item);
	ok(operations == route_count(), "with all routes");
	ok(strstr(text.bytes, "POST_api_secrets") != NULL, "by name");
	json_decref(json);
	buffer_clear(&text);
	describe_docs(&text);
	ok(strstr(text.bytes, "### GET /api/priorities/surface\n") != NULL, "and so is the page");
	buffer_wipe(&text);
}

/* ---- problems ---- */

static void
try_statuses(void)
{
	static const struct
	{
		const char *sqlstate;
		int status;
	} cases[] = {
		{"42501", 403}, {"22P02", 400}, {"22023", 400}, {"23505", 409}, {"23503", 409},
		{"23514", 400}, {"40001", 503}, {"40P01", 503}, {"57014", 504}, {"57P01", 503},
		{"53300", 503}, {"53400", 429}, {"55000", 409}, {"P0002", 404}, {"42704", 404},
		{"25006", 503}, {"08006", 503}, {"54000", 413}, {"42883", 503}, {"0A000", 501},
		{"P0001", 400}, {"XX000", 500}, {"XX001", 500}, {"58030", 500}, {"28000", 503},
		{"zzzzz", 500},
	};
	Buffer text = {0};
	json_t *json;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		ok(problem_status(cases[i].sqlstate, false) == cases[i].status, "%s is %d, not %d",
		   cases[i].sqlstate, cases[i].status, problem_status(cases[i].sqlstate, false));
	ok(problem_status("28000", true) == 401 && problem_status("42501", true) == 403,
	   "a credential is refused");
	ok(!problem_is_told(500) && problem_is_told(404), "the server's inside is not told");
	problem_write(
		&text,
		&(Problem) {
			.status = 400, .detail = "a \"b\"", .parameter = "p", .sqlstate = "22023", .id = "r1"});
	json = json_loadb(text.bytes, text.size, JSON_REJECT_DUPLICATES, NULL);
	ok(json && strcmp(json_string_value(json_object_get(json, "detail")), "a \"b\"") == 0 &&
		   strcmp(json_string_value(json_object_get(json, "request_id")), "r1") == 0 &&
		   strcmp(json_string_value(json_object_get(json, "title")), "Bad Request") == 0 &&
		   json_integer_value(json_object_get(json, "status")) == 400 &&
		   json_object_get(json, "hint") == NULL,
	   "a problem is JSON");
	json_decref(json);
	buffer_wipe(&text);
}

/* ---- configurations ---- */

#define LISTEN "[listen web]\nsocket = /run/x.sock\n"

static void
refuses(const char *text, const char *part)
{
	char *problem;
	Config *config = config_parse(text, &problem);

	if (!ok(config == NULL && problem && strstr(problem, part), "refused: %s", part))
		note("found: %s", problem ? problem : "(nothing)");
	config_free(config);
	free(problem);
}

static void
try_config(void)
{
	char *problem;
	Config *config =
		config_parse("[database]\nlocal = \"host=a dbname=b\"\n"
					 "[gateway]\nheader_timeout = 2s\norigins = https://a.example, http://b:8080\n"
					 "[listen web]\naddress = 127.0.0.1:3000\nroutes = gpu, events\n",
					 &problem);
	Config *other = config_parse(
		"[gateway]\nheader_timeout = 3s\nheader_limit = 32kB\norigins = https://c.example\n" LISTEN,
		&problem);

	if (!ok(config && other, "configurations are read"))
		return;
	is(config->lead, "host=a dbname=b", "the lead is looked for where the node's own database is");
	ok(config->listeners[0].groups == (1u << GROUP_HEALTH | 1u << GROUP_GPU | 1u << GROUP_EVENTS),
	   "a listener has groups of routes");
	ok(other->listeners[0].groups == ALL, "or all");
	ok(config_allows_origin(config, "https://a.example", "x") &&
		   config_allows_origin(config, "HTTP://B:8080", "x") &&
		   config_allows_origin(config, "https://x", "x"),
	   "origins of the list, and that of the host, may");
	ok(!config_allows_origin(config, "https://a.example.evil.example", "x") &&
		   !config_allows_origin(config, "null", "x") &&
		   !config_allows_origin(config, "https://y", NULL) &&
		   !config_allows_origin(config, "x", "x"),
	   "others may not");
	config_take_over(config, other);
	ok(config->header_timeout == 3000 && config_allows_origin(config, "https://c.example", "x") &&
		   !config_allows_origin(config, "https://a.example", "x"),
	   "a reload takes times and origins over");
	ok(config->header_limit == 16384 && strcmp(config->local, "host=a dbname=b") == 0,
	   "but not what needs a restart");
	config_free(config);
	config_free(other);
	refuses("", "no listener");
	refuses("[listen]\nsocket = /x\n", "has a name");
	refuses("[listen a]\nroutes = all\n", "either a socket or an address");
	refuses("[listen a]\nsocket = /x\naddress = 127.0.0.1:1\n", "either a socket or an address");
	refuses("[listen a]\naddress = 127.0.0.1\n", "has a port");
	refuses("[listen a]\nsocket = /x\nroutes = nonsense\n", "no routes called nonsense");
	refuses(LISTEN "[gateway]\norigins = a.example\n", "begins with http");
	refuses(LISTEN "[gateway]\norigins = https://a.example/\n", "no path");
	refuses(LISTEN "[gateway]\nbody_limit = 1\n", "size with a unit");
	refuses(LISTEN "[gateway]\nnonsense = 1\n", "no setting nonsense");
}

int
main(void)
{
	route_index();
	try_table();
	try_finding();
	try_openapi();
	try_statuses();
	try_config();
	return done();
}
