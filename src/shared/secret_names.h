/*
 * Names of secrets that SQL, the audit's records and C share.
 */
#ifndef AURORA_SECRET_NAMES_H
#define AURORA_SECRET_NAMES_H

/* What a role may do with the values that it is granted. */
#define AURORA_SECRET_RIGHT_LIST(X)     \
	X(AURORA_SECRET_MAY_READ, "read")   \
	X(AURORA_SECRET_MAY_WRITE, "write") \
	X(AURORA_SECRET_MAY_EXPORT, "export")

#define AURORA_SECRET_ACTION_LIST(X)      \
	X(AURORA_SECRET_BEGIN, "begin")       \
	X(AURORA_SECRET_READ, "read")         \
	X(AURORA_SECRET_PUT, "put")           \
	X(AURORA_SECRET_DELETE, "delete")     \
	X(AURORA_SECRET_UNDELETE, "undelete") \
	X(AURORA_SECRET_DESTROY, "destroy")   \
	X(AURORA_SECRET_EXPORT, "export")     \
	X(AURORA_SECRET_IMPORT, "import")     \
	X(AURORA_SECRET_GRANT, "grant")       \
	X(AURORA_SECRET_REVOKE, "revoke")     \
	X(AURORA_SECRET_ROTATE, "rotate")     \
	X(AURORA_SECRET_FORGET, "forget")

#define AURORA_SECRET_OUTCOME_LIST(X)   \
	X(AURORA_SECRET_GRANTED, "granted") \
	X(AURORA_SECRET_REFUSED, "refused") \
	X(AURORA_SECRET_MISSING, "missing") \
	X(AURORA_SECRET_FAILED, "failed")

#define AURORA_NAME_VALUE(symbol, label) symbol,
typedef enum AuroraSecretRight
{
	AURORA_SECRET_RIGHT_LIST(AURORA_NAME_VALUE) AURORA_SECRET_RIGHT_COUNT
} AuroraSecretRight;

typedef enum AuroraSecretAction
{
	AURORA_SECRET_ACTION_LIST(AURORA_NAME_VALUE) AURORA_SECRET_ACTION_COUNT
} AuroraSecretAction;

typedef enum AuroraSecretOutcome
{
	AURORA_SECRET_OUTCOME_LIST(AURORA_NAME_VALUE) AURORA_SECRET_OUTCOME_COUNT
} AuroraSecretOutcome;
#undef AURORA_NAME_VALUE

#endif
