/*
 * Jobs that are there for nobody any more, since the client they were made for has gone.
 */
#ifndef GATEWAY_ABANDON_H
#define GATEWAY_ABANDON_H

#include "gateway/streams.h"

/* Has a job cancelled, as who made it; tried again for a while when the lead is away. */
extern void abandon_job(Streams *streams, const Credential *credential, const char *route,
						int64_t job_id);

/* Once a second. */
extern void abandon_sweep(Streams *streams);
extern void abandon_close(Streams *streams);

#endif
