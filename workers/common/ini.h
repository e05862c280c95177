/*
 * Reads configuration files in the INI format: [section] or [section name], key = value, comments
 * from # or ; at the start of a line or behind a blank. A value may stand in double quotes, in
 * which
 * \" and \\ are escapes and # and ; are not special.
 */
#ifndef COMMON_INI_H
#define COMMON_INI_H

#include <stdbool.h>
#include <stddef.h>

/* One setting; an error to be freed when it is wrong, else NULL. "name" is empty when there is
 * none. */
typedef char *(*IniTake)(void *context, const char *section, const char *name, const char *key,
						 const char *value);

/* Reads a text; NULL, or what is wrong with it and in which line, to be freed. */
extern char *ini_read(const char *text, IniTake take, void *context);

/* Reads a file; as ini_read(). */
extern char *ini_read_file(const char *path, IniTake take, void *context);

#endif
