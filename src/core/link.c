/*
 * The connection of this node's agent to the lead.
 *
 * libpq's own walk through several hosts waits for each without a limit when it is not allowed to
 * block, so the hosts are tried here, one at a time, each with a time limit. A host that is a
 * standby is passed over.
 */
#include "core/connection.h"

#include <netdb.h>
#include <sys/socket.h>

#include "access/xlogrecovery.h"
#include "common/pg_prng.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/memutils.h"

#define ATTEMPT_US (3 * 1000000L)
#define CALL_US (10 * 1000000L)
#define FIRST_WAIT_US (500 * 1000L)
#define LONGEST_WAIT_US (10 * 1000000L)
#define MAX_OPTIONS 64
#define USER_PREFIX "aurora_node_"

struct AuroraLink
{
	AuroraConnection connection;
	struct gaicb lookup; /* of a host's name; ar_name is NULL when none is under way */
	char lookup_name[AURORA_ERROR_SIZE];
	int host; /* which one is tried next, or connected */
	int64 wait_us;
	int64 next_at_us;
	bool answered; /* a call has come back on this connection */
	char host_name[AURORA_ERROR_SIZE];
	char error[AURORA_ERROR_SIZE];
	AuroraAnswer answer; /* of the call under way */
	void *argument;
};

/* Keywords and values for libpq, and how many hosts they name. */
typedef struct Target
{
	PQconninfoOption *options; /* owns the values */
	const char *keywords[MAX_OPTIONS];
	const char *values[MAX_OPTIONS];
	int count;
	int hosts;
} Target;

static char *lead_conninfo = NULL;

static void pass_on(AuroraLink *link);
static void note_error(AuroraLink *link, const char *error);

/* ---- the target ---- */

/*
 * The n-th part of a list with commas, in the current memory context; the only one serves for all.
 */
static char *
part_of(const char *list, int n)
{
	const char *end;

	if (strchr(list, ',') == NULL)
		return pstrdup(list);
	for (; n > 0; n--)
	{
		list = strchr(list, ',');
		if (list == NULL)
			return pstrdup("");
		list++;
	}
	end = strchr(list, ',');
	return end ? pnstrdup(list, end - list) : pstrdup(list);
}

static int
parts_of(const char *list)
{
	int parts = 1;

	for (; *list; list++)
		parts += *list == ',';
	return parts;
}

static void
set_option(Target *target, const char *keyword, const char *value)
{
	if (target->count >= MAX_OPTIONS - 1)
		return;
	target->keywords[target->count] = keyword;
	target->values[target->count++] = value;
}

/*
 * From primary_conninfo only the way to the lead is taken; the user and its password are for
 * replication.
 */
static bool
is_taken(const char *keyword, bool from_primary)
{
	static const char *const never[] = {"target_session_attrs", "load_balance_hosts", "replication",
										"client_encoding"};
	static const char *const replication[] = {
		"user", "password", "dbname", "application_name", "fallback_application_name", "options"};

	for (int i = 0; i < (int) lengthof(never); i++)
		if (strcmp(keyword, never[i]) == 0)
			return false;
	for (int i = 0; from_primary && i < (int) lengthof(replication); i++)
		if (strcmp(keyword, replication[i]) == 0)
			return false;
	return true;
}

static bool
is_list(const char *keyword)
{
	return strcmp(keyword, "host") == 0 || strcmp(keyword, "hostaddr") == 0 ||
		   strcmp(keyword, "port") == 0;
}

static void
add_defaults(Target *target)
{
	bool has_user = false;
	bool has_database = false;

	for (int i = 0; i < target->count; i++)
	{
		has_user = has_user || strcmp(target->keywords[i], "user") == 0;
		has_database = has_database || strcmp(target->keywords[i], "dbname") == 0;
	}
	if (!has_user)
		set_option(target, "user", psprintf(USER_PREFIX "%s", aurora_node_name()));
	if (!has_database)
		set_option(target, "dbname", aurora_database_name());
	set_option(target, "fallback_application_name",
			   psprintf("aurora agent %s", aurora_node_name()));
	set_option(target, "client_encoding", GetDatabaseEncodingName());
	target->keywords[target->count] = NULL;
	target->values[target->count] = NULL;
}

/*
 * What to connect to for the n-th host, counted around; false when nothing is configured.
 */
static bool
find_target(Target *target, int n)
{
	bool from_primary = lead_conninfo == NULL || lead_conninfo[0] == '\0';
	const char *conninfo = from_primary ? PrimaryConnInfo : lead_conninfo;

	memset(target, 0, sizeof(*target));
	if (conninfo == NULL || conninfo[0] == '\0')
		return false;
	target->options = PQconninfoParse(conninfo, NULL);
	if (target->options == NULL)
		return false;
	target->hosts = 1;
	for (PQconninfoOption *o = target->options; o && o->keyword; o++)
		if (o->val && is_list(o->keyword))
			target->hosts = Max(target->hosts, parts_of(o->val));
	for (PQconninfoOption *o = target->options; o && o->keyword; o++)
		if (o->val && is_taken(o->keyword, from_primary))
			set_option(target, o->keyword,
					   is_list(o->keyword) ? part_of(o->val, n % target->hosts) : o->val);
	add_defaults(target);
	return true;
}

static const char *
value_of(const Target *target, const char *keyword)
{
	for (int i = 0; i < target->count; i++)
		if (strcmp(target->keywords[i], keyword) == 0 && target->values[i][0])
			return target->values[i];
	return NULL;
}

static void
name_host(AuroraLink *link, const Target *target)
{
	const char *host = value_of(target, "host");
	const char *port = value_of(target, "port");

	if (host == NULL)
		host = value_of(target, "hostaddr");
	snprintf(link->host_name, sizeof(link->host_name), "%s port %s", host ? host : "localhost",
			 port ? port : "5432");
}

/* ---- names of hosts ---- */

/*
 * libpq would wait for a name server, so names are looked up beside the agent. The name to look up
 * for this target, or NULL.
 */
static const char *
name_to_look_up(const Target *target)
{
	const char *host = value_of(target, "host");
	struct addrinfo hints = {.ai_flags = AI_NUMERICHOST};
	struct addrinfo *found = NULL;

	if (host == NULL || host[0] == '/' || host[0] == '@' || value_of(target, "hostaddr"))
		return NULL;
	if (getaddrinfo(host, NULL, &hints, &found) != 0)
		return host;
	freeaddrinfo(found);
	return NULL;
}

static void
begin_lookup(AuroraLink *link, const char *name)
{
	struct gaicb *list[1] = {&link->lookup};

	strlcpy(link->lookup_name, name, sizeof(link->lookup_name));
	memset(&link->lookup, 0, sizeof(link->lookup));
	link->lookup.ar_name = link->lookup_name;
	if (getaddrinfo_a(GAI_NOWAIT, list, 1, NULL) != 0)
		link->lookup.ar_name = NULL;
}

/*
 * The address that was found, as text; NULL when there is none.
 */
static char *
end_lookup(AuroraLink *link)
{
	char address[NI_MAXHOST];
	struct addrinfo *found = link->lookup.ar_result;
	char *result = NULL;

	if (found && getnameinfo(found->ai_addr, found->ai_addrlen, address, sizeof(address), NULL, 0,
							 NI_NUMERICHOST) == 0)
		result = pstrdup(address);
	if (found)
		freeaddrinfo(found);
	link->lookup.ar_name = NULL;
	return result;
}

/*
 * Has the target an address by now; false while its name is looked up, or when it has none.
 */
static bool
find_address(AuroraLink *link, Target *target)
{
	const char *name = name_to_look_up(target);
	char *address;

	if (name == NULL)
		return true;
	if (link->lookup.ar_name == NULL)
	{
		begin_lookup(link, name);
		return false;
	}
	if (gai_error(&link->lookup) == EAI_INPROGRESS)
		return false;
	if (strcmp(link->lookup_name, name) != 0)
	{
		(void) end_lookup(link);
		return false;
	}
	address = end_lookup(link);
	if (address == NULL)
	{
		note_error(link, "the host's name has no address");
		pass_on(link);
		return false;
	}
	set_option(target, "hostaddr", address);
	target->keywords[target->count] = NULL;
	target->values[target->count] = NULL;
	return true;
}

/* ---- the connection ---- */

static void
try_next_host(AuroraLink *link)
{
	MemoryContext context =
		AllocSetContextCreate(CurrentMemoryContext, "aurora lead conninfo", ALLOCSET_SMALL_SIZES);
	MemoryContext before = MemoryContextSwitchTo(context);
	Target target;

	if (find_target(&target, link->host))
	{
		name_host(link, &target);
		link->answered = false;
		if (find_address(link, &target))
			aurora_connection_open(&link->connection, target.keywords, target.values, ATTEMPT_US);
		PQconninfoFree(target.options);
	}
	MemoryContextSwitchTo(before);
	MemoryContextDelete(context);
}

static int
host_count(void)
{
	MemoryContext context =
		AllocSetContextCreate(CurrentMemoryContext, "aurora lead conninfo", ALLOCSET_SMALL_SIZES);
	MemoryContext before = MemoryContextSwitchTo(context);
	Target target;
	int count = find_target(&target, 0) ? target.hosts : 0;

	PQconninfoFree(target.options);
	MemoryContextSwitchTo(before);
	MemoryContextDelete(context);
	return count;
}

/*
 * Goes to the next host; after the last one waits, longer each time, with jitter, so that a hundred
 * nodes do not all come back to a lead at once.
 */
static void
pass_on(AuroraLink *link)
{
	int hosts = host_count();

	link->host++;
	link->next_at_us = aurora_clock_us();
	if (hosts > 0 && link->host % hosts != 0)
		return;
	link->host = 0;
	link->next_at_us +=
		link->wait_us / 2 + (int64) (pg_prng_double(&pg_global_prng_state) * link->wait_us / 2);
	link->wait_us = Min(link->wait_us * 2, LONGEST_WAIT_US);
}

static void
finish_call(AuroraLink *link, const char *const *columns, int count, const char *error)
{
	AuroraAnswer answer = link->answer;

	link->answer = NULL;
	if (answer)
		answer(link->argument, columns, count, error);
}

static void
note_error(AuroraLink *link, const char *error)
{
	if (error[0] == '\0' || strcmp(error, link->error) == 0)
		return;
	strlcpy(link->error, error, AURORA_ERROR_SIZE);
	ereport(LOG, (errcode(ERRCODE_CONNECTION_FAILURE),
				  errmsg("the agent has no lead at %s: %s", link->host_name, error)));
}

static void
take_answer(AuroraLink *link, PGresult *result)
{
	const char *columns[16];
	int count = Min(PQnfields(result), (int) lengthof(columns));

	if (PQresultStatus(result) != PGRES_TUPLES_OK || PQntuples(result) != 1)
	{
		char error[AURORA_ERROR_SIZE];

		const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);

		aurora_one_line(error, sizeof(error), message ? message : "no row came");
		note_error(link, error);
		finish_call(link, NULL, 0, error);
		return;
	}
	for (int i = 0; i < count; i++)
		columns[i] = PQgetisnull(result, 0, i) ? NULL : PQgetvalue(result, 0, i);
	finish_call(link, columns, count, NULL);
	if (link->connection.state == AURORA_CONNECTION_CLOSED)
		return; /* the answer was that of a lead that was replaced */
	link->wait_us = FIRST_WAIT_US;
	link->answered = true;
	link->error[0] = '\0';
}

static void
connection_changed(void *owner)
{
	AuroraLink *link = owner;
	AuroraConnection *connection = &link->connection;
	const char *standby;

	if (connection->state == AURORA_CONNECTION_CLOSED)
	{
		note_error(link, connection->error);
		finish_call(link, NULL, 0, connection->error);
		pass_on(link);
	}
	else if (connection->result)
		take_answer(link, connection->result);
	else
	{
		standby = PQparameterStatus(connection->conn, "in_hot_standby");
		if (standby && strcmp(standby, "on") == 0)
			aurora_link_reject(link, "this node is a standby, too");
	}
}

void
aurora_link_reject(AuroraLink *link, const char *reason)
{
	aurora_connection_close(&link->connection);
	note_error(link, reason);
	pass_on(link);
}

AuroraLink *
aurora_link_create(AuroraPoller *poller)
{
	AuroraLink *link = MemoryContextAllocZero(TopMemoryContext, sizeof(AuroraLink));

	link->connection.poller = poller;
	link->connection.fd = -1;
	link->connection.changed = connection_changed;
	link->connection.owner = link;
	link->wait_us = FIRST_WAIT_US;
	return link;
}

void
aurora_link_step(AuroraLink *link, bool wanted)
{
	if (!wanted)
	{
		if (link->connection.state != AURORA_CONNECTION_CLOSED)
			aurora_connection_close(&link->connection);
		finish_call(link, NULL, 0, "the connection was given up");
		link->error[0] = '\0';
		return;
	}
	aurora_connection_expire(&link->connection);
	if (link->connection.state == AURORA_CONNECTION_CLOSED && link->next_at_us <= aurora_clock_us())
		try_next_host(link);
}

bool
aurora_link_is_idle(const AuroraLink *link)
{
	return link->connection.state == AURORA_CONNECTION_IDLE;
}

void
aurora_link_call(AuroraLink *link, const char *sql, int count, const char *const *parameters,
				 AuroraAnswer answer, void *argument)
{
	link->answer = answer;
	link->argument = argument;
	aurora_connection_send(&link->connection, sql, count, parameters, CALL_US);
}

const char *
aurora_link_state(const AuroraLink *link)
{
	switch (link->connection.state)
	{
		case AURORA_CONNECTION_CONNECTING:
			return "connecting";
		case AURORA_CONNECTION_CLOSED:
			return "waiting";
		default:
			return link->answered ? "connected" : "connecting";
	}
}

const char *
aurora_link_host(const AuroraLink *link)
{
	return link->host_name;
}

const char *
aurora_link_error(const AuroraLink *link)
{
	return link->error;
}

/* ---- settings ---- */

static bool
check_conninfo(char **value, void **extra, GucSource source)
{
	char *error = NULL;
	PQconninfoOption *options = PQconninfoParse(*value, &error);

	if (options == NULL)
		GUC_check_errdetail("%s", error ? error : "out of memory");
	PQfreemem(error);
	PQconninfoFree(options);
	return options != NULL;
}

void
aurora_link_init(void)
{
	DefineCustomStringVariable(
		"aurora.lead_conninfo",
		"Where the agent of a standby finds the lead; may name several hosts.",
		"Empty for the hosts of primary_conninfo, with aurora.database and a "
		"user named aurora_node_ and this node's name.",
		&lead_conninfo, "", PGC_SIGHUP, GUC_SUPERUSER_ONLY, check_conninfo, NULL, NULL);
}
