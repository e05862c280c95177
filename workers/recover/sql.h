/*
 * Finds the statements in the SQL of a dump, and the commands for psql between them: what stands in
 * quotes or comments is none, also when it looks like one.
 */
#ifndef RECOVER_SQL_H
#define RECOVER_SQL_H

#include <stdbool.h>

#include "common/memory.h"

typedef enum SqlEvent
{
	SQL_NOTHING,
	SQL_STATEMENT, /* a statement has ended, with its semicolon */
	SQL_COMMAND	   /* a command for psql has ended, with its line */
} SqlEvent;

typedef enum SqlState
{
	SQL_PLAIN,
	SQL_QUOTE,
	SQL_ESCAPING_QUOTE, /* E'', where a backslash escapes */
	SQL_NAME,			/* "" */
	SQL_DOLLAR_TAG,
	SQL_DOLLAR_QUOTE,
	SQL_LINE_COMMENT,
	SQL_BLOCK_COMMENT,
	SQL_IN_COMMAND
} SqlState;

#define SQL_TAG_SIZE 64

typedef struct Sql
{
	SqlState state;
	SqlState last_quote;	/* how the quote was that has just ended */
	bool backslash_escapes; /* in all quotes: standard_conforming_strings is off */
	bool escaped;
	char last;					/* the last character outside of quotes and comments, 0 for none */
	char before;				/* the one before it */
	int depth;					/* of comments */
	char tag[SQL_TAG_SIZE + 2]; /* of the dollar quote, with both dollars */
	size_t tag_size;
	size_t matched;	  /* characters of the tag that may be its end */
	Buffer statement; /* how it begins; the whole of it when it is a COPY or a SET */
	Buffer command;	  /* without the backslash */
	bool is_too_long; /* the statement is longer than what was kept, though it is a COPY */
} Sql;

/* Takes the next character. After an event that is not SQL_NOTHING call sql_next(). */
extern SqlEvent sql_take(Sql *sql, char c);

/* Makes it ready for what comes after a statement or a command. */
extern void sql_next(Sql *sql);

extern void sql_close(Sql *sql);

#endif
