/*
 * The courier: one process on every node. On the lead it gives noted changes their numbers, and
 * tells of new events those who LISTEN and those who hear of them through Redis, in batches and on
 * nobody else's commit. On a standby it hears from Redis, and rings for those who wait there.
 */
#include "events/events.h"

#include "access/xlog.h"
#include "commands/async.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "access/htup_details.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"

#define TOPIC_CHANNEL "aurora_topic"
#define WANTED_US 2000000L
#define PACE_US 2000L	  /* between two looks at what has rung */
#define SWEEP_US 1000000L /* a ring can be lost, with a prepared transaction say */
#define LONGEST_WAIT_MS 500
#define CONNECTING_WAIT_MS 20
#define MAX_CARRIERS 8
#define LOCK_TIMEOUT "500ms" /* before a deadlock with DROP EXTENSION is looked for */

typedef struct Carrier
{
	AuroraBell kind;
	const char *channel;
	AuroraRingName name;
} Carrier;

/* Shared by all processes; guarded by the lock. */
typedef struct Board
{
	LWLock *lock;
	bool lead;
	int64 notified;
	AuroraRedisStatus redis;
} Board;

static Carrier carriers[MAX_CARRIERS];
static int carrier_count = 0;
static Board *board = NULL;
static int notify_interval_ms = 0;
static int64 notified = 0;
static char redis_channel[64];

/* What was taken from the bells and those who LISTEN are not told of yet. */
static AuroraRing rings[AURORA_BELL_MAX_COLLECTED];
static int ring_count = 0;
static bool rings_complete = true;

PG_FUNCTION_INFO_V1(aurora_courier_status);

extern PGDLLEXPORT void aurora_courier_main(Datum arg);

void
aurora_courier_carry(AuroraBell kind, const char *channel, AuroraRingName name)
{
	if (carrier_count == MAX_CARRIERS)
		elog(ERROR, "too many kinds of rings");
	carriers[carrier_count++] = (Carrier) {.kind = kind, .channel = channel, .name = name};
}

/* ---- telling, on the lead ---- */

static void
keep_ring(const AuroraRing *ring)
{
	for (int i = 0; i < ring_count; i++)
		if (rings[i].kind == ring->kind && rings[i].id == ring->id)
		{
			rings[i].value = Max(rings[i].value, ring->value);
			return;
		}
	if (ring_count < AURORA_BELL_MAX_COLLECTED)
		rings[ring_count++] = *ring;
	else
		rings_complete = false;
}

static bool
is_event(const AuroraRing *ring)
{
	return ring->kind == AURORA_BELL_TOPIC && ring->id != 0;
}

/*
 * Takes what has rung, and tells Redis; true when something may be noted.
 */
static bool
take_rings(void)
{
	static AuroraRing taken[AURORA_BELL_MAX_COLLECTED];
	bool complete;
	bool noted;
	int count = aurora_bell_take_collected(taken, &complete);
	char text[48];

	rings_complete = rings_complete && complete;
	noted = !complete;
	for (int i = 0; i < count; i++)
	{
		if (taken[i].kind == AURORA_BELL_NOTE)
			noted = true;
		else if (taken[i].kind != AURORA_BELL_NEWS)
			keep_ring(&taken[i]);
		if (is_event(&taken[i]) || taken[i].kind == AURORA_BELL_NEWS)
		{
			snprintf(text, sizeof(text), INT64_FORMAT " " INT64_FORMAT, taken[i].id,
					 taken[i].value);
			aurora_redis_publish(text);
		}
	}
	aurora_redis_flush();
	return noted;
}

/*
 * Tells who listens. "*" stands for any topic, when more were told of than there was room for.
 */
static bool
notify_listeners(void)
{
	for (int i = 0; i < ring_count; i++)
	{
		if (is_event(&rings[i]))
			Async_Notify(TOPIC_CHANNEL,
						 psprintf(INT64_FORMAT " " INT64_FORMAT, rings[i].id, rings[i].value));
		for (int c = 0; c < carrier_count; c++)
		{
			char *name = rings[i].kind == carriers[c].kind ? carriers[c].name(rings[i].id) : NULL;

			if (name)
				Async_Notify(carriers[c].channel, name);
		}
	}
	if (!rings_complete)
		Async_Notify(TOPIC_CHANNEL, "*");
	return true;
}

/*
 * At once for the first of a burst, and for the rest of it in intervals: a NOTIFY is a commit of
 * its own. Returns when to come back for what is left, in microseconds; 0 for nothing left.
 */
static int64
notify_in_turn(void)
{
	static int64 next_us = 0;
	int64 now = aurora_clock_us();

	if (ring_count == 0 && rings_complete)
		return 0;
	if (now < next_us)
		return next_us - now;
	next_us = now + notify_interval_ms * INT64CONST(1000);
	if (aurora_run_in_transaction("notify listeners", notify_listeners))
		notified += ring_count;
	ring_count = 0;
	rings_complete = true;
	return 0;
}

/*
 * Publishes what is noted, and tells of that and of all else. Returns when it is to be called again
 * at the latest, in ms.
 */
static long
serve_lead(void)
{
	static int64 next_us = 0;
	static int64 sweep_us = 0;
	int64 now = aurora_clock_us();
	int64 left_us;

	if (now < next_us)
		return (long) ((next_us - now + 999) / 1000);
	next_us = now + PACE_US;
	if (take_rings() || now >= sweep_us)
	{
		sweep_us = now + SWEEP_US;
		while (aurora_run_in_transaction("publish notes", aurora_note_publish))
			CHECK_FOR_INTERRUPTS();
		(void) take_rings();
	}
	left_us = notify_in_turn();
	return left_us == 0 ? LONGEST_WAIT_MS : (long) ((left_us + 999) / 1000);
}

/* ---- hearing, on a standby ---- */

/*
 * A message is the number of a topic and that of an event, or 0 and where the commit of news ends
 * in the write-ahead log; anything else is none of ours.
 */
static void
hear(const char *text)
{
	char *end;
	int64 topic_id = strtoll(text, &end, 10);
	int64 seq;

	if (end == text || *end != ' ')
		return;
	text = end + 1;
	seq = strtoll(text, &end, 10);
	if (end == text || *end != '\0' || seq <= 0 || !RecoveryInProgress())
		return;
	if (topic_id > 0)
		aurora_wait_announce(topic_id, seq);
	else if (topic_id == 0)
		aurora_wait_announce_news(seq);
}

/* ---- the process ---- */

static void
show(bool lead)
{
	LWLockAcquire(board->lock, LW_EXCLUSIVE);
	board->lead = lead;
	board->notified = notified;
	board->redis = *aurora_redis_status();
	LWLockRelease(board->lock);
}

static void
leave(int code, Datum arg)
{
	aurora_wait_set_announced(false);
}

/*
 * One turn; returns for how long to wait, in ms.
 */
static long
turn(void)
{
	bool lead = !RecoveryInProgress();
	bool duty = lead && aurora_lead_duty() == NULL;
	long wait_ms = LONGEST_WAIT_MS;
	AuroraRedisState state;

	if (duty)
		wait_ms = serve_lead();
	aurora_redis_step(!lead, !lead || duty);
	state = aurora_redis_status()->state;
	aurora_wait_set_announced(!lead && state == AURORA_REDIS_CONNECTED);
	show(lead);
	if (state == AURORA_REDIS_CONNECTING || state == AURORA_REDIS_WAITING)
		wait_ms = Min(wait_ms, CONNECTING_WAIT_MS);
	return wait_ms;
}

void
aurora_courier_main(Datum arg)
{
	Oid database = DatumGetObjectId(arg);
	MemoryContext turn_context;
	AuroraPoller *poller;
	int64 next_check_us = 0;

	aurora_process_begin(AURORA_PROCESS_COURIER, database);
	turn_context =
		AllocSetContextCreate(TopMemoryContext, "aurora courier turn", ALLOCSET_DEFAULT_SIZES);
	/* Who publishes notes has the disk waited for all the same. */
	SetConfigOption("synchronous_commit", "off", PGC_USERSET, PGC_S_OVERRIDE);
	SetConfigOption("lock_timeout", LOCK_TIMEOUT, PGC_USERSET, PGC_S_OVERRIDE);
	snprintf(redis_channel, sizeof(redis_channel), "aurora_topic:" UINT64_FORMAT,
			 GetSystemIdentifier());
	poller = aurora_poller_create();
	aurora_redis_open(poller, redis_channel, hear);
	before_shmem_exit(leave, (Datum) 0);
	aurora_bell_collect();
	for (;;)
	{
		MemoryContextSwitchTo(turn_context);
		MemoryContextReset(turn_context);
		if (aurora_clock_us() >= next_check_us)
		{
			next_check_us = aurora_clock_us() + WANTED_US;
			if (!aurora_process_is_wanted(database))
				proc_exit(0);
		}
		aurora_poller_wait(poller, turn());
	}
}

/* ---- SQL ---- */

/*
 * courier_status(): how this node's courier is, one row.
 */
Datum
aurora_courier_status(PG_FUNCTION_ARGS)
{
	static const char *const states[] = {
		[AURORA_REDIS_OFF] = "off",
		[AURORA_REDIS_WAITING] = "away",
		[AURORA_REDIS_CONNECTING] = "connecting",
		[AURORA_REDIS_CONNECTED] = "connected",
	};
	Datum values[12];
	bool nulls[12] = {false};
	TupleDesc desc;
	Board seen;
	int pid;
	uint32 starts;

	if (board == NULL)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("there is no courier without the preloaded library"),
						errhint("Add aurora to shared_preload_libraries and restart the server.")));
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "the courier's status is a row");
	LWLockAcquire(board->lock, LW_SHARED);
	seen = *board;
	LWLockRelease(board->lock);
	nulls[0] = !aurora_process_runs(AURORA_PROCESS_COURIER, &pid, &starts);
	values[0] = Int32GetDatum(pid);
	values[1] = Int64GetDatum(starts);
	values[2] = CStringGetTextDatum(seen.lead ? "lead" : "standby");
	values[3] = Int64GetDatum(seen.notified);
	values[4] = CStringGetTextDatum(states[seen.redis.state]);
	values[5] = CStringGetTextDatum(psprintf("aurora_topic:" UINT64_FORMAT, GetSystemIdentifier()));
	values[6] = Int64GetDatum(seen.redis.connects);
	values[7] = Int64GetDatum(seen.redis.failures);
	values[8] = Int64GetDatum(seen.redis.published);
	values[9] = Int64GetDatum(seen.redis.received);
	values[10] = Int64GetDatum(seen.redis.dropped);
	nulls[11] = seen.redis.error[0] == '\0';
	values[11] = CStringGetTextDatum(seen.redis.error);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

static void
set_up_board(void *memory)
{
	board = memory;
	board->lock = &GetNamedLWLockTranche("aurora_courier")->lock;
}

void
aurora_courier_init(void)
{
	DefineCustomIntVariable(
		"aurora.notify_interval", "Time between two batches of notifications of new events.", NULL,
		&notify_interval_ms, 20, 1, 10000, PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	if (aurora_preloaded)
		aurora_memory_add("aurora_courier", sizeof(Board), 1, set_up_board);
}
