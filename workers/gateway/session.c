/*
 * Logging in and out.
 */
#include "gateway/session.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "gateway/encode.h"
#include "gateway/exchange.h"
#include "gateway/gateway.h"
#include "gateway/token.h"

#define COOKIE "aurora_session"

/*
 * The cookie's life is the session's: the token says itself how long it holds.
 */
static void
set_cookie(Request *request, const char *token, int64_t seconds)
{
	Buffer cookie = {0};

	buffer_print(&cookie, COOKIE "=%s; Path=/; HttpOnly; SameSite=Strict; Max-Age=%lld%s", token,
				 (long long) seconds, request->gateway->config->cookie_secure ? "; Secure" : "");
	request_header(request, "Set-Cookie", cookie.bytes);
	buffer_wipe(&cookie);
}

/* ---- logging in ---- */

static void
logged_in(void *context, const Answer *answer)
{
	Request *request = context;
	Buffer body = {0};

	if (answer->state == ANSWER_ERROR && strncmp(answer->sqlstate, "28", 2) == 0)
	{
		request_problem(request, 401, answer->sqlstate, NULL, answer->message, NULL);
		return;
	}
	if (answer->state != ANSWER_OK || PQntuples(answer->result) != 1)
	{
		request_fail(request, answer);
		return;
	}
	set_cookie(request, PQgetvalue(answer->result, 0, 0), atoll(PQgetvalue(answer->result, 0, 1)));
	buffer_add_text(&body, "{\"csrf\":");
	encode_text(&body, PQgetvalue(answer->result, 0, 2),
				(size_t) PQgetlength(answer->result, 0, 2));
	buffer_add_text(&body, ",\"expires_at\":");
	encode_value(&body, PQftype(answer->result, 3), PQgetvalue(answer->result, 0, 3),
				 (size_t) PQgetlength(answer->result, 0, 3));
	buffer_add_text(&body, ",\"company\":");
	encode_text(&body, PQgetvalue(answer->result, 0, 4),
				(size_t) PQgetlength(answer->result, 0, 4));
	buffer_add_text(&body, ",\"owner\":");
	encode_text(&body, PQgetvalue(answer->result, 0, 5),
				(size_t) PQgetlength(answer->result, 0, 5));
	buffer_add_char(&body, '}');
	request_answer(request, 201, "application/json", &body);
}

#define LOGIN_COLUMNS                                                                   \
	"SELECT token, greatest(extract(epoch FROM expires_at - now())::bigint, 0), csrf, " \
	"expires_at, company, owner FROM "

static void
log_in_by_key(Request *request, const char *header)
{
	const char *key = header + strcspn(header, " ");

	key += strspn(key, " ");
	if (strncasecmp(header, "Bearer ", 7) != 0 || !token_is_key(key))
	{
		request_problem(request, 401, NULL, NULL, "the key is unknown, or its time is over", NULL);
		return;
	}
	token_hash(key, request->credential.key_hash);
	request->values[0] = request->credential.key_hash;
	request_run(request,
				&(Unit) {.statement = "log_in_by_key",
						 .sql = LOGIN_COLUMNS "aurora.log_in_by_key($1)",
						 .count = 1,
						 .values = request->values},
				logged_in);
}

/*
 * Hashing a password takes long, so that it does not hold up others. A page of another site cannot
 * log somebody in: the body has to be JSON, which needs the allow-list, and the cookie is strict.
 */
void
session_log_in(Request *request)
{
	const char *authorization = request->inside->headers.values[HEADER_AUTHORIZATION];

	if (request->inside->headers.values[HEADER_ORIGIN] && request->origin == NULL)
		request_problem(request, 403, NULL, NULL, "pages of this origin may not log in", NULL);
	else if (authorization)
		log_in_by_key(request, authorization);
	else if (request->values[0] == NULL || request->values[1] == NULL || request->values[2] == NULL)
		request_problem(request, 400, NULL, NULL,
						"logging in takes company, owner and password, or a key", NULL);
	else
		request_run(request,
					&(Unit) {.statement = "log_in",
							 .sql = LOGIN_COLUMNS "aurora.log_in($1, $2, $3)",
							 .count = 3,
							 .values = request->values,
							 .is_slow = true},
					logged_in);
}

/* ---- who one is ---- */

static void
shown(void *context, const Answer *answer)
{
	Request *request = context;
	Buffer body = {0};

	if (answer->state != ANSWER_OK || answer->identity == NULL || PQntuples(answer->identity) != 1)
	{
		request_fail(request, answer);
		return;
	}
	encode_row(&body, answer->identity, 0);
	request_answer(request, 200, "application/json", &body);
}

void
session_show(Request *request)
{
	request_run(request, &(Unit) {.statement = "nothing", .sql = "SELECT 1"}, shown);
}

/* ---- logging out ---- */

static void
logged_out(void *context, const Answer *answer)
{
	Request *request = context;

	set_cookie(request, "", 0);
	if (answer->state == ANSWER_OK)
		request_answer(request, 204, NULL, NULL);
	else
		request_fail(request, answer);
}

/*
 * The cookie goes in any case. While the lead is away the session itself holds on until its time is
 * over, which the answer tells.
 */
void
session_log_out(Request *request)
{
	if (request->credential.kind != CREDENTIAL_SESSION)
	{
		request_problem(request, 400, NULL, NULL, "a key has no session to end",
						"Keys are revoked by DELETE /api/keys/{key_id}.");
		return;
	}
	request->values[0] = request->credential.token;
	request_run(request,
				&(Unit) {.statement = "log_out",
						 .sql = "SELECT aurora.log_out($1)",
						 .count = 1,
						 .values = request->values,
						 .is_write = true},
				logged_out);
}
