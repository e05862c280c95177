/*
 * Secrets: values that are kept encrypted, with overrides by node and company, and an account of
 * every access.
 *
 * A value's "scope" is the node, the company, both or none (global) that it is for. "Master keys"
 * are this node's, from outside the database, and together its "key ring"; they wrap the "data
 * keys", one for each company and one for what belongs to none, and those encrypt the values. The
 * "audit file" is where this node writes down each access, before it is granted; its records form a
 * "chain" by their hashes.
 */
#ifndef AURORA_SECRETS_H
#define AURORA_SECRETS_H

#include "core/core.h"
#include "lib/stringinfo.h"
#include "shared/fernet.h"
#include "shared/secret_names.h"
#include "tenancy/tenancy.h"

#define AURORA_SECRET_NAME_LENGTH 200 /* characters of a service or a key name */
#define AURORA_SECRET_VALUE_SIZE (1024 * 1024)

extern void aurora_secrets_init(void);

/* ---- name.c: what a call names ---- */

/* One secret in one scope. Texts are NULL and the company 0 for none. */
typedef struct AuroraSecretName
{
	char *service;
	char *key_name;
	char *node;
	char *company;
	int32 company_id;
} AuroraSecretName;

extern const char *aurora_secret_scope(bool of_node, bool of_company);

/* Raises 22023 unless it is 1 to 200 printable characters without a blank at either end. */
extern void aurora_secret_check_name(const char *what, const char *name);

/*
 * Does the text match the pattern, in which * stands for any text.
 */
extern bool aurora_secret_matches(const char *pattern, const char *text);

/* Raises 55000 without the preloaded library, whose shared memory the audit needs. */
extern void aurora_secrets_require_library(void);

/* ---- key_ring.c: master keys ---- */

extern void aurora_key_ring_init(void);

/* Reads the keys again where the configuration was, and raises an error where that fails. */
extern int aurora_key_ring_load(void);

/* The same without an error: NULL, or what is wrong with which setting. */
extern const char *aurora_key_ring_trouble(const char **setting);

/* The ids of the keys that were read, with blanks between. */
extern void aurora_key_ring_ids(StringInfo ids);
extern AuroraFernet *aurora_key_ring_first(void);

/* The key of that id, or NULL. */
extern AuroraFernet *aurora_key_ring_find(const char *key_id);

/* ---- data_key.c: keys of companies ---- */

/* The data key of that number, ready for use until the next call; raises when it cannot be opened.
 */
extern AuroraFernet *aurora_data_key_open(int32 key_no, Snapshot snapshot);

/* The number of the data key that encrypts for a company (0 for none); makes one when there is
 * none. */
extern int32 aurora_data_key_current(int32 company_id);

/* Closes those that are open. */
extern void aurora_data_key_forget(void);

/* Opens a wrapped data key; the caller closes it. */
extern void aurora_data_key_unwrap(AuroraFernet *fernet, const char *master_key_id,
								   const char *wrapped);

/* Encrypts into palloc'd memory. */
extern char *aurora_secret_encrypt(AuroraFernet *fernet, const char *plain, size_t length);

/*
 * Decrypts into palloc'd memory that holds more than the value; "scratch" is all of it, to be wiped
 * with aurora_secret_wipe().
 */
typedef struct AuroraPlain
{
	uint8 *scratch;
	size_t scratch_size;
	char *value; /* in it, without an end */
	size_t length;
} AuroraPlain;

extern AuroraFernetResult aurora_secret_decrypt(AuroraFernet *fernet, const char *token,
												size_t token_size, AuroraPlain *plain);
extern void aurora_secret_wipe(AuroraPlain *plain);

/* ---- right.c: who may ---- */

/* Whose rights count, and for what. */
typedef struct AuroraSecretCaller
{
	AuroraCaller who;
	AuroraIdentity *identity;
	const char *node; /* whose overrides hold for the caller */
} AuroraSecretCaller;

extern AuroraSecretCaller aurora_secret_caller(Snapshot snapshot);

/* May the caller do this to values of a company (0 for those of none). */
extern bool aurora_secret_may(const AuroraSecretCaller *caller, AuroraSecretRight right,
							  int32 company_id, const char *service, Snapshot snapshot);
extern bool aurora_secret_may_now(AuroraSecretRight right, int32 company_id, const char *service);

/* ---- put.c ---- */

/* What is put besides the name and the value. */
typedef struct AuroraSecretTerms
{
	int expected_version;	/* -1 for any */
	int strict;				/* 0, 1, or -1 for as before */
	TimestampTz expires_at; /* DT_NOEND for never */
} AuroraSecretTerms;

/* Puts a value, and writes down that it did; the new version. */
extern int32 aurora_secret_put(AuroraSecretName *name, const char *value, size_t length,
							   const AuroraSecretTerms *terms);

/* Sets company_id from the company's name; raises 42501 or 22023 for one that is not there. */
extern void aurora_secret_find_company(AuroraSecretName *name);

/* ---- cache.c: what this session has decrypted ---- */

/* What a read is answered by: the value itself is of the cache, or of the read. */
typedef struct AuroraAnswerOfSecret
{
	int64 secret_id;
	int32 version;
	int32 company_id; /* of the scope that answers; 0 for none */
	bool of_node;
	bool strict;
	TimestampTz expires_at; /* DT_NOEND for never */
	char *audit;			/* the fields of its records that are always the same */
	char *value;
	size_t length;
} AuroraAnswerOfSecret;

typedef struct AuroraSecretQuestion
{
	AuroraCaller who;
	const char *service;
	const char *key_name;
	const char *company; /* NULL for the caller's own */
	int service_length;
	int key_name_length;
	int company_length;
} AuroraSecretQuestion;

extern void aurora_secret_cache_init(void);

/*
 * Takes note of what others have changed. What is read with a snapshot that is taken after this may
 * be kept, unless the number that this returned has changed when the read is done.
 */
extern uint64 aurora_secret_cache_catch_up(void);
extern const AuroraAnswerOfSecret *aurora_secret_cache_find(const AuroraSecretQuestion *question);
extern void aurora_secret_cache_keep(const AuroraSecretQuestion *question,
									 const AuroraAnswerOfSecret *answer, uint64 generation);

extern void aurora_secret_cache_remove(const AuroraSecretQuestion *question);

/* All of it is forgotten before the next look: the master keys may have changed. */
extern void aurora_secret_cache_outdate(void);

/* Counters of all sessions of this node. */
typedef struct AuroraSecretCounters
{
	int64 hits;
	int64 misses;
	int64 evictions;
	int64 invalidations;
} AuroraSecretCounters;

extern AuroraSecretCounters aurora_secret_counters(void);

/* ---- audit.c: the account ---- */

extern void aurora_audit_init(void);

/* What is to be written down; texts are NULL for none. */
typedef struct AuroraAuditEvent
{
	AuroraSecretAction action;
	AuroraSecretOutcome outcome;
	const char *service;
	const char *key_name;
	const char *scope;
	const char *node;
	const char *company;
	int32 company_id;
	int32 version; /* 0 for none */
	const char *owner;
	const char *detail;
} AuroraAuditEvent;

/* The fields of a record but for its number, time and hash, in the current memory context. */
extern char *aurora_audit_fields(const AuroraAuditEvent *event);

/*
 * Writes a record, and raises 58030 or 53100 when it cannot be written. With "strict" it returns
 * when the record is on disk.
 */
extern void aurora_audit_append(const char *fields, bool strict);
extern void aurora_audit_event(const AuroraAuditEvent *event);

/* Has what was written reach the disk; false, with the trouble noted, when that fails. */
extern bool aurora_audit_sync(void);

/* The same, with an error when it fails. */
extern void aurora_audit_require_sync(void);

/* What the auditor does now and then: finds trouble before a reader does, and deletes old files. */
extern void aurora_audit_look_after(void);

/* The state of the chain that is written. */
typedef struct AuroraAuditStatus
{
	bool is_on;
	bool is_open;
	bool is_broken;
	char problem[240];
	char chain[33];
	uint64 generation;
	uint64 last_seq;
	uint64 synced_seq;
	int64 size; /* of all files */
} AuroraAuditStatus;

extern AuroraAuditStatus aurora_audit_status(void);

/* Begins a new chain; false, with the trouble in the status, when it cannot. */
extern bool aurora_audit_restart(const char *reason);

/* ---- audit_file.c: the files of a chain ---- */

#define AURORA_CHAIN_SIZE 33 /* 32 hexadecimal digits and an end */
#define AURORA_HASH_SIZE 32
#define AURORA_AUDIT_PATH_SIZE 1024
#define AURORA_AUDIT_LINE_SIZE 16384 /* longer than any record is */

/* One file: its first line, and how far its records hold. */
typedef struct AuroraAuditFile
{
	uint64 generation;
	char chain[AURORA_CHAIN_SIZE];
	uint64 first_seq;
	uint64 last_seq; /* first_seq - 1 for none */
	uint8 previous[AURORA_HASH_SIZE];
	uint8 hash[AURORA_HASH_SIZE]; /* of the last record that holds */
	int64 valid_size;
	int64 size;
	uint64 bad_seq; /* number that the first record which does not hold should have; 0 for none */
	bool torn;		/* what does not hold is one line without an end, as a crash leaves it */
} AuroraAuditFile;

extern void aurora_audit_file_init(void);
extern const char *aurora_audit_directory(void);
extern void aurora_audit_path(uint64 generation, char path[AURORA_AUDIT_PATH_SIZE]);

/* The generations that there are, ascending; -1 with errno when the folder cannot be read. */
extern int aurora_audit_generations(uint64 **generations, int64 *total_size);

/* Reads the first line; false when it is none. */
extern bool aurora_audit_read_head(uint64 generation, AuroraAuditFile *file);

/* Reads and checks all of it. */
extern bool aurora_audit_read_file(uint64 generation, AuroraAuditFile *file);
extern void aurora_audit_hash(const uint8 previous[AURORA_HASH_SIZE], const char *text, size_t size,
							  uint8 hash[AURORA_HASH_SIZE]);

/* ---- ship.c: the way to the lead ---- */

/* Up to which record each chain of this node has arrived at the lead, as this database has it. */
typedef struct AuroraChainHead
{
	char chain[AURORA_CHAIN_SIZE];
	uint64 head_seq;
} AuroraChainHead;

/* A list of AuroraChainHead. */
extern List *aurora_audit_heads(void);
extern uint64 aurora_audit_head_of(List *heads, const char *chain);
extern void aurora_ship_init(void);

#endif
