/*
 * Finding queues, and who may take from them.
 */
#include "jobs/jobs.h"

#include "access/genam.h"
#include "catalog/pg_type.h"
#include "events/events.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#define DEFAULT_QUEUE "default" /* made when it is first needed */

/* Columns of aurora.job_queue, in table order. */
enum
{
	QUEUE_ID,
	QUEUE_COMPANY_ID,
	QUEUE_NAME,
	QUEUE_LEASE,
	QUEUE_MAX_ATTEMPTS,
	QUEUE_RETRY_DELAY,
	QUEUE_RETRY_DELAY_MAX,
	QUEUE_PAUSED_AT,
	QUEUE_DRAINED_AT,
	QUEUE_CREATED_AT,
	QUEUE_NORMAL_SLACK,
	QUEUE_BATCH_SLACK
};

/* Columns of aurora.node that are read here. */
enum
{
	NODE_NAME = 0,
	NODE_LOGIN_ROLE = 3,
	NODE_DRAINED_AT = 4
};

PG_FUNCTION_INFO_V1(aurora_find_queue);
PG_FUNCTION_INFO_V1(aurora_require_taker);

int64
aurora_interval_us(const Interval *interval)
{
	return interval->time + ((int64) interval->day + interval->month * 30) * USECS_PER_DAY;
}

static AuroraQueue *
read_queue(const AuroraScan *scan)
{
	AuroraQueue *queue = palloc(sizeof(AuroraQueue));

	queue->queue_id = DatumGetInt32(scan->values[QUEUE_ID]);
	queue->company_id =
		scan->nulls[QUEUE_COMPANY_ID] ? 0 : DatumGetInt32(scan->values[QUEUE_COMPANY_ID]);
	queue->name = TextDatumGetCString(scan->values[QUEUE_NAME]);
	queue->lease_us = aurora_interval_us(DatumGetIntervalP(scan->values[QUEUE_LEASE]));
	queue->slack_us[AURORA_JOB_INTERACTIVE] = 0;
	queue->slack_us[AURORA_JOB_NORMAL] =
		aurora_interval_us(DatumGetIntervalP(scan->values[QUEUE_NORMAL_SLACK]));
	queue->slack_us[AURORA_JOB_BATCH] =
		aurora_interval_us(DatumGetIntervalP(scan->values[QUEUE_BATCH_SLACK]));
	queue->max_attempts = DatumGetInt32(scan->values[QUEUE_MAX_ATTEMPTS]);
	queue->is_paused = !scan->nulls[QUEUE_PAUSED_AT];
	queue->is_drained = !scan->nulls[QUEUE_DRAINED_AT];
	return queue;
}

/*
 * The queues of that name, or of that number when there is no name.
 */
static List *
read_queues(text *name, int32 queue_id, Snapshot snapshot)
{
	List *found = NIL;
	AuroraScan scan;
	ScanKeyData key;

	if (name)
		ScanKeyInit(&key, QUEUE_NAME + 1, BTEqualStrategyNumber, F_TEXTEQ, PointerGetDatum(name));
	else
		ScanKeyInit(&key, QUEUE_ID + 1, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(queue_id));
	aurora_scan_open(&scan, "job_queue", name ? "job_queue_name_key" : "job_queue_pkey", snapshot,
					 1, &key);
	while (aurora_scan_next(&scan))
		found = lappend(found, read_queue(&scan));
	aurora_scan_close(&scan);
	return found;
}

static void
no_queue(text *name)
{
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("there is no queue \"%s\"", text_to_cstring(name)),
					errhint("aurora.add_queue() makes one; aurora.queue shows those there are.")));
}

/*
 * The number of the company that the call names; -1 when the caller does not belong to it. Without
 * a name that of the caller's first company, or 0 when it has none.
 */
static int32
company_of(text *company, Snapshot snapshot)
{
	AuroraIdentity *identity = aurora_identity_get(snapshot);
	int32 company_id;

	if (company == NULL)
		return identity->principals == NIL
				   ? 0
				   : ((AuroraPrincipal *) linitial(identity->principals))->company_id;
	if (!aurora_company_find(company, snapshot, &company_id))
		return -1;
	return identity->administers_all || aurora_identity_in(identity, company_id) ? company_id : -1;
}

/*
 * Among the queues of one name the one that the call means.
 */
static AuroraQueue *
choose_queue(List *found, text *name, text *company, Snapshot snapshot)
{
	AuroraQueue *shared = NULL;
	int32 company_id;
	ListCell *cell;

	if (found == NIL)
		no_queue(name);
	if (list_length(found) == 1 && company == NULL &&
		((AuroraQueue *) linitial(found))->company_id == 0)
		return linitial(found);
	company_id = company_of(company, snapshot);
	if (company_id < 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("there is no company \"%s\" that the caller belongs to",
							   text_to_cstring(company)),
						errhint("Without a company the shared queue is meant, or that of the "
								"caller's own company.")));
	foreach (cell, found)
	{
		AuroraQueue *queue = lfirst(cell);

		if (queue->company_id == company_id && company_id > 0)
			return queue;
		if (queue->company_id == 0)
			shared = queue;
	}
	/* An administrator who belongs nowhere means the only one there is. */
	if (shared == NULL && company_id == 0 && list_length(found) == 1 &&
		aurora_identity_get(snapshot)->administers_all)
		shared = linitial(found);
	if (shared == NULL)
		no_queue(name);
	return shared;
}

AuroraQueue *
aurora_queue_find(text *name, text *company, Snapshot snapshot)
{
	return choose_queue(read_queues(name, 0, snapshot), name, company, snapshot);
}

AuroraQueue *
aurora_queue_need(text *name, text *company, Snapshot snapshot)
{
	List *found = read_queues(name, 0, snapshot);
	bool isnull;

	if (found == NIL && strcmp(text_to_cstring(name), DEFAULT_QUEUE) == 0)
	{
		(void) aurora_jobs_call("SELECT aurora.make_default_queue()", 0, NULL, NULL, NULL, &isnull);
		found = read_queues(name, 0, NULL);
	}
	return choose_queue(found, name, company, snapshot);
}

AuroraQueue *
aurora_queue_get(int32 queue_id, Snapshot snapshot)
{
	List *found = read_queues(NULL, queue_id, snapshot);

	return found == NIL ? NULL : linitial(found);
}

/*
 * What those hear who LISTEN on aurora_queue: of a company's own queue its number only, since they
 * may be of another company.
 */
static char *
name_to_carry(int64 queue_id)
{
	AuroraQueue *queue = aurora_queue_get((int32) queue_id, GetActiveSnapshot());

	if (queue == NULL)
		return NULL;
	return queue->company_id == 0 ? queue->name : psprintf("%d", queue->queue_id);
}

void
aurora_queue_init(void)
{
	aurora_courier_carry(AURORA_BELL_QUEUE, "aurora_queue", name_to_carry);
}

/* ---- who takes ---- */

static bool
role_has(Oid role, const char *group)
{
	Oid oid = get_role_oid(group, true);

	return OidIsValid(oid) && has_privs_of_role(role, oid);
}

/*
 * Shared queues carry the jobs of all companies: nodes, operators and administrators take from
 * them. Of a company's own queue its principals do, too.
 */
void
aurora_queue_require_taker(const AuroraQueue *queue, Snapshot snapshot)
{
	AuroraCaller caller = aurora_caller_now();

	if (aurora_assumed_node())
		return;
	if (OidIsValid(caller.role) && caller.principal == 0 &&
		(superuser_arg(caller.role) || role_has(caller.role, "aurora_node") ||
		 role_has(caller.role, "aurora_operator") || role_has(caller.role, "aurora_admin")))
		return;
	if (queue->company_id != 0 &&
		aurora_identity_in(aurora_identity_get(snapshot), queue->company_id) != NULL)
		return;
	ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					errmsg("permission denied to take jobs of queue \"%s\"", queue->name),
					errhint("Members of aurora_node and aurora_operator take from shared queues; a "
							"company's principals from its own, which aurora.add_queue() makes.")));
}

/*
 * A member of aurora_node that is no registered node goes by its role's name, so that it has no
 * more than what it took either; operators may help with what any taker has.
 */
char *
aurora_queue_node(Snapshot snapshot, bool *is_drained)
{
	AuroraCaller caller = aurora_caller_now();
	char *node = NULL;
	AuroraScan scan;
	ScanKeyData key;
	NameData name;

	const char *assumed = aurora_assumed_node();

	*is_drained = false;
	if (!assumed && (!OidIsValid(caller.role) || superuser_arg(caller.role) ||
					 caller.principal != 0 || !role_has(caller.role, "aurora_node")))
		return NULL;
	namestrcpy(&name, GetUserNameFromId(caller.role, false));
	if (assumed)
		ScanKeyInit(&key, NODE_NAME + 1, BTEqualStrategyNumber, F_TEXTEQ,
					CStringGetTextDatum(assumed));
	else
		ScanKeyInit(&key, NODE_LOGIN_ROLE + 1, BTEqualStrategyNumber, F_NAMEEQ,
					NameGetDatum(&name));
	aurora_scan_open(&scan, "node", assumed ? "node_pkey" : "node_login_role_key", snapshot, 1,
					 &key);
	if (aurora_scan_next(&scan))
	{
		node = TextDatumGetCString(scan.values[NODE_NAME]);
		*is_drained = !scan.nulls[NODE_DRAINED_AT];
	}
	aurora_scan_close(&scan);
	if (node == NULL && assumed)
		node = pstrdup(assumed);
	if (node == NULL && !role_has(caller.role, "aurora_operator") &&
		!role_has(caller.role, "aurora_admin"))
		node = pstrdup(NameStr(name));
	return node;
}

bool
aurora_queue_node_has(const char *node, const char *taker)
{
	size_t length = strlen(node);

	return taker && strncmp(taker, node, length) == 0 &&
		   (taker[length] == '\0' || taker[length] == '/');
}

/*
 * find_queue(queue, company)
 */
Datum
aurora_find_queue(PG_FUNCTION_ARGS)
{
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("the queue may not be null")));
	PG_RETURN_INT32(aurora_queue_find(PG_GETARG_TEXT_PP(0),
									  PG_ARGISNULL(1) ? NULL : PG_GETARG_TEXT_PP(1),
									  GetActiveSnapshot())
						->queue_id);
}

/*
 * require_taker(queue_id, taker)
 */
Datum
aurora_require_taker(PG_FUNCTION_ARGS)
{
	AuroraQueue *queue = aurora_queue_get(PG_GETARG_INT32(0), GetActiveSnapshot());
	AuroraQueue removed = {.name = "?"};
	bool is_drained;
	char *node;

	aurora_queue_require_taker(queue ? queue : &removed, GetActiveSnapshot());
	node = aurora_queue_node(GetActiveSnapshot(), &is_drained);
	if (node && !PG_ARGISNULL(1) &&
		!aurora_queue_node_has(node, text_to_cstring(PG_GETARG_TEXT_PP(1))))
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("node \"%s\" does not have this job", node)));
	PG_RETURN_VOID();
}

/* ---- texts ---- */

void
aurora_job_check_text(const char *what, const char *value)
{
	if (value == NULL)
		return;
	if (value[0] == '\0' || pg_mbstrlen(value) > AURORA_JOB_TEXT_SIZE)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("a job's %s has 1 to %d characters", what, AURORA_JOB_TEXT_SIZE)));
	for (const char *c = value; *c; c++)
		if ((unsigned char) *c < 0x20 || *c == 0x7f)
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg("a job's %s may have no control characters", what)));
}
