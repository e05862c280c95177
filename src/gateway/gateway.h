/*
 * The gateway: API keys and sessions by which a program that serves many assumes one of them for a
 * transaction, waiting for positions and for news, and what it reads for streams.
 *
 * An "API key" is a random text that is shown once and stored as its hash; its "role" is one of
 * gateway_names.h, and "routes" are patterns of what it may ask for. A "session" is a token that is
 * signed with a "signing key" and stored nowhere, so that any node can begin and check one.
 */
#ifndef AURORA_GATEWAY_H
#define AURORA_GATEWAY_H

#include "core/core.h"
#include "fmgr.h"
#include "shared/gateway_names.h"
#include "tenancy/tenancy.h"
#include "utils/array.h"

extern void aurora_gateway_init(void);

/* ---- api_key.c ---- */

typedef struct AuroraApiKey
{
	int32 key_id;
	AuroraKeyRole role;
	AuroraPrincipal principal; /* of user and agent */
	char *node;				   /* of a node's; NULL */
	ArrayType *routes;		   /* NULL for all */
} AuroraApiKey;

/*
 * The key with that hash, or that number, when it is good now, with its principal; false for one
 * that is unknown, expired or revoked.
 */
extern bool aurora_api_key_find(bytea *hash, Snapshot snapshot, AuroraApiKey *key);
extern bool aurora_api_key_find_by_id(int32 key_id, Snapshot snapshot, AuroraApiKey *key);

/* Raises 28000. */
extern void aurora_api_key_refuse(void) pg_attribute_noreturn();

/* Raises 42501 unless the key is for the route, which is "METHOD /path"; NULL for none. */
extern void aurora_api_key_require_route(const AuroraApiKey *key, text *route);

extern const char *aurora_key_role_label(AuroraKeyRole role);

/* A statement time-out for the rest of the transaction, in ms; 0 leaves it as it is. */
extern void aurora_gateway_limit_statements(int timeout_ms);

/* ---- signing_key.c ---- */

#define AURORA_MAC_SIZE 32

typedef struct AuroraSigningKey
{
	uint8 bytes[32];
} AuroraSigningKey;

extern void aurora_signing_key_init(void);

/* The HMAC-SHA256 of up to 128 bytes; the label tells one use of a key from another. */
extern void aurora_signing_key_mac(const AuroraSigningKey *key, const char *label,
								   const uint8 *bytes, size_t size, uint8 mac[AURORA_MAC_SIZE]);

/* The key of that number; false when it is not there, or no key of this node's ring opens it. */
extern bool aurora_signing_key_open(int32 key_no, Snapshot snapshot, AuroraSigningKey *key);

/* The key that signs, and its number; the lead makes one when there is none. Raises 55000. */
extern int32 aurora_signing_key_current(Snapshot snapshot, AuroraSigningKey *key);

/* ---- session.c ---- */

extern void aurora_session_init(void);

#endif
