/*
 * Programs that are run without a shell.
 */
#include "common/child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"

#define MOST_OUTPUT ((size_t) 1 << 20)

static void
close_both(int *pipe)
{
	for (int i = 0; i < 2; i++)
		if (pipe[i] >= 0)
			close(pipe[i]);
	pipe[0] = pipe[1] = -1;
}

/*
 * What the new process does. "failure" closes by itself when the program starts, else it gets the
 * reason.
 */
static _Noreturn void
become(const char *const *arguments, int input, int output, int failure)
{
	sigset_t none;
	int nowhere;
	int reason;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
	if (dup2(input, STDIN_FILENO) >= 0 && dup2(output, STDOUT_FILENO) >= 0 &&
		dup2(nowhere, STDERR_FILENO) >= 0)
		execvp(arguments[0], (char *const *) arguments);
	reason = errno;
	if (write(failure, &reason, sizeof(reason)) < 0)
		_exit(126);
	_exit(127);
}

bool
child_start(Child *child, const char *const *arguments)
{
	int input[2] = {-1, -1};
	int output[2] = {-1, -1};
	int failure[2] = {-1, -1};
	int reason = 0;

	*child = (Child) {0, -1, -1};
	if (pipe2(input, O_CLOEXEC) != 0 || pipe2(output, O_CLOEXEC) != 0 ||
		pipe2(failure, O_CLOEXEC) != 0 || (child->pid = fork()) < 0)
		reason = errno;
	else if (child->pid == 0)
		become(arguments, input[0], output[1], failure[1]);
	else
	{
		setpgid(child->pid, child->pid);
		close(failure[1]);
		failure[1] = -1;
		if (read(failure[0], &reason, sizeof(reason)) > 0)
			waitpid(child->pid, NULL, 0);
	}
	close_both(failure);
	if (reason == 0)
	{
		child->input = input[1];
		child->output = output[0];
		input[1] = output[0] = -1;
		(void) fcntl(child->input, F_SETFL, O_NONBLOCK);
		(void) fcntl(child->output, F_SETFL, O_NONBLOCK);
	}
	else
		child->pid = 0;
	close_both(input);
	close_both(output);
	errno = reason;
	return reason == 0;
}

bool
child_ended(Child *child, int *status)
{
	if (child->pid <= 0 || waitpid(child->pid, status, WNOHANG) != child->pid)
		return false;
	child->pid = 0;
	return true;
}

void
child_signal(const Child *child, int signal)
{
	if (child->pid > 0)
		(void) kill(-child->pid, signal);
}

void
child_close(Child *child)
{
	if (child->input >= 0)
		close(child->input);
	if (child->output >= 0)
		close(child->output);
	child->input = child->output = -1;
}

/*
 * Reads up to the end of the output; false when the time is up before.
 */
static bool
read_all(const Child *child, int64_t limit, Buffer *output)
{
	char bytes[4096];

	for (;;)
	{
		int64_t left = limit - clock_ms();
		struct pollfd ready = {.fd = child->output, .events = POLLIN};
		ssize_t size;

		if (left <= 0 || (poll(&ready, 1, (int) left) <= 0 && errno != EINTR))
			return false;
		size = read(child->output, bytes, sizeof(bytes));
		if (size == 0)
			return true;
		if (size < 0 && errno != EAGAIN && errno != EINTR)
			return false;
		if (size > 0 && output->size + (size_t) size > MOST_OUTPUT)
			return false;
		if (size > 0)
			buffer_add(output, bytes, (size_t) size);
	}
}

int
child_run(const char *const *arguments, int limit, Buffer *output)
{
	Child child;
	bool is_whole;
	int status;

	if (!child_start(&child, arguments))
		return -1;
	close(child.input);
	child.input = -1;
	is_whole = read_all(&child, clock_ms() + limit, output);
	/* One that has closed its output and stays is as sick as one that says nothing. */
	for (int left = 50; is_whole && left > 0 && !child_ended(&child, &status); left--)
		usleep(10000);
	child_signal(&child, SIGKILL);
	child_close(&child);
	if (child.pid == 0)
		return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
	/* A process in the depth of a driver does not even die: the kernel has it, and nobody waits. */
	for (int left = 50; left > 0 && !child_ended(&child, &status); left--)
		usleep(10000);
	return -1;
}

/* ---- words ---- */

/*
 * Reads a word in place and goes behind it; false when a quote does not end.
 */
static bool
read_word(char **at, char *to)
{
	char quote = 0;

	for (; **at && (quote || !strchr(" \t", **at)); (*at)++)
	{
		if (quote && **at == quote)
			quote = 0;
		else if (!quote && (**at == '"' || **at == '\''))
			quote = **at;
		else
		{
			if (**at == '\\' && quote != '\'' && (*at)[1])
				(*at)++;
			*to++ = **at;
		}
	}
	if (**at)
		(*at)++;
	*to = '\0';
	return quote == 0;
}

char **
child_words(const char *command)
{
	char *copy = memory_copy(command);
	char *at = copy + strspn(copy, " \t");
	char **words = memory_get(sizeof(char *));
	size_t count = 0;

	while (*at)
	{
		char *word = at;

		words = memory_extend(words, count + 1, sizeof(char *));
		if (!read_word(&at, word))
		{
			child_free_words(words);
			free(copy);
			return NULL;
		}
		words[count++] = memory_copy(word);
		at += strspn(at, " \t");
	}
	free(copy);
	return words;
}

void
child_free_words(char **words)
{
	for (char **word = words; *word; word++)
		free(*word);
	free(words);
}
