/*
 * Units on a link: what is sent for one, and what its answers say.
 */
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/memory.h"
#include "gateway/link.h"

#define ASSUME_COLUMNS "key_id, role, company_id, company, owner, node"

/*
 * A role that may not do this has the transaction fail before its statement. The text is what the
 * server's log shows; the SQLSTATE is 22P02.
 */
#define REQUIRE_ROLE(array)                                      \
	" WHERE (CASE WHEN role = ANY (" array "::text[]) THEN '1' " \
	"ELSE 'keys with the role ' || role || ' may not do this' END)::int = 1"

static const char assume_key[] = "assume_key";
static const char assume_key_sql[] =
	"SELECT " ASSUME_COLUMNS " FROM aurora.assume_key($1, $2, $3, $4)" REQUIRE_ROLE("$5");
static const char assume_session[] = "assume_session";
static const char assume_session_sql[] =
	"SELECT " ASSUME_COLUMNS " FROM aurora.assume_session($1, $2, $3, $4, $5)" REQUIRE_ROLE("$6");
static const char write_position[] = "write_position";
static const char write_position_sql[] = "SELECT aurora.write_position()";

/* ---- sending ---- */

static Prepared *
find_prepared(const Link *link, const char *name)
{
	for (size_t i = 0; i < link->prepared_count; i++)
		if (link->prepared[i].name == name)
			return &link->prepared[i];
	for (size_t i = 0; i < link->prepared_count; i++)
		if (strcmp(link->prepared[i].name, name) == 0)
			return &link->prepared[i];
	return NULL;
}

static void
add_segment(Ticket *ticket, SegmentKind kind, const char *statement)
{
	ticket->segments[ticket->segment_count++] = (Segment) {kind, statement};
}

void
link_renew(Link *link)
{
	for (size_t i = 0; i < link->prepared_count; i++)
		link->prepared[i].is_stale = true;
}

/*
 * It may have gone already, which does not matter.
 */
static bool
forget(Link *link, Ticket *ticket, const char *name)
{
	char sql[128];

	snprintf(sql, sizeof(sql), "DEALLOCATE \"%s\"", name);
	add_segment(ticket, SEGMENT_FORGET, name);
	return PQsendQueryParams(link->conn, sql, 0, NULL, NULL, NULL, NULL, 0) &&
		   PQpipelineSync(link->conn);
}

/*
 * In a transaction of its own, so that nothing that fails before has it left out.
 */
static bool
prepare(Link *link, Ticket *ticket, const char *name, const char *sql)
{
	Prepared *known = find_prepared(link, name);

	if (known && !known->is_failed && !known->is_stale)
		return true;
	if (known && !known->is_failed && !forget(link, ticket, name))
		return false;
	if (known == NULL)
	{
		link->prepared = memory_extend(link->prepared, link->prepared_count, sizeof(Prepared));
		known = &link->prepared[link->prepared_count++];
	}
	*known = (Prepared) {.name = name};
	add_segment(ticket, SEGMENT_PREPARE, name);
	return PQsendPrepare(link->conn, name, sql, 0, NULL) && PQpipelineSync(link->conn);
}

/* By bits, see ROLE_USER in route.h; no bit is no restriction. */
static const char *const role_lists[16] = {
	"{user,agent,node,monitor}",
	"{user}",
	"{agent}",
	"{user,agent}",
	"{node}",
	"{user,node}",
	"{agent,node}",
	"{user,agent,node}",
	"{monitor}",
	"{user,monitor}",
	"{agent,monitor}",
	"{user,agent,monitor}",
	"{node,monitor}",
	"{user,node,monitor}",
	"{agent,node,monitor}",
	"{user,agent,node,monitor}",
};

static bool
send_assume(Link *link, const Ticket *ticket, const char *timeout)
{
	const Credential *credential = ticket->unit.credential;
	const char *roles = role_lists[ticket->unit.roles & 15];
	const char *key_values[5] = {credential->key_hash, ticket->unit.route, credential->node,
								 timeout, roles};
	const char *session_values[6] = {
		credential->token,	credential->csrf, ticket->unit.is_write ? "t" : "f",
		ticket->unit.route, timeout,		  roles};

	if (credential->kind == CREDENTIAL_KEY)
		return PQsendQueryPrepared(link->conn, assume_key, 5, key_values, NULL, NULL, 0);
	return PQsendQueryPrepared(link->conn, assume_session, 6, session_values, NULL, NULL, 0);
}

static bool
has_credential(const Ticket *ticket)
{
	return ticket->credential != CREDENTIAL_NONE;
}

static bool
prepare_all(Link *link, Ticket *ticket)
{
	const Unit *unit = &ticket->unit;

	if (has_credential(ticket) &&
		!(unit->credential->kind == CREDENTIAL_KEY
			  ? prepare(link, ticket, assume_key, assume_key_sql)
			  : prepare(link, ticket, assume_session, assume_session_sql)))
		return false;
	if (unit->is_write && !prepare(link, ticket, write_position, write_position_sql))
		return false;
	return prepare(link, ticket, unit->statement, unit->sql);
}

static bool
send_all(Link *link, Ticket *ticket, const char *timeout)
{
	const Unit *unit = &ticket->unit;

	if (!prepare_all(link, ticket))
		return false;
	add_segment(ticket, SEGMENT_UNIT, unit->statement);
	if (has_credential(ticket) && !send_assume(link, ticket, timeout))
		return false;
	if (!PQsendQueryPrepared(link->conn, unit->statement, unit->count, unit->values, unit->lengths,
							 unit->formats, 0) ||
		!PQpipelineSync(link->conn))
		return false;
	if (!unit->is_write)
		return true;
	add_segment(ticket, SEGMENT_POSITION, write_position);
	return PQsendQueryPrepared(link->conn, write_position, 0, NULL, NULL, NULL, 0) &&
		   PQpipelineSync(link->conn);
}

void
link_send(Link *link, Ticket *ticket)
{
	char timeout[16];

	ticket->link = link;
	ticket->next = NULL;
	ticket->segment_count = ticket->segment = ticket->results = 0;
	ticket->is_settled = false;
	ticket->is_exposed = link->cancel || link->may_stray;
	ticket->sent_at = clock_us();
	if (link->last)
		link->last->next = ticket;
	else
	{
		link->first = ticket;
		link->head_since = ticket->sent_at;
	}
	link->last = ticket;
	link->under_way++;
	link->background += ticket->unit.is_background;
	link->slow += ticket->unit.is_slow;
	snprintf(timeout, sizeof(timeout), "%d", ticket->unit.timeout);
	if (!send_all(link, ticket, timeout))
		link_lose(link, PQerrorMessage(link->conn));
	else
		link_flush(link);
}

/* ---- answers ---- */

static void
keep(PGresult **place, PGresult *result)
{
	PQclear(*place);
	*place = result;
}

/*
 * libpq makes errors itself, too, when the connection is lost or an answer cannot be read. They
 * have no SQLSTATE, and say nothing of what the server has done.
 */
static bool
is_of_libpq(const PGresult *result)
{
	switch (PQresultStatus(result))
	{
		case PGRES_TUPLES_OK:
		case PGRES_COMMAND_OK:
		case PGRES_PIPELINE_SYNC:
		case PGRES_PIPELINE_ABORTED:
			return false;
		default:
			return PQresultErrorField(result, PG_DIAG_SQLSTATE) == NULL;
	}
}

/*
 * What the server says last before it goes.
 */
static bool
is_farewell(const PGresult *result)
{
	const char *severity = PQresultErrorField(result, PG_DIAG_SEVERITY_NONLOCALIZED);

	return severity && (strcmp(severity, "FATAL") == 0 || strcmp(severity, "PANIC") == 0);
}

static void
take_unit_result(Ticket *ticket, PGresult *result)
{
	ExecStatusType status = PQresultStatus(result);
	bool is_assume = has_credential(ticket) && ticket->results == 0;

	ticket->results++;
	if (status == PGRES_PIPELINE_ABORTED)
		PQclear(result);
	else if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK)
	{
		ticket->is_refused = is_assume;
		keep(&ticket->error, result);
	}
	else
		keep(is_assume ? &ticket->identity : &ticket->result, result);
}

/*
 * A statement that could not be prepared has its users fail with 26000, which says nothing: they
 * get the reason instead.
 */
static const Prepared *
find_unprepared(const Link *link, const Ticket *ticket)
{
	const char *state = ticket->error ? PQresultErrorField(ticket->error, PG_DIAG_SQLSTATE) : NULL;
	const Prepared *statement;

	if (state == NULL || strcmp(state, "26000") != 0)
		return NULL;
	statement = find_prepared(link, !ticket->is_refused					   ? ticket->unit.statement
									: ticket->credential == CREDENTIAL_KEY ? assume_key
																		   : assume_session);
	return statement && statement->is_failed ? statement : NULL;
}

static bool
starts_with(const char *text, const char *start)
{
	return text && strncmp(text, start, strlen(start)) == 0;
}

/*
 * Does a prepared statement not work any more, since what it uses has been altered, or dropped and
 * made again? It may give other columns (0A000, which others fail with, too), a type of its may
 * have gone (which is no error with a state of its own), or all statements were forgotten.
 */
static bool
is_outdated(const PGresult *error)
{
	const char *state = PQresultErrorField(error, PG_DIAG_SQLSTATE);

	if (state == NULL)
		return false;
	if (strcmp(state, "0A000") == 0)
		return starts_with(PQresultErrorField(error, PG_DIAG_SOURCE_FUNCTION),
						   "RevalidateCachedQuery");
	if (strcmp(state, "XX000") == 0)
		return starts_with(PQresultErrorField(error, PG_DIAG_MESSAGE_PRIMARY),
						   "cache lookup failed for ");
	return strcmp(state, "26000") == 0;
}

static void
note_unprepared(Prepared *statement, const PGresult *result)
{
	const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
	const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);

	statement->is_failed = true;
	snprintf(statement->sqlstate, sizeof(statement->sqlstate), "%s", state ? state : "XX000");
	snprintf(statement->message, sizeof(statement->message), "%s", message ? message : "");
	if (strncmp(statement->sqlstate, "57", 2) != 0 && state)
		log_event(LOG_ERROR, "a statement cannot be prepared", TEXT("statement", statement->name),
				  TEXT("sqlstate", statement->sqlstate), TEXT("error", statement->message));
}

static void
take_result(Link *link, Ticket *ticket, PGresult *result)
{
	const Segment *segment = &ticket->segments[ticket->segment];
	bool is_good =
		PQresultStatus(result) == PGRES_TUPLES_OK || PQresultStatus(result) == PGRES_COMMAND_OK;
	Prepared *prepared;

	link->is_over |= is_farewell(result);
	switch (segment->kind)
	{
		case SEGMENT_FORGET:
			break;
		case SEGMENT_PREPARE:
			prepared = find_prepared(link, segment->statement);
			if (!is_good && prepared)
				note_unprepared(prepared, result);
			break;
		case SEGMENT_UNIT:
			take_unit_result(ticket, result);
			return;
		case SEGMENT_POSITION:
			if (is_good && PQntuples(result) == 1)
				snprintf(ticket->lsn, sizeof(ticket->lsn), "%s", PQgetvalue(result, 0, 0));
			prepared = find_prepared(link, segment->statement);
			if (!is_good && prepared && is_outdated(result))
				prepared->is_stale = true;
			break;
	}
	PQclear(result);
}

static bool
is_read_only(const PGresult *error)
{
	const char *state = PQresultErrorField(error, PG_DIAG_SQLSTATE);

	return state && strcmp(state, "25006") == 0;
}

static void
end_first(Link *link)
{
	Ticket *ticket = link->first;

	link->first = ticket->next;
	if (link->first == NULL)
		link->last = NULL;
	link->under_way--;
	link->background -= ticket->unit.is_background;
	link->slow -= ticket->unit.is_slow;
	ticket->ran = clock_us() - link->head_since;
	link->head_since += ticket->ran;
	ticket->link = NULL;
	ticket->next = NULL;
	ticket->unprepared = find_unprepared(link, ticket);
	ticket->is_outdated = ticket->unprepared == NULL && ticket->error && is_outdated(ticket->error);
	if (link->side == SIDE_LEAD && ticket->error && is_read_only(ticket->error))
	{
		ticket->unprepared = NULL;
		link_lose(link, "this server is no lead any more");
	}
	pool_answered(link->pool, ticket);
}

/*
 * Each statement's results end with NULL, each segment with a Sync. Answering may send more on this
 * link, or lose it.
 */
void
link_take_results(Link *link)
{
	bool was_null = false;

	while (link->conn && link->first && !PQisBusy(link->conn))
	{
		PGresult *result = PQgetResult(link->conn);
		Ticket *ticket = link->first;

		if (result == NULL)
		{
			if (was_null)
				return;
			was_null = true;
			continue;
		}
		was_null = false;
		if (is_of_libpq(result))
		{
			link_lose(link, PQresultErrorMessage(result));
			PQclear(result);
			return;
		}
		if (PQresultStatus(result) != PGRES_PIPELINE_SYNC)
		{
			take_result(link, ticket, result);
			continue;
		}
		PQclear(result);
		ticket->is_settled |= ticket->segments[ticket->segment].kind == SEGMENT_UNIT;
		ticket->results = 0;
		if (++ticket->segment == ticket->segment_count)
			end_first(link);
	}
}
