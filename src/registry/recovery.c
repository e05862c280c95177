/*
 * Recovery: runs the node's own recovery command for a service that is down. The command comes from
 * the node's configuration file and gets the service's name as its one argument; attempts wait
 * longer each time and are limited by the hour.
 */
#include "registry/registry.h"

#include <unistd.h>

#include "utils/guc.h"

#define COMMAND_US (120 * 1000000L)
#define LONGEST_BACKOFF_US (600 * 1000000L)
#define HOUR_US (3600 * 1000000L)
#define WELL_US (600 * 1000000L) /* so long up, and the next failure is the first again */
#define MAX_RECORDS 64

/* A run that the lead has not been told of. */
typedef struct Record
{
	char service[AURORA_NODE_NAME_SIZE];
	int attempt;
	int exit_status;
	bool timed_out;
	int64 started_us;
	int64 ended_us;
	char output[2000];
} Record;

static char *recovery_command = NULL;
static int backoff_s = 0;
static int max_per_hour = 0;
static AuroraPoller *poller = NULL;
static Record records[MAX_RECORDS];
static int record_count = 0;

bool
aurora_recovery_is_off(void)
{
	return recovery_command == NULL || recovery_command[0] == '\0';
}

static int
attempts_in_hour(const AuroraRecovery *recovery, int64 now)
{
	int count = 0;

	for (int i = 0; i < (int) lengthof(recovery->hour); i++)
		count += recovery->hour[i] != 0 && now - recovery->hour[i] < HOUR_US;
	return count;
}

static void
keep_record(const AuroraRecovery *recovery, const char *service)
{
	Record *record;

	if (record_count == MAX_RECORDS)
	{
		AuroraBoard *board = aurora_board_lock(true);

		board->agent.drops++;
		aurora_board_unlock();
		return;
	}
	record = &records[record_count++];
	strlcpy(record->service, service, sizeof(record->service));
	record->attempt = recovery->attempt;
	record->exit_status = recovery->command.exit_status;
	record->timed_out = recovery->command.timed_out;
	record->started_us = recovery->command.started_us;
	record->ended_us = aurora_clock_us();
	strlcpy(record->output, recovery->command.tail, sizeof(record->output));
}

static void
finish(AuroraRecovery *recovery, const char *service)
{
	int64 wait = backoff_s * 1000000L;

	recovery->running = false;
	for (int i = 1; i < recovery->attempt && wait < LONGEST_BACKOFF_US; i++)
		wait *= 2;
	recovery->next_us = aurora_clock_us() + Min(wait, LONGEST_BACKOFF_US);
	ereport(LOG, (errmsg("recovery of service \"%s\", attempt %d, ended with status %d", service,
						 recovery->attempt, recovery->command.exit_status)));
	keep_record(recovery, service);
}

static void
begin(AuroraRecovery *recovery, const char *service, int64 now)
{
	const char *arguments[] = {recovery_command, service, NULL};

	recovery->attempt++;
	recovery->hour[recovery->hour_next++ % lengthof(recovery->hour)] = now;
	recovery->running = true;
	if (!aurora_command_start(&recovery->command, poller, arguments, COMMAND_US))
		finish(recovery, service);
}

void
aurora_recovery_step(AuroraRecovery *recovery, const char *service, bool wanted,
					 int64 well_since_us)
{
	int64 now = aurora_clock_us();

	if (recovery->running)
	{
		if (aurora_command_ended(&recovery->command, poller))
			finish(recovery, service);
		return;
	}
	if (well_since_us != 0 && now - well_since_us > WELL_US)
		recovery->attempt = 0;
	if (wanted && !aurora_recovery_is_off() && recovery->next_us <= now &&
		attempts_in_hour(recovery, now) < max_per_hour)
		begin(recovery, service, now);
}

void
aurora_recovery_stop(AuroraRecovery *recovery)
{
	if (recovery->running)
		aurora_command_kill(&recovery->command, poller);
	recovery->running = false;
}

static void
collect(StringInfo messages)
{
	int64 now = aurora_clock_us();

	for (int i = 0; i < record_count; i++)
	{
		aurora_message_begin(messages, "recovery");
		aurora_message_text(messages, "service", records[i].service);
		aurora_message_number(messages, "attempt", records[i].attempt);
		aurora_message_number(messages, "exit_status", records[i].exit_status);
		aurora_message_number(messages, "timed_out", records[i].timed_out);
		aurora_message_number(messages, "age_us", now - records[i].started_us);
		aurora_message_number(messages, "duration_us", records[i].ended_us - records[i].started_us);
		aurora_message_text(messages, "output", records[i].output);
		aurora_message_end(messages);
	}
	record_count = 0;
}

void
aurora_recovery_start(AuroraPoller *the_poller)
{
	poller = the_poller;
}

bool
aurora_check_executable(char **value, void **extra, GucSource source)
{
	if ((*value)[0] == '\0' || (*value)[0] == '/')
		return true;
	GUC_check_errdetail("The absolute path of a program is wanted; it gets no shell.");
	return false;
}

void
aurora_recovery_init(void)
{
	DefineCustomStringVariable("aurora.recovery_command",
							   "Program that recovers a service that is down; gets its name as "
							   "argument. Empty for none.",
							   "An absolute path, in the node's own configuration file.",
							   &recovery_command, "", PGC_SIGHUP,
							   GUC_SUPERUSER_ONLY | GUC_DISALLOW_IN_AUTO_FILE,
							   aurora_check_executable, NULL, NULL);
	DefineCustomIntVariable("aurora.recovery_backoff",
							"Time after the first attempt to recover a service; doubles with each.",
							NULL, &backoff_s, 10, 1, 3600, PGC_SIGHUP, GUC_UNIT_S, NULL, NULL,
							NULL);
	DefineCustomIntVariable("aurora.recovery_max_per_hour",
							"Most attempts to recover one service within an hour.", NULL,
							&max_per_hour, 5, 1, 60, PGC_SIGHUP, 0, NULL, NULL, NULL);
	aurora_outbox_add_source(collect, NULL);
}
