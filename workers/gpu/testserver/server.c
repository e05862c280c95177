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

static atomic_bool *
loaded_flag(const char *model)
{
	return &server.is_loaded[strncmp(model, "test-", 5) == 0 ? fault_find(model + 5) : FAULT_NONE];
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
	if (server.load > 0 && !atomic_load(loaded_flag(answer->model)))
	{
		wait_ms(server.load);
		atomic_store(loaded_flag(answer->model), true);
	}
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

/* ---- pages about itself, of the server that it stands for ---- */

static bool
stands_for(const char *owner)
{
	return strcmp(server.owner, owner) == 0;
}

static void
name_model(Buffer *name, int fault)
{
	buffer_clear(name);
	buffer_print(name, "test%s%s", fault > 0 ? "-" : "", fault > 0 ? fault_names[fault] : "");
}

/*
 * vLLM tells how long a prompt may be, llama-server what is in the model's file, Ollama nothing.
 */
static json_t *
make_models(void)
{
	json_t *data = json_array();
	Buffer name = {0};

	for (int i = 0; i < FAULT_COUNT; i++)
	{
		json_t *model;

		name_model(&name, i);
		model = json_pack("{s:s,s:s,s:i,s:s}", "id", name.bytes, "object", "model", "created",
						  1735142223, "owned_by", server.owner);
		if (stands_for("vllm"))
			(void) json_object_update_new(model,
										  json_pack("{s:s,s:n,s:i,s:[]}", "root", name.bytes,
													"parent", "max_model_len", 8192, "permission"));
		else if (!stands_for("library"))
			(void) json_object_set_new(
				model, "meta", json_pack("{s:i,s:i}", "n_ctx_train", 4096, "size", 1000000));
		(void) json_array_append_new(data, model);
	}
	buffer_wipe(&name);
	return json_pack("{s:s,s:o}", "object", "list", "data", data);
}

static json_t *
make_slots(void)
{
	json_t *slots = json_array();
	int busy = atomic_load(&server.is_full) ? server.slots : atomic_load(&server.busy);

	for (int i = 0; i < server.slots; i++)
		(void) json_array_append_new(slots, json_pack("{s:i,s:i,s:i,s:b,s:{s:b,s:i,s:i}}", "id", i,
													  "id_task", -1, "n_ctx", 4096, "is_processing",
													  i < busy, "next_token", "has_next_token",
													  i < busy, "n_remain", -1, "n_decoded", 0));
	return slots;
}

/*
 * Ollama's lists: what there is, with the size of the file, and what is loaded, with the memory
 * that it takes.
 */
static json_t *
make_tags(bool only_loaded)
{
	json_t *models = json_array();
	Buffer name = {0};

	for (int i = 0; i < FAULT_COUNT; i++)
	{
		bool is_loaded = server.load > 0 ? atomic_load(&server.is_loaded[i]) : i == 0;
		json_t *model;

		if (only_loaded && !is_loaded)
			continue;
		name_model(&name, i);
		model = json_pack("{s:s,s:s,s:i,s:s,s:{s:s,s:s,s:s}}", "name", name.bytes, "model",
						  name.bytes, "size", 800000, "digest", "0", "details", "format", "gguf",
						  "family", "test", "quantization_level", "Q4_K_M");
		if (only_loaded)
			(void) json_object_update_new(model, json_pack("{s:s,s:i,s:i}", "expires_at",
														   "2030-01-01T00:00:00Z", "size_vram",
														   900000, "context_length", 2048));
		(void) json_array_append_new(models, model);
	}
	buffer_wipe(&name);
	return json_pack("{s:o}", "models", models);
}

static enum MHD_Result
send_vllm_metrics(struct MHD_Connection *connection)
{
	bool is_full = atomic_load(&server.is_full);
	char metrics[600];

	snprintf(metrics, sizeof(metrics),
			 "# HELP vllm:num_requests_running Number of requests in model execution batches.\n"
			 "# TYPE vllm:num_requests_running gauge\n"
			 "vllm:num_requests_running{engine=\"0\",model_name=\"test\"} %d.0\n"
			 "vllm:num_requests_waiting{engine=\"0\",model_name=\"test\"} %d.0\n"
			 "vllm:%s{engine=\"0\",model_name=\"test\"} %s\n",
			 atomic_load(&server.busy), is_full && !server.has_old_names ? 3 : 0,
			 server.has_old_names ? "gpu_cache_usage_perc" : "kv_cache_usage_perc",
			 is_full ? "0.97" : "0.02");
	return send_text(connection, 200, "text/plain; version=0.0.4", metrics, NULL, NULL);
}

static enum MHD_Result
send_llama_metrics(struct MHD_Connection *connection)
{
	char metrics[400];

	snprintf(metrics, sizeof(metrics),
			 "# HELP llamacpp:requests_processing Number of requests processing.\n"
			 "# TYPE llamacpp:requests_processing gauge\n"
			 "llamacpp:requests_processing %d\n"
			 "# TYPE llamacpp:requests_deferred gauge\n"
			 "llamacpp:requests_deferred %d\n",
			 atomic_load(&server.busy), atomic_load(&server.is_full) ? 2 : 0);
	return send_text(connection, 200, "text/plain; version=0.0.4", metrics, NULL, NULL);
}

static enum MHD_Result
send_health(struct MHD_Connection *connection)
{
	if (stands_for("library"))
		return send_error(connection, 404, "invalid_request_error", NULL, "no such page");
	if (stands_for("vllm")) /* says only that it is alive */
		return send_text(connection, atomic_load(&server.is_loading) ? 503 : 200, "text/plain", "",
						 NULL, NULL);
	return atomic_load(&server.is_loading)
			   ? send_error(connection, 503, "unavailable_error", NULL, "Loading model")
			   : send_json(connection, 200, json_pack("{s:s}", "status", "ok"), NULL, NULL);
}

static enum MHD_Result
get(struct MHD_Connection *connection, const char *path)
{
	if (strcmp(path, "/health") == 0)
		return send_health(connection);
	if (strcmp(path, "/v1/models") == 0)
		return send_json(connection, 200, make_models(), NULL, NULL);
	if (strcmp(path, "/slots") == 0 && stands_for("llamacpp"))
		return send_json(connection, 200, make_slots(), NULL, NULL);
	if (strcmp(path, "/metrics") == 0 && stands_for("vllm"))
		return send_vllm_metrics(connection);
	if (strcmp(path, "/metrics") == 0 && stands_for("llamacpp"))
		return send_llama_metrics(connection);
	if (strcmp(path, "/api/ps") == 0 && stands_for("library"))
		return send_json(connection, 200, make_tags(true), NULL, NULL);
	if (strcmp(path, "/api/tags") == 0 && stands_for("library"))
		return send_json(connection, 200, make_tags(false), NULL, NULL);
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
