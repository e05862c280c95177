/*
 * Reads a dump in plain text, in pieces of any size, and stores what it has of secrets.
 */
#ifndef RECOVER_DUMP_H
#define RECOVER_DUMP_H

#include <stdbool.h>
#include <stddef.h>

#include "common/memory.h"
#include "recover/sql.h"
#include "recover/store.h"

#define DUMP_COLUMNS 8 /* of a table, that are read */

typedef enum DumpPhase
{
	DUMP_SQL,
	DUMP_END_OF_COPY, /* the rest of the statement's line */
	DUMP_ROWS
} DumpPhase;

typedef struct Dump
{
	Stores *stores;
	Store *store; /* of the database that is being read */
	Sql sql;
	DumpPhase phase;
	bool is_wanted; /* the rows that are being read are of a table of ours */
	TableKind table;
	size_t column_count;
	size_t places[DUMP_COLUMNS]; /* where in a row each column is */
	char **texts;
	Buffer row;
	bool is_row_too_long;
	unsigned long long row_number;
	bool has_statements;
	const char *trouble; /* why it cannot be read on, or NULL */
} Dump;

extern void dump_open(Dump *dump, Stores *stores);

/* Reads the next bytes; false when there is trouble. */
extern bool dump_take(Dump *dump, const char *bytes, size_t size);

/* Says when the dump is cut off, and frees all but the stores. */
extern void dump_close(Dump *dump);

#endif
