/*
 * What a request asks for: its route, who asks, and the route's parameters.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/array.h"
#include "gateway/body.h"
#include "gateway/exchange.h"
#include "gateway/listener.h"
#include "gateway/parameters.h"
#include "gateway/token.h"

#define COOKIE "aurora_session"
#define LONGEST_TOKEN 4096

/* ---- the route ---- */

static void
write_methods(unsigned methods, char *to, size_t size)
{
	size_t used = 0;

	to[0] = '\0';
	methods |= 1u << METHOD_OPTIONS;
	for (int i = 0; i < METHODS; i++)
		if (methods & 1u << i)
			used += (size_t) snprintf(to + used, size - used, "%s%s", used > 0 ? ", " : "",
									  method_names[i]);
}

/*
 * The question of a browser whether a page may ask, and of anyone what may be asked.
 */
static void
answer_options(Request *request, unsigned methods)
{
	char list[80];

	write_methods(methods, list, sizeof(list));
	request_header(request, "Allow", list);
	if (request->origin)
	{
		request_header(request, "Access-Control-Allow-Methods", list);
		request_header(request, "Access-Control-Allow-Headers",
					   "Authorization, Content-Type, X-CSRF-Token, X-Node-Name, X-Request-Id, "
					   "If-None-Match, Aurora-LSN, Last-Event-ID");
		request_header(request, "Access-Control-Max-Age", "600");
	}
	request_answer(request, 204, NULL, NULL);
}

static void
refuse_method(Request *request, unsigned methods)
{
	char list[80];

	write_methods(methods, list, sizeof(list));
	request_header(request, "Allow", list);
	request_problem(request, 405, NULL, NULL, "this path does not have that method", NULL);
}

/*
 * A slash that was written %2F is a part of a value, and stands as this until the path is cut.
 */
#define HIDDEN_SLASH '\x01'

static void
replace(char *text, char from, char to)
{
	for (; *text; text++)
		if (*text == from)
			*text = to;
}

static void
hide_slashes(char *path)
{
	char *out = path;

	for (; *path; path++)
		if (strncasecmp(path, "%2f", 3) == 0)
		{
			*out++ = HIDDEN_SLASH;
			path += 2;
		}
		else
			*out++ = *path;
	*out = '\0';
}

/*
 * Decodes the path in place, with its hidden slashes; false when it is none that could be served.
 */
static bool
decode_path(Request *request, char *path)
{
	char *plain;
	long size;

	if (strchr(path, HIDDEN_SLASH) || strcasestr(path, "%01") || strchr(path, '#'))
		return false;
	hide_slashes(path);
	size = parameter_decode(path, strlen(path), false);
	if (size < 0)
		return false;
	plain = arena_copy(&request->inside->arena, path, (size_t) size);
	replace(plain, HIDDEN_SLASH, '/');
	return parameter_is_path(plain, (size_t) size);
}

bool
request_route(Request *request)
{
	RequestInside *inside = request->inside;
	char *path = inside->target;
	unsigned methods;

	inside->query = strchr(path, '?');
	if (inside->query)
		*inside->query++ = '\0';
	if (!decode_path(request, path))
	{
		request_problem(request, 400, NULL, NULL, "the path is none that could be served", NULL);
		return false;
	}
	inside->path = path;
	request->route = route_find(request->method, path, inside->groups, request->values, &methods);
	for (int i = 0; request->route && i < ROUTE_PARAMETERS; i++)
		if (request->values[i])
			replace((char *) request->values[i], HIDDEN_SLASH, '/');
	if (request->route)
		return true;
	if (methods == 0)
		request_problem(request, 404, NULL, NULL, "there is nothing at this path", NULL);
	else if (request->method == METHOD_OPTIONS)
		answer_options(request, methods);
	else
		refuse_method(request, methods);
	return false;
}

/* ---- who asks ---- */

static bool
refuse_credential(Request *request, const char *detail)
{
	request_problem(request, 401, NULL, NULL, detail,
					"Send a key as Authorization: Bearer aur_..., or log in.");
	return false;
}

/*
 * Whether there is such a key only the database knows; a text that can be none is not asked for.
 */
static bool
take_bearer(Request *request, const char *header)
{
	const char *key = header + 6;

	if (strncasecmp(header, "Bearer", 6) != 0 || (*key != ' ' && *key != '\0'))
		return refuse_credential(request, "only Bearer keys are taken");
	key += strspn(key, " ");
	if (!token_is_key(key))
		return refuse_credential(request, "the key is unknown, or its time is over");
	token_hash(key, request->credential.key_hash);
	request->credential.kind = CREDENTIAL_KEY;
	return true;
}

static bool
take_cookie(Request *request, const char *cookies)
{
	const char *token;
	size_t size = headers_cookie(cookies, COOKIE, &token);

	if (size == 0 && request->route->is_open)
		return true;
	if (size == 0 || size > LONGEST_TOKEN)
		return refuse_credential(request, "this needs a key");
	request->credential.kind = CREDENTIAL_SESSION;
	request->credential.token = arena_copy(&request->inside->arena, token, size);
	request->credential.csrf = request->inside->headers.values[HEADER_CSRF_TOKEN];
	return true;
}

bool
request_credential(Request *request)
{
	const Headers *headers = &request->inside->headers;

	request->credential.node = headers->values[HEADER_NODE_NAME];
	if (request->route->roles == ROLE_NOBODY)
		return true;
	if (headers->values[HEADER_AUTHORIZATION])
		return take_bearer(request, headers->values[HEADER_AUTHORIZATION]);
	if (headers->values[HEADER_COOKIE])
		return take_cookie(request, headers->values[HEADER_COOKIE]);
	if (request->route->is_open)
		return true;
	return refuse_credential(request, "this needs a key");
}

/* ---- parameters ---- */

static int
find(const Route *route, Place place, const char *name)
{
	for (int i = 0; i < ROUTE_PARAMETERS && route->parameters[i].name; i++)
		if (route->parameters[i].place == place && strcmp(route->parameters[i].name, name) == 0)
			return i;
	return -1;
}

static bool
take_text(Request *request, int place, const char *text, size_t size)
{
	const Parameter *parameter = &request->route->parameters[place];
	const char *wrong =
		parameter_check(parameter, &request->inside->arena, text, size, &request->values[place]);

	if (wrong)
		request_refuse_parameter(request, parameter->name, wrong);
	return wrong == NULL;
}

static bool
take_query(Request *request)
{
	char *query = request->inside->query;
	char *name;
	char *value;
	int found = 0;

	while (query && (found = parameter_next(&query, &name, &value)) > 0)
	{
		int place = find(request->route, IN_QUERY, name);

		if (place < 0)
		{
			request_refuse_parameter(request, name, "is no parameter of this path");
			return false;
		}
		if (request->values[place])
		{
			request_refuse_parameter(request, name, "is given twice");
			return false;
		}
		if (!take_text(request, place, value, strlen(value)))
			return false;
	}
	if (found < 0)
		request_problem(request, 400, NULL, NULL, "the query is not encoded as one", NULL);
	return found >= 0;
}

static const char *
take_strings(Request *request, int place, const json_t *json)
{
	Buffer array = {0};
	const char *wrong = json_is_array(json) ? NULL : "is no array of texts";
	size_t index;
	const json_t *element;

	json_array_foreach(json, index, element)
	{
		if (!json_is_string(element))
			wrong = "is no array of texts";
		else
			array_add_text(&array, json_string_value(element), json_string_length(element));
	}
	array_end(&array);
	if (wrong == NULL)
		request->values[place] = arena_copy(&request->inside->arena, array.bytes, array.size);
	buffer_wipe(&array);
	return wrong;
}

/*
 * Is the JSON value of the kind that the parameter's type is written as?
 */
static const char *
check_kind(ParameterType type, const json_t *json)
{
	switch (type)
	{
		case TYPE_INT:
		case TYPE_BIGINT:
			return json_is_number(json) ? NULL : "is no whole number";
		case TYPE_NUMBER:
			return json_is_number(json) ? NULL : "is no number";
		case TYPE_BOOLEAN:
			return json_is_boolean(json) ? NULL : "is neither true nor false";
		case TYPE_OBJECT:
			return json_is_object(json) ? NULL : "is no object";
		case TYPE_ARRAY:
			return json_is_array(json) ? NULL : "is no array";
		case TYPE_JSON:
		case TYPE_TEXTS:
			return NULL;
		default:
			return json_is_string(json) ? NULL : "is no text";
	}
}

/*
 * What is no text is passed on as it was written.
 */
static bool
take_member(Request *request, int place, const json_t *json)
{
	const Parameter *parameter = &request->route->parameters[place];
	const char *wrong = check_kind(parameter->type, json);
	const char *written;
	size_t size;

	if (wrong == NULL && parameter->type == TYPE_TEXTS)
		wrong = take_strings(request, place, json);
	if (wrong)
	{
		request_refuse_parameter(request, parameter->name, wrong);
		return false;
	}
	if (parameter->type == TYPE_TEXTS)
		return true;
	if (json_is_string(json) && parameter->type != TYPE_JSON)
		return take_text(request, place, json_string_value(json), json_string_length(json));
	written = body_find(request->body.bytes, request->body.size, parameter->name, &size);
	if (written == NULL)
		return true;
	return take_text(request, place, arena_copy(&request->inside->arena, written, size), size);
}

static bool
takes_type(const char *type, const char *wanted)
{
	size_t length = strlen(wanted);

	return type && strncasecmp(type, wanted, length) == 0 &&
		   (type[length] == '\0' || type[length] == ';' || type[length] == ' ');
}

static bool
read_json(Request *request)
{
	const char *wrong;

	if (!takes_type(request->inside->headers.values[HEADER_CONTENT_TYPE], "application/json"))
	{
		request_problem(request, 415, NULL, NULL, "the body has to be application/json", NULL);
		return false;
	}
	request->json = body_read(request->body.bytes, request->body.size, &wrong);
	if (wrong)
		request_refuse_parameter(request, "body", wrong);
	return request->json != NULL;
}

static bool
take_members(Request *request)
{
	const char *name;
	json_t *value;

	if (!json_is_object(request->json))
	{
		request_refuse_parameter(request, "body", "is no JSON object");
		return false;
	}
	json_object_foreach(request->json, name, value)
	{
		int place = find(request->route, IN_BODY, name);

		if (place < 0)
		{
			request_refuse_parameter(request, name, "is no parameter of this path");
			return false;
		}
		if (!json_is_null(value) && !take_member(request, place, value))
			return false;
		if (json_is_null(value) && request->route->parameters[place].type == TYPE_JSON)
			request->values[place] = "null";
	}
	return true;
}

static bool
take_whole(Request *request, int place)
{
	const Parameter *parameter = &request->route->parameters[place];
	const char *wrong;

	if (request->body.size == 0)
		return true;
	request->values[place] = request->body.bytes;
	if (parameter->type == TYPE_BYTES)
		return true;
	if (!read_json(request))
		return false;
	wrong = check_kind(parameter->type, request->json);
	if (wrong)
		request_refuse_parameter(request, parameter->name, wrong);
	return wrong == NULL;
}

static bool
take_body(Request *request)
{
	const Route *route = request->route;

	for (int i = 0; i < ROUTE_PARAMETERS && route->parameters[i].name; i++)
		if (route->parameters[i].place == IN_WHOLE)
			return take_whole(request, i);
	return request->body.size == 0 || (read_json(request) && take_members(request));
}

/*
 * Those of the path are there, but not checked.
 */
static bool
take_others(Request *request)
{
	const Route *route = request->route;

	for (int i = 0; i < ROUTE_PARAMETERS && route->parameters[i].name; i++)
	{
		const Parameter *parameter = &route->parameters[i];
		const char *value = request->values[i];

		if (parameter->place == IN_HEADER)
			value = request_header_of(request, parameter->name);
		if ((parameter->place == IN_HEADER || parameter->place == IN_PATH) && value &&
			!take_text(request, i, value, strlen(value)))
			return false;
		if (request->values[i])
			continue;
		if (parameter->is_required)
		{
			request_refuse_parameter(request, parameter->name, "is missing");
			return false;
		}
		request->values[i] = parameter->standard;
	}
	return true;
}

static bool
take_lsn(Request *request)
{
	const char *lsn = request->inside->headers.values[HEADER_LSN];

	if (lsn == NULL || *lsn == '\0')
		return true;
	if (!token_is_lsn(lsn))
	{
		request_refuse_parameter(request, "Aurora-LSN", "is no position as 0/16B3748");
		return false;
	}
	request->lsn = lsn;
	return true;
}

bool
parameters_take(Request *request)
{
	return take_lsn(request) && take_query(request) && take_body(request) && take_others(request);
}
