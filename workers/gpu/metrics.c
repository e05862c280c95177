/*
 * Reads numbers out of Prometheus' text format: a line is name{labels} value [time].
 */
#include "gpu/metrics.h"

#include <stdlib.h>
#include <string.h>

/*
 * Where the value of a line begins; labels are in quotes, in which \ escapes.
 */
static const char *
skip_labels(const char *at)
{
	bool is_quoted = false;

	if (*at != '{')
		return at;
	for (at++; *at && *at != '\n' && (is_quoted || *at != '}'); at++)
	{
		if (is_quoted && *at == '\\' && at[1])
			at++;
		else if (*at == '"')
			is_quoted = !is_quoted;
	}
	return *at == '}' ? at + 1 : at;
}

static bool
sum_of(const char *text, const char *name, double *sum)
{
	size_t length = strlen(name);
	bool is_there = false;

	*sum = 0;
	for (const char *line = text; line && *line; line = strchr(line, '\n'))
	{
		const char *at;
		char *end;
		double value;

		line += *line == '\n';
		if (strncmp(line, name, length) != 0 || !strchr("{ \t", line[length]) || !line[length])
			continue;
		at = skip_labels(line + length);
		value = strtod(at, &end);
		if (end == at || value != value)
			continue;
		*sum += value;
		is_there = true;
	}
	return is_there;
}

bool
metrics_sum(const char *text, const char *const *names, double *sum)
{
	for (; *names; names++)
		if (sum_of(text, *names, sum))
			return true;
	return false;
}
