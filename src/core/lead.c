/*
 * The lead: where it is, whether this node is it, and whether its duties may run here.
 *
 * An "epoch" is the reign of one lead. Epochs are ordered by timeline, then by when they began,
 * then by their random id. A lead that hears of a newer epoch is "fenced": it was replaced while it
 * was away, and does nothing more by itself.
 */
#include "core/core.h"

#include "access/xlog.h"
#include "access/xlogrecovery.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "libpq-fe.h"
#include "miscadmin.h"
#include "replication/syncrep.h"
#include "storage/lwlock.h"
#include "utils/builtins.h"
#include "utils/guc.h"

#define ASK_PEERS_US 5000000L /* a lead whose agent does not run takes up its duties after this */

/* Shared by all processes; guarded by the lock. */
typedef struct LeadState
{
	LWLock *lock;
	int64 began_us;	  /* when the shared memory was made */
	bool asked_peers; /* the agent knows whether a newer epoch is about */
	AuroraEpoch own;
	AuroraEpoch reported_to; /* of the lead that took this node's last report */
	AuroraEpoch newest;		 /* of what the present peers have answered */
	char newest_from[AURORA_NODE_NAME_SIZE];
} LeadState;

static LeadState *state = NULL;

PG_FUNCTION_INFO_V1(aurora_require_lead);
PG_FUNCTION_INFO_V1(aurora_lead_duty_sql);
PG_FUNCTION_INFO_V1(aurora_lead_duty_reason);
PG_FUNCTION_INFO_V1(aurora_current_timeline);

/* ---- where the lead is ---- */

/*
 * A sentence that tells where the lead is, from primary_conninfo; never its password or user.
 */
static char *
lead_hint(void)
{
	StringInfoData hint;
	PQconninfoOption *options;
	const char *host = NULL;
	const char *port = NULL;

	options = PQconninfoParse(PrimaryConnInfo ? PrimaryConnInfo : "", NULL);
	for (PQconninfoOption *o = options; o && o->keyword; o++)
	{
		if (strcmp(o->keyword, "host") == 0 || (strcmp(o->keyword, "hostaddr") == 0 && !host))
			host = o->val ? o->val : host;
		else if (strcmp(o->keyword, "port") == 0)
			port = o->val;
	}
	initStringInfo(&hint);
	if (host)
		appendStringInfo(&hint, "Run it on the lead, at %s port %s.", host, port ? port : "5432");
	else
		appendStringInfoString(&hint, "Run it on the lead.");
	PQconninfoFree(options);
	return hint.data;
}

void
aurora_lead_require(void)
{
	if (!RecoveryInProgress())
		return;
	ereport(ERROR,
			(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
			 errmsg("this node is a standby and answers reads only"), errhint("%s", lead_hint())));
}

Datum
aurora_require_lead(PG_FUNCTION_ARGS)
{
	aurora_lead_require();
	PG_RETURN_VOID();
}

/* ---- epochs ---- */

int
aurora_epoch_compare(const AuroraEpoch *a, const AuroraEpoch *b)
{
	if (a->timeline != b->timeline)
		return a->timeline < b->timeline ? -1 : 1;
	if (a->began_at != b->began_at)
		return a->began_at < b->began_at ? -1 : 1;
	return memcmp(a->id, b->id, sizeof(a->id));
}

void
aurora_epoch_set_own(const AuroraEpoch *epoch)
{
	LWLockAcquire(state->lock, LW_EXCLUSIVE);
	state->own = *epoch;
	LWLockRelease(state->lock);
}

AuroraEpoch
aurora_epoch_own(void)
{
	AuroraEpoch own;

	LWLockAcquire(state->lock, LW_SHARED);
	own = state->own;
	LWLockRelease(state->lock);
	return own;
}

void
aurora_epoch_set_newest(const AuroraEpoch *epoch, const char *from)
{
	LWLockAcquire(state->lock, LW_EXCLUSIVE);
	state->newest = *epoch;
	strlcpy(state->newest_from, from, AURORA_NODE_NAME_SIZE);
	LWLockRelease(state->lock);
}

void
aurora_epoch_reported_to(const AuroraEpoch *epoch)
{
	LWLockAcquire(state->lock, LW_EXCLUSIVE);
	state->reported_to = *epoch;
	LWLockRelease(state->lock);
}

bool
aurora_epoch_is_current(const AuroraEpoch *epoch)
{
	bool current;

	LWLockAcquire(state->lock, LW_SHARED);
	current = aurora_epoch_compare(epoch, &state->newest) >= 0 &&
			  aurora_epoch_compare(epoch, &state->own) >= 0 &&
			  (aurora_epoch_compare(epoch, &state->reported_to) >= 0 ||
			   aurora_epoch_compare(epoch, &state->own) == 0);
	LWLockRelease(state->lock);
	return current;
}

void
aurora_lead_asked_peers(void)
{
	LWLockAcquire(state->lock, LW_EXCLUSIVE);
	state->asked_peers = true;
	LWLockRelease(state->lock);
}

/* ---- whether the lead's duties may run here ---- */

/*
 * Does synchronous_standby_names ask for more standbys than there are; then writes would wait.
 */
static bool
synchronous_standby_is_missing(void)
{
	SyncRepStandbyData *standbys;
	int connected;

	if (SyncRepStandbyNames == NULL || SyncRepStandbyNames[0] == '\0' || SyncRepConfig == NULL)
		return false;
	connected = SyncRepGetCandidateStandbys(&standbys);
	return connected < SyncRepConfig->num_sync;
}

/*
 * Why a newer lead, or one that may be about, keeps this one from its duties. A lead that has just
 * been promoted writes a timeline that no epoch in its database has yet, and may begin its own.
 */
static char *
fence_reason(void)
{
	uint32 writes = (uint32) GetWALInsertionTimeLine();
	char *reason = NULL;

	LWLockAcquire(state->lock, LW_SHARED);
	if (state->newest.timeline > writes)
		reason = psprintf("fenced: node %s has an epoch of timeline %u, and this lead writes %u",
						  state->newest_from, state->newest.timeline, writes);
	else if (state->newest.timeline == writes && state->own.timeline == writes &&
			 aurora_epoch_compare(&state->newest, &state->own) > 0)
		reason = psprintf("fenced: node %s has a newer epoch of the same timeline %u",
						  state->newest_from, writes);
	else if (!state->asked_peers && aurora_clock_us() - state->began_us < ASK_PEERS_US)
		reason = pstrdup("just started: peers are asked for a newer epoch first");
	LWLockRelease(state->lock);
	return reason;
}

char *
aurora_lead_duty(void)
{
	char *reason;

	if (RecoveryInProgress())
		return "standby: the lead does this";
	if (!aurora_preloaded)
		return NULL;
	reason = fence_reason();
	if (reason == NULL && synchronous_standby_is_missing())
		reason = "synchronous_standby_names asks for standbys that are not connected";
	return reason;
}

Datum
aurora_lead_duty_sql(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(aurora_lead_duty() == NULL);
}

Datum
aurora_lead_duty_reason(PG_FUNCTION_ARGS)
{
	char *reason = aurora_lead_duty();

	if (reason == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(reason));
}

Datum
aurora_current_timeline(PG_FUNCTION_ARGS)
{
	TimeLineID timeline;

	if (RecoveryInProgress())
		(void) GetXLogReplayRecPtr(&timeline);
	else
		timeline = GetWALInsertionTimeLine();
	PG_RETURN_INT32((int32) timeline);
}

static void
set_up_state(void *memory)
{
	state = memory;
	if (state->began_us == 0)
		state->began_us = aurora_clock_us();
	state->lock = &GetNamedLWLockTranche("aurora_lead")->lock;
}

void
aurora_lead_init(void)
{
	if (aurora_preloaded)
		aurora_memory_add("aurora_lead", sizeof(LeadState), 1, set_up_state);
}
