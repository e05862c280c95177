/*
 * Webhooks: taken as they come, and verified later by who knows how.
 */
#ifndef GATEWAY_WEBHOOK_H
#define GATEWAY_WEBHOOK_H

#include "gateway/request.h"

extern void webhook_take(Request *request);

#endif
