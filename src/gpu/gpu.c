/*
 * Sets the capability up: settings, duties, the queue, whose call it is, and locks.
 */
#include "gpu/gpu.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"

#define QUEUE "gpu"
#define LOCK_OUTPUT 0x6770 /* apart from advisory locks of users, which have 1 and 2 there */
#define LOCK_DEVICE 0x6771

int aurora_gpu_candidates = 32;
int aurora_gpu_report_timeout_s = 15;

static double weights[AURORA_JOB_CLASS_COUNT] = {16, 4, 1};
static int age_scale_s = 60;
static int patience_s = 30;
static int age_limit_s = 120;
static double advantage = 4;
static int leave_margin_ms = 50;
static int leave_age_s = 120;
static double leave_load = 2;
static double slowdown = 0.25;
static int drain_after_s = 10;
static int share_load = 4;
static int reserve_age_s = 2;
static int output_retention_min = 1440;

static int expire_interval_ms = 1000;
static int rotate_interval_s = 3600;

PG_FUNCTION_INFO_V1(aurora_gpu_node);

AuroraGpuSettings
aurora_gpu_settings(void)
{
	return (AuroraGpuSettings) {
		.weight = {weights[AURORA_JOB_INTERACTIVE], weights[AURORA_JOB_NORMAL],
				   weights[AURORA_JOB_BATCH]},
		.age_scale = age_scale_s,
		.patience = patience_s,
		.age_limit = age_limit_s,
		.advantage = advantage,
		.leave_margin = leave_margin_ms / 1000.0,
		.leave_age = leave_age_s,
		.leave_load = leave_load,
		.slowdown = slowdown,
		.drain_after = drain_after_s,
		.share_load = share_load,
		.reserve_age = reserve_age_s,
	};
}

/* ---- the queue, and whose call it is ---- */

AuroraQueue *
aurora_gpu_queue(Snapshot snapshot)
{
	int32 queue_id = 0;
	AuroraScan scan;
	ScanKeyData key;

	ScanKeyInit(&key, 3, BTEqualStrategyNumber, F_TEXTEQ, CStringGetTextDatum(QUEUE));
	aurora_scan_open(&scan, "job_queue", "job_queue_name_key", snapshot, 1, &key);
	while (aurora_scan_next(&scan))
		if (scan.nulls[1])
			queue_id = DatumGetInt32(scan.values[0]);
	aurora_scan_close(&scan);
	return queue_id == 0 ? NULL : aurora_queue_get(queue_id, snapshot);
}

/*
 * Unlike who takes other jobs, a role that is registered for no node has no name to go by.
 */
char *
aurora_gpu_caller_node(Snapshot snapshot)
{
	AuroraCaller caller = aurora_caller_now();
	char *node = NULL;
	AuroraScan scan;
	ScanKeyData key;
	NameData name;

	if (aurora_assumed_node())
		return pstrdup(aurora_assumed_node());
	if (!OidIsValid(caller.role) || superuser_arg(caller.role) || caller.principal != 0)
		return NULL;
	namestrcpy(&name, GetUserNameFromId(caller.role, false));
	ScanKeyInit(&key, 4, BTEqualStrategyNumber, F_NAMEEQ, NameGetDatum(&name));
	aurora_scan_open(&scan, "node", "node_login_role_key", snapshot, 1, &key);
	if (aurora_scan_next(&scan))
		node = TextDatumGetCString(scan.values[0]);
	aurora_scan_close(&scan);
	return node;
}

static bool
node_exists(text *name, Snapshot snapshot)
{
	AuroraScan scan;
	ScanKeyData key;
	bool found;

	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_TEXTEQ, PointerGetDatum(name));
	aurora_scan_open(&scan, "node", "node_pkey", snapshot, 1, &key);
	found = aurora_scan_next(&scan);
	aurora_scan_close(&scan);
	return found;
}

bool
aurora_gpu_caller_operates(void)
{
	bool isnull;
	Datum result = aurora_jobs_call("SELECT aurora.is_operator()", 0, NULL, NULL, NULL, &isnull);

	return !isnull && DatumGetBool(result);
}

char *
aurora_gpu_node_argument(FunctionCallInfo fcinfo, int number, Snapshot snapshot)
{
	text *named = PG_ARGISNULL(number) ? NULL : PG_GETARG_TEXT_PP(number);
	char *given = named ? text_to_cstring(named) : NULL;
	char *node = aurora_gpu_caller_node(snapshot);

	if (node && given && strcmp(node, given) != 0)
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("permission denied to act for node \"%s\"", given),
						errhint("The caller is node \"%s\".", node)));
	if (node)
		return node;
	if (!aurora_gpu_caller_operates())
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("role \"%s\" is the login role of no node",
							   GetUserNameFromId(aurora_caller_now().role, false)),
						errhint("Register the node with aurora.register_node(); operators may "
								"name one.")));
	if (given == NULL)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("no node is named"),
						errhint("An operator says for which node it acts: node => '...'.")));
	if (!node_exists(named, snapshot))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("there is no node \"%s\"", given),
				 errhint("aurora.nodes shows those there are.")));
	return given;
}

/*
 * gpu_node(node)
 */
Datum
aurora_gpu_node(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(aurora_gpu_node_argument(fcinfo, 0, GetActiveSnapshot())));
}

/* ---- locks ---- */

bool
aurora_gpu_lock_output(int64 job_id, bool shared, bool wait)
{
	LOCKTAG tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, (uint32) (job_id >> 32), (uint32) job_id, LOCK_OUTPUT);
	return LockAcquire(&tag, shared ? ShareLock : ExclusiveLock, false, !wait) !=
		   LOCKACQUIRE_NOT_AVAIL;
}

bool
aurora_gpu_lock_device(const char *node, int32 device)
{
	LOCKTAG tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId,
						 DatumGetUInt32(hash_any((const unsigned char *) node, strlen(node))),
						 (uint32) device, LOCK_DEVICE);
	return LockAcquire(&tag, ExclusiveLock, false, true) != LOCKACQUIRE_NOT_AVAIL;
}

/* ---- duties ---- */

static bool
expire_generations(void)
{
	bool isnull;

	(void) aurora_jobs_call("SELECT aurora.expire_generations()", 0, NULL, NULL, NULL, &isnull);
	return false;
}

static bool
rotate_generation_output(void)
{
	bool isnull;

	(void) aurora_jobs_call("SELECT aurora.run_duty('rotate_generation_output')", 0, NULL, NULL,
							NULL, &isnull);
	return false;
}

/* ---- setting up ---- */

static void
define_policy(void)
{
	DefineCustomRealVariable(
		"aurora.gpu_weight_interactive", "How much interactive jobs weigh when a device chooses.",
		NULL, &weights[AURORA_JOB_INTERACTIVE], 16, 0.001, 1e6, PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomRealVariable(
		"aurora.gpu_weight_normal", "How much normal jobs weigh when a device chooses.", NULL,
		&weights[AURORA_JOB_NORMAL], 4, 0.001, 1e6, PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomRealVariable(
		"aurora.gpu_weight_batch", "How much batch jobs weigh when a device chooses.", NULL,
		&weights[AURORA_JOB_BATCH], 1, 0.001, 1e6, PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("aurora.gpu_age_scale",
							"A job that has waited this long counts twice as much.", NULL,
							&age_scale_s, 60, 1, 86400, PGC_SUSET, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomIntVariable(
		"aurora.gpu_leave_margin", "A job is left to a device that has it done sooner by this.",
		NULL, &leave_margin_ms, 50, 0, 3600000, PGC_SUSET, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("aurora.gpu_leave_age",
							"A job that has waited longer is left to no other device.", NULL,
							&leave_age_s, 120, 0, 86400, PGC_SUSET, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomRealVariable(
		"aurora.gpu_leave_load",
		"Loading a model counts so many times when a job may be left to another device.", NULL,
		&leave_load, 2, 1, 100, PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomRealVariable("aurora.gpu_slowdown",
							 "How much longer output takes for each other busy slot.", NULL,
							 &slowdown, 0.25, 0, 10, PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("aurora.gpu_drain_after",
							"An interactive job that has waited this long for memory gets a device "
							"emptied.",
							NULL, &drain_after_s, 10, 0, 86400, PGC_SUSET, GUC_UNIT_S, NULL, NULL,
							NULL);
	DefineCustomIntVariable("aurora.gpu_share_load",
							"Loading a model is shared by up to so many jobs that wait for it.",
							NULL, &share_load, 4, 1, 1000, PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("aurora.gpu_reserve_age",
							"Batch jobs that have waited less leave a device's last slot free.",
							NULL, &reserve_age_s, 2, 0, 86400, PGC_SUSET, GUC_UNIT_S, NULL, NULL,
							NULL);
	DefineCustomIntVariable("aurora.gpu_patience",
							"Beyond this wait, jobs count by it and hardly by their class.", NULL,
							&patience_s, 30, 1, 86400, PGC_SUSET, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomIntVariable("aurora.gpu_age_limit", "A wait counts up to this.", NULL, &age_limit_s,
							120, 0, 86400, PGC_SUSET, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomRealVariable("aurora.gpu_advantage",
							 "How much a device prefers what others run slower, at most.", NULL,
							 &advantage, 4, 1, 1000, PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("aurora.gpu_candidates",
							"Jobs of each class that a device chooses from.", NULL,
							&aurora_gpu_candidates, 32, 1, 1000, PGC_SUSET, 0, NULL, NULL, NULL);
}

void
aurora_gpu_init(void)
{
	define_policy();
	DefineCustomIntVariable(
		"aurora.gpu_report_timeout", "A device whose last report is older does not count as live.",
		NULL, &aurora_gpu_report_timeout_s, 15, 1, 86400, PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomIntVariable("aurora.gpu_output_retention",
							"For how long at least the pieces of streamed text are kept.", NULL,
							&output_retention_min, 1440, 60, 525600, PGC_SIGHUP, GUC_UNIT_MIN, NULL,
							NULL, NULL);
	aurora_worker_add_duty("expire_generations", expire_generations, &expire_interval_ms, 1);
	aurora_worker_add_duty("rotate_generation_output", rotate_generation_output, &rotate_interval_s,
						   1000);
}
