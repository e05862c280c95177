/*
 * The agent: one process on every node, lead or standby, which tells the lead how the node is. On
 * the lead it tells this to the database itself, and judges how all nodes are.
 */
#include "registry/registry.h"

#include <sys/stat.h>
#include <unistd.h>

#include "access/xact.h"
#include "access/xlog.h"
#include "access/xlogrecovery.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "common/pg_prng.h"
#include "events/events.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "replication/walreceiver.h"
#include "storage/ipc.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#define LISTS_US (5 * 1000000L)			 /* peers and checks are read again */
#define CAPABILITIES_US (600 * 1000000L) /* what the machine has is told again */
#define LONGEST_WAIT_MS 1000
#define REPORT_COLUMNS 7
#define LOCK_TIMEOUT "200ms" /* who probes this node waits for no lock */

int aurora_heartbeat_interval_ms = 0;
static int judge_interval_ms = 0;

static const char report_sql[] =
	"SELECT * FROM aurora.report_heartbeat($1, $2::jsonb, $3::jsonb, $4::bigint)";

/* What the agent keeps between turns. */
static struct
{
	AuroraPoller *poller;
	AuroraLink *link;
	bool standby;
	bool hurried; /* the replicated heartbeat has stopped */
	bool reporting;
	int64 next_read_us;
	int64 next_lists_us;
	int64 next_report_us;
	int64 next_judge_us;
	int64 next_capabilities_us;
	int64 beat;
	int64 beat_at; /* by the clock of the lead that wrote it */
	int64 beat_us;
	bool maintenance;
	char address[AURORA_ADDRESS_SIZE];
	char wal_receiver[32];
	char extension_version[32];
	TimestampTz sent_at;
	int64 skew_us; /* the lead's clock less this one's */
	int64 round_trip_us;
	bool knows_skew;
} agent;

extern PGDLLEXPORT void aurora_agent_main(Datum arg);

/* ---- reading the registry ---- */

/*
 * Runs a query kept as a plan; rows are in SPI_tuptable.
 */
static uint64
query(SPIPlanPtr *plan, const char *sql)
{
	Oid types[1] = {TEXTOID};
	Datum values[1] = {CStringGetTextDatum(aurora_node_name())};

	if (*plan == NULL)
	{
		SPIPlanPtr made = SPI_prepare(sql, 1, types);

		if (made == NULL || SPI_keepplan(made) != 0)
			elog(ERROR, "a query of the agent could not be prepared: %s", sql);
		*plan = made;
	}
	if (SPI_execute_plan(*plan, values, NULL, RecoveryInProgress(), 0) != SPI_OK_SELECT)
		elog(ERROR, "a query of the agent failed: %s", sql);
	return SPI_processed;
}

static void
copy_column(char *to, size_t size, uint64 row, int column)
{
	char *value = SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column);

	strlcpy(to, value ? value : "", size);
}

static int64
number_column(uint64 row, int column)
{
	char *value = SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column);

	return value ? strtoll(value, NULL, 10) : 0;
}

static void
read_epoch(void)
{
	AuroraEpoch epoch = {0};
	char id[64];

	epoch.timeline = (uint32) number_column(0, 6);
	epoch.began_at = number_column(0, 7);
	copy_column(id, sizeof(id), 0, 8);
	if (id[0])
		memcpy(epoch.id, DatumGetUUIDP(DirectFunctionCall1(uuid_in, CStringGetDatum(id)))->data,
			   sizeof(epoch.id));
	aurora_epoch_set_own(&epoch);
}

static bool
read_state(void)
{
	static SPIPlanPtr plan = NULL;
	int64 beat;

	SPI_connect();
	if (query(&plan, "SELECT * FROM aurora.agent_state($1)") == 1)
	{
		beat = number_column(0, 1);
		if (beat != agent.beat)
			agent.beat_us = aurora_clock_us();
		agent.beat = beat;
		copy_column(agent.wal_receiver, sizeof(agent.wal_receiver), 0, 2);
		copy_column(agent.extension_version, sizeof(agent.extension_version), 0, 3);
		copy_column(agent.address, sizeof(agent.address), 0, 4);
		agent.maintenance = number_column(0, 5) != 0;
		agent.beat_at = number_column(0, 9);
		read_epoch();
	}
	SPI_finish();
	return true;
}

static void
read_peers(void)
{
	static SPIPlanPtr plan = NULL;
	static AuroraPeer peers[AURORA_MAX_PEERS];
	uint64 count = Min(query(&plan, "SELECT * FROM aurora.agent_peers($1)"), AURORA_MAX_PEERS);

	for (uint64 i = 0; i < count; i++)
	{
		copy_column(peers[i].name, sizeof(peers[i].name), i, 1);
		copy_column(peers[i].address, sizeof(peers[i].address), i, 2);
		peers[i].port = (int) number_column(i, 3);
	}
	aurora_probe_set_peers(peers, (int) count, agent.address);
}

static void
read_checks(void)
{
	static SPIPlanPtr plan = NULL;
	static AuroraCheckSpec specs[AURORA_MAX_CHECKS];
	uint64 count = Min(query(&plan, "SELECT * FROM aurora.agent_checks($1)"), AURORA_MAX_CHECKS);

	memset(specs, 0, sizeof(specs));
	for (uint64 i = 0; i < count; i++)
	{
		copy_column(specs[i].name, sizeof(specs[i].name), i, 1);
		specs[i].is_api = number_column(i, 2) != 0;
		specs[i].kind = (AuroraServiceKind) number_column(i, 3);
		copy_column(specs[i].target, sizeof(specs[i].target), i, 4);
		specs[i].expect_status = (int) number_column(i, 5);
		specs[i].interval_ms = (int) number_column(i, 6);
		specs[i].timeout_ms = (int) number_column(i, 7);
		specs[i].fail_threshold = (int) number_column(i, 8);
		specs[i].ok_threshold = (int) number_column(i, 9);
		specs[i].recover = number_column(i, 10) != 0;
	}
	aurora_check_set(specs, (int) count, agent.maintenance);
}

static bool
read_lists(void)
{
	SPI_connect();
	read_peers();
	read_checks();
	SPI_finish();
	return true;
}

/* ---- the heartbeat ---- */

/*
 * Tells one data folder on one machine from another that has taken the same name. It stays the same
 * over restarts.
 */
static const char *
instance(void)
{
	static char text[24];
	char seed[1024];
	char host[256] = "";
	char machine[64] = "";
	struct stat folder = {0};
	FILE *file;

	if (text[0])
		return text;
	(void) gethostname(host, sizeof(host) - 1);
	file = AllocateFile("/etc/machine-id", "r");
	if (file)
	{
		if (fgets(machine, sizeof(machine), file) == NULL)
			machine[0] = '\0';
		FreeFile(file);
	}
	(void) stat(DataDir, &folder);
	snprintf(seed, sizeof(seed), "%s|%s|%.600s|%llu|%llu", host, machine, DataDir,
			 (unsigned long long) folder.st_dev, (unsigned long long) folder.st_ino);
	snprintf(text, sizeof(text), "%016llx",
			 (unsigned long long) DatumGetUInt64(
				 hash_any_extended((const unsigned char *) seed, (int) strlen(seed), 0)));
	return text;
}

/*
 * Tells one run of the agent from another; batches are counted within it.
 */
static const char *
incarnation(void)
{
	static char text[24];

	if (text[0] == '\0')
		snprintf(text, sizeof(text), "%016llx",
				 (unsigned long long) pg_prng_uint64(&pg_global_prng_state));
	return text;
}

static void
append_positions(StringInfo body)
{
	XLogRecPtr replay = agent.standby ? GetXLogReplayRecPtr(NULL) : GetFlushRecPtr(NULL);
	XLogRecPtr receive = agent.standby ? Max(GetWalRcvFlushRecPtr(NULL, NULL), replay) : replay;
	char lsn[32];

	snprintf(lsn, sizeof(lsn), "%X/%X", LSN_FORMAT_ARGS(receive));
	aurora_message_text(body, "receive_lsn", lsn);
	snprintf(lsn, sizeof(lsn), "%X/%X", LSN_FORMAT_ARGS(replay));
	aurora_message_text(body, "replay_lsn", lsn);
}

static int64
current_timeline(void)
{
	TimeLineID timeline;

	if (!agent.standby)
		return GetWALInsertionTimeLine();
	(void) GetXLogReplayRecPtr(&timeline);
	return timeline;
}

static const char *
heartbeat(void)
{
	StringInfoData body;
	AuroraBoard *board;
	int64 drops;

	board = aurora_board_lock(false);
	drops = board->agent.drops + board->report_drops;
	aurora_board_unlock();
	initStringInfo(&body);
	appendStringInfoChar(&body, '{');
	aurora_message_text(&body, "instance", instance());
	aurora_message_text(&body, "incarnation", incarnation());
	aurora_message_number(&body, "batch_age_us", aurora_outbox_age_us());
	aurora_message_number(&body, "is_lead", !agent.standby);
	aurora_message_number(&body, "beat", agent.beat);
	aurora_message_number(&body, "beat_at", agent.beat_at);
	aurora_message_number(&body, "timeline", current_timeline());
	append_positions(&body);
	aurora_message_text(&body, "wal_receiver", agent.wal_receiver);
	aurora_message_text(&body, "version", AURORA_VERSION);
	aurora_message_text(&body, "extension_version", agent.extension_version);
	aurora_message_text(&body, "postgres_version", PG_VERSION);
	aurora_message_number(&body, "started_age_us", GetCurrentTimestamp() - PgStartTime);
	aurora_message_number(&body, "agent_port", aurora_probe_port());
	aurora_message_text(&body, "address", agent.address);
	aurora_message_number(&body, "drops", drops);
	if (agent.knows_skew)
	{
		aurora_message_number(&body, "skew_us", -agent.skew_us);
		aurora_message_number(&body, "round_trip_us", agent.round_trip_us);
	}
	appendStringInfoChar(&body, '}');
	return body.data;
}

static void
note_rejections(const char *count, const char *reason)
{
	int64 rejected = count ? strtoll(count, NULL, 10) : 0;
	AuroraBoard *board;

	board = aurora_board_lock(true);
	board->agent.rejected += rejected;
	aurora_copy_text(board->agent.rejection, AURORA_DETAIL_SIZE, reason ? reason : "");
	aurora_board_unlock();
}

/*
 * False when the one that answers is no lead any more.
 */
static bool
note_lead_epoch(const char *const *columns)
{
	AuroraEpoch epoch = {0};

	if (columns[2] == NULL || columns[3] == NULL || columns[4] == NULL)
		return true;
	epoch.timeline = (uint32) strtoul(columns[2], NULL, 10);
	epoch.began_at = strtoll(columns[3], NULL, 10);
	memcpy(epoch.id, DatumGetUUIDP(DirectFunctionCall1(uuid_in, CStringGetDatum(columns[4])))->data,
		   sizeof(epoch.id));
	if (!aurora_epoch_is_current(&epoch))
		return false;
	aurora_epoch_reported_to(&epoch);
	return true;
}

static void
take_columns(const char *const *columns)
{
	AuroraBoard *board;

	aurora_probe_suspects(columns[1]);
	note_rejections(columns[5], columns[6]);
	board = aurora_board_lock(true);
	board->agent.ack_us = aurora_clock_us();
	aurora_board_unlock();
}

static void
take_answer(void *argument, const char *const *columns, int count, const char *error)
{
	TimestampTz now = GetCurrentTimestamp();

	agent.reporting = false;
	if (error || count != REPORT_COLUMNS)
		return;
	if (!note_lead_epoch(columns))
	{
		aurora_link_reject(agent.link, "it has been replaced by a newer lead");
		return;
	}
	agent.round_trip_us = now - agent.sent_at;
	agent.skew_us = strtoll(columns[0], NULL, 10) - (agent.sent_at + agent.round_trip_us / 2);
	agent.knows_skew = true;
	take_columns(columns);
	aurora_outbox_delivered();
}

static void
report_to_lead(void)
{
	int64 number;
	const char *batch = aurora_outbox_batch(&number);
	char number_text[24];
	const char *parameters[4] = {aurora_node_name(), heartbeat(), batch, number_text};

	snprintf(number_text, sizeof(number_text), INT64_FORMAT, number);
	agent.reporting = true;
	agent.sent_at = GetCurrentTimestamp();
	aurora_link_call(agent.link, report_sql, 4, parameters, take_answer, NULL);
}

static bool
report_here(void)
{
	Oid types[4] = {TEXTOID, TEXTOID, TEXTOID, INT8OID};
	Datum values[4];
	const char *columns[REPORT_COLUMNS];
	int64 number;
	const char *batch = aurora_outbox_batch(&number);

	values[0] = CStringGetTextDatum(aurora_node_name());
	values[1] = CStringGetTextDatum(heartbeat());
	values[2] = CStringGetTextDatum(batch);
	values[3] = Int64GetDatum(number);
	SPI_connect();
	if (SPI_execute_with_args(report_sql, 4, types, values, NULL, false, 1) != SPI_OK_SELECT ||
		SPI_processed != 1)
		elog(ERROR, "the heartbeat could not be written");
	for (int i = 0; i < REPORT_COLUMNS; i++)
		columns[i] = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, i + 1);
	take_columns(columns);
	SPI_finish();
	return true;
}

/*
 * Judges the nodes, and learns whom to probe.
 */
static bool
judge(void)
{
	SPI_connect();
	if (SPI_execute("SELECT aurora.judge_nodes()", false, 1) != SPI_OK_SELECT)
		elog(ERROR, "the nodes could not be judged");
	if (SPI_processed == 1)
		aurora_probe_suspects(SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1));
	SPI_finish();
	return true;
}

/* ---- what the machine has ---- */

static void
append_capability(StringInfo messages, const char *name, int64 number)
{
	aurora_message_begin(messages, "capability");
	aurora_message_text(messages, "name", name);
	aurora_message_number(messages, "value", number);
	aurora_message_end(messages);
}

static void
collect_capabilities(StringInfo messages)
{
	int64 now = aurora_clock_us();

	if (now < agent.next_capabilities_us)
		return;
	agent.next_capabilities_us = now + CAPABILITIES_US;
	append_capability(messages, "cpu_cores", sysconf(_SC_NPROCESSORS_ONLN));
	append_capability(messages, "memory_bytes",
					  (int64) sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE));
}

/* ---- the loop ---- */

static void
show_on_board(void)
{
	AuroraBoard *board = aurora_board_lock(true);
	AuroraAgentSeen *seen = &board->agent;

	seen->step_us = aurora_clock_us();
	seen->beat = agent.beat;
	seen->beat_us = agent.beat_us;
	seen->is_lead = !agent.standby;
	strlcpy(seen->link, agent.standby ? aurora_link_state(agent.link) : "local",
			sizeof(seen->link));
	strlcpy(seen->lead_host, agent.standby ? aurora_link_host(agent.link) : "",
			sizeof(seen->lead_host));
	aurora_copy_text(seen->error, sizeof(seen->error),
					 agent.standby ? aurora_link_error(agent.link) : "");
	aurora_board_unlock();
}

static bool
is_due(int64 *next_us, int64 interval_us)
{
	int64 now = aurora_clock_us();

	if (now < *next_us)
		return false;
	*next_us = now + interval_us;
	return true;
}

static void
report(void)
{
	int64 interval_us = aurora_heartbeat_interval_ms * 1000L;
	int64 now = aurora_clock_us();

	if (agent.standby && !aurora_link_is_idle(agent.link))
		return;
	if (now < agent.next_report_us && !aurora_outbox_has_more() &&
		(now < agent.next_report_us - interval_us * 3 / 4 || !aurora_probe_has_news()))
		return;
	agent.next_report_us = aurora_clock_us() + interval_us;
	if (agent.standby)
	{
		/* The lag is told by how far this node is right now. */
		(void) aurora_run_in_transaction("read the registry", read_state);
		agent.next_read_us = aurora_clock_us() + interval_us / 2;
		report_to_lead();
	}
	else if (aurora_run_in_transaction("report", report_here))
		aurora_outbox_delivered();
}

static void
turn(void)
{
	int64 interval_us = aurora_heartbeat_interval_ms * 1000L;

	if (agent.standby != RecoveryInProgress())
	{
		agent.standby = RecoveryInProgress();
		agent.next_read_us = agent.next_lists_us = agent.next_report_us = 0;
	}
	if (is_due(&agent.next_read_us, interval_us / 2))
		(void) aurora_run_in_transaction("read the registry", read_state);
	if (is_due(&agent.next_lists_us, LISTS_US))
		(void) aurora_run_in_transaction("read peers and checks", read_lists);
	agent.hurried = agent.standby && aurora_clock_us() - agent.beat_us > 3 * interval_us;
	if (!agent.standby && is_due(&agent.next_judge_us, judge_interval_ms * 1000L))
		(void) aurora_run_in_transaction("judge the nodes", judge);
	aurora_link_step(agent.link, agent.standby);
	report();
	aurora_probe_step(agent.hurried);
	aurora_check_step();
	show_on_board();
}

static long
wait_ms(void)
{
	int64 now = aurora_clock_us();
	int64 next = Min(agent.next_read_us, agent.next_report_us) - now;

	if (!agent.standby)
		next = Min(next, agent.next_judge_us - now);
	else if (agent.reporting)
		next = agent.next_read_us - now;
	if (aurora_outbox_has_more())
		next = 0;
	next = Min(next, aurora_probe_next_us());
	next = Min(next, aurora_check_next_us());
	if (agent.standby && !aurora_link_is_idle(agent.link))
		next = Max(next, 20000); /* the report waits for the link, whose descriptor wakes us */
	return (long) Min(Max(next / 1000 + 1, 1), LONGEST_WAIT_MS);
}

static void
stop_all(int code, Datum argument)
{
	aurora_check_stop();
}

void
aurora_agent_main(Datum arg)
{
	Oid database = DatumGetObjectId(arg);
	MemoryContext turn_context;
	int64 next_look_us = 0;

	aurora_process_begin(AURORA_PROCESS_AGENT, database);
	SetConfigOption("lock_timeout", LOCK_TIMEOUT, PGC_SUSET, PGC_S_OVERRIDE);
	turn_context =
		AllocSetContextCreate(TopMemoryContext, "aurora agent turn", ALLOCSET_DEFAULT_SIZES);
	agent.poller = aurora_poller_create();
	agent.link = aurora_link_create(agent.poller);
	agent.standby = RecoveryInProgress();
	agent.beat_us = aurora_clock_us();
	aurora_probe_start(agent.poller);
	aurora_check_start(agent.poller);
	before_shmem_exit(stop_all, 0);
	MemoryContextSwitchTo(turn_context);
	while (!is_due(&next_look_us, 2000000L) || aurora_process_is_wanted(database))
	{
		MemoryContextSwitchTo(turn_context);
		turn();
		MemoryContextSwitchTo(turn_context);
		MemoryContextReset(turn_context);
		aurora_poller_wait(agent.poller, wait_ms());
	}
	proc_exit(0);
}

void
aurora_agent_init(void)
{
	DefineCustomIntVariable("aurora.heartbeat_interval",
							"Time between two heartbeats of a node; the same on all nodes.", NULL,
							&aurora_heartbeat_interval_ms, 2000, 200, 60000, PGC_SIGHUP,
							GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable(
		"aurora.judge_interval", "Time after which the lead judges again how the nodes are.", NULL,
		&judge_interval_ms, 500, 100, 60000, PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	aurora_outbox_add_source(collect_capabilities, NULL);
}

/*
 * A duty of the lead: history older than it is kept for.
 */
static bool
forget_history(void)
{
	SPI_connect();
	if (SPI_execute("SELECT aurora.run_duty('forget_transitions')", false, 1) != SPI_OK_SELECT)
		elog(ERROR, "old history could not be deleted");
	SPI_finish();
	return false;
}

/*
 * How nodes are is no secret among the roles of aurora.
 */
static bool
anybody_may_read(const AuroraIdentity *identity, int32 company_id, const char *rest)
{
	return true;
}

void
aurora_registry_init(void)
{
	static int forget_interval_s = 3600;
	static int lag_limit_s;
	static int clock_skew_limit_s;

	aurora_topic_reserve("mesh/nodes", anybody_may_read);
	aurora_board_init();
	aurora_agent_init();
	aurora_probe_init();
	aurora_check_init();
	aurora_worker_add_duty("forget_transitions", forget_history, &forget_interval_s, 1000);
	DefineCustomIntVariable("aurora.lag_limit",
							"Lag behind the lead over which a node is degraded.", NULL,
							&lag_limit_s, 5, 1, 86400, PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomIntVariable("aurora.clock_skew_limit",
							"Difference between a node's clock and the lead's over which the node "
							"is degraded.",
							NULL, &clock_skew_limit_s, 10, 1, 86400, PGC_SIGHUP, GUC_UNIT_S, NULL,
							NULL, NULL);
}
