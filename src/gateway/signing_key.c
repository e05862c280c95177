/*
 * Signing keys of sessions: random keys that are wrapped by a master key of the key ring, as data
 * keys of secrets are, so that a dump or a replica's disk gives none away. The newest signs; older
 * ones check what they have signed until they are forgotten.
 */
#include "gateway/gateway.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "secrets/secrets.h"
#include "shared/base64url.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#define OPEN_KEYS 4
#define LABEL_SIZE 16

/* Columns of aurora.session_key, in table order. */
enum
{
	KEY_NO = 1,
	KEY_MASTER_KEY_ID,
	KEY_WRAPPED,
	KEY_CREATED_AT
};

/* Keys that this session has unwrapped; what they were unwrapped from tells them apart. */
static struct
{
	char *wrapped;
	AuroraSigningKey key;
} opened[OPEN_KEYS];
static int next_place = 0;

static int key_lifetime_min = 43200;

PG_FUNCTION_INFO_V1(aurora_renew_session_key);

void
aurora_signing_key_mac(const AuroraSigningKey *key, const char *label, const uint8 *bytes,
					   size_t size, uint8 mac[AURORA_MAC_SIZE])
{
	uint8 signed_bytes[LABEL_SIZE + 128] = {0};

	Assert(strlen(label) < LABEL_SIZE && size <= 128);
	strlcpy((char *) signed_bytes, label, LABEL_SIZE);
	memcpy(signed_bytes + LABEL_SIZE, bytes, size);
	if (HMAC(EVP_sha256(), key->bytes, sizeof(key->bytes), signed_bytes, LABEL_SIZE + size, mac,
			 NULL) == NULL)
		ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("a session could not be signed")));
}

/* ---- opening ---- */

static void
keep(const char *wrapped, const AuroraSigningKey *key)
{
	char *copy = MemoryContextStrdup(TopMemoryContext, wrapped);

	if (opened[next_place].wrapped)
		pfree(opened[next_place].wrapped);
	opened[next_place].wrapped = copy;
	opened[next_place].key = *key;
	next_place = (next_place + 1) % OPEN_KEYS;
}

/*
 * False where no master key of this node opens it: a key that has left the ring opens nothing, also
 * when this session has used it before.
 */
static bool
unwrap(const char *master_key_id, const char *wrapped, AuroraSigningKey *key)
{
	AuroraFernet *master = aurora_key_ring_find(master_key_id);
	AuroraPlain plain;
	uint8 bytes[(AURORA_FERNET_KEY_TEXT_SIZE / 4) * 3];
	size_t size = 0;

	if (master == NULL)
		return false;
	for (int i = 0; i < OPEN_KEYS; i++)
		if (opened[i].wrapped && strcmp(opened[i].wrapped, wrapped) == 0)
		{
			*key = opened[i].key;
			return true;
		}
	if (aurora_secret_decrypt(master, wrapped, strlen(wrapped), &plain) != AURORA_FERNET_OK)
		return false;
	if (plain.length == AURORA_FERNET_KEY_TEXT_SIZE)
		(void) aurora_base64url_decode(plain.value, plain.length, bytes, &size);
	aurora_secret_wipe(&plain);
	if (size == sizeof(key->bytes))
	{
		memcpy(key->bytes, bytes, sizeof(key->bytes));
		keep(wrapped, key);
	}
	explicit_bzero(bytes, sizeof(bytes));
	return size == sizeof(key->bytes);
}

bool
aurora_signing_key_open(int32 key_no, Snapshot snapshot, AuroraSigningKey *key)
{
	AuroraScan scan;
	ScanKeyData condition;
	bool found;

	ScanKeyInit(&condition, KEY_NO, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(key_no));
	aurora_scan_open(&scan, "session_key", "session_key_pkey", snapshot, 1, &condition);
	found =
		aurora_scan_next(&scan) && unwrap(TextDatumGetCString(scan.values[KEY_MASTER_KEY_ID - 1]),
										  TextDatumGetCString(scan.values[KEY_WRAPPED - 1]), key);
	aurora_scan_close(&scan);
	return found;
}

/* ---- making ---- */

/*
 * The newest key that this node can open, with its master key and age; 0 for none.
 */
static int32
newest(Snapshot snapshot, AuroraSigningKey *key, char **master_key_id, TimestampTz *created_at)
{
	int32 key_no = 0;
	AuroraSigningKey found;
	AuroraScan scan;

	aurora_scan_open(&scan, "session_key", "session_key_pkey", snapshot, 0, NULL);
	while (aurora_scan_next(&scan))
	{
		char *master = TextDatumGetCString(scan.values[KEY_MASTER_KEY_ID - 1]);

		if (DatumGetInt32(scan.values[KEY_NO - 1]) < key_no ||
			!unwrap(master, TextDatumGetCString(scan.values[KEY_WRAPPED - 1]), &found))
			continue;
		key_no = DatumGetInt32(scan.values[KEY_NO - 1]);
		*key = found;
		*master_key_id = master;
		*created_at = DatumGetTimestampTz(scan.values[KEY_CREATED_AT - 1]);
	}
	aurora_scan_close(&scan);
	return key_no;
}

/*
 * Makes a key, has it stored, and returns its number.
 */
static int32
make_key(AuroraSigningKey *key)
{
	AuroraFernet *master = aurora_key_ring_first();
	Oid types[2] = {TEXTOID, TEXTOID};
	char text[AURORA_FERNET_KEY_TEXT_SIZE];
	Datum values[2];
	int32 key_no;
	bool isnull;

	if (!pg_strong_random(key->bytes, sizeof(key->bytes)))
		ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("no random key could be made")));
	aurora_base64url_encode(key->bytes, sizeof(key->bytes), text);
	values[0] = CStringGetTextDatum(master->key_id);
	values[1] = CStringGetTextDatum(aurora_secret_encrypt(master, text, sizeof(text)));
	explicit_bzero(text, sizeof(text));
	SPI_connect();
	if (SPI_execute_with_args("SELECT aurora.store_session_key($1, $2)", 2, types, values, NULL,
							  false, 1) != SPI_OK_SELECT ||
		SPI_processed != 1)
		elog(ERROR, "a signing key could not be stored");
	key_no = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	SPI_finish();
	return key_no;
}

int32
aurora_signing_key_current(Snapshot snapshot, AuroraSigningKey *key)
{
	char *master_key_id;
	TimestampTz created_at;
	int32 key_no;

	(void) aurora_key_ring_load();
	key_no = newest(snapshot, key, &master_key_id, &created_at);
	if (key_no == 0 && (RecoveryInProgress() || XactReadOnly))
		ereport(ERROR, (errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
						errmsg("this node has no key to sign sessions with"),
						errhint("The lead makes one at the first session, or within a minute, "
								"under the first key of its key ring, which this node needs, "
								"too.")));
	return key_no ? key_no : make_key(key);
}

/*
 * renew_session_key(force): makes a new one where there is none, the newest is old or is wrapped by
 * a master key that is no longer the first, or it is forced; true when it did. Without a key ring
 * there is nothing to do, unless it is forced.
 */
Datum
aurora_renew_session_key(PG_FUNCTION_ARGS)
{
	bool force = PG_GETARG_BOOL(0);
	const char *setting;
	char *master_key_id = NULL;
	TimestampTz created_at = 0;
	AuroraSigningKey key;
	bool due;

	aurora_lead_require();
	if (!force && aurora_key_ring_trouble(&setting) != NULL)
		PG_RETURN_BOOL(false);
	(void) aurora_key_ring_load();
	due = force || newest(GetActiveSnapshot(), &key, &master_key_id, &created_at) == 0 ||
		  strcmp(master_key_id, aurora_key_ring_first()->key_id) != 0 ||
		  created_at + key_lifetime_min * USECS_PER_MINUTE < GetCurrentTimestamp();
	if (due)
		(void) make_key(&key);
	explicit_bzero(&key, sizeof(key));
	PG_RETURN_BOOL(due);
}

void
aurora_signing_key_init(void)
{
	DefineCustomIntVariable(
		"aurora.session_key_lifetime", "How long a key signs sessions before a new one does.", NULL,
		&key_lifetime_min, 43200, 60, 525600, PGC_SIGHUP, GUC_UNIT_MIN, NULL, NULL, NULL);
}
