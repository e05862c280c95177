/*
 * The registry: nodes, their agents, and how they are.
 *
 * The "agent" is the process that runs on every node. It sends a "heartbeat" to the lead, "probes"
 * its peers, "checks" services, and shows what it has seen itself on the "board" in shared memory,
 * where it can be read when the lead is gone. A "report" is what other processes of this node hand
 * to the agent for the lead.
 */
#ifndef AURORA_REGISTRY_H
#define AURORA_REGISTRY_H

#include "core/core.h"
#include "lib/stringinfo.h"
#include "shared/registry_names.h"
#include "utils/guc.h"

#define AURORA_VERSION "1.0"
#define AURORA_DETAIL_SIZE 240
#define AURORA_TARGET_SIZE 512
#define AURORA_ADDRESS_SIZE 48
#define AURORA_MAX_PEERS 256
#define AURORA_MAX_CHECKS 128
#define AURORA_MAX_REPORTS 256
#define AURORA_REPORT_SIZE 1024

/* ---- board.c ---- */

/* What this node knows of a peer from its own probes; times are of aurora_clock_us(), 0 for never.
 */
typedef struct AuroraPeerSeen
{
	char name[AURORA_NODE_NAME_SIZE];
	char address[AURORA_ADDRESS_SIZE];
	int port;
	int rtt_us;
	int64 attempt_us;
	int64 success_us;
	int failures; /* attempts since the last success */
	uint32 timeline;
	uint64 receive_lsn;
	uint64 replay_lsn;
	AuroraEpoch epoch; /* timeline 0 for none */
	char detail[AURORA_DETAIL_SIZE];
} AuroraPeerSeen;

typedef struct AuroraServiceSeen
{
	char name[AURORA_NODE_NAME_SIZE];
	bool is_api;
	AuroraHealth state;
	int64 since_us;
	int64 checked_us;
	int latency_us; /* -1 when unknown */
	char detail[AURORA_DETAIL_SIZE];
} AuroraServiceSeen;

typedef struct AuroraReport
{
	char kind[32];
	char key[96];
	char body[AURORA_REPORT_SIZE]; /* JSON */
	int64 reported_us;
	uint64 change; /* 0 for a free place; counts up with each change of the body */
	bool delivered;
} AuroraReport;

typedef struct AuroraAgentSeen
{
	int64 step_us;
	int64 beat_us; /* when the replicated heartbeat was last seen to move */
	int64 ack_us;  /* when the lead last answered a report */
	int64 beat;
	bool is_lead;
	char link[16];
	char lead_host[AURORA_DETAIL_SIZE];
	char error[AURORA_DETAIL_SIZE];
	char rejection[AURORA_DETAIL_SIZE];
	char listening[AURORA_DETAIL_SIZE]; /* address and port, or why not */
	int64 drops;
	int64 rejected;
} AuroraAgentSeen;

/* Shared by all processes of the node; guarded by the lock. */
typedef struct AuroraBoard
{
	struct LWLock *lock;
	AuroraAgentSeen agent;
	int peer_count;
	AuroraPeerSeen peers[AURORA_MAX_PEERS];
	int service_count;
	AuroraServiceSeen services[AURORA_MAX_CHECKS];
	int64 report_drops;
	uint64 report_changes;
	AuroraReport reports[AURORA_MAX_REPORTS];
} AuroraBoard;

extern void aurora_board_init(void);
extern AuroraBoard *aurora_board_lock(bool to_change);
extern void aurora_board_unlock(void);
extern const char *aurora_health_label(AuroraHealth health);

/* ---- command.c ---- */

/* A program that runs beside the agent: no shell, output and errors into "tail". */
typedef struct AuroraCommand
{
	int pid; /* 0 when none runs */
	int output;
	bool at_end; /* of its output */
	AuroraPoller *poller;
	int64 started_us;
	int64 deadline_us;
	bool timed_out;
	int exit_status; /* or 128 and the signal, as shells count */
	char tail[2000]; /* the end of what it printed */
	size_t length;
} AuroraCommand;

/* False, with the reason in the tail, when it could not be started. */
extern bool aurora_command_start(AuroraCommand *command, AuroraPoller *poller,
								 const char *const *arguments, int64 timeout_us);

/* True when it has ended. */
extern bool aurora_command_ended(AuroraCommand *command, AuroraPoller *poller);
extern void aurora_command_kill(AuroraCommand *command, AuroraPoller *poller);

/* ---- probe.c ---- */

typedef struct AuroraPeer
{
	char name[AURORA_NODE_NAME_SIZE];
	char address[AURORA_ADDRESS_SIZE];
	int port;
} AuroraPeer;

extern void aurora_probe_init(void);
extern void aurora_probe_start(AuroraPoller *poller);
extern int aurora_probe_port(void);

/* Whom to probe, and where to listen when the configuration does not say. */
extern void aurora_probe_set_peers(const AuroraPeer *peers, int count, const char *own_address);

/* Probes these at once; names with commas between. */
extern void aurora_probe_suspects(const char *names);

/* Sends what is due and takes note of what did not come back; hurried when the lead is away. */
extern void aurora_probe_step(bool hurried);

/* Microseconds until it has something to do. */
extern int64 aurora_probe_next_us(void);

/* True once when a suspect's probe has ended. */
extern bool aurora_probe_has_news(void);

/* ---- check.c ---- */

typedef struct AuroraCheckSpec
{
	char name[AURORA_NODE_NAME_SIZE];
	bool is_api;
	AuroraServiceKind kind;
	char target[AURORA_TARGET_SIZE];
	int expect_status; /* 0 for any below 500 */
	int interval_ms;
	int timeout_ms;
	int fail_threshold;
	int ok_threshold;
	bool recover;
} AuroraCheckSpec;

extern void aurora_check_init(void);
extern void aurora_check_start(AuroraPoller *poller);
extern void aurora_check_set(const AuroraCheckSpec *specs, int count, bool maintenance);
extern void aurora_check_step(void);
extern int64 aurora_check_next_us(void);
extern void aurora_check_stop(void);

/* ---- recovery.c ---- */

/* How a service's recovery goes; part of its check. */
typedef struct AuroraRecovery
{
	AuroraCommand command;
	bool running;
	int attempt; /* since it was last well for long */
	int64 next_us;
	int64 hour[64]; /* when the last attempts began */
	int hour_next;
} AuroraRecovery;

extern void aurora_recovery_init(void);
extern bool aurora_check_executable(char **value, void **extra, GucSource source);
extern void aurora_recovery_start(AuroraPoller *poller);

/* Called now and then; "wanted" while the service is down and may be recovered. */
extern void aurora_recovery_step(AuroraRecovery *recovery, const char *service, bool wanted,
								 int64 well_since_us);
extern void aurora_recovery_stop(AuroraRecovery *recovery);
extern bool aurora_recovery_is_off(void);

/* ---- outbox.c ---- */

/* Appends the head of a message: ,{"kind":KIND,"body":{ and the caller ends it with }} */
extern void aurora_message_begin(StringInfo messages, const char *kind);
extern void aurora_message_text(StringInfo messages, const char *key, const char *value);
extern void aurora_message_number(StringInfo messages, const char *key, int64 value);
extern void aurora_message_end(StringInfo messages);

/* Copies what fits, as valid text in the database's encoding. */
extern void aurora_copy_text(char *to, size_t size, const char *from);

/*
 * Who has messages for the lead: appends some to the array, once each, and is told when they have
 * arrived, if it wants to know.
 */
typedef void (*AuroraCollect)(StringInfo messages);
typedef void (*AuroraDelivered)(void);
extern void aurora_outbox_add_source(AuroraCollect collect, AuroraDelivered delivered);

/* A source has more than it gave: the next batch is wanted as soon as this one has arrived. */
extern void aurora_outbox_ask_again(void);
extern bool aurora_outbox_has_more(void);

/* The batch under way, as a JSON array, and its number; the same until it has arrived. */
extern const char *aurora_outbox_batch(int64 *number);
extern void aurora_outbox_delivered(void);

/* How long ago it was put together; the ages in it are of then. */
extern int64 aurora_outbox_age_us(void);

/* ---- agent.c ---- */

extern int aurora_heartbeat_interval_ms;
extern void aurora_agent_init(void);
extern void aurora_registry_init(void);

#endif
