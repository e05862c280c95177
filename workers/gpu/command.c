/*
 * Runs a job by a command.
 */
#include "gpu/command.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

#include "gpu/worker.h"

#define WORDS 256
#define PIECE 4096
#define KILLED 256

static pid_t killed[KILLED]; /* that have not been waited for */

static void read_output(void *context, int fd, uint32_t events);

/* ---- input and output ---- */

static void
close_input(Job *job)
{
	if (job->child.input < 0)
		return;
	loop_forget(&job->worker->loop, job->child.input);
	close(job->child.input);
	job->child.input = -1;
}

/*
 * A command that does not read its prompt is its own affair.
 */
static void
write_input(void *context, int fd, uint32_t events)
{
	Job *job = context;
	ssize_t size = write(fd, job->input.bytes, job->input.size);

	(void) events;
	if (size < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (size > 0)
		buffer_remove(&job->input, (size_t) size);
	if (size < 0 || job->input.size == 0)
		close_input(job);
}

static void
close_output(Job *job)
{
	if (job->child.output < 0)
		return;
	loop_forget(&job->worker->loop, job->child.output);
	close(job->child.output);
	job->child.output = -1;
}

static void
finish(Job *job, int status)
{
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
	{
		job->finish_reason = memory_copy("stop");
		job_done(job);
	}
	else if (WIFEXITED(status))
		job_fail(job, retry_command(WEXITSTATUS(status)), "the command ended with status %d",
				 WEXITSTATUS(status));
	else
		job_fail(job, retry_command(0), "the command was ended by signal %d", WTERMSIG(status));
}

static void
read_output(void *context, int fd, uint32_t events)
{
	Job *job = context;
	char bytes[PIECE];
	ssize_t size;

	(void) events;
	if (job->text.size >= (size_t) job->worker->config->buffer_limit)
	{
		job->is_held = true;
		loop_forget(&job->worker->loop, fd);
		return;
	}
	size = read(fd, bytes, sizeof(bytes));
	if (size > 0)
		job_add_token(job, bytes, (size_t) size);
	else if (size == 0 || (errno != EAGAIN && errno != EINTR))
	{
		close_output(job);
		command_reap(job);
	}
}

/* ---- a job ---- */

/*
 * {model} in an argument stands for the model.
 */
static char *
fill_in(const char *word, const char *model)
{
	Buffer filled = {0};
	const char *place;

	while ((place = strstr(word, "{model}")) != NULL)
	{
		buffer_add(&filled, word, (size_t) (place - word));
		buffer_add_text(&filled, model);
		word = place + strlen("{model}");
	}
	buffer_add_text(&filled, word);
	return filled.bytes;
}

void
command_start(Job *job, const Request *request)
{
	char *words[WORDS + 1] = {NULL};
	bool is_started;

	for (int i = 0; i < WORDS && job->backend->config.words[i]; i++)
		words[i] = fill_in(job->backend->config.words[i], job->model);
	is_started = child_start(&job->child, (const char *const *) words);
	if (!is_started)
		job_fail(job, retry_command(127), "%s cannot be run: %s", words[0], strerror(errno));
	for (int i = 0; words[i]; i++)
		memory_wipe(words[i]);
	if (!is_started)
		return;
	buffer_add_text(&job->input, request->body);
	loop_watch(&job->worker->loop, job->child.output, EPOLLIN, read_output, job);
	loop_watch(&job->worker->loop, job->child.input, EPOLLOUT, write_input, job);
}

void
command_resume(Job *job)
{
	if (job->child.output >= 0)
		loop_watch(&job->worker->loop, job->child.output, EPOLLIN, read_output, job);
}

void
command_stop(Job *job)
{
	int status;

	close_input(job);
	close_output(job);
	child_signal(&job->child, SIGKILL);
	if (job->child.pid > 0 && !child_ended(&job->child, &status))
		for (int i = 0; i < KILLED; i++)
			if (killed[i] == 0)
			{
				killed[i] = job->child.pid;
				break;
			}
	job->child.pid = 0;
}

/*
 * What it has written is read first, also when others that it has started hold its output open.
 */
void
command_reap(Job *job)
{
	int status;

	if (job->child.pid == 0 || job->child.output >= 0 || !child_ended(&job->child, &status))
		return;
	finish(job, status);
}

void
command_reap_killed(void)
{
	for (int i = 0; i < KILLED; i++)
		if (killed[i] > 0 && waitpid(killed[i], NULL, WNOHANG) != 0)
			killed[i] = 0;
}
