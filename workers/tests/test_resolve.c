/*
 * Looking up hosts: the loop goes on meanwhile, whatever the system's resolver does. Here it is one
 * of the test's own.
 */
#include <arpa/inet.h>
#include <netdb.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/connection.h"
#include "common/resolve.h"
#include "tests/tap.h"

#define SLOW 700 /* ms that the resolver takes for "slow" */

typedef struct Told
{
	Loop *loop;
	int times;
	Addresses addresses;
	int ticks; /* of a timer meanwhile */
	Timer tick;
	char reason[200]; /* why a connection was lost */
} Told;

static atomic_int resolver_ended;

/*
 * Stands for the C library's: "two" has two addresses, "slow" takes its time, other names are not
 * there; libpq asks for addresses, too.
 */
int
getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
			struct addrinfo **list)
{
	static const unsigned char last[] = {1, 2};
	struct in_addr number;
	bool is_number = inet_pton(AF_INET, host, &number) == 1;
	int count = strcmp(host, "two") == 0 ? 2 : strcmp(host, "slow") == 0 || is_number ? 1 : 0;

	(void) hints;
	*list = NULL;
	if (strcmp(host, "slow") == 0)
		usleep(SLOW * 1000);
	for (int i = count - 1; i >= 0; i--)
	{
		struct addrinfo *entry = calloc(1, sizeof(struct addrinfo) + sizeof(struct sockaddr_in));
		struct sockaddr_in *address = (struct sockaddr_in *) (entry + 1);

		address->sin_family = AF_INET;
		address->sin_addr.s_addr = is_number ? number.s_addr : htonl(0x7f000000u + last[i]);
		address->sin_port = htons((uint16_t) (service ? atoi(service) : 0));
		entry->ai_family = AF_INET;
		entry->ai_addr = (struct sockaddr *) address;
		entry->ai_addrlen = sizeof(struct sockaddr_in);
		entry->ai_next = *list;
		*list = entry;
	}
	atomic_fetch_add(&resolver_ended, 1);
	return count > 0 ? 0 : EAI_NONAME;
}

void
freeaddrinfo(struct addrinfo *list)
{
	while (list)
	{
		struct addrinfo *next = list->ai_next;

		free(list);
		list = next;
	}
}

static void
tell(void *context, const Addresses *addresses)
{
	Told *told = context;

	told->times++;
	told->addresses = *addresses;
	loop_end(told->loop);
}

static void
tick(void *context)
{
	Told *told = context;

	told->ticks++;
	loop_set(told->loop, &told->tick, clock_ms() + 20);
}

static void
end_loop(void *context)
{
	loop_end(context);
}

static void
look_up(Loop *loop, Told *told, const char *host)
{
	*told = (Told) {.loop = loop, .tick = {.due = tick, .context = told}};
	loop_set(loop, &told->tick, clock_ms());
	ok(resolve_start(loop, host, tell, told) != NULL, "host %s is looked up", host);
	loop_run(loop);
	loop_unset(loop, &told->tick);
}

static void
test_names(void)
{
	ok(resolve_is_needed("lead.example"), "a name is looked up");
	ok(!resolve_is_needed("10.0.0.1") && !resolve_is_needed("::1") &&
		   !resolve_is_needed("fe80::1%eth0"),
	   "an address is not");
	ok(!resolve_is_needed("/run/postgresql") && !resolve_is_needed("") && !resolve_is_needed(NULL),
	   "nor is the folder of a socket");
}

static void
test_looking_up(Loop *loop)
{
	static Told told;
	Timer end = {.due = end_loop, .context = loop};
	Resolve *resolve;

	look_up(loop, &told, "two");
	ok(told.addresses.count == 2, "all addresses of a host are found");
	is(told.addresses.texts[0], "127.0.0.1", "in the order that the resolver gives");
	is(told.addresses.texts[1], "127.0.0.2", "up to the last");
	look_up(loop, &told, "missing");
	ok(told.addresses.count == 0 && strstr(told.addresses.problem, "\"missing\"") != NULL,
	   "of a host that is not there it is told: %s", told.addresses.problem);
	look_up(loop, &told, "slow");
	ok(told.addresses.count == 1 && told.ticks > 5,
	   "the loop goes on while the resolver takes its time (%d ticks)", told.ticks);
	told.times = 0;
	atomic_store(&resolver_ended, 0);
	resolve = resolve_start(loop, "slow", tell, &told);
	resolve_cancel(resolve);
	loop_set(loop, &end, clock_ms() + SLOW + 300);
	loop_run(loop);
	ok(told.times == 0 && atomic_load(&resolver_ended) == 1, "who cancels is told nothing");
}

/* ---- in a connection ---- */

static void
be_up(void *context)
{
	(void) context;
}

static void
be_down(void *context, const char *reason)
{
	Told *told = context;

	told->times++;
	if (told->times == 1)
		strncpy(told->reason, reason, sizeof(told->reason) - 1);
	loop_end(told->loop);
}

static Connection *
lose(Loop *loop, Told *told, const char *conninfo)
{
	static const ConnectionEvents events = {be_up, be_down, NULL};
	Connection *connection;
	char *problem;

	*told = (Told) {.loop = loop, .tick = {.due = tick, .context = told}};
	loop_set(loop, &told->tick, clock_ms());
	connection = connection_open(loop, conninfo, "test", NULL, &events, told, &problem);
	free(problem);
	loop_run(loop);
	loop_unset(loop, &told->tick);
	return connection;
}

static void
test_connections(Loop *loop)
{
	static Told told;
	Connection *connection = lose(loop, &told, "host=missing port=1");

	ok(strstr(told.reason, "\"missing\" cannot be looked up") != NULL,
	   "a connection to a host that is not there tells so: %s", told.reason);
	connection_close(connection);
	connection = lose(loop, &told, "host=two port=1");
	ok(strstr(told.reason, "127.0.0.1") != NULL, "one is made to the address: %s", told.reason);
	connection_close(connection);
	connection = lose(loop, &told, "host=slow port=1");
	ok(told.ticks > 5, "the loop goes on while a slow name is looked up (%d ticks)", told.ticks);
	connection_close(connection);
	connection = lose(loop, &told, "host=slow hostaddr=127.0.0.3 port=1");
	ok(strstr(told.reason, "127.0.0.3") != NULL && told.ticks < 10,
	   "a name with its address is not looked up: %s", told.reason);
	connection_close(connection);
}

int
main(void)
{
	Loop loop;

	if (!loop_open(&loop))
		return EXIT_FAILURE;
	test_names();
	test_looking_up(&loop);
	test_connections(&loop);
	loop_close(&loop);
	return done();
}
