/*
 * What the program is asked for.
 */
#ifndef GATEWAY_OPTIONS_H
#define GATEWAY_OPTIONS_H

#include <stdbool.h>

#define STATUS_UNUSABLE 2 /* bad arguments or configuration */

typedef struct Options
{
	const char *config;
	bool is_check;
	bool is_openapi;
	bool is_api_docs;
} Options;

/* Reads the arguments; ends the program when they ask for help, or are wrong. */
extern void options_read(Options *options, int count, char **arguments);

#endif
