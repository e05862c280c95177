/*
 * Who calls: companies, principals, and what a caller may see and manage.
 *
 * A login role maps to principals (company, owner, trust), at most one in each company. A program
 * that serves many people from a pool assumes one principal for one transaction.
 */
#ifndef AURORA_TENANCY_H
#define AURORA_TENANCY_H

#include "core/core.h"
#include "fmgr.h"
#include "nodes/pg_list.h"
#include "shared/tenancy_names.h"
#include "utils/snapshot.h"

typedef struct AuroraPrincipal
{
	int32 company_id;
	int32 number; /* over all companies */
	char *owner;
	AuroraTrust trust;
	Oid login_role; /* invalid for none */
} AuroraPrincipal;

typedef struct AuroraIdentity
{
	bool administers_all; /* superuser or aurora_admin, and nobody is assumed */
	bool assumed;
	Oid role; /* whose rights count: the caller's, or the assumed principal's or node's own */
	const char *node; /* that is assumed, or NULL */
	List *principals; /* of AuroraPrincipal, by company_id */
} AuroraIdentity;

extern void aurora_tenancy_init(void);

/*
 * When and for whom something was read: the role, the assumption and the snapshot in force. What a
 * function keeps between calls holds only while the stamp is the same, since PL/pgSQL keeps
 * expressions, and so what they keep, until the transaction ends.
 */
typedef struct AuroraStamp
{
	Oid role;
	uint64 assumption;
	LocalTransactionId transaction;
	TransactionId xmin;
	TransactionId xmax;
	uint32 running;
	int32 subrunning;
	CommandId command;
} AuroraStamp;

/*
 * A function's memory between calls: a context that is emptied when the stamp has changed.
 */
typedef struct AuroraCallCache
{
	AuroraStamp stamp;
	MemoryContext context;
	void *kept; /* NULL after the context was emptied */
} AuroraCallCache;

extern AuroraCallCache *aurora_call_cache(FmgrInfo *function);

/* The caller's identity under the given snapshot, in the current memory context. */
extern AuroraIdentity *aurora_identity_get(Snapshot snapshot);

/*
 * What a transaction stands for: a principal, or by a key without one a node or a monitor.
 */
typedef struct AuroraAssumption
{
	int32 number; /* the principal's; without one, a number below 0 that is the key's alone */
	int32 key_id; /* 0 for none */
	bool has_principal;
	AuroraPrincipal principal;
	const char *node; /* NULL for none */
	Oid node_role;	  /* as which the node logs in; invalid for none */
} AuroraAssumption;

/* Raises 42501 unless the caller is a member of aurora_gateway. */
extern void aurora_identity_require_gateway(void);

/*
 * The caller stands for that until the transaction ends, or the subtransaction in which this is
 * called is undone. Raises 42501 for who is no gateway, and 25000 when another is assumed. The
 * caller of this has found out that it may.
 */
extern void aurora_identity_assume(const AuroraAssumption *what);

/* The node that is assumed, in memory of the transaction; NULL for none. */
extern const char *aurora_assumed_node(void);

/*
 * What tells one caller from another within this session: the role that calls (invalid in
 * maintenance, where nobody does), and the number of the principal that it has assumed (0 for
 * none, below 0 for a node or a monitor).
 */
typedef struct AuroraCaller
{
	Oid role;
	Oid session; /* the role that logged in */
	int32 principal;
} AuroraCaller;

extern AuroraCaller aurora_caller_now(void);

/*
 * True inside a SECURITY DEFINER function that a superuser owns: it vouches for the owners that it
 * names. The duties of the lead work so for whoever may call them.
 */
extern bool aurora_identity_is_vouched(void);

/* The caller's principal in a company, or NULL. */
extern AuroraPrincipal *aurora_identity_in(const AuroraIdentity *identity, int32 company_id);

/* May the caller see the rows of this owner; may it manage the company. */
extern bool aurora_identity_sees(const AuroraIdentity *identity, int32 company_id,
								 const char *owner);
extern bool aurora_identity_manages(const AuroraIdentity *identity, int32 company_id);

/* The id of a company by its name; false when there is none. */
extern bool aurora_company_find(text *name, Snapshot snapshot, int32 *company_id);

/* The principal of that name; false when there is none. */
extern bool aurora_principal_find(int32 company_id, text *owner, Snapshot snapshot,
								  AuroraPrincipal *principal);

/* The principal of that number; false when there is none. */
extern bool aurora_principal_find_by_number(int32 number, Snapshot snapshot,
											AuroraPrincipal *principal);

/* The name of a company; NULL when there is none. */
extern char *aurora_company_name(int32 company_id, Snapshot snapshot);

/* All principals of a company, by name (a list of AuroraPrincipal). */
extern List *aurora_company_principals(int32 company_id, Snapshot snapshot);

/*
 * The first owners that the caller may see, for a hint; NULL when it sees none but its own.
 */
extern char *aurora_identity_owner_names(const AuroraIdentity *identity, Snapshot snapshot);

/* Ids of all companies that the caller may see rows of, ascending (a list of int). */
extern List *aurora_identity_companies(const AuroraIdentity *identity, Snapshot snapshot);

#endif
