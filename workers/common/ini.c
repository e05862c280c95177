/*
 * Reads configuration files in the INI format.
 */
#include "common/ini.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/memory.h"

#define LARGEST_FILE ((size_t) 1 << 20)

typedef struct Reader
{
	IniTake take;
	void *context;
	const char *section; /* these lie in the lines */
	const char *name;
} Reader;

static char *
trim(char *text)
{
	char *end;

	text += strspn(text, " \t\r");
	end = text + strlen(text);
	while (end > text && strchr(" \t\r", end[-1]))
		*--end = '\0';
	return text;
}

/*
 * Removes the quotes, and what is no part of the value behind it; NULL when quotes do not end.
 */
static char *
read_value(char *text)
{
	char *to = text;
	char *from = text + 1;

	if (*text != '"')
	{
		for (char *at = text; *at; at++)
			if ((*at == '#' || *at == ';') && (at == text || at[-1] == ' ' || at[-1] == '\t'))
			{
				*at = '\0';
				break;
			}
		return trim(text);
	}
	for (; *from != '"'; from++)
	{
		if (*from == '\\' && (from[1] == '"' || from[1] == '\\'))
			from++;
		if (*from == '\0')
			return NULL;
		*to++ = *from;
	}
	from = trim(from + 1);
	if (*from && *from != '#' && *from != ';')
		return NULL;
	*to = '\0';
	return text;
}

static char *
read_section(Reader *reader, char *line)
{
	char *end = strchr(line, ']');
	char *blank;

	if (end == NULL)
		return memory_copy("a section ends with ]");
	*end = '\0';
	line = trim(line + 1);
	blank = line + strcspn(line, " \t");
	reader->section = line;
	reader->name = *blank ? trim(blank + 1) : "";
	*blank = '\0';
	end = trim(end + 1);
	if (*end && *end != '#' && *end != ';')
		return memory_copy("nothing may stand behind the ] of a section");
	return NULL;
}

static char *
read_line(Reader *reader, char *line)
{
	char *equals;
	char *value;

	line = trim(line);
	if (*line == '\0' || *line == '#' || *line == ';')
		return NULL;
	if (*line == '[')
		return read_section(reader, line);
	equals = strchr(line, '=');
	if (equals == NULL)
		return memory_copy("a line is [section], key = value or a comment");
	*equals = '\0';
	value = read_value(trim(equals + 1));
	if (value == NULL)
		return memory_copy("a value in double quotes ends with one, and nothing stands behind it");
	return reader->take(reader->context, reader->section, reader->name, trim(line), value);
}

char *
ini_read(const char *text, IniTake take, void *context)
{
	Reader reader = {take, context, "", ""};
	char *lines = memory_copy(text);
	char *next = lines;
	char *problem = NULL;

	for (int number = 1; next && problem == NULL; number++)
	{
		char *line = next;
		char *wrong;

		next = strchr(line, '\n');
		if (next)
			*next++ = '\0';
		wrong = read_line(&reader, line);
		if (wrong && asprintf(&problem, "line %d: %s", number, wrong) < 0)
			problem = memory_copy(wrong);
		free(wrong);
	}
	memory_wipe(lines);
	return problem;
}

char *
ini_read_file(const char *path, IniTake take, void *context)
{
	FILE *file = fopen(path, "re");
	char *text = NULL;
	char *problem = NULL;
	size_t size;

	if (file == NULL)
		return memory_copy(strerror(errno));
	text = memory_get(LARGEST_FILE + 1);
	size = fread(text, 1, LARGEST_FILE + 1, file);
	if (ferror(file))
		problem = memory_copy("it cannot be read");
	else if (size > LARGEST_FILE)
		problem = memory_copy("it is larger than 1 MiB");
	else if (memchr(text, '\0', size))
		problem = memory_copy("it has a zero byte and is no text");
	else
		problem = ini_read(text, take, context);
	fclose(file);
	explicit_bzero(text, LARGEST_FILE + 1);
	free(text);
	return problem;
}
