/*
 * Connection strings whose hosts are tried one by one. libpq blocks while a name is looked up, so
 * that it gets addresses.
 */
#include "gateway/hosts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/memory.h"

#define MOST_HOSTS 32
#define KEYWORDS 64

/* What the encoder relies on. */
#define SESSION_OPTIONS                                                                   \
	"-c TimeZone=UTC -c DateStyle=ISO -c IntervalStyle=iso_8601 -c extra_float_digits=1 " \
	"-c bytea_output=hex -c jit=off -c search_path=pg_catalog"

static const char *
option_of(const Hosts *hosts, const char *keyword)
{
	for (const PQconninfoOption *option = hosts->options; option->keyword; option++)
		if (strcmp(option->keyword, keyword) == 0)
			return option->val && *option->val ? option->val : NULL;
	return NULL;
}

static int
count_parts(const char *list)
{
	int count = 1;

	for (; list && *list; list++)
		count += *list == ',';
	return count;
}

/*
 * A part of a list with commas, to be freed; of a list with one part that one.
 */
static char *
part_of(const char *list, int part)
{
	char *copy;

	if (list == NULL)
		return NULL;
	if (count_parts(list) == 1)
		part = 0;
	for (; part > 0; part--)
		list = strchr(list, ',') + 1;
	copy = memory_copy(list);
	copy[strcspn(copy, ",")] = '\0';
	return copy;
}

static char *
count_hosts(Hosts *hosts)
{
	const char *host = option_of(hosts, "host");
	const char *address = option_of(hosts, "hostaddr");
	const char *port = option_of(hosts, "port");

	hosts->count = count_parts(address ? address : host);
	if (hosts->count > MOST_HOSTS)
		return memory_copy("there are too many hosts");
	if ((host && address && count_parts(host) != hosts->count) ||
		(port && count_parts(port) != 1 && count_parts(port) != hosts->count))
		return memory_copy("there are not as many hosts as addresses or ports");
	return NULL;
}

bool
hosts_read(Hosts *hosts, const char *conninfo, char **problem)
{
	char *message = NULL;

	hosts->options = PQconninfoParse(conninfo, &message);
	*problem =
		hosts->options ? count_hosts(hosts) : memory_copy(message ? message : "there is no memory");
	PQfreemem(message);
	if (*problem == NULL)
		return true;
	(*problem)[strcspn(*problem, "\n")] = '\0';
	hosts_free(hosts);
	return false;
}

void
hosts_free(Hosts *hosts)
{
	PQconninfoFree(hosts->options);
	hosts->options = NULL;
}

typedef struct Keywords
{
	const char *names[KEYWORDS];
	char *values[KEYWORDS];
	int count;
} Keywords;

static void
add_keyword(Keywords *keywords, const char *name, char *value)
{
	if (value == NULL || keywords->count == KEYWORDS - 1)
	{
		memory_wipe(value);
		return;
	}
	keywords->names[keywords->count] = name;
	keywords->values[keywords->count++] = value;
}

/*
 * Those of the connection string come behind ours, so that they count.
 */
static char *
session_options(const Hosts *hosts, int timeout)
{
	const char *given = option_of(hosts, "options");
	char *all;

	return asprintf(&all, SESSION_OPTIONS " -c statement_timeout=%d %s", timeout,
					given ? given : "") < 0
			   ? NULL
			   : all;
}

char *
hosts_name(const Hosts *hosts, int host)
{
	char *address = part_of(option_of(hosts, "hostaddr"), host);
	char *name = part_of(option_of(hosts, "host"), host);

	if ((address == NULL || *address == '\0') && resolve_is_needed(name))
	{
		free(address);
		return name;
	}
	free(address);
	free(name);
	return NULL;
}

/*
 * The host's name or its addresses as a list, since each address is a host to libpq. The first is
 * another one at each try: one that does not answer takes up all the time that there is.
 */
static char *
list_of(const HostsWish *wish, const char *name)
{
	const Addresses *addresses = wish->addresses;
	Buffer list = {0};

	for (int i = 0; i < addresses->count; i++)
	{
		int place = (int) ((wish->turn + (unsigned) i) % (unsigned) addresses->count);

		buffer_print(&list, "%s%s", i > 0 ? "," : "", name ? name : addresses->texts[place]);
	}
	return list.bytes;
}

/*
 * What an option of the connection string is for this host.
 */
static char *
value_for(const PQconninfoOption *option, const HostsWish *wish)
{
	bool is_host = strcmp(option->keyword, "host") == 0;
	bool is_address = strcmp(option->keyword, "hostaddr") == 0;
	char *value;
	char *list;

	if (!is_host && !is_address && strcmp(option->keyword, "port") != 0)
		return memory_copy(option->val);
	value = part_of(option->val, wish->host);
	if (wish->addresses == NULL || (!is_host && !is_address))
		return value;
	list = list_of(wish, is_host ? value : NULL);
	free(value);
	return list;
}

PGconn *
hosts_connect(const Hosts *hosts, const HostsWish *wish)
{
	static const char *const standard[][2] = {
		{"keepalives_idle", "10"},	 {"keepalives_interval", "5"},
		{"keepalives_count", "3"},	 {"tcp_user_timeout", "15000"},
		{"client_encoding", "UTF8"}, {"application_name", "aurora-gateway"}};
	Keywords keywords = {0};
	PGconn *conn;

	for (size_t i = 0; i < sizeof(standard) / sizeof(standard[0]); i++)
		if (option_of(hosts, standard[i][0]) == NULL)
			add_keyword(&keywords, standard[i][0], memory_copy(standard[i][1]));
	for (const PQconninfoOption *option = hosts->options; option->keyword; option++)
		if (strcmp(option->keyword, "options") != 0 &&
			strcmp(option->keyword, "target_session_attrs") != 0)
			add_keyword(&keywords, option->keyword, value_for(option, wish));
	add_keyword(&keywords, "options", session_options(hosts, wish->timeout));
	add_keyword(&keywords, "target_session_attrs",
				memory_copy(wish->for_writes ? "read-write" : "any"));
	conn = PQconnectStartParams(keywords.names, (const char *const *) keywords.values, 0);
	for (int i = 0; i < keywords.count; i++)
		memory_wipe(keywords.values[i]);
	return conn;
}
