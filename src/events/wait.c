/*
 * Waiting for events: a procedure, since only a procedure may end its transaction, and so sleep
 * without a snapshot that would hold back VACUUM or make a standby cancel it.
 *
 * On the lead a waiter sleeps on the topic's bell. On a standby nobody rings at replay: there the
 * courier rings when Redis tells of an event, mostly before it is replayed; without Redis a waiter
 * looks again whenever the standby has replayed something.
 */
#include "events/events.h"

#include "access/htup_details.h"
#include "access/xlog.h"
#include "access/xlogrecovery.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "storage/lwlock.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#define SWEEP_MS 1000 /* a ring can be lost */
#define REPLAY_MS 5	  /* between looks at how far a standby is */
#define ANNOUNCED_MS 1
#define ANNOUNCED_US 2000000L /* how long a standby is looked at so closely */
#define LONGEST_MS 86400000.0
#define HINTS 1024

/* What a standby has heard of: the last number of some topics. */
typedef struct Hint
{
	int64 topic_id;
	int64 seq;
} Hint;

typedef struct WaitState
{
	LWLock *lock;
	Oid database; /* of which a standby hears from Redis; invalid for none */
	int64 news;	  /* up to where there are news, and when that was heard */
	int64 news_heard_us;
	Hint hints[HINTS];
} WaitState;

typedef struct Wait
{
	text *name;
	int32 company_id;
	int64 topic_id; /* 0 while there is no such topic */
	int64 after_seq;
	const pg_uuid_t *epoch;
	int64 last_seq;
	XLogRecPtr looked_at; /* how far this standby was at the last look */
	int64 announced; /* what this standby has heard of, and until when it is looked for closely */
	int64 close_us;
	int64 end_us;
} Wait;

static WaitState *state = NULL;

PG_FUNCTION_INFO_V1(aurora_wait_events);

/* ---- what a standby hears ---- */

void
aurora_wait_announce(int64 topic_id, int64 seq)
{
	Hint *hint = &state->hints[(uint64) topic_id % HINTS];

	LWLockAcquire(state->lock, LW_EXCLUSIVE);
	if (hint->topic_id != topic_id || hint->seq < seq)
		*hint = (Hint) {.topic_id = topic_id, .seq = seq};
	LWLockRelease(state->lock);
	aurora_bell_ring(AURORA_BELL_TOPIC, topic_id);
}

/*
 * What does not come was lost with a former lead: after a while a lower position counts again.
 */
void
aurora_wait_announce_news(int64 lsn)
{
	int64 now = aurora_clock_us();

	LWLockAcquire(state->lock, LW_EXCLUSIVE);
	if (lsn > state->news || now > state->news_heard_us + ANNOUNCED_US)
	{
		state->news = lsn;
		state->news_heard_us = now;
	}
	LWLockRelease(state->lock);
	aurora_bell_ring(AURORA_BELL_NEWS, 0);
}

bool
aurora_wait_announced_news(int64 *lsn, int64 *heard_us)
{
	bool announced;

	LWLockAcquire(state->lock, LW_SHARED);
	announced = state->database == MyDatabaseId;
	*lsn = state->news;
	*heard_us = state->news_heard_us;
	LWLockRelease(state->lock);
	return announced;
}

void
aurora_wait_set_announced(bool announced)
{
	LWLockAcquire(state->lock, LW_EXCLUSIVE);
	state->database = announced ? MyDatabaseId : InvalidOid;
	LWLockRelease(state->lock);
}

/*
 * The last number of the topic that was heard of; 0 for none.
 */
static int64
announced_seq(int64 topic_id)
{
	const Hint *hint = &state->hints[(uint64) topic_id % HINTS];
	int64 seq;

	LWLockAcquire(state->lock, LW_SHARED);
	seq = state->database == MyDatabaseId && hint->topic_id == topic_id ? hint->seq : 0;
	LWLockRelease(state->lock);
	return seq;
}

static bool
hears(void)
{
	bool announced;

	LWLockAcquire(state->lock, LW_SHARED);
	announced = state->database == MyDatabaseId;
	LWLockRelease(state->lock);
	return announced;
}

/* ---- looking ---- */

/*
 * Is there something after the cursor. Rights were looked at once: the principal that a transaction
 * assumes is gone with the first commit. Raises what is wrong with the cursor.
 */
static bool
look(Wait *wait)
{
	Snapshot snapshot;
	AuroraTopic topic;
	AuroraCursor cursor;
	bool found;

	wait->looked_at = RecoveryInProgress() ? GetXLogReplayRecPtr(NULL) : InvalidXLogRecPtr;
	PushActiveSnapshot(GetLatestSnapshot());
	snapshot = GetActiveSnapshot();
	if (wait->topic_id != 0)
		found = aurora_topic_find_by_id(wait->topic_id, snapshot, &topic);
	else
		found = wait->company_id >= 0 &&
				aurora_topic_find(wait->company_id, wait->name, snapshot, &topic);
	wait->topic_id = found ? topic.topic_id : 0;
	wait->last_seq = found ? topic.last_seq : 0;
	if (found)
	{
		cursor = aurora_cursor_check(&topic, wait->epoch, wait->after_seq, snapshot);
		if (cursor.state != AURORA_CURSOR_AHEAD)
			aurora_cursor_require(&cursor, text_to_cstring(wait->name), wait->after_seq);
	}
	PopActiveSnapshot();
	return found && topic.last_seq > wait->after_seq;
}

/*
 * Has this standby heard of an event that it has not got yet. An event that does not come, since it
 * was lost with its lead, is looked for closely for a while only.
 */
static bool
is_coming(Wait *wait)
{
	int64 announced = announced_seq(wait->topic_id);

	if (announced <= wait->last_seq)
		return false;
	if (announced != wait->announced)
	{
		wait->announced = announced;
		wait->close_us = aurora_clock_us() + ANNOUNCED_US;
	}
	return aurora_clock_us() < wait->close_us;
}

/*
 * Sleeps on a standby until there may be something: it was told so and has replayed more, or, where
 * nobody tells, it has replayed more.
 */
static void
sleep_on_standby(Wait *wait, uint64 rings)
{
	int64 end_us = Min(wait->end_us, aurora_clock_us() + SWEEP_MS * INT64CONST(1000));

	while (RecoveryInProgress())
	{
		bool told = wait->topic_id != 0 && hears();
		long left_ms = (long) ((end_us - aurora_clock_us() + 999) / 1000);
		long step_ms = is_coming(wait) ? ANNOUNCED_MS : told ? SWEEP_MS : REPLAY_MS;

		if (left_ms <= 0)
			return;
		(void) aurora_bell_wait(AURORA_BELL_TOPIC, wait->topic_id, rings, Min(step_ms, left_ms));
		rings = aurora_bell_rings(AURORA_BELL_TOPIC, wait->topic_id);
		if (GetXLogReplayRecPtr(NULL) != wait->looked_at)
			return;
	}
}

static void
sleep_until_rung(Wait *wait, uint64 rings)
{
	int64 left_us = wait->end_us - aurora_clock_us();

	if (RecoveryInProgress())
		sleep_on_standby(wait, rings);
	else if (left_us > 0)
		(void) aurora_bell_wait(AURORA_BELL_TOPIC, wait->topic_id, rings,
								Min(SWEEP_MS, (long) ((left_us + 999) / 1000)));
}

/*
 * The bell is read before the look, so that what comes in between rings.
 */
static void
wait_for_events(Wait *wait)
{
	for (;;)
	{
		int64 topic_id = wait->topic_id;
		uint64 rings = aurora_bell_rings(AURORA_BELL_TOPIC, topic_id);

		if (look(wait) || aurora_clock_us() >= wait->end_us)
			return;
		if (wait->topic_id != topic_id)
			continue; /* it was made just now, and has a bell of its own */
		SPI_commit();
		sleep_until_rung(wait, rings);
		CHECK_FOR_INTERRUPTS();
	}
}

/* ---- SQL ---- */

void
aurora_wait_require_nonatomic(FunctionCallInfo fcinfo, const char *name)
{
	if (fcinfo->context && IsA(fcinfo->context, CallContext) &&
		!castNode(CallContext, fcinfo->context)->atomic)
		return;
	ereport(ERROR, (errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
					errmsg("%s() cannot wait inside a transaction", name),
					errhint("Call it by itself, outside a transaction block and outside functions: "
							"CALL aurora.%s(...).",
							name)));
}

static int64
microseconds_of(Interval *timeout)
{
	double ms = timeout->time / 1000.0 + timeout->day * 86400000.0 + timeout->month * 2592000000.0;

	if (ms < 0 || ms > LONGEST_MS)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("a timeout is between 0 and 24 hours"),
						errhint("For example interval '30 seconds'.")));
	return (int64) (ms * 1000);
}

/*
 * What the call asks for, in memory that lasts over the commits.
 */
static void
read_arguments(FunctionCallInfo fcinfo, Wait *wait)
{
	AuroraTopic topic;
	text *company;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(2))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
						errmsg("a topic, the number to wait after and a timeout may not be null")));
	wait->name = DatumGetTextPCopy(PG_GETARG_DATUM(0));
	wait->after_seq = PG_GETARG_INT64(1);
	if (wait->after_seq < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("after_seq may not be negative"),
				 errhint("0 stands for before the first event.")));
	wait->end_us = aurora_clock_us() + microseconds_of(PG_GETARG_INTERVAL_P(2));
	if (!PG_ARGISNULL(3))
	{
		pg_uuid_t *epoch = palloc(sizeof(pg_uuid_t));

		*epoch = *PG_GETARG_UUID_P(3);
		wait->epoch = epoch;
	}
	company = PG_ARGISNULL(4) ? NULL : PG_GETARG_TEXT_PP(4);
	if (aurora_topic_to_await(wait->name, company, GetActiveSnapshot(), &wait->company_id, &topic))
		wait->topic_id = topic.topic_id;
}

/*
 * wait_events(topic, after_seq, timeout, epoch, company, INOUT last_seq)
 */
Datum
aurora_wait_events(PG_FUNCTION_ARGS)
{
	Wait wait = {0};
	bool nulls[1] = {false};
	Datum values[1];
	TupleDesc desc;

	if (state == NULL)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("waiting needs the preloaded library"),
						errhint("Add aurora to shared_preload_libraries and restart the server.")));
	aurora_wait_require_nonatomic(fcinfo, "wait_events");
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "wait_events() gives a row");
	desc = BlessTupleDesc(desc);
	PushActiveSnapshot(GetTransactionSnapshot());
	read_arguments(fcinfo, &wait);
	PopActiveSnapshot();
	SPI_connect_ext(SPI_OPT_NONATOMIC);
	wait_for_events(&wait);
	SPI_finish();
	values[0] = Int64GetDatum(wait.last_seq);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(desc, values, nulls)));
}

static void
set_up_state(void *memory)
{
	state = memory;
	state->lock = &GetNamedLWLockTranche("aurora_wait")->lock;
}

void
aurora_wait_init(void)
{
	if (aurora_preloaded)
		aurora_memory_add("aurora_wait", sizeof(WaitState), 1, set_up_state);
}
