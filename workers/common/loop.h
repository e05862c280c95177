/*
 * One loop over file descriptors, timers and signals. A "watch" has a function called whenever its
 * descriptor is ready; a timer once, when its time has come. All of it in one thread.
 */
#ifndef COMMON_LOOP_H
#define COMMON_LOOP_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LOOP_NEVER INT64_MAX

typedef void (*LoopReady)(void *context, int fd, uint32_t events);
typedef void (*LoopDue)(void *context);
typedef void (*LoopSignal)(void *context, int signal);

typedef struct Watch
{
	LoopReady ready; /* NULL when the descriptor is not watched */
	void *context;
	uint32_t events;
} Watch;

typedef struct Timer
{
	int64_t at; /* on clock_ms(); LOOP_NEVER when it is not set */
	LoopDue due;
	void *context;
	struct Timer *next;
	bool is_listed;
} Timer;

typedef struct Loop
{
	int epoll;
	int signals; /* descriptor */
	LoopSignal on_signal;
	void *signal_context;
	Watch *watches; /* by descriptor */
	size_t watch_count;
	Timer *timers;
	bool is_ending;
} Loop;

/* False, with errno, when there are no descriptors left. */
extern bool loop_open(Loop *loop);
extern void loop_close(Loop *loop);

/* Has these signals blocked, and told in the loop. */
extern bool loop_signals(Loop *loop, const sigset_t *signals, LoopSignal on_signal, void *context);

/* Watches a descriptor for EPOLLIN, EPOLLOUT; a second call changes what for. */
extern void loop_watch(Loop *loop, int fd, uint32_t events, LoopReady ready, void *context);

/* To be called before the descriptor is closed. */
extern void loop_forget(Loop *loop, int fd);

/* Sets a timer, anew when it was set. The timer must stay where it is until loop_unset(). */
extern void loop_set(Loop *loop, Timer *timer, int64_t at);

/* As loop_set(), but keeps an earlier time. */
extern void loop_set_by(Loop *loop, Timer *timer, int64_t at);
extern void loop_unset(Loop *loop, Timer *timer);

/* Runs until loop_end(). */
extern void loop_run(Loop *loop);
extern void loop_end(Loop *loop);

#endif
