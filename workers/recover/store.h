/*
 * What was found of one database, or in one export: companies, data keys, secrets and versions, in
 * any order.
 */
#ifndef RECOVER_STORE_H
#define RECOVER_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shared/fernet.h"

#define NO_COMPANY 0

typedef struct Company
{
	int64_t company_id;
	char *name;
} Company;

typedef struct DataKey
{
	int64_t key_no;
	char *master_key_id;
	char *wrapped;
	bool is_tried;
	bool is_open;
	AuroraFernet fernet;
} DataKey;

typedef struct Secret
{
	int64_t secret_id;
	int64_t company_id; /* NO_COMPANY for none */
	char *company;		/* its name; NULL for none, or while it is not known */
	char *service;
	char *key_name;
	char *node;		  /* NULL for none */
	int64_t version;  /* the last one */
	bool has_version; /* a row of it was found */
} Secret;

typedef struct Version
{
	int64_t secret_id;
	int64_t version;
	int64_t key_no;
	char *token; /* NULL once destroyed */
	bool is_deleted;
	bool is_expired;
	Secret *secret; /* NULL while it is not known */
} Version;

/* The tables that a dump has to have rows of. */
typedef enum TableKind
{
	TABLE_COMPANY,
	TABLE_SECRET,
	TABLE_VERSION,
	TABLE_DATA_KEY
} TableKind;
#define TABLE_COUNT 4

typedef struct Store
{
	char *database; /* NULL when it is not known */
	bool has_table[TABLE_COUNT];
	bool has_inserts; /* rows came as INSERT, which nobody reads */
	bool keeps_all;	  /* also versions before the last one */
	int64_t now;
	Company *companies;
	size_t company_count;
	DataKey *data_keys;
	size_t data_key_count;
	Secret *secrets;
	size_t secret_count;
	bool secrets_are_sorted;
	Version *versions;
	size_t version_count;
} Store;

/* All of them that a dump or file has. */
typedef struct Stores
{
	bool keeps_all;
	int64_t now; /* microseconds since 1970: what expires before has expired */
	Store **list;
	size_t count;
} Stores;

/* Adds an empty one. */
extern Store *stores_add(Stores *stores, const char *database);

extern void stores_free(Stores *stores);

/* Adds what is zero at first, for the caller to fill; it stays where it is until the next is added.
 */
extern Company *store_add_company(Store *store);
extern DataKey *store_add_data_key(Store *store);
extern Secret *store_add_secret(Store *store);
extern Version *store_add_version(Store *store);

/* Sorts secrets by number, so that store_find_secret() finds them. */
extern void store_sort_secrets(Store *store);

/* NULL when there is none, or they are not sorted. */
extern Secret *store_find_secret(const Store *store, int64_t secret_id);

extern DataKey *store_find_data_key(const Store *store, int64_t key_no);

/*
 * Joins what belongs together, when all rows are there, and sorts versions by their names. Says
 * what is missing.
 */
extern void store_join(Store *store);

#endif
