/*
 * Sets the capability up: settings and duties.
 */
#include "gateway/gateway.h"

#include "jobs/jobs.h"
#include "utils/guc.h"

static int trim_interval_s = 60;
static int trim_webhooks_interval_s = 3600;
static int webhook_backlog = 10000;
static int webhook_retention_days = 30;

static bool
trim_sessions(void)
{
	bool isnull;

	(void) aurora_jobs_call("SELECT aurora.run_duty('trim_sessions')", 0, NULL, NULL, NULL,
							&isnull);
	return false;
}

static bool
trim_webhooks(void)
{
	bool isnull;

	(void) aurora_jobs_call("SELECT aurora.run_duty('trim_webhooks')", 0, NULL, NULL, NULL,
							&isnull);
	return false;
}

void
aurora_gateway_init(void)
{
	aurora_session_init();
	aurora_signing_key_init();
	DefineCustomIntVariable("aurora.webhook_backlog",
							"How many webhooks of a provider may lie unverified.", NULL,
							&webhook_backlog, 10000, 1, 10000000, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("aurora.webhook_retention", "Days for which webhooks are kept.", NULL,
							&webhook_retention_days, 30, 1, 36500, PGC_SIGHUP, 0, NULL, NULL, NULL);
	aurora_worker_add_duty("trim_sessions", trim_sessions, &trim_interval_s, 1000);
	aurora_worker_add_duty("trim_webhooks", trim_webhooks, &trim_webhooks_interval_s, 1000);
}
