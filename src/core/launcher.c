/*
 * The launcher: which background processes run, and in which database.
 *
 * One "launcher" without a database runs on every node from the moment it answers reads. It watches
 * aurora.database and keeps one process of each kind in it: the "agent", the "auditor" and the
 * "courier" on every node, the "worker" on the lead only, so that a promoted standby gets its
 * worker by itself. They never stand in the way of DROP, RENAME or copying of their database: such
 * a command has them leave first.
 */
#include "core/core.h"

#include <signal.h>

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_database.h"
#include "catalog/pg_authid.h"
#include "commands/dbcommands.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "storage/shmem.h"
#include "tcop/tcopprot.h"
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"
#include "utils/wait_event.h"

#define TURN_MS 500		/* a promotion is noticed within this */
#define RESTART_MS 1000 /* between two starts of one process */
#define RELAUNCH_S 1
#define HOLD_MS 15000 /* how long a command on the database keeps the processes out */

typedef struct Kind
{
	const char *type;
	const char *main;
	bool on_standby;
} Kind;

static const Kind kinds[AURORA_PROCESS_COUNT] = {
	[AURORA_PROCESS_AGENT] = {"aurora agent", "aurora_agent_main", true},
	[AURORA_PROCESS_WORKER] = {"aurora worker", "aurora_worker_main", false},
	[AURORA_PROCESS_AUDITOR] = {"aurora auditor", "aurora_auditor_main", true},
	[AURORA_PROCESS_COURIER] = {"aurora courier", "aurora_courier_main", true},
};

typedef struct Slot
{
	pid_t pid; /* 0 when none runs */
	Oid database;
	uint32 starts;
} Slot;

/* Shared by all processes; guarded by the lock. */
typedef struct LauncherState
{
	LWLock *lock;
	TimestampTz held_until; /* nothing is started before */
	Slot slots[AURORA_PROCESS_COUNT];
} LauncherState;

static char *database_name = NULL;
static LauncherState *state = NULL;

extern PGDLLEXPORT void aurora_launcher_main(Datum arg);

/* ---- shared memory ---- */

static void
set_up_state(void *memory)
{
	state = memory;
	state->lock = &GetNamedLWLockTranche("aurora_launcher")->lock;
}

/* ---- commands on the database ---- */

/*
 * Ends what agents of other nodes have open in the database; they come back by themselves.
 */
static void
end_links(Oid database)
{
	char *sql = psprintf("SELECT pg_catalog.pg_terminate_backend(a.pid) "
						 "FROM pg_catalog.pg_stat_activity a "
						 "JOIN pg_catalog.pg_roles r ON r.oid = a.usesysid "
						 "JOIN pg_catalog.pg_roles g ON g.rolname = 'aurora_node' "
						 "WHERE a.datid = %u AND NOT r.rolsuper "
						 "AND pg_catalog.pg_has_role(r.oid, g.oid, 'MEMBER')",
						 database);
	Oid user;
	int context;

	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(BOOTSTRAP_SUPERUSERID, context | SECURITY_LOCAL_USERID_CHANGE);
	PushActiveSnapshot(GetTransactionSnapshot());
	SPI_connect();
	if (SPI_execute(sql, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "the nodes' connections could not be ended");
	SPI_finish();
	PopActiveSnapshot();
	SetUserIdAndSecContext(user, context);
}

void
aurora_launcher_hold(const char *database)
{
	Oid oid = database ? get_database_oid(database, true) : InvalidOid;

	if (!OidIsValid(oid) || !(superuser() || AURORA_OWNS_DATABASE(oid)))
		return; /* the command will be refused */
	LWLockAcquire(state->lock, LW_EXCLUSIVE);
	state->held_until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), HOLD_MS);
	for (int i = 0; i < AURORA_PROCESS_COUNT; i++)
		if (state->slots[i].pid != 0 && state->slots[i].database == oid)
			kill(state->slots[i].pid, SIGTERM);
	LWLockRelease(state->lock);
	end_links(oid);
}

void
aurora_launcher_release(void)
{
	LWLockAcquire(state->lock, LW_EXCLUSIVE);
	state->held_until = 0;
	LWLockRelease(state->lock);
}

/* ---- what all background processes do ---- */

void
aurora_process_wait(long timeout_ms)
{
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, timeout_ms,
					 PG_WAIT_EXTENSION);
	aurora_process_serve_signals();
}

void
aurora_process_serve_signals(void)
{
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
}

static void
set_up_signals(void)
{
	pqsignal(SIGTERM, die);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	BackgroundWorkerUnblockSignals();
}

static void
leave_slot(int code, Datum which)
{
	Slot *slot = &state->slots[DatumGetInt32(which)];

	LWLockAcquire(state->lock, LW_EXCLUSIVE);
	if (slot->pid == MyProcPid)
	{
		slot->pid = 0;
		slot->database = InvalidOid;
	}
	LWLockRelease(state->lock);
}

static bool
enter_slot(AuroraProcess which, Oid database)
{
	Slot *slot = &state->slots[which];
	bool entered;

	LWLockAcquire(state->lock, LW_EXCLUSIVE);
	entered = slot->pid == 0 && state->held_until <= GetCurrentTimestamp();
	if (entered)
	{
		slot->pid = MyProcPid;
		slot->database = database;
		slot->starts++;
	}
	LWLockRelease(state->lock);
	if (entered)
		before_shmem_exit(leave_slot, Int32GetDatum((int32) which));
	return entered;
}

void
aurora_process_begin(AuroraProcess which, Oid database)
{
	set_up_signals();
	if (!enter_slot(which, database))
		proc_exit(0);
	BackgroundWorkerInitializeConnectionByOid(database, InvalidOid, 0);
	SetConfigOption("default_transaction_isolation", "read committed", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("search_path", "pg_catalog, pg_temp", PGC_SUSET, PGC_S_OVERRIDE);
}

bool
aurora_process_is_wanted(Oid database)
{
	Oid configured;

	StartTransactionCommand();
	configured = get_database_oid(database_name, true);
	CommitTransactionCommand();
	return configured == database;
}

bool
aurora_process_runs(AuroraProcess which, int *pid, uint32 *starts)
{
	LWLockAcquire(state->lock, LW_SHARED);
	*pid = state->slots[which].pid;
	*starts = state->slots[which].starts;
	LWLockRelease(state->lock);
	return *pid != 0;
}

const char *
aurora_database_name(void)
{
	return database_name;
}

/* ---- the launcher ---- */

static bool
may_start(AuroraProcess which)
{
	bool may;

	if (!kinds[which].on_standby && RecoveryInProgress())
		return false;
	LWLockAcquire(state->lock, LW_SHARED);
	may = state->slots[which].pid == 0 && state->held_until <= GetCurrentTimestamp();
	LWLockRelease(state->lock);
	return may;
}

/*
 * The configured database, or InvalidOid when there is none of that name. Reads pg_database in heap
 * order: a process without a database cannot open its indexes.
 */
static Oid
configured_database(void)
{
	Oid database = InvalidOid;
	Relation catalog;
	TableScanDesc scan;
	HeapTuple tuple;

	StartTransactionCommand();
	catalog = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(catalog, 0, NULL);
	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		Form_pg_database row = (Form_pg_database) GETSTRUCT(tuple);

		if (row->datallowconn && strcmp(NameStr(row->datname), database_name) == 0)
			database = row->oid;
	}
	table_endscan(scan);
	table_close(catalog, AccessShareLock);
	CommitTransactionCommand();
	return database;
}

static bool
start_process(const Kind *kind, Oid database)
{
	BackgroundWorker worker = {0};
	BackgroundWorkerHandle *handle;
	pid_t pid;

	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time =
		kind->on_standby ? BgWorkerStart_ConsistentState : BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	worker.bgw_main_arg = ObjectIdGetDatum(database);
	worker.bgw_notify_pid = MyProcPid;
	strlcpy(worker.bgw_library_name, "aurora", BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, kind->main, BGW_MAXLEN);
	snprintf(worker.bgw_name, BGW_MAXLEN, "%s: %s", kind->type, database_name);
	strlcpy(worker.bgw_type, kind->type, BGW_MAXLEN);
	if (!RegisterDynamicBackgroundWorker(&worker, &handle))
		return false;
	WaitForBackgroundWorkerStartup(handle, &pid);
	return true;
}

/*
 * Starts what should run and does not, each kind at most once in a while.
 */
static void
start_missing(void)
{
	static TimestampTz next_start_at[AURORA_PROCESS_COUNT];
	static bool complained = false;

	for (int i = 0; i < AURORA_PROCESS_COUNT; i++)
	{
		TimestampTz now = GetCurrentTimestamp();
		Oid database;

		if (next_start_at[i] > now || !may_start(i))
			continue;
		next_start_at[i] = TimestampTzPlusMilliseconds(now, RESTART_MS);
		database = configured_database();
		if (OidIsValid(database) && !start_process(&kinds[i], database) && !complained)
		{
			ereport(LOG, (errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
						  errmsg("the %s could not be started", kinds[i].type),
						  errhint("Raise max_worker_processes.")));
			complained = true;
		}
	}
}

void
aurora_launcher_main(Datum arg)
{
	set_up_signals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	for (;;)
	{
		start_missing();
		aurora_process_wait(TURN_MS);
	}
}

void
aurora_launcher_init(void)
{
	BackgroundWorker launcher = {0};

	DefineCustomStringVariable("aurora.database",
							   "The one database in which aurora's background processes run.", NULL,
							   &database_name, "postgres", PGC_SIGHUP, 0, NULL, NULL, NULL);
	if (!aurora_preloaded)
		return;
	aurora_memory_add("aurora_launcher", sizeof(LauncherState), 1, set_up_state);
	launcher.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	launcher.bgw_start_time = BgWorkerStart_ConsistentState;
	launcher.bgw_restart_time = RELAUNCH_S;
	strlcpy(launcher.bgw_library_name, "aurora", BGW_MAXLEN);
	strlcpy(launcher.bgw_function_name, "aurora_launcher_main", BGW_MAXLEN);
	strlcpy(launcher.bgw_name, "aurora launcher", BGW_MAXLEN);
	strlcpy(launcher.bgw_type, "aurora launcher", BGW_MAXLEN);
	RegisterBackgroundWorker(&launcher);
}
