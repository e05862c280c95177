/*
 * Reads key files.
 */
#include "recover/keys.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/memory.h"
#include "recover/message.h"

#define TEXT_SIZE 65536 /* the server takes files of less than 4096 bytes */

/*
 * A pipe will do: a command may print the keys, as with aurora.secrets_key_command.
 */
int
keys_open(const char *path)
{
	struct stat status;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);

	if (fd < 0 || fstat(fd, &status) != 0)
		message_end("the key file \"%s\" cannot be opened: %s", path, strerror(errno));
	if (!S_ISREG(status.st_mode) && !S_ISFIFO(status.st_mode))
		message_end("the key file \"%s\" is neither a file nor a pipe", path);
	if (status.st_mode & (S_IRWXG | S_IRWXO))
		message_end("the key file \"%s\" may be used by its group or by others: make its mode 0600 "
					"(chmod 600), and think of who has read it",
					path);
	return fd;
}

/*
 * Adds the key in a line; false when there is none though there should be.
 */
static bool
add_line(KeyRing *ring, const char *line, size_t length)
{
	uint8_t key[AURORA_FERNET_KEY_SIZE];
	bool opened;

	while (length > 0 && strchr(" \t\r", line[length - 1]))
		length--;
	if (length == 0 || line[0] == '#')
		return true;
	if (!aurora_fernet_parse_key(line, length, key))
		return false;
	ring->keys = memory_extend(ring->keys, ring->count, sizeof(AuroraFernet));
	opened = aurora_fernet_open(&ring->keys[ring->count], key);
	OPENSSL_cleanse(key, sizeof(key));
	if (!opened)
		message_end("the cryptographic library failed");
	ring->count++;
	return true;
}

size_t
keys_add(KeyRing *ring, const char *text, size_t size, const char *path)
{
	const char *end = text + size;
	size_t bad = 0;

	for (unsigned line = 1; text < end; line++)
	{
		const char *newline = memchr(text, '\n', (size_t) (end - text));
		const char *line_end = newline ? newline : end;

		if (!add_line(ring, text, (size_t) (line_end - text)))
		{
			bad++;
			message_say("line %u of the key file \"%s\" is no Fernet key, which has 44 characters "
						"of base64url: it is left out",
						line, path);
		}
		text = newline ? newline + 1 : end;
	}
	return bad;
}

void
keys_read(KeyRing *ring, int fd, const char *path)
{
	char *text = mmap(NULL, TEXT_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	size_t before = ring->count;
	size_t size = 0;
	ssize_t got = 1;

	if (text == MAP_FAILED)
		message_end("there is no memory");
	(void) madvise(text, TEXT_SIZE, MADV_DONTDUMP);
	(void) mlock(text, TEXT_SIZE);
	while (got != 0 && size < TEXT_SIZE)
	{
		got = read(fd, text + size, TEXT_SIZE - size);
		if (got < 0 && errno != EINTR)
			message_end("the key file \"%s\" cannot be read: %s", path, strerror(errno));
		if (got > 0)
			size += (size_t) got;
	}
	close(fd);
	if (size < TEXT_SIZE)
		(void) keys_add(ring, text, size, path);
	OPENSSL_cleanse(text, TEXT_SIZE);
	(void) munmap(text, TEXT_SIZE);
	if (size == TEXT_SIZE)
		message_end("the key file \"%s\" is too long to be one", path);
	if (ring->count == before)
		message_end("there is no key in the key file \"%s\"", path);
}

void
keys_close(KeyRing *ring)
{
	for (size_t i = 0; i < ring->count; i++)
		aurora_fernet_close(&ring->keys[i]);
	free(ring->keys);
	ring->keys = NULL;
	ring->count = 0;
}
