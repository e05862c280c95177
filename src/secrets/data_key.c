/*
 * Data keys: one for each company, and one for what belongs to none, wrapped by a master key.
 */
#include "secrets/secrets.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/snapmgr.h"

#include "shared/base64url.h"

#define OPEN_KEYS 32 /* kept open; more take each other's place */

/* Columns of aurora.secret_data_key, in table order. */
enum
{
	KEY_NO = 1,
	KEY_COMPANY_ID,
	KEY_MASTER_KEY_ID,
	KEY_WRAPPED
};

static struct
{
	int32 key_no; /* 0 for none */
	AuroraFernet fernet;
} open_keys[OPEN_KEYS];
static int next_place = 0;

PG_FUNCTION_INFO_V1(aurora_make_data_key);
PG_FUNCTION_INFO_V1(aurora_reencrypt_token);

void
aurora_data_key_forget(void)
{
	for (int i = 0; i < OPEN_KEYS; i++)
	{
		if (open_keys[i].key_no != 0)
			aurora_fernet_close(&open_keys[i].fernet);
		open_keys[i].key_no = 0;
	}
}

/* ---- tokens ---- */

char *
aurora_secret_encrypt(AuroraFernet *fernet, const char *plain, size_t length)
{
	size_t token_size = aurora_fernet_token_size(length);
	size_t scratch_size = aurora_fernet_scratch_size(token_size);
	char *token = palloc(token_size + 1);
	uint8 *scratch = palloc(scratch_size);
	uint8 iv[AURORA_FERNET_IV_SIZE];
	bool done = pg_strong_random(iv, sizeof(iv)) &&
				aurora_fernet_encrypt(fernet, (const uint8 *) plain, length, (int64) time(NULL), iv,
									  scratch, token);

	pfree(scratch);
	if (!done)
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR), errmsg("a secret could not be encrypted")));
	token[token_size] = '\0';
	return token;
}

AuroraFernetResult
aurora_secret_decrypt(AuroraFernet *fernet, const char *token, size_t token_size,
					  AuroraPlain *plain)
{
	AuroraFernetResult result;
	uint8_t *value = NULL;

	plain->scratch_size = aurora_fernet_scratch_size(token_size);
	plain->scratch = palloc(plain->scratch_size);
	result = aurora_fernet_decrypt(fernet, token, token_size, 0, -1, plain->scratch, &value,
								   &plain->length);
	plain->value = (char *) value;
	if (result != AURORA_FERNET_OK)
		aurora_secret_wipe(plain);
	return result;
}

void
aurora_secret_wipe(AuroraPlain *plain)
{
	explicit_bzero(plain->scratch, plain->scratch_size);
	pfree(plain->scratch);
}

/* ---- opening ---- */

void
aurora_data_key_unwrap(AuroraFernet *fernet, const char *master_key_id, const char *wrapped)
{
	AuroraFernet *master = master_key_id ? aurora_key_ring_find(master_key_id) : NULL;
	AuroraFernetResult result;
	AuroraPlain plain;
	uint8_t key[AURORA_FERNET_KEY_SIZE];
	bool opened;

	if (master == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("no key of this node opens the secret: it is under the key with the id %s",
						master_key_id ? master_key_id : "?"),
				 errhint("Add that key to this node's key ring and reload the configuration. "
						 "aurora.secret_key_ring() shows the ids of those that it has.")));
	result = aurora_secret_decrypt(master, wrapped, strlen(wrapped), &plain);
	if (result != AURORA_FERNET_OK)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED), errmsg("a data key of secrets is corrupted"),
				 errdetail("The wrapped key does not open: %s.", aurora_fernet_error(result))));
	opened =
		aurora_fernet_parse_key(plain.value, plain.length, key) && aurora_fernet_open(fernet, key);
	explicit_bzero(key, sizeof(key));
	aurora_secret_wipe(&plain);
	if (!opened)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED), errmsg("a data key of secrets is no key")));
}

AuroraFernet *
aurora_data_key_open(int32 key_no, Snapshot snapshot)
{
	AuroraFernet fernet;
	AuroraScan scan;
	ScanKeyData key;
	char *master_key_id;
	char *wrapped;

	/* Both forget open keys: when the extension, and so the numbers, or the ring are other ones. */
	(void) aurora_secret_cache_catch_up();
	(void) aurora_key_ring_load();
	for (int i = 0; i < OPEN_KEYS; i++)
		if (open_keys[i].key_no == key_no)
			return &open_keys[i].fernet;
	ScanKeyInit(&key, KEY_NO, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(key_no));
	aurora_scan_open(&scan, "secret_data_key", "secret_data_key_pkey", snapshot, 1, &key);
	if (!aurora_scan_next(&scan))
		ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED),
						errmsg("data key %d of secrets does not exist", key_no)));
	master_key_id = TextDatumGetCString(scan.values[KEY_MASTER_KEY_ID - 1]);
	wrapped = TextDatumGetCString(scan.values[KEY_WRAPPED - 1]);
	aurora_scan_close(&scan);
	aurora_data_key_unwrap(&fernet, master_key_id, wrapped);
	if (open_keys[next_place].key_no != 0)
		aurora_fernet_close(&open_keys[next_place].fernet);
	open_keys[next_place].fernet = fernet;
	open_keys[next_place].key_no = key_no;
	next_place = (next_place + 1) % OPEN_KEYS;
	return &open_keys[(next_place + OPEN_KEYS - 1) % OPEN_KEYS].fernet;
}

/* ---- making ---- */

/*
 * Runs a query with a company as its first parameter, null for 0, and maybe two texts; the first
 * column of its first row, or 0.
 */
static int32
query_number(const char *sql, int32 company_id, int count, const char *a, const char *b)
{
	Oid types[3] = {INT4OID, TEXTOID, TEXTOID};
	Datum values[3] = {Int32GetDatum(company_id)};
	char nulls[4] = {company_id == 0 ? 'n' : ' ', ' ', ' ', '\0'};
	int32 number = 0;
	bool isnull = true;

	if (count == 3)
	{
		values[1] = CStringGetTextDatum(a);
		values[2] = CStringGetTextDatum(b);
	}
	SPI_connect();
	if (SPI_execute_with_args(sql, count, types, values, nulls, false, 1) < 0)
		elog(ERROR, "a query about data keys failed");
	if (SPI_processed == 1)
		number =
			DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	SPI_finish();
	return isnull ? 0 : number;
}

/*
 * Makes a random key, wraps it, and has it stored as the company's current one.
 */
static int32
make_key(int32 company_id)
{
	AuroraFernet *master = aurora_key_ring_first();
	uint8 key[AURORA_FERNET_KEY_SIZE];
	char text[AURORA_FERNET_KEY_TEXT_SIZE];
	char *wrapped;

	if (!pg_strong_random(key, sizeof(key)))
		ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("no random key could be made")));
	aurora_base64url_encode(key, sizeof(key), text);
	wrapped = aurora_secret_encrypt(master, text, sizeof(text));
	explicit_bzero(key, sizeof(key));
	explicit_bzero(text, sizeof(text));
	return query_number("SELECT aurora.store_data_key($1, $2, $3)", company_id, 3, master->key_id,
						wrapped);
}

/*
 * Locks the company's key row, so that a rotation does not delete it before the value is stored.
 */
int32
aurora_data_key_current(int32 company_id)
{
	int32 key_no = query_number("SELECT k.key_no FROM aurora.secret_data_key k "
								"WHERE k.company_id IS NOT DISTINCT FROM $1 AND k.is_current "
								"FOR KEY SHARE",
								company_id, 1, NULL, NULL);

	return key_no ? key_no : make_key(company_id);
}

/*
 * make_data_key(company_id): a new current data key, for a rotation.
 */
Datum
aurora_make_data_key(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(make_key(PG_ARGISNULL(0) ? 0 : PG_GETARG_INT32(0)));
}

/*
 * reencrypt_token(token, from_key_no, to_key_no): the same value under another data key; null when
 * the token does not open.
 */
Datum
aurora_reencrypt_token(PG_FUNCTION_ARGS)
{
	char *token = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Snapshot snapshot = GetActiveSnapshot();
	AuroraPlain plain;
	char *again;

	if (aurora_secret_decrypt(aurora_data_key_open(PG_GETARG_INT32(1), snapshot), token,
							  strlen(token), &plain) != AURORA_FERNET_OK)
		PG_RETURN_NULL();
	again = aurora_secret_encrypt(aurora_data_key_open(PG_GETARG_INT32(2), snapshot), plain.value,
								  plain.length);
	aurora_secret_wipe(&plain);
	PG_RETURN_TEXT_P(cstring_to_text(again));
}
