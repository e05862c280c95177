/*
 * The tables of routes, each in the file of its group.
 */
#ifndef GATEWAY_ROUTES_H
#define GATEWAY_ROUTES_H

#include "gateway/route.h"

#define HEALTH_ROUTES 1

extern const Route health_routes[HEALTH_ROUTES];

#endif
