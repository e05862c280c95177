/*
 * Routes that tell how the gateway and its node are, and what it has, which every listener serves.
 */
#include <stdio.h>
#include <string.h>

#include "gateway/describe.h"
#include "gateway/gateway.h"
#include "gateway/request.h"
#include "gateway/routes.h"

static void
answer_live(Request *request)
{
	request_answer_text(request, 200, "application/json", "{\"status\":\"live\"}");
}

/*
 * With the node's own database the gateway is of use, and with the lead alone too.
 */
static void
answer_ready(Request *request)
{
	bool has_local = pool_is_up(request->gateway->pool, SIDE_LOCAL);
	bool has_lead = pool_is_up(request->gateway->pool, SIDE_LEAD);
	bool is_ready = (has_local || has_lead) && !request->gateway->is_draining;
	Buffer body = {0};

	buffer_print(&body, "{\"status\":\"%s\",\"local\":%s,\"lead\":%s}",
				 !is_ready				 ? "not ready"
				 : has_local && has_lead ? "ready"
										 : "degraded",
				 has_local ? "true" : "false", has_lead ? "true" : "false");
	if (!is_ready)
		request_header(request, "Retry-After", "1");
	request_answer(request, is_ready ? 200 : 503, "application/json", &body);
}

static void
answer_openapi(Request *request)
{
	Buffer body = {0};

	describe_openapi(&body);
	request_answer(request, 200, "application/vnd.oai.openapi+json;version=3.1", &body);
}

const Route health_routes[] = {
	{
		.method = METHOD_GET,
		.path = "/live",
		.group = GROUP_HEALTH,
		.summary = "Whether the gateway runs",
		.roles = ROLE_NOBODY,
		.shape = SHAPE_OWN,
		.handle = answer_live,
		.columns = "status string live\n",
	},
	{
		.method = METHOD_GET,
		.path = "/ready",
		.group = GROUP_HEALTH,
		.summary = "Whether the gateway can answer: 503 when no database can be reached",
		.roles = ROLE_NOBODY,
		.shape = SHAPE_OWN,
		.handle = answer_ready,
		.columns = "status string ready, degraded or not ready\nlocal boolean the node's own "
				   "database\nlead boolean the lead\n",
	},
	{
		.method = METHOD_GET,
		.path = "/health",
		.group = GROUP_HEALTH,
		.summary = "How the mesh is, part by part",
		.sql = "SELECT coalesce((array_agg(state::text ORDER BY array_position(ARRAY['up', "
			   "'maintenance', 'unknown', 'degraded', "
			   "'down'], state::text) DESC))[1], 'unknown') AS state, "
			   "jsonb_agg(jsonb_build_object('component', component, "
			   "'state', state, 'reason', reason) ORDER BY component) AS components FROM "
			   "aurora.health()",
		.roles = ROLE_ANY,
		.shape = SHAPE_ROW,
		.caching = CACHE_ETAG,
		.columns = "state string the worst of all parts\ncomponents array component, state and "
				   "reason of each part\n",
	},
	{
		.method = METHOD_GET,
		.path = "/openapi.json",
		.group = GROUP_HEALTH,
		.summary = "The description of all routes",
		.roles = ROLE_NOBODY,
		.shape = SHAPE_OWN,
		.caching = CACHE_ETAG,
		.handle = answer_openapi,
		.answer = "application/vnd.oai.openapi+json;version=3.1",
	},
};

const size_t health_route_count = sizeof(health_routes) / sizeof(health_routes[0]);
