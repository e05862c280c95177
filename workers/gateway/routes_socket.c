/*
 * The route that becomes a WebSocket.
 */
#include "gateway/peer.h"
#include "gateway/routes.h"

const Route socket_routes[] = {
	{
		.method = METHOD_GET,
		.path = "/ws",
		.group = GROUP_EVENTS,
		.summary = "Follow topics and publish to them over a WebSocket",
		.description =
			"Messages are JSON texts with a \"type\"; docs/events.md has them. Who cannot send a "
			"key in a "
			"header sends it as the first message. Pages connect from allowed origins only. To "
			"follow "
			"takes a key for GET /api/events/{topic}, too, to publish one for POST.",
		.roles = ROLE_ANY,
		.is_open = true,
		.shape = SHAPE_OWN,
		.handle = peer_handle,
	},
};

const size_t socket_route_count = sizeof(socket_routes) / sizeof(socket_routes[0]);
