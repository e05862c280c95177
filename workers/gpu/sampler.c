/*
 * Reads the inventory again and again in a thread of its own.
 *
 * The thread has the finder for itself. What both sides touch lies in "mailbox" under a lock; the
 * side that leaves last frees it.
 */
#include "gpu/sampler.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/memory.h"

#define HANG_LIMIT 20000 /* ms; nvidia-smi alone may take 10,000 */
#define LEAVE_LIMIT 1000

typedef struct Mailbox
{
	pthread_mutex_t lock;
	pthread_cond_t changed;
	Inventory inventory;
	int ready; /* eventfd */
	int interval;
	bool is_closing;
	bool has_left; /* one of both sides */
	Finder finder;
	char *texts[4];
} Mailbox;

struct Sampler
{
	Loop *loop;
	Mailbox *mailbox;
	void (*sampled)(void *context, const Inventory *inventory);
	void *context;
	Inventory last;
	Timer hang;
};

static void
free_mailbox(Mailbox *mailbox)
{
	for (int i = 0; i < 4; i++)
		free(mailbox->texts[i]);
	close(mailbox->ready);
	pthread_cond_destroy(&mailbox->changed);
	pthread_mutex_destroy(&mailbox->lock);
	free(mailbox);
}

/*
 * Leaves with the lock held; the second one frees.
 */
static void
leave(Mailbox *mailbox)
{
	bool is_last = mailbox->has_left;

	mailbox->has_left = true;
	pthread_cond_broadcast(&mailbox->changed);
	pthread_mutex_unlock(&mailbox->lock);
	if (is_last)
		free_mailbox(mailbox);
}

static struct timespec
after(int milliseconds)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	time.tv_sec += milliseconds / 1000;
	time.tv_nsec += (long) (milliseconds % 1000) * 1000000;
	if (time.tv_nsec >= 1000000000)
	{
		time.tv_sec++;
		time.tv_nsec -= 1000000000;
	}
	return time;
}

static void *
sample(void *argument)
{
	Mailbox *mailbox = argument;
	Inventory *inventory = memory_get(sizeof(Inventory));

	pthread_mutex_lock(&mailbox->lock);
	while (!mailbox->is_closing)
	{
		struct timespec next = after(mailbox->interval);
		uint64_t one = 1;

		pthread_mutex_unlock(&mailbox->lock);
		finder_read(&mailbox->finder, clock_ms(), inventory);
		pthread_mutex_lock(&mailbox->lock);
		mailbox->inventory = *inventory;
		if (write(mailbox->ready, &one, sizeof(one)) < 0)
			break;
		while (!mailbox->is_closing &&
			   pthread_cond_timedwait(&mailbox->changed, &mailbox->lock, &next) == 0)
			;
	}
	pthread_mutex_unlock(&mailbox->lock);
	finder_close(&mailbox->finder);
	free(inventory);
	pthread_mutex_lock(&mailbox->lock);
	leave(mailbox);
	return NULL;
}

/* ---- the loop's side ---- */

static void
take(void *context, int fd, uint32_t events)
{
	Sampler *sampler = context;
	uint64_t count;

	(void) events;
	if (read(fd, &count, sizeof(count)) < 0)
		return;
	pthread_mutex_lock(&sampler->mailbox->lock);
	sampler->last = sampler->mailbox->inventory;
	pthread_mutex_unlock(&sampler->mailbox->lock);
	loop_set(sampler->loop, &sampler->hang, clock_ms() + sampler->mailbox->interval + HANG_LIMIT);
	sampler->sampled(sampler->context, &sampler->last);
}

static void
tell_hang(void *context)
{
	Sampler *sampler = context;

	for (int i = 0; i < sampler->last.count; i++)
	{
		Device *device = &sampler->last.devices[i];

		if (strcmp(device->kind, "cuda") != 0)
			continue;
		device->is_lost = true;
		device_copy_text(device->problem, sizeof(device->problem), "the driver does not answer");
	}
	sampler->sampled(sampler->context, &sampler->last);
}

/*
 * The thread may outlive the configuration, so that it has texts of its own.
 */
static void
copy_sources(Mailbox *mailbox, const InventorySources *sources)
{
	InventorySources own = *sources;

	mailbox->texts[0] = own.nvml_library = memory_copy(sources->nvml_library);
	mailbox->texts[1] = own.nvidia_smi = memory_copy(sources->nvidia_smi);
	mailbox->texts[2] = own.drm_folder = memory_copy(sources->drm_folder);
	mailbox->texts[3] = own.meminfo = memory_copy(sources->meminfo);
	finder_open(&mailbox->finder, &own);
}

Sampler *
sampler_open(Loop *loop, const InventorySources *sources, int interval,
			 void (*sampled)(void *context, const Inventory *inventory), void *context)
{
	Sampler *sampler = memory_get(sizeof(Sampler));
	Mailbox *mailbox = memory_get(sizeof(Mailbox));
	pthread_condattr_t monotonic;
	pthread_t thread;

	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&mailbox->changed, &monotonic);
	pthread_condattr_destroy(&monotonic);
	pthread_mutex_init(&mailbox->lock, NULL);
	copy_sources(mailbox, sources);
	mailbox->interval = interval;
	mailbox->ready = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (mailbox->ready < 0 || pthread_create(&thread, NULL, sample, mailbox) != 0)
	{
		finder_close(&mailbox->finder);
		free_mailbox(mailbox);
		free(sampler);
		return NULL;
	}
	pthread_detach(thread);
	sampler->loop = loop;
	sampler->mailbox = mailbox;
	sampler->sampled = sampled;
	sampler->context = context;
	sampler->hang = (Timer) {.due = tell_hang, .context = sampler};
	loop_watch(loop, mailbox->ready, EPOLLIN, take, sampler);
	loop_set(loop, &sampler->hang, clock_ms() + HANG_LIMIT);
	return sampler;
}

void
sampler_close(Sampler *sampler)
{
	Mailbox *mailbox;
	struct timespec limit = after(LEAVE_LIMIT);

	if (sampler == NULL)
		return;
	mailbox = sampler->mailbox;
	loop_unset(sampler->loop, &sampler->hang);
	loop_forget(sampler->loop, mailbox->ready);
	free(sampler);
	pthread_mutex_lock(&mailbox->lock);
	mailbox->is_closing = true;
	pthread_cond_broadcast(&mailbox->changed);
	while (!mailbox->has_left &&
		   pthread_cond_timedwait(&mailbox->changed, &mailbox->lock, &limit) == 0)
		;
	leave(mailbox);
}
