/*
 * The way of the audit to the lead: the "auditor" has records reach the disk, and the agent takes
 * those to the lead, where the chain's head says up to where. What this node's database has of the
 * heads is the cursor, so nothing is lost with a process.
 */
#include "secrets/secrets.h"

#include "access/xact.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "registry/registry.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/json.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#define BATCH_RECORDS 2000
#define LOOK_AFTER_US 1000000L
#define HEADS_US 5000000L		/* how long read heads are good */
#define LOST_US (60 * 1000000L) /* records that have not appeared by then are sent again */
#define COUNTERS_US (10 * 1000000L)
#define KEYS_US (5 * 1000000L)

/* Columns of aurora.secret_audit_chain that are read here, in table order. */
enum
{
	CHAIN_NODE = 1,
	CHAIN_CHAIN,
	CHAIN_FIRST_SEQ,
	CHAIN_HEAD_SEQ
};

/* What the auditor has seen of the key ring, for the agent. */
typedef struct RingSeen
{
	LWLock *lock;
	bool known;
	char ids[300]; /* 16 keys, with blanks between */
} RingSeen;

static RingSeen *ring_seen = NULL;
static int sync_interval_ms = 0;

extern PGDLLEXPORT void aurora_auditor_main(Datum arg);

/* ---- heads ---- */

List *
aurora_audit_heads(void)
{
	List *heads = NIL;
	AuroraScan scan;
	ScanKeyData key;

	ScanKeyInit(&key, CHAIN_NODE, BTEqualStrategyNumber, F_TEXTEQ,
				CStringGetTextDatum(aurora_node_name()));
	aurora_scan_open(&scan, "secret_audit_chain", "secret_audit_chain_pkey", NULL, 1, &key);
	while (aurora_scan_next(&scan))
	{
		AuroraChainHead *head = palloc(sizeof(AuroraChainHead));

		text_to_cstring_buffer(DatumGetTextPP(scan.values[CHAIN_CHAIN - 1]), head->chain,
							   sizeof(head->chain));
		head->head_seq = (uint64) DatumGetInt64(scan.values[CHAIN_HEAD_SEQ - 1]);
		heads = lappend(heads, head);
	}
	aurora_scan_close(&scan);
	return heads;
}

uint64
aurora_audit_head_of(List *heads, const char *chain)
{
	ListCell *cell;

	foreach (cell, heads)
	{
		AuroraChainHead *head = lfirst(cell);

		if (strcmp(head->chain, chain) == 0)
			return head->head_seq;
	}
	return 0;
}

/* ---- the auditor ---- */

static bool
look_after(void)
{
	aurora_audit_look_after();
	return true;
}

/*
 * The command that prints the keys may take its time, so the agent does not run it.
 */
static void
look_at_ring(void)
{
	StringInfoData ids;
	const char *setting;

	initStringInfo(&ids);
	if (aurora_key_ring_trouble(&setting) == NULL)
		aurora_key_ring_ids(&ids);
	LWLockAcquire(ring_seen->lock, LW_EXCLUSIVE);
	strlcpy(ring_seen->ids, ids.data, sizeof(ring_seen->ids));
	ring_seen->known = true;
	LWLockRelease(ring_seen->lock);
	pfree(ids.data);
}

void
aurora_auditor_main(Datum arg)
{
	Oid database = DatumGetObjectId(arg);
	int64 next_look_us = 0;
	int64 next_check_us = 0;
	int64 next_ring_us = 0;

	aurora_process_begin(AURORA_PROCESS_AUDITOR, database);
	for (;;)
	{
		int64 now = aurora_clock_us();

		if (now >= next_check_us)
		{
			next_check_us = now + 2 * LOOK_AFTER_US;
			if (!aurora_process_is_wanted(database))
				proc_exit(0);
		}
		if (now >= next_look_us)
		{
			next_look_us = now + LOOK_AFTER_US;
			(void) aurora_run_in_transaction("look after the audit", look_after);
		}
		if (now >= next_ring_us)
		{
			next_ring_us = now + KEYS_US;
			look_at_ring();
		}
		(void) aurora_audit_sync();
		aurora_process_wait(sync_interval_ms);
	}
}

/* ---- shipping, in the agent ---- */

/* Where the agent reads: the file, and what has been read of it. */
static struct
{
	FILE *stream;
	AuroraAuditFile file; /* its last_seq is the last record that was read */
	off_t offset;
} reader;

static List *heads = NIL; /* in heads_context */
static MemoryContext heads_context = NULL;
static int64 heads_read_us = 0;
static int64 progress_us = 0; /* when the head last moved, or all had arrived */
static uint64 sent_seq = 0;	  /* of the chain in the reader */
static uint64 seen_head = 0;
static bool goes_on = false; /* what is sent next goes on where the last message ended */

static void
close_reader(void)
{
	if (reader.stream)
		fclose(reader.stream);
	memset(&reader, 0, sizeof(reader));
}

static bool
read_heads(void)
{
	MemoryContext before;

	if (heads_context == NULL)
		heads_context =
			AllocSetContextCreate(TopMemoryContext, "aurora audit heads", ALLOCSET_SMALL_SIZES);
	MemoryContextReset(heads_context);
	before = MemoryContextSwitchTo(heads_context);
	heads = NIL;
	heads = aurora_audit_heads();
	MemoryContextSwitchTo(before);
	return true;
}

/*
 * Opens the file of that generation behind its first line.
 */
static bool
open_reader(uint64 generation)
{
	char path[AURORA_AUDIT_PATH_SIZE];
	char line[1024];

	close_reader();
	if (!aurora_audit_read_head(generation, &reader.file))
		return false;
	aurora_audit_path(generation, path);
	reader.stream = fopen(path, "r");
	if (reader.stream == NULL || fgets(line, sizeof(line), reader.stream) == NULL)
	{
		close_reader();
		return false;
	}
	reader.offset = ftello(reader.stream);
	return true;
}

/*
 * Goes to the first file after a generation that has something which the lead has not had.
 */
static bool
next_reader(uint64 after)
{
	uint64 *generations = NULL;
	int64 size;
	int count = aurora_audit_generations(&generations, &size);

	for (int i = 0; i < count; i++)
	{
		AuroraAuditFile file;
		AuroraAuditFile next;

		if (generations[i] <= after || !aurora_audit_read_head(generations[i], &file))
			continue;
		/* All of a file has arrived when the next one of its chain begins at or below the head. */
		if (i + 1 < count && aurora_audit_read_head(generations[i + 1], &next) &&
			strcmp(next.chain, file.chain) == 0 &&
			next.first_seq <= aurora_audit_head_of(heads, file.chain) + 1)
			continue;
		if (open_reader(generations[i]))
			return true;
	}
	return false;
}

/*
 * The next whole record that is on disk, without the end of its line; NULL when there is none yet.
 */
static char *
next_record(const AuroraAuditStatus *status)
{
	static char line[AURORA_AUDIT_LINE_SIZE];
	uint64 seq;
	size_t size;

	if (fseeko(reader.stream, reader.offset, SEEK_SET) != 0 ||
		fgets(line, sizeof(line), reader.stream) == NULL)
		return NULL;
	size = strlen(line);
	if (size == 0 || line[size - 1] != '\n')
		return NULL;
	line[size - 1] = '\0';
	if (strncmp(line, "{\"seq\":", 7) != 0)
		return NULL;
	seq = strtoull(line + 7, NULL, 10);
	if (reader.file.generation == status->generation && seq > status->synced_seq)
		return NULL;
	reader.offset += (off_t) size;
	reader.file.last_seq = seq;
	return line;
}

/*
 * "anew" tells that what is between the head and the first record is not here either. The lead
 * passes over a gap before another message: that was lost on the way, and comes again.
 */
static void
begin_message(StringInfo messages)
{
	aurora_message_begin(messages, "secret_audit");
	aurora_message_text(messages, "chain", reader.file.chain);
	if (!goes_on)
		aurora_message_number(messages, "anew", 1);
	goes_on = true;
	appendStringInfoString(messages, ",\"records\":[");
}

/*
 * A damaged record may be in no encoding: it arrives all the same, and breaks the chain.
 */
static void
append_line(StringInfo messages, char *line)
{
	if (!pg_verify_mbstr(PG_UTF8, line, (int) strlen(line), true))
		for (unsigned char *c = (unsigned char *) line; *c; c++)
			if (*c > 126)
				*c = '?';
	escape_json(messages, line);
}

/*
 * Appends what the reader's file has, up to a number of records; returns how many.
 */
static int
append_file(StringInfo messages, const AuroraAuditStatus *status, int room)
{
	uint64 head = aurora_audit_head_of(heads, reader.file.chain);
	int count = 0;
	char *line;

	while (count < room && (line = next_record(status)) != NULL)
	{
		if (reader.file.last_seq <= head)
			continue;
		if (count++ == 0)
			begin_message(messages);
		else
			appendStringInfoChar(messages, ',');
		append_line(messages, line);
		sent_seq = reader.file.last_seq;
	}
	if (count > 0)
		appendStringInfoString(messages, "]}}");
	return count;
}

/*
 * What was sent and does not show in the head after a while has not been taken, or was by a lead
 * whose place another has taken since: all from the head on is sent again.
 */
static void
look_for_losses(void)
{
	uint64 head = reader.stream ? aurora_audit_head_of(heads, reader.file.chain) : 0;
	int64 now = aurora_clock_us();

	if (reader.stream == NULL || head >= sent_seq || head != seen_head)
		progress_us = now;
	seen_head = head;
	if (now - progress_us > LOST_US)
	{
		close_reader();
		goes_on = false;
		progress_us = now;
	}
}

static void
collect_records(StringInfo messages)
{
	AuroraAuditStatus status = aurora_audit_status();
	int room = BATCH_RECORDS;

	if (!status.is_on || !status.is_open)
		return;
	if (aurora_clock_us() - heads_read_us > HEADS_US || reader.stream == NULL)
	{
		if (IsTransactionState())
			(void) read_heads();
		else if (!aurora_run_in_transaction("read the audit's heads", read_heads))
			return;
		heads_read_us = aurora_clock_us();
	}
	look_for_losses();
	if (reader.stream == NULL && !next_reader(0))
		return;
	do
		room -= append_file(messages, &status, room);
	while (room > 0 && reader.file.generation < status.generation &&
		   next_reader(reader.file.generation));
	if (room == 0)
		aurora_outbox_ask_again();
}

static void
collect_counters(StringInfo messages)
{
	static int64 next_us = 0;
	static AuroraSecretCounters told;
	AuroraSecretCounters counters = aurora_secret_counters();

	if (aurora_clock_us() < next_us || memcmp(&counters, &told, sizeof(counters)) == 0)
		return;
	next_us = aurora_clock_us() + COUNTERS_US;
	told = counters;
	aurora_message_begin(messages, "secret_cache");
	aurora_message_number(messages, "hits", counters.hits);
	aurora_message_number(messages, "misses", counters.misses);
	aurora_message_number(messages, "evictions", counters.evictions);
	aurora_message_number(messages, "invalidations", counters.invalidations);
	aurora_message_end(messages);
}

/*
 * Tells which master keys this node has, by which a rotation knows whether all are ready for it.
 */
static void
collect_keys(StringInfo messages)
{
	static int64 next_us = 0;
	char ids[sizeof(ring_seen->ids)];
	bool known;

	LWLockAcquire(ring_seen->lock, LW_SHARED);
	known = ring_seen->known;
	strlcpy(ids, ring_seen->ids, sizeof(ids));
	LWLockRelease(ring_seen->lock);
	if (!known || aurora_clock_us() < next_us)
		return;
	next_us = aurora_clock_us() + 2 * KEYS_US;
	aurora_message_begin(messages, "capability");
	aurora_message_text(messages, "name", "secret_keys");
	aurora_message_text(messages, "value", ids);
	aurora_message_end(messages);
}

static void
set_up_ring_seen(void *memory)
{
	ring_seen = memory;
	ring_seen->lock = &GetNamedLWLockTranche("aurora_secret_keys")->lock;
}

void
aurora_ship_init(void)
{
	DefineCustomIntVariable("aurora.secret_audit_sync_interval",
							"Time after which records of the audit reach the disk.", NULL,
							&sync_interval_ms, 100, 10, 10000, PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL,
							NULL);
	if (!aurora_preloaded)
		return;
	aurora_memory_add("aurora_secret_keys", sizeof(RingSeen), 1, set_up_ring_seen);
	aurora_outbox_add_source(collect_records, NULL);
	aurora_outbox_add_source(collect_counters, NULL);
	aurora_outbox_add_source(collect_keys, NULL);
}
