/*
 * Programs that are run without a shell, each in a process group of its own, which ends with the
 * program that runs it.
 */
#ifndef COMMON_CHILD_H
#define COMMON_CHILD_H

#include <stdbool.h>
#include <sys/types.h>

#include "common/memory.h"

typedef struct Child
{
	pid_t pid; /* 0 when none runs */
	int input; /* write to it, -1 when it is closed */
	int output;
} Child;

/*
 * Starts a program; "arguments" end with a NULL. What it says on standard error goes nowhere.
 * False, with errno, when it cannot be started.
 */
extern bool child_start(Child *child, const char *const *arguments);

/* Has it ended? "status" is then as waitpid(2) has it. */
extern bool child_ended(Child *child, int *status);

/* Sends a signal to it and to what it has started. */
extern void child_signal(const Child *child, int signal);

/* Closes the pipes. */
extern void child_close(Child *child);

/*
 * Runs a program to its end, but for "limit" ms at most, and adds what it writes, of up to 1 MiB.
 * Blocks. Returns its exit status; -1 when it could not be run, or did not end by itself.
 */
extern int child_run(const char *const *arguments, int limit, Buffer *output);

/*
 * Splits a command into arguments, up to a NULL, as a shell splits words with quotes and
 * backslashes, and without all else that a shell does. NULL when a quote does not end. To be freed
 * with child_free_words().
 */
extern char **child_words(const char *command);
extern void child_free_words(char **words);

#endif
