/*
 * Sets the capability up.
 */
#include "gateway/gateway.h"

void
aurora_gateway_init(void)
{
}
