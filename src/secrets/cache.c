/*
 * The cache: what this session has decrypted, kept until anything that it hangs on is changed
 * anywhere.
 *
 * A change sends an invalidation of the empty table secret_signal, which travels in the commit's
 * WAL record to every session of every node. A session takes in what has come before it looks here,
 * and then reads with a snapshot that is younger; what came while it read keeps it from being kept.
 */
#include "secrets/secrets.h"

#include "common/hashfn.h"
#include "catalog/namespace.h"
#include "commands/trigger.h"
#include "lib/ilist.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/ipc.h"
#include "storage/sinval.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(aurora_secret_changed);

typedef struct Entry
{
	AuroraSecretQuestion question; /* its texts are in "memory"; the key of the hash table */
	dlist_node place;			   /* the one used last comes first */
	AuroraAnswerOfSecret answer;   /* likewise */
	char *memory;
	size_t size;
} Entry;

typedef struct Shared
{
	pg_atomic_uint64 hits;
	pg_atomic_uint64 misses;
	pg_atomic_uint64 evictions;
	pg_atomic_uint64 invalidations;
} Shared;

/* Tables whose change is a change of what secrets answer, beside the signal: TRUNCATE fires no row
 * trigger, but it does invalidate the table. */
static const char *const watched_tables[] = {
	"secret_signal", "secret", "secret_version", "secret_data_key",
	"secret_grant",	 "node",   "company",		 "principal",
};

static int cache_size_kb = 0;
static Shared *shared = NULL;

static HTAB *entries = NULL;
static dlist_head by_use;
static size_t used = 0;
static Oid watched[lengthof(watched_tables)];
static bool is_watching = false;
static volatile bool is_stale = true;
static uint64 generation = 0;
static uint32 own_database; /* as the catalog's cache hashes it */

/* ---- entries ---- */

static uint32
hash_question(const void *key, Size size)
{
	const AuroraSecretQuestion *question = key;
	uint32 hash = hash_bytes((const unsigned char *) question->service, question->service_length);

	hash = hash_combine(
		hash, hash_bytes((const unsigned char *) question->key_name, question->key_name_length));
	if (question->company)
		hash = hash_combine(
			hash, hash_bytes((const unsigned char *) question->company, question->company_length));
	hash = hash_combine(hash, murmurhash32(question->who.role));
	hash = hash_combine(hash, murmurhash32(question->who.session));
	return hash_combine(hash, murmurhash32((uint32) question->who.principal));
}

static int
compare_questions(const void *left, const void *right, Size size)
{
	const AuroraSecretQuestion *a = left;
	const AuroraSecretQuestion *b = right;

	return !(a->who.role == b->who.role && a->who.session == b->who.session &&
			 a->who.principal == b->who.principal && a->service_length == b->service_length &&
			 a->key_name_length == b->key_name_length && a->company_length == b->company_length &&
			 !a->company == !b->company && memcmp(a->service, b->service, a->service_length) == 0 &&
			 memcmp(a->key_name, b->key_name, a->key_name_length) == 0 &&
			 (a->company == NULL || memcmp(a->company, b->company, a->company_length) == 0));
}

static void
remove_entry(Entry *entry)
{
	char *memory = entry->memory;
	size_t size = entry->size;

	used -= size + sizeof(Entry);
	dlist_delete(&entry->place);
	(void) hash_search(entries, &entry->question, HASH_REMOVE, NULL);
	explicit_bzero(memory, size);
	pfree(memory);
}

static void
forget_all(void)
{
	dlist_mutable_iter iterator;

	if (entries)
	{
		/* The texts of the keys are wiped with the entries, so the table is made anew after them.
		 */
		dlist_foreach_modify(iterator, &by_use)
		{
			Entry *entry = dlist_container(Entry, place, iterator.cur);

			explicit_bzero(entry->memory, entry->size);
			pfree(entry->memory);
		}
		hash_destroy(entries);
		entries = NULL;
	}
	dlist_init(&by_use);
	used = 0;
	aurora_data_key_forget();
}

static void
wipe_at_exit(int code, Datum argument)
{
	forget_all();
}

static void
make_table(void)
{
	HASHCTL control = {0};

	control.keysize = sizeof(AuroraSecretQuestion);
	control.entrysize = sizeof(Entry);
	control.hash = hash_question;
	control.match = compare_questions;
	control.hcxt = TopMemoryContext;
	entries = hash_create("aurora secrets", 64, &control,
						  HASH_ELEM | HASH_FUNCTION | HASH_COMPARE | HASH_CONTEXT);
}

/* ---- invalidation ---- */

/*
 * Only takes note: the catalogs may not be read here.
 */
static void
note_relation(Datum argument, Oid relation)
{
	bool concerns = relation == InvalidOid;

	for (int i = 0; !concerns && i < (int) lengthof(watched); i++)
		concerns = watched[i] == relation;
	if (!concerns)
		return;
	is_stale = true;
	generation++;
}

static void
note_role(Datum argument, int cache_id, uint32 hash)
{
	is_stale = true;
	generation++;
}

/*
 * Its owner is a member of pg_database_owner. Other databases do not concern this session.
 */
static void
note_database(Datum argument, int cache_id, uint32 hash)
{
	if (hash == 0 || hash == own_database)
		note_role(argument, cache_id, hash);
}

void
aurora_secret_cache_outdate(void)
{
	is_stale = true;
	generation++;
}

static void
watch(void)
{
	static bool registered = false;
	Oid schema = get_namespace_oid(AURORA_SCHEMA, true);

	if (!registered)
	{
		CacheRegisterRelcacheCallback(note_relation, (Datum) 0);
		CacheRegisterSyscacheCallback(AUTHOID, note_role, (Datum) 0);
		CacheRegisterSyscacheCallback(AUTHMEMROLEMEM, note_role, (Datum) 0);
		own_database = GetSysCacheHashValue1(DATABASEOID, ObjectIdGetDatum(MyDatabaseId));
		CacheRegisterSyscacheCallback(DATABASEOID, note_database, (Datum) 0);
		before_shmem_exit(wipe_at_exit, (Datum) 0);
		registered = true;
	}
	for (int i = 0; i < (int) lengthof(watched); i++)
		watched[i] = OidIsValid(schema) ? get_relname_relid(watched_tables[i], schema) : InvalidOid;
}

uint64
aurora_secret_cache_catch_up(void)
{
	if (!is_watching)
	{
		watch();
		is_watching = true;
	}
	AcceptInvalidationMessages();
	if (is_stale)
	{
		/* What is named here may be gone and made anew under other oids. */
		is_stale = false;
		if (entries)
			pg_atomic_fetch_add_u64(&shared->invalidations, 1);
		forget_all();
		watch();
	}
	return generation;
}

/*
 * Trigger: tells the sessions of all nodes, when this transaction commits, that secrets have
 * changed.
 */
Datum
aurora_secret_changed(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
						errmsg("this function is for triggers")));
	CacheInvalidateRelcacheByRelid(aurora_relation_oid("secret_signal"));
	PG_RETURN_POINTER(NULL);
}

/* ---- finding and keeping ---- */

const AuroraAnswerOfSecret *
aurora_secret_cache_find(const AuroraSecretQuestion *question)
{
	Entry *entry = entries ? hash_search(entries, question, HASH_FIND, NULL) : NULL;

	if (entry == NULL)
	{
		pg_atomic_fetch_add_u64(&shared->misses, 1);
		return NULL;
	}
	pg_atomic_fetch_add_u64(&shared->hits, 1);
	dlist_move_head(&by_use, &entry->place);
	return &entry->answer;
}

void
aurora_secret_cache_remove(const AuroraSecretQuestion *question)
{
	Entry *entry = entries ? hash_search(entries, question, HASH_FIND, NULL) : NULL;

	if (entry)
		remove_entry(entry);
}

static char *
copy_bytes(char **memory, const char *bytes, size_t length)
{
	char *copy = *memory;

	memcpy(copy, bytes, length);
	copy[length] = '\0';
	*memory += length + 1;
	return copy;
}

static void
fill_entry(Entry *entry, const AuroraSecretQuestion *question, const AuroraAnswerOfSecret *answer)
{
	char *memory = entry->memory;

	entry->question = *question;
	entry->question.service = copy_bytes(&memory, question->service, question->service_length);
	entry->question.key_name = copy_bytes(&memory, question->key_name, question->key_name_length);
	if (question->company)
		entry->question.company = copy_bytes(&memory, question->company, question->company_length);
	entry->answer = *answer;
	entry->answer.audit = copy_bytes(&memory, answer->audit, strlen(answer->audit));
	entry->answer.value = copy_bytes(&memory, answer->value, answer->length);
}

void
aurora_secret_cache_keep(const AuroraSecretQuestion *question, const AuroraAnswerOfSecret *answer,
						 uint64 read_in)
{
	size_t limit = (size_t) cache_size_kb * 1024;
	size_t size = question->service_length + question->key_name_length + question->company_length +
				  strlen(answer->audit) + answer->length + 5;
	char *memory;
	Entry *entry;
	bool found;

	if (read_in != generation || size + sizeof(Entry) > limit)
		return;
	while (used + size + sizeof(Entry) > limit)
	{
		remove_entry(dlist_tail_element(Entry, place, &by_use));
		pg_atomic_fetch_add_u64(&shared->evictions, 1);
	}
	if (entries == NULL)
		make_table();
	memory = MemoryContextAlloc(TopMemoryContext, size);
	entry = hash_search(entries, question, HASH_ENTER, &found);
	if (found)
		elog(ERROR, "a secret is in the cache already");
	entry->memory = memory;
	entry->size = size;
	fill_entry(entry, question, answer);
	dlist_push_head(&by_use, &entry->place);
	used += size + sizeof(Entry);
}

AuroraSecretCounters
aurora_secret_counters(void)
{
	return (AuroraSecretCounters) {
		.hits = (int64) pg_atomic_read_u64(&shared->hits),
		.misses = (int64) pg_atomic_read_u64(&shared->misses),
		.evictions = (int64) pg_atomic_read_u64(&shared->evictions),
		.invalidations = (int64) pg_atomic_read_u64(&shared->invalidations),
	};
}

static void
set_up_shared(void *memory)
{
	shared = memory;
}

void
aurora_secret_cache_init(void)
{
	DefineCustomIntVariable("aurora.secret_cache_size",
							"Memory of a session for secrets that it has decrypted; 0 for none.",
							NULL, &cache_size_kb, 256, 0, 65536, PGC_SIGHUP, GUC_UNIT_KB, NULL,
							NULL, NULL);
	if (aurora_preloaded)
		aurora_memory_add("aurora_secret_cache", sizeof(Shared), 0, set_up_shared);
}
