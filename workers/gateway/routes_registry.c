/*
 * Routes of the registry: nodes, how they reach each other, and the APIs outside.
 */
#include "gateway/routes.h"

static const char *const api_states[] = {"healthy", "degraded", "down", NULL};

#define NODE_COLUMNS                                                                               \
	"name string\nrole string lead, backup, compute or edge\naddress string\n"                     \
	"state string up, degraded, down, unknown or maintenance\nsince date-time\nreason string\n"    \
	"last_heartbeat date-time\nlag_bytes integer\nlag_seconds number\ntimeline integer\nversion "  \
	"string\n"                                                                                     \
	"postgres_version string\ncapabilities object\nuptime_24h number\nuptime_7d "                  \
	"number\nuptime_30d number\n"                                                                  \
	"flaps integer\ndrained boolean\nclock_skew_seconds number\nlost_reports number\nobserved_by " \
	"string\n"

const Route registry_routes[] = {
	{
		.method = METHOD_GET,
		.path = "/nodes",
		.group = GROUP_REGISTRY,
		.summary = "The nodes of the mesh and how they are",
		.sql = "SELECT * FROM aurora.nodes ORDER BY name",
		.roles = ROLE_ANY,
		.shape = SHAPE_ROWS,
		.caching = CACHE_ETAG,
		.columns = NODE_COLUMNS,
	},
	{
		.method = METHOD_GET,
		.path = "/nodes/{node_name}",
		.group = GROUP_REGISTRY,
		.summary = "A node and how it is",
		.sql = "SELECT * FROM aurora.nodes WHERE name = $1",
		.roles = ROLE_ANY,
		.shape = SHAPE_ROW,
		.caching = CACHE_ETAG,
		.parameters = {{.name = "node_name",
						.place = IN_PATH,
						.type = TYPE_NAME,
						.is_required = true,
						.description = "name of the node"}},
		.columns = NODE_COLUMNS,
	},
	{
		.method = METHOD_GET,
		.path = "/nodes/{node_name}/services",
		.group = GROUP_REGISTRY,
		.summary = "The services of a node and how they are",
		.sql = "SELECT * FROM aurora.node_services WHERE node = $1 ORDER BY service",
		.roles = ROLE_ANY,
		.shape = SHAPE_ROWS,
		.caching = CACHE_ETAG,
		.parameters = {{.name = "node_name",
						.place = IN_PATH,
						.type = TYPE_NAME,
						.is_required = true,
						.description = "name of the node"}},
		.columns = "node string\nservice string\nkind string\ntarget string\nstate string\nsince "
				   "date-time\nlast_check date-time\n"
				   "latency_ms number\ndetail string\nchecks_24h integer\nfailures_24h "
				   "integer\navailability_24h number\n"
				   "mean_latency_ms number\nrecover string\n",
	},
	{
		.method = METHOD_GET,
		.path = "/topology",
		.group = GROUP_REGISTRY,
		.summary = "How nodes reach each other",
		.sql = "SELECT * FROM aurora.topology ORDER BY from_node, to_node",
		.roles = ROLE_ANY,
		.shape = SHAPE_ROWS,
		.caching = CACHE_ETAG,
		.columns = "from_node string\nto_node string\naddress string\nrtt_ms number\nlast_success "
				   "date-time\nlast_attempt date-time\nfailures integer\n",
	},
	{
		.method = METHOD_POST,
		.path = "/api/connectivity/status",
		.group = GROUP_REGISTRY,
		.summary = "Report how an API answers, as a node",
		.sql = "SELECT aurora.report_connectivity($1, $2, $3, $4)",
		.is_write = true,
		.roles = ROLE_NODE | ROLE_USER,
		.shape = SHAPE_NOTHING,
		.parameters = {{.name = "api",
						.place = IN_BODY,
						.type = TYPE_NAME,
						.is_required = true,
						.description = "name of the API"},
					   {.name = "status",
						.place = IN_BODY,
						.type = TYPE_TEXT,
						.is_required = true,
						.choices = api_states,
						.description = "how it answers"},
					   {.name = "latency_ms",
						.place = IN_BODY,
						.type = TYPE_NUMBER,
						.least = 0,
						.most = 1e9,
						.description = "how long that took"},
					   {.name = "detail",
						.place = IN_BODY,
						.type = TYPE_TEXT,
						.most = 1000,
						.description = "what it said"}},
	},
	{
		.method = METHOD_GET,
		.path = "/api/connectivity/status",
		.group = GROUP_REGISTRY,
		.summary = "How each API answers on each node",
		.sql = "SELECT * FROM aurora.connectivity WHERE ($1::text IS NULL OR api = $1) ORDER BY "
			   "api, node",
		.roles = ROLE_ANY,
		.shape = SHAPE_ROWS,
		.caching = CACHE_ETAG,
		.parameters = {{.name = "api",
						.place = IN_QUERY,
						.type = TYPE_NAME,
						.description = "of one API only"}},
		.columns = "node string\napi string\nstatus string\nlatency_ms number\ndetail "
				   "string\nreported_by string\n"
				   "reported_at date-time\nsince date-time\nverdict string of the "
				   "mesh\nverdict_since date-time\n",
	},
	{
		.method = METHOD_GET,
		.path = "/api/connectivity/health",
		.group = GROUP_REGISTRY,
		.summary = "How each API is, for the whole mesh",
		.sql = "SELECT api, max(verdict::text) AS verdict, max(verdict_since) AS verdict_since, "
			   "count(*) AS nodes, "
			   "count(*) FILTER (WHERE status = 'healthy') AS healthy_nodes, "
			   "round(avg(latency_ms)::numeric, 1) AS mean_latency_ms, "
			   "max(reported_at) AS reported_at FROM aurora.connectivity GROUP BY api ORDER BY api",
		.roles = ROLE_ANY,
		.shape = SHAPE_ROWS,
		.caching = CACHE_ETAG,
		.columns =
			"api string\nverdict string\nverdict_since date-time\nnodes integer\nhealthy_nodes "
			"integer\nmean_latency_ms number\nreported_at date-time\n",
	},
};

const size_t registry_route_count = sizeof(registry_routes) / sizeof(registry_routes[0]);
