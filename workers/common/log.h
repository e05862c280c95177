/*
 * Lines for a log on standard error: a level, an event, and "fields" with a name and a value, as
 * logfmt (key=value) or as JSON.
 */
#ifndef COMMON_LOG_H
#define COMMON_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "common/memory.h"

typedef enum LogLevel
{
	LOG_DEBUG,
	LOG_INFO,
	LOG_WARNING,
	LOG_ERROR,
	LOG_NOTHING /* as the least level: no line at all */
} LogLevel;

typedef enum LogFormat
{
	LOG_LOGFMT,
	LOG_JSON
} LogFormat;

/* A field; one whose text is NULL is left out. */
typedef struct LogField
{
	const char *key;
	const char *text;
	int64_t number;
	bool is_number;
} LogField;

#define TEXT(key, text) ((LogField) {(key), (text), 0, false})
#define NUMBER(key, number) ((LogField) {(key), NULL, (number), true})

/* log_event(LOG_INFO, "job finished", NUMBER("job", 12), TEXT("model", name)) */
#define log_event(level, event, ...) \
	log_write((level), (event), (LogField[]) {__VA_OPT__(__VA_ARGS__, ){NULL, NULL, 0, false}})

/* Lines below that level are left out. */
extern void log_open(LogLevel least, LogFormat format);
extern bool log_has(LogLevel level);
extern void log_write(LogLevel level, const char *event, const LogField *fields);

/* Adds the line, without a time and its end, to a buffer. */
extern void log_format(Buffer *to, LogFormat format, LogLevel level, const char *event,
					   const LogField *fields);

#endif
