/*
 * Sets the capability up: settings and duties.
 */
#include "gateway/gateway.h"

#include "jobs/jobs.h"

static int trim_interval_s = 60;

static bool
trim_sessions(void)
{
	bool isnull;

	(void) aurora_jobs_call("SELECT aurora.run_duty('trim_sessions')", 0, NULL, NULL, NULL,
							&isnull);
	return false;
}

void
aurora_gateway_init(void)
{
	aurora_session_init();
	aurora_signing_key_init();
	aurora_worker_add_duty("trim_sessions", trim_sessions, &trim_interval_s, 1000);
}
