/*
 * What the program is asked for.
 */
#ifndef RECOVER_OPTIONS_H
#define RECOVER_OPTIONS_H

#include <stdbool.h>

#include "recover/recover.h"

#define KEY_FILES 16

typedef struct Options
{
	Wish wish;
	const char *key_files[KEY_FILES];
	int key_file_count;
	const char *input;	  /* NULL for standard input */
	const char *output;	  /* NULL when none is named */
	const char *database; /* NULL when none is named */
} Options;

/* Reads the arguments; ends the program when they ask for help, or are wrong. */
extern void options_read(Options *options, int count, char **arguments);

#endif
