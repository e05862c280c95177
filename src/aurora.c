/*
 * Entry of the library: the table of capabilities, each of which sets itself up.
 */
#include "core/core.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "priority/priority.h"
#include "tenancy/tenancy.h"
#include "utils/guc.h"

PG_MODULE_MAGIC;

extern PGDLLEXPORT void _PG_init(void);

static void (*const capability_init[])(void) = {
	aurora_tenancy_init,
	aurora_priority_init,
};

void
_PG_init(void)
{
	aurora_preloaded = process_shared_preload_libraries_in_progress;
	for (int i = 0; i < (int) lengthof(capability_init); i++)
		capability_init[i]();
	aurora_worker_init();
	MarkGUCPrefixReserved("aurora");
}
