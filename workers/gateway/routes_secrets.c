/*
 * Routes of secrets. Nothing of them is cached or logged.
 */
#include "gateway/routes.h"

#define SERVICE(in)       \
	{.name = "service",   \
	 .place = in,         \
	 .type = TYPE_NAME,   \
	 .is_required = true, \
	 .description = "whose secret it is"}
#define KEY_NAME(in)      \
	{.name = "key_name",  \
	 .place = in,         \
	 .type = TYPE_NAME,   \
	 .is_required = true, \
	 .description = "name of the secret"}
#define NODE(in) \
	{.name = "node", .place = in, .type = TYPE_NAME, .description = "a node that has its own value"}
#define EXPECTED(in)             \
	{.name = "expected_version", \
	 .place = in,                \
	 .type = TYPE_INT,           \
	 .least = 0,                 \
	 .most = 2147483647.0,       \
	 .description = "the version that is to be replaced; 0: there is none yet"}

#define GLOBAL(in)         \
	{.name = "global",     \
	 .place = in,          \
	 .type = TYPE_BOOLEAN, \
	 .standard = "false",  \
	 .description = "for all companies instead of the caller's own"}
#define SCOPE(global)                                                                    \
	"CASE WHEN NOT " global "::boolean THEN (SELECT c.name FROM aurora.whoami() w JOIN " \
	"aurora.company c USING (company_id)) END"

const Route secrets_routes[] = {
	{
		.method = METHOD_GET,
		.path = "/api/secrets",
		.group = GROUP_SECRETS,
		.summary = "The secrets that the caller has a right to, without their values",
		.sql = "SELECT * FROM aurora.secrets ORDER BY service, key_name, scope, node, company",
		.roles = ROLE_PRINCIPAL | ROLE_NODE,
		.shape = SHAPE_ROWS,
		.columns = "service string\nkey_name string\nscope string\nnode string\ncompany "
				   "string\nversion integer\n"
				   "versions integer\nstate string\nstrict boolean\nexpires_at "
				   "date-time\nexpires_soon boolean\n"
				   "changed_at date-time\nchanged_by string\n",
	},
	{
		.method = METHOD_POST,
		.path = "/api/secrets",
		.group = GROUP_SECRETS,
		.summary = "Put a secret",
		.sql = "SELECT aurora.put_secret($1, $2, $3, $4, " SCOPE("$8") ", $5, $6, $7) AS version",
		.is_write = true,
		.roles = ROLE_PRINCIPAL,
		.shape = SHAPE_CREATED,
		.parameters = {SERVICE(IN_BODY),
					   KEY_NAME(IN_BODY),
					   {.name = "value",
						.place = IN_BODY,
						.type = TYPE_TEXT,
						.is_required = true,
						.description = "the secret",
						.is_secret = true},
					   NODE(IN_BODY),
					   EXPECTED(IN_BODY),
					   {.name = "strict",
						.place = IN_BODY,
						.type = TYPE_BOOLEAN,
						.description = "whether a wider scope never answers in its place"},
					   {.name = "expires_at",
						.place = IN_BODY,
						.type = TYPE_TIMESTAMP,
						.description = "until when it holds"},
					   GLOBAL(IN_BODY)},
		.columns = "version integer of the secret\n",
	},
	{
		.method = METHOD_GET,
		.path = "/api/secrets/{service}/{key_name}",
		.group = GROUP_SECRETS,
		.summary = "The value of a secret",
		.description =
			"A node's key gets the value that holds for that node. Each access is written down.",
		.sql = "SELECT aurora.secret($1, $2) AS value",
		.roles = ROLE_PRINCIPAL | ROLE_NODE,
		.shape = SHAPE_ROW,
		.parameters = {SERVICE(IN_PATH), KEY_NAME(IN_PATH)},
		.columns = "value string\n",
	},
	{
		.method = METHOD_DELETE,
		.path = "/api/secrets/{service}/{key_name}",
		.group = GROUP_SECRETS,
		.summary = "Delete a secret",
		.sql = "SELECT aurora.delete_secret($1, $2, $3, " SCOPE("$5") ", $4) AS version",
		.is_write = true,
		.roles = ROLE_PRINCIPAL,
		.shape = SHAPE_ROW,
		.parameters = {SERVICE(IN_PATH), KEY_NAME(IN_PATH), NODE(IN_QUERY), EXPECTED(IN_QUERY),
					   GLOBAL(IN_QUERY)},
		.columns = "version integer that was deleted\n",
	},
};

const size_t secrets_route_count = sizeof(secrets_routes) / sizeof(secrets_routes[0]);
