/*
 * Runs a job by a command: the prompt on its standard input, the text on its standard output. It is
 * done when the command ends with status 0.
 */
#ifndef GPU_COMMAND_H
#define GPU_COMMAND_H

#include "gpu/job.h"

extern void command_start(Job *job, const Request *request);

/* Kills what runs of it. */
extern void command_stop(Job *job);

extern void command_resume(Job *job);

/* A child has ended: looks whether it is the job's. */
extern void command_reap(Job *job);

/* Takes notice of those that were killed. */
extern void command_reap_killed(void);

#endif
