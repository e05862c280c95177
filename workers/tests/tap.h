/*
 * Tests in C that print TAP. Random numbers come from a seed that is printed, and AURORA_SEED sets.
 */
#ifndef TESTS_TAP_H
#define TESTS_TAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One test. */
extern bool ok(bool passed, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Texts are the same; shows both when not. */
extern bool is(const char *found, const char *expected, const char *name);

/* A line that is no test. */
extern void note(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A random number below that. */
extern uint32_t random_below(uint32_t limit);
extern void random_bytes(uint8_t *bytes, size_t size);

/* The plan, and the status to end with. */
extern int done(void);

#endif
