/*
 * The tables of routes, each in the file of its group.
 */
#ifndef GATEWAY_ROUTES_H
#define GATEWAY_ROUTES_H

#include "gateway/route.h"

extern const Route health_routes[];
extern const size_t health_route_count;
extern const Route priorities_routes[];
extern const size_t priorities_route_count;
extern const Route secrets_routes[];
extern const size_t secrets_route_count;
extern const Route registry_routes[];
extern const size_t registry_route_count;
extern const Route gpu_routes[];
extern const size_t gpu_route_count;
extern const Route events_routes[];
extern const size_t events_route_count;
extern const Route web_routes[];
extern const size_t web_route_count;
extern const Route openai_routes[];
extern const size_t openai_route_count;
extern const Route socket_routes[];
extern const size_t socket_route_count;

#endif
