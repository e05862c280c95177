/*
 * Names of the gateway that SQL, the library and the program share.
 */
#ifndef AURORA_GATEWAY_NAMES_H
#define AURORA_GATEWAY_NAMES_H

/*
 * What an API key is for. user: a person; agent: a principal with trust agent; node: a registered
 * node, which is no principal; monitor: who reads health, the registry and metrics.
 */
#define AURORA_KEY_ROLE_LIST(X)  \
	X(AURORA_KEY_USER, "user")   \
	X(AURORA_KEY_AGENT, "agent") \
	X(AURORA_KEY_NODE, "node")   \
	X(AURORA_KEY_MONITOR, "monitor")

typedef enum AuroraKeyRole
{
#define AURORA_KEY_ROLE_VALUE(symbol, label) symbol,
	AURORA_KEY_ROLE_LIST(AURORA_KEY_ROLE_VALUE)
#undef AURORA_KEY_ROLE_VALUE
	AURORA_KEY_ROLE_COUNT
} AuroraKeyRole;

/* The text of a key: the prefix, and 256 random bits as base64url without padding. */
#define AURORA_KEY_PREFIX "aur_"
#define AURORA_KEY_TEXT_SIZE 47
#define AURORA_KEY_HASH_SIZE 32 /* SHA-256 of the whole text */

#endif
