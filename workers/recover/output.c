/*
 * Where values are written.
 */
#include "recover/output.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "recover/message.h"

#define GATHERED 65536

static bool
is_standard(const char *path)
{
	return path == NULL || strcmp(path, "-") == 0;
}

void
output_check(const char *path)
{
	struct stat status;

	if (!is_standard(path) && lstat(path, &status) == 0)
		message_end("\"%s\" is there already: values are written to a new file only", path);
}

void
output_open(Output *output, const char *path)
{
	memset(output, 0, sizeof(*output));
	output->fd = STDOUT_FILENO;
	if (is_standard(path))
		return;
	output->path = path;
	output->fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (output->fd < 0)
		message_end("\"%s\" cannot be made: %s", path, strerror(errno));
}

void
output_flush(Output *output, bool all)
{
	Buffer *buffer = &output->buffer;
	size_t written = 0;

	if (output->fd == NO_FILE || (!all && buffer->size < GATHERED))
		return;
	output->has_any |= buffer->size > 0;
	while (written < buffer->size)
	{
		ssize_t got = write(output->fd, buffer->bytes + written, buffer->size - written);

		if (got < 0 && errno != EINTR)
		{
			const char *why = strerror(errno);

			buffer_wipe(buffer);
			message_end("values cannot be written, and what was is not all: %s", why);
		}
		written += got > 0 ? (size_t) got : 0;
	}
	buffer_wipe(buffer);
}

void
output_close(Output *output, bool keep_empty)
{
	output_flush(output, true);
	buffer_wipe(&output->buffer);
	if (output->path == NULL)
		return;
	if (fsync(output->fd) != 0 || close(output->fd) != 0)
		message_end("\"%s\" cannot be written: %s", output->path, strerror(errno));
	if (!output->has_any && !keep_empty)
		(void) unlink(output->path);
}
