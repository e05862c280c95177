/*
 * The one place that knows PostgreSQL's versions: 15 to 17 build from the same sources.
 */
#ifndef AURORA_COMPAT_H
#define AURORA_COMPAT_H

#include "postgres.h"

#if PG_VERSION_NUM < 150000
#error "aurora needs PostgreSQL 15 or later"
#endif

#include "storage/proc.h"

/* Does the current user own the database; needs utils/acl.h. */
#if PG_VERSION_NUM >= 160000
#define AURORA_OWNS_DATABASE(oid) object_ownercheck(DatabaseRelationId, (oid), GetUserId())
#else
#define AURORA_OWNS_DATABASE(oid) pg_database_ownercheck((oid), GetUserId())
#endif

/* The local id of this backend's transaction. */
#if PG_VERSION_NUM >= 170000
#define AURORA_LOCAL_TRANSACTION_ID (MyProc->vxid.lxid)
#else
#define AURORA_LOCAL_TRANSACTION_ID (MyProc->lxid)
#endif

/* The number of this process among those that shared memory knows. */
#if PG_VERSION_NUM >= 170000
#define AURORA_PROC_NUMBER MyProcNumber
#else
#define AURORA_PROC_NUMBER (MyProc->pgprocno)
#endif

/* Inserts the index entries of a new row version; needs executor/executor.h. */
#if PG_VERSION_NUM >= 160000
#define AURORA_INSERT_INDEX_ENTRIES(target, slot, state) \
	ExecInsertIndexTuples((target), (slot), (state), false, false, NULL, NIL, false)
#else
#define AURORA_INSERT_INDEX_ENTRIES(target, slot, state) \
	ExecInsertIndexTuples((target), (slot), (state), false, false, NULL, NIL)
#endif

/* What table_tuple_update() says of indexes; needs access/tableam.h. */
#if PG_VERSION_NUM >= 160000
#define AURORA_UPDATED_INDEXES TU_UpdateIndexes
#define AURORA_UPDATES_INDEXES(updated) ((updated) != TU_None)
#else
#define AURORA_UPDATED_INDEXES bool
#define AURORA_UPDATES_INDEXES(updated) (updated)
#endif

/* A lexer of JSON text in the database's encoding; needs common/jsonapi.h and mb/pg_wchar.h. */
#if PG_VERSION_NUM >= 170000
#define AURORA_JSON_LEXER(text, length) \
	makeJsonLexContextCstringLen(NULL, (text), (length), GetDatabaseEncoding(), true)
#else
#define AURORA_JSON_LEXER(text, length) \
	makeJsonLexContextCstringLen((text), (length), GetDatabaseEncoding(), true)
#endif

#endif
