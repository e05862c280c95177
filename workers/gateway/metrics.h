/*
 * What the gateway counts of itself: requests by route and status, and their times.
 */
#ifndef GATEWAY_METRICS_H
#define GATEWAY_METRICS_H

#include "gateway/gateway.h"
#include "gateway/request.h"

extern Metrics *metrics_open(void);
extern void metrics_close(Metrics *metrics);

/* Counts a request that has ended. */
extern void metrics_count(Metrics *metrics, const Request *request, int status);

/* Answers /metrics: its own numbers, and behind them those of the database. */
extern void metrics_handle(Request *request);

#endif
