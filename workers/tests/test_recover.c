/*
 * From a dump to values: rows in any order, keys, states, and what happens when some of it is
 * broken.
 */
#include <stdlib.h>
#include <string.h>

#include "recover/dump.h"
#include "recover/message.h"
#include "tests/backup.h"
#include "tests/tap.h"

#define LONGEST (1 << 20)

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
		backup_add(&dump, text.bytes);
		for (size_t piece = 0; piece < 3; piece++)
		{
			found = backup_recover_dump(dump.bytes, dump.size, piece == 2 ? dump.size : piece,
										&current, master.text);
			wrong += strcmp(found, NEW OF_ACME) != 0;
			free(found);
			found = backup_recover_dump(dump.bytes, dump.size, piece == 2 ? dump.size : piece,
										&everything, master.text);
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

/*
 * Rows in an order that is no order of names.
 */
static void
try_order_of_names(void)
{
	gives(COMPANIES KEYS SECRETS_HEAD
		  "9\t\\N\tcrm\tb\t\\N\t1\tf\n8\t\\N\tcrm\tc\ta\t1\tf\n7\t\\N\tcrm\ta\tb\t1\tf\n"
		  "6\t5\tcrm\ta\t\\N\t1\tf\n5\t\\N\tcrm\tc\t\\N\t1\tf\n\\.\n" VERSIONS_HEAD
		  "5\t1\t\\N\t1\t{1:5}\t\\N\tann\t\\N\n6\t1\t5\t2\t{2:6}\t\\N\tann\t\\N\n"
		  "7\t1\t\\N\t1\t{1:7}\t\\N\tann\t\\N\n8\t1\t\\N\t1\t{1:8}\t\\N\tann\t\\N\n"
		  "9\t1\t\\N\t1\t{1:9}\t\\N\tann\t\\N\n\\.\n",
		  &current,
		  LINE("\"b\"", "null", "null", "1", "active", "\"9\"")
			  LINE("\"c\"", "null", "null", "1", "active", "\"5\"")
				  LINE("\"c\"", "\"a\"", "null", "1", "active", "\"8\"")
					  LINE("\"a\"", "\"b\"", "null", "1", "active", "\"7\"")
						  LINE("\"a\"", "null", "\"acme\"", "1", "active", "\"6\""),
		  0, "what comes is in the order of companies, nodes and keys");
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
		  "10\t1\t\\N\t1\t{1:old}\t\\N\tann\t\\N\n11\t1\t5\t2\t{2:of acme}\t\\N\tann\t\\N\n\\.\n",
		  &everything, OLD OF_ACME, 1, "also where one before it is there");
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
	backup_add(&dump, COMPANIES KEYS SECRETS VERSIONS);
	for (size_t size = 0; size < dump.size - 4; size++)
	{
		unsigned long problems = message_problems();
		char *found = backup_recover_dump(dump.bytes, size, size + 1, &current, master.text);

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
	KeyRing ring = {0};
	char *found;

	backup_add(&dump, COMPANIES "COPY aurora.secret_data_key (key_no, master_key_id, wrapped) FROM "
								"stdin;\n1\t0123\t{o1}\n2\t0123\t{m2}\n\\.\n" SECRETS VERSIONS);
	found = backup_recover_dump(dump.bytes, dump.size, 0, &current, key_1.text);
	is(found, "", "a wrong key opens nothing");
	ok(message_problems() - before == 2, "... and each secret is said");
	free(found);
	buffer_add_text(&keys, "# the ring\n\nnot a key\n");
	buffer_add_text(&keys, master.text);
	buffer_add_text(&keys, " \t\r\n\n#");
	buffer_add_text(&keys, key_1.text);
	buffer_add_text(&keys, "\n");
	buffer_add_text(&keys, other_master.text);
	ok(keys_add(&ring, keys.bytes, keys.size, "keys") == 1 && ring.count == 2,
	   "of a key file, all but one line are keys, blank or comments");
	keys_close(&ring);
	before = message_problems();
	found = backup_recover_dump(dump.bytes, dump.size, 0, &current, keys.bytes);
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
	token = backup_token(&key_1, value, LONGEST);
	backup_add(&dump, head);
	buffer_add_text(&dump, token);
	buffer_add_text(&dump, "\t\\N\tann\t\\N\n\\.\n");
	found = backup_recover_dump(dump.bytes, dump.size, 65536, &current, master.text);
	ok(strlen(found) > LONGEST && strspn(strstr(found, "vvv"), "v") == LONGEST,
	   "a value of 1 MiB comes");
	free(found);
	free(token);
	free(value);
	buffer_wipe(&dump);
}

int
main(void)
{
	backup_begin();
	try_orders();
	try_columns();
	try_states();
	try_order_of_names();
	try_patterns();
	try_odd_names();
	try_broken_rows();
	try_cut_dumps();
	try_lookalikes();
	try_line_ends();
	try_databases();
	try_key_rings();
	try_large_values();
	backup_end();
	return done();
}
