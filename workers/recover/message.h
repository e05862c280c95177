/*
 * What the program says on standard error. A "problem" is something that could not be recovered:
 * the rest is, and the program ends with status 1.
 */
#ifndef RECOVER_MESSAGE_H
#define RECOVER_MESSAGE_H

#include <stdbool.h>

#define STATUS_PROBLEM 1
#define STATUS_UNUSABLE 2 /* bad arguments, or a file that is not what it should be */

/* Says nothing any more, for tests. */
extern bool message_is_quiet;

/* Says a line. Texts from outside have to be printable, see text_printable(). */
extern void message_say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Says a line, and counts it. */
extern void message_problem(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* How many problems there were. */
extern unsigned long message_problems(void);

/* Says a line, and ends the program with STATUS_UNUSABLE. */
extern _Noreturn void message_end(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
