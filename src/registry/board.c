/*
 * The board: what this node's agent has seen itself, and reports for the lead, in shared memory.
 */
#include "registry/registry.h"

#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/lwlock.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/pg_lsn.h"
#include "utils/tuplestore.h"

static AuroraBoard *board = NULL;

PG_FUNCTION_INFO_V1(aurora_agent_status);
PG_FUNCTION_INFO_V1(aurora_local_peers);
PG_FUNCTION_INFO_V1(aurora_local_services);
PG_FUNCTION_INFO_V1(aurora_local_reports);
PG_FUNCTION_INFO_V1(aurora_hand_to_agent);
PG_FUNCTION_INFO_V1(aurora_own_node);

AuroraBoard *
aurora_board_lock(bool to_change)
{
	LWLockAcquire(board->lock, to_change ? LW_EXCLUSIVE : LW_SHARED);
	return board;
}

void
aurora_board_unlock(void)
{
	LWLockRelease(board->lock);
}

/* ---- reading it ---- */

/* Seconds since a time of aurora_clock_us(), or null for never. */
static Datum
age_of(int64 then_us, bool *isnull)
{
	*isnull = then_us == 0;
	return Float8GetDatum(*isnull ? 0 : (aurora_clock_us() - then_us) / 1e6);
}

static Datum
text_or_null(const char *value, bool *isnull)
{
	*isnull = value[0] == '\0';
	return *isnull ? (Datum) 0 : CStringGetTextDatum(value);
}

static void
put_agent(ReturnSetInfo *result)
{
	AuroraAgentSeen seen;
	int64 report_drops;
	Datum values[16] = {0};
	bool nulls[16] = {false};
	char *reason = aurora_lead_duty();
	uint32 starts;
	int pid;

	LWLockAcquire(board->lock, LW_SHARED);
	seen = board->agent;
	report_drops = board->report_drops;
	LWLockRelease(board->lock);
	values[0] = CStringGetTextDatum(aurora_node_name());
	nulls[1] = !aurora_process_runs(AURORA_PROCESS_AGENT, &pid, &starts);
	values[1] = Int32GetDatum(pid);
	values[2] = Int64GetDatum(starts);
	values[3] = text_or_null(seen.link, &nulls[3]);
	values[4] = text_or_null(seen.lead_host, &nulls[4]);
	values[5] = age_of(seen.ack_us, &nulls[5]);
	values[6] = age_of(seen.beat_us, &nulls[6]);
	values[7] = text_or_null(seen.error, &nulls[7]);
	values[8] = text_or_null(seen.listening, &nulls[8]);
	values[9] = Int64GetDatum(seen.drops + report_drops);
	values[10] = Int64GetDatum(seen.rejected);
	values[11] = text_or_null(seen.rejection, &nulls[11]);
	nulls[12] = reason == NULL;
	values[12] = reason ? CStringGetTextDatum(reason) : (Datum) 0;
	values[13] = age_of(seen.step_us, &nulls[13]);
	values[14] =
		BoolGetDatum(RecoveryInProgress() && seen.beat_us != 0 &&
					 aurora_clock_us() - seen.beat_us > 3000L * aurora_heartbeat_interval_ms);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/*
 * One row about the agent of this node; none without the preloaded library.
 */
Datum
aurora_agent_status(PG_FUNCTION_ARGS)
{
	InitMaterializedSRF(fcinfo, 0);
	if (board)
		put_agent((ReturnSetInfo *) fcinfo->resultinfo);
	return (Datum) 0;
}

static void
put_peer(ReturnSetInfo *result, const AuroraPeerSeen *seen)
{
	Datum values[11] = {0};
	bool nulls[11] = {false};

	values[0] = CStringGetTextDatum(seen->name);
	values[1] = text_or_null(seen->address, &nulls[1]);
	values[2] = Int32GetDatum(seen->port);
	nulls[3] = seen->success_us == 0;
	values[3] = Float8GetDatum(seen->rtt_us / 1e3);
	values[4] = age_of(seen->attempt_us, &nulls[4]);
	values[5] = age_of(seen->success_us, &nulls[5]);
	values[6] = Int32GetDatum(seen->failures);
	nulls[7] = nulls[8] = nulls[9] = seen->success_us == 0;
	values[7] = Int32GetDatum((int32) seen->timeline);
	values[8] = LSNGetDatum(seen->receive_lsn);
	values[9] = LSNGetDatum(seen->replay_lsn);
	values[10] = text_or_null(seen->detail, &nulls[10]);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/*
 * What this node's agent has seen of its peers.
 */
Datum
aurora_local_peers(PG_FUNCTION_ARGS)
{
	AuroraPeerSeen *seen;
	int count = 0;

	InitMaterializedSRF(fcinfo, 0);
	if (board == NULL)
		return (Datum) 0;
	seen = palloc(AURORA_MAX_PEERS * sizeof(AuroraPeerSeen));
	LWLockAcquire(board->lock, LW_SHARED);
	count = board->peer_count;
	memcpy(seen, board->peers, count * sizeof(AuroraPeerSeen));
	LWLockRelease(board->lock);
	for (int i = 0; i < count; i++)
		put_peer((ReturnSetInfo *) fcinfo->resultinfo, &seen[i]);
	return (Datum) 0;
}

static const char *const health_labels[] = {
#define HEALTH_LABEL(symbol, label) label,
	AURORA_HEALTH_LIST(HEALTH_LABEL)
#undef HEALTH_LABEL
};

const char *
aurora_health_label(AuroraHealth health)
{
	return health_labels[health];
}

static void
put_service(ReturnSetInfo *result, const AuroraServiceSeen *seen)
{
	Datum values[7] = {0};
	bool nulls[7] = {false};

	values[0] = CStringGetTextDatum(seen->name);
	values[1] = BoolGetDatum(seen->is_api);
	values[2] = CStringGetTextDatum(aurora_health_label(seen->state));
	values[3] = age_of(seen->since_us, &nulls[3]);
	values[4] = age_of(seen->checked_us, &nulls[4]);
	nulls[5] = seen->latency_us < 0;
	values[5] = Float8GetDatum(seen->latency_us / 1e3);
	values[6] = text_or_null(seen->detail, &nulls[6]);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/*
 * What this node's agent has found of the services and APIs that it checks.
 */
Datum
aurora_local_services(PG_FUNCTION_ARGS)
{
	AuroraServiceSeen *seen;
	int count;

	InitMaterializedSRF(fcinfo, 0);
	if (board == NULL)
		return (Datum) 0;
	seen = palloc(AURORA_MAX_CHECKS * sizeof(AuroraServiceSeen));
	LWLockAcquire(board->lock, LW_SHARED);
	count = board->service_count;
	memcpy(seen, board->services, count * sizeof(AuroraServiceSeen));
	LWLockRelease(board->lock);
	for (int i = 0; i < count; i++)
		put_service((ReturnSetInfo *) fcinfo->resultinfo, &seen[i]);
	return (Datum) 0;
}

static void
put_report(ReturnSetInfo *result, const AuroraReport *report)
{
	Datum values[5] = {0};
	bool nulls[5] = {false};

	values[0] = CStringGetTextDatum(report->kind);
	values[1] = CStringGetTextDatum(report->key);
	values[2] = DirectFunctionCall1(jsonb_in, CStringGetDatum(report->body));
	values[3] = age_of(report->reported_us, &nulls[3]);
	values[4] = BoolGetDatum(report->delivered);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/*
 * The latest report of each kind and key that was made on this node.
 */
Datum
aurora_local_reports(PG_FUNCTION_ARGS)
{
	AuroraReport *reports;

	InitMaterializedSRF(fcinfo, 0);
	if (board == NULL)
		return (Datum) 0;
	reports = palloc(AURORA_MAX_REPORTS * sizeof(AuroraReport));
	LWLockAcquire(board->lock, LW_SHARED);
	memcpy(reports, board->reports, AURORA_MAX_REPORTS * sizeof(AuroraReport));
	LWLockRelease(board->lock);
	for (int i = 0; i < AURORA_MAX_REPORTS; i++)
		if (reports[i].change != 0)
			put_report((ReturnSetInfo *) fcinfo->resultinfo, &reports[i]);
	return (Datum) 0;
}

Datum
aurora_own_node(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(aurora_node_name()));
}

/* ---- reports ---- */

/*
 * The place of this kind and key, or a free one, or that of the oldest report that has arrived;
 * NULL when all wait for the lead.
 */
static AuroraReport *
place_for(const char *kind, const char *key)
{
	AuroraReport *place = NULL;

	for (int i = 0; i < AURORA_MAX_REPORTS; i++)
	{
		AuroraReport *report = &board->reports[i];

		if (report->change != 0 && strcmp(report->kind, kind) == 0 && strcmp(report->key, key) == 0)
			return report;
		if (report->change != 0 && !report->delivered)
			continue;
		if (place == NULL || report->change < place->change)
			place = report;
	}
	return place;
}

/*
 * hand_to_agent(kind, key, body): a report for the lead, in place of an earlier one of that key.
 * False when there is no room; that is counted.
 */
Datum
aurora_hand_to_agent(PG_FUNCTION_ARGS)
{
	char *kind = text_to_cstring(PG_GETARG_TEXT_PP(0));
	char *key = text_to_cstring(PG_GETARG_TEXT_PP(1));
	Jsonb *body = PG_GETARG_JSONB_P(2);
	char *json = JsonbToCString(NULL, &body->root, VARSIZE(body));
	AuroraReport *place;

	if (board == NULL)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("this node has no agent that would take the report to the lead"),
						errhint("Add aurora to shared_preload_libraries and restart.")));
	if (strlen(kind) >= sizeof(place->kind) || strlen(key) >= sizeof(place->key) ||
		strlen(json) >= sizeof(place->body))
		ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED), errmsg("the report is too long"),
						errdetail("Its key may have %zu bytes, and its text %zu.",
								  sizeof(place->key) - 1, sizeof(place->body) - 1)));
	LWLockAcquire(board->lock, LW_EXCLUSIVE);
	place = place_for(kind, key);
	if (place)
	{
		strlcpy(place->kind, kind, sizeof(place->kind));
		strlcpy(place->key, key, sizeof(place->key));
		strlcpy(place->body, json, sizeof(place->body));
		place->reported_us = aurora_clock_us();
		place->change = ++board->report_changes;
		place->delivered = false;
	}
	else
		board->report_drops++;
	LWLockRelease(board->lock);
	PG_RETURN_BOOL(place != NULL);
}

/* Changes above this one were made after the batch under way was put together. */
static uint64 collected_up_to = 0;

static void
append_report(StringInfo messages, const AuroraReport *report)
{
	if (messages->len > 1)
		appendStringInfoChar(messages, ',');
	appendStringInfo(messages, "{\"kind\":\"%s\",\"age_us\":" INT64_FORMAT ",\"body\":%s}",
					 report->kind, aurora_clock_us() - report->reported_us, report->body);
}

static void
collect(StringInfo messages)
{
	LWLockAcquire(board->lock, LW_SHARED);
	for (int i = 0; i < AURORA_MAX_REPORTS; i++)
		if (board->reports[i].change != 0 && !board->reports[i].delivered)
			append_report(messages, &board->reports[i]);
	collected_up_to = board->report_changes;
	LWLockRelease(board->lock);
}

static void
note_delivered(void)
{
	LWLockAcquire(board->lock, LW_EXCLUSIVE);
	for (int i = 0; i < AURORA_MAX_REPORTS; i++)
		if (board->reports[i].change <= collected_up_to)
			board->reports[i].delivered = true;
	LWLockRelease(board->lock);
}

/* ---- setting up ---- */

static char *
describe_node(void)
{
	AuroraAgentSeen seen;

	LWLockAcquire(board->lock, LW_SHARED);
	seen = board->agent;
	LWLockRelease(board->lock);
	if (seen.ack_us != 0)
		return psprintf("This node, \"%s\", reports to the lead at %s.", aurora_node_name(),
						seen.lead_host);
	if (seen.error[0] != '\0')
		return psprintf("This node, \"%s\", is not registered yet: %s.", aurora_node_name(),
						seen.error);
	return psprintf("This node, \"%s\", is registered as soon as its agent reaches the lead.",
					aurora_node_name());
}

static void
set_up_board(void *memory)
{
	board = memory;
	board->lock = &GetNamedLWLockTranche("aurora_registry")->lock;
}

void
aurora_board_init(void)
{
	if (!aurora_preloaded)
		return;
	aurora_memory_add("aurora_registry", sizeof(AuroraBoard), 1, set_up_board);
	aurora_utility_describe_node(describe_node);
	aurora_outbox_add_source(collect, note_delivered);
}
