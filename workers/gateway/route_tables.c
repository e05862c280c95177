/*
 * All tables of routes.
 */
#include "gateway/route.h"

#include "gateway/routes.h"

const RouteTable route_tables[] = {
	{health_routes, &health_route_count},	{priorities_routes, &priorities_route_count},
	{secrets_routes, &secrets_route_count}, {registry_routes, &registry_route_count},
	{gpu_routes, &gpu_route_count},			{events_routes, &events_route_count},
	{web_routes, &web_route_count},			{openai_routes, &openai_route_count},
	{socket_routes, &socket_route_count},	{NULL, NULL},
};
