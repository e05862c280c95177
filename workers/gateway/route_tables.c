/*
 * All tables of routes.
 */
#include "gateway/route.h"

#include "gateway/routes.h"

const RouteTable route_tables[] = {
	{health_routes, HEALTH_ROUTES},
	{NULL, 0},
};
