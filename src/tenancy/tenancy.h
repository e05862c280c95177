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
	Oid role;		  /* whose rights count: the caller's, or the assumed principal's own */
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
 * What tells one caller from another within this session: the role that calls (invalid in
 * maintenance, where nobody does), and the number of the principal that it has assumed (0 for
 * none).
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

/* All principals of a company, by name (a list of AuroraPrincipal). */
extern List *aurora_company_principals(int32 company_id, Snapshot snapshot);

/*
 * The first owners that the caller may see, for a hint; NULL when it sees none but its own.
 */
extern char *aurora_identity_owner_names(const AuroraIdentity *identity, Snapshot snapshot);

/* Ids of all companies that the caller may see rows of, ascending (a list of int). */
extern List *aurora_identity_companies(const AuroraIdentity *identity, Snapshot snapshot);

#endif
