/*
 * The worker loop: how background work of the lead is started, run and stopped.
 *
 * One "launcher" without a database watches aurora.database and starts one "worker" in it, which
 * runs the duties that capabilities add. Both start when recovery has finished, so a standby has
 * none and a promoted one gets them by itself. The worker never stands in the way of DROP, RENAME
 * or copying of its database: such a command has it leave first.
 */
#include "core/core.h"

#include <signal.h>

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "fmgr.h"
#include "utils/acl.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "storage/shmem.h"
#include "tcop/utility.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/wait_event.h"

#define MAX_DUTIES 16
#define RESTART_S 5
#define HOLD_MS 15000 /* how long a command on the database keeps the worker out */

typedef struct Duty
{
	const char *name;
	AuroraDuty run;
	const int *interval_s; /* seconds between runs; 0 for never */
	TimestampTz next_at;
} Duty;

/* Shared by all processes; guarded by the lock. */
typedef struct WorkerState
{
	LWLock *lock;
	pid_t worker_pid; /* 0 when none runs */
	Oid worker_database;
	TimestampTz held_until; /* no worker is started before */
} WorkerState;

bool aurora_preloaded = false;

static char *worker_database_name = NULL;
static Duty duties[MAX_DUTIES];
static int duty_count = 0;
static WorkerState *state = NULL;
static shmem_request_hook_type previous_shmem_request_hook = NULL;
static shmem_startup_hook_type previous_shmem_startup_hook = NULL;
static ProcessUtility_hook_type previous_utility_hook = NULL;

PG_FUNCTION_INFO_V1(aurora_announce_missing);

extern PGDLLEXPORT void aurora_launcher_main(Datum arg);
extern PGDLLEXPORT void aurora_worker_main(Datum arg);

void
aurora_worker_add_duty(const char *name, AuroraDuty run, const int *interval_s)
{
	if (duty_count == MAX_DUTIES)
		elog(ERROR, "too many duties");
	duties[duty_count++] = (Duty) {.name = name, .run = run, .interval_s = interval_s};
}

/* ---- shared memory ---- */

static void
request_shared_memory(void)
{
	if (previous_shmem_request_hook)
		previous_shmem_request_hook();
	RequestAddinShmemSpace(sizeof(WorkerState));
	RequestNamedLWLockTranche("aurora_worker", 1);
}

static void
set_up_shared_memory(void)
{
	bool found;

	if (previous_shmem_startup_hook)
		previous_shmem_startup_hook();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	state = ShmemInitStruct("aurora worker", sizeof(WorkerState), &found);
	if (!found)
	{
		memset(state, 0, sizeof(WorkerState));
		state->lock = &GetNamedLWLockTranche("aurora_worker")->lock;
	}
	LWLockRelease(AddinShmemInitLock);
}

/* ---- commands on the worker's database ---- */

/*
 * Has the worker leave its database and keeps it out for a while, when the name is its database's.
 */
static void
hold_worker(const char *database)
{
	Oid oid = database ? get_database_oid(database, true) : InvalidOid;

	if (!OidIsValid(oid) || !(superuser() || AURORA_OWNS_DATABASE(oid)))
		return; /* the command will be refused */
	LWLockAcquire(state->lock, LW_EXCLUSIVE);
	if (state->worker_database == oid || state->worker_pid == 0)
		state->held_until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), HOLD_MS);
	if (state->worker_database == oid && state->worker_pid != 0)
		kill(state->worker_pid, SIGTERM);
	LWLockRelease(state->lock);
}

static void
release_worker(void)
{
	LWLockAcquire(state->lock, LW_EXCLUSIVE);
	state->held_until = 0;
	LWLockRelease(state->lock);
}

static const char *
option_value(List *options, const char *name)
{
	ListCell *lc;

	foreach (lc, options)
	{
		DefElem *option = lfirst_node(DefElem, lc);

		if (strcmp(option->defname, name) == 0 && option->arg)
			return defGetString(option);
	}
	return NULL;
}

/*
 * The database that a command needs nobody connected to, or NULL.
 */
static const char *
database_wanted_alone(Node *command)
{
	switch (nodeTag(command))
	{
		case T_DropdbStmt:
			return ((DropdbStmt *) command)->dbname;
		case T_CreatedbStmt:
			return option_value(((CreatedbStmt *) command)->options, "template");
		case T_RenameStmt:
			return ((RenameStmt *) command)->renameType == OBJECT_DATABASE
					   ? ((RenameStmt *) command)->subname
					   : NULL;
		case T_AlterDatabaseStmt:
			return option_value(((AlterDatabaseStmt *) command)->options, "tablespace")
					   ? ((AlterDatabaseStmt *) command)->dbname
					   : NULL;
		default:
			return NULL;
	}
}

static void
run_utility(PlannedStmt *statement, const char *query, bool read_only_tree,
			ProcessUtilityContext context, ParamListInfo params, QueryEnvironment *environment,
			DestReceiver *receiver, QueryCompletion *completion)
{
	const char *database = database_wanted_alone(statement->utilityStmt);

	if (database)
		hold_worker(database);
	PG_TRY();
	{
		if (previous_utility_hook)
			previous_utility_hook(statement, query, read_only_tree, context, params, environment,
								  receiver, completion);
		else
			standard_ProcessUtility(statement, query, read_only_tree, context, params, environment,
									receiver, completion);
	}
	PG_FINALLY();
	{
		if (database)
			release_worker();
	}
	PG_END_TRY();
}

/* ---- the launcher ---- */

static bool
worker_may_start(void)
{
	bool may;

	LWLockAcquire(state->lock, LW_SHARED);
	may = state->worker_pid == 0 && state->held_until <= GetCurrentTimestamp();
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

		if (row->datallowconn && strcmp(NameStr(row->datname), worker_database_name) == 0)
			database = row->oid;
	}
	table_endscan(scan);
	table_close(catalog, AccessShareLock);
	CommitTransactionCommand();
	return database;
}

static bool
start_worker(Oid database)
{
	BackgroundWorker worker = {0};
	BackgroundWorkerHandle *handle;
	pid_t pid;

	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	worker.bgw_main_arg = ObjectIdGetDatum(database);
	worker.bgw_notify_pid = MyProcPid;
	strlcpy(worker.bgw_library_name, "aurora", BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, "aurora_worker_main", BGW_MAXLEN);
	snprintf(worker.bgw_name, BGW_MAXLEN, "aurora worker: %s", worker_database_name);
	strlcpy(worker.bgw_type, "aurora worker", BGW_MAXLEN);
	if (!RegisterDynamicBackgroundWorker(&worker, &handle))
		return false;
	WaitForBackgroundWorkerStartup(handle, &pid);
	return true;
}

/*
 * Waits for the latch or the time, and takes up a changed configuration.
 */
static void
wait_a_turn(long timeout_ms)
{
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, timeout_ms,
					 PG_WAIT_EXTENSION);
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

void
aurora_launcher_main(Datum arg)
{
	bool complained = false;

	set_up_signals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	for (;;)
	{
		if (worker_may_start())
		{
			Oid database = configured_database();

			if (OidIsValid(database) && !start_worker(database) && !complained)
			{
				ereport(LOG, (errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
							  errmsg("aurora's worker could not be started"),
							  errhint("Raise max_worker_processes.")));
				complained = true;
			}
		}
		wait_a_turn(RESTART_S * 1000L);
	}
}

/* ---- the worker ---- */

static void
forget_worker(int code, Datum arg)
{
	LWLockAcquire(state->lock, LW_EXCLUSIVE);
	if (state->worker_pid == MyProcPid)
	{
		state->worker_pid = 0;
		state->worker_database = InvalidOid;
	}
	LWLockRelease(state->lock);
}

/*
 * Makes this process the one worker; false when there is one already or it is to stay out.
 */
static bool
become_worker(Oid database)
{
	bool became;

	LWLockAcquire(state->lock, LW_EXCLUSIVE);
	became = state->worker_pid == 0 && state->held_until <= GetCurrentTimestamp();
	if (became)
	{
		state->worker_pid = MyProcPid;
		state->worker_database = database;
	}
	LWLockRelease(state->lock);
	if (became)
		before_shmem_exit(forget_worker, 0);
	return became;
}

static bool
still_configured(Oid database)
{
	Oid configured;

	StartTransactionCommand();
	configured = get_database_oid(worker_database_name, true);
	CommitTransactionCommand();
	return configured == database;
}

/*
 * Runs one duty in a transaction of its own; an error is logged and ends this run only.
 */
static bool
run_duty(Duty *duty)
{
	volatile bool more = false;

	SetCurrentStatementStartTimestamp();
	pgstat_report_activity(STATE_RUNNING, duty->name);
	PG_TRY();
	{
		StartTransactionCommand();
		PushActiveSnapshot(GetTransactionSnapshot());
		if (aurora_extension_exists())
			more = duty->run();
		PopActiveSnapshot();
		CommitTransactionCommand();
	}
	PG_CATCH();
	{
		HOLD_INTERRUPTS();
		EmitErrorReport();
		AbortCurrentTransaction();
		FlushErrorState();
		RESUME_INTERRUPTS();
		more = false;
	}
	PG_END_TRY();
	pgstat_report_stat(false);
	pgstat_report_activity(STATE_IDLE, NULL);
	return more;
}

/*
 * Runs the duties whose time has come; true when one has more to do at once.
 */
static bool
run_due_duties(MemoryContext turn_context)
{
	bool more = false;

	for (int i = 0; i < duty_count; i++)
	{
		Duty *duty = &duties[i];
		TimestampTz now = GetCurrentTimestamp();

		if (*duty->interval_s == 0 || duty->next_at > now)
			continue;
		CHECK_FOR_INTERRUPTS();
		if (run_duty(duty))
			more = true;
		else
			duty->next_at = TimestampTzPlusMilliseconds(now, *duty->interval_s * 1000L);
		MemoryContextSwitchTo(turn_context);
		MemoryContextReset(turn_context);
	}
	return more;
}

void
aurora_worker_main(Datum arg)
{
	Oid database = DatumGetObjectId(arg);
	MemoryContext turn_context;

	set_up_signals();
	if (!become_worker(database))
		proc_exit(0);
	BackgroundWorkerInitializeConnectionByOid(database, InvalidOid, 0);
	SetConfigOption("default_transaction_isolation", "read committed", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("search_path", "pg_catalog, pg_temp", PGC_SUSET, PGC_S_OVERRIDE);
	turn_context =
		AllocSetContextCreate(TopMemoryContext, "aurora worker turn", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(turn_context);
	while (still_configured(database))
		wait_a_turn(run_due_duties(turn_context) ? 0 : 1000L);
	proc_exit(0);
}

/* ---- what CREATE EXTENSION tells ---- */

static bool announce_at_commit = false;

/*
 * Tells at commit, since CREATE EXTENSION silences notices while its script runs.
 */
static void
announce(XactEvent event, void *arg)
{
	bool pending = announce_at_commit;

	if (event != XACT_EVENT_PRE_COMMIT && event != XACT_EVENT_ABORT)
		return;
	announce_at_commit = false;
	if (!pending || event == XACT_EVENT_ABORT)
		return;
	if (!aurora_preloaded)
		ereport(NOTICE,
				(errmsg("aurora is not in shared_preload_libraries: its background worker "
						"does not run"),
				 errhint("Everything else works. Add aurora to shared_preload_libraries and "
						 "restart to have the worker.")));
	else if (get_database_oid(worker_database_name, true) != MyDatabaseId)
		ereport(NOTICE,
				(errmsg("aurora's background worker runs in database \"%s\"", worker_database_name),
				 errhint("To have it here, set aurora.database to this one and reload.")));
}

Datum
aurora_announce_missing(PG_FUNCTION_ARGS)
{
	announce_at_commit = true;
	PG_RETURN_VOID();
}

/* ---- setting up ---- */

static void
register_launcher(void)
{
	BackgroundWorker launcher = {0};

	launcher.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	launcher.bgw_start_time = BgWorkerStart_RecoveryFinished;
	launcher.bgw_restart_time = RESTART_S;
	strlcpy(launcher.bgw_library_name, "aurora", BGW_MAXLEN);
	strlcpy(launcher.bgw_function_name, "aurora_launcher_main", BGW_MAXLEN);
	strlcpy(launcher.bgw_name, "aurora launcher", BGW_MAXLEN);
	strlcpy(launcher.bgw_type, "aurora launcher", BGW_MAXLEN);
	RegisterBackgroundWorker(&launcher);
}

/*
 * Without preloading there is no shared memory and no worker; only the settings exist.
 */
void
aurora_worker_init(void)
{
	DefineCustomStringVariable("aurora.database",
							   "The one database in which aurora's background workers run.", NULL,
							   &worker_database_name, "postgres", PGC_SIGHUP, 0, NULL, NULL, NULL);
	RegisterXactCallback(announce, NULL);
	if (!aurora_preloaded)
		return;
	previous_shmem_request_hook = shmem_request_hook;
	shmem_request_hook = request_shared_memory;
	previous_shmem_startup_hook = shmem_startup_hook;
	shmem_startup_hook = set_up_shared_memory;
	previous_utility_hook = ProcessUtility_hook;
	ProcessUtility_hook = run_utility;
	register_launcher();
}
