/*
 * Opens the values of a store.
 */
#include "recover/recover.h"

#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#include "recover/message.h"
#include "recover/text.h"
#include "recover/write.h"

/* What is being done. */
typedef struct Work
{
	Store *store;
	const KeyRing *ring;
	const Wish *wish;
	Output *output;
	const Secret *last; /* what was written last */
} Work;

/* An opened token; the value lies in the scratch. */
typedef struct Opened
{
	uint8_t *scratch;
	size_t scratch_size;
	Value value;
} Opened;

/* ---- messages ---- */

/*
 * Says that a version could not be recovered, and why.
 */
static void
report(const Secret *secret, int64_t version, const char *why)
{
	Buffer name = {0};

	write_name(&name, secret, version);
	message_problem("%s, is not recovered: %s", name.bytes, why);
	buffer_wipe(&name);
}

static void
report_data_key(const KeyRing *ring, const DataKey *key)
{
	Buffer ids = {0};
	Buffer id = {0};
	bool is_known = false;

	text_add_printable(&id, key->master_key_id);
	buffer_add_text(&id, "");
	for (size_t i = 0; i < ring->count; i++)
	{
		is_known |= strcmp(ring->keys[i].key_id, key->master_key_id) == 0;
		buffer_add_text(&ids, i > 0 ? ", " : "");
		buffer_add_text(&ids, ring->keys[i].key_id);
	}
	if (is_known)
		message_say("data key %lld is corrupted: its master key, %s, does not open it",
					(long long) key->key_no, id.bytes);
	else
		message_say("data key %lld is under the master key with the id %s; the key file has %s",
					(long long) key->key_no, id.bytes, ids.bytes);
	buffer_wipe(&ids);
	buffer_wipe(&id);
}

/* ---- tokens ---- */

static AuroraFernetResult
open_token(AuroraFernet *fernet, const char *token, Opened *opened)
{
	size_t token_size = strlen(token);
	AuroraFernetResult result;
	uint8_t *plain = NULL;

	opened->scratch_size = aurora_fernet_scratch_size(token_size);
	opened->scratch = memory_get(opened->scratch_size);
	result = aurora_fernet_decrypt(fernet, token, token_size, 0, -1, opened->scratch, &plain,
								   &opened->value.size);
	opened->value.bytes = (const char *) plain;
	return result;
}

static void
wipe(Opened *opened)
{
	OPENSSL_cleanse(opened->scratch, opened->scratch_size);
	free(opened->scratch);
	memset(opened, 0, sizeof(*opened));
}

static bool
unwrap(AuroraFernet *master, DataKey *key)
{
	uint8_t bytes[AURORA_FERNET_KEY_SIZE];
	Opened opened;
	bool is_open = open_token(master, key->wrapped, &opened) == AURORA_FERNET_OK &&
				   aurora_fernet_parse_key(opened.value.bytes, opened.value.size, bytes) &&
				   aurora_fernet_open(&key->fernet, bytes);

	OPENSSL_cleanse(bytes, sizeof(bytes));
	wipe(&opened);
	return is_open;
}

/*
 * The data key, opened with whatever master key does; NULL when there is none.
 */
static AuroraFernet *
find_data_key(Work *work, int64_t key_no, const char **why)
{
	DataKey *key = store_find_data_key(work->store, key_no);

	*why = key ? "no key opens its data key" : "its data key is not in the backup";
	if (key == NULL)
		return NULL;
	for (size_t i = 0; i < work->ring->count && !key->is_tried; i++)
	{
		key->is_open = unwrap(&work->ring->keys[i], key);
		key->is_tried = key->is_open;
	}
	if (!key->is_tried)
		report_data_key(work->ring, key);
	key->is_tried = true;
	return key->is_open ? &key->fernet : NULL;
}

/* ---- values ---- */

static bool
is_wanted(const Work *work, const Version *version)
{
	if (!text_matches(work->wish->service, version->secret->service))
		return false;
	return work->wish->all_versions ||
		   (version->version == version->secret->version && version->token && !version->is_deleted);
}

static void
write_value(Work *work, const Version *version, const Value *value)
{
	const char *trouble = NULL;

	if (work->wish->format == FORMAT_JSON)
		write_json(&work->output->buffer, version, value, work->wish->names_only);
	else
		trouble = write_env(&work->output->buffer, version, value, work->last);
	if (trouble)
		report(version->secret, version->version, trouble);
	else
		work->last = version->secret;
	output_flush(work->output, false);
}

static void
recover_version(Work *work, const Version *version)
{
	static const Value nothing = {NULL, 0};
	AuroraFernet *fernet;
	AuroraFernetResult result;
	Opened opened;
	const char *why;

	if (work->wish->names_only || version->token == NULL)
	{
		write_value(work, version, &nothing);
		return;
	}
	fernet = find_data_key(work, version->key_no, &why);
	if (fernet == NULL)
	{
		report(version->secret, version->version, why);
		return;
	}
	result = open_token(fernet, version->token, &opened);
	if (result == AURORA_FERNET_OK)
		write_value(work, version, &opened.value);
	else
		report(version->secret, version->version, aurora_fernet_error(result));
	wipe(&opened);
}

void
recover_store(Store *store, const KeyRing *ring, const Wish *wish, Output *output)
{
	Work work = {.store = store, .ring = ring, .wish = wish, .output = output};

	store_join(store);
	for (size_t i = 0; i < store->version_count; i++)
		if (is_wanted(&work, &store->versions[i]))
			recover_version(&work, &store->versions[i]);
	for (size_t i = 0; i < store->secret_count; i++)
	{
		const Secret *secret = &store->secrets[i];

		if (!secret->has_version && text_matches(wish->service, secret->service))
			report(secret, secret->version, "the backup does not have it");
	}
}
