/*
 * Bells: how sessions that wait learn of what others commit, without polling and without NOTIFY's
 * lock on each commit. Also the collection of rings for the process that carries them elsewhere.
 */
#include "core/core.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/condition_variable.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "utils/memutils.h"
#include "utils/wait_event.h"

#define BELLS 256
#define ROOM 2048 /* slots of the table of collected rings; half of them are used at most */

typedef struct Bell
{
	ConditionVariable condition;
	pg_atomic_uint64 rings;
} Bell;

typedef struct Collected
{
	bool used;
	AuroraRing ring;
} Collected;

typedef struct BellState
{
	LWLock *lock; /* guards what is collected */
	Oid database; /* whose rings are collected; invalid for none */
	int collector;
	int count;
	bool overflowed;
	Collected collected[ROOM];
	Bell news; /* that of AURORA_BELL_NEWS, which nothing else rings */
	Bell bells[BELLS];
} BellState;

/* What this transaction will ring. */
typedef struct Pending
{
	AuroraRing *rings;
	int count;
	int room;
} Pending;

static BellState *state = NULL;
static Pending pending;

static uint32
hash_of(AuroraBell kind, int64 id)
{
	return hash_combine(hash_combine(murmurhash32(MyDatabaseId), murmurhash32((uint32) kind)),
						murmurhash32((uint32) id ^ (uint32) (id >> 32)));
}

static Bell *
bell_of(AuroraBell kind, int64 id)
{
	return kind == AURORA_BELL_NEWS ? &state->news : &state->bells[hash_of(kind, id) % BELLS];
}

static void
require_memory(void)
{
	if (state == NULL)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("waiting needs the preloaded library"),
						errhint("Add aurora to shared_preload_libraries and restart the server.")));
}

/* ---- waiting and ringing ---- */

uint64
aurora_bell_rings(AuroraBell kind, int64 id)
{
	require_memory();
	return pg_atomic_read_u64(&bell_of(kind, id)->rings);
}

bool
aurora_bell_wait(AuroraBell kind, int64 id, uint64 rings, long timeout_ms)
{
	int64 end = aurora_clock_us() + timeout_ms * INT64CONST(1000);
	Bell *bell;
	bool rung;

	require_memory();
	bell = bell_of(kind, id);
	ConditionVariablePrepareToSleep(&bell->condition);
	while (!(rung = pg_atomic_read_u64(&bell->rings) != rings))
	{
		int64 left_us = end - aurora_clock_us();

		if (left_us <= 0)
			break;
		(void) ConditionVariableTimedSleep(&bell->condition, (long) ((left_us + 999) / 1000),
										   PG_WAIT_EXTENSION);
	}
	ConditionVariableCancelSleep();
	return rung;
}

void
aurora_bell_ring(AuroraBell kind, int64 id)
{
	Bell *bell;

	if (state == NULL)
		return;
	bell = bell_of(kind, id);
	pg_atomic_fetch_add_u64(&bell->rings, 1);
	ConditionVariableBroadcast(&bell->condition);
}

/*
 * Cannot fail for lack of memory at commit, since room is made here.
 */
void
aurora_bell_ring_at_commit(AuroraBell kind, int64 id, int64 value)
{
	if (state == NULL)
		return;
	for (int i = pending.count - 1; i >= 0 && i >= pending.count - 16; i--)
		if (pending.rings[i].kind == kind && pending.rings[i].id == id)
		{
			pending.rings[i].value = Max(pending.rings[i].value, value);
			return;
		}
	if (pending.count == pending.room)
	{
		int room = Max(16, 2 * pending.room);

		pending.rings = pending.rings
							? repalloc(pending.rings, room * sizeof(AuroraRing))
							: MemoryContextAlloc(TopMemoryContext, room * sizeof(AuroraRing));
		pending.room = room;
	}
	pending.rings[pending.count++] = (AuroraRing) {.kind = kind, .id = id, .value = value};
}

/* ---- collecting ---- */

/*
 * Notes a ring for the collector; the caller holds the lock.
 */
static void
collect(const AuroraRing *ring)
{
	uint32 slot = hash_of(ring->kind, ring->id) % ROOM;

	for (;; slot = (slot + 1) % ROOM)
	{
		Collected *collected = &state->collected[slot];

		if (collected->used && collected->ring.kind == ring->kind && collected->ring.id == ring->id)
		{
			collected->ring.value = Max(collected->ring.value, ring->value);
			return;
		}
		if (collected->used)
			continue;
		if (state->count == AURORA_BELL_MAX_COLLECTED)
		{
			state->overflowed = true;
			return;
		}
		collected->used = true;
		collected->ring = *ring;
		state->count++;
		return;
	}
}

/*
 * Hands the pending rings to the collector of this database, when it has one.
 */
static void
collect_pending(void)
{
	int collector = -1;

	LWLockAcquire(state->lock, LW_EXCLUSIVE);
	if (state->database == MyDatabaseId)
	{
		if (state->count == 0 && !state->overflowed)
			collector = state->collector;
		for (int i = 0; i < pending.count; i++)
			collect(&pending.rings[i]);
	}
	LWLockRelease(state->lock);
	if (collector >= 0)
		SetLatch(&ProcGlobal->allProcs[collector].procLatch);
}

static void
ring_pending(XactEvent event, void *arg)
{
	if (pending.count == 0)
		return;
	if (event == XACT_EVENT_COMMIT)
	{
		for (int i = 0; i < pending.count; i++)
		{
			if (pending.rings[i].kind == AURORA_BELL_NEWS)
				pending.rings[i].value = (int64) XactLastCommitEnd;
			aurora_bell_ring(pending.rings[i].kind, pending.rings[i].id);
		}
		if (state->database == MyDatabaseId)
			collect_pending();
	}
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		pending.count = 0;
}

static void
stop_collecting(int code, Datum arg)
{
	LWLockAcquire(state->lock, LW_EXCLUSIVE);
	if (state->collector == AURORA_PROC_NUMBER)
		state->database = InvalidOid;
	LWLockRelease(state->lock);
}

void
aurora_bell_collect(void)
{
	require_memory();
	LWLockAcquire(state->lock, LW_EXCLUSIVE);
	state->database = MyDatabaseId;
	state->collector = AURORA_PROC_NUMBER;
	state->count = 0;
	state->overflowed = true; /* what rang before is not known */
	memset(state->collected, 0, sizeof(state->collected));
	LWLockRelease(state->lock);
	before_shmem_exit(stop_collecting, (Datum) 0);
}

int
aurora_bell_take_collected(AuroraRing rings[AURORA_BELL_MAX_COLLECTED], bool *complete)
{
	int count = 0;

	LWLockAcquire(state->lock, LW_EXCLUSIVE);
	*complete = !state->overflowed;
	if (state->count > 0)
	{
		for (int i = 0; i < ROOM; i++)
			if (state->collected[i].used)
				rings[count++] = state->collected[i].ring;
		memset(state->collected, 0, sizeof(state->collected));
	}
	state->count = 0;
	state->overflowed = false;
	LWLockRelease(state->lock);
	return count;
}

/* ---- setting up ---- */

static void
set_up_bell(Bell *bell)
{
	ConditionVariableInit(&bell->condition);
	pg_atomic_init_u64(&bell->rings, 0);
}

static void
set_up_state(void *memory)
{
	state = memory;
	state->lock = &GetNamedLWLockTranche("aurora_bell")->lock;
	if (IsUnderPostmaster)
		return;
	set_up_bell(&state->news);
	for (int i = 0; i < BELLS; i++)
		set_up_bell(&state->bells[i]);
}

void
aurora_bell_init(void)
{
	if (!aurora_preloaded)
		return;
	aurora_memory_add("aurora_bell", sizeof(BellState), 1, set_up_state);
	RegisterXactCallback(ring_pending, NULL);
}
