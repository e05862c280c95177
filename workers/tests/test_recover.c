/*
 * From a dump, or an export, to values: rows in any order, keys, states, and what happens when some
 * of it is broken.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "recover/dump.h"
#include "recover/export.h"
#include "recover/input.h"
#include "recover/keys.h"
#include "recover/message.h"
#include "recover/recover.h"
#include "shared/base64url.h"
#include "tests/tap.h"

#define NOW ((int64_t) 1795485831 * 1000000) /* 2026-11-24 02:03:51 */
#define LONGEST (1 << 20)

/* A key, as text and ready. */
typedef struct Key
{
	char text[AURORA_FERNET_KEY_TEXT_SIZE + 1];
	AuroraFernet fernet;
} Key;

static Key master, other_master, key_1, key_2;

static void
make_key(Key *key)
{
	uint8_t bytes[AURORA_FERNET_KEY_SIZE];

	memset(key, 0, sizeof(*key));
	random_bytes(bytes, sizeof(bytes));
	aurora_base64url_encode(bytes, sizeof(bytes), key->text);
	if (!aurora_fernet_open(&key->fernet, bytes))
		abort();
}

static char *
token_of(Key *key, const void *value, size_t size)
{
	size_t token_size = aurora_fernet_token_size(size);
	uint8_t *scratch = malloc(aurora_fernet_scratch_size(token_size));
	char *token = calloc(1, token_size + 1);
	uint8_t iv[AURORA_FERNET_IV_SIZE];

	random_bytes(iv, sizeof(iv));
	if (!aurora_fernet_encrypt(&key->fernet, value, size, 499162800, iv, scratch, token))
		abort();
	free(scratch);
	return token;
}

/*
 * Adds a text, in which each {x} is a token: {m1} and {m2} data keys under the master key, {o1} one
 * under the other; {1:value} and {2:value} values under the data keys.
 */
static void
add_with_tokens(Buffer *to, const char *text)
{
	while (*text)
	{
		const char *end = *text == '{' ? strchr(text, '}') : NULL;
		Key *key = text[1] == '1' ? &key_1 : &key_2;
		char *token;

		if (end == NULL || !strchr("mo12", text[1]))
		{
			buffer_add_char(to, *text++);
			continue;
		}
		if (text[1] == 'm' || text[1] == 'o')
			token = token_of(text[1] == 'm' ? &master : &other_master,
							 text[2] == '1' ? key_1.text : key_2.text, AURORA_FERNET_KEY_TEXT_SIZE);
		else
			token = token_of(key, text + 3, (size_t) (end - text - 3));
		buffer_add_text(to, token);
		free(token);
		text = end + 1;
	}
}

/* ---- what comes out ---- */

static Wish everything = {.service = "*", .all_versions = true};
static Wish current = {.service = "*"};

/*
 * Recovers what the stores have; the text is to be freed.
 */
static char *
recover(Stores *stores, const Wish *wish, const char *keys)
{
	Output output = {.fd = NO_FILE};
	KeyRing ring = {0};

	(void) keys_add(&ring, keys, strlen(keys), "keys");
	buffer_add_text(&output.buffer, "");
	for (size_t i = 0; i < stores->count; i++)
		recover_store(stores->list[i], &ring, wish, &output);
	stores_free(stores);
	keys_close(&ring);
	return output.buffer.bytes;
}

/*
 * Reads a dump in pieces of so many bytes (0: of random sizes), and recovers.
 */
static char *
recover_dump(const char *text, size_t size, size_t piece, const Wish *wish, const char *keys)
{
	Stores stores = {.now = NOW, .keeps_all = wish->all_versions};
	Dump dump;

	dump_open(&dump, &stores);
	for (size_t at = 0; at < size;)
	{
		size_t taken = piece > 0 ? piece : 1 + random_below(40);
		char *copy;

		taken = taken < size - at ? taken : size - at;
		copy = malloc(taken); /* of exactly that size, for the address sanitizer */
		memcpy(copy, text + at, taken);
		(void) dump_take(&dump, copy, taken);
		free(copy);
		at += taken;
	}
	dump_close(&dump);
	return recover(&stores, wish, keys);
}

/*
 * The dump gives exactly these lines, and so many problems.
 */
static void
gives(const char *text, const Wish *wish, const char *expected, unsigned long problems,
	  const char *name)
{
	unsigned long before = message_problems();
	Buffer dump = {0};
	char *found;

	add_with_tokens(&dump, text);
	found = recover_dump(dump.bytes, dump.size, 0, wish, master.text);
	is(found, expected, name);
	ok(message_problems() - before == problems, "... with %lu problems (%lu)", problems,
	   message_problems() - before);
	free(found);
	buffer_wipe(&dump);
}

#define COMPANIES "COPY aurora.company (company_id, name) FROM stdin;\n5\tacme\n\\.\n\n"
#define KEYS                                                                    \
	"COPY aurora.secret_data_key (key_no, company_id, master_key_id, wrapped, " \
	"is_current) FROM stdin;\n1\t\\N\t0123\t{m1}\tt\n2\t5\t0123\t{m2}\tt\n\\.\n\n"
#define SECRETS_HEAD                                                                        \
	"COPY aurora.secret (secret_id, company_id, service, key_name, node, version, strict) " \
	"FROM stdin;\n"
#define SECRETS SECRETS_HEAD "10\t\\N\tcrm\ttoken\t\\N\t2\tf\n11\t5\tcrm\ttoken\tgpu\t1\tf\n\\.\n\n"
#define VERSIONS_HEAD                                                                         \
	"COPY aurora.secret_version (secret_id, version, company_id, key_no, token, expires_at, " \
	"created_by, deleted_at) FROM stdin;\n"
#define VERSIONS                                                                                   \
	VERSIONS_HEAD "10\t1\t\\N\t1\t{1:old}\t\\N\tann\t\\N\n10\t2\t\\N\t1\t{1:new}\t\\N\tann\t\\N\n" \
				  "11\t1\t5\t2\t{2:of acme}\t\\N\tann\t\\N\n\\.\n\n"
#define LINE(key_name, node, company, version, state, value)                                \
	"{\"service\":\"crm\",\"key_name\":" key_name ",\"node\":" node ",\"company\":" company \
	",\"version\":" version ",\"state\":\"" state "\",\"value\":" value "}\n"
#define OLD LINE("\"token\"", "null", "null", "1", "active", "\"old\"")
#define NEW LINE("\"token\"", "null", "null", "2", "active", "\"new\"")
#define OF_ACME LINE("\"token\"", "\"gpu\"", "\"acme\"", "1", "active", "\"of acme\"")

/* ---- dumps ---- */

static void
try_orders(void)
{
	static const char *const blocks[] = {COMPANIES, KEYS, SECRETS, VERSIONS};
	size_t wrong = 0;

	for (int i = 0; i < 256; i++)
	{
		int order[4] = {i & 3, i >> 2 & 3, i >> 4 & 3, i >> 6 & 3};
		Buffer text = {0};
		Buffer dump = {0};
		char *found;

		if ((1 << order[0] | 1 << order[1] | 1 << order[2] | 1 << order[3]) != 15)
			continue;
		for (int block = 0; block < 4; block++)
			buffer_add_text(&text, blocks[order[block]]);
		add_with_tokens(&dump, text.bytes);
		for (size_t piece = 0; piece < 3; piece++)
		{
			found = recover_dump(dump.bytes, dump.size, piece == 2 ? dump.size : piece, &current,
								 master.text);
			wrong += strcmp(found, NEW OF_ACME) != 0;
			free(found);
			found = recover_dump(dump.bytes, dump.size, piece == 2 ? dump.size : piece, &everything,
								 master.text);
			wrong += strcmp(found, OLD NEW OF_ACME) != 0;
			free(found);
		}
		buffer_wipe(&text);
		buffer_wipe(&dump);
	}
	ok(wrong == 0 && message_problems() == 0, "blocks may come in any order, and in any pieces");
}

static void
try_columns(void)
{
	gives(COMPANIES KEYS
		  "COPY aurora.secret (\"version\", node, later, key_name, service, company_id, secret_id) "
		  "FROM stdin;\n2\t\\N\tx\\ty\ttoken\tcrm\t\\N\t10\n\\.\n" VERSIONS_HEAD
		  "10\t2\t\\N\t1\t{1:new}\t\\N\tann\t\\N\n\\.\n",
		  &current, NEW, 0, "columns may come in any order, quoted, and with others between");
	gives(COMPANIES KEYS
		  "COPY aurora.secret (secret_id, service) FROM stdin;\n10\tcrm\n\\.\n" VERSIONS,
		  &current, "", 4, "a table without a column that it has to have is said");
}

static void
try_states(void)
{
	static const char text[] = COMPANIES KEYS SECRETS_HEAD
		"1\t\\N\tcrm\ta\t\\N\t1\tf\n2\t\\N\tcrm\tb\t\\N\t1\tf\n3\t\\N\tcrm\tc\t\\N\t1\tf\n"
		"4\t\\N\tcrm\td\t\\N\t1\tf\n5\t\\N\tcrm\te\t\\N\t1\tf\n\\.\n" VERSIONS_HEAD
		"1\t1\t\\N\t1\t{1:A}\t2026-11-24 02:03:52+00\tann\t\\N\n"
		"2\t1\t\\N\t1\t{1:B}\t2026-11-24 03:03:51+01\tann\t\\N\n"
		"3\t1\t\\N\t1\t{1:C}\t\\N\tann\t2026-01-01 00:00:00+00\n"
		"4\t1\t\\N\t1\t\\N\t\\N\tann\t\\N\n"
		"5\t1\t\\N\t1\t{1:}\tinfinity\tann\t\\N\n\\.\n";
	Wish names = {.service = "*", .names_only = true};

	gives(text, &current,
		  LINE("\"a\"", "null", "null", "1", "active", "\"A\"")
			  LINE("\"b\"", "null", "null", "1", "expired", "\"B\"")
				  LINE("\"e\"", "null", "null", "1", "active", "\"\""),
		  0, "what is deleted and destroyed does not come, what has expired does");
	gives(text, &everything,
		  LINE("\"a\"", "null", "null", "1", "active", "\"A\"")
			  LINE("\"b\"", "null", "null", "1", "expired", "\"B\"")
				  LINE("\"c\"", "null", "null", "1", "deleted", "\"C\"")
					  LINE("\"d\"", "null", "null", "1", "destroyed", "null")
						  LINE("\"e\"", "null", "null", "1", "active", "\"\""),
		  0, "of all versions, each has its state");
	gives(
		SECRETS KEYS COMPANIES VERSIONS, &names,
		"{\"service\":\"crm\",\"key_name\":\"token\",\"node\":null,\"company\":null,\"version\":2,"
		"\"state\":\"active\"}\n"
		"{\"service\":\"crm\",\"key_name\":\"token\",\"node\":\"gpu\",\"company\":\"acme\","
		"\"version\":1,\"state\":\"active\"}\n",
		0, "names come without values");
}

static void
try_patterns(void)
{
	static const char text[] = KEYS SECRETS_HEAD
		"1\t\\N\tcrm\ta\t\\N\t1\tf\n2\t\\N\tcrn\tb\t\\N\t1\tf\n\\.\n" VERSIONS_HEAD
		"1\t1\t\\N\t1\t{1:A}\t\\N\tann\t\\N\n2\t1\t\\N\t1\tbroken\t\\N\tann\t\\N\n\\.\n";
	Wish wish = current;

	wish.service = "crm";
	gives(text, &wish, LINE("\"a\"", "null", "null", "1", "active", "\"A\""), 0,
		  "of a service only its own secrets come, and nothing is said of others");
	wish.service = "c*";
	gives(text, &wish, LINE("\"a\"", "null", "null", "1", "active", "\"A\""), 1,
		  "of those that a pattern fits all do");
}

static void
try_odd_names(void)
{
	gives("COPY aurora.company (company_id, name) FROM stdin;\n5\ta\\\\c\\tme "
		  "\"x\"\n\\.\n" KEYS SECRETS_HEAD
		  "11\t5\tcr\303\274m\t\\\\N\tgpu\t1\tf\n\\.\n" VERSIONS_HEAD
		  "11\t1\t5\t2\t{2:a\"\\\303\274\n\t\001}\t\\N\tann\t\\N\n\\.\n",
		  &current,
		  "{\"service\":\"cr\303\274m\",\"key_name\":\"\\\\N\",\"node\":\"gpu\",\"company\":"
		  "\"a\\\\c\\u0009me \\\"x\\\"\",\"version\":1,\"state\":\"active\",\"value\":"
		  "\"a\\\"\\\\\303\274\\u000a\\u0009\\u0001\"}\n",
		  0, "names and values may have odd characters");
	gives(KEYS SECRETS_HEAD "1\t\\N\tcrm\ta\t\\N\t1\tf\n\\.\n" VERSIONS_HEAD
							"1\t1\t\\N\t1\t{1:\377\376}\t\\N\tann\t\\N\n\\.\n",
		  &current, LINE("\"a\"", "null", "null", "1", "active", "null,\"value_base64\":\"//4=\""),
		  0, "a value that is no UTF-8 comes in base64");
}

/* ---- broken dumps ---- */

static void
try_broken_rows(void)
{
	gives(COMPANIES KEYS SECRETS_HEAD
		  "10\t\\N\tcrm\ttoken\t\\N\t2\tf\n11\t5\tcrm\ttoken\tgpu\t1\tf\n12\t\\N\tcrm\tbad\t\\N\t1"
		  "\tf\n"
		  "13\t\\N\tcrm\tcut\t\\N\t1\tf\n\\.\n" VERSIONS_HEAD
		  "12\t1\t\\N\t1\tgAAAAABnotatoken\t\\N\tann\t\\N\n"
		  "13\t1\t\\N\t1\t{2:x}\t\\N\tann\t\\N\n" /* under another key */
		  "10\t2\t\\N\t1\t{1:new}\t\\N\tann\t\\N\n11\t1\t5\t2\t{2:of acme}\t\\N\tann\t\\N\n\\.\n",
		  &current, NEW OF_ACME, 2, "a broken token hides no other");
	gives(COMPANIES KEYS SECRETS_HEAD "10\t\\N\tcrm\n10\t\\N\tcrm\ttoken\t\\N\t2\tf\n11\tx\tcrm\tto"
									  "ken\tgpu\t1\tf\n\\.\n" VERSIONS,
		  &current, NEW, 3, "nor does a broken row");
	gives(COMPANIES "COPY aurora.secret_data_key (key_no, master_key_id, wrapped) FROM "
					"stdin;\n1\t0123\t{o1}\n2\t0123\t{m2}\n\\.\n" SECRETS VERSIONS,
		  &current, OF_ACME, 1, "nor a data key under another master key");
	gives(COMPANIES "COPY aurora.secret_data_key (key_no, master_key_id, wrapped) FROM "
					"stdin;\n2\t0123\t{m2}\n\\.\n" SECRETS VERSIONS,
		  &current, OF_ACME, 1, "nor one that is missing");
	gives(COMPANIES
		  "COPY aurora.secret_data_key (key_no, master_key_id, wrapped) FROM "
		  "stdin;\n1\t0123\t{1:too short to be a key}\n2\t0123\t{m2}\n\\.\n" SECRETS VERSIONS,
		  &current, OF_ACME, 1, "nor one that is no key");
	gives(KEYS SECRETS VERSIONS, &current,
		  NEW LINE("\"token\"", "\"gpu\"", "\"#5\"", "1", "active", "\"of acme\""), 1,
		  "a company without a name has a number");
	gives(COMPANIES KEYS SECRETS SECRETS VERSIONS, &current, NEW OF_ACME, 1,
		  "rows that come twice are said");
	gives(COMPANIES KEYS SECRETS VERSIONS_HEAD "11\t1\t5\t2\t{2:of acme}\t\\N\tann\t\\N\n\\.\n",
		  &current, OF_ACME, 1, "a version that is missing is said");
	gives(COMPANIES KEYS SECRETS VERSIONS_HEAD
		  "10\t2\t\\N\t1\t{1:new}\tsome day\tann\t\\N\n11\t1\t5\t2\t{2:of "
		  "acme}\t\\N\tann\t\\N\n\\.\n",
		  &current, NEW OF_ACME, 1, "an expiry that cannot be read hides no value");
}

static void
try_cut_dumps(void)
{
	unsigned long before = message_problems();
	Buffer dump = {0};
	size_t wrong = 0;

	gives(COMPANIES KEYS SECRETS VERSIONS_HEAD
		  "10\t2\t\\N\t1\t{1:new}\t\\N\tann\t\\N\n11\t1\t5\t2\t{2:of acme}\t\\N\tann\t\\N",
		  &current, NEW, 2, "of a dump that is cut off, whole rows come, and it is said");
	gives(COMPANIES KEYS SECRETS VERSIONS_HEAD
		  "10\t2\t\\N\t1\t{1:new}\t\\N\tann\t\\N\n11\t1\t5\t2\t{2:of acme}\t\\N\tann\t\\N\n\\.",
		  &current, NEW OF_ACME, 0, "the end of rows may lack its newline");
	add_with_tokens(&dump, COMPANIES KEYS SECRETS VERSIONS);
	for (size_t size = 0; size < dump.size - 4; size++)
	{
		unsigned long problems = message_problems();
		char *found = recover_dump(dump.bytes, size, size + 1, &current, master.text);

		wrong += strcmp(found, NEW OF_ACME) == 0 && message_problems() == problems;
		wrong +=
			!(strcmp(found, "") == 0 || strcmp(found, NEW) == 0 || strcmp(found, NEW OF_ACME) == 0);
		free(found);
	}
	ok(wrong == 0 && message_problems() > before, "wherever it is cut off");
	buffer_wipe(&dump);
}

static void
try_lookalikes(void)
{
	static const char fake[] =
		"COPY aurora.secret (secret_id, company_id, service, key_name, node, version) FROM stdin;\n"
		"77\t\\N\tcrm\tfake\t\\N\t1\n\\.\n";
	Buffer text = {0};

	buffer_add_text(&text, "COMMENT ON SCHEMA public IS '\n");
	buffer_add_text(&text, fake);
	buffer_add_text(&text, "';\nCREATE FUNCTION f() AS $_$\n");
	buffer_add_text(&text, fake);
	buffer_add_text(&text, "$_$;\nCOPY public.t (a, b, c, d, e, f) FROM stdin;\n");
	buffer_add_text(&text, "COPY aurora.secret (secret_id) FROM stdin;\n78\n\\\\.\n79\t\\.\n\\.\n");
	buffer_add_text(&text, COMPANIES KEYS SECRETS VERSIONS);
	gives(text.bytes, &current, NEW OF_ACME, 0, "what only looks like rows is none");
	buffer_wipe(&text);
	gives("COPY other.secret (secret_id) FROM stdin;\n1\n\\.\nCOPY \"Aurora\".secret (secret_id) "
		  "FROM "
		  "stdin;\n1\n\\.\nCOPY secret (secret_id) FROM stdin;\n1\n\\.\n" COMPANIES KEYS SECRETS
			  VERSIONS,
		  &current, NEW OF_ACME, 0, "tables of other schemas are others");
}

static void
try_line_ends(void)
{
	Buffer text = {0};

	for (const char *c = COMPANIES KEYS SECRETS VERSIONS; *c; c++)
		buffer_add_text(&text, *c == '\n' ? "\r\n" : (char[]) {*c, '\0'});
	gives(text.bytes, &current, NEW OF_ACME, 0, "lines may end as on Windows");
	buffer_wipe(&text);
}

static void
try_databases(void)
{
	Stores stores = {.now = NOW};
	Dump dump;
	static const char text[] = "\\connect template1\nSELECT 1;\n\\connect one\n" SECRETS
							   "\\connect -reuse-previous=on \"dbname='it\\'s two'\"\n" SECRETS
							   "\\connect \"Three\"\r\n" SECRETS;

	dump_open(&dump, &stores);
	(void) dump_take(&dump, text, strlen(text));
	dump_close(&dump);
	ok(stores.count == 3, "each database of a pg_dumpall is apart");
	for (size_t i = 0; i < 3 && stores.count == 3; i++)
		is(stores.list[i]->database, ((const char *[]) {"one", "it's two", "Three"})[i],
		   "with its name");
	stores_free(&stores);
}

/* ---- keys ---- */

static void
try_key_rings(void)
{
	unsigned long before = message_problems();
	Buffer dump = {0};
	Buffer keys = {0};
	char *found;

	add_with_tokens(&dump,
					COMPANIES "COPY aurora.secret_data_key (key_no, master_key_id, wrapped) FROM "
							  "stdin;\n1\t0123\t{o1}\n2\t0123\t{m2}\n\\.\n" SECRETS VERSIONS);
	found = recover_dump(dump.bytes, dump.size, 0, &current, key_1.text);
	is(found, "", "a wrong key opens nothing");
	ok(message_problems() - before == 2, "... and each secret is said");
	free(found);
	buffer_add_text(&keys, "# the ring\n\nnot a key\n");
	buffer_add_text(&keys, master.text);
	buffer_add_text(&keys, " \t\r\n\n#");
	buffer_add_text(&keys, key_1.text);
	buffer_add_text(&keys, "\n");
	buffer_add_text(&keys, other_master.text);
	before = message_problems();
	found = recover_dump(dump.bytes, dump.size, 0, &current, keys.bytes);
	is(found, NEW OF_ACME, "of several keys all are tried, beside comments and what is no key");
	ok(message_problems() == before, "... without a problem");
	free(found);
	buffer_wipe(&keys);
	buffer_wipe(&dump);
}

static void
try_large_values(void)
{
	static const char head[] =
		KEYS SECRETS_HEAD "1\t\\N\tcrm\ta\t\\N\t1\tf\n\\.\n" VERSIONS_HEAD "1\t1\t\\N\t1\t";
	Buffer dump = {0};
	char *value = malloc(LONGEST);
	char *token;
	char *found;

	memset(value, 'v', LONGEST);
	token = token_of(&key_1, value, LONGEST);
	add_with_tokens(&dump, head);
	buffer_add_text(&dump, token);
	buffer_add_text(&dump, "\t\\N\tann\t\\N\n\\.\n");
	found = recover_dump(dump.bytes, dump.size, 65536, &current, master.text);
	ok(strlen(found) > LONGEST && strspn(strstr(found, "vvv"), "v") == LONGEST,
	   "a value of 1 MiB comes");
	free(found);
	free(token);
	free(value);
	buffer_wipe(&dump);
}

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

	add_with_tokens(&export, text);
	trouble = export_read(export.bytes, export.size, &stores, &line);
	found = recover(&stores, &current, master.text);
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
	message_is_quiet = true;
	make_key(&master);
	make_key(&other_master);
	make_key(&key_1);
	make_key(&key_2);
	try_orders();
	try_columns();
	try_states();
	try_patterns();
	try_odd_names();
	try_broken_rows();
	try_cut_dumps();
	try_lookalikes();
	try_line_ends();
	try_databases();
	try_key_rings();
	try_large_values();
	try_env();
	try_exports();
	try_kinds();
	aurora_fernet_close(&master.fernet);
	aurora_fernet_close(&other_master.fernet);
	aurora_fernet_close(&key_1.fernet);
	aurora_fernet_close(&key_2.fernet);
	return done();
}
