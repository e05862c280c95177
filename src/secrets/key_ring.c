/*
 * The key ring: this node's master keys, from a file or a command outside the database. Each
 * process reads it when it first needs it, and again after a reload of the configuration.
 */
#include "secrets/secrets.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"

#define MAX_KEYS 16
#define TEXT_SIZE 4096 /* a page: what a key ring may have as text */

static char *key_file = NULL;
static char *key_command = NULL;

static AuroraFernet ring[MAX_KEYS];
static int ring_count = 0;
static bool is_stale = true;

PG_FUNCTION_INFO_V1(aurora_secret_key_ring);

/* ---- the text of the ring ---- */

/*
 * A page that core dumps leave out.
 */
static char *
make_page(void)
{
	char *page = mmap(NULL, TEXT_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (page == MAP_FAILED)
		return NULL;
	(void) madvise(page, TEXT_SIZE, MADV_DONTDUMP);
	(void) mlock(page, TEXT_SIZE);
	return page;
}

static void
free_page(char *page)
{
	explicit_bzero(page, TEXT_SIZE);
	(void) munmap(page, TEXT_SIZE);
}

static bool
is_inside(const char *path, const char *folder)
{
	size_t length = strlen(folder);

	return strncmp(path, folder, length) == 0 && (path[length] == '/' || path[length] == '\0');
}

/*
 * Why the open file may not hold keys, or NULL.
 */
static const char *
trouble_of_file(int fd, const char *path)
{
	char folder[PATH_MAX];
	struct stat status;
	mode_t others = S_IRWXG | S_IRWXO;

	if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode))
		return "it is no regular file";
	if (status.st_uid != geteuid() && status.st_uid != 0)
		return "it belongs to another user";
	/* A credential of systemd: of root, and the server's user has an entry in its list, which shows
	 * as the group's right to read. */
	if (status.st_uid == 0 && status.st_gid == 0)
		others &= ~S_IRGRP;
	if (status.st_mode & others)
		return "group or others may use it: its mode must be 0600 or less";
	if (realpath(DataDir, folder) == NULL || is_inside(path, folder))
		return "it lies in the data folder, which backups copy";
	if (status.st_size >= TEXT_SIZE)
		return "it is too long";
	return NULL;
}

/*
 * Reads the text into the page; NULL, or what is wrong.
 */
static const char *
read_file(char *page, size_t *size)
{
	char path[PATH_MAX];
	const char *trouble;
	ssize_t got = -1;
	int fd;

	if (realpath(key_file, path) == NULL)
		return strerror(errno);
	fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return strerror(errno);
	trouble = trouble_of_file(fd, path);
	if (trouble == NULL)
		got = read(fd, page, TEXT_SIZE - 1);
	close(fd);
	if (trouble == NULL && got < 0)
		trouble = "it cannot be read";
	*size = (size_t) Max(got, 0);
	return trouble;
}

static const char *
read_command(char *page, size_t *size)
{
	FILE *pipe = popen(key_command, "re");
	char more[1];
	bool too_long;
	int status;

	if (pipe == NULL)
		return "it cannot be started";
	setvbuf(pipe, NULL, _IONBF, 0); /* so that nothing of the keys stays in a buffer */
	*size = fread(page, 1, TEXT_SIZE - 1, pipe);
	too_long = fread(more, 1, 1, pipe) == 1;
	status = pclose(pipe);
	if (status != 0)
		return wait_result_to_str(status);
	return too_long ? "it prints too much" : NULL;
}

/* ---- the ring ---- */

static void
forget_ring(void)
{
	for (int i = 0; i < ring_count; i++)
		aurora_fernet_close(&ring[i]);
	ring_count = 0;
}

/*
 * Adds the key in a line; NULL, or what is wrong with it.
 */
static const char *
add_line(const char *line, size_t length)
{
	uint8_t key[AURORA_FERNET_KEY_SIZE];
	bool opened;

	while (length > 0 && strchr(" \t\r", line[length - 1]))
		length--;
	if (length == 0 || line[0] == '#')
		return NULL;
	if (ring_count == MAX_KEYS)
		return "there are too many keys";
	if (!aurora_fernet_parse_key(line, length, key))
		return "a line is no Fernet key, which has 44 characters of base64url";
	opened = aurora_fernet_open(&ring[ring_count], key);
	explicit_bzero(key, sizeof(key));
	if (!opened)
		return "the cryptographic library failed";
	ring_count++;
	return NULL;
}

static const char *
add_lines(const char *text, size_t size)
{
	const char *trouble = NULL;
	const char *end = text + size;

	while (text < end && trouble == NULL)
	{
		const char *newline = memchr(text, '\n', end - text);
		const char *line_end = newline ? newline : end;

		trouble = add_line(text, line_end - text);
		text = line_end + 1;
	}
	return trouble == NULL && ring_count == 0 ? "there is no key in it" : trouble;
}

static const char *
read_ring(void)
{
	char *page = make_page();
	size_t size = 0;
	const char *trouble;

	if (page == NULL)
		return "there is no memory";
	trouble = key_file[0] ? read_file(page, &size) : read_command(page, &size);
	if (trouble == NULL)
		trouble = add_lines(page, size);
	free_page(page);
	if (trouble)
		forget_ring();
	return trouble;
}

const char *
aurora_key_ring_trouble(const char **setting)
{
	const char *trouble;

	*setting = key_file[0] ? "aurora.secrets_key_file" : "aurora.secrets_key_command";
	if (!is_stale)
		return NULL;
	forget_ring();
	aurora_data_key_forget();
	if (key_file[0] == '\0' && key_command[0] == '\0')
		return "none is set";
	if (key_file[0] && key_command[0])
		return "aurora.secrets_key_command is set too, and only one of them may be";
	trouble = read_ring();
	is_stale = trouble != NULL;
	return trouble;
}

int
aurora_key_ring_load(void)
{
	const char *setting;
	const char *trouble = aurora_key_ring_trouble(&setting);

	if (trouble && key_file[0] == '\0' && key_command[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("this node has no key for secrets"),
				 errhint("Set aurora.secrets_key_file or aurora.secrets_key_command, and reload "
						 "the configuration.")));
	if (trouble)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIG_FILE_ERROR), errmsg("the keys for secrets cannot be used"),
				 errdetail("%s: %s.", setting, trouble)));
	return ring_count;
}

void
aurora_key_ring_ids(StringInfo ids)
{
	for (int i = 0; i < ring_count; i++)
		appendStringInfo(ids, "%s%s", i > 0 ? " " : "", ring[i].key_id);
}

AuroraFernet *
aurora_key_ring_first(void)
{
	(void) aurora_key_ring_load();
	return &ring[0];
}

AuroraFernet *
aurora_key_ring_find(const char *key_id)
{
	(void) aurora_key_ring_load();
	for (int i = 0; i < ring_count; i++)
		if (strcmp(ring[i].key_id, key_id) == 0)
			return &ring[i];
	return NULL;
}

/*
 * secret_key_ring(): the ids of this node's master keys, the one that encrypts first.
 */
Datum
aurora_secret_key_ring(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	(void) aurora_key_ring_load();
	for (int i = 0; i < ring_count; i++)
	{
		Datum values[2] = {Int32GetDatum(i + 1), CStringGetTextDatum(ring[i].key_id)};
		bool nulls[2] = {false, false};

		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/*
 * A reload assigns every setting of the configuration file anew, changed or not: so a file of keys
 * whose text has changed is read again.
 */
static void
note_reload(const char *value, void *extra)
{
	is_stale = true;
	aurora_secret_cache_outdate();
}

static bool
check_path(char **value, void **extra, GucSource source)
{
	if ((*value)[0] == '\0' || (*value)[0] == '/')
		return true;
	GUC_check_errdetail("It must be an absolute path.");
	return false;
}

void
aurora_key_ring_init(void)
{
	DefineCustomStringVariable(
		"aurora.secrets_key_file", "File with this node's keys for secrets, one Fernet key a line.",
		"The first encrypts, all are tried. It must lie outside the data "
		"folder, and only the server's user may read it.",
		&key_file, "", PGC_SIGHUP, GUC_SUPERUSER_ONLY, check_path, note_reload, NULL);
	DefineCustomStringVariable(
		"aurora.secrets_key_command", "Command that prints this node's keys for secrets.",
		"In place of aurora.secrets_key_file. Each session that needs them "
		"runs it once, and again after a reload.",
		&key_command, "", PGC_SIGHUP, GUC_SUPERUSER_ONLY, NULL, note_reload, NULL);
}
