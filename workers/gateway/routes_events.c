/*
 * Routes of events: publishing them, and reading those that there are.
 */
#include "gateway/event_stream.h"
#include "gateway/routes.h"

#define TOPIC             \
	{.name = "topic",     \
	 .place = IN_PATH,    \
	 .type = TYPE_NAME,   \
	 .is_required = true, \
	 .most = 250,         \
	 .description = "name of the topic; a / in it is written %2F"}

const Route events_routes[] = {
	{
		.method = METHOD_GET,
		.path = "/api/events",
		.group = GROUP_EVENTS,
		.summary = "The topics that the caller may read",
		.sql = "SELECT topic, company, first_seq, last_seq, events, epoch, last_at FROM "
			   "aurora.topics ORDER BY topic, company",
		.roles = ROLE_PRINCIPAL,
		.shape = SHAPE_ROWS,
		.caching = CACHE_ETAG,
		.columns = "topic string\ncompany string\nfirst_seq integer\nlast_seq integer\nevents "
				   "integer\nepoch string\nlast_at date-time\n",
	},
	{
		.method = METHOD_POST,
		.path = "/api/events/{topic}",
		.group = GROUP_EVENTS,
		.summary = "Publish an event",
		.sql = "SELECT aurora.publish($1, $2, $3) AS seq",
		.is_write = true,
		.roles = ROLE_PRINCIPAL,
		.shape = SHAPE_CREATED,
		.parameters = {TOPIC,
					   {.name = "payload",
						.place = IN_BODY,
						.type = TYPE_JSON,
						.is_required = true,
						.description = "any JSON"},
					   {.name = "client_id",
						.place = IN_BODY,
						.type = TYPE_NAME,
						.description = "the same again is the same event"}},
		.columns = "seq integer its number in the topic\n",
	},
	{
		.method = METHOD_GET,
		.path = "/api/events/{topic}",
		.group = GROUP_EVENTS,
		.summary = "Events of a topic",
		.description =
			"With Accept: text/event-stream those that come, too, as Server-Sent Events, whose "
			"ids are cursors: Last-Event-ID, or else after and epoch, say where to go on; "
			"without any it begins now. docs/events.md has what they look like.",
		.sql = "SELECT seq, epoch, at, publisher, client_id, payload FROM (SELECT e.*, "
			   "sum(octet_length(e.payload::text)) OVER (ORDER BY e.seq ROWS BETWEEN UNBOUNDED "
			   "PRECEDING AND 1 PRECEDING) AS before "
			   "FROM aurora.events($1, coalesce($2, 0), $3, $4) e) e "
			   "WHERE before IS NULL OR before < 8000000 ORDER BY seq",
		.roles = ROLE_PRINCIPAL,
		.shape = SHAPE_ROWS,
		.caching = CACHE_ETAG,
		.handle = event_stream_handle,
		.parameters = {TOPIC,
					   {.name = "after",
						.place = IN_QUERY,
						.type = TYPE_BIGINT,
						.least = 0,
						.most = 9e18,
						.description = "those behind this number; without it all"},
					   {.name = "limit",
						.place = IN_QUERY,
						.type = TYPE_INT,
						.standard = "100",
						.least = 1,
						.most = 1000,
						.description = "how many at most; of more than 8 MB fewer come"},
					   {.name = "epoch",
						.place = IN_QUERY,
						.type = TYPE_UUID,
						.description = "that the number was read in"}},
		.columns = "seq integer\nepoch string\nat date-time\npublisher string\nclient_id "
				   "string\npayload object\n",
	},
};

const size_t events_route_count = sizeof(events_routes) / sizeof(events_routes[0]);
