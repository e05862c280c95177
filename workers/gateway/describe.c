/*
 * The description of all routes: OpenAPI 3.1, and a page of documentation.
 */
#include "gateway/describe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/encode.h"
#include "gateway/route.h"

static void
add_string(Buffer *to, const char *text)
{
	encode_text(to, text, strlen(text));
}

static void
add_member(Buffer *to, const char *name, const char *text)
{
	buffer_print(to, "\"%s\":", name);
	add_string(to, text);
}

/* ---- parameters ---- */

static void
add_choices(Buffer *to, const Parameter *parameter)
{
	buffer_add_text(to, ",\"enum\":[");
	for (int i = 0; parameter->choices[i]; i++)
	{
		if (i > 0)
			buffer_add_char(to, ',');
		add_string(to, parameter->choices[i]);
	}
	buffer_add_char(to, ']');
}

static void
add_limits(Buffer *to, const Parameter *parameter)
{
	bool is_text = parameter->type == TYPE_TEXT || parameter->type == TYPE_NAME;

	if (is_text && (parameter->least > 0 || parameter->type == TYPE_NAME))
		buffer_print(to, ",\"minLength\":%.0f", parameter->least > 0 ? parameter->least : 1);
	if (is_text && (parameter->most > 0 || parameter->type == TYPE_NAME))
		buffer_print(to, ",\"maxLength\":%.0f", parameter->most > 0 ? parameter->most : 200);
	if (!is_text && parameter->least < parameter->most)
	{
		buffer_print(to, ",\"minimum\":%.0f", parameter->least);
		if (parameter->most < 1e15)
			buffer_print(to, ",\"maximum\":%.0f", parameter->most);
	}
}

static void
add_standard(Buffer *to, const Parameter *parameter)
{
	bool is_plain = parameter->type == TYPE_INT || parameter->type == TYPE_BIGINT ||
					parameter->type == TYPE_NUMBER || parameter->type == TYPE_BOOLEAN;

	if (parameter->standard == NULL)
		return;
	buffer_add_text(to, ",\"default\":");
	if (is_plain)
		buffer_add_text(to, parameter->standard);
	else
		add_string(to, parameter->standard);
}

static void
add_schema(Buffer *to, const Parameter *parameter)
{
	static const char *const types[TYPES] = {
		[TYPE_TEXT] = "\"type\":\"string\"",
		[TYPE_NAME] = "\"type\":\"string\"",
		[TYPE_INT] = "\"type\":\"integer\",\"format\":\"int32\"",
		[TYPE_BIGINT] = "\"type\":\"integer\",\"format\":\"int64\"",
		[TYPE_NUMBER] = "\"type\":\"number\"",
		[TYPE_BOOLEAN] = "\"type\":\"boolean\"",
		[TYPE_TIMESTAMP] = "\"type\":\"string\",\"format\":\"date-time\"",
		[TYPE_INTERVAL] = "\"type\":\"string\",\"format\":\"duration\"",
		[TYPE_UUID] = "\"type\":\"string\",\"format\":\"uuid\"",
		[TYPE_JSON] = "\"title\":\"any JSON\"",
		[TYPE_OBJECT] = "\"type\":\"object\"",
		[TYPE_ARRAY] = "\"type\":\"array\"",
		[TYPE_TEXTS] = "\"type\":\"array\",\"items\":{\"type\":\"string\"}",
		[TYPE_BYTES] = "\"title\":\"any bytes\"",
	};

	buffer_print(to, "{%s", types[parameter->type]);
	if (parameter->choices)
		add_choices(to, parameter);
	add_limits(to, parameter);
	add_standard(to, parameter);
	if (parameter->place == IN_BODY && parameter->description)
	{
		buffer_add_char(to, ',');
		add_member(to, "description", parameter->description);
	}
	if (parameter->is_secret)
		buffer_add_text(to, ",\"writeOnly\":true");
	buffer_add_char(to, '}');
}

static const Parameter *
parameter_of(const Route *route, int place)
{
	return place < ROUTE_PARAMETERS && route->parameters[place].name ? &route->parameters[place]
																	 : NULL;
}

static void
add_parameters(Buffer *to, const Route *route)
{
	static const char *const places[] = {
		[IN_PATH] = "path", [IN_QUERY] = "query", [IN_HEADER] = "header"};
	const Parameter *parameter;

	buffer_add_text(to, ",\"parameters\":[");
	for (int i = 0; (parameter = parameter_of(route, i)) != NULL; i++)
	{
		if (parameter->place == IN_BODY || parameter->place == IN_WHOLE)
			continue;
		buffer_add_char(to, '{');
		add_member(to, "name", parameter->name);
		buffer_print(to, ",\"in\":\"%s\",\"required\":%s,", places[parameter->place],
					 parameter->is_required || parameter->place == IN_PATH ? "true" : "false");
		add_member(to, "description", parameter->description ? parameter->description : "");
		buffer_add_text(to, ",\"schema\":");
		add_schema(to, parameter);
		buffer_add_text(to, "},");
	}
	if (!route->is_write && route->roles != ROLE_NOBODY)
		buffer_add_text(to, "{\"$ref\":\"#/components/parameters/lsn\"},");
	if (to->bytes[to->size - 1] == ',')
		to->size--;
	buffer_add_char(to, ']');
}

static void
add_whole(Buffer *to, const Parameter *parameter)
{
	buffer_print(to, ",\"requestBody\":{\"required\":%s,\"content\":{\"%s\":{\"schema\":",
				 parameter->is_required ? "true" : "false",
				 parameter->type == TYPE_BYTES ? "*/*" : "application/json");
	add_schema(to, parameter);
	buffer_add_text(to, "}}}");
}

static void
add_body(Buffer *to, const Route *route)
{
	const Parameter *parameter;
	int count = 0;
	int required = 0;

	for (int i = 0; (parameter = parameter_of(route, i)) != NULL; i++)
	{
		if (parameter->place == IN_WHOLE)
		{
			add_whole(to, parameter);
			return;
		}
		count += parameter->place == IN_BODY;
		required += parameter->place == IN_BODY && parameter->is_required;
	}
	if (count == 0)
		return;
	buffer_print(to,
				 ",\"requestBody\":{\"required\":%s,\"content\":{\"application/json\":{\"schema\":{"
				 "\"type\":\"object\",\"additionalProperties\":false,\"properties\":{",
				 required > 0 ? "true" : "false");
	for (int i = 0; (parameter = parameter_of(route, i)) != NULL; i++)
	{
		if (parameter->place != IN_BODY)
			continue;
		add_string(to, parameter->name);
		buffer_add_char(to, ':');
		add_schema(to, parameter);
		buffer_add_char(to, --count > 0 ? ',' : '}');
	}
	if (required > 0)
		buffer_add_text(to, ",\"required\":[");
	for (int i = 0; (parameter = parameter_of(route, i)) != NULL; i++)
	{
		if (parameter->place != IN_BODY || !parameter->is_required)
			continue;
		add_string(to, parameter->name);
		buffer_add_char(to, --required > 0 ? ',' : ']');
	}
	buffer_add_text(to, "}}}}");
}

/* ---- answers ---- */

/* A line of a route's columns. */
typedef struct Column
{
	char name[64];
	char type[16];
	char what[200];
} Column;

/*
 * Copies a word, or the rest of the line, and returns what is behind it.
 */
static const char *
take_word(const char *at, const char *end, bool is_last, char *to, size_t room)
{
	const char *blank = is_last ? NULL : memchr(at, ' ', (size_t) (end - at));
	size_t size = (size_t) ((blank ? blank : end) - at);

	snprintf(to, room, "%.*s", (int) size, at);
	return blank ? blank + 1 : end;
}

static const char *
next_column(const char *at, Column *column)
{
	const char *end = strchr(at, '\n');

	if (end == NULL)
		return NULL;
	at = take_word(at, end, false, column->name, sizeof(column->name));
	at = take_word(at, end, false, column->type, sizeof(column->type));
	(void) take_word(at, end, true, column->what, sizeof(column->what));
	return end + 1;
}

static void
add_column(Buffer *to, const Column *column)
{
	bool is_string =
		strcmp(column->type, "date-time") == 0 || strcmp(column->type, "duration") == 0;

	add_string(to, column->name);
	buffer_print(to, ":{\"type\":[\"%s\",\"null\"]", is_string ? "string" : column->type);
	if (is_string)
		buffer_print(to, ",\"format\":\"%s\"", column->type);
	if (column->what[0])
	{
		buffer_add_char(to, ',');
		add_member(to, "description", column->what);
	}
	buffer_add_char(to, '}');
}

static void
add_answer_schema(Buffer *to, const Route *route)
{
	const char *at = route->columns;
	bool is_first = true;
	Column column;

	if (at == NULL)
	{
		buffer_add_text(to, "{}");
		return;
	}
	if (route->shape == SHAPE_ROWS)
		buffer_add_text(to, "{\"type\":\"array\",\"items\":");
	buffer_add_text(to, "{\"type\":\"object\",\"properties\":{");
	while ((at = next_column(at, &column)) != NULL)
	{
		if (!is_first)
			buffer_add_char(to, ',');
		add_column(to, &column);
		is_first = false;
	}
	buffer_add_text(to, route->shape == SHAPE_ROWS ? "}}}" : "}}");
}

static void
add_responses(Buffer *to, const Route *route)
{
	const char *type = route->answer ? route->answer : "application/json";

	buffer_add_text(to, ",\"responses\":{");
	if (route->shape == SHAPE_NOTHING)
		buffer_add_text(to, "\"204\":{\"description\":\"done\"");
	else
	{
		buffer_print(to, "\"%s\":{\"description\":\"%s\",\"content\":{",
					 route->shape == SHAPE_CREATED ? "201" : "200",
					 route->shape == SHAPE_CREATED ? "made" : "the answer");
		add_string(to, type);
		buffer_add_text(to, ":{\"schema\":");
		add_answer_schema(to, route);
		buffer_add_text(to, "}}");
	}
	if (route->is_write)
		buffer_add_text(to,
						",\"headers\":{\"Aurora-LSN\":{\"$ref\":\"#/components/headers/lsn\"}}");
	buffer_add_char(to, '}');
	if (route->caching == CACHE_ETAG)
		buffer_add_text(to, ",\"304\":{\"description\":\"unchanged, see If-None-Match\"}");
	buffer_add_text(to, ",\"default\":{\"$ref\":\"#/components/responses/problem\"}}");
}

static const char *
role_names(unsigned roles, char *to, size_t size)
{
	static const char *const names[] = {"user", "agent", "node", "monitor"};
	size_t used = 0;

	to[0] = '\0';
	for (int i = 0; i < 4; i++)
		if (roles & 1u << i)
			used +=
				(size_t) snprintf(to + used, size - used, "%s%s", used > 0 ? ", " : "", names[i]);
	return to;
}

static void
add_operation(Buffer *to, const Route *route)
{
	Buffer text = {0};
	char roles[64];

	if (route->description)
		buffer_print(&text, "%s ", route->description);
	if (route->roles != ROLE_NOBODY)
		buffer_print(&text, "Roles of keys: %s.", role_names(route->roles, roles, sizeof(roles)));
	for (const char *c = method_names[route->method]; *c; c++)
		buffer_print(to, "%s%c", c == method_names[route->method] ? "\"" : "", *c | 0x20);
	buffer_add_text(to, "\":{");
	add_member(to, "operationId", route_statement(route));
	buffer_print(to, ",\"tags\":[\"%s\"],", group_names[route->group]);
	add_member(to, "summary", route->summary);
	if (text.size > 0)
	{
		buffer_add_char(to, ',');
		add_member(to, "description", text.bytes);
	}
	if (route->roles == ROLE_NOBODY)
		buffer_add_text(to, ",\"security\":[]");
	add_parameters(to, route);
	add_body(to, route);
	add_responses(to, route);
	buffer_add_char(to, '}');
	buffer_wipe(&text);
}

/* ---- the whole ---- */

static bool
is_first_of_path(const Route *route)
{
	for (const Route *other = route_next(NULL); other != route; other = route_next(other))
		if (strcmp(other->path, route->path) == 0)
			return false;
	return true;
}

/*
 * The star of a parameter that takes all that follows is this program's own.
 */
static void
add_template(Buffer *to, const char *path)
{
	size_t size = strlen(path);
	char *template = memory_copy(path);

	if (size > 2 && strcmp(path + size - 2, "*}") == 0)
		strcpy(template + size - 2, "}");
	add_string(to, template);
	free(template);
}

static void
add_path(Buffer *to, const Route *route)
{
	bool is_first = true;

	add_template(to, route->path);
	buffer_add_text(to, ":{");
	for (const Route *other = route; other; other = route_next(other))
	{
		if (strcmp(other->path, route->path) != 0)
			continue;
		if (!is_first)
			buffer_add_char(to, ',');
		add_operation(to, other);
		is_first = false;
	}
	buffer_add_char(to, '}');
}

static const char head[] =
	"{\"openapi\":\"3.1.0\",\"info\":{\"title\":\"aurora\",\"version\":\"" AURORA_VERSION
	"\",\"summary\":\"The control plane of a small company, on a few nodes of PostgreSQL\","
	"\"license\":{\"name\":\"PostgreSQL License\",\"identifier\":\"PostgreSQL\"}},"
	"\"security\":[{\"key\":[]},{\"session\":[]}],\"paths\":{";

static const char tail[] =
	"},\"components\":{\"securitySchemes\":{"
	"\"key\":{\"type\":\"http\",\"scheme\":\"bearer\",\"description\":\"An API key, aur_...\"},"
	"\"session\":{\"type\":\"apiKey\",\"in\":\"cookie\",\"name\":\"aurora_session\","
	"\"description\":\"Of a web page; writes also need the header X-CSRF-Token.\"}},"
	"\"parameters\":{\"lsn\":{\"name\":\"Aurora-LSN\",\"in\":\"header\",\"required\":false,"
	"\"description\":\"Of the answer to a write: the read has what that wrote.\","
	"\"schema\":{\"type\":\"string\",\"pattern\":\"^[0-9A-Fa-f]{1,8}/[0-9A-Fa-f]{1,8}$\"}}},"
	"\"headers\":{\"lsn\":{\"description\":\"Where the write ended, for reads that have to have "
	"it.\","
	"\"schema\":{\"type\":\"string\"}}},"
	"\"responses\":{\"problem\":{\"description\":\"what went wrong\",\"content\":{"
	"\"application/problem+json\":{\"schema\":{\"$ref\":\"#/components/schemas/Problem\"}}}}},"
	"\"schemas\":{\"Problem\":{\"type\":\"object\",\"required\":[\"type\",\"title\",\"status\","
	"\"request_id\"],\"properties\":{\"type\":{\"type\":\"string\"},\"title\":{\"type\":\"string\"}"
	","
	"\"status\":{\"type\":\"integer\"},\"detail\":{\"type\":\"string\"},\"hint\":{\"type\":"
	"\"string\"},"
	"\"parameter\":{\"type\":\"string\"},\"sqlstate\":{\"type\":\"string\"},"
	"\"request_id\":{\"type\":\"string\"}}}}}}\n";

void
describe_openapi(Buffer *to)
{
	bool is_first = true;

	buffer_add_text(to, head);
	for (const Route *route = route_next(NULL); route; route = route_next(route))
	{
		if (!is_first_of_path(route))
			continue;
		if (!is_first)
			buffer_add_char(to, ',');
		add_path(to, route);
		is_first = false;
	}
	buffer_add_text(to, tail);
}

/* ---- documentation ---- */

static void
add_parameter_rows(Buffer *to, const Route *route)
{
	static const char *const places[] = {"path", "query", "body", "header", "the whole body"};
	static const char *const types[TYPES] = {
		"text",			"name", "integer", "integer",	  "number",		"boolean",		  "time",
		"span of time", "UUID", "JSON",	   "JSON object", "JSON array", "array of texts", "bytes"};
	const Parameter *parameter;

	if (parameter_of(route, 0) == NULL)
		return;
	buffer_add_text(to, "\n| parameter | in | type | |\n|---|---|---|---|\n");
	for (int i = 0; (parameter = parameter_of(route, i)) != NULL; i++)
	{
		buffer_print(to, "| `%s`%s | %s | %s", parameter->name,
					 parameter->is_required ? ", required" : "", places[parameter->place],
					 types[parameter->type]);
		if (parameter->least < parameter->most && parameter->most < 1e15)
			buffer_print(to, " %.0f to %.0f", parameter->least, parameter->most);
		if (parameter->standard)
			buffer_print(to, ", %s", parameter->standard);
		buffer_print(to, " | %s", parameter->description ? parameter->description : "");
		for (int j = 0; parameter->choices && parameter->choices[j]; j++)
			buffer_print(to, "%s`%s`", j > 0 ? ", " : ": ", parameter->choices[j]);
		buffer_add_text(to, " |\n");
	}
}

static void
add_answer(Buffer *to, const Route *route)
{
	const char *at = route->columns;
	Column column;
	bool is_first = true;

	if (route->shape == SHAPE_NOTHING)
	{
		buffer_add_text(to, "\nAnswers 204.\n");
		return;
	}
	if (at == NULL)
	{
		buffer_print(to, "\nAnswers `%s`.\n", route->answer ? route->answer : "application/json");
		return;
	}
	buffer_print(to, "\nAnswers %s", route->shape == SHAPE_ROWS ? "an array of objects with " : "");
	while ((at = next_column(at, &column)) != NULL)
	{
		buffer_print(to, "%s`%s`", is_first ? "" : ", ", column.name);
		if (column.what[0])
			buffer_print(to, " (%s)", column.what);
		is_first = false;
	}
	buffer_add_text(to, ".\n");
}

static void
add_section(Buffer *to, const Route *route)
{
	char roles[64];

	buffer_print(to, "\n### %s %s\n\n%s. %s%s", method_names[route->method], route->path,
				 route->summary, route->description ? route->description : "",
				 route->description ? " " : "");
	if (route->roles == ROLE_NOBODY)
		buffer_add_text(to, "Needs no key.\n");
	else
		buffer_print(to, "For keys with the role %s.%s\n",
					 role_names(route->roles, roles, sizeof(roles)),
					 route->is_write ? " Goes to the lead." : "");
	add_parameter_rows(to, route);
	add_answer(to, route);
}

void
describe_docs(Buffer *to)
{
	buffer_add_text(to, "# The HTTP interface\n\n"
						"Written by `aurora-gateway --api-docs` from its table of routes; the same "
						"is at `/openapi.json`. "
						"[gateway.md](gateway.md) tells how it works.\n");
	for (int group = 0; group < GROUPS; group++)
	{
		bool is_first = true;

		for (const Route *route = route_next(NULL); route; route = route_next(route))
		{
			if ((int) route->group != group)
				continue;
			if (is_first)
				buffer_print(to, "\n## %s\n", group_names[group]);
			is_first = false;
			add_section(to, route);
		}
	}
}
