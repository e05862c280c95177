/*
 * What the gateway counts of itself.
 */
#include "gateway/metrics.h"

#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "gateway/exchange.h"

#define CLASSES 5 /* 1xx to 5xx */
#define BOUNDS 10

static const double bounds[BOUNDS] = {0.001, 0.0025, 0.005, 0.01, 0.025,
									  0.05,	 0.1,	 0.5,	1,	  5}; /* s */

typedef struct RouteCounts
{
	uint64_t requests[CLASSES];
	uint64_t within[BOUNDS + 1]; /* times, each request once */
	double seconds;
} RouteCounts;

struct Metrics
{
	RouteCounts *routes; /* by route_number(); the last: no route */
};

Metrics *
metrics_open(void)
{
	Metrics *metrics = memory_get(sizeof(Metrics));

	metrics->routes = memory_get((route_count() + 1) * sizeof(RouteCounts));
	return metrics;
}

void
metrics_close(Metrics *metrics)
{
	if (metrics)
		free(metrics->routes);
	free(metrics);
}

void
metrics_count(Metrics *metrics, const Request *request, int status)
{
	RouteCounts *counts =
		&metrics->routes[request->route ? route_number(request->route) : route_count()];
	double seconds = (double) (clock_us() - request->started) / 1e6;
	int bound = 0;

	if (status >= 100 && status < 600)
		counts->requests[status / 100 - 1]++;
	while (bound < BOUNDS && seconds > bounds[bound])
		bound++;
	counts->within[bound]++;
	counts->seconds += seconds;
}

/* ---- writing ---- */

static void
begin_family(Buffer *to, const char *name, const char *type, const char *help)
{
	buffer_print(to, "# TYPE %s %s\n# HELP %s %s\n", name, type, name, help);
}

static void
write_requests(Buffer *to, const Metrics *metrics)
{
	begin_family(to, "aurora_gateway_requests", "counter",
				 "Requests answered, by route and class of status.");
	for (const Route *route = route_next(NULL); route; route = route_next(route))
	{
		const RouteCounts *counts = &metrics->routes[route_number(route)];

		for (int i = 0; i < CLASSES; i++)
			if (counts->requests[i] > 0)
				buffer_print(to,
							 "aurora_gateway_requests_total{route=\"%s\",status=\"%dxx\"} %llu\n",
							 route_name(route), i + 1, (unsigned long long) counts->requests[i]);
	}
	for (int i = 0; i < CLASSES; i++)
		if (metrics->routes[route_count()].requests[i] > 0)
			buffer_print(to, "aurora_gateway_requests_total{route=\"\",status=\"%dxx\"} %llu\n",
						 i + 1, (unsigned long long) metrics->routes[route_count()].requests[i]);
}

/*
 * One histogram for all routes: that of each would be a thousand lines.
 */
static void
write_times(Buffer *to, const Metrics *metrics)
{
	RouteCounts all = {0};
	uint64_t sum = 0;

	for (size_t i = 0; i <= route_count(); i++)
	{
		for (int j = 0; j <= BOUNDS; j++)
			all.within[j] += metrics->routes[i].within[j];
		all.seconds += metrics->routes[i].seconds;
	}
	buffer_add_text(
		to,
		"# TYPE aurora_gateway_request_seconds histogram\n"
		"# UNIT aurora_gateway_request_seconds seconds\n"
		"# HELP aurora_gateway_request_seconds From the request line to the end of the answer.\n");
	for (int j = 0; j <= BOUNDS; j++)
	{
		sum += all.within[j];
		if (j < BOUNDS)
			buffer_print(to, "aurora_gateway_request_seconds_bucket{le=\"%g\"} %llu\n", bounds[j],
						 (unsigned long long) sum);
	}
	buffer_print(
		to,
		"aurora_gateway_request_seconds_bucket{le=\"+Inf\"} %llu\n"
		"aurora_gateway_request_seconds_sum %.6f\naurora_gateway_request_seconds_count %llu\n",
		(unsigned long long) sum, all.seconds, (unsigned long long) sum);
}

static void
write_pool(Buffer *to, const Gateway *gateway)
{
	static const char *const names[SIDES] = {"local", "lead", "wake"};
	static const struct
	{
		const char *name;
		const char *type;
		const char *help;
	} families[] = {
		{"connections", "gauge", "Connections to PostgreSQL that are up."},
		{"units", "gauge", "Statements under way."},
		{"waiting", "gauge", "Statements that wait for a connection."},
		{"statements", "counter", "Statements sent."},
		{"retries", "counter", "Statements sent again."},
		{"losses", "counter", "Connections lost."},
		{"cancels", "counter", "Statements cancelled since their clients had gone."},
	};

	for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++)
	{
		bool is_counter = strcmp(families[i].type, "counter") == 0;

		buffer_print(to,
					 "# TYPE aurora_gateway_database_%s %s\n# HELP aurora_gateway_database_%s %s\n",
					 families[i].name, families[i].type, families[i].name, families[i].help);
		for (int side = 0; side < SIDES; side++)
		{
			PoolState state;
			uint64_t values[7];

			pool_state(gateway->pool, (Side) side, &state);
			memcpy(values,
				   (uint64_t[]) {(uint64_t) state.connections, (uint64_t) state.under_way,
								 (uint64_t) state.waiting, state.units, state.retries, state.losses,
								 state.cancels},
				   sizeof(values));
			buffer_print(to, "aurora_gateway_database_%s%s{side=\"%s\"} %llu\n", families[i].name,
						 is_counter ? "_total" : "", names[side], (unsigned long long) values[i]);
		}
	}
}

static void
write_own(Buffer *to, const Gateway *gateway)
{
	begin_family(to, "aurora_gateway_clients", "gauge", "Connections of clients.");
	buffer_print(to, "aurora_gateway_clients %d\n", gateway->client_count);
	begin_family(to, "aurora_gateway_streams", "gauge", "Event streams and WebSockets.");
	buffer_print(to, "aurora_gateway_streams %d\n", gateway->stream_count);
	write_requests(to, gateway->metrics);
	write_times(to, gateway->metrics);
	write_pool(to, gateway);
}

/* ---- the database's ---- */

static void
add_label_value(Buffer *to, const char *text)
{
	for (; *text; text++)
		if (*text == '\n')
			buffer_add_text(to, "\\n");
		else
		{
			if (*text == '"' || *text == '\\')
				buffer_add_char(to, '\\');
			buffer_add_char(to, *text);
		}
}

static void
write_labels(Buffer *to, const char *json)
{
	json_t *labels = json_loads(json, 0, NULL);
	const char *name;
	json_t *value;
	bool is_first = true;

	json_object_foreach(labels, name, value)
	{
		buffer_print(to, "%s%s=\"", is_first ? "{" : ",", name);
		if (json_is_string(value))
			add_label_value(to, json_string_value(value));
		else
		{
			char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);

			add_label_value(to, text ? text : "");
			free(text);
		}
		buffer_add_char(to, '"');
		is_first = false;
	}
	if (!is_first)
		buffer_add_char(to, '}');
	json_decref(labels);
}

/*
 * Rows: name, type, unit, help, labels, value, in the order of names.
 */
static void
write_rows(Buffer *to, const PGresult *result)
{
	const char *last = "";

	for (int row = 0; row < PQntuples(result); row++)
	{
		const char *name = PQgetvalue(result, row, 0);
		const char *type = PQgetvalue(result, row, 1);
		int family = (int) strlen(name);

		/* A counter's family has the name without what its samples end with. */
		if (family > 6 && strcmp(type, "counter") == 0 && strcmp(name + family - 6, "_total") == 0)
			family -= 6;
		if (strcmp(name, last) != 0)
		{
			buffer_print(to, "# TYPE %.*s %s\n", family, name, type);
			if (!PQgetisnull(result, row, 2) && *PQgetvalue(result, row, 2))
				buffer_print(to, "# UNIT %.*s %s\n", family, name, PQgetvalue(result, row, 2));
			buffer_print(to, "# HELP %.*s %s\n", family, name, PQgetvalue(result, row, 3));
		}
		last = name;
		if (PQgetisnull(result, row, 5))
			continue;
		buffer_add_text(to, name);
		if (!PQgetisnull(result, row, 4))
			write_labels(to, PQgetvalue(result, row, 4));
		buffer_print(to, " %s\n", PQgetvalue(result, row, 5));
	}
}

static void
answered(void *context, const Answer *answer)
{
	Request *request = context;
	Buffer body = {0};

	if (answer->is_refused ||
		(answer->state == ANSWER_ERROR && strncmp(answer->sqlstate, "42501", 5) == 0))
	{
		request_fail(request, answer);
		return;
	}
	write_own(&body, request->gateway);
	buffer_print(&body,
				 "# TYPE aurora_gateway_database_up gauge\n"
				 "# HELP aurora_gateway_database_up Whether this node's own PostgreSQL answers.\n"
				 "aurora_gateway_database_up %d\n",
				 answer->state == ANSWER_OK);
	if (answer->state == ANSWER_OK)
		write_rows(&body, answer->result);
	buffer_add_text(&body, "# EOF\n");
	request_answer(request, 200, "application/openmetrics-text; version=1.0.0; charset=utf-8",
				   &body);
}

/*
 * The gateway's own numbers are there when the database is not, but for those who cannot be told
 * from others then: without the database no key can be checked, and the numbers name nobody.
 */
void
metrics_handle(Request *request)
{
	request_run(request,
				&(Unit) {.statement = "metrics",
						 .sql =
							 "SELECT name, type, unit, help, labels, value FROM aurora.metrics() "
							 "ORDER BY name"},
				answered);
}
