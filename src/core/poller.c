/*
 * Waiting for many descriptors and the latch at once: an epoll instance holds the descriptors, and
 * the latch's own wait watches that one.
 */
#include "core/core.h"

#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/memutils.h"
#include "utils/wait_event.h"

#define MAX_EVENTS 64

typedef struct Watch
{
	AuroraReady ready; /* NULL when nobody watches */
	void *argument;
} Watch;

struct AuroraPoller
{
	int epoll;
	Watch *watches; /* by descriptor */
	int size;
};

int64
aurora_clock_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64) now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

AuroraPoller *
aurora_poller_create(void)
{
	AuroraPoller *poller = MemoryContextAllocZero(TopMemoryContext, sizeof(AuroraPoller));

	poller->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (poller->epoll < 0)
		ereport(ERROR, (errcode_for_socket_access(), errmsg("could not create an epoll: %m")));
	poller->size = 64;
	poller->watches = MemoryContextAllocZero(TopMemoryContext, poller->size * sizeof(Watch));
	return poller;
}

static Watch *
watch_of(AuroraPoller *poller, int fd)
{
	int size = poller->size;

	while (fd >= size)
		size *= 2;
	if (size > poller->size)
	{
		poller->watches = repalloc(poller->watches, size * sizeof(Watch));
		memset(poller->watches + poller->size, 0, (size - poller->size) * sizeof(Watch));
		poller->size = size;
	}
	return &poller->watches[fd];
}

/*
 * A descriptor that was closed has left the epoll by itself, and its number may be another's by
 * now; so both ways are tried.
 */
void
aurora_poller_watch(AuroraPoller *poller, int fd, uint32 events, AuroraReady ready, void *argument)
{
	struct epoll_event event = {.events = events, .data.fd = fd};
	Watch *watch = watch_of(poller, fd);

	watch->ready = ready;
	watch->argument = argument;
	if (epoll_ctl(poller->epoll, EPOLL_CTL_ADD, fd, &event) == 0)
		return;
	if (errno != EEXIST || epoll_ctl(poller->epoll, EPOLL_CTL_MOD, fd, &event) != 0)
		ereport(ERROR, (errcode_for_socket_access(), errmsg("could not watch a descriptor: %m")));
}

void
aurora_poller_forget(AuroraPoller *poller, int fd)
{
	if (fd < 0)
		return;
	watch_of(poller, fd)->ready = NULL;
	(void) epoll_ctl(poller->epoll, EPOLL_CTL_DEL, fd, NULL);
}

void
aurora_poller_wait(AuroraPoller *poller, long timeout_ms)
{
	struct epoll_event events[MAX_EVENTS];
	int ready;

	(void) WaitLatchOrSocket(MyLatch,
							 WL_LATCH_SET | WL_SOCKET_READABLE | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
							 poller->epoll, timeout_ms, PG_WAIT_EXTENSION);
	aurora_process_serve_signals();
	ready = epoll_wait(poller->epoll, events, MAX_EVENTS, 0);
	for (int i = 0; i < ready; i++)
	{
		Watch *watch = watch_of(poller, events[i].data.fd);

		if (watch->ready)
			watch->ready(watch->argument, events[i].data.fd, events[i].events);
	}
}
