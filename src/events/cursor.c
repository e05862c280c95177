/*
 * Cursors: whether what somebody has read is of this history of a topic.
 *
 * A lead that is lost may have published events that no other node has. The next one uses their
 * numbers again, in an epoch of its own. A cursor carries the epoch of what it has read last, which
 * ends here where the first epoch after it begins.
 */
#include "events/events.h"

#include "access/htup_details.h"
#include "access/xlog.h"
#include "access/xlogrecovery.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/snapmgr.h"

/* Columns of aurora.topic_epoch and aurora.lead_epoch, in table order. */
enum
{
	EPOCH_TOPIC_ID = 1,
	EPOCH_FROM_SEQ,
	EPOCH_COMPANY_ID,
	EPOCH_EPOCH,
	EPOCH_EPOCH_NO,
	EPOCH_TIMELINE,
	EPOCH_SYSTEM_IDENTIFIER
};
enum
{
	LEAD_EPOCH_NO = 1,
	LEAD_TIMELINE,
	LEAD_ID,
	LEAD_LEAD,
	LEAD_BEGAN_AT,
	LEAD_SYSTEM_IDENTIFIER
};

/* What this node knows of a cursor's epoch. */
typedef struct Known
{
	bool known;
	int64 next_from; /* where the epoch after it begins in the topic; 0 for none */
	int32 timeline;
	int64 system_identifier;
} Known;

PG_FUNCTION_INFO_V1(aurora_cursor_state);
PG_FUNCTION_INFO_V1(aurora_open_cursor);

static bool
same_epoch(Datum value, const pg_uuid_t *epoch)
{
	return memcmp(DatumGetUUIDP(value)->data, epoch->data, UUID_LEN) == 0;
}

/*
 * The number of a lead's reign by its id; 0 when there is none.
 */
static int64
find_reign(const pg_uuid_t *epoch, Snapshot snapshot, Known *known)
{
	AuroraScan scan;
	int64 number = 0;

	aurora_scan_open(&scan, "lead_epoch", "lead_epoch_pkey", snapshot, 0, NULL);
	while (number == 0 && aurora_scan_next(&scan))
	{
		if (!same_epoch(scan.values[LEAD_ID - 1], epoch))
			continue;
		number = DatumGetInt64(scan.values[LEAD_EPOCH_NO - 1]);
		known->known = true;
		known->timeline = DatumGetInt32(scan.values[LEAD_TIMELINE - 1]);
		known->system_identifier = DatumGetInt64(scan.values[LEAD_SYSTEM_IDENTIFIER - 1]);
	}
	aurora_scan_close(&scan);
	return number;
}

/*
 * Where the epoch ends in the topic. It may be one in which nothing was published there as far as
 * this node knows: then it is found among the leads' reigns, in one that began after the topic did.
 */
static Known
find_epoch(const AuroraTopic *topic, const pg_uuid_t *epoch, Snapshot snapshot)
{
	Known known = {0};
	int64 reign = find_reign(epoch, snapshot, &known);
	bool passed = false;
	bool older = false;
	ScanKeyData key;
	AuroraScan scan;

	ScanKeyInit(&key, EPOCH_TOPIC_ID, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(topic->topic_id));
	aurora_scan_open(&scan, "topic_epoch", "topic_epoch_pkey", snapshot, 1, &key);
	while (known.next_from == 0 && aurora_scan_next(&scan))
	{
		int64 from_seq = DatumGetInt64(scan.values[EPOCH_FROM_SEQ - 1]);

		if (same_epoch(scan.values[EPOCH_EPOCH - 1], epoch))
		{
			passed = true;
			known.known = true;
			known.timeline = DatumGetInt32(scan.values[EPOCH_TIMELINE - 1]);
			known.system_identifier = DatumGetInt64(scan.values[EPOCH_SYSTEM_IDENTIFIER - 1]);
		}
		else if (reign > 0 && DatumGetInt64(scan.values[EPOCH_EPOCH_NO - 1]) < reign)
			older = true;
		else if (passed || (reign > 0 && DatumGetInt64(scan.values[EPOCH_EPOCH_NO - 1]) > reign))
			known.next_from = from_seq;
	}
	aurora_scan_close(&scan);
	known.known = passed || older;
	return known;
}

/*
 * Does another lead write by now, or is this another cluster; then nothing is added to the epoch.
 */
static bool
is_over(const Known *known)
{
	TimeLineID timeline;

	if (RecoveryInProgress())
		(void) GetXLogReplayRecPtr(&timeline);
	else
		timeline = GetWALInsertionTimeLine();
	return known->timeline != (int32) timeline ||
		   known->system_identifier != (int64) GetSystemIdentifier();
}

AuroraCursor
aurora_cursor_check(const AuroraTopic *topic, const pg_uuid_t *epoch, int64 after_seq,
					Snapshot snapshot)
{
	AuroraCursor cursor = {.resume_after = after_seq, .known = true};
	bool standby = RecoveryInProgress();
	int64 end = topic->last_seq;
	bool over = !standby;
	Known known;

	if (epoch && after_seq > 0)
	{
		known = find_epoch(topic, epoch, snapshot);
		cursor.known = known.known;
		if (known.next_from > 0)
			end = known.next_from - 1;
		if (known.known)
			over = over || known.next_from > 0 || is_over(&known);
	}
	if (!cursor.known)
	{
		bool may_come = standby && after_seq > topic->last_seq;

		cursor.state = may_come ? AURORA_CURSOR_AHEAD : AURORA_CURSOR_LOST;
		cursor.resume_after = may_come ? after_seq : 0;
	}
	else if (after_seq > end)
	{
		cursor.state = over ? AURORA_CURSOR_LOST : AURORA_CURSOR_AHEAD;
		cursor.resume_after = over ? end : after_seq;
	}
	else if (after_seq > 0 && after_seq < topic->first_seq - 1)
	{
		cursor.state = AURORA_CURSOR_TRIMMED;
		cursor.resume_after = topic->first_seq - 1;
	}
	return cursor;
}

static void
refuse_lost(const AuroraCursor *cursor, const char *name, int64 after_seq)
{
	if (!cursor->known)
		ereport(ERROR, (errcode(AURORA_ERRCODE_CURSOR_LOST),
						errmsg("the cursor's epoch is not of this history of topic \"%s\"", name),
						errdetail("It was of a lead none of whose events there have come here."),
						errhint("Forget what was read there, and start again with after_seq => "
								"0.")));
	ereport(ERROR, (errcode(AURORA_ERRCODE_CURSOR_LOST),
					errmsg("the cursor stands at " INT64_FORMAT
						   ", and topic \"%s\" ends at " INT64_FORMAT " in that epoch",
						   after_seq, name, cursor->resume_after),
					errdetail("What was read after " INT64_FORMAT
							  " was lost with a former lead, or never was.",
							  cursor->resume_after),
					errhint("Forget what was read after " INT64_FORMAT
							", and go on with after_seq => " INT64_FORMAT ".",
							cursor->resume_after, cursor->resume_after)));
}

void
aurora_cursor_require(const AuroraCursor *cursor, const char *name, int64 after_seq)
{
	switch (cursor->state)
	{
		case AURORA_CURSOR_CONTINUES:
			break;
		case AURORA_CURSOR_AHEAD:
			if (!cursor->known)
				ereport(ERROR, (errcode(AURORA_ERRCODE_CURSOR_AHEAD),
								errmsg("this standby does not know the cursor's epoch of topic "
									   "\"%s\" yet",
									   name),
								errhint("Try again when it has caught up; wait_events() waits for "
										"that. Or ask the lead.")));
			break;
		case AURORA_CURSOR_LOST:
			refuse_lost(cursor, name, after_seq);
			break;
		case AURORA_CURSOR_TRIMMED:
			ereport(ERROR,
					(errcode(AURORA_ERRCODE_CURSOR_TRIMMED),
					 errmsg("events of topic \"%s\" up to " INT64_FORMAT " are no longer kept",
							name, cursor->resume_after),
					 errhint("Go on with after_seq => " INT64_FORMAT
							 ", knowing that events between were missed.",
							 cursor->resume_after)));
			break;
	}
}

/* ---- SQL ---- */

/*
 * The topic and the state of the cursor that the arguments name: topic, after_seq, epoch, company.
 */
static AuroraCursor
cursor_of_call(FunctionCallInfo fcinfo, AuroraTopic *topic)
{
	Snapshot snapshot = GetActiveSnapshot();
	text *name;
	int32 company_id;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
						errmsg("a topic and the number to go on after may not be null")));
	if (PG_GETARG_INT64(1) < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("after_seq may not be negative"),
				 errhint("0 stands for before the first event.")));
	name = PG_GETARG_TEXT_PP(0);
	if (!aurora_topic_to_read(name, PG_ARGISNULL(3) ? NULL : PG_GETARG_TEXT_PP(3), snapshot,
							  &company_id, topic))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
						errmsg("there is no topic \"%s\"", text_to_cstring(name)),
						errhint("Its first event makes it; wait_events() waits for that.")));
	return aurora_cursor_check(topic, PG_ARGISNULL(2) ? NULL : PG_GETARG_UUID_P(2),
							   PG_GETARG_INT64(1), snapshot);
}

/*
 * open_cursor(topic, after_seq, epoch, company) -> topic_id, when the cursor can go on.
 */
Datum
aurora_open_cursor(PG_FUNCTION_ARGS)
{
	AuroraTopic topic;
	AuroraCursor cursor = cursor_of_call(fcinfo, &topic);

	aurora_cursor_require(&cursor, text_to_cstring(PG_GETARG_TEXT_PP(0)), PG_GETARG_INT64(1));
	PG_RETURN_INT64(topic.topic_id);
}

/*
 * cursor_state(topic, after_seq, epoch, company) -> state, resume_after.
 */
Datum
aurora_cursor_state(PG_FUNCTION_ARGS)
{
	static const char *const labels[] = {
		[AURORA_CURSOR_CONTINUES] = "continues",
		[AURORA_CURSOR_LOST] = "lost",
		[AURORA_CURSOR_AHEAD] = "ahead",
		[AURORA_CURSOR_TRIMMED] = "trimmed",
	};
	AuroraTopic topic;
	AuroraCursor cursor = cursor_of_call(fcinfo, &topic);
	Datum values[2];
	bool nulls[2] = {false};
	TupleDesc desc;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "the state of a cursor is a row");
	values[0] = CStringGetTextDatum(labels[cursor.state]);
	values[1] = Int64GetDatum(cursor.resume_after);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
