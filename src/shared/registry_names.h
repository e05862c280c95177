/*
 * Names of the registry that SQL and C share.
 */
#ifndef AURORA_REGISTRY_NAMES_H
#define AURORA_REGISTRY_NAMES_H

/* How a node, a service or a component is; what is worst to show comes by aurora.health_rank(). */
#define AURORA_HEALTH_LIST(X)             \
	X(AURORA_HEALTH_UP, "up")             \
	X(AURORA_HEALTH_DEGRADED, "degraded") \
	X(AURORA_HEALTH_DOWN, "down")         \
	X(AURORA_HEALTH_UNKNOWN, "unknown")   \
	X(AURORA_HEALTH_MAINTENANCE, "maintenance")

/* How a service is checked; AURORA_CHECK_API is an http check that is shared between nodes. */
#define AURORA_SERVICE_KIND_LIST(X)        \
	X(AURORA_SERVICE_TCP, "tcp")           \
	X(AURORA_SERVICE_HTTP, "http")         \
	X(AURORA_SERVICE_POSTGRES, "postgres") \
	X(AURORA_SERVICE_SYSTEMD, "systemd")   \
	X(AURORA_SERVICE_COMMAND, "command")

/* How an API answers, as nodes share it. */
#define AURORA_API_STATE_LIST(X)       \
	X(AURORA_API_HEALTHY, "healthy")   \
	X(AURORA_API_DEGRADED, "degraded") \
	X(AURORA_API_DOWN, "down")

#define AURORA_NAME_VALUE(symbol, label) symbol,
typedef enum AuroraHealth
{
	AURORA_HEALTH_LIST(AURORA_NAME_VALUE) AURORA_HEALTH_COUNT
} AuroraHealth;

typedef enum AuroraServiceKind
{
	AURORA_SERVICE_KIND_LIST(AURORA_NAME_VALUE) AURORA_SERVICE_KIND_COUNT
} AuroraServiceKind;

typedef enum AuroraApiState
{
	AURORA_API_STATE_LIST(AURORA_NAME_VALUE) AURORA_API_STATE_COUNT
} AuroraApiState;
#undef AURORA_NAME_VALUE

#endif
