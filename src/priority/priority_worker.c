#include "priority/priority.h"
void
aurora_priority_init(void)
{
}
