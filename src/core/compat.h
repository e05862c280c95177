/*
 * The one place that knows PostgreSQL's versions: 15 to 17 build from the same sources.
 */
#ifndef AURORA_COMPAT_H
#define AURORA_COMPAT_H

#include "postgres.h"

#if PG_VERSION_NUM < 150000
#error "aurora needs PostgreSQL 15 or later"
#endif

#endif
