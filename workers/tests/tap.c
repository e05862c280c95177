/*
 * Tests in C that print TAP.
 */
#include "tests/tap.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int count = 0;
static int failures = 0;
static uint64_t state = 0;

bool
ok(bool passed, const char *format, ...)
{
	va_list arguments;

	failures += !passed;
	printf("%sok %d - ", passed ? "" : "not ", ++count);
	va_start(arguments, format);
	vprintf(format, arguments);
	va_end(arguments);
	printf("\n");
	fflush(stdout);
	return passed;
}

bool
is(const char *found, const char *expected, const char *name)
{
	bool same = found && expected ? strcmp(found, expected) == 0 : found == expected;

	if (!ok(same, "%s", name))
		fprintf(stderr, "# found:    %s\n# expected: %s\n", found ? found : "(nothing)",
				expected ? expected : "(nothing)");
	return same;
}

void
note(const char *format, ...)
{
	va_list arguments;

	printf("# ");
	va_start(arguments, format);
	vprintf(format, arguments);
	va_end(arguments);
	printf("\n");
	fflush(stdout);
}

/*
 * splitmix64, http://prng.di.unimi.it/splitmix64.c.
 */
static uint64_t
next_number(void)
{
	uint64_t z;

	if (state == 0)
	{
		const char *seed = getenv("AURORA_SEED");

		state = seed ? strtoull(seed, NULL, 10) : (uint64_t) time(NULL) << 16 | (uint64_t) getpid();
		note("AURORA_SEED=%llu repeats this", (unsigned long long) state);
	}
	state += 0x9e3779b97f4a7c15u;
	z = state;
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

uint32_t
random_below(uint32_t limit)
{
	return (uint32_t) ((next_number() >> 32) * limit >> 32);
}

void
random_bytes(uint8_t *bytes, size_t size)
{
	for (size_t i = 0; i < size; i++)
		bytes[i] = (uint8_t) next_number();
}

int
done(void)
{
	printf("1..%d\n", count);
	return failures > 0;
}
