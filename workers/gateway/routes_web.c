/*
 * Routes of sessions and keys, of webhooks and of metrics.
 */
#include "gateway/routes.h"

#include "gateway/metrics.h"
#include "gateway/session.h"
#include "gateway/webhook.h"

static const char *const roles[] = {"user", "agent", "node", "monitor", NULL};

#define SESSION_COLUMNS                                                                  \
	"csrf string to be sent as X-CSRF-Token with writes\nexpires_at date-time\ncompany " \
	"string\nowner string\n"

const Route web_routes[] = {
	{
		.method = METHOD_POST,
		.path = "/api/session",
		.group = GROUP_WEB,
		.summary = "Log in: by company, owner and password, or by a key",
		.description =
			"Sets the cookie aurora_session. It works on a replica while the lead is away.",
		.roles = ROLE_NOBODY,
		.shape = SHAPE_OWN,
		.handle = session_log_in,
		.parameters = {{.name = "company",
						.place = IN_BODY,
						.type = TYPE_NAME,
						.description = "name of the company"},
					   {.name = "owner",
						.place = IN_BODY,
						.type = TYPE_NAME,
						.description = "name of the person"},
					   {.name = "password",
						.place = IN_BODY,
						.type = TYPE_TEXT,
						.most = 1000,
						.description = "the password",
						.is_secret = true}},
		.columns = SESSION_COLUMNS,
	},
	{
		.method = METHOD_GET,
		.path = "/api/session",
		.group = GROUP_WEB,
		.summary = "Whom the key or the session stands for",
		.roles = ROLE_ANY,
		.shape = SHAPE_OWN,
		.handle = session_show,
		.columns = "key_id integer\nrole string user, agent, node or monitor\ncompany_id "
				   "integer\ncompany string\nowner string\nnode string\n",
	},
	{
		.method = METHOD_DELETE,
		.path = "/api/session",
		.group = GROUP_WEB,
		.summary = "Log out",
		.is_write = true,
		.roles = ROLE_USER,
		.shape = SHAPE_NOTHING,
		.handle = session_log_out,
	},
	{
		.method = METHOD_PUT,
		.path = "/api/password",
		.group = GROUP_WEB,
		.summary = "Set the caller's password, which ends all its sessions",
		.sql = "SELECT aurora.set_password($1)",
		.is_write = true,
		.roles = ROLE_USER,
		.shape = SHAPE_NOTHING,
		.parameters = {{.name = "password",
						.place = IN_BODY,
						.type = TYPE_TEXT,
						.is_required = true,
						.least = 8,
						.most = 72,
						.description = "8 to 72 bytes",
						.is_secret = true}},
	},
	{
		.method = METHOD_GET,
		.path = "/api/keys",
		.group = GROUP_WEB,
		.summary = "The keys that the caller may revoke",
		.sql = "SELECT * FROM aurora.api_keys ORDER BY key_id",
		.roles = ROLE_PRINCIPAL,
		.shape = SHAPE_ROWS,
		.columns = "key_id integer\nname string\nrole string\ncompany string\nowner string\nnode "
				   "string\nroutes array\nexpires_at date-time\n"
				   "is_valid boolean\ncreated_at date-time\ncreated_by string\nrevoked_at "
				   "date-time\nrevoked_by string\n",
	},
	{
		.method = METHOD_POST,
		.path = "/api/keys",
		.group = GROUP_WEB,
		.summary = "Add a key, which is shown this once",
		.sql =
			"SELECT aurora.add_api_key($1, $2, $3, node => $4, routes => $5, lasts => $6) AS key",
		.is_write = true,
		.roles = ROLE_USER,
		.shape = SHAPE_CREATED,
		.parameters =
			{{.name = "name",
			  .place = IN_BODY,
			  .type = TYPE_NAME,
			  .is_required = true,
			  .description = "what it is called"},
			 {.name = "role",
			  .place = IN_BODY,
			  .type = TYPE_TEXT,
			  .standard = "user",
			  .choices = roles,
			  .description = "what it is for"},
			 {.name = "owner",
			  .place = IN_BODY,
			  .type = TYPE_NAME,
			  .description = "whom it stands for; the caller when left out"},
			 {.name = "node",
			  .place = IN_BODY,
			  .type = TYPE_NAME,
			  .description = "of a node's key"},
			 {.name = "routes",
			  .place = IN_BODY,
			  .type = TYPE_TEXTS,
			  .description =
				  "what it may, as \"GET /api/priorities/*\"; all that its role may when left out"},
			 {.name = "lasts",
			  .place = IN_BODY,
			  .type = TYPE_INTERVAL,
			  .description = "how long; for ever when left out"}},
		.columns = "key string\n",
	},
	{
		.method = METHOD_DELETE,
		.path = "/api/keys/{key_id}",
		.group = GROUP_WEB,
		.summary = "Revoke a key, at once",
		.sql = "SELECT aurora.revoke_api_key($1)",
		.is_write = true,
		.roles = ROLE_PRINCIPAL,
		.shape = SHAPE_NOTHING,
		.parameters = {{.name = "key_id",
						.place = IN_PATH,
						.type = TYPE_BIGINT,
						.is_required = true,
						.least = 1,
						.most = 9e18,
						.description = "number of the key"}},
	},
	{
		.method = METHOD_POST,
		.path = "/api/webhooks/{provider}",
		.group = GROUP_WEBHOOKS,
		.summary = "Take in a webhook, stored as it came for later verification",
		.roles = ROLE_NOBODY,
		.is_write = true,
		.shape = SHAPE_OWN,
		.handle = webhook_take,
		.parameters =
			{{.name = "provider",
			  .place = IN_PATH,
			  .type = TYPE_NAME,
			  .is_required = true,
			  .description = "who sends it"},
			 {.name = "body", .place = IN_WHOLE, .type = TYPE_BYTES, .description = "anything"}},
		.columns = "id integer number of the webhook\n",
	},
	{
		.method = METHOD_GET,
		.path = "/metrics",
		.group = GROUP_METRICS,
		.summary = "Numbers of the gateway and of the mesh, as OpenMetrics",
		.roles = ROLE_ANY,
		.shape = SHAPE_OWN,
		.handle = metrics_handle,
		.answer = "application/openmetrics-text",
	},
};

const size_t web_route_count = sizeof(web_routes) / sizeof(web_routes[0]);
