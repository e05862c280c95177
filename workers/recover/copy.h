/*
 * COPY as pg_dump writes it: the statement, and rows in the text format.
 */
#ifndef RECOVER_COPY_H
#define RECOVER_COPY_H

#include <stdbool.h>
#include <stddef.h>

#define COPY_COLUMNS 1600 /* as many as a table of PostgreSQL may have */

/* COPY schema.relation (columns) FROM stdin */
typedef struct CopyStatement
{
	char *schema; /* empty when none is named */
	char *relation;
	char *columns[COPY_COLUMNS];
	size_t column_count;
	bool has_options; /* something comes behind: rows may have another format */
	char *names;	  /* the memory of all of them */
} CopyStatement;

/* False when it is no COPY from stdin; its names are to be freed otherwise. */
extern bool copy_parse(const char *statement, CopyStatement *copy);

extern void copy_free(CopyStatement *copy);

/*
 * Splits a row, without its end of line, into exactly that many texts, NULL for \N. They lie in the
 * row itself, which is changed. False when the row has not that many, or a zero byte.
 */
extern bool copy_split(char *row, size_t size, char **texts, size_t count);

#endif
