/*
 * A request, from its headers to its answer.
 */
#include "gateway/exchange.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>

#include "common/clock.h"
#include "common/log.h"
#include "gateway/access.h"
#include "gateway/etag.h"
#include "gateway/listener.h"
#include "gateway/metrics.h"
#include "gateway/stream.h"

/* ---- one after the other ---- */

void
request_open(Request *request, Client *client)
{
	request->gateway = client->gateway;
	request->client = client;
	request->inside = memory_get(sizeof(RequestInside));
	request->inside->groups = client->listener->config->groups;
}

/*
 * Makes room for the next one on the same connection. What the body's buffer has is kept, unless it
 * is large.
 */
static void
clear(Request *request)
{
	RequestInside *inside = request->inside;

	if (inside->ticket)
		pool_cancel(inside->ticket);
	if (inside->is_behind)
		lsn_forget(request);
	if (inside->response)
		MHD_destroy_response(inside->response);
	if (inside->taken)
		inside->taken(inside->taken_context, -1, NULL, 0, NULL);
	if (request->json)
		json_decref(request->json);
	request->json = NULL;
	if (request->body.size > 0)
		buffer_wipe(&request->body);
	arena_clear(&inside->arena);
	memset(&inside->headers, 0, sizeof(inside->headers));
	memset(request->values, 0, sizeof(request->values));
	memset(&request->credential, 0, sizeof(request->credential));
	inside->phase = PHASE_IDLE;
	inside->target = inside->path = inside->query = NULL;
	inside->added_count = 0;
	inside->response = NULL;
	inside->status = 0;
	inside->size = 0;
	inside->is_final = false;
	inside->ticket = NULL;
	inside->answer = NULL;
	inside->stream = NULL;
	inside->taken = NULL;
	request->route = NULL;
	request->spent_db = 0;
	request->if_none_match = request->lsn = request->origin = NULL;
	request->state = NULL;
	request->gone = NULL;
	request->id[0] = '\0';
}

static void
tell_gone(Request *request)
{
	void (*gone)(Request *) = request->gone;

	request->gone = NULL;
	if (request->inside->ticket)
		pool_cancel(request->inside->ticket);
	request->inside->ticket = NULL;
	if (request->inside->is_behind)
		lsn_forget(request);
	if (gone)
		gone(request);
}

void
request_close(Request *request)
{
	tell_gone(request);
	clear(request);
	buffer_wipe(&request->body);
	free(request->inside);
	request->inside = NULL;
}

bool
request_is_idle(const Request *request)
{
	return request->inside->phase == PHASE_IDLE;
}

/* ---- its beginning ---- */

/*
 * That of nginx, or a random one: two halves, of which the second counts.
 */
static void
set_id(Request *request)
{
	static uint64_t prefix;
	static uint32_t counter;
	static const char digits[] = "0123456789abcdef";
	const char *given = request->inside->headers.values[HEADER_REQUEST_ID];
	size_t size = request->inside->headers.sizes[HEADER_REQUEST_ID];
	uint64_t number;

	if (given && request->gateway->config->trust_forwarded && size < REQUEST_ID_SIZE && size > 0 &&
		strspn(given, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") == size)
	{
		memcpy(request->id, given, size + 1);
		return;
	}
	if (prefix == 0 && getrandom(&prefix, sizeof(prefix), 0) != sizeof(prefix))
		prefix = (uint64_t) clock_us();
	number = prefix;
	for (int i = 0; i < 16; i++, number >>= 4)
		request->id[i] = digits[number & 15];
	number = ++counter;
	for (int i = 23; i >= 16; i--, number >>= 4)
		request->id[i] = digits[number & 15];
	request->id[24] = '\0';
}

/*
 * nginx adds the address that it sees to the end of X-Forwarded-For.
 */
static void
set_address(Request *request)
{
	const char *forwarded = request->inside->headers.values[HEADER_FORWARDED_FOR];
	const union MHD_ConnectionInfo *info;
	const char *last;

	request->address[0] = '\0';
	if (forwarded && request->gateway->config->trust_forwarded)
	{
		last = strrchr(forwarded, ',');
		last = last ? last + 1 + strspn(last + 1, " ") : forwarded;
		if (strspn(last, "0123456789abcdefABCDEF.:") == strlen(last))
			snprintf(request->address, sizeof(request->address), "%s", last);
		return;
	}
	info = MHD_get_connection_info(request->connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
	if (info && info->client_addr)
		access_address(info->client_addr, request->address, sizeof(request->address));
}

void
request_take_line(Request *request, struct MHD_Connection *connection, const char *target)
{
	RequestInside *inside = request->inside;

	if (inside->phase != PHASE_IDLE)
		clear(request);
	request->connection = connection;
	request->started = clock_us();
	inside->target = arena_copy(&inside->arena, target, strlen(target));
	inside->phase = PHASE_HEADER;
}

static enum MHD_Result
take_header(void *context, enum MHD_ValueKind kind, const char *name, size_t name_size,
			const char *value, size_t value_size)
{
	(void) kind;
	headers_take(context, name, name_size, value, value_size);
	return MHD_YES;
}

static bool
find_method(Request *request, const char *method)
{
	for (int i = 0; i < METHODS; i++)
		if (strcmp(method_names[i], method) == 0)
		{
			request->method = (Method) i;
			return true;
		}
	request->method = METHOD_GET;
	request_header(request, "Allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
	request_problem(request, 501, NULL, NULL, "there is no such method here", NULL);
	return false;
}

/*
 * Whether a page of another origin may read the answer; and what it needs to hear for that.
 */
static void
set_origin(Request *request)
{
	const char *origin = request->inside->headers.values[HEADER_ORIGIN];

	if (origin && config_allows_origin(request->gateway->config, origin,
									   request->inside->headers.values[HEADER_HOST]))
		request->origin = origin;
}

/*
 * Reads all that the header has. Answers by itself when that is wrong, also before the body has
 * come, behind which the connection then ends.
 */
static void
take_headers(Request *request, const char *method, const char *version)
{
	RequestInside *inside = request->inside;
	const Config *config = request->gateway->config;
	bool is_10 = strcmp(version, "HTTP/1.0") == 0;

	headers_begin(&inside->headers, inside->target, version);
	MHD_get_connection_values_n(request->connection, MHD_HEADER_KIND, take_header,
								&inside->headers);
	set_id(request);
	set_address(request);
	inside->phase = PHASE_HANDLING;
	headers_end(&inside->headers, is_10, (size_t) config->header_limit,
				(size_t) config->body_limit);
	if (!is_10 && strcmp(version, "HTTP/1.1") != 0)
	{
		inside->is_final = true;
		request_problem(request, 505, NULL, NULL, "the gateway speaks HTTP/1.1", NULL);
		return;
	}
	if (inside->headers.status)
	{
		inside->is_final = true;
		request_problem(request, inside->headers.status, NULL, NULL, inside->headers.problem, NULL);
		return;
	}
	set_origin(request);
	request->if_none_match = inside->headers.values[HEADER_IF_NONE_MATCH];
	if (find_method(request, method) && request_route(request) && request_credential(request))
		inside->phase = PHASE_BODY;
}

/* ---- what the library calls ---- */

static enum MHD_Result
queue(Request *request)
{
	RequestInside *inside = request->inside;
	struct MHD_Response *response = inside->response;
	enum MHD_Result result;

	if (response == NULL)
		return MHD_NO;
	inside->response = NULL;
	inside->phase = PHASE_SENDING;
	result = MHD_queue_response(request->connection, (unsigned) inside->status, response);
	MHD_destroy_response(response);
	return result;
}

static enum MHD_Result
handle(Request *request)
{
	RequestInside *inside = request->inside;

	inside->phase = PHASE_HANDLING;
	if (parameters_take(request))
	{
		if (request->route->handle)
			request->route->handle(request);
		else
			request_serve(request);
	}
	if (inside->phase == PHASE_ANSWERED)
		return queue(request);
	inside->phase = PHASE_WAITING;
	client_suspend(request->client);
	return MHD_YES;
}

enum MHD_Result
request_take(Request *request, const char *method, const char *version, const char *data,
			 size_t *size)
{
	RequestInside *inside = request->inside;

	switch (inside->phase)
	{
		case PHASE_HEADER:
			take_headers(request, method, version);
			/* Without a body the library asks once more, and then need not end the connection. */
			if (inside->phase == PHASE_ANSWERED &&
				(inside->is_final || inside->headers.content_length > 0))
				return queue(request);
			if (inside->headers.content_length > 0)
				request->client->deadline = clock_ms() + request->gateway->config->body_timeout;
			return MHD_YES;
		case PHASE_BODY:
			if (*size > 0)
			{
				if (request->body.size + *size > (size_t) request->gateway->config->body_limit)
					return MHD_NO;
				buffer_add(&request->body, data, *size);
				*size = 0;
				return MHD_YES;
			}
			return handle(request);
		case PHASE_ANSWERED:
			return queue(request);
		case PHASE_SENDING:
			*size = 0;
			return MHD_YES;
		default:
			return MHD_NO;
	}
}

void
request_complete(Request *request, bool is_sent)
{
	RequestInside *inside = request->inside;

	tell_gone(request);
	if (inside->stream)
		stream_ended(inside->stream);
	if (inside->phase != PHASE_IDLE)
	{
		if (inside->status == 0)
			inside->status =
				request->client->is_late ? 408 : 499; /* for the log; nobody heard it */
		metrics_count(request->gateway->metrics, request, inside->status);
		access_log(request, is_sent);
	}
	clear(request);
}

void
request_gone(Request *request)
{
	RequestInside *inside = request->inside;

	if (inside->stream)
	{
		stream_gone(inside->stream);
		return;
	}
	if (inside->phase != PHASE_WAITING)
		return;
	inside->phase = PHASE_GONE;
	inside->status = 499;
	tell_gone(request);
	client_resume(request->client);
}

/* ---- answers ---- */

const char *
request_value(const Request *request, const char *name)
{
	for (int i = 0; i < ROUTE_PARAMETERS && request->route && request->route->parameters[i].name;
		 i++)
		if (strcmp(request->route->parameters[i].name, name) == 0)
			return request->values[i];
	return NULL;
}

const char *
request_header_of(const Request *request, const char *name)
{
	return MHD_lookup_connection_value(request->connection, MHD_HEADER_KIND, name);
}

void
request_header(Request *request, const char *name, const char *value)
{
	RequestInside *inside = request->inside;

	if (inside->added_count == REQUEST_HEADERS || value == NULL)
		return;
	inside->added[inside->added_count++] =
		(AddedHeader) {name, arena_copy(&inside->arena, value, strlen(value))};
}

void
request_finish_headers(Request *request, struct MHD_Response *response)
{
	RequestInside *inside = request->inside;

	for (int i = 0; i < inside->added_count; i++)
		MHD_add_response_header(response, inside->added[i].name, inside->added[i].value);
	MHD_add_response_header(response, "X-Request-Id", request->id);
	if (inside->headers.values[HEADER_ORIGIN])
	{
		MHD_add_response_header(response, "Vary", "Origin");
		if (request->origin)
		{
			MHD_add_response_header(response, "Access-Control-Allow-Origin", request->origin);
			MHD_add_response_header(response, "Access-Control-Allow-Credentials", "true");
			MHD_add_response_header(response, "Access-Control-Expose-Headers",
									"Aurora-LSN, ETag, Retry-After, X-Request-Id");
		}
	}
	if (inside->is_final || request->gateway->is_draining)
		MHD_add_response_header(response, "Connection", "close");
}

void
request_respond(Request *request, int status, struct MHD_Response *response)
{
	RequestInside *inside = request->inside;
	bool was_waiting = inside->phase == PHASE_WAITING;

	if (inside->phase != PHASE_HANDLING && !was_waiting)
	{
		MHD_destroy_response(response); /* answered twice, or gone */
		return;
	}
	inside->response = response;
	inside->status = status;
	inside->phase = PHASE_ANSWERED;
	request->gone = NULL;
	if (was_waiting)
		client_resume(request->client);
}

/*
 * What was in an answer may be a secret.
 */
static void
wipe(void *bytes)
{
	explicit_bzero(bytes, malloc_usable_size(bytes));
	free(bytes);
}

static struct MHD_Response *
make_response(Buffer *body)
{
	struct MHD_Response *response;

	if (body == NULL || body->bytes == NULL)
		return MHD_create_response_from_buffer(0, "", MHD_RESPMEM_PERSISTENT);
	response = MHD_create_response_from_buffer_with_free_callback(body->size, body->bytes, wipe);
	memset(body, 0, sizeof(*body));
	return response;
}

/*
 * A read that is the same as what the client has needs no body.
 */
static bool
is_unchanged(Request *request, int status, const Buffer *body, char tag[ETAG_SIZE])
{
	tag[0] = '\0';
	if (status != 200 || body == NULL || request->route == NULL ||
		request->route->caching != CACHE_ETAG)
		return false;
	etag_make(body->bytes, body->size, tag);
	return request->if_none_match && etag_matches(request->if_none_match, tag);
}

void
request_answer(Request *request, int status, const char *content_type, Buffer *body)
{
	RequestInside *inside = request->inside;
	struct MHD_Response *response;
	char tag[ETAG_SIZE];

	if (is_unchanged(request, status, body, tag))
	{
		status = 304;
		buffer_wipe(body);
		content_type = NULL;
	}
	inside->size = body ? body->size : 0;
	response = make_response(body);
	if (content_type)
		MHD_add_response_header(response, "Content-Type", content_type);
	MHD_add_response_header(response, "Cache-Control", tag[0] ? "private, no-cache" : "no-store");
	if (tag[0])
		MHD_add_response_header(response, "ETag", tag);
	request_finish_headers(request, response);
	request_respond(request, status, response);
}

void
request_answer_text(Request *request, int status, const char *content_type, const char *text)
{
	struct MHD_Response *response =
		MHD_create_response_from_buffer(strlen(text), (void *) text, MHD_RESPMEM_PERSISTENT);

	request->inside->size = strlen(text);
	MHD_add_response_header(response, "Content-Type", content_type);
	MHD_add_response_header(response, "Cache-Control", "no-store");
	request_finish_headers(request, response);
	request_respond(request, status, response);
}

/* ---- upgrade ---- */

static void
upgraded(void *context, struct MHD_Connection *connection, void *state, const char *extra,
		 size_t extra_size, MHD_socket fd, struct MHD_UpgradeResponseHandle *handle)
{
	Request *request = state;
	UpgradeTaken taken = request->inside->taken;

	(void) context;
	(void) connection;
	request->inside->taken = NULL;
	request->client->is_upgraded = true;
	request->client->deadline = LOOP_NEVER;
	if (taken)
		taken(request->inside->taken_context, fd, extra, extra_size, handle);
}

void
request_upgrade(Request *request, const char *protocol, UpgradeTaken taken, void *context)
{
	struct MHD_Response *response = MHD_create_response_for_upgrade(upgraded, NULL);

	request->inside->taken = taken;
	request->inside->taken_context = context;
	MHD_add_response_header(response, "Upgrade", protocol);
	request_finish_headers(request, response);
	request_respond(request, 101, response);
}
