/*
 * Webhooks.
 */
#include "gateway/webhook.h"

#include <string.h>
#include <strings.h>

#include "gateway/encode.h"
#include "gateway/exchange.h"

typedef struct Webhook
{
	const char *values[4];
	int lengths[4];
	int formats[4];
	Buffer headers;
	bool has_header;
} Webhook;

/*
 * Credentials for the gateway are nobody's business later; a provider's own may be what it is
 * verified by.
 */
static bool
is_own_credential(const char *name, const char *value)
{
	static const char own_key[] = "Bearer aur_";

	if (strcasecmp(name, "Authorization") == 0)
		return value && strncasecmp(value, own_key, sizeof(own_key) - 1) == 0;
	return strcasecmp(name, "Cookie") == 0 || strcasecmp(name, "X-CSRF-Token") == 0;
}

static enum MHD_Result
add_header(void *context, enum MHD_ValueKind kind, const char *name, const char *value)
{
	Webhook *webhook = context;

	(void) kind;
	if (is_own_credential(name, value))
		return MHD_YES;
	if (webhook->has_header)
		buffer_add_char(&webhook->headers, ',');
	webhook->has_header = true;
	buffer_add_char(&webhook->headers, '[');
	encode_text(&webhook->headers, name, strlen(name));
	buffer_add_char(&webhook->headers, ',');
	encode_text(&webhook->headers, value ? value : "", value ? strlen(value) : 0);
	buffer_add_char(&webhook->headers, ']');
	return MHD_YES;
}

static void
stored(void *context, const Answer *answer)
{
	Request *request = context;
	Buffer body = {0};

	if (answer->state != ANSWER_OK)
	{
		request_fail(request, answer);
		return;
	}
	encode_row(&body, answer->result, 0);
	request_answer(request, 202, "application/json", &body);
}

/*
 * Headers become an object; of those that come more than once the last counts, as jsonb has it.
 */
void
webhook_take(Request *request)
{
	Webhook *webhook = (Webhook *) (void *) arena_get(&request->inside->arena, sizeof(Webhook));
	char *headers;

	memset(webhook, 0, sizeof(*webhook));
	buffer_add_char(&webhook->headers, '[');
	MHD_get_connection_values(request->connection, MHD_HEADER_KIND, add_header, webhook);
	buffer_add_char(&webhook->headers, ']');
	headers = arena_copy(&request->inside->arena, webhook->headers.bytes, webhook->headers.size);
	buffer_wipe(&webhook->headers);
	webhook->values[0] = request->values[0];
	webhook->values[1] = headers;
	webhook->values[2] = request->body.bytes ? request->body.bytes : "";
	webhook->values[3] = request->address[0] ? request->address : NULL;
	webhook->lengths[2] = (int) request->body.size;
	webhook->formats[2] = 1;
	request_run(request,
				&(Unit) {.statement = "store_webhook",
						 .sql = "SELECT aurora.store_webhook($1, (SELECT "
								"coalesce(jsonb_object_agg(lower(h->>0), h->>1), '{}') "
								"FROM jsonb_array_elements($2::jsonb) h), $3, $4::inet) AS id",
						 .count = 4,
						 .values = webhook->values,
						 .lengths = webhook->lengths,
						 .formats = webhook->formats,
						 .is_write = true},
				stored);
}
