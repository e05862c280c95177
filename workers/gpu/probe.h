/*
 * Reads what a model server answers to a probe.
 */
#ifndef GPU_PROBE_H
#define GPU_PROBE_H

#include "gpu/backend.h"

/* The path of a step. */
extern const char *probe_path(ProbeStep step);

/* Takes the answer to a step, which lies in the backend's body; the step that comes next. */
extern ProbeStep probe_take(Backend *backend, ProbeStep step, long status);

/* Gives the backend the models that are configured. */
extern void probe_configured_models(Backend *backend);

#endif
