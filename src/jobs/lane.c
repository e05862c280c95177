/*
 * What all sessions know of queues, in shared memory: the marks of lanes, the clocks of fair
 * queueing, when something falls due, and counters. All of it can be lost: a mark is then found
 * again by reading, a clock goes on from the jobs that wait.
 */
#include "jobs/jobs.h"

#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define MAX_QUEUES 1024 /* of all databases */
#define MAX_TAGS 16384	/* of companies in lanes; past ones are forgotten first */
#define RECENT 64		/* arrivals of a lane that a read can tell apart */
#define GIVE_WAY_EVERY 4
#define SETTLING_US 5000000 /* a session that failed while settling stands in the way that long */

typedef struct QueueKey
{
	Oid database;
	int32 queue_id;
} QueueKey;

typedef struct Lane
{
	int64 mark;
	uint64 arrivals;
	int64 recent[RECENT]; /* positions of the last arrivals, in a ring */
	int64 virtual_time;	  /* greatest position taken; 0 until it is known */
	AuroraJobCounts counts;
} Lane;

typedef struct Queue
{
	QueueKey key;
	TimestampTz next_due; /* 0: not known */
	TimestampTz due_since_settling;
	int64 settling_until_us;
	uint32 turn;
	Lane lanes[AURORA_JOB_CLASS_COUNT];
} Queue;

typedef struct TagKey
{
	QueueKey queue;
	int32 class;
	int32 company_id;
} TagKey;

typedef struct Tag
{
	TagKey key;
	int64 finish; /* where the company's next job starts, at the least */
} Tag;

/* What this transaction, or a part of it, does to a lane: told to the others when it ends. */
typedef struct Pending
{
	int32 queue_id;
	AuroraJobClass class;
	int nesting;	 /* of the subtransaction */
	int64 arrived;	 /* least position; PG_INT64_MAX for none */
	int64 left;		 /* least position taken; it arrives again when the transaction fails */
	TimestampTz due; /* 0 for none */
	AuroraJobCounts counts;
} Pending;

static LWLock *lock = NULL; /* guards all of it; held for moments */
static HTAB *queues = NULL;
static HTAB *tags = NULL;
static Pending *pending = NULL;
static int pending_count = 0;
static int pending_room = 0;

/* ---- finding ---- */

static QueueKey
key_of(int32 queue_id)
{
	return (QueueKey) {.database = MyDatabaseId, .queue_id = queue_id};
}

/*
 * Forgets a queue, of another database when there is one, so that there is room.
 */
static void
forget_some_queue(void)
{
	HASH_SEQ_STATUS all;
	Queue *queue;
	QueueKey victim = {0};

	hash_seq_init(&all, queues);
	while ((queue = hash_seq_search(&all)) != NULL)
		if (victim.queue_id == 0 || queue->key.database != MyDatabaseId)
			victim = queue->key;
	hash_search(queues, &victim, HASH_REMOVE, NULL);
}

/*
 * The caller holds the lock exclusively. A new one has marks that hide nothing.
 */
static Queue *
queue_of(int32 queue_id)
{
	QueueKey key = key_of(queue_id);
	bool found;
	Queue *queue = hash_search(queues, &key, HASH_FIND, &found);

	if (found)
		return queue;
	if (hash_get_num_entries(queues) >= MAX_QUEUES)
		forget_some_queue();
	queue = hash_search(queues, &key, HASH_ENTER, &found);
	memset((char *) queue + sizeof(QueueKey), 0, sizeof(Queue) - sizeof(QueueKey));
	for (int class = 0; class < AURORA_JOB_CLASS_COUNT; class ++)
	{
		queue->lanes[class].mark = PG_INT64_MIN;
		queue->lanes[class].arrivals = (uint64) aurora_clock_us(); /* unlike a forgotten one's */
	}
	return queue;
}

static Lane *
lane_of(int32 queue_id, AuroraJobClass class)
{
	return &queue_of(queue_id)->lanes[class];
}

/* ---- what a transaction has done, until it ends ---- */

static Pending *
pending_for(int32 queue_id, AuroraJobClass class, int nesting)
{
	for (int i = pending_count - 1; i >= 0; i--)
		if (pending[i].queue_id == queue_id && pending[i].class == class &&
			pending[i].nesting == nesting)
			return &pending[i];
	if (pending_count == pending_room)
	{
		int room = Max(16, 2 * pending_room);

		pending = pending ? repalloc(pending, room * sizeof(Pending))
						  : MemoryContextAlloc(TopMemoryContext, room * sizeof(Pending));
		pending_room = room;
	}
	memset(&pending[pending_count], 0, sizeof(Pending));
	pending[pending_count].queue_id = queue_id;
	pending[pending_count].class = class;
	pending[pending_count].nesting = nesting;
	pending[pending_count].arrived = PG_INT64_MAX;
	pending[pending_count].left = PG_INT64_MAX;
	return &pending[pending_count++];
}

static Pending *
pending_now(int32 queue_id, AuroraJobClass class)
{
	return pending_for(queue_id, class, GetCurrentTransactionNestLevel());
}

static void
arrive(Lane *lane, int64 position)
{
	lane->recent[lane->arrivals % RECENT] = position;
	lane->arrivals++;
	lane->mark = Min(lane->mark, position);
}

static void
add_counts(AuroraJobCounts *sum, const AuroraJobCounts *more)
{
	sum->submitted += more->submitted;
	sum->taken += more->taken;
	sum->done += more->done;
	sum->failed += more->failed;
	sum->lapsed += more->lapsed;
	sum->cancelled += more->cancelled;
	sum->wait_ms += more->wait_ms;
	sum->run_ms += more->run_ms;
}

/*
 * Tells what the transaction has done; after a failure, that what it took is there again.
 */
static void
tell_pending(bool committed)
{
	LWLockAcquire(lock, LW_EXCLUSIVE);
	for (int i = 0; i < pending_count; i++)
	{
		Pending *p = &pending[i];
		Queue *queue = queue_of(p->queue_id);
		Lane *lane = &queue->lanes[p->class];
		int64 arrived = committed ? p->arrived : Min(p->arrived, p->left);

		if (arrived != PG_INT64_MAX)
			arrive(lane, arrived);
		if (!committed)
		{
			queue->next_due = 0; /* what was settled may not be */
			continue;
		}
		add_counts(&lane->counts, &p->counts);
		if (p->due != 0)
		{
			if (queue->next_due != 0)
				queue->next_due = Min(queue->next_due, p->due);
			queue->due_since_settling = Min(queue->due_since_settling, p->due);
		}
	}
	LWLockRelease(lock);
}

static void
end_transaction(XactEvent event, void *arg)
{
	if (pending_count == 0)
		return;
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE)
		return;
	/* How a prepared one ends is not known: what it touched is looked at. */
	tell_pending(event == XACT_EVENT_COMMIT);
	if (event != XACT_EVENT_COMMIT)
		for (int i = 0; i < pending_count; i++)
			aurora_bell_ring(AURORA_BELL_QUEUE, pending[i].queue_id);
	pending_count = 0;
}

/*
 * What was taken since a savepoint that is rolled back is there again, and what fell due may not
 * have been seen to.
 */
static void
undo(const Pending *p)
{
	Queue *queue;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	queue = queue_of(p->queue_id);
	queue->next_due = 0;
	if (p->left != PG_INT64_MAX)
		arrive(&queue->lanes[p->class], p->left);
	LWLockRelease(lock);
	aurora_bell_ring(AURORA_BELL_QUEUE, p->queue_id);
}

/*
 * What a subtransaction has done its parent has, when it commits.
 */
static void
hand_up(const Pending *p)
{
	Pending *parent = pending_for(p->queue_id, p->class, p->nesting - 1);

	parent->arrived = Min(parent->arrived, p->arrived);
	parent->left = Min(parent->left, p->left);
	if (p->due != 0)
		parent->due = parent->due == 0 ? p->due : Min(parent->due, p->due);
	add_counts(&parent->counts, &p->counts);
}

static void
end_subtransaction(SubXactEvent event, SubTransactionId my_subid, SubTransactionId parent_subid,
				   void *arg)
{
	int nesting = GetCurrentTransactionNestLevel();

	if (event != SUBXACT_EVENT_ABORT_SUB && event != SUBXACT_EVENT_COMMIT_SUB)
		return;
	for (int i = pending_count - 1; i >= 0; i--)
	{
		Pending ended = pending[i];

		if (ended.nesting < nesting)
			continue;
		pending[i] = pending[--pending_count];
		if (event == SUBXACT_EVENT_ABORT_SUB)
			undo(&ended);
		else
			hand_up(&ended);
	}
}

/* ---- marks ---- */

void
aurora_lanes_read(int32 queue_id, AuroraLaneRead reads[AURORA_JOB_CLASS_COUNT])
{
	Queue *queue;

	for (int i = 0; i < AURORA_JOB_CLASS_COUNT; i++)
		reads[i] = (AuroraLaneRead) {.mark = PG_INT64_MIN};
	if (lock == NULL)
		return;
	LWLockAcquire(lock, LW_EXCLUSIVE);
	queue = queue_of(queue_id);
	for (int i = 0; i < AURORA_JOB_CLASS_COUNT; i++)
		reads[i] =
			(AuroraLaneRead) {.mark = queue->lanes[i].mark, .arrivals = queue->lanes[i].arrivals};
	LWLockRelease(lock);
	/* What this transaction has submitted or let go nobody else knows yet. */
	for (int i = 0; i < pending_count; i++)
		if (pending[i].queue_id == queue_id)
			reads[pending[i].class].mark = Min(reads[pending[i].class].mark, pending[i].arrived);
}

/*
 * A job that arrived since the read began may have been committed after its snapshot; so the mark
 * stops at the least of these, and stays where it is when they are too many to tell.
 */
static void
advance(Lane *lane, const AuroraLaneRead *read, int64 mark)
{
	if (lane->arrivals < read->arrivals || lane->arrivals - read->arrivals > RECENT)
		return;
	for (uint64 i = read->arrivals; i < lane->arrivals; i++)
		mark = Min(mark, lane->recent[i % RECENT]);
	lane->mark = Max(lane->mark, mark);
}

void
aurora_lanes_advance(int32 queue_id, const AuroraLaneRead reads[AURORA_JOB_CLASS_COUNT],
					 const int64 marks[AURORA_JOB_CLASS_COUNT],
					 const int64 taken[AURORA_JOB_CLASS_COUNT])
{
	Queue *queue;

	if (lock == NULL)
		return;
	LWLockAcquire(lock, LW_EXCLUSIVE);
	queue = queue_of(queue_id);
	for (int i = 0; i < AURORA_JOB_CLASS_COUNT; i++)
	{
		Lane *lane = &queue->lanes[i];

		advance(lane, &reads[i], marks[i]);
		/* A clock that is not known is read with the companies' last positions. */
		if (lane->virtual_time != 0)
			lane->virtual_time = Max(lane->virtual_time, taken[i]);
	}
	LWLockRelease(lock);
}

void
aurora_lane_arrive(int32 queue_id, AuroraJobClass class, int64 position)
{
	Pending *p;

	if (lock == NULL)
		return;
	p = pending_now(queue_id, class);
	p->arrived = Min(p->arrived, position);
}

void
aurora_lane_leave(int32 queue_id, AuroraJobClass class, int64 position)
{
	Pending *p;

	if (lock == NULL)
		return;
	p = pending_now(queue_id, class);
	p->left = Min(p->left, position);
}

bool
aurora_lane_gives_way(int32 queue_id)
{
	static uint32 own_turn = 0;
	bool gives_way;

	if (lock == NULL)
		return own_turn++ % GIVE_WAY_EVERY == 0;
	LWLockAcquire(lock, LW_EXCLUSIVE);
	gives_way = queue_of(queue_id)->turn++ % GIVE_WAY_EVERY == 0;
	LWLockRelease(lock);
	return gives_way;
}

/* ---- positions ---- */

/*
 * Forgets tags that say no more than the lane's clock does; or all, when there is none of these.
 */
static void
forget_past_tags(void)
{
	for (int pass = 0; pass < 2 && hash_get_num_entries(tags) >= MAX_TAGS; pass++)
	{
		HASH_SEQ_STATUS all;
		Tag *tag;

		hash_seq_init(&all, tags);
		while ((tag = hash_seq_search(&all)) != NULL)
		{
			Queue *queue = hash_search(queues, &tag->key.queue, HASH_FIND, NULL);

			if (pass > 0 || queue == NULL ||
				tag->finish <= queue->lanes[tag->key.class].virtual_time)
				hash_search(tags, &tag->key, HASH_REMOVE, NULL);
		}
	}
}

/*
 * The caller holds the lock exclusively.
 */
static Tag *
tag_of(int32 queue_id, AuroraJobClass class, int32 company_id)
{
	TagKey key = {.queue = key_of(queue_id), .class = class, .company_id = company_id};
	bool found;
	Tag *tag = hash_search(tags, &key, HASH_FIND, &found);

	if (found)
		return tag;
	if (hash_get_num_entries(tags) >= MAX_TAGS)
		forget_past_tags();
	tag = hash_search(tags, &key, HASH_ENTER, &found);
	tag->finish = 0;
	return tag;
}

/*
 * Where positions begin when nothing waits: nanoseconds since 2000, which is after all positions
 * that were given before, at under a million jobs a second.
 */
static int64
first_position(void)
{
	return GetCurrentTimestamp() * 1000;
}

/*
 * Reads from the table what the clock of a lane goes on from after a start: the first position that
 * waits, and the companies' last ones, whoever asks.
 */
static void
read_clock(int32 queue_id, AuroraJobClass class)
{
	static const char sql[] =
		"SELECT j.company_id, min(j.position), max(j.position) FROM aurora.job j "
		"WHERE j.queue_id = $1 AND j.class = $2::aurora.job_class AND j.state = 'waiting' "
		"GROUP BY j.company_id";
	Oid types[2] = {INT4OID, TEXTOID};
	Datum values[2] = {Int32GetDatum(queue_id), CStringGetTextDatum(aurora_job_class_name(class))};
	int64 first = PG_INT64_MAX;
	uint64 count;
	Lane *lane;
	Oid user;
	int context;

	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(BOOTSTRAP_SUPERUSERID, context | SECURITY_LOCAL_USERID_CHANGE);
	SPI_connect();
	if (SPI_execute_with_args(sql, 2, types, values, NULL, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "the positions of waiting jobs could not be read");
	count = SPI_processed;
	LWLockAcquire(lock, LW_EXCLUSIVE);
	lane = lane_of(queue_id, class);
	for (uint64 i = 0; i < count && lane->virtual_time == 0; i++)
	{
		HeapTuple row = SPI_tuptable->vals[i];
		TupleDesc columns = SPI_tuptable->tupdesc;
		bool isnull;

		first = Min(first, DatumGetInt64(SPI_getbinval(row, columns, 2, &isnull)));
		tag_of(queue_id, class, DatumGetInt32(SPI_getbinval(row, columns, 1, &isnull)))->finish =
			DatumGetInt64(SPI_getbinval(row, columns, 3, &isnull)) + AURORA_POSITION_STEP;
	}
	if (lane->virtual_time == 0)
		lane->virtual_time = first == PG_INT64_MAX ? first_position() : first;
	LWLockRelease(lock);
	SPI_finish();
	SetUserIdAndSecContext(user, context);
}

/*
 * Start tags: a job starts at the lane's clock or where its company's last job ends, whichever is
 * later; the clock is the start of the last job that was taken.
 */
int64
aurora_lane_next_position(int32 queue_id, AuroraJobClass class, int32 company_id, int count)
{
	int64 start = 0;

	if (lock == NULL)
		return first_position();
	while (start == 0)
	{
		int64 now;

		LWLockAcquire(lock, LW_EXCLUSIVE);
		now = lane_of(queue_id, class)->virtual_time;
		if (now != 0)
		{
			Tag *tag = tag_of(queue_id, class, company_id);

			start = Max(now, tag->finish);
			tag->finish = start + (int64) count * AURORA_POSITION_STEP;
		}
		LWLockRelease(lock);
		if (now == 0)
			read_clock(queue_id, class);
	}
	return start;
}

/* ---- what falls due ---- */

void
aurora_queue_due_at(int32 queue_id, TimestampTz at)
{
	Pending *p;

	if (lock == NULL)
		return;
	p = pending_now(queue_id, AURORA_JOB_INTERACTIVE);
	p->due = p->due == 0 ? at : Min(p->due, at);
}

TimestampTz
aurora_queue_next_due(int32 queue_id)
{
	TimestampTz next;

	if (lock == NULL)
		return 0;
	LWLockAcquire(lock, LW_EXCLUSIVE);
	next = queue_of(queue_id)->next_due;
	LWLockRelease(lock);
	return next;
}

bool
aurora_queue_begin_settling(int32 queue_id)
{
	int64 now = aurora_clock_us();
	Queue *queue;
	bool begun;

	if (lock == NULL)
		return true;
	LWLockAcquire(lock, LW_EXCLUSIVE);
	queue = queue_of(queue_id);
	begun = queue->settling_until_us <= now;
	if (begun)
	{
		queue->settling_until_us = now + SETTLING_US;
		queue->due_since_settling = DT_NOEND;
	}
	LWLockRelease(lock);
	return begun;
}

void
aurora_queue_end_settling(int32 queue_id, bool done, TimestampTz next_due)
{
	Queue *queue;

	if (lock == NULL)
		return;
	LWLockAcquire(lock, LW_EXCLUSIVE);
	queue = queue_of(queue_id);
	queue->settling_until_us = 0;
	if (done)
		queue->next_due = Min(next_due, queue->due_since_settling);
	LWLockRelease(lock);
}

void
aurora_queue_ring(int32 queue_id)
{
	aurora_bell_ring_at_commit(AURORA_BELL_QUEUE, queue_id, 0);
}

/* ---- counting ---- */

void
aurora_lane_count(int32 queue_id, AuroraJobClass class, const AuroraJobCounts *counts)
{
	if (lock != NULL)
		add_counts(&pending_now(queue_id, class)->counts, counts);
}

bool
aurora_lane_take_counts(int32 *queue_id, AuroraJobClass *class, AuroraJobCounts *counts)
{
	static const AuroraJobCounts none;
	HASH_SEQ_STATUS all;
	Queue *queue;
	bool found = false;

	if (lock == NULL)
		return false;
	LWLockAcquire(lock, LW_EXCLUSIVE);
	hash_seq_init(&all, queues);
	while (!found && (queue = hash_seq_search(&all)) != NULL)
		for (int i = 0; i < AURORA_JOB_CLASS_COUNT && !found; i++)
			if (queue->key.database == MyDatabaseId &&
				memcmp(&queue->lanes[i].counts, &none, sizeof(none)) != 0)
			{
				*queue_id = queue->key.queue_id;
				*class = i;
				*counts = queue->lanes[i].counts;
				queue->lanes[i].counts = none;
				found = true;
			}
	if (found)
		hash_seq_term(&all);
	LWLockRelease(lock);
	return found;
}

/* ---- setting up ---- */

static Size
table_size(void)
{
	return add_size(hash_estimate_size(MAX_QUEUES, sizeof(Queue)),
					hash_estimate_size(MAX_TAGS, sizeof(Tag)));
}

static HTAB *
make_table(const char *name, long entries, Size key, Size entry)
{
	HASHCTL control = {.keysize = key, .entrysize = entry};

	return ShmemInitHash(name, entries, entries, &control, HASH_ELEM | HASH_BLOBS);
}

static void
set_up_tables(void *memory)
{
	lock = &GetNamedLWLockTranche("aurora_jobs")->lock;
	queues = make_table("aurora_job_queues", MAX_QUEUES, sizeof(QueueKey), sizeof(Queue));
	tags = make_table("aurora_job_tags", MAX_TAGS, sizeof(TagKey), sizeof(Tag));
}

void
aurora_lane_init(void)
{
	if (!aurora_preloaded)
		return;
	aurora_memory_reserve(table_size());
	aurora_memory_add("aurora_jobs", sizeof(int64), 1, set_up_tables);
	RegisterXactCallback(end_transaction, NULL);
	RegisterSubXactCallback(end_subtransaction, NULL);
}
