/*
 * All tables of routes.
 */
#include "gateway/route.h"

#include "gateway/routes.h"

const RouteTable route_tables[] = {
	{health_routes, HEALTH_ROUTES},
	{openai_routes, OPENAI_ROUTES},
	{socket_routes, SOCKET_ROUTES},
	{NULL, 0},
};
