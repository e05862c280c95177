/*
 * Entry of the library: the table of parts, each of which sets itself up.
 */
#include "core/core.h"

#include "events/events.h"
#include "fmgr.h"
#include "gateway/gateway.h"
#include "gpu/gpu.h"
#include "jobs/jobs.h"
#include "miscadmin.h"
#include "priority/priority.h"
#include "registry/registry.h"
#include "secrets/secrets.h"
#include "tenancy/tenancy.h"
#include "utils/guc.h"

PG_MODULE_MAGIC;

extern PGDLLEXPORT void _PG_init(void);

static void (*const part_init[])(void) = {
	aurora_node_init,
	aurora_lead_init,
	aurora_bell_init,
	aurora_link_init,
	aurora_launcher_init,
	aurora_tenancy_init,
	aurora_events_init,
	aurora_registry_init,
	aurora_secrets_init,
	aurora_priority_init,
	aurora_jobs_init,
	aurora_gpu_init,
	aurora_gateway_init,
	/* These two come last: they take what the others have asked for. */
	aurora_memory_init,
	aurora_utility_init,
};

void
_PG_init(void)
{
	aurora_preloaded = process_shared_preload_libraries_in_progress;
	for (int i = 0; i < (int) lengthof(part_init); i++)
		part_init[i]();
	MarkGUCPrefixReserved("aurora");
}
