/*
 * Backups to recover from: keys, tokens, and what comes out.
 */
#ifndef TESTS_BACKUP_H
#define TESTS_BACKUP_H

#include "common/memory.h"
#include "recover/recover.h"
#include "recover/store.h"
#include "shared/fernet.h"

#define NOW ((int64_t) 1795485831 * 1000000) /* 2026-11-24 02:03:51 */

/* A key, as text and ready. */
typedef struct Key
{
	char text[AURORA_FERNET_KEY_TEXT_SIZE + 1];
	AuroraFernet fernet;
} Key;

extern Key master, other_master, key_1, key_2;

extern const Wish everything; /* all versions */
extern const Wish current;

/* Makes the keys, and has the program say nothing. */
extern void backup_begin(void);
extern void backup_end(void);

/* A token, to be freed. */
extern char *backup_token(Key *key, const void *value, size_t size);

/*
 * Adds a text, in which each {x} is a token: {m1} and {m2} data keys under the master key, {o1} one
 * under the other; {1:value} and {2:value} values under the data keys.
 */
extern void backup_add(Buffer *to, const char *text);

/* Recovers what the stores have, and frees them; the text is to be freed. */
extern char *backup_recover(Stores *stores, const Wish *wish, const char *keys);

/* Reads a dump in pieces of so many bytes (0: of random sizes), and recovers. */
extern char *backup_recover_dump(const char *text, size_t size, size_t piece, const Wish *wish,
								 const char *keys);

/* The dump gives exactly these lines, and so many problems. */
extern void gives(const char *text, const Wish *wish, const char *expected, unsigned long problems,
				  const char *name);

/* A line that comes of a secret of the service crm. */
#define LINE(key_name, node, company, version, state, value)                                \
	"{\"service\":\"crm\",\"key_name\":" key_name ",\"node\":" node ",\"company\":" company \
	",\"version\":" version ",\"state\":\"" state "\",\"value\":" value "}\n"
#define OLD LINE("\"token\"", "null", "null", "1", "active", "\"old\"")
#define NEW LINE("\"token\"", "null", "null", "2", "active", "\"new\"")
#define OF_ACME LINE("\"token\"", "\"gpu\"", "\"acme\"", "1", "active", "\"of acme\"")

/* Parts of a dump. */
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

#endif
