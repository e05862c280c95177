/*
 * One loop over file descriptors, timers and signals.
 */
#include "common/loop.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/memory.h"

#define EVENTS_AT_ONCE 64

bool
loop_open(Loop *loop)
{
	memset(loop, 0, sizeof(*loop));
	loop->signals = -1;
	loop->epoll = epoll_create1(EPOLL_CLOEXEC);
	return loop->epoll >= 0;
}

void
loop_close(Loop *loop)
{
	if (loop->signals >= 0)
		close(loop->signals);
	if (loop->epoll >= 0)
		close(loop->epoll);
	free(loop->watches);
	memset(loop, 0, sizeof(*loop));
}

/* ---- descriptors ---- */

static void
make_room(Loop *loop, size_t fd)
{
	Watch *watches;
	size_t count = loop->watch_count > 0 ? loop->watch_count : 64;

	if (fd < loop->watch_count)
		return;
	while (count <= fd)
		count *= 2;
	watches = memory_get(count * sizeof(Watch));
	if (loop->watch_count > 0)
		memcpy(watches, loop->watches, loop->watch_count * sizeof(Watch));
	free(loop->watches);
	loop->watches = watches;
	loop->watch_count = count;
}

void
loop_watch(Loop *loop, int fd, uint32_t events, LoopReady ready, void *context)
{
	struct epoll_event event = {.events = events, .data.fd = fd};
	Watch *watch;
	bool is_new;

	make_room(loop, (size_t) fd);
	watch = &loop->watches[fd];
	is_new = watch->ready == NULL;
	if (!is_new && watch->events == events && watch->ready == ready && watch->context == context)
		return;
	*watch = (Watch) {ready, context, events};
	/* A descriptor that was closed behind our back has left epoll by itself. */
	if (epoll_ctl(loop->epoll, is_new ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, fd, &event) != 0)
		(void) epoll_ctl(loop->epoll, is_new ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event);
}

void
loop_forget(Loop *loop, int fd)
{
	if (fd < 0 || (size_t) fd >= loop->watch_count || loop->watches[fd].ready == NULL)
		return;
	loop->watches[fd].ready = NULL;
	(void) epoll_ctl(loop->epoll, EPOLL_CTL_DEL, fd, NULL);
}

/* ---- timers ---- */

/*
 * There are some dozens of them, so that a list will do.
 */
void
loop_set(Loop *loop, Timer *timer, int64_t at)
{
	timer->at = at;
	if (timer->is_listed)
		return;
	timer->is_listed = true;
	timer->next = loop->timers;
	loop->timers = timer;
}

void
loop_set_by(Loop *loop, Timer *timer, int64_t at)
{
	if (!timer->is_listed || timer->at > at)
		loop_set(loop, timer, at);
}

void
loop_unset(Loop *loop, Timer *timer)
{
	Timer **place = &loop->timers;

	if (!timer->is_listed)
		return;
	while (*place != timer)
		place = &(*place)->next;
	*place = timer->next;
	timer->is_listed = false;
}

static int
milliseconds_left(const Loop *loop)
{
	int64_t next = LOOP_NEVER;
	int64_t now = clock_ms();

	for (const Timer *timer = loop->timers; timer; timer = timer->next)
		if (timer->at < next)
			next = timer->at;
	if (next == LOOP_NEVER)
		return -1;
	return next <= now ? 0 : next - now > 60000 ? 60000 : (int) (next - now);
}

/*
 * The function of a timer may set and unset any of them, so that the list is read anew each time.
 * One that sets itself to now is due until the clock goes on.
 */
static void
run_timers(Loop *loop)
{
	int64_t now = clock_ms();

	for (;;)
	{
		Timer *due = NULL;

		for (Timer *timer = loop->timers; timer; timer = timer->next)
			if (timer->at <= now && (due == NULL || timer->at < due->at))
				due = timer;
		if (due == NULL || loop->is_ending)
			return;
		loop_unset(loop, due);
		due->due(due->context);
	}
}

/* ---- signals ---- */

static void
read_signal(void *context, int fd, uint32_t events)
{
	Loop *loop = context;
	struct signalfd_siginfo info;

	(void) events;
	while (read(fd, &info, sizeof(info)) == sizeof(info))
		loop->on_signal(loop->signal_context, (int) info.ssi_signo);
}

bool
loop_signals(Loop *loop, const sigset_t *signals, LoopSignal on_signal, void *context)
{
	loop->on_signal = on_signal;
	loop->signal_context = context;
	if (sigprocmask(SIG_BLOCK, signals, NULL) != 0)
		return false;
	loop->signals = signalfd(-1, signals, SFD_CLOEXEC | SFD_NONBLOCK);
	if (loop->signals < 0)
		return false;
	loop_watch(loop, loop->signals, EPOLLIN, read_signal, loop);
	return true;
}

/* ---- turns ---- */

void
loop_run(Loop *loop)
{
	struct epoll_event events[EVENTS_AT_ONCE];

	loop->is_ending = false;
	while (!loop->is_ending)
	{
		int count = epoll_wait(loop->epoll, events, EVENTS_AT_ONCE, milliseconds_left(loop));

		for (int i = 0; i < count && !loop->is_ending; i++)
		{
			const Watch *watch = &loop->watches[events[i].data.fd];

			if (watch->ready)
				watch->ready(watch->context, events[i].data.fd, events[i].events);
		}
		run_timers(loop);
	}
}

void
loop_end(Loop *loop)
{
	loop->is_ending = true;
}
