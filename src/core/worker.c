#include "core/core.h"
#include "miscadmin.h"
bool aurora_preloaded = false;
void
aurora_worker_init(void)
{
}
