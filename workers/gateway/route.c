/*
 * Finds the route of a request.
 */
#include "gateway/route.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/memory.h"

#define PARTS 12 /* of a path, at most */

const char *const method_names[METHODS + 1] = {"GET",	 "POST", "PUT",		"PATCH",
											   "DELETE", "HEAD", "OPTIONS", NULL};

/* A route whose path is cut. */
typedef struct Entry
{
	const Route *route;
	char *name;
	char *statement;
	int part_count;
	bool takes_rest; /* its last part does */
	struct
	{
		const char *text; /* NULL: the parameter */
		size_t size;
		int parameter;
	} parts[PARTS];
} Entry;

static Entry *entries;
static size_t entry_count;

/* ---- the index ---- */

static int
find_parameter(const Route *route, const char *name, size_t size)
{
	for (int i = 0; i < ROUTE_PARAMETERS && route->parameters[i].name; i++)
		if (route->parameters[i].place == IN_PATH && strlen(route->parameters[i].name) == size &&
			strncmp(route->parameters[i].name, name, size) == 0)
			return i;
	fprintf(stderr, "the route %s has no parameter %.*s\n", route->path, (int) size, name);
	abort();
}

static void
cut(Entry *entry, const Route *route)
{
	const char *at = route->path;

	while (*at == '/' && entry->part_count < PARTS)
	{
		size_t size = strcspn(++at, "/");
		bool is_parameter = *at == '{';

		entry->parts[entry->part_count].text = is_parameter ? NULL : at;
		entry->parts[entry->part_count].size = size;
		entry->takes_rest = is_parameter && at[size - 2] == '*';
		if (is_parameter)
			entry->parts[entry->part_count].parameter =
				find_parameter(route, at + 1, size - (entry->takes_rest ? 3 : 2));
		entry->part_count++;
		at += size;
	}
}

/*
 * A prepared statement has a name of letters and digits, and at most 63 of them.
 */
static char *
name_statement(const Route *route)
{
	char *name = memory_copy(route->path);
	size_t size = 0;
	char *full;

	for (const char *from = route->path; *from; from++)
		if ((*from >= 'a' && *from <= 'z') || (*from >= '0' && *from <= '9'))
			name[size++] = *from;
		else if (size > 0 && name[size - 1] != '_')
			name[size++] = '_';
	name[size] = '\0';
	if (asprintf(&full, "%.8s_%.50s", method_names[route->method], name) < 0)
		return name;
	free(name);
	return full;
}

/*
 * Fixed paths come before those with parameters, so that the first that fits is the right one.
 */
static int
compare(const void *one, const void *other)
{
	const Entry *a = one;
	const Entry *b = other;

	if (a->part_count != b->part_count)
		return a->part_count - b->part_count;
	for (int i = 0; i < a->part_count; i++)
		if ((a->parts[i].text == NULL) != (b->parts[i].text == NULL))
			return a->parts[i].text ? -1 : 1;
	return a->route < b->route ? -1 : a->route > b->route;
}

void
route_index(void)
{
	if (entries)
		return;
	for (const RouteTable *table = route_tables; table->routes; table++)
		entry_count += *table->count;
	entries = memory_get((entry_count + 1) * sizeof(Entry));
	entry_count = 0;
	for (const RouteTable *table = route_tables; table->routes; table++)
		for (size_t i = 0; i < *table->count; i++)
		{
			Entry *entry = &entries[entry_count++];

			entry->route = &table->routes[i];
			cut(entry, entry->route);
			entry->statement = name_statement(entry->route);
			if (asprintf(&entry->name, "%s %s", method_names[entry->route->method],
						 entry->route->path) < 0)
				abort();
		}
	qsort(entries, entry_count, sizeof(Entry), compare);
}

/* ---- a request ---- */

typedef struct Path
{
	char *parts[PARTS];
	size_t sizes[PARTS];
	int count; /* -1: it has too many parts, or an empty one */
} Path;

static void
cut_path(Path *path, char *text)
{
	path->count = 0;
	while (*text == '/')
	{
		size_t size = strcspn(++text, "/");

		if (path->count == PARTS || (size == 0 && (path->count > 0 || *text)))
		{
			path->count = -1;
			return;
		}
		path->parts[path->count] = text;
		path->sizes[path->count++] = size;
		text += size;
	}
}

static bool
fits(const Entry *entry, const Path *path)
{
	if (entry->takes_rest ? entry->part_count > path->count : entry->part_count != path->count)
		return false;
	for (int i = 0; i < entry->part_count; i++)
		if (entry->parts[i].text &&
			(entry->parts[i].size != path->sizes[i] ||
			 memcmp(entry->parts[i].text, path->parts[i], path->sizes[i]) != 0))
			return false;
	return true;
}

static void
take_values(const Entry *entry, Path *path, const char *values[ROUTE_PARAMETERS])
{
	for (int i = 0; i < entry->part_count; i++)
		if (entry->parts[i].text == NULL)
		{
			if (!entry->takes_rest || i + 1 < entry->part_count)
				path->parts[i][path->sizes[i]] = '\0';
			values[entry->parts[i].parameter] = path->parts[i];
		}
}

const Route *
route_find(Method method, char *path, unsigned groups, const char *values[ROUTE_PARAMETERS],
		   unsigned *methods)
{
	Path parts;

	*methods = 0;
	cut_path(&parts, path);
	if (method == METHOD_HEAD)
		method = METHOD_GET;
	for (size_t i = 0; i < entry_count; i++)
	{
		const Entry *entry = &entries[i];

		if (!(groups & 1u << entry->route->group) || !fits(entry, &parts))
			continue;
		*methods |= 1u << entry->route->method;
		if (entry->route->method != method)
			continue;
		take_values(entry, &parts, values);
		return entry->route;
	}
	if (*methods & 1u << METHOD_GET)
		*methods |= 1u << METHOD_HEAD;
	return NULL;
}

/* ---- all routes ---- */

static const Entry *
find_entry(const Route *route)
{
	for (size_t i = 0; i < entry_count; i++)
		if (entries[i].route == route)
			return &entries[i];
	return NULL;
}

const Route *
route_next(const Route *route)
{
	for (const RouteTable *table = route_tables; table->routes; table++)
	{
		if (route == NULL && *table->count > 0)
			return table->routes;
		if (route >= table->routes && route < table->routes + *table->count)
		{
			if (route + 1 < table->routes + *table->count)
				return route + 1;
			route = NULL;
		}
	}
	return NULL;
}

const char *
route_name(const Route *route)
{
	const Entry *entry = find_entry(route);

	return entry ? entry->name : "";
}

const char *
route_statement(const Route *route)
{
	const Entry *entry = find_entry(route);

	return entry ? entry->statement : "";
}

size_t
route_number(const Route *route)
{
	const Entry *entry = find_entry(route);

	return entry ? (size_t) (entry - entries) : entry_count;
}

size_t
route_count(void)
{
	return entry_count;
}
