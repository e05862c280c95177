/*
 * Reads a backup.
 */
#include "recover/input.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "recover/dump.h"
#include "recover/export.h"
#include "common/memory.h"
#include "recover/message.h"

#define PIECE 65536
#define LONGEST_EXPORT ((size_t) 1 << 30)

/* How files begin that are no plain text. */
static const struct
{
	size_t place;
	size_t size;
	const char *bytes;
	const char *trouble;
} kinds[] = {
	{0, 5, "PGDMP",
	 "it is a dump in custom format: pipe it through pg_restore, as in\n"
	 "    pg_restore -f - db.dump | aurora-secrets-recover --key-file FILE"},
	{257, 5, "ustar",
	 "it is a tar archive: if pg_dump made it, pipe it through pg_restore, as in\n"
	 "    pg_restore -f - db.tar | aurora-secrets-recover --key-file FILE"},
	{0, 2, "\x1f\x8b", "it is compressed: pipe it through gunzip -c"},
	{0, 4, "\x28\xb5\x2f\xfd", "it is compressed: pipe it through zstd -dc"},
	{0, 4, "\x04\x22\x4d\x18", "it is compressed: pipe it through lz4 -dc"},
	{0, 6,
	 "\xfd"
	 "7zXZ",
	 "it is compressed: pipe it through xz -dc"},
	{0, 3, "BZh", "it is compressed: pipe it through bunzip2 -c"},
	{0, 2, "\xff\xfe",
	 "it is in UTF-16, as some shells write: have pg_dump write it, with -f FILE"},
	{0, 2, "\xfe\xff",
	 "it is in UTF-16, as some shells write: have pg_dump write it, with -f FILE"},
};

int
input_open(const char *path)
{
	struct stat status;
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY) : STDIN_FILENO;

	if (fd < 0 || fstat(fd, &status) != 0)
		message_end("\"%s\" cannot be opened: %s", path ? path : "standard input", strerror(errno));
	if (S_ISDIR(status.st_mode))
		message_end("\"%s\" is a folder: if pg_dump made it, pipe it through pg_restore, as in\n"
					"    pg_restore -f - FOLDER | aurora-secrets-recover --key-file FILE",
					path);
	if (path == NULL && isatty(fd))
		message_end("name a backup, or pipe one in; --help tells more");
	return fd;
}

const char *
input_trouble(const char *beginning, size_t size)
{
	if (size == 0)
		return "it is empty";
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (size >= kinds[i].place + kinds[i].size &&
			memcmp(beginning + kinds[i].place, kinds[i].bytes, kinds[i].size) == 0)
			return kinds[i].trouble;
	return NULL;
}

/*
 * Reads until the piece is full, or the end.
 */
static size_t
read_piece(int fd, char *piece)
{
	size_t size = 0;
	ssize_t got = 1;

	while (got != 0 && size < PIECE)
	{
		got = read(fd, piece + size, PIECE - size);
		if (got < 0 && errno != EINTR)
			message_end("the backup cannot be read: %s", strerror(errno));
		if (got > 0)
			size += (size_t) got;
	}
	return size;
}

static void
read_export(int fd, char *piece, size_t size, Stores *stores)
{
	Buffer text = {0};
	const char *trouble;
	int line = 1;

	for (; size > 0; size = read_piece(fd, piece))
	{
		if (text.size > LONGEST_EXPORT)
			message_end("the backup cannot be used: it is too long for an export");
		buffer_add(&text, piece, size);
	}
	trouble = export_read(text.bytes, text.size, stores, &line);
	if (trouble)
		message_end("the backup cannot be used: line %d: %s", line, trouble);
	buffer_wipe(&text);
}

static void
read_dump(int fd, char *piece, size_t size, Stores *stores)
{
	Dump dump;

	dump_open(&dump, stores);
	for (; size > 0; size = read_piece(fd, piece))
		if (!dump_take(&dump, piece, size))
			message_end("the backup cannot be used: %s", dump.trouble);
	if (!dump.has_statements)
		message_end("the backup cannot be used: it is no dump of pg_dump in plain text");
	dump_close(&dump);
}

void
input_read(int fd, Stores *stores)
{
	static const char mark[] = "\xef\xbb\xbf"; /* of UTF-8 */
	char *piece = memory_get(PIECE);
	size_t size = read_piece(fd, piece);
	const char *trouble = input_trouble(piece, size);
	size_t begin = 0;

	if (trouble)
		message_end("the backup cannot be used: %s", trouble);
	if (size >= strlen(mark) && memcmp(piece, mark, strlen(mark)) == 0)
		memset(piece, ' ', strlen(mark));
	while (begin < size && strchr(" \t\r\n", piece[begin]) && piece[begin])
		begin++;
	if (begin < size && piece[begin] == '{')
		read_export(fd, piece, size, stores);
	else
		read_dump(fd, piece, size, stores);
	buffer_wipe(&(Buffer) {.bytes = piece, .size = PIECE, .room = PIECE});
}
