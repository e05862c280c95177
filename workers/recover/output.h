/*
 * Where values are written: standard output, or a file of its own that only its owner can read.
 */
#ifndef RECOVER_OUTPUT_H
#define RECOVER_OUTPUT_H

#include <stdbool.h>

#include "common/memory.h"

#define NO_FILE (-1) /* for tests: all stays in the buffer */

typedef struct Output
{
	int fd;
	const char *path; /* NULL for standard output */
	Buffer buffer;
	bool has_any;
} Output;

/* Ends the program when the file is there already, before any work is done. */
extern void output_check(const char *path);

/* Makes the file (NULL or "-": takes standard output), or ends the program. */
extern void output_open(Output *output, const char *path);

/* Writes what has gathered, when that is much or "all"; ends the program when it cannot. */
extern void output_flush(Output *output, bool all);

/* Writes the rest. A file in which nothing was written goes away when it is not to be kept. */
extern void output_close(Output *output, bool keep_empty);

#endif
