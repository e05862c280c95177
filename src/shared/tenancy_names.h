/*
 * Names of tenancy that SQL and C share. "Trust" is what a principal may do in its company,
 * from least to most.
 */
#ifndef AURORA_TENANCY_NAMES_H
#define AURORA_TENANCY_NAMES_H

#define AURORA_TRUST_LIST(X)           \
	X(AURORA_TRUST_AGENT, "agent")     \
	X(AURORA_TRUST_MEMBER, "member")   \
	X(AURORA_TRUST_MANAGER, "manager") \
	X(AURORA_TRUST_ADMIN, "admin")

typedef enum AuroraTrust
{
#define AURORA_TRUST_VALUE(symbol, label) symbol,
	AURORA_TRUST_LIST(AURORA_TRUST_VALUE)
#undef AURORA_TRUST_VALUE
	AURORA_TRUST_COUNT
} AuroraTrust;

#endif
