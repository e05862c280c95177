/*
 * Programs that the agent runs: a service's check or its recovery. They get no shell, no descriptor
 * and no environment of the server, run in a process group of their own, and are killed when they
 * take too long.
 */
#include "registry/registry.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

#define FIRST_OTHER_DESCRIPTOR 3

/*
 * Keeps the end of the output.
 */
static void
append(AuroraCommand *command, const char *bytes, size_t count)
{
	size_t room = sizeof(command->tail) - 1;

	if (count > room)
	{
		bytes += count - room;
		count = room;
	}
	if (command->length + count > room)
	{
		size_t keep = room - count;

		memmove(command->tail, command->tail + command->length - keep, keep);
		command->length = keep;
	}
	memcpy(command->tail + command->length, bytes, count);
	command->length += count;
	command->tail[command->length] = '\0';
}

static void
close_output(AuroraCommand *command, AuroraPoller *poller)
{
	if (command->output < 0)
		return;
	aurora_poller_forget(poller, command->output);
	close(command->output);
	command->output = -1;
}

/*
 * One read for each time the descriptor is ready: a program that prints without end must not keep
 * the agent.
 */
static bool
read_some(AuroraCommand *command)
{
	char bytes[4096];
	ssize_t count = read(command->output, bytes, sizeof(bytes));

	if (count > 0)
		append(command, bytes, count);
	else if (count == 0 || errno != EAGAIN)
		command->at_end = true;
	return count > 0;
}

static void
take_output(void *argument, int fd, uint32 events)
{
	AuroraCommand *command = argument;

	if (command->output == fd && !read_some(command) && command->at_end)
		close_output(command, command->poller);
}

static int
spawn(AuroraCommand *command, const char *const *arguments, int output)
{
	static char path[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
	static char locale[] = "LC_ALL=C.UTF-8";
	char *environment[] = {path, locale, NULL};
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	sigset_t signals;
	pid_t pid;
	int error;

	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
	posix_spawn_file_actions_adddup2(&actions, output, STDERR_FILENO);
	posix_spawn_file_actions_addclosefrom_np(&actions, FIRST_OTHER_DESCRIPTOR);
	posix_spawnattr_init(&attributes);
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF |
											  POSIX_SPAWN_SETSIGMASK);
	sigfillset(&signals);
	posix_spawnattr_setsigdefault(&attributes, &signals);
	sigemptyset(&signals);
	posix_spawnattr_setsigmask(&attributes, &signals);
	error = posix_spawn(&pid, arguments[0], &actions, &attributes, (char *const *) arguments,
						environment);
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attributes);
	if (error == 0)
		command->pid = pid;
	return error;
}

bool
aurora_command_start(AuroraCommand *command, AuroraPoller *poller, const char *const *arguments,
					 int64 timeout_us)
{
	int ends[2];
	int error;

	memset(command, 0, sizeof(*command));
	command->output = -1;
	command->started_us = aurora_clock_us();
	command->deadline_us = command->started_us + timeout_us;
	command->poller = poller;
	if (pipe2(ends, O_CLOEXEC) != 0 || fcntl(ends[0], F_SETFL, O_NONBLOCK) != 0)
		error = errno;
	else
	{
		error = spawn(command, arguments, ends[1]);
		close(ends[1]);
		if (error != 0)
			close(ends[0]);
	}
	if (error != 0)
	{
		command->length = snprintf(command->tail, sizeof(command->tail), "could not run %s: %s",
								   arguments[0], strerror(error));
		command->exit_status = 127;
		return false;
	}
	command->output = ends[0];
	aurora_poller_watch(poller, command->output, EPOLLIN, take_output, command);
	return true;
}

bool
aurora_command_ended(AuroraCommand *command, AuroraPoller *poller)
{
	int status;

	if (command->pid == 0)
		return true;
	if (waitpid(command->pid, &status, WNOHANG) != command->pid)
	{
		if (aurora_clock_us() < command->deadline_us)
			return false;
		command->timed_out = true;
		aurora_command_kill(command, poller);
		return true;
	}
	for (int i = 0; i < 16 && command->output >= 0 && read_some(command); i++)
		;
	close_output(command, poller);
	(void) kill(-command->pid, SIGKILL); /* what it left behind in its group */
	command->pid = 0;
	command->exit_status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	return true;
}

void
aurora_command_kill(AuroraCommand *command, AuroraPoller *poller)
{
	int status;

	if (command->pid == 0)
		return;
	(void) kill(-command->pid, SIGKILL);
	(void) waitpid(command->pid, &status, 0);
	close_output(command, poller);
	command->pid = 0;
	command->exit_status = 128 + SIGKILL;
}
