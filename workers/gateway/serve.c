/*
 * Routes that are one statement: it is run with the request's parameters, and its rows are
 * answered.
 */
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "gateway/encode.h"
#include "gateway/exchange.h"
#include "gateway/gateway.h"

#define ANSWER_LIMIT (16 << 20) /* bytes */

/* ---- units ---- */

static void
unit_answered(void *context, const Answer *answer)
{
	Request *request = context;

	request->inside->ticket = NULL;
	request->spent_db += answer->spent;
	if (answer->lsn)
		request_header(request, "Aurora-LSN", answer->lsn);
	request->inside->answer(request, answer);
}

void
request_run_now(Request *request)
{
	RequestInside *inside = request->inside;

	inside->ticket = pool_run(request->gateway->pool, &inside->unit, unit_answered, request);
}

void
request_run(Request *request, const Unit *unit, UnitAnswer answer)
{
	RequestInside *inside = request->inside;
	Unit *own = &inside->unit;

	*own = *unit;
	inside->answer = answer;
	if (own->credential == NULL && request->route->roles != ROLE_NOBODY)
		own->credential = &request->credential;
	if (own->route == NULL)
		own->route = route_name(request->route);
	if (own->roles == 0)
		own->roles = request->route->roles;
	if (request->lsn && !own->is_write && own->side == SIDE_LOCAL &&
		!pool_has_reached(request->gateway->pool, request->lsn))
		lsn_wait(request);
	else
		request_run_now(request);
}

/* ---- answers ---- */

static void
answer_row(Request *request, const PGresult *result, int status)
{
	Buffer body = {0};

	if (PQntuples(result) == 0 || PQgetisnull(result, 0, 0))
	{
		request_problem(request, 404, NULL, NULL, "there is nothing of that name that you may see",
						NULL);
		return;
	}
	encode_row(&body, result, 0);
	request_answer(request, status, "application/json", &body);
}

static void
answer_text(Request *request, const PGresult *result)
{
	const char *type =
		request->route->answer ? request->route->answer : "text/plain; charset=utf-8";
	Buffer body = {0};

	if (PQntuples(result) == 0 || PQgetisnull(result, 0, 0))
	{
		answer_row(request, result, 200);
		return;
	}
	buffer_add(&body, PQgetvalue(result, 0, 0), (size_t) PQgetlength(result, 0, 0));
	request_answer(request, 200, type, &body);
}

/*
 * What one client asks for is no reason for the others to wait, or for the program to run out of
 * memory: as JSON it can be several times as long, and lies there until a slow client has read it.
 */
static bool
is_too_large(const PGresult *result)
{
	int columns = PQnfields(result);
	size_t size = 0;

	for (int row = 0; row < PQntuples(result); row++)
		for (int column = 0; column < columns; column++)
			size += (size_t) PQgetlength(result, row, column);
	return size > ANSWER_LIMIT;
}

static void
answered(void *context, const Answer *answer)
{
	Request *request = context;
	Buffer body = {0};

	if (answer->state != ANSWER_OK)
	{
		request_fail(request, answer);
		return;
	}
	if (is_too_large(answer->result))
	{
		request_problem(request, 413, NULL, NULL, "the answer has more than 16 MB",
						"Ask for fewer at a time.");
		return;
	}
	switch (request->route->shape)
	{
		case SHAPE_ROWS:
			encode_rows(&body, answer->result);
			request_answer(request, 200, "application/json", &body);
			break;
		case SHAPE_ROW:
			answer_row(request, answer->result, 200);
			break;
		case SHAPE_CREATED:
			answer_row(request, answer->result, 201);
			break;
		case SHAPE_TEXT:
			answer_text(request, answer->result);
			break;
		default:
			request_answer(request, 204, NULL, NULL);
	}
}

int
route_statement_count(const Route *route)
{
	int count = 0;

	while (count < ROUTE_PARAMETERS && route->parameters[count].name &&
		   !route->parameters[count].is_handlers)
		count++;
	return count;
}

void
request_serve(Request *request)
{
	const Route *route = request->route;
	int lengths[ROUTE_PARAMETERS] = {0};
	int formats[ROUTE_PARAMETERS] = {0};
	int *kept = NULL;
	Unit unit = {.side = SIDE_LOCAL,
				 .statement = route_statement(route),
				 .sql = route->sql,
				 .count = route_statement_count(route),
				 .values = request->values,
				 .timeout = route->timeout,
				 .is_write = route->is_write,
				 .is_slow = route->is_slow};

	for (int i = 0; i < unit.count; i++)
		if (route->parameters[i].type == TYPE_BYTES)
		{
			lengths[i] = (int) request->body.size;
			formats[i] = 1;
			kept = (int *) (void *) arena_get(&request->inside->arena,
											  sizeof(lengths) + sizeof(formats));
		}
	if (kept)
	{
		memcpy(kept, lengths, sizeof(lengths));
		memcpy(kept + ROUTE_PARAMETERS, formats, sizeof(formats));
		unit.lengths = kept;
		unit.formats = kept + ROUTE_PARAMETERS;
	}
	request_run(request, &unit, answered);
}
