/*
 * Positions in the write-ahead log: a writer learns where its write ends, and a reader waits until
 * this node has come there, asleep and without a snapshot.
 */
#include "gateway/gateway.h"

#include "access/htup_details.h"
#include "access/xlog.h"
#include "access/xlogrecovery.h"
#include "events/events.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/pg_lsn.h"
#include "utils/wait_event.h"

#define LOOK_MS 2
#define LONGEST_MS 600000

PG_FUNCTION_INFO_V1(aurora_write_position);
PG_FUNCTION_INFO_V1(aurora_wait_for_lsn);

/*
 * How far this node is: what it has replayed, or as a lead has written.
 */
static XLogRecPtr
position_here(void)
{
	return RecoveryInProgress() ? GetXLogReplayRecPtr(NULL) : GetXLogInsertRecPtr();
}

/*
 * write_position(): behind this session's last commit, and behind all that was on disk by now,
 * which is what others had committed and this session may have seen.
 */
Datum
aurora_write_position(PG_FUNCTION_ARGS)
{
	XLogRecPtr flushed;

	if (RecoveryInProgress())
		PG_RETURN_LSN(GetXLogReplayRecPtr(NULL));
	flushed = GetFlushRecPtr(NULL);
	PG_RETURN_LSN(Max(flushed, XactLastCommitEnd));
}

static bool
wait_until(XLogRecPtr lsn, int timeout_ms)
{
	int64 end_us = aurora_clock_us() + timeout_ms * INT64CONST(1000);

	while (RecoveryInProgress() && GetXLogReplayRecPtr(NULL) < lsn)
	{
		if (aurora_clock_us() >= end_us)
			return false;
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, LOOK_MS,
						 PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
	return lsn <= position_here();
}

/*
 * wait_for_lsn(lsn, timeout_ms, INOUT arrived)
 */
Datum
aurora_wait_for_lsn(PG_FUNCTION_ARGS)
{
	Datum values[1];
	bool nulls[1] = {false};
	TupleDesc desc;
	XLogRecPtr lsn;
	int timeout_ms;
	bool arrived;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_GETARG_INT32(1) < 0 ||
		PG_GETARG_INT32(1) > LONGEST_MS)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("a position and a timeout of 0 to %d ms are needed", LONGEST_MS),
						errhint("aurora.write_position() gives the position of a write.")));
	aurora_wait_require_nonatomic(fcinfo, "wait_for_lsn");
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "wait_for_lsn() gives a row");
	desc = BlessTupleDesc(desc);
	lsn = PG_GETARG_LSN(0);
	timeout_ms = PG_GETARG_INT32(1);
	arrived = lsn <= position_here();
	if (!arrived && timeout_ms > 0)
	{
		SPI_connect_ext(SPI_OPT_NONATOMIC);
		SPI_commit();
		arrived = wait_until(lsn, timeout_ms);
		SPI_finish();
	}
	values[0] = BoolGetDatum(arrived);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(desc, values, nulls)));
}
