/*
 * Looks at all that the worker needs, and says what is there.
 */
#ifndef GPU_CHECK_H
#define GPU_CHECK_H

#include "gpu/config.h"

/* Prints what it finds, and returns the status to end with. Frees the configuration. */
extern int check_run(Config *config);

#endif
