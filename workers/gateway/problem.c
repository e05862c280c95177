/*
 * What goes wrong, as HTTP tells it.
 */
#include "gateway/problem.h"

#include <stddef.h>
#include <string.h>

#include "gateway/encode.h"
#include "gateway/exchange.h"

/*
 * The first that fits decides: a whole state or the beginning of one. A state that is not here is
 * the server's fault.
 */
static const struct
{
	const char *sqlstate;
	int status;
} statuses[] = {
	{"08", 503},	/* no connection */
	{"09", 500},	/* triggered action */
	{"0A", 501},	/* not supported */
	{"0L", 403},	/* invalid grantor */
	{"0P", 403},	/* invalid role */
	{"22", 400},	/* data: text that is no number, out of range ... */
	{"23503", 409}, /* foreign key */
	{"23505", 409}, /* unique */
	{"23", 400},	/* other constraints */
	{"25006", 503}, /* read-only: this is no lead, and there is none */
	{"25", 500},	/* transaction state */
	{"26000", 503}, /* no such prepared statement: the extension is another version */
	{"28", 401},	/* authorization: of the database for the gateway, see is_refused */
	{"2F", 500},	/* in a routine */
	{"38", 500},	{"39", 500},
	{"3D", 503},	/* no such database */
	{"3F", 503},	/* no such schema: no extension there */
	{"40", 503},	/* serialization, deadlock: tried again in vain */
	{"42501", 403}, /* insufficient privilege */
	{"42704", 404}, /* no such object */
	{"42710", 409}, /* there is one already */
	{"42601", 400}, {"42P10", 400},
	{"42883", 503}, /* no such function: the extension is another version */
	{"42P01", 503}, {"42", 400},
	{"53400", 429},					/* a limit that was configured */
	{"53", 503},					/* out of something */
	{"54", 413},					/* too much */
	{"55000", 409},					/* not in the state for it */
	{"55006", 409},					/* in use */
	{"55P03", 409},					/* lock not available */
	{"55", 409},	{"57014", 504}, /* statement time-out */
	{"57", 503},					/* the server stops, starts */
	{"58", 500},	{"P0001", 400}, /* raise exception */
	{"P0002", 404},					/* no data found */
	{"P0003", 409},					/* too many rows */
	{"P0", 400},
};

int
problem_status(const char *sqlstate, bool is_refused)
{
	if (sqlstate == NULL)
		return 500;
	if (strncmp(sqlstate, "28", 2) == 0)
		return is_refused ? 401 : 503;
	for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++)
		if (strncmp(sqlstate, statuses[i].sqlstate, strlen(statuses[i].sqlstate)) == 0)
			return statuses[i].status;
	return 500;
}

const char *
problem_title(int status)
{
	static const struct
	{
		int status;
		const char *title;
	} titles[] = {
		{400, "Bad Request"},
		{401, "Unauthorized"},
		{403, "Forbidden"},
		{404, "Not Found"},
		{405, "Method Not Allowed"},
		{406, "Not Acceptable"},
		{408, "Request Timeout"},
		{409, "Conflict"},
		{411, "Length Required"},
		{412, "Precondition Failed"},
		{413, "Content Too Large"},
		{414, "URI Too Long"},
		{415, "Unsupported Media Type"},
		{422, "Unprocessable Content"},
		{426, "Upgrade Required"},
		{429, "Too Many Requests"},
		{431, "Request Header Fields Too Large"},
		{500, "Internal Server Error"},
		{501, "Not Implemented"},
		{503, "Service Unavailable"},
		{504, "Gateway Timeout"},
		{505, "HTTP Version Not Supported"},
	};

	for (size_t i = 0; i < sizeof(titles) / sizeof(titles[0]); i++)
		if (titles[i].status == status)
			return titles[i].title;
	return status >= 500 ? "Server Error" : "Error";
}

bool
problem_is_told(int status)
{
	return status < 500 || status == 501 || status == 504;
}

/* ---- writing ---- */

static void
add_member(Buffer *to, const char *name, const char *text)
{
	if (text == NULL)
		return;
	buffer_add_text(to, ",\"");
	buffer_add_text(to, name);
	buffer_add_text(to, "\":");
	encode_text(to, text, strlen(text));
}

void
problem_write(Buffer *to, const Problem *problem)
{
	buffer_print(to, "{\"type\":\"about:blank\",\"status\":%d", problem->status);
	add_member(to, "title", problem->title ? problem->title : problem_title(problem->status));
	add_member(to, "detail", problem->detail);
	add_member(to, "hint", problem->hint);
	add_member(to, "parameter", problem->parameter);
	add_member(to, "sqlstate", problem->sqlstate);
	add_member(to, "request_id", problem->id);
	buffer_add_char(to, '}');
}

/*
 * Headers that go with a status, whoever writes its text. What may have been done is not to be sent
 * again by a client that does so by itself, as OpenAI's do unless they are told.
 */
static void
add_headers(Request *request, int status, const char *sqlstate)
{
	bool may_be_done = sqlstate && strcmp(sqlstate, POOL_LOST) == 0;

	if (status == 401)
		request_header(request, "WWW-Authenticate", "Bearer realm=\"aurora\"");
	if (may_be_done)
		request_header(request, "X-Should-Retry", "false");
	else if (status == 503 || status == 429)
		request_header(request, "Retry-After", "1");
}

static void
answer(Request *request, const Problem *problem)
{
	Buffer body = {0};

	add_headers(request, problem->status, problem->sqlstate);
	if (request->route && request->route->problem)
	{
		request->route->problem(request, problem->status, problem->sqlstate, problem->title,
								problem->detail, problem->hint);
		return;
	}
	problem_write(&body, problem);
	request_answer(request, problem->status, "application/problem+json", &body);
}

void
request_problem(Request *request, int status, const char *sqlstate, const char *title,
				const char *detail, const char *hint)
{
	answer(request, &(Problem) {.status = status,
								.sqlstate = sqlstate,
								.title = title,
								.detail = detail,
								.hint = hint,
								.id = request->id});
}

void
request_refuse_parameter(Request *request, const char *name, const char *wrong)
{
	Buffer detail = {0};

	buffer_print(&detail, "%.100s %s", name, wrong);
	answer(
		request,
		&(Problem) {.status = 400, .detail = detail.bytes, .parameter = name, .id = request->id});
	buffer_wipe(&detail);
}

/*
 * What the server says of its own inside stays in its log.
 */
void
request_fail(Request *request, const Answer *answer)
{
	int status;

	if (answer->state == ANSWER_UNAVAILABLE)
	{
		request_problem(request, 503, answer->sqlstate, NULL, answer->message, answer->hint);
		return;
	}
	if (answer->state == ANSWER_LOST)
	{
		request_problem(request, 503, answer->sqlstate, NULL,
						"the connection to the database was lost, and it is not known whether the "
						"request was done",
						"Look whether it was done before you try again.");
		return;
	}
	status = problem_status(answer->sqlstate, answer->is_refused);
	if (problem_is_told(status))
		request_problem(request, status, answer->sqlstate, NULL, answer->message,
						answer->hint ? answer->hint : answer->detail);
	else
		request_problem(request, status, answer->sqlstate, NULL,
						status == 503 ? "the database cannot answer now" : "the database failed",
						NULL);
}
