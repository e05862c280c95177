/*
 * What goes wrong, as HTTP tells it: which status a SQLSTATE comes to, and texts of problem+json.
 */
#ifndef GATEWAY_PROBLEM_H
#define GATEWAY_PROBLEM_H

#include <stdbool.h>

#include "common/memory.h"

/*
 * The status of a SQLSTATE. Errors of the credential ("refused") are 401 or 403; that of a
 * statement that lacks a right is 403.
 */
extern int problem_status(const char *sqlstate, bool is_refused);

/* "Not Found" of 404. */
extern const char *problem_title(int status);

/* Does the database's message go to the client? Not when it tells of the server's inside. */
extern bool problem_is_told(int status);

typedef struct Problem
{
	int status;
	const char *sqlstate; /* these may be NULL, but for the id */
	const char *title;
	const char *detail;
	const char *hint;
	const char *parameter;
	const char *id;
} Problem;

extern void problem_write(Buffer *to, const Problem *problem);

#endif
