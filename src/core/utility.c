/*
 * What the library does around utility commands: the background processes leave a database that a
 * command needs for itself, and CREATE, ALTER and DROP EXTENSION aurora on a standby answer as a
 * person expects. Also what CREATE EXTENSION tells at its end.
 */
#include "core/core.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/objectaddress.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "tcop/cmdtag.h"
#include "tcop/utility.h"

static ProcessUtility_hook_type previous_utility_hook = NULL;
static char *(*describe_node)(void) = NULL;

PG_FUNCTION_INFO_V1(aurora_announce_missing);

void
aurora_utility_describe_node(char *(*describe)(void) )
{
	describe_node = describe;
}

/* ---- the extension on a standby ---- */

static bool
drops_aurora(const DropStmt *command)
{
	ListCell *lc;

	if (command->removeType != OBJECT_EXTENSION)
		return false;
	foreach (lc, command->objects)
		if (strcmp(strVal(lfirst(lc)), "aurora") == 0)
			return true;
	return false;
}

static bool
alters_aurora(Node *command)
{
	switch (nodeTag(command))
	{
		case T_AlterExtensionStmt:
			return strcmp(((AlterExtensionStmt *) command)->extname, "aurora") == 0;
		case T_AlterExtensionContentsStmt:
			return strcmp(((AlterExtensionContentsStmt *) command)->extname, "aurora") == 0;
		case T_AlterObjectSchemaStmt:
			return ((AlterObjectSchemaStmt *) command)->objectType == OBJECT_EXTENSION &&
				   strcmp(strVal(((AlterObjectSchemaStmt *) command)->object), "aurora") == 0;
		case T_DropStmt:
			return drops_aurora((DropStmt *) command);
		default:
			return false;
	}
}

static bool
creates_aurora(Node *command)
{
	return IsA(command, CreateExtensionStmt) &&
		   strcmp(((CreateExtensionStmt *) command)->extname, "aurora") == 0;
}

/*
 * Answers a command on the extension on a standby; false when the command is none of these.
 */
static bool
answered_on_standby(Node *command, QueryCompletion *completion)
{
	if (!(creates_aurora(command) || alters_aurora(command)) || !RecoveryInProgress())
		return false;
	if (!creates_aurora(command) || !aurora_extension_exists())
		aurora_lead_require();
	ereport(NOTICE, (errmsg("extension \"aurora\" has come by replication"),
					 describe_node ? errdetail("%s", describe_node()) : 0));
	if (completion)
		SetQueryCompletion(completion, CMDTAG_CREATE_EXTENSION, 0);
	return true;
}

/* ---- commands that want a database for themselves ---- */

static const char *
option_value(List *options, const char *name)
{
	ListCell *lc;

	foreach (lc, options)
	{
		DefElem *option = lfirst_node(DefElem, lc);

		if (strcmp(option->defname, name) == 0 && option->arg)
			return defGetString(option);
	}
	return NULL;
}

/*
 * The database that a command needs nobody connected to, or NULL.
 */
static const char *
database_wanted_alone(Node *command)
{
	switch (nodeTag(command))
	{
		case T_DropdbStmt:
			return ((DropdbStmt *) command)->dbname;
		case T_CreatedbStmt:
			return option_value(((CreatedbStmt *) command)->options, "template");
		case T_RenameStmt:
			return ((RenameStmt *) command)->renameType == OBJECT_DATABASE
					   ? ((RenameStmt *) command)->subname
					   : NULL;
		case T_AlterDatabaseStmt:
			return option_value(((AlterDatabaseStmt *) command)->options, "tablespace")
					   ? ((AlterDatabaseStmt *) command)->dbname
					   : NULL;
		default:
			return NULL;
	}
}

static void
run_utility(PlannedStmt *statement, const char *query, bool read_only_tree,
			ProcessUtilityContext context, ParamListInfo params, QueryEnvironment *environment,
			DestReceiver *receiver, QueryCompletion *completion)
{
	const char *database = database_wanted_alone(statement->utilityStmt);

	if (answered_on_standby(statement->utilityStmt, completion))
		return;
	if (database)
		aurora_launcher_hold(database);
	PG_TRY();
	{
		if (previous_utility_hook)
			previous_utility_hook(statement, query, read_only_tree, context, params, environment,
								  receiver, completion);
		else
			standard_ProcessUtility(statement, query, read_only_tree, context, params, environment,
									receiver, completion);
	}
	PG_FINALLY();
	{
		if (database)
			aurora_launcher_release();
	}
	PG_END_TRY();
}

/* ---- what CREATE EXTENSION tells ---- */

static bool announce_at_commit = false;

/*
 * Tells at commit, since CREATE EXTENSION silences notices while its script runs.
 */
static void
announce(XactEvent event, void *arg)
{
	bool pending = announce_at_commit;

	if (event != XACT_EVENT_PRE_COMMIT && event != XACT_EVENT_ABORT)
		return;
	announce_at_commit = false;
	if (!pending || event == XACT_EVENT_ABORT)
		return;
	if (!aurora_preloaded)
		ereport(NOTICE,
				(errmsg("aurora is not in shared_preload_libraries: its background worker "
						"does not run"),
				 errhint("Everything else works. Add aurora to shared_preload_libraries and "
						 "restart to have the worker.")));
	else if (get_database_oid(aurora_database_name(), true) != MyDatabaseId)
		ereport(NOTICE, (errmsg("aurora's background worker runs in database \"%s\"",
								aurora_database_name()),
						 errhint("To have it here, set aurora.database to this one and reload.")));
	else if (SessionReplicationRole == SESSION_REPLICATION_ROLE_REPLICA)
		ereport(NOTICE, (errmsg("aurora's background workers rest until this session has ended, "
								"since it restores a dump"),
						 errhint("session_replication_role is \"replica\" here.")));
}

Datum
aurora_announce_missing(PG_FUNCTION_ARGS)
{
	announce_at_commit = true;
	aurora_restore_begin();
	PG_RETURN_VOID();
}

void
aurora_utility_init(void)
{
	RegisterXactCallback(announce, NULL);
	if (!aurora_preloaded)
		return;
	previous_utility_hook = ProcessUtility_hook;
	ProcessUtility_hook = run_utility;
}
