/*
 * Cancels what a connection runs, in a thread.
 */
#include "gateway/cancel.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/memory.h"

#define CANCELLERS 8	  /* threads, at most */
#define CANCEL_LIMIT 3000 /* ms */

#ifndef CLOSE_RANGE_UNSHARE
#define CLOSE_RANGE_UNSHARE (1U << 1)
#endif

struct Cancel
{
	Loop *loop;
	PGcancel *handle;
	int ready; /* becomes readable when the thread ends */
	pthread_t thread;
	Timer limit;
	atomic_bool is_delivered;
	CancelDone done;
	void *context;
};

static int cancellers;

/* ---- the thread ---- */

static void
tell(void *context)
{
	Cancel *cancel = context;
	uint64_t one = 1;

	(void) !write(cancel->ready, &one, sizeof(one));
}

/*
 * The thread gets descriptors of its own, so that the socket of a PQcancel() that is stopped goes
 * with it. Where that is not allowed, the socket stays.
 */
static void
take_descriptors(unsigned ready)
{
	if (ready > 3 && close_range(3, ready - 1, CLOSE_RANGE_UNSHARE) != 0)
		return;
	(void) close_range(ready + 1, ~0U, CLOSE_RANGE_UNSHARE);
}

static void *
run(void *context)
{
	Cancel *cancel = context;
	char error[256];

	pthread_cleanup_push(tell, cancel);
	take_descriptors((unsigned) cancel->ready);
	atomic_store(&cancel->is_delivered, PQcancel(cancel->handle, error, sizeof(error)) == 1);
	pthread_cleanup_pop(1);
	return NULL;
}

/*
 * Signals are for the loop's thread.
 */
static bool
start_thread(Cancel *cancel)
{
	sigset_t all;
	sigset_t old;
	bool is_started;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	is_started = pthread_create(&cancel->thread, NULL, run, cancel) == 0;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return is_started;
}

/* ---- who asked ---- */

static void
free_cancel(Cancel *cancel)
{
	if (cancel->ready >= 0)
		close(cancel->ready);
	PQfreeCancel(cancel->handle);
	free(cancel);
}

/*
 * The thread has ended, or is about to.
 */
static void
leave(Cancel *cancel)
{
	pthread_join(cancel->thread, NULL);
	loop_unset(cancel->loop, &cancel->limit);
	loop_forget(cancel->loop, cancel->ready);
	cancellers--;
}

static void
finish(void *context, int fd, uint32_t events)
{
	Cancel *cancel = context;

	(void) fd;
	(void) events;
	leave(cancel);
	cancel->done(cancel->context, atomic_load(&cancel->is_delivered));
	free_cancel(cancel);
}

/*
 * All that PQcancel() waits in are points where a thread may be stopped.
 */
static void
time_is_up(void *context)
{
	Cancel *cancel = context;

	pthread_cancel(cancel->thread);
}

Cancel *
cancel_start(Loop *loop, PGconn *conn, CancelDone done, void *context)
{
	Cancel *cancel;

	if (cancellers >= CANCELLERS)
		return NULL;
	cancel = memory_get(sizeof(Cancel));
	*cancel = (Cancel) {.loop = loop,
						.handle = PQgetCancel(conn),
						.ready = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
						.limit = {.due = time_is_up, .context = cancel},
						.done = done,
						.context = context};
	if (cancel->handle == NULL || cancel->ready < 0 || !start_thread(cancel))
	{
		free_cancel(cancel);
		return NULL;
	}
	cancellers++;
	loop_watch(loop, cancel->ready, EPOLLIN, finish, cancel);
	loop_set(loop, &cancel->limit, clock_ms() + CANCEL_LIMIT);
	return cancel;
}

void
cancel_end(Cancel *cancel)
{
	if (cancel == NULL)
		return;
	pthread_cancel(cancel->thread);
	leave(cancel);
	free_cancel(cancel);
}
