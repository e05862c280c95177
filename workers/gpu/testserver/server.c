/*
 * What the test server answers over HTTP.
 */
#include "gpu/testserver/server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "gpu/testserver/answer.h"

#define LONGEST_BODY ((size_t) 16 << 20)
#define PIECE 65536

Server server = {.slots = 4, .owner = "aurora-test-server"};

/* A request while its body comes, and its answer while that goes. */
typedef struct Exchange
{
	struct MHD_Connection *connection;
	Buffer body;
	Answer *answer;
	Buffer event; /* that is being sent */
	size_t sent;
	bool has_slot;
} Exchange;

static void
wait_ms(int milliseconds)
{
	struct timespec time = {milliseconds / 1000, (long) (milliseconds % 1000) * 1000000};

	if (milliseconds > 0)
		nanosleep(&time, NULL);
}

/*
 * Waits while there is nothing to say; false when the client has gone.
 */
static bool
client_waits(struct MHD_Connection *connection)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
	char byte;

	wait_ms(50);
	return info && recv(info->connect_fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) != 0;
}

/* ---- answers ---- */

static enum MHD_Result
send_text(struct MHD_Connection *connection, unsigned status, const char *type, const char *text,
		  const char *header, const char *value)
{
	struct MHD_Response *response =
		MHD_create_response_from_buffer(strlen(text), (void *) text, MHD_RESPMEM_MUST_COPY);
	enum MHD_Result result;

	MHD_add_response_header(response, "Content-Type", type);
	if (header)
		MHD_add_response_header(response, header, value);
	result = MHD_queue_response(connection, status, response);
	MHD_destroy_response(response);
	return result;
}

static enum MHD_Result
send_json(struct MHD_Connection *connection, unsigned status, json_t *json, const char *header,
		  const char *value)
{
	char *text = json_dumps(json, JSON_COMPACT);
	enum MHD_Result result =
		send_text(connection, status, "application/json", text ? text : "{}", header, value);

	free(text);
	json_decref(json);
	return result;
}

static enum MHD_Result
send_error(struct MHD_Connection *connection, unsigned status, const char *type, const char *code,
		   const char *message)
{
	return send_json(connection, status,
					 json_pack("{s:{s:s,s:s,s:n,s:s?}}", "error", "message", message, "type", type,
							   "param", "code", code),
					 status == 429 && code == NULL ? "Retry-After" : NULL, "1");
}

/*
 * Faults that are told before there is a stream; MHD_NO and *is_sent false for others.
 */
static enum MHD_Result
send_fault(struct MHD_Connection *connection, Fault fault, bool *is_sent)
{
	*is_sent = true;
	switch (fault)
	{
		case FAULT_500:
			return send_error(connection, 500, "server_error", NULL, "something broke");
		case FAULT_429:
			return send_error(connection, 429, "rate_limit_error", NULL, "too many requests");
		case FAULT_QUOTA:
			return send_error(connection, 429, "insufficient_quota", "insufficient_quota",
							  "the quota is used up");
		case FAULT_503:
			return send_error(connection, 503, "unavailable_error", NULL, "Loading model");
		case FAULT_400:
			return send_error(connection, 400, "invalid_request_error", NULL, "that is no request");
		case FAULT_404:
			return send_error(connection, 404, "invalid_request_error", "model_not_found",
							  "there is no such model");
		case FAULT_HANG_HEAD:
			while (client_waits(connection))
				;
			return MHD_NO;
		default:
			*is_sent = false;
			return MHD_NO;
	}
}

/* ---- streams ---- */

static void
free_exchange(Exchange *exchange)
{
	if (exchange->has_slot)
		atomic_fetch_sub(&server.busy, 1);
	answer_free(exchange->answer);
	buffer_wipe(&exchange->body);
	buffer_wipe(&exchange->event);
	free(exchange);
}

static ssize_t
give_piece(void *context, uint64_t position, char *to, size_t room)
{
	Exchange *exchange = context;
	Answer *answer = exchange->answer;
	bool is_dripping = answer->fault == FAULT_DRIP;
	size_t size;

	(void) position;
	if (exchange->sent == exchange->event.size)
	{
		if (answer->count == 4 && answer->fault == FAULT_CUT)
			return MHD_CONTENT_READER_END_WITH_ERROR;
		if (answer->count == 4 && answer->fault == FAULT_END)
			return MHD_CONTENT_READER_END_OF_STREAM;
		if (answer->count == 4 && answer->fault == FAULT_HANG)
			return client_waits(exchange->connection) ? 0 : MHD_CONTENT_READER_END_WITH_ERROR;
		if (answer->phase == 1)
			wait_ms(answer->delay);
		buffer_clear(&exchange->event);
		exchange->sent = 0;
		if (!answer_next(answer, &exchange->event))
			return MHD_CONTENT_READER_END_OF_STREAM;
	}
	size = exchange->event.size - exchange->sent;
	if (size > room)
		size = room;
	if (is_dripping)
	{
		size = 1;
		wait_ms(1000);
	}
	memcpy(to, exchange->event.bytes + exchange->sent, size);
	exchange->sent += size;
	return (ssize_t) size;
}

static enum MHD_Result
send_stream(struct MHD_Connection *connection, Exchange *exchange)
{
	struct MHD_Response *response =
		MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, PIECE, give_piece, exchange, NULL);
	enum MHD_Result result;

	MHD_add_response_header(response, "Content-Type", "text/event-stream");
	MHD_add_response_header(response, "Cache-Control", "no-cache");
	result = MHD_queue_response(connection, 200, response);
	MHD_destroy_response(response);
	return result;
}

/* ---- requests ---- */

/*
 * A fault by the model's name, a header, the address, or in turn.
 */
static Fault
choose_fault(struct MHD_Connection *connection, const char *model)
{
	Fault fault = fault_find(MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "X-Fault"));
	int number = atomic_fetch_add(&server.generations, 1) + 1;

	if (fault == FAULT_NONE)
		fault = fault_find(MHD_lookup_connection_value(connection, MHD_GET_ARGUMENT_KIND, "fault"));
	if (fault == FAULT_NONE && strncmp(model, "test-", 5) == 0)
		fault = fault_find(model + 5);
	if (fault == FAULT_NONE && server.fault_every > 0 && number % server.fault_every == 0)
	{
		/* Those that end soon by themselves, and may go well the next time. */
		static const Fault in_turn[] = {FAULT_CUT,	 FAULT_END,		FAULT_500,
										FAULT_UTF8,	 FAULT_NUL,		FAULT_SPLIT,
										FAULT_ERROR, FAULT_GARBAGE, FAULT_429};

		fault = in_turn[number / server.fault_every % (int) (sizeof(in_turn) / sizeof(Fault))];
	}
	return fault;
}

static enum MHD_Result
generate(struct MHD_Connection *connection, Exchange *exchange, const json_t *body, bool is_chat)
{
	Answer *answer = answer_make(body, is_chat);
	enum MHD_Result result;
	bool is_sent;

	exchange->answer = answer;
	if (answer->problem)
		return send_error(connection, 400, "invalid_request_error", NULL, answer->problem);
	if (strncmp(answer->model, "test", 4) != 0)
		return send_error(connection, 404, "invalid_request_error", "model_not_found",
						  "there is no such model");
	exchange->has_slot = true;
	if (atomic_fetch_add(&server.busy, 1) >= server.slots)
		return send_error(connection, 503, "unavailable_error", NULL, "all slots are busy");
	answer->fault = choose_fault(connection, answer->model);
	answer->delay = answer->fault == FAULT_SLOW ? 200 : server.delay;
	result = send_fault(connection, answer->fault, &is_sent);
	if (is_sent)
		return result;
	if (answer->is_stream)
		return send_stream(connection, exchange);
	wait_ms(answer->delay * 10);
	return send_json(connection, 200, answer_whole(answer), NULL, NULL);
}

static enum MHD_Result
post(struct MHD_Connection *connection, Exchange *exchange, const char *path)
{
	json_t *body =
		json_loadb(exchange->body.bytes ? exchange->body.bytes : "", exchange->body.size, 0, NULL);
	enum MHD_Result result;
	json_t *vectors;

	if (!json_is_object(body))
		result = send_error(connection, 400, "invalid_request_error", NULL, "the body is no JSON");
	else if (strcmp(path, "/v1/chat/completions") == 0)
		result = generate(connection, exchange, body, true);
	else if (strcmp(path, "/v1/completions") == 0)
		result = generate(connection, exchange, body, false);
	else if (strcmp(path, "/v1/embeddings") == 0)
	{
		vectors = answer_embeddings(body);
		result = vectors ? send_json(connection, 200, vectors, NULL, NULL)
						 : send_error(connection, 400, "invalid_request_error", NULL,
									  "'input' is required");
	}
	else
		result = send_error(connection, 404, "invalid_request_error", NULL, "no such page");
	json_decref(body);
	return result;
}

static json_t *
make_models(void)
{
	json_t *data = json_array();

	for (int i = 0; i < FAULT_COUNT; i++)
	{
		Buffer name = {0};

		buffer_print(&name, "test%s%s", i > 0 ? "-" : "", i > 0 ? fault_names[i] : "");
		(void) json_array_append_new(data, json_pack("{s:s,s:s,s:i,s:s,s:{s:i,s:i}}", "id",
													 name.bytes, "object", "model", "created",
													 1735142223, "owned_by", server.owner, "meta",
													 "n_ctx_train", 4096, "size", 1000000));
		buffer_wipe(&name);
	}
	return json_pack("{s:s,s:o}", "object", "list", "data", data);
}

static json_t *
make_slots(void)
{
	json_t *slots = json_array();
	int busy = atomic_load(&server.busy);

	for (int i = 0; i < server.slots; i++)
		(void) json_array_append_new(
			slots, json_pack("{s:i,s:i,s:b}", "id", i, "n_ctx", 4096, "is_processing", i < busy));
	return slots;
}

static enum MHD_Result
get(struct MHD_Connection *connection, const char *path)
{
	char metrics[256];

	if (strcmp(path, "/health") == 0)
		return atomic_load(&server.is_loading)
				   ? send_error(connection, 503, "unavailable_error", NULL, "Loading model")
				   : send_json(connection, 200, json_pack("{s:s}", "status", "ok"), NULL, NULL);
	if (strcmp(path, "/v1/models") == 0)
		return send_json(connection, 200, make_models(), NULL, NULL);
	if (strcmp(path, "/slots") == 0)
		return send_json(connection, 200, make_slots(), NULL, NULL);
	if (strcmp(path, "/api/ps") == 0)
		return send_json(connection, 200,
						 json_pack("{s:[{s:s,s:i,s:i}]}", "models", "name", "test", "size_vram",
								   900000, "context_length", 2048),
						 NULL, NULL);
	if (strcmp(path, "/metrics") == 0)
	{
		snprintf(metrics, sizeof(metrics),
				 "# TYPE vllm:num_requests_running gauge\n"
				 "vllm:num_requests_running{model_name=\"test\"} %d\n"
				 "vllm:num_requests_waiting{model_name=\"test\"} 0\n",
				 atomic_load(&server.busy));
		return send_text(connection, 200, "text/plain", metrics, NULL, NULL);
	}
	return send_error(connection, 404, "invalid_request_error", NULL, "no such page");
}

static bool
may_enter(struct MHD_Connection *connection, const char *path)
{
	const char *given = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Authorization");

	return server.api_key == NULL || strcmp(path, "/health") == 0 ||
		   (given && strncmp(given, "Bearer ", 7) == 0 && strcmp(given + 7, server.api_key) == 0);
}

enum MHD_Result
server_handle(void *context, struct MHD_Connection *connection, const char *path,
			  const char *method, const char *version, const char *data, size_t *size, void **state)
{
	Exchange *exchange = *state;

	(void) context;
	(void) version;
	if (exchange == NULL)
	{
		*state = exchange = memory_get(sizeof(Exchange));
		exchange->connection = connection;
		return MHD_YES;
	}
	if (*size > 0)
	{
		if (exchange->body.size + *size > LONGEST_BODY)
			return MHD_NO;
		buffer_add(&exchange->body, data, *size);
		*size = 0;
		return MHD_YES;
	}
	if (!may_enter(connection, path))
		return send_error(connection, 401, "authentication_error", "invalid_api_key",
						  "the key is wrong");
	return strcmp(method, "POST") == 0 ? post(connection, exchange, path) : get(connection, path);
}

void
server_completed(void *context, struct MHD_Connection *connection, void **state,
				 enum MHD_RequestTerminationCode code)
{
	(void) context;
	(void) connection;
	(void) code;
	if (*state)
		free_exchange(*state);
	*state = NULL;
}
