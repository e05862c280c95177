/*
 * HTTP requests and TCP connects of the agent, through libcurl's multi interface on the poller.
 */
#ifndef AURORA_TRANSFER_H
#define AURORA_TRANSFER_H

#include "registry/registry.h"

typedef struct AuroraTransfer
{
	void *easy; /* NULL when none runs */
	bool ended;
	bool ok;	/* an answer came, or the connection was made */
	int status; /* of HTTP */
	char error[AURORA_DETAIL_SIZE];
} AuroraTransfer;

extern void aurora_transfer_start_all(AuroraPoller *poller);
extern void aurora_transfer_http(AuroraTransfer *transfer, const char *url, int timeout_ms,
								 bool through_proxy);
extern void aurora_transfer_tcp(AuroraTransfer *transfer, const char *host_and_port,
								int timeout_ms);
extern void aurora_transfer_cancel(AuroraTransfer *transfer);

/* Serves time-outs; and the microseconds until the next. */
extern void aurora_transfer_step(void);
extern int64 aurora_transfer_next_us(void);

#endif
