/*
 * The files of the audit: one JSON object a line. The first line of a file tells which chain it
 * goes on with; each further line ends with the SHA-256 of the hash before it and its own text.
 */
#include "secrets/secrets.h"

#include <dirent.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>

#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/guc.h"

#define SUFFIX ".audit"
#define HASH_HEX (2 * AURORA_HASH_SIZE)
#define TAIL_SIZE (9 + HASH_HEX + 2) /* ,"hash":"..."} */

static char *directory = NULL;

const char *
aurora_audit_directory(void)
{
	static char beside[AURORA_AUDIT_PATH_SIZE];

	if (directory[0])
		return directory;
	snprintf(beside, sizeof(beside), "%.900s" SUFFIX, DataDir);
	return beside;
}

void
aurora_audit_path(uint64 generation, char path[AURORA_AUDIT_PATH_SIZE])
{
	snprintf(path, AURORA_AUDIT_PATH_SIZE, "%.900s/%s.%010llu" SUFFIX, aurora_audit_directory(),
			 aurora_node_name(), (unsigned long long) generation);
}

/* ---- which files there are ---- */

static uint64
generation_of(const char *name)
{
	size_t length = strlen(aurora_node_name());
	char *end;
	uint64 generation;

	if (strncmp(name, aurora_node_name(), length) != 0 || name[length] != '.' ||
		name[length + 1] < '0' || name[length + 1] > '9')
		return 0;
	generation = strtoull(name + length + 1, &end, 10);
	return strcmp(end, SUFFIX) == 0 ? generation : 0;
}

static int
compare_generations(const void *a, const void *b)
{
	uint64 left = *(const uint64 *) a;
	uint64 right = *(const uint64 *) b;

	return left < right ? -1 : left > right;
}

int
aurora_audit_generations(uint64 **generations, int64 *total_size)
{
	DIR *folder = opendir(aurora_audit_directory());
	struct dirent *found;
	int count = 0;
	int room = 16;

	if (folder == NULL)
		return -1;
	*generations = palloc(room * sizeof(uint64));
	*total_size = 0;
	while ((found = readdir(folder)) != NULL)
	{
		uint64 generation = generation_of(found->d_name);
		struct stat status;
		char path[AURORA_AUDIT_PATH_SIZE];

		if (generation == 0)
			continue;
		aurora_audit_path(generation, path);
		if (stat(path, &status) == 0)
			*total_size += status.st_size;
		if (count == room)
			*generations = repalloc(*generations, (room *= 2) * sizeof(uint64));
		(*generations)[count++] = generation;
	}
	closedir(folder);
	qsort(*generations, count, sizeof(uint64), compare_generations);
	return count;
}

/* ---- lines ---- */

void
aurora_audit_hash(const uint8 previous[AURORA_HASH_SIZE], const char *text, size_t size,
				  uint8 hash[AURORA_HASH_SIZE])
{
	static EVP_MD_CTX *begun = NULL; /* a digest that is begun is copied sooner than made */
	static EVP_MD_CTX *digest = NULL;

	if (begun == NULL)
	{
		EVP_MD_CTX *made = EVP_MD_CTX_new();

		digest = EVP_MD_CTX_new();
		if (made && digest && EVP_DigestInit_ex(made, EVP_sha256(), NULL))
			begun = made;
	}
	if (begun == NULL || !EVP_MD_CTX_copy_ex(digest, begun) ||
		!EVP_DigestUpdate(digest, previous, AURORA_HASH_SIZE) ||
		!EVP_DigestUpdate(digest, text, size) || !EVP_DigestFinal_ex(digest, hash, NULL))
		ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("a hash could not be computed")));
}

static bool
read_hex(const char *text, uint8 *bytes, int count)
{
	for (int i = 0; i < 2 * count; i++)
	{
		const char *digits = "0123456789abcdef";
		const char *digit = text[i] ? strchr(digits, text[i]) : NULL;

		if (digit == NULL)
			return false;
		if (i % 2 == 0)
			bytes[i / 2] = (uint8) ((digit - digits) << 4);
		else
			bytes[i / 2] |= (uint8) (digit - digits);
	}
	return true;
}

/*
 * Takes a record into account: its number and its hash must be what comes next.
 */
static bool
take_record(AuroraAuditFile *file, const char *line, size_t size)
{
	char begin[40];
	int begin_size =
		snprintf(begin, sizeof(begin), "{\"seq\":%llu,", (unsigned long long) file->last_seq + 1);
	const char *tail = line + size - TAIL_SIZE;
	uint8 told[AURORA_HASH_SIZE];
	uint8 computed[AURORA_HASH_SIZE];

	if (size < (size_t) begin_size + TAIL_SIZE || memcmp(line, begin, begin_size) != 0 ||
		memcmp(tail, ",\"hash\":\"", 9) != 0 || memcmp(line + size - 2, "\"}", 2) != 0 ||
		!read_hex(tail + 9, told, AURORA_HASH_SIZE))
		return false;
	aurora_audit_hash(file->hash, line, size - TAIL_SIZE, computed);
	if (memcmp(told, computed, AURORA_HASH_SIZE) != 0)
		return false;
	memcpy(file->hash, told, AURORA_HASH_SIZE);
	file->last_seq++;
	return true;
}

static bool
read_text_field(const char *line, const char *name, char *to, size_t size)
{
	const char *value = strstr(line, name);
	size_t length;

	if (value == NULL)
		return false;
	value += strlen(name);
	length = strcspn(value, "\"");
	if (length >= size)
		return false;
	memcpy(to, value, length);
	to[length] = '\0';
	return true;
}

static bool
take_head(AuroraAuditFile *file, const char *line)
{
	char previous[HASH_HEX + 1];
	const char *first = strstr(line, "\"first_seq\":");

	if (first == NULL ||
		!read_text_field(line, "{\"chain\":\"", file->chain, sizeof(file->chain)) ||
		strlen(file->chain) != AURORA_CHAIN_SIZE - 1 ||
		!read_text_field(line, "\"previous\":\"", previous, sizeof(previous)) ||
		strlen(previous) != HASH_HEX || !read_hex(previous, file->previous, AURORA_HASH_SIZE))
		return false;
	file->first_seq = strtoull(first + strlen("\"first_seq\":"), NULL, 10);
	file->last_seq = file->first_seq - 1;
	memcpy(file->hash, file->previous, AURORA_HASH_SIZE);
	return file->first_seq > 0;
}

/* ---- files ---- */

static FILE *
open_generation(uint64 generation, AuroraAuditFile *file)
{
	char path[AURORA_AUDIT_PATH_SIZE];
	struct stat status;
	FILE *stream;

	memset(file, 0, sizeof(*file));
	file->generation = generation;
	aurora_audit_path(generation, path);
	stream = AllocateFile(path, PG_BINARY_R);
	if (stream && fstat(fileno(stream), &status) == 0)
		file->size = status.st_size;
	return stream;
}

/*
 * The next line without its end; false at the end, and for one that has no end.
 */
static bool
read_line(FILE *stream, char *line, size_t *size)
{
	*size = 0;
	if (fgets(line, AURORA_AUDIT_LINE_SIZE, stream) == NULL)
		return false;
	*size = strlen(line);
	if (*size == 0 || line[*size - 1] != '\n')
		return false;
	line[--*size] = '\0';
	return true;
}

bool
aurora_audit_read_head(uint64 generation, AuroraAuditFile *file)
{
	FILE *stream = open_generation(generation, file);
	char *line = palloc(AURORA_AUDIT_LINE_SIZE);
	size_t size;
	bool valid = stream && read_line(stream, line, &size) && take_head(file, line);

	if (stream)
		FreeFile(stream);
	pfree(line);
	return valid;
}

bool
aurora_audit_read_file(uint64 generation, AuroraAuditFile *file)
{
	FILE *stream = open_generation(generation, file);
	char *line = palloc(AURORA_AUDIT_LINE_SIZE);
	size_t size = 0;
	bool valid = stream && read_line(stream, line, &size) && take_head(file, line);

	if (valid)
		file->valid_size = (int64) size + 1;
	while (valid && read_line(stream, line, &size) && take_record(file, line, size))
		file->valid_size += (int64) size + 1;
	if (valid && file->valid_size < file->size)
	{
		file->bad_seq = file->last_seq + 1;
		file->torn = size > 0 && feof(stream) != 0;
	}
	if (stream)
		FreeFile(stream);
	pfree(line);
	return valid;
}

/* ---- setting ---- */

static bool
check_directory(char **value, void **extra, GucSource source)
{
	if ((*value)[0] == '\0' || ((*value)[0] == '/' && strlen(*value) < 900))
		return true;
	GUC_check_errdetail("It must be an absolute path of less than 900 bytes.");
	return false;
}

void
aurora_audit_file_init(void)
{
	DefineCustomStringVariable(
		"aurora.secret_audit_directory", "Folder in which accesses to secrets are written down.",
		"Outside the data folder, which backups and pg_rewind copy. Empty for the data folder's "
		"name with \"" SUFFIX "\" behind it.",
		&directory, "", aurora_preloaded ? PGC_POSTMASTER : PGC_SIGHUP, GUC_SUPERUSER_ONLY,
		check_directory, NULL, NULL);
}
