/*
 * Routes of priorities: what stands in front of the owner, and what is done with it.
 */
#include "gateway/routes.h"

static const char *const quadrants[] = {"Q1_DO_NOW", "Q2_SCHEDULE", "Q3_DELEGATE", "Q4_ELIMINATE",
										NULL};
static const char *const levels[] = {"human", "agent", "self", NULL};

#define ITEM_COLUMNS                                                               \
	"rank integer place, from 1\n"                                                 \
	"item_id integer number of the item\n"                                         \
	"kind string deal, email, meeting, task, incident, chore or a company's own\n" \
	"title string\n"                                                               \
	"quadrant string Q1_DO_NOW, Q2_SCHEDULE, Q3_DELEGATE or Q4_ELIMINATE\n"        \
	"score number\n"                                                               \
	"amount number in the company's currency\n"                                    \
	"currency string\n"                                                            \
	"act_by date-time\n"                                                           \
	"slack duration until act_by\n"                                                \
	"why string what makes its score, in words\n"                                  \
	"lane integer 0 for what may not be missed\n"

#define ITEM_ID           \
	{.name = "item_id",   \
	 .place = IN_PATH,    \
	 .type = TYPE_BIGINT, \
	 .is_required = true, \
	 .least = 1,          \
	 .most = 9e18,        \
	 .description = "number of the item"}

/* What is done with one item and answers nothing. */
#define ACTION(action, what, call, ...)                    \
	{                                                      \
		.method = METHOD_POST,                             \
		.path = "/api/priorities/items/{item_id}/" action, \
		.group = GROUP_PRIORITIES,                         \
		.summary = what,                                   \
		.sql = call,                                       \
		.is_write = true,                                  \
		.roles = ROLE_PRINCIPAL,                           \
		.shape = SHAPE_NOTHING,                            \
		.parameters = {ITEM_ID, ##__VA_ARGS__},            \
	}

const Route priorities_routes[] = {
	{
		.method = METHOD_GET,
		.path = "/api/priorities/surface",
		.group = GROUP_PRIORITIES,
		.summary = "What to do next: the first items by score",
		.sql = "SELECT * FROM aurora.surface($1, $2)",
		.roles = ROLE_PRINCIPAL,
		.shape = SHAPE_ROWS,
		.parameters = {{.name = "top_n",
						.place = IN_QUERY,
						.type = TYPE_INT,
						.standard = "10",
						.least = 1,
						.most = 1000,
						.description = "how many"},
					   {.name = "owner",
						.place = IN_QUERY,
						.type = TYPE_NAME,
						.description = "whose; the caller's own when left out"}},
		.columns = ITEM_COLUMNS "lane0_left_out integer how many of lane 0 had no place\n",
	},
	{
		.method = METHOD_GET,
		.path = "/api/priorities/quadrant/{quadrant}",
		.group = GROUP_PRIORITIES,
		.summary = "The first items of a quadrant",
		.sql = "SELECT * FROM aurora.quadrant($1, $2, $3)",
		.roles = ROLE_PRINCIPAL,
		.shape = SHAPE_ROWS,
		.parameters = {{.name = "quadrant",
						.place = IN_PATH,
						.type = TYPE_TEXT,
						.is_required = true,
						.choices = quadrants,
						.description = "name of the quadrant"},
					   {.name = "top_n",
						.place = IN_QUERY,
						.type = TYPE_INT,
						.standard = "10",
						.least = 1,
						.most = 1000,
						.description = "how many"},
					   {.name = "owner",
						.place = IN_QUERY,
						.type = TYPE_NAME,
						.description = "whose; the caller's own when left out"}},
		.columns = ITEM_COLUMNS,
	},
	{
		.method = METHOD_GET,
		.path = "/api/priorities/stats",
		.group = GROUP_PRIORITIES,
		.summary = "Counts and rates of the caller's items",
		.sql = "SELECT * FROM aurora.priority_stats()",
		.is_slow = true,
		.roles = ROLE_PRINCIPAL,
		.shape = SHAPE_ROWS,
		.caching = CACHE_ETAG,
		.columns = "company string\nmetric string\nlevel string\nquadrant string\nvalue "
				   "number\nunit string\n",
	},
	{
		.method = METHOD_POST,
		.path = "/api/priorities/items",
		.group = GROUP_PRIORITIES,
		.summary = "Add an item",
		.sql = "SELECT aurora.add_item($1, $2, $3, level => $4, url => $5, sender => $6, amount => "
			   "$7, currency => $8, "
			   "due_at => $9, vip => $10, risk => $11, boost => $12, severity => $13, details => "
			   "$14) AS item_id",
		.is_write = true,
		.roles = ROLE_PRINCIPAL,
		.shape = SHAPE_CREATED,
		.parameters = {{.name = "title",
						.place = IN_BODY,
						.type = TYPE_TEXT,
						.is_required = true,
						.least = 1,
						.most = 2000,
						.description = "what it is"},
					   {.name = "kind",
						.place = IN_BODY,
						.type = TYPE_NAME,
						.description =
							"deal, email, meeting, task, incident, chore or a company's own"},
					   {.name = "owner",
						.place = IN_BODY,
						.type = TYPE_NAME,
						.description = "whose; the caller's own when left out"},
					   {.name = "level",
						.place = IN_BODY,
						.type = TYPE_TEXT,
						.choices = levels,
						.description = "who does it"},
					   {.name = "url",
						.place = IN_BODY,
						.type = TYPE_TEXT,
						.most = 4000,
						.description = "where it is"},
					   {.name = "sender",
						.place = IN_BODY,
						.type = TYPE_NAME,
						.description = "whom it is from"},
					   {.name = "amount",
						.place = IN_BODY,
						.type = TYPE_NUMBER,
						.description = "what it is worth"},
					   {.name = "currency",
						.place = IN_BODY,
						.type = TYPE_NAME,
						.most = 3,
						.description = "of the amount"},
					   {.name = "due_at",
						.place = IN_BODY,
						.type = TYPE_TIMESTAMP,
						.description = "until when"},
					   {.name = "vip",
						.place = IN_BODY,
						.type = TYPE_BOOLEAN,
						.description = "whether the sender is a VIP"},
					   {.name = "risk",
						.place = IN_BODY,
						.type = TYPE_INT,
						.least = 0,
						.most = 3,
						.description = "0 to 3"},
					   {.name = "boost",
						.place = IN_BODY,
						.type = TYPE_INT,
						.least = -2,
						.most = 2,
						.description = "-2 to 2"},
					   {.name = "severity",
						.place = IN_BODY,
						.type = TYPE_INT,
						.description = "of an incident"},
					   {.name = "details",
						.place = IN_BODY,
						.type = TYPE_OBJECT,
						.description = "anything else"}},
		.columns = "item_id integer number of the item\n",
	},
	{
		.method = METHOD_GET,
		.path = "/api/priorities/items/{item_id}",
		.group = GROUP_PRIORITIES,
		.summary = "An item",
		.sql = "SELECT item_id, title, kind, owner, level, state, quadrant, score, lane, amount, "
			   "currency, act_by, due_at, "
			   "url, vip, risk, boost, details FROM aurora.items WHERE item_id = $1",
		.roles = ROLE_PRINCIPAL,
		.shape = SHAPE_ROW,
		.caching = CACHE_ETAG,
		.parameters = {ITEM_ID},
		.columns = "item_id integer\ntitle string\nkind string\nowner string\nlevel string\nstate "
				   "string\nquadrant string\n"
				   "score number\nlane integer\namount number\ncurrency string\nact_by "
				   "date-time\ndue_at date-time\nurl string\n"
				   "vip boolean\nrisk integer\nboost integer\ndetails object\n",
	},
	{
		.method = METHOD_GET,
		.path = "/api/priorities/items/{item_id}/explain",
		.group = GROUP_PRIORITIES,
		.summary = "How an item's score comes about",
		.sql = "SELECT * FROM aurora.explain($1)",
		.roles = ROLE_PRINCIPAL,
		.shape = SHAPE_ROWS,
		.caching = CACHE_ETAG,
		.parameters = {ITEM_ID},
		.columns = "feature string\nvalue string\npoints number\nformula string\n",
	},
	ACTION("complete", "An item is done", "SELECT aurora.complete($1, $2)",
		   {.name = "outcome",
			.place = IN_BODY,
			.type = TYPE_TEXT,
			.most = 2000,
			.description = "what came of it, as won or lost"}),
	ACTION("snooze", "Put an item off", "SELECT aurora.snooze($1, $2)",
		   {.name = "until",
			.place = IN_BODY,
			.type = TYPE_TIMESTAMP,
			.is_required = true,
			.description = "until when"}),
	ACTION("unsnooze", "Have an item back before its time", "SELECT aurora.unsnooze($1)"),
	ACTION("delegate", "Hand an item to somebody", "SELECT aurora.delegate($1, $2, $3)",
		   {.name = "to_whom",
			.place = IN_BODY,
			.type = TYPE_NAME,
			.is_required = true,
			.description = "a principal, or anybody when outside"},
		   {.name = "outside",
			.place = IN_BODY,
			.type = TYPE_BOOLEAN,
			.standard = "false",
			.description = "to somebody who is no principal"}),
	ACTION("dismiss", "An item needs nothing", "SELECT aurora.dismiss($1)"),
	ACTION("restore", "Open an item again", "SELECT aurora.restore($1)"),
	{
		.method = METHOD_POST,
		.path = "/api/priorities/items/{item_id}/undo",
		.group = GROUP_PRIORITIES,
		.summary = "Take back what was done last with an item",
		.sql = "SELECT aurora.undo($1) AS item_id",
		.is_write = true,
		.roles = ROLE_PRINCIPAL,
		.shape = SHAPE_ROW,
		.parameters = {ITEM_ID},
		.columns = "item_id integer\n",
	},
	{
		.method = METHOD_POST,
		.path = "/api/priorities/undo",
		.group = GROUP_PRIORITIES,
		.summary = "Take back what the caller did last",
		.sql = "SELECT aurora.undo() AS item_id",
		.is_write = true,
		.roles = ROLE_PRINCIPAL,
		.shape = SHAPE_ROW,
		.columns = "item_id integer\n",
	},
};

const size_t priorities_route_count = sizeof(priorities_routes) / sizeof(priorities_routes[0]);
