/*
 * Looks up hosts in threads. A thread has a "lookup" in common with who asked, which the last of
 * the two frees.
 */
#include "common/resolve.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/memory.h"

typedef struct Lookup
{
	char *host;
	int ready; /* becomes readable when the addresses are there */
	Addresses addresses;
	atomic_int users;
} Lookup;

struct Resolve
{
	Loop *loop;
	ResolveDone done;
	void *context;
	Lookup *lookup;
};

bool
resolve_is_needed(const char *host)
{
	unsigned char address[sizeof(struct in6_addr)];

	return host && *host && *host != '/' && *host != '@' && strchr(host, '%') == NULL &&
		   inet_pton(AF_INET, host, address) != 1 && inet_pton(AF_INET6, host, address) != 1;
}

/* ---- the thread ---- */

static void
leave(Lookup *lookup)
{
	if (atomic_fetch_sub(&lookup->users, 1) > 1)
		return;
	close(lookup->ready);
	free(lookup->host);
	free(lookup);
}

static void
take_addresses(Addresses *addresses, const struct addrinfo *list)
{
	for (; list && addresses->count < RESOLVE_ADDRESSES; list = list->ai_next)
		if (getnameinfo(list->ai_addr, list->ai_addrlen, addresses->texts[addresses->count],
						sizeof(addresses->texts[0]), NULL, 0, NI_NUMERICHOST) == 0)
			addresses->count++;
}

static void *
look_up(void *argument)
{
	static const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
	Lookup *lookup = argument;
	struct addrinfo *list = NULL;
	int error = getaddrinfo(lookup->host, NULL, &hints, &list);
	uint64_t one = 1;

	take_addresses(&lookup->addresses, list);
	if (lookup->addresses.count == 0)
		snprintf(lookup->addresses.problem, sizeof(lookup->addresses.problem),
				 "host \"%.80s\" cannot be looked up: %s", lookup->host,
				 error ? gai_strerror(error) : "it has no address");
	if (list)
		freeaddrinfo(list);
	(void) !write(lookup->ready, &one, sizeof(one));
	leave(lookup);
	return NULL;
}

/*
 * Signals are for the loop's thread.
 */
static bool
start_thread(Lookup *lookup)
{
	pthread_attr_t attributes;
	pthread_t thread;
	sigset_t all;
	sigset_t old;
	bool is_started;

	sigfillset(&all);
	if (pthread_attr_init(&attributes) != 0)
		return false;
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	is_started = pthread_create(&thread, &attributes, look_up, lookup) == 0;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attributes);
	return is_started;
}

/* ---- who asked ---- */

static void
finish(void *context, int fd, uint32_t events)
{
	Resolve *resolve = context;
	Lookup *lookup = resolve->lookup;
	ResolveDone done = resolve->done;
	void *owner = resolve->context;

	(void) events;
	loop_forget(resolve->loop, fd);
	free(resolve);
	done(owner, &lookup->addresses);
	leave(lookup);
}

Resolve *
resolve_start(Loop *loop, const char *host, ResolveDone done, void *context)
{
	Resolve *resolve = memory_get(sizeof(Resolve));
	Lookup *lookup = memory_get(sizeof(Lookup));

	lookup->host = memory_copy(host);
	lookup->ready = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	atomic_init(&lookup->users, 2);
	*resolve = (Resolve) {loop, done, context, lookup};
	if (lookup->ready >= 0 && start_thread(lookup))
	{
		loop_watch(loop, lookup->ready, EPOLLIN, finish, resolve);
		return resolve;
	}
	if (lookup->ready >= 0)
		close(lookup->ready);
	free(lookup->host);
	free(lookup);
	free(resolve);
	return NULL;
}

void
resolve_cancel(Resolve *resolve)
{
	if (resolve == NULL)
		return;
	loop_forget(resolve->loop, resolve->lookup->ready);
	leave(resolve->lookup);
	free(resolve);
}
