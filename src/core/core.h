/*
 * What every capability may use: the lead, roles, catalog look-ups and the worker loop.
 * "Lead" is the primary; "worker" is a background worker of this extension.
 */
#ifndef AURORA_CORE_H
#define AURORA_CORE_H

#include "core/compat.h"
#include "access/genam.h"
#include "access/htup.h"
#include "access/skey.h"
#include "utils/relcache.h"
#include "utils/snapshot.h"
#include "utils/timestamp.h"

#define AURORA_SCHEMA "aurora"

/* ---- lead.c ---- */

/* Raises 25006 with a hint that names the lead, when this node is a standby. */
extern void aurora_lead_require(void);

/* ---- catalog.c ---- */

/* True when CREATE EXTENSION aurora has been run in this database. */
extern bool aurora_extension_exists(void);
extern Oid aurora_relation_oid(const char *name);
extern Oid aurora_enum_oid(const char *type_name, const char *label);

/*
 * A read of one of the extension's small tables through an index, past row level security: the
 * caller checks who may see what. Keys name the table's columns. A row's values stay valid until
 * the next row is read or the scan is closed.
 */
#define AURORA_SCAN_MAX_COLUMNS 16
typedef struct AuroraScan
{
	Relation table;
	SysScanDesc scan;
	HeapTuple tuple;
	Datum values[AURORA_SCAN_MAX_COLUMNS];
	bool nulls[AURORA_SCAN_MAX_COLUMNS];
} AuroraScan;

extern void aurora_scan_open(AuroraScan *scan, const char *table, const char *index,
							 Snapshot snapshot, int nkeys, ScanKey keys);
extern bool aurora_scan_next(AuroraScan *scan);
extern void aurora_scan_close(AuroraScan *scan);

/* ---- worker.c ---- */

/*
 * A duty of a worker: called in a transaction of its own with a snapshot, on the lead only.
 * Returns true when there is more to do at once; an error is logged and ends this turn only.
 */
typedef bool (*AuroraDuty)(void);

extern void aurora_worker_init(void);
extern void aurora_worker_add_duty(const char *name, AuroraDuty run, const int *interval_s);

/* True when the library came with shared_preload_libraries, so workers exist. */
extern bool aurora_preloaded;

#endif
