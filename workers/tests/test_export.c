/*
 * Exports, other kinds of files, and variables for a shell.
 */
#include <stdlib.h>
#include <string.h>

#include "recover/export.h"
#include "recover/input.h"
#include "recover/message.h"
#include "recover/write.h"
#include "tests/backup.h"
#include "tests/tap.h"

/* ---- the format env ---- */

static void
try_env(void)
{
	Wish env = {.service = "*", .format = FORMAT_ENV};

	gives(COMPANIES KEYS SECRETS_HEAD
		  "1\t\\N\tcrm\tA\t\\N\t1\tf\n2\t\\N\tcrm\tB.b-1\t\\N\t1\tf\n3\t\\N\tcrm\tno "
		  "name\t\\N\t1\tf\n"
		  "4\t5\tcrm\tA\t\\N\t1\tf\n5\t5\tcrm\tA\tgpu\t1\tf\n6\t\\N\tmail\\nX="
		  "\"1\"\tA\t\\N\t1\tf\n\\.\n" VERSIONS_HEAD "1\t1\t\\N\t1\t{1:it's \"$x\" `y` \\n\nand "
		  "more}\t\\N\tann\t\\N\n2\t1\t\\N\t1\t{1:}\t\\N\tann\t\\N\n"
		  "3\t1\t\\N\t1\t{1:x}\t\\N\tann\t\\N\n4\t1\t5\t2\t{2:y}\t\\N\tann\t\\N\n"
		  "5\t1\t5\t2\t{2:z}\t\\N\tann\t\\N\n6\t1\t\\N\t1\t{1:w}\t\\N\tann\t\\N\n\\.\n",
		  &env,
		  "# crm\nA=\"it's \\\"\\$x\\\" \\`y\\` \\\\n\nand more\"\nB.b-1=\"\"\n\n# crm, company "
		  "acme\nA=\"y\"\n\n"
		  "# crm, node gpu, company acme\nA=\"z\"\n\n# mail\\u000aX=\"1\"\nA=\"w\"\n",
		  1, "variables come below their service and scope");
}

/*
 * A zero byte, which no text of the server has.
 */
static void
try_zero_byte(void)
{
	Secret secret = {.service = "crm", .key_name = "A"};
	Version version = {.token = "", .secret = &secret};
	Value value = {"a\0b", 3};
	Buffer found = {0};

	ok(write_env(&found, &version, &value, NULL) != NULL && found.size == 0,
	   "a value with a zero byte is no variable");
	write_json(&found, &version, &value, false);
	ok(found.bytes && strstr(found.bytes, "\"value\":\"a\\u0000b\"") != NULL, "but JSON has it");
	buffer_wipe(&found);
}

/* ---- exports ---- */

/*
 * The export gives exactly these lines, and so many problems; or this trouble.
 */
static void
exports(const char *text, const char *expected, unsigned long problems, const char *name)
{
	Stores stores = {.now = NOW};
	unsigned long before = message_problems();
	Buffer export = {0};
	const char *trouble;
	char *found;
	int line;

	backup_add(&export, text);
	trouble = export_read(export.bytes, export.size, &stores, &line);
	found = backup_recover(&stores, &current, master.text);
	is(trouble ? trouble : found, expected, name);
	ok(message_problems() - before == problems, "... with %lu problems (%lu)", problems,
	   message_problems() - before);
	free(found);
	buffer_wipe(&export);
}

#define EXPORT(keys, secrets) \
	"{\"format\": \"aurora secrets 1\", \"keys\": [" keys "], \"secrets\": [" secrets "]}\n"
#define EXPORT_KEYS                                                         \
	"{\"key_no\": 1, \"wrapped\": \"{m1}\", \"master_key_id\": \"0123\"}, " \
	"{\"key_no\": 2, \"wrapped\": \"{m2}\", \"master_key_id\": \"0123\"}"
#define EXPORT_NEW                                                                             \
	"{\"node\": null, \"token\": \"{1:new}\", \"key_no\": 1, \"strict\": false, \"company\": " \
	"null, "                                                                                   \
	"\"service\": \"crm\", \"version\": 2, \"key_name\": \"token\", \"expires_at\": null}"
#define EXPORT_OF_ACME                                                                       \
	"{\"node\": \"gpu\", \"token\": \"{2:of acme}\", \"key_no\": 2, \"company\": \"acme\", " \
	"\"service\": \"crm\", \"version\": 1, \"key_name\": \"token\", \"expires_at\": "        \
	"\"2026-11-24T02:03:52+00:00\"}"

static void
try_exports(void)
{
	exports(EXPORT(EXPORT_KEYS, EXPORT_NEW ", " EXPORT_OF_ACME), NEW OF_ACME, 0,
			"an export is read");
	exports(EXPORT(EXPORT_KEYS, EXPORT_NEW) "\n" EXPORT(EXPORT_KEYS, EXPORT_OF_ACME), NEW OF_ACME,
			0, "so are several in a file");
	exports(EXPORT("", ""), "", 0, "one may be empty");
	exports(EXPORT(EXPORT_KEYS ", {}, 7", "{}, 7, " EXPORT_NEW), NEW, 4,
			"what is broken hides nothing");
	exports(EXPORT("", EXPORT_NEW), "", 1, "without its data key nothing opens");
	exports("{\"crm\": {\"token\": \"plain\"}}",
			"it is no encrypted export, whose format is \"aurora secrets 1\"", 0,
			"one in plain text is told apart");
	exports(EXPORT(EXPORT_KEYS, EXPORT_NEW) "{\"format\": \"aurora", "it is no valid JSON", 0,
			"one that is cut off is said");
	exports("{\"format\": \"aurora secrets 2\", \"keys\": [], \"secrets\": []}",
			"it is no encrypted export, whose format is \"aurora secrets 1\"", 0,
			"so is another format");
}

/* ---- other files ---- */

static void
try_kinds(void)
{
	char tar[512] = "toc.dat";

	memcpy(tar + 257, "ustar", 5);
	ok(strstr(input_trouble("PGDMP\1\016", 7), "custom format") != NULL, "a custom dump is known");
	ok(strstr(input_trouble(tar, 512), "tar archive") != NULL, "so is a tar file");
	ok(strstr(input_trouble("\x1f\x8b\x08", 3), "gunzip") != NULL, "one that is compressed");
	ok(strstr(input_trouble("\x28\xb5\x2f\xfd", 4), "zstd") != NULL, "in whatever way");
	ok(strstr(input_trouble("\xff\xfe-\0", 4), "UTF-16") != NULL, "one in UTF-16");
	ok(input_trouble("", 0) != NULL, "and nothing at all");
	ok(input_trouble("--\n-- PostgreSQL", 16) == NULL, "a plain dump is none of these");
}

int
main(void)
{
	backup_begin();
	try_env();
	try_zero_byte();
	try_exports();
	try_kinds();
	backup_end();
	return done();
}
