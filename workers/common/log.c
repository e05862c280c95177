/*
 * Lines for a log.
 */
#include "common/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static LogLevel least_level = LOG_INFO;
static LogFormat line_format = LOG_LOGFMT;

static const char *const level_names[] = {"debug", "info", "warning", "error"};
static const int journal_levels[] = {7, 6, 4, 3}; /* as syslog(3) numbers them */

void
log_open(LogLevel least, LogFormat format)
{
	least_level = least;
	line_format = format;
}

bool
log_has(LogLevel level)
{
	return level >= least_level;
}

/*
 * Adds a text in quotes, escaped as JSON wants it, which logfmt readers take too.
 */
static void
add_quoted(Buffer *to, const char *text)
{
	buffer_add_char(to, '"');
	for (; *text; text++)
	{
		unsigned char c = (unsigned char) *text;

		if (c == '"' || c == '\\')
			buffer_print(to, "\\%c", c);
		else if (c == '\n')
			buffer_add_text(to, "\\n");
		else if (c < ' ' || c == 0x7f)
			buffer_print(to, "\\u%04x", c);
		else
			buffer_add_char(to, (char) c);
	}
	buffer_add_char(to, '"');
}

static bool
needs_quotes(const char *text)
{
	const char *start = text;

	for (; *text; text++)
		if ((unsigned char) *text <= ' ' || *text == '"' || *text == '=' || *text == '\\' ||
			*text == 0x7f)
			return true;
	return text == start;
}

static void
add_field(Buffer *to, LogFormat format, const LogField *field)
{
	if (!field->is_number && field->text == NULL)
		return;
	if (to->size > 0 && to->bytes[to->size - 1] != '{')
		buffer_add_char(to, format == LOG_JSON ? ',' : ' ');
	buffer_print(to, format == LOG_JSON ? "\"%s\":" : "%s=", field->key);
	if (field->is_number)
		buffer_print(to, "%lld", (long long) field->number);
	else if (format == LOG_JSON || needs_quotes(field->text))
		add_quoted(to, field->text);
	else
		buffer_add_text(to, field->text);
}

void
log_format(Buffer *to, LogFormat format, LogLevel level, const char *event, const LogField *fields)
{
	add_field(to, format, &TEXT("level", level_names[level]));
	add_field(to, format, &TEXT("event", event));
	for (; fields->key; fields++)
		add_field(to, format, fields);
}

static void
add_time(Buffer *to)
{
	struct timespec now;
	struct tm parts;
	char text[32];

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &parts);
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &parts);
	buffer_print(to, line_format == LOG_JSON ? "{\"time\":\"%s.%03ldZ\"" : "time=%s.%03ldZ", text,
				 now.tv_nsec / 1000000);
}

void
log_write(LogLevel level, const char *event, const LogField *fields)
{
	Buffer line = {0};

	if (!log_has(level))
		return;
	if (getenv("JOURNAL_STREAM"))
		buffer_print(&line, "<%d>", journal_levels[level]);
	add_time(&line);
	log_format(&line, line_format, level, event, fields);
	buffer_add_text(&line, line_format == LOG_JSON ? "}\n" : "\n");
	if (write(STDERR_FILENO, line.bytes, line.size) < 0)
		least_level = LOG_NOTHING; /* nobody reads it any more */
	buffer_wipe(&line);
}
