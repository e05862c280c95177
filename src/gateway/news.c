/*
 * Waiting for news: a gateway that shows many topics and texts waits for all of them at once,
 * asleep and without a snapshot, and then looks at those that it shows.
 *
 * The "position" that is waited from is a count of rings on a lead, whose commits can ring in
 * another order than they end in the WAL, and on a standby what it has replayed.
 */
#include "gateway/gateway.h"

#include "access/htup_details.h"
#include "access/xlog.h"
#include "access/xlogrecovery.h"
#include "events/events.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"

#define REPLAY_MS 5	   /* between looks of a standby that hears of nothing */
#define ANNOUNCED_MS 1 /* between those of one to which news are on their way */
#define ANNOUNCED_US 2000000L
#define SWEEP_MS 1000 /* what was heard can have been lost */
#define LONGEST_MS 600000
#define COUNTED (INT64CONST(1) << 62) /* tells counts of rings from positions in the WAL */

PG_FUNCTION_INFO_V1(aurora_wait_published);

static int64
position_now(void)
{
	if (RecoveryInProgress())
		return (int64) GetXLogReplayRecPtr(NULL);
	return COUNTED | (int64) aurora_bell_rings(AURORA_BELL_NEWS, 0);
}

/*
 * Milliseconds that are left, rounded up.
 */
static long
left_until(int64 end_us)
{
	int64 left_us = end_us - aurora_clock_us();

	return left_us <= 0 ? 0 : (long) ((left_us + 999) / 1000);
}

/*
 * Has something happened on this standby since "seen", and if not, for how long to sleep. It tells
 * at once when it has replayed what it was told of, after a while when nobody has told, and at each
 * step where nobody ever does.
 */
static bool
has_come(int64 seen, int64 sweep_us, long *step_ms)
{
	int64 here = (int64) GetXLogReplayRecPtr(NULL);
	int64 news;
	int64 heard_us;

	if (!aurora_wait_announced_news(&news, &heard_us))
	{
		*step_ms = REPLAY_MS;
		return here != seen;
	}
	*step_ms = SWEEP_MS;
	if (news > here && aurora_clock_us() < heard_us + ANNOUNCED_US)
		*step_ms = ANNOUNCED_MS;
	return (news > seen && news <= here) || (here != seen && aurora_clock_us() >= sweep_us);
}

static void
wait_on_standby(int64 seen, int64 end_us)
{
	int64 sweep_us = aurora_clock_us() + SWEEP_MS * INT64CONST(1000);
	bool slept = false;
	long step_ms;

	while (RecoveryInProgress())
	{
		uint64 rings = aurora_bell_rings(AURORA_BELL_NEWS, 0);
		bool came = has_come(seen, sweep_us, &step_ms);
		long left_ms = left_until(end_us);

		/* A standby that hears of nothing is asked no more often than it looks. */
		if ((came && (slept || step_ms != REPLAY_MS)) || left_ms == 0)
			return;
		(void) aurora_bell_wait(AURORA_BELL_NEWS, 0, rings, Min(step_ms, left_ms));
		slept = true;
		CHECK_FOR_INTERRUPTS();
	}
}

static void
wait_on_lead(int64 seen, int64 end_us)
{
	while (!RecoveryInProgress() && position_now() == seen)
	{
		uint64 rings = (uint64) (seen & ~COUNTED);
		long left_ms = left_until(end_us);

		if (left_ms == 0)
			return;
		(void) aurora_bell_wait(AURORA_BELL_NEWS, 0, rings, left_ms);
		CHECK_FOR_INTERRUPTS();
	}
}

/*
 * wait_published(seen, timeout_ms, INOUT position)
 */
Datum
aurora_wait_published(PG_FUNCTION_ARGS)
{
	Datum values[1];
	bool nulls[1] = {false};
	TupleDesc desc;
	int64 seen;
	int64 end_us;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_GETARG_INT32(1) < 0 ||
		PG_GETARG_INT32(1) > LONGEST_MS)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("a position and a timeout of 0 to %d ms are needed", LONGEST_MS),
						errhint("0 stands for the beginning; go on with what is returned.")));
	aurora_wait_require_nonatomic(fcinfo, "wait_published");
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "wait_published() gives a row");
	desc = BlessTupleDesc(desc);
	seen = PG_GETARG_INT64(0);
	end_us = aurora_clock_us() + PG_GETARG_INT32(1) * INT64CONST(1000);
	(void) aurora_bell_rings(AURORA_BELL_NEWS, 0); /* raises without the preloaded library */
	/* A position of before a promotion, or of a former lead, is followed by news at once. */
	if (seen != 0 && (seen & COUNTED) == (position_now() & COUNTED) && PG_GETARG_INT32(1) > 0)
	{
		SPI_connect_ext(SPI_OPT_NONATOMIC);
		SPI_commit();
		if (RecoveryInProgress())
			wait_on_standby(seen, end_us);
		else
			wait_on_lead(seen, end_us);
		SPI_finish();
	}
	values[0] = Int64GetDatum(position_now());
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(desc, values, nulls)));
}
