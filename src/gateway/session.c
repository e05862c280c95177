/*
 * Sessions: signed tokens that any node makes and checks without writing, so that logging in works
 * on a standby whose lead is gone.
 *
 * A token is a record of fixed size and its HMAC-SHA256, as base64url. It ends by its time; by its
 * number, which is written down when somebody logs out; by its principal's "generation", a count
 * that goes up when all sessions of a principal are ended, and that unlike a time needs no clocks
 * to agree; with the API key it was begun by; or with its signing key. The token against forged
 * requests (CSRF) is an HMAC of the same record.
 */
#include "gateway/gateway.h"

#include <openssl/crypto.h>

#include "access/htup_details.h"
#include "funcapi.h"
#include "shared/base64url.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"
#include "utils/uuid.h"

#define VERSION 1
#define RECORD_SIZE 49
#define TOKEN_SIZE (RECORD_SIZE + AURORA_MAC_SIZE)
#define TOKEN_TEXT_SIZE (TOKEN_SIZE / 3 * 4)
#define CSRF_SIZE 30
#define CSRF_TEXT_SIZE (CSRF_SIZE / 3 * 4)

typedef struct Session
{
	pg_uuid_t id;
	TimestampTz issued_at;
	TimestampTz expires_at;
	int32 signing_key;
	int32 principal;
	int32 api_key; /* by which it was begun; 0 for a password */
	int32 generation;
} Session;

/* Columns of aurora.principal_password and aurora.session_revocation that are read here. */
enum
{
	LOGIN_COMPANY_ID = 1,
	LOGIN_OWNER,
	LOGIN_GENERATION
};
enum
{
	REVOCATION_ID = 1
};

static int session_lifetime_s = 43200;

PG_FUNCTION_INFO_V1(aurora_begin_session);
PG_FUNCTION_INFO_V1(aurora_log_in_by_key);
PG_FUNCTION_INFO_V1(aurora_assume_session);
PG_FUNCTION_INFO_V1(aurora_read_session);
PG_FUNCTION_INFO_V1(aurora_require_gateway);
PG_FUNCTION_INFO_V1(aurora_is_same_text);

/* ---- the record ---- */

static uint8 *
put_number(uint8 *at, uint64 number, int size)
{
	for (int i = size - 1; i >= 0; i--, number >>= 8)
		at[i] = (uint8) number;
	return at + size;
}

static uint64
get_number(const uint8 **at, int size)
{
	uint64 number = 0;

	for (int i = 0; i < size; i++)
		number = number << 8 | (*at)[i];
	*at += size;
	return number;
}

static void
write_record(const Session *session, uint8 record[RECORD_SIZE])
{
	uint8 *at = record;

	*at++ = VERSION;
	memcpy(at, session->id.data, UUID_LEN);
	at = put_number(at + UUID_LEN, (uint64) session->issued_at, 8);
	at = put_number(at, (uint64) session->expires_at, 8);
	at = put_number(at, (uint32) session->signing_key, 4);
	at = put_number(at, (uint32) session->principal, 4);
	at = put_number(at, (uint32) session->api_key, 4);
	at = put_number(at, (uint32) session->generation, 4);
	Assert(at - record == RECORD_SIZE);
}

static void
read_record(const uint8 record[RECORD_SIZE], Session *session)
{
	const uint8 *at = record + 1;

	memcpy(session->id.data, at, UUID_LEN);
	at += UUID_LEN;
	session->issued_at = (TimestampTz) get_number(&at, 8);
	session->expires_at = (TimestampTz) get_number(&at, 8);
	session->signing_key = (int32) get_number(&at, 4);
	session->principal = (int32) get_number(&at, 4);
	session->api_key = (int32) get_number(&at, 4);
	session->generation = (int32) get_number(&at, 4);
}

static void
csrf_text(const AuroraSigningKey *key, const uint8 record[RECORD_SIZE], char text[CSRF_TEXT_SIZE])
{
	uint8 mac[AURORA_MAC_SIZE];

	aurora_signing_key_mac(key, "csrf", record, RECORD_SIZE, mac);
	aurora_base64url_encode(mac, CSRF_SIZE, text);
}

/*
 * Opens a token. False for one that is malformed, of a key that is not there, or changed.
 */
static bool
open_token(text *token, Snapshot snapshot, uint8 record[RECORD_SIZE], Session *session,
		   AuroraSigningKey *key)
{
	uint8 bytes[TOKEN_SIZE];
	uint8 mac[AURORA_MAC_SIZE];
	size_t size;

	if (VARSIZE_ANY_EXHDR(token) != TOKEN_TEXT_SIZE ||
		!aurora_base64url_decode(VARDATA_ANY(token), TOKEN_TEXT_SIZE, bytes, &size) ||
		size != TOKEN_SIZE || bytes[0] != VERSION)
		return false;
	memcpy(record, bytes, RECORD_SIZE);
	read_record(record, session);
	if (!aurora_signing_key_open(session->signing_key, snapshot, key))
		return false;
	aurora_signing_key_mac(key, "session", record, RECORD_SIZE, mac);
	return CRYPTO_memcmp(mac, bytes + RECORD_SIZE, AURORA_MAC_SIZE) == 0;
}

/* ---- what ends a session ---- */

static bool
is_revoked(const Session *session, Snapshot snapshot)
{
	AuroraScan scan;
	ScanKeyData key;
	bool found;

	ScanKeyInit(&key, REVOCATION_ID, BTEqualStrategyNumber, F_UUID_EQ, UUIDPGetDatum(&session->id));
	aurora_scan_open(&scan, "session_revocation", "session_revocation_pkey", snapshot, 1, &key);
	found = aurora_scan_next(&scan);
	aurora_scan_close(&scan);
	return found;
}

static int32
generation_of(const AuroraPrincipal *principal, Snapshot snapshot)
{
	int32 generation = 0;
	AuroraScan scan;
	ScanKeyData key[2];

	ScanKeyInit(&key[0], LOGIN_COMPANY_ID, BTEqualStrategyNumber, F_INT4EQ,
				Int32GetDatum(principal->company_id));
	ScanKeyInit(&key[1], LOGIN_OWNER, BTEqualStrategyNumber, F_TEXTEQ,
				CStringGetTextDatum(principal->owner));
	aurora_scan_open(&scan, "principal_password", "principal_password_pkey", snapshot, 2, key);
	if (aurora_scan_next(&scan))
		generation = DatumGetInt32(scan.values[LOGIN_GENERATION - 1]);
	aurora_scan_close(&scan);
	return generation;
}

/*
 * The principal of a session that holds, and the key that it was begun by, if any. A principal that
 * has become an agent has no sessions.
 */
static bool
find_holder(const Session *session, Snapshot snapshot, AuroraPrincipal *principal,
			AuroraApiKey *key)
{
	if (session->expires_at <= GetCurrentTimestamp() || is_revoked(session, snapshot) ||
		!aurora_principal_find_by_number(session->principal, snapshot, principal) ||
		principal->trust == AURORA_TRUST_AGENT ||
		generation_of(principal, snapshot) != session->generation)
		return false;
	return session->api_key == 0 || (aurora_api_key_find_by_id(session->api_key, snapshot, key) &&
									 key->principal.number == session->principal);
}

/* ---- beginning ---- */

/*
 * A new session as a row: token, csrf, expires_at, company, owner. It does not outlast the key that
 * it is begun by, since that is looked up at each use.
 */
static Datum
begin_session(FunctionCallInfo fcinfo, const AuroraPrincipal *principal, int32 api_key)
{
	Snapshot snapshot = GetActiveSnapshot();
	Session session = {.principal = principal->number, .api_key = api_key};
	uint8 token[TOKEN_SIZE];
	char text[TOKEN_TEXT_SIZE];
	char csrf[CSRF_TEXT_SIZE];
	AuroraSigningKey key;
	Datum values[5];
	bool nulls[5] = {false};
	TupleDesc desc;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "a session is a row");
	session.signing_key = aurora_signing_key_current(snapshot, &key);
	session.generation = generation_of(principal, snapshot);
	session.issued_at = GetCurrentTimestamp();
	session.expires_at = session.issued_at + session_lifetime_s * USECS_PER_SEC;
	if (!pg_strong_random(session.id.data, UUID_LEN))
		ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("no random number could be made")));
	session.id.data[6] = (session.id.data[6] & 0x0f) | 0x40; /* as a UUID of version 4 */
	session.id.data[8] = (session.id.data[8] & 0x3f) | 0x80;
	write_record(&session, token);
	aurora_signing_key_mac(&key, "session", token, RECORD_SIZE, token + RECORD_SIZE);
	aurora_base64url_encode(token, TOKEN_SIZE, text);
	csrf_text(&key, token, csrf);
	explicit_bzero(&key, sizeof(key));
	values[0] = PointerGetDatum(cstring_to_text_with_len(text, TOKEN_TEXT_SIZE));
	values[1] = PointerGetDatum(cstring_to_text_with_len(csrf, CSRF_TEXT_SIZE));
	values[2] = TimestampTzGetDatum(session.expires_at);
	values[3] = CStringGetTextDatum(aurora_company_name(principal->company_id, snapshot));
	values[4] = CStringGetTextDatum(principal->owner);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}

/*
 * begin_session(principal_no): for log_in(), which has checked the password.
 */
Datum
aurora_begin_session(PG_FUNCTION_ARGS)
{
	AuroraPrincipal principal;

	aurora_identity_require_gateway();
	if (!aurora_principal_find_by_number(PG_GETARG_INT32(0), GetActiveSnapshot(), &principal))
		elog(ERROR, "principal %d does not exist", PG_GETARG_INT32(0));
	PG_RETURN_DATUM(begin_session(fcinfo, &principal, 0));
}

/*
 * log_in_by_key(key_hash)
 */
Datum
aurora_log_in_by_key(PG_FUNCTION_ARGS)
{
	AuroraApiKey key;

	aurora_identity_require_gateway();
	if (PG_ARGISNULL(0) || !aurora_api_key_find(PG_GETARG_BYTEA_PP(0), GetActiveSnapshot(), &key))
		aurora_api_key_refuse();
	if (key.role != AURORA_KEY_USER)
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("a key with the role \"%s\" begins no session",
							   aurora_key_role_label(key.role)),
						errhint("Sessions are for people; send the key itself with each "
								"request.")));
	PG_RETURN_DATUM(begin_session(fcinfo, &key.principal, key.key_id));
}

/* ---- using ---- */

static void
require_csrf(const AuroraSigningKey *key, const uint8 record[RECORD_SIZE], text *csrf)
{
	char expected[CSRF_TEXT_SIZE];

	csrf_text(key, record, expected);
	if (csrf && VARSIZE_ANY_EXHDR(csrf) == CSRF_TEXT_SIZE &&
		CRYPTO_memcmp(VARDATA_ANY(csrf), expected, CSRF_TEXT_SIZE) == 0)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg(csrf ? "the CSRF token is not that of the session"
						 : "a write in a session needs its CSRF token"),
			 errhint("Send the token that came with the session in the header X-CSRF-Token.")));
}

static void
refuse_session(void)
{
	ereport(ERROR, (errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
					errmsg("this is no valid session"), errhint("It has ended. Log in again.")));
}

static Datum
row_of(FunctionCallInfo fcinfo, const Session *session, const AuroraPrincipal *principal,
	   Snapshot snapshot)
{
	pg_uuid_t *id = palloc(sizeof(pg_uuid_t));
	Datum values[7] = {Int64GetDatum(session->api_key),
					   CStringGetTextDatum(aurora_key_role_label(AURORA_KEY_USER)),
					   Int32GetDatum(principal->company_id),
					   CStringGetTextDatum(aurora_company_name(principal->company_id, snapshot)),
					   CStringGetTextDatum(principal->owner),
					   (Datum) 0,
					   UUIDPGetDatum(id)};
	bool nulls[7] = {session->api_key == 0, false, false, false, false, true, false};
	TupleDesc desc;

	*id = session->id;
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "who is assumed is a row");
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}

/*
 * assume_session(token, csrf, is_write, route, timeout_ms)
 */
Datum
aurora_assume_session(PG_FUNCTION_ARGS)
{
	Snapshot snapshot = GetActiveSnapshot();
	bool is_write = PG_ARGISNULL(2) || PG_GETARG_BOOL(2);
	uint8 record[RECORD_SIZE];
	AuroraAssumption what = {.has_principal = true};
	AuroraApiKey api_key = {0};
	AuroraSigningKey key;
	Session session;

	aurora_identity_require_gateway();
	if (PG_ARGISNULL(0) || !open_token(PG_GETARG_TEXT_PP(0), snapshot, record, &session, &key) ||
		!find_holder(&session, snapshot, &what.principal, &api_key))
		refuse_session();
	if (is_write)
		require_csrf(&key, record, PG_ARGISNULL(1) ? NULL : PG_GETARG_TEXT_PP(1));
	explicit_bzero(&key, sizeof(key));
	aurora_api_key_require_route(&api_key, PG_ARGISNULL(3) ? NULL : PG_GETARG_TEXT_PP(3));
	what.number = what.principal.number;
	what.key_id = api_key.key_id;
	aurora_identity_assume(&what);
	aurora_gateway_limit_statements(PG_ARGISNULL(4) ? 0 : PG_GETARG_INT32(4));
	PG_RETURN_DATUM(row_of(fcinfo, &session, &what.principal, snapshot));
}

/*
 * read_session(token): session_id, principal_no, expires_at of a token with a good signature, which
 * may have ended; nulls for any other.
 */
Datum
aurora_read_session(PG_FUNCTION_ARGS)
{
	uint8 record[RECORD_SIZE];
	AuroraSigningKey key;
	Session session;
	Datum values[3] = {0};
	bool nulls[3] = {true, true, true};
	TupleDesc desc;

	aurora_identity_require_gateway();
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "a session is a row");
	if (!PG_ARGISNULL(0) &&
		open_token(PG_GETARG_TEXT_PP(0), GetActiveSnapshot(), record, &session, &key))
	{
		values[0] = UUIDPGetDatum(&session.id);
		values[1] = Int32GetDatum(session.principal);
		values[2] = TimestampTzGetDatum(session.expires_at);
		memset(nulls, false, sizeof(nulls));
	}
	explicit_bzero(&key, sizeof(key));
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

/*
 * require_gateway(): for functions in SQL.
 */
Datum
aurora_require_gateway(PG_FUNCTION_ARGS)
{
	aurora_identity_require_gateway();
	PG_RETURN_VOID();
}

/*
 * is_same_text(a, b): in a time that tells nothing of where they differ.
 */
Datum
aurora_is_same_text(PG_FUNCTION_ARGS)
{
	text *a = PG_GETARG_TEXT_PP(0);
	text *b = PG_GETARG_TEXT_PP(1);
	size_t size = VARSIZE_ANY_EXHDR(a);

	PG_RETURN_BOOL(size == VARSIZE_ANY_EXHDR(b) &&
				   CRYPTO_memcmp(VARDATA_ANY(a), VARDATA_ANY(b), size) == 0);
}

void
aurora_session_init(void)
{
	DefineCustomIntVariable("aurora.session_lifetime", "How long a session of the gateway lasts.",
							NULL, &session_lifetime_s, 43200, 1, 31536000, PGC_SIGHUP, GUC_UNIT_S,
							NULL, NULL, NULL);
}
