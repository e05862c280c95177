/*
 * What the program says on standard error.
 */
#include "recover/message.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

bool message_is_quiet = false;
static unsigned long problems = 0;

static void
say(const char *format, va_list arguments)
{
	if (message_is_quiet)
		return;
	fputs("aurora-secrets-recover: ", stderr);
	vfprintf(stderr, format, arguments);
	fputc('\n', stderr);
}

void
message_say(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	say(format, arguments);
	va_end(arguments);
}

void
message_problem(const char *format, ...)
{
	va_list arguments;

	problems++;
	va_start(arguments, format);
	say(format, arguments);
	va_end(arguments);
}

unsigned long
message_problems(void)
{
	return problems;
}

void
message_end(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	say(format, arguments);
	va_end(arguments);
	exit(STATUS_UNUSABLE);
}
