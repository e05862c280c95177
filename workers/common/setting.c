/*
 * Settings with units.
 */
#include "common/setting.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/memory.h"

typedef struct Unit
{
	const char *name;
	double factor;
} Unit;

static const Unit duration_units[] = {{"us", 0.001},	{"ms", 1},		  {"s", 1000},
									  {"min", 60000.0}, {"h", 3600000.0}, {"d", 86400000.0},
									  {NULL, 0}};
static const Unit size_units[] = {
	{"B", 1}, {"kB", 1024.0}, {"MB", 1048576.0}, {"GB", 1073741824.0}, {"TB", 1099511627776.0},
	{NULL, 0}};
static const char *const type_names[] = {
	[SETTING_NUMBER] = "a number",
	[SETTING_DURATION] = "a time with a unit: 500ms, 30s, 5min, 2h",
	[SETTING_SIZE] = "a size with a unit: 64kB, 16MB, 24GB",
};

static char *
complain(const char *format, const char *key, const char *more)
{
	char *text;

	return asprintf(&text, format, key, more) < 0 ? memory_copy(format) : text;
}

/*
 * Reads a number with one of the units, which only 0 can do without.
 */
static bool
read_units(const char *value, const Unit *units, double *number)
{
	char *end;

	errno = 0;
	*number = strtod(value, &end);
	if (end == value || errno != 0)
		return false;
	end += strspn(end, " ");
	if (*end == '\0')
		return *number == 0;
	for (; units->name; units++)
		if (strcmp(end, units->name) == 0)
		{
			*number *= units->factor;
			return true;
		}
	return false;
}

static bool
read_plain(const char *value, double *number)
{
	char *end;

	*number = strtod(value, &end);
	return end != value && *end == '\0' && *number > -1e15 && *number < 1e15 &&
		   *number == (double) (int64_t) *number;
}

static char *
take_number(const Setting *setting, const char *value, int64_t *to)
{
	double number;
	bool is_read = setting->type == SETTING_DURATION ? read_units(value, duration_units, &number)
				   : setting->type == SETTING_SIZE	 ? read_units(value, size_units, &number)
													 : read_plain(value, &number);

	if (!is_read)
		return complain("%s is %s", setting->key, type_names[setting->type]);
	if (!(number >= (double) setting->least && number <= (double) setting->most))
	{
		char range[80];

		snprintf(range, sizeof(range), "from %lld to %lld%s", (long long) setting->least,
				 (long long) setting->most,
				 setting->type == SETTING_DURATION ? " ms"
				 : setting->type == SETTING_SIZE   ? " bytes"
												   : "");
		return complain("%s goes %s", setting->key, range);
	}
	*to = (int64_t) number;
	return NULL;
}

static char *
take_switch(const Setting *setting, const char *value, bool *to)
{
	static const char *const words[] = {"off", "on", "no", "yes", "false", "true", "0", "1"};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strcmp(value, words[i]) == 0)
		{
			*to = i % 2 == 1;
			return NULL;
		}
	return complain("%s is on or off%s", setting->key, "");
}

static char *
take_choice(const Setting *setting, const char *value, int *to)
{
	Buffer names = {0};
	char *problem;

	for (int i = 0; setting->choices[i]; i++)
	{
		if (strcmp(value, setting->choices[i]) == 0)
		{
			*to = i;
			buffer_wipe(&names);
			return NULL;
		}
		buffer_print(&names, "%s%s", i > 0 ? ", " : "", setting->choices[i]);
	}
	problem = complain("%s is one of: %s", setting->key, names.bytes);
	buffer_wipe(&names);
	return problem;
}

static char *
take_value(const Setting *setting, const char *value, void *place)
{
	switch (setting->type)
	{
		case SETTING_TEXT:
			memory_wipe(*(char **) place);
			*(char **) place = *value ? memory_copy(value) : NULL;
			return NULL;
		case SETTING_SWITCH:
			return take_switch(setting, value, place);
		case SETTING_CHOICE:
			return take_choice(setting, value, place);
		default:
			return take_number(setting, value, place);
	}
}

char *
setting_take(const Setting *settings, size_t count, const char *section, const char *key,
			 const char *value, void *structure)
{
	bool has_section = false;

	for (size_t i = 0; i < count; i++)
	{
		if (strcmp(settings[i].section, section) != 0)
			continue;
		has_section = true;
		if (strcmp(settings[i].key, key) == 0)
			return take_value(&settings[i], value, (char *) structure + settings[i].offset);
	}
	if (!has_section)
		return complain("there is no section [%s]%s", section, "");
	return complain("there is no setting %s in section [%s]", key, section);
}

void
setting_free(const Setting *settings, size_t count, const char *section, void *structure)
{
	for (size_t i = 0; i < count; i++)
		if (settings[i].type == SETTING_TEXT && strcmp(settings[i].section, section) == 0)
		{
			char **text = (char **) ((char *) structure + settings[i].offset);

			memory_wipe(*text);
			*text = NULL;
		}
}
