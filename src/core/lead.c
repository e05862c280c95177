/*
 * Where writes go: the lead. A standby refuses them and says where the lead is.
 */
#include "core/core.h"

#include "access/xlog.h"
#include "access/xlogrecovery.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "libpq-fe.h"

PG_FUNCTION_INFO_V1(aurora_require_lead);

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
