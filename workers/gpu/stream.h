/*
 * Runs a job on a model server.
 */
#ifndef GPU_STREAM_H
#define GPU_STREAM_H

#include "gpu/job.h"

extern void stream_start(Job *job, const Request *request);

/* Fails one that is broken, for the reason that there is. */
extern void stream_fail_broken(Job *job);

#endif
