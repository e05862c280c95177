/*
 * The worker: runs the duties of the lead that capabilities add, each in a transaction of its own.
 * It takes up the lead's epoch first, and rests while lead_duty() is false.
 */
#include "core/core.h"

#include "access/xact.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "storage/ipc.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#define MAX_DUTIES 32
#define TURN_MS 500
#define TAKE_UP_S 5 /* an extension made anew, or a restored dump, begins its epoch within this */

typedef struct Duty
{
	const char *name;
	AuroraDuty run;
	const int *interval; /* time between runs; 0 for never */
	int unit_ms;
	TimestampTz next_at;
} Duty;

static Duty duties[MAX_DUTIES];
static int duty_count = 0;

extern PGDLLEXPORT void aurora_worker_main(Datum arg);

void
aurora_worker_add_duty(const char *name, AuroraDuty run, const int *interval, int unit_ms)
{
	if (duty_count == MAX_DUTIES)
		elog(ERROR, "too many duties");
	duties[duty_count++] =
		(Duty) {.name = name, .run = run, .interval = interval, .unit_ms = unit_ms};
}

bool
aurora_run_in_transaction(const char *name, AuroraDuty run)
{
	MemoryContext before = CurrentMemoryContext;
	volatile bool result = false;

	SetCurrentStatementStartTimestamp();
	pgstat_report_activity(STATE_RUNNING, name);
	PG_TRY();
	{
		StartTransactionCommand();
		PushActiveSnapshot(GetTransactionSnapshot());
		if (aurora_extension_exists() && aurora_restore_is_over())
			result = run();
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
		result = false;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(before);
	pgstat_report_stat(false);
	pgstat_report_activity(STATE_IDLE, NULL);
	return result;
}

static void
note_epoch(void)
{
	AuroraEpoch epoch = {0};
	TupleDesc columns;
	HeapTuple row;
	bool isnull;
	Datum id;

	if (SPI_execute("SELECT timeline, began_at, id FROM aurora.epoch()", false, 1) !=
			SPI_OK_SELECT ||
		SPI_processed != 1)
		elog(ERROR, "the lead's epoch could not be read");
	row = SPI_tuptable->vals[0];
	columns = SPI_tuptable->tupdesc;
	epoch.timeline = DatumGetInt32(SPI_getbinval(row, columns, 1, &isnull));
	epoch.began_at = DatumGetTimestampTz(SPI_getbinval(row, columns, 2, &isnull));
	id = SPI_getbinval(row, columns, 3, &isnull);
	if (!isnull)
		memcpy(epoch.id, DatumGetUUIDP(id)->data, sizeof(epoch.id));
	aurora_epoch_set_own(&epoch);
}

/*
 * Begins this lead's epoch when it is not begun; true when it is in force. Peers will have it by
 * replication before the agent reads it anew, so it is noted here.
 */
static bool
take_up_lead(void)
{
	Oid types[1] = {TEXTOID};
	Datum values[1] = {CStringGetTextDatum(aurora_node_name())};

	SPI_connect();
	if (SPI_execute_with_args("SELECT aurora.take_up_lead($1)", 1, types, values, NULL, false, 1) !=
		SPI_OK_SELECT)
		elog(ERROR, "the lead's epoch could not be begun");
	note_epoch();
	SPI_finish();
	return true;
}

/*
 * Milliseconds until a duty's time comes, TURN_MS at most.
 */
static long
time_to_next_duty(void)
{
	TimestampTz now = GetCurrentTimestamp();
	long least = TURN_MS;

	for (int i = 0; i < duty_count; i++)
		if (*duties[i].interval != 0)
			least = Min(least, TimestampDifferenceMilliseconds(now, duties[i].next_at));
	return Max(least, 1);
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

		if (*duty->interval == 0 || duty->next_at > now)
			continue;
		CHECK_FOR_INTERRUPTS();
		if (aurora_lead_duty() != NULL)
			return false;
		if (aurora_run_in_transaction(duty->name, duty->run))
			more = true;
		else
			duty->next_at =
				TimestampTzPlusMilliseconds(now, (int64) *duty->interval * duty->unit_ms);
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
	TimestampTz take_up_at = 0;
	bool taken_up = false;

	aurora_process_begin(AURORA_PROCESS_WORKER, database);
	turn_context =
		AllocSetContextCreate(TopMemoryContext, "aurora worker turn", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(turn_context);
	while (aurora_process_is_wanted(database))
	{
		bool more = false;

		if (aurora_lead_duty() == NULL && take_up_at <= GetCurrentTimestamp())
		{
			taken_up = aurora_run_in_transaction("take up the lead", take_up_lead);
			take_up_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
													 taken_up ? TAKE_UP_S * 1000L : TURN_MS);
		}
		MemoryContextSwitchTo(turn_context);
		if (taken_up)
			more = run_due_duties(turn_context);
		aurora_process_wait(more ? 0 : taken_up ? time_to_next_duty() : TURN_MS);
	}
	proc_exit(0);
}
