/*
 * Routes that tell how the gateway and its node are, which every listener has.
 */
#include "gateway/request.h"
#include "gateway/routes.h"

static void
answer_live(Request *request)
{
	request_answer_text(request, 200, "application/json", "{\"status\":\"live\"}");
}

const Route health_routes[HEALTH_ROUTES] = {
	{
		.method = METHOD_GET,
		.path = "/live",
		.group = GROUP_HEALTH,
		.summary = "Whether the gateway runs",
		.roles = ROLE_NOBODY,
		.shape = SHAPE_OWN,
		.handle = answer_live,
	},
};
