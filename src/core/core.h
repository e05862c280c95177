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

#define AURORA_NODE_NAME_SIZE 64 /* a DNS label and its end */

/* ---- node.c ---- */

extern void aurora_node_init(void);

/* The name of this node, a DNS label. */
extern const char *aurora_node_name(void);
extern bool aurora_is_dns_label(const char *name);

/* True when the library came with shared_preload_libraries, so its processes exist. */
extern bool aurora_preloaded;

/* ---- memory.c ---- */

extern void aurora_memory_init(void);

/* Asks for shared memory, zeroed, with as many locks in a tranche of the same name. */
extern void aurora_memory_add(const char *name, Size size, int locks, void (*set_up)(void *memory));

/* Asks for shared memory that a part takes by itself when it is set up, such as hash tables. */
extern void aurora_memory_reserve(Size size);

/* ---- bell.c ---- */

/*
 * Waits for what other sessions commit. A "bell" stands for a thing of this database, by kind and
 * id. Bells share a fixed number of condition variables, so a ring may be another thing's: who
 * wakes looks again. A ring is a hint that can be lost (two-phase commit, a crash), so who waits
 * also looks by itself now and then.
 */
typedef enum AuroraBell
{
	AURORA_BELL_TOPIC,
	AURORA_BELL_QUEUE,
	AURORA_BELL_NOTE,
	AURORA_BELL_NEWS, /* anything that streams show; its value is where its commit ends in the WAL
					   */
} AuroraBell;

extern void aurora_bell_init(void);

/* How often it has rung: read it, look, and when there is nothing, wait for the next ring. */
extern uint64 aurora_bell_rings(AuroraBell kind, int64 id);

/* Sleeps until it has rung more often than "rings", or the time is over; true when it has. */
extern bool aurora_bell_wait(AuroraBell kind, int64 id, uint64 rings, long timeout_ms);

/* Rings at once; or when this transaction commits, with the greatest value that it was given. */
extern void aurora_bell_ring(AuroraBell kind, int64 id);
extern void aurora_bell_ring_at_commit(AuroraBell kind, int64 id, int64 value);

/*
 * The rings of commits in this database are also collected for one process that carries them to
 * those who wait elsewhere. It takes them in turns, each thing once with its greatest value; false
 * in "complete" when more things rang than there was room for.
 */
typedef struct AuroraRing
{
	AuroraBell kind;
	int64 id;
	int64 value;
} AuroraRing;

#define AURORA_BELL_MAX_COLLECTED 1024

/* Has the rings collected for this process, whose latch is set when there are some, until it ends.
 */
extern void aurora_bell_collect(void);
extern int aurora_bell_take_collected(AuroraRing rings[AURORA_BELL_MAX_COLLECTED], bool *complete);

/* ---- lead.c ---- */

typedef struct AuroraEpoch
{
	uint32 timeline; /* 0 for none */
	TimestampTz began_at;
	uint8 id[16];
} AuroraEpoch;

extern void aurora_lead_init(void);

/* Raises 25006 with a hint that names the lead, when this node is a standby. */
extern void aurora_lead_require(void);

/* NULL when the lead's duties may run here, else why not. */
extern char *aurora_lead_duty(void);

/* The agent has asked the peers for a newer epoch, as far as they answer. */
extern void aurora_lead_asked_peers(void);

/* The newer is the greater. */
extern int aurora_epoch_compare(const AuroraEpoch *a, const AuroraEpoch *b);

/* The epoch in this node's database. */
extern void aurora_epoch_set_own(const AuroraEpoch *epoch);
extern AuroraEpoch aurora_epoch_own(void);

/* The newest epoch that peers have answered with, and who; that of the lead that took a report. */
extern void aurora_epoch_set_newest(const AuroraEpoch *epoch, const char *from);
extern void aurora_epoch_reported_to(const AuroraEpoch *epoch);

/*
 * Is this epoch at least as new as all that is known. One that this node's database has by
 * replication counts even after a report to a newer one, which may have been another database's.
 */
extern bool aurora_epoch_is_current(const AuroraEpoch *epoch);

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
#define AURORA_SCAN_MAX_COLUMNS 24
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

/* ---- launcher.c ---- */

typedef enum AuroraProcess
{
	AURORA_PROCESS_AGENT,	/* on every node */
	AURORA_PROCESS_WORKER,	/* on the lead */
	AURORA_PROCESS_AUDITOR, /* on every node */
	AURORA_PROCESS_COURIER, /* on every node */
	AURORA_PROCESS_COUNT
} AuroraProcess;

extern void aurora_launcher_init(void);
extern const char *aurora_database_name(void);

/* Keeps the processes out of a database that a command needs for itself, and lets them in again. */
extern void aurora_launcher_hold(const char *database);
extern void aurora_launcher_release(void);

/* The first thing a process does; it ends here when there is one of its kind already. */
extern void aurora_process_begin(AuroraProcess which, Oid database);

/* Is this still the database that the configuration names. */
extern bool aurora_process_is_wanted(Oid database);

/* Waits for the latch or the time, and serves what signals ask for. */
extern void aurora_process_wait(long timeout_ms);
extern void aurora_process_serve_signals(void);
extern bool aurora_process_runs(AuroraProcess which, int *pid, uint32 *starts);

/* ---- utility.c ---- */

extern void aurora_utility_init(void);

/* Who answers CREATE EXTENSION on a standby with a sentence about this node. */
extern void aurora_utility_describe_node(char *(*describe)(void) );

/* ---- worker.c ---- */

/*
 * A duty of the lead: called in a transaction of its own with a snapshot, where lead_duty() is
 * true. Returns true when there is more to do at once; an error is logged and ends this turn only.
 */
typedef bool (*AuroraDuty)(void);

extern void aurora_worker_add_duty(const char *name, AuroraDuty run, const int *interval,
								   int unit_ms);

/*
 * Runs something in a transaction of its own, in a database that has the extension. False when it
 * says so, when the extension is not there, and after an error, which is logged.
 */
extern bool aurora_run_in_transaction(const char *name, AuroraDuty run);

/* ---- poller.c ---- */

/* What a process waits for besides its latch: file descriptors, each with a function to call. */
typedef struct AuroraPoller AuroraPoller;
typedef void (*AuroraReady)(void *argument, int fd, uint32 events);

extern AuroraPoller *aurora_poller_create(void);

/* events: EPOLLIN, EPOLLOUT. Watching a descriptor again replaces what was asked before. */
extern void aurora_poller_watch(AuroraPoller *poller, int fd, uint32 events, AuroraReady ready,
								void *argument);
extern void aurora_poller_forget(AuroraPoller *poller, int fd);

/* Waits for the latch, a descriptor or the time; calls the functions; serves signals. */
extern void aurora_poller_wait(AuroraPoller *poller, long timeout_ms);

/* Milliseconds of a clock that nobody sets, the same in all processes of this machine. */
extern int64 aurora_clock_us(void);

/* ---- link.c, query.c ---- */

/*
 * The connection of this node to the lead. It never waits: it is stepped, tries the hosts of
 * aurora.lead_conninfo in turn, and backs off when none is the lead.
 */
typedef struct AuroraLink AuroraLink;

/* The answer to a call: a row of text columns, or NULL and an error. */
typedef void (*AuroraAnswer)(void *argument, const char *const *columns, int count,
							 const char *error);

extern AuroraLink *aurora_link_create(AuroraPoller *poller);
extern void aurora_link_step(AuroraLink *link, bool wanted);
extern bool aurora_link_is_idle(const AuroraLink *link);
extern void aurora_link_call(AuroraLink *link, const char *sql, int count,
							 const char *const *parameters, AuroraAnswer answer, void *argument);

/* Gives this lead up, as one whose epoch is over, and goes on with the next host. */
extern void aurora_link_reject(AuroraLink *link, const char *reason);
extern const char *aurora_link_state(const AuroraLink *link);
extern const char *aurora_link_host(const AuroraLink *link);
extern const char *aurora_link_error(const AuroraLink *link);

/* Defines aurora.lead_conninfo. */
extern void aurora_link_init(void);

/*
 * A check of another Postgres: connects, runs one query, and tells how it went (NULL for well). The
 * conninfo has been checked by aurora_ping_conninfo_error().
 */
typedef struct AuroraPing AuroraPing;
typedef void (*AuroraPinged)(void *argument, const char *error);

extern AuroraPing *aurora_ping_start(AuroraPoller *poller, const char *conninfo,
									 AuroraPinged pinged, void *argument);
extern void aurora_ping_cancel(AuroraPing *ping);

#endif
