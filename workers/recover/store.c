/*
 * What was found of one database, or in one export.
 */
#include "recover/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/memory.h"
#include "recover/message.h"

#define COMPANY_NUMBER_SIZE 24

Store *
stores_add(Stores *stores, const char *database)
{
	Store *store = memory_get(sizeof(Store));

	store->database = memory_copy(database);
	store->keeps_all = stores->keeps_all;
	store->now = stores->now;
	store->secrets_are_sorted = true;
	stores->list = memory_extend(stores->list, stores->count, sizeof(Store *));
	stores->list[stores->count++] = store;
	return store;
}

static void
free_store(Store *store)
{
	for (size_t i = 0; i < store->company_count; i++)
		free(store->companies[i].name);
	for (size_t i = 0; i < store->data_key_count; i++)
	{
		aurora_fernet_close(&store->data_keys[i].fernet);
		free(store->data_keys[i].master_key_id);
		free(store->data_keys[i].wrapped);
	}
	for (size_t i = 0; i < store->secret_count; i++)
	{
		free(store->secrets[i].company);
		free(store->secrets[i].service);
		free(store->secrets[i].key_name);
		free(store->secrets[i].node);
	}
	for (size_t i = 0; i < store->version_count; i++)
		free(store->versions[i].token);
	free(store->companies);
	free(store->data_keys);
	free(store->secrets);
	free(store->versions);
	free(store->database);
	free(store);
}

void
stores_free(Stores *stores)
{
	for (size_t i = 0; i < stores->count; i++)
		free_store(stores->list[i]);
	free(stores->list);
	stores->list = NULL;
	stores->count = 0;
}

/* ---- adding ---- */

Company *
store_add_company(Store *store)
{
	store->companies = memory_extend(store->companies, store->company_count, sizeof(Company));
	return &store->companies[store->company_count++];
}

DataKey *
store_add_data_key(Store *store)
{
	store->data_keys = memory_extend(store->data_keys, store->data_key_count, sizeof(DataKey));
	return &store->data_keys[store->data_key_count++];
}

Secret *
store_add_secret(Store *store)
{
	store->secrets = memory_extend(store->secrets, store->secret_count, sizeof(Secret));
	store->secrets_are_sorted = false;
	return &store->secrets[store->secret_count++];
}

Version *
store_add_version(Store *store)
{
	store->versions = memory_extend(store->versions, store->version_count, sizeof(Version));
	return &store->versions[store->version_count++];
}

/* ---- finding ---- */

static int
compare_numbers(int64_t a, int64_t b)
{
	return (a > b) - (a < b);
}

static int
compare_secrets(const void *a, const void *b)
{
	return compare_numbers(((const Secret *) a)->secret_id, ((const Secret *) b)->secret_id);
}

static int
compare_companies(const void *a, const void *b)
{
	return compare_numbers(((const Company *) a)->company_id, ((const Company *) b)->company_id);
}

static int
compare_data_keys(const void *a, const void *b)
{
	return compare_numbers(((const DataKey *) a)->key_no, ((const DataKey *) b)->key_no);
}

static void
sort(void *array, size_t count, size_t size, int (*compare)(const void *, const void *))
{
	if (count > 1)
		qsort(array, count, size, compare);
}

static void *
find(const void *key, const void *array, size_t count, size_t size,
	 int (*compare)(const void *, const void *))
{
	return count > 0 ? bsearch(key, array, count, size, compare) : NULL;
}

void
store_sort_secrets(Store *store)
{
	if (!store->secrets_are_sorted)
		sort(store->secrets, store->secret_count, sizeof(Secret), compare_secrets);
	store->secrets_are_sorted = true;
}

Secret *
store_find_secret(const Store *store, int64_t secret_id)
{
	Secret key = {.secret_id = secret_id};

	if (!store->secrets_are_sorted)
		return NULL;
	return find(&key, store->secrets, store->secret_count, sizeof(Secret), compare_secrets);
}

DataKey *
store_find_data_key(const Store *store, int64_t key_no)
{
	DataKey key = {.key_no = key_no};

	return find(&key, store->data_keys, store->data_key_count, sizeof(DataKey), compare_data_keys);
}

/* ---- joining ---- */

static Company *
find_company(const Store *store, int64_t company_id)
{
	Company key = {.company_id = company_id};

	return find(&key, store->companies, store->company_count, sizeof(Company), compare_companies);
}

/*
 * A secret of a company that is not in the dump is still that company's, so it gets its number for
 * a name.
 */
static void
name_company(Store *store, Secret *secret)
{
	char number[COMPANY_NUMBER_SIZE];
	Company *company;

	if (secret->company_id == NO_COMPANY || secret->company)
		return;
	company = find_company(store, secret->company_id);
	if (company)
	{
		secret->company = memory_copy(company->name);
		return;
	}
	snprintf(number, sizeof(number), "#%lld", (long long) secret->company_id);
	message_problem("the name of company %s is not in the dump: it is called so", number);
	secret->company = memory_copy(number);
	company = store_add_company(store);
	company->company_id = secret->company_id;
	company->name = memory_copy(number);
	sort(store->companies, store->company_count, sizeof(Company), compare_companies);
}

/*
 * In one database a number is unique. Two dumps in one file would be mixed up.
 */
static void
check_unique(Store *store)
{
	bool is_said = false;

	for (size_t i = 1; i < store->secret_count; i++)
	{
		if (store->secrets[i].secret_id != store->secrets[i - 1].secret_id)
			continue;
		if (!is_said)
			message_problem("secret_id %lld comes twice: are these two dumps in one?",
							(long long) store->secrets[i].secret_id);
		is_said = true;
		store->secrets[i - 1].has_version = true; /* nothing more is said of it */
		store->secrets[i].has_version = true;
	}
}

static int
compare_texts(const char *a, const char *b)
{
	if (a == NULL || b == NULL)
		return (a != NULL) - (b != NULL);
	return strcmp(a, b);
}

/*
 * By names, what belongs to a scope together.
 */
static int
compare_versions(const void *a, const void *b)
{
	const Version *one = a;
	const Version *other = b;
	int result = compare_texts(one->secret->service, other->secret->service);

	if (result == 0)
		result = compare_texts(one->secret->company, other->secret->company);
	if (result == 0)
		result = compare_texts(one->secret->node, other->secret->node);
	if (result == 0)
		result = compare_texts(one->secret->key_name, other->secret->key_name);
	if (result == 0)
		result = compare_numbers(one->secret->secret_id, other->secret->secret_id);
	return result ? result : compare_numbers(one->version, other->version);
}

/*
 * Drops versions of no known secret, so that the others can be sorted by name.
 */
static void
join_versions(Store *store)
{
	size_t kept = 0;

	for (size_t i = 0; i < store->version_count; i++)
	{
		Version *version = &store->versions[i];

		version->secret = store_find_secret(store, version->secret_id);
		if (version->secret)
		{
			version->secret->has_version |= version->version == version->secret->version;
			store->versions[kept++] = *version;
			continue;
		}
		message_problem("version %lld of a secret whose name is not in the dump (secret_id %lld)",
						(long long) version->version, (long long) version->secret_id);
		free(version->token);
	}
	store->version_count = kept;
}

void
store_join(Store *store)
{
	store_sort_secrets(store);
	check_unique(store);
	sort(store->companies, store->company_count, sizeof(Company), compare_companies);
	sort(store->data_keys, store->data_key_count, sizeof(DataKey), compare_data_keys);
	for (size_t i = 0; i < store->secret_count; i++)
		name_company(store, &store->secrets[i]);
	join_versions(store);
	sort(store->versions, store->version_count, sizeof(Version), compare_versions);
}
