/*
 * Checks: how the services of this node and the watched APIs answer. All run side by side, each at
 * its interval and with a time limit of its own; thresholds in both directions decide the state.
 */
#include "registry/registry.h"

#include "common/pg_prng.h"
#include "registry/transfer.h"
#include "utils/memutils.h"

#define SEND_US (30 * 1000000L) /* what does not change is sent this often */
#define HISTORY 20				/* checks that are looked back on */
#define SHAKY 5					/* failures among them that make a service degraded */

typedef struct Check
{
	AuroraCheckSpec spec;
	AuroraServiceSeen seen;
	int64 next_us;
	int64 started_us; /* 0 when none runs */
	AuroraTransfer transfer;
	AuroraPing *ping;
	bool ping_ended;
	char ping_error[AURORA_DETAIL_SIZE];
	AuroraCommand command;
	AuroraRecovery recovery;
	int fails_in_row;
	int oks_in_row;
	uint32 history; /* a bit for each failure, the last one lowest */
	int64 well_since_us;
	int64 sent_us;
	bool changed;
	int checks; /* since last sent, as the next three */
	int failures;
	int64 latency_sum_us;
	int64 latency_max_us;
	bool kept; /* while specs are taken over */
} Check;

static char *check_command = NULL;
static AuroraPoller *poller = NULL;
static Check *checks[AURORA_MAX_CHECKS];
static int check_count = 0;
static bool in_maintenance = false;

/* ---- results ---- */

static int
failures_in_history(const Check *check)
{
	return __builtin_popcount(check->history & ((1U << HISTORY) - 1));
}

static AuroraHealth
next_state(const Check *check, bool ok)
{
	AuroraHealth state = check->seen.state;

	if (check->fails_in_row >= check->spec.fail_threshold)
		return AURORA_HEALTH_DOWN;
	if (state == AURORA_HEALTH_DOWN && check->oks_in_row < check->spec.ok_threshold)
		return AURORA_HEALTH_DOWN;
	if (state == AURORA_HEALTH_UNKNOWN && !ok)
		return AURORA_HEALTH_UNKNOWN;
	return failures_in_history(check) >= SHAKY ? AURORA_HEALTH_DEGRADED : AURORA_HEALTH_UP;
}

static void
take_result(Check *check, const char *error)
{
	int64 now = aurora_clock_us();
	int64 latency = now - check->started_us;
	bool ok = error == NULL;
	AuroraHealth state;

	check->started_us = 0;
	check->fails_in_row = ok ? 0 : check->fails_in_row + 1;
	check->oks_in_row = ok ? check->oks_in_row + 1 : 0;
	check->history = check->history << 1 | !ok;
	if (!ok)
		check->well_since_us = 0;
	else if (check->well_since_us == 0)
		check->well_since_us = now;
	check->checks++;
	check->failures += !ok;
	check->latency_sum_us += latency;
	check->latency_max_us = Max(check->latency_max_us, latency);
	check->seen.checked_us = now;
	check->seen.latency_us = (int) Min(latency, PG_INT32_MAX);
	aurora_copy_text(check->seen.detail, AURORA_DETAIL_SIZE, ok ? "" : error);
	state = next_state(check, ok);
	if (state != check->seen.state)
	{
		check->seen.state = state;
		check->seen.since_us = now;
		check->changed = true;
	}
}

static void
judge_transfer(Check *check)
{
	AuroraTransfer *transfer = &check->transfer;
	int expected = check->spec.expect_status;
	char error[AURORA_DETAIL_SIZE];

	if (!transfer->ok)
		take_result(check, transfer->error);
	else if (check->spec.kind == AURORA_SERVICE_TCP ||
			 (expected == 0 ? transfer->status < 500 : transfer->status == expected))
		take_result(check, NULL);
	else
	{
		snprintf(error, sizeof(error), "HTTP status %d", transfer->status);
		take_result(check, error);
	}
}

/*
 * The last line of the output tells why.
 */
static void
judge_command(Check *check)
{
	AuroraCommand *command = &check->command;
	char *line = command->tail;
	char error[AURORA_DETAIL_SIZE];

	if (!command->timed_out && command->exit_status == 0)
	{
		take_result(check, NULL);
		return;
	}
	while (command->length > 0 && command->tail[command->length - 1] == '\n')
		command->tail[--command->length] = '\0';
	if (strrchr(line, '\n'))
		line = strrchr(line, '\n') + 1;
	if (command->timed_out)
		snprintf(error, sizeof(error), "took too long");
	else
		snprintf(error, sizeof(error), "status %d%s%.180s", command->exit_status, *line ? ": " : "",
				 line);
	take_result(check, error);
}

/* ---- running ---- */

static void
note_pinged(void *argument, const char *error)
{
	Check *check = argument;

	check->ping_ended = true;
	strlcpy(check->ping_error, error ? error : "", AURORA_DETAIL_SIZE);
	for (char *c = check->ping_error; *c; c++)
		if ((unsigned char) *c < ' ')
			*c = ' ';
}

static void
start_command(Check *check, const char *const *arguments)
{
	if (!aurora_command_start(&check->command, poller, arguments, check->spec.timeout_ms * 1000L))
		judge_command(check);
}

static void
start_check(Check *check)
{
	const AuroraCheckSpec *spec = &check->spec;
	const char *const systemd[] = {"/usr/bin/systemctl", "is-active", "--", spec->target, NULL};
	const char *const command[] = {check_command, spec->name, NULL};

	check->started_us = aurora_clock_us();
	check->next_us = check->started_us + spec->interval_ms * 1000L;
	switch (spec->kind)
	{
		case AURORA_SERVICE_TCP:
			aurora_transfer_tcp(&check->transfer, spec->target, spec->timeout_ms);
			break;
		case AURORA_SERVICE_HTTP:
			aurora_transfer_http(&check->transfer, spec->target, spec->timeout_ms, spec->is_api);
			break;
		case AURORA_SERVICE_POSTGRES:
			check->ping_ended = false;
			check->ping = aurora_ping_start(poller, spec->target, note_pinged, check);
			break;
		case AURORA_SERVICE_SYSTEMD:
			start_command(check, systemd);
			break;
		default:
			if (check_command[0] == '\0')
				take_result(check, "aurora.check_command is not set on this node");
			else
				start_command(check, command);
	}
}

static void
end_ping(Check *check)
{
	aurora_ping_cancel(check->ping);
	check->ping = NULL;
}

/*
 * Takes the result of a check that has ended.
 */
static void
go_on(Check *check, int64 now)
{
	switch (check->spec.kind)
	{
		case AURORA_SERVICE_TCP:
		case AURORA_SERVICE_HTTP:
			if (check->transfer.ended)
				judge_transfer(check);
			break;
		case AURORA_SERVICE_POSTGRES:
			if (check->ping_ended)
			{
				end_ping(check);
				take_result(check, check->ping_error[0] ? check->ping_error : NULL);
			}
			else if (now - check->started_us > check->spec.timeout_ms * 1000L)
			{
				end_ping(check);
				take_result(check, "no answer in time");
			}
			break;
		default:
			if (aurora_command_ended(&check->command, poller))
				judge_command(check);
	}
}

static void
stop_check(Check *check)
{
	if (check->ping)
		end_ping(check);
	aurora_transfer_cancel(&check->transfer);
	aurora_command_kill(&check->command, poller);
	check->started_us = 0;
}

static void
show_on_board(void)
{
	AuroraBoard *board = aurora_board_lock(true);

	board->service_count = check_count;
	for (int i = 0; i < check_count; i++)
		board->services[i] = checks[i]->seen;
	aurora_board_unlock();
}

void
aurora_check_step(void)
{
	int64 now = aurora_clock_us();

	aurora_transfer_step();
	for (int i = 0; i < check_count; i++)
	{
		Check *check = checks[i];

		if (check->started_us != 0)
			go_on(check, now);
		else if (check->next_us <= now)
			start_check(check);
		if (check->spec.recover)
			aurora_recovery_step(&check->recovery, check->spec.name,
								 check->seen.state == AURORA_HEALTH_DOWN && !in_maintenance,
								 check->well_since_us);
	}
	show_on_board();
}

/*
 * Programs are looked after every 50 ms while one runs; their end gives no event.
 */
int64
aurora_check_next_us(void)
{
	int64 now = aurora_clock_us();
	int64 next = aurora_transfer_next_us();

	for (int i = 0; i < check_count; i++)
	{
		Check *check = checks[i];

		if (check->command.pid != 0 || check->recovery.running)
			next = Min(next, 50000);
		else if (check->transfer.ended && check->started_us != 0)
			next = 0;
		else if (check->ping)
			next = Min(next, check->ping_ended ? 0 : 100000);
		else if (check->started_us == 0)
			next = Min(next, Max(check->next_us - now, 0));
	}
	return next;
}

/* ---- which checks there are ---- */

static Check *
check_like(const AuroraCheckSpec *spec)
{
	for (int i = 0; i < check_count; i++)
		if (checks[i]->spec.is_api == spec->is_api && checks[i]->spec.kind == spec->kind &&
			strcmp(checks[i]->spec.name, spec->name) == 0 &&
			strcmp(checks[i]->spec.target, spec->target) == 0)
			return checks[i];
	return NULL;
}

/*
 * A new check begins within its first interval, not all at one time.
 */
static Check *
new_check(const AuroraCheckSpec *spec)
{
	Check *check = MemoryContextAllocZero(TopMemoryContext, sizeof(Check));
	int64 first_us = Min(spec->interval_ms, 2000) * 1000L;

	strlcpy(check->seen.name, spec->name, AURORA_NODE_NAME_SIZE);
	check->seen.is_api = spec->is_api;
	check->seen.state = AURORA_HEALTH_UNKNOWN;
	check->seen.since_us = aurora_clock_us();
	check->seen.latency_us = -1;
	check->command.output = -1;
	check->recovery.command.output = -1;
	check->next_us = aurora_clock_us() + (int64) (pg_prng_double(&pg_global_prng_state) * first_us);
	return check;
}

void
aurora_check_set(const AuroraCheckSpec *specs, int count, bool maintenance)
{
	static Check *next[AURORA_MAX_CHECKS];

	in_maintenance = maintenance;
	count = Min(count, AURORA_MAX_CHECKS);
	for (int i = 0; i < count; i++)
	{
		Check *check = check_like(&specs[i]);

		next[i] = check ? check : new_check(&specs[i]);
		next[i]->spec = specs[i];
		next[i]->kept = true;
	}
	for (int i = 0; i < check_count; i++)
	{
		if (checks[i]->kept)
			continue;
		stop_check(checks[i]);
		aurora_recovery_stop(&checks[i]->recovery);
		pfree(checks[i]);
	}
	memcpy(checks, next, count * sizeof(Check *));
	check_count = count;
	for (int i = 0; i < check_count; i++)
		checks[i]->kept = false;
}

void
aurora_check_stop(void)
{
	aurora_check_set(NULL, 0, false);
}

/* ---- messages ---- */

static void
append_service(StringInfo messages, Check *check, int64 now)
{
	aurora_message_begin(messages, "service");
	aurora_message_text(messages, "service", check->seen.name);
	aurora_message_text(messages, "state", aurora_health_label(check->seen.state));
	aurora_message_number(messages, "since_age_us", now - check->seen.since_us);
	aurora_message_number(messages, "age_us", now - check->seen.checked_us);
	aurora_message_number(messages, "latency_us", check->seen.latency_us);
	aurora_message_number(messages, "checks", check->checks);
	aurora_message_number(messages, "failures", check->failures);
	aurora_message_number(messages, "latency_sum_us", check->latency_sum_us);
	aurora_message_number(messages, "latency_max_us", check->latency_max_us);
	aurora_message_text(messages, "detail", check->seen.detail);
	aurora_message_end(messages);
}

static const char *
api_state(const Check *check)
{
	static const char *const labels[] = {
#define API_LABEL(symbol, label) label,
		AURORA_API_STATE_LIST(API_LABEL)
#undef API_LABEL
	};

	if (check->seen.state == AURORA_HEALTH_DOWN)
		return labels[AURORA_API_DOWN];
	if (check->seen.state == AURORA_HEALTH_UP && check->fails_in_row == 0 &&
		check->seen.latency_us < check->spec.timeout_ms * 500L)
		return labels[AURORA_API_HEALTHY];
	return labels[AURORA_API_DEGRADED];
}

static void
append_api(StringInfo messages, Check *check, int64 now)
{
	aurora_message_begin(messages, "connectivity");
	aurora_message_text(messages, "api", check->seen.name);
	aurora_message_text(messages, "status", api_state(check));
	aurora_message_number(messages, "latency_us", check->seen.latency_us);
	aurora_message_number(messages, "age_us", now - check->seen.checked_us);
	aurora_message_text(messages, "detail", check->seen.detail);
	aurora_message_text(messages, "reported_by", "agent");
	aurora_message_end(messages);
}

static void
collect(StringInfo messages)
{
	int64 now = aurora_clock_us();

	for (int i = 0; i < check_count; i++)
	{
		Check *check = checks[i];

		if (check->checks == 0 || !(check->changed || now - check->sent_us > SEND_US))
			continue;
		if (check->spec.is_api)
			append_api(messages, check, now);
		else
			append_service(messages, check, now);
		check->changed = false;
		check->sent_us = now;
		check->checks = check->failures = 0;
		check->latency_sum_us = check->latency_max_us = 0;
	}
}

void
aurora_check_start(AuroraPoller *the_poller)
{
	poller = the_poller;
	aurora_transfer_start_all(poller);
	aurora_recovery_start(poller);
}

void
aurora_check_init(void)
{
	DefineCustomStringVariable(
		"aurora.check_command",
		"Program that checks services of kind command; gets the service's "
		"name as argument. Empty for none.",
		"An absolute path, in the node's own configuration file.", &check_command, "", PGC_SIGHUP,
		GUC_SUPERUSER_ONLY | GUC_DISALLOW_IN_AUTO_FILE, aurora_check_executable, NULL, NULL);
	aurora_recovery_init();
	aurora_outbox_add_source(collect, NULL);
}
