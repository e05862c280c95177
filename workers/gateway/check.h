/*
 * --check: tries out what the configuration names, and says what it found.
 */
#ifndef GATEWAY_CHECK_H
#define GATEWAY_CHECK_H

#include "gateway/config.h"

/* Returns the exit status; frees the configuration. */
extern int check_run(Config *config);

#endif
