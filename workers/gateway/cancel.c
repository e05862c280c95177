/*
 * Cancels what a connection runs, in a thread.
 */
#include "gateway/cancel.h"

#include <pthread.h>
#include <stdatomic.h>

#define CANCELLERS 8 /* threads, at most */

static atomic_int cancellers;

static void *
cancel(void *context)
{
	PGcancel *handle = context;
	char error[256];

	(void) PQcancel(handle, error, sizeof(error));
	PQfreeCancel(handle);
	atomic_fetch_sub(&cancellers, 1);
	return NULL;
}

bool
cancel_start(PGconn *conn)
{
	PGcancel *handle;
	pthread_attr_t attributes;
	pthread_t thread;
	bool is_started;

	if (atomic_load(&cancellers) >= CANCELLERS || (handle = PQgetCancel(conn)) == NULL)
		return false;
	atomic_fetch_add(&cancellers, 1);
	pthread_attr_init(&attributes);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	is_started = pthread_create(&thread, &attributes, cancel, handle) == 0;
	pthread_attr_destroy(&attributes);
	if (is_started)
		return true;
	PQfreeCancel(handle);
	atomic_fetch_sub(&cancellers, 1);
	return false;
}
