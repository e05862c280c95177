/*
 * The parts that read a dump: statements in SQL, COPY statements, and rows.
 */
#include <stdlib.h>
#include <string.h>

#include "recover/copy.h"
#include "common/memory.h"
#include "recover/sql.h"
#include "tests/tap.h"

/* ---- statements ---- */

/*
 * What statements and commands a text has, each in [] or {}.
 */
static char *
events_of(const char *text, bool backslash_escapes)
{
	Sql sql = {.backslash_escapes = backslash_escapes};
	Buffer found = {0};

	buffer_add_text(&found, "");
	for (const char *c = text; *c; c++)
	{
		SqlEvent event = sql_take(&sql, *c);
		const Buffer *of_event = event == SQL_STATEMENT ? &sql.statement : &sql.command;

		if (event == SQL_NOTHING)
			continue;
		buffer_add_char(&found, event == SQL_STATEMENT ? '[' : '{');
		buffer_add(&found, of_event->bytes, of_event->size);
		buffer_add_char(&found, event == SQL_STATEMENT ? ']' : '}');
		sql_next(&sql);
	}
	sql_close(&sql);
	return found.bytes;
}

static void
has_events(const char *text, const char *expected, const char *name)
{
	char *found = events_of(text, false);

	is(found, expected, name);
	free(found);
}

static void
try_statements(void)
{
	char *found;

	has_events("SELECT 1;\n  SELECT 2;\n", "[SELECT 1;][SELECT 2;]",
			   "statements end in semicolons");
	has_events("SELECT ';';", "[SELECT ';';]", "not in quotes");
	has_events("SELECT 'it''s;\nCOPY a.b (c) FROM stdin;\n';",
			   "[SELECT 'it''s;\nCOPY a.b (c) FROM stdin;\n';]",
			   "nor after a doubled quote, or a line that looks like another statement");
	has_events("SELECT 'a\\';SELECT 2;", "[SELECT 'a\\';][SELECT 2;]",
			   "a backslash escapes nothing");
	has_events("SELECT E'a\\';b';SELECT 2;", "[SELECT E'a\\';b';][SELECT 2;]", "but in E''");
	has_events("SELECT E'a''\\';b';SELECT 2;", "[SELECT E'a''\\';b';][SELECT 2;]",
			   "also after a doubled quote");
	has_events("SELECT date'a\\';SELECT 2;", "[SELECT date'a\\';][SELECT 2;]",
			   "an E at the end of a word is none");
	found = events_of("SELECT 'a\\';b';", true);
	is(found, "[SELECT 'a\\';b';]", "it does where standard_conforming_strings is off");
	free(found);
	has_events("SELECT \"a;'\";SELECT \"b\"\"';\";", "[SELECT \"a;'\";][SELECT \"b\"\"';\";]",
			   "names in quotes may have anything");
	has_events("SELECT $$a;'$$;SELECT $x$ $$;$ $xx$ ;$x$;",
			   "[SELECT $$a;'$$;][SELECT $x$ $$;$ $xx$ ;$x$;]", "so may dollar quotes");
	has_events("SELECT $x$a$$x$;SELECT 2;", "[SELECT $x$a$$x$;][SELECT 2;]",
			   "whose end may come behind another dollar");
	has_events("SELECT $1;SELECT a$b;SELECT $é$;$é$;", "[SELECT $1;][SELECT a$b;][SELECT $é$;$é$;]",
			   "a dollar may also stand in a name or before a number");
	has_events("-- a;'\nSELECT 1 -- b;\n;", "[SELECT 1 ;]", "comments are left out");
	has_events("/* a; /* b' */ ; */SELECT 1/*;*/;", "[SELECT 1;]", "those of several lines, too");
	has_events("SELECT 3 - -1 * 4 / 2;", "[SELECT 3 - -1 * 4 / 2;]", "operators are no comments");
	has_events("/**/SELECT /* **/ 1;", "[SELECT  1;]", "a star may come before a comment's end");
	has_events("\\connect postgres\nSELECT 1;\n\\restrict aB3\n",
			   "{connect postgres}[SELECT 1;]{restrict aB3}",
			   "commands for psql end with their line");
	has_events("SELECT '\\connect x\n';", "[SELECT '\\connect x\n';]", "in quotes there are none");
	has_events("SELECT 1", "", "what does not end is none");
}

static void
try_long_statements(void)
{
	Buffer text = {0};
	char *found;

	buffer_add_text(&text, "COPY a.b (");
	for (int i = 0; i < 1600; i++)
		buffer_add_text(&text, "a_column_whose_name_is_as_long_as_one_of_postgresql_ever_can_be,");
	buffer_add_text(&text, "c) FROM stdin;");
	found = events_of(text.bytes, false);
	ok(strlen(found) == text.size + 2, "a COPY of 1,600 columns is kept whole");
	free(found);
	text.bytes[0] = 'N';
	found = events_of(text.bytes, false);
	ok(strlen(found) < 1000, "of other statements only the beginning is kept");
	free(found);
	buffer_wipe(&text);
}

/* ---- COPY ---- */

static void
is_copy(const char *statement, const char *expected, const char *name)
{
	CopyStatement copy;
	Buffer found = {0};

	buffer_add_text(&found, "");
	if (copy_parse(statement, &copy))
	{
		buffer_add_text(&found, copy.schema);
		buffer_add_text(&found, "|");
		buffer_add_text(&found, copy.relation);
		for (size_t i = 0; i < copy.column_count; i++)
		{
			buffer_add_text(&found, "|");
			buffer_add_text(&found, copy.columns[i]);
		}
		buffer_add_text(&found, copy.has_options ? "+" : "");
		copy_free(&copy);
	}
	is(found.bytes, expected, name);
	buffer_wipe(&found);
}

static void
try_copy(void)
{
	Buffer text = {0};
	CopyStatement copy;

	is_copy("COPY aurora.secret (secret_id, node) FROM stdin;", "aurora|secret|secret_id|node",
			"a COPY has a table and columns");
	is_copy("copy\n \"au\"\"rora\".\"Sec,ret\"(\"a)b\",b)from STDIN;", "au\"rora|Sec,ret|a)b|b",
			"names may be in quotes");
	is_copy("COPY Aurora.SECRET (A) FROM stdin;", "aurora|secret|a", "others are in lower case");
	is_copy("COPY t FROM stdin;", "|t", "schema and columns may be missing");
	is_copy("COPY t (a) FROM stdin WITH (FORMAT csv);", "|t|a+", "options are noticed");
	is_copy("COPY t (a) TO stdout;", "", "COPY TO is none");
	is_copy("COPY t (a) FROM '/tmp/file';", "", "nor is that from a file");
	is_copy("COPY t (a FROM stdin;", "", "nor one that is broken");
	is_copy("COPY t (a,) FROM stdin;", "", "in whatever way");
	is_copy("COPY t () FROM stdin;", "", "as without columns");
	is_copy("COPY \"t FROM stdin;", "", "or without the end of a quote");
	is_copy("COPY (SELECT 1) FROM stdin;", "", "or with a query");
	is_copy("COPYt (a) FROM stdin;", "", "or a longer word");
	is_copy("", "", "or nothing at all");
	buffer_add_text(&text, "COPY t (a");
	for (int i = 1; i < COPY_COLUMNS; i++)
		buffer_add_text(&text, ",a");
	ok(strlen(text.bytes) > 0, "a long one is made");
	buffer_add_text(&text, ",a) FROM stdin;");
	ok(!copy_parse(text.bytes, &copy), "with more columns than a table may have it is none");
	text.size -= strlen(",a) FROM stdin;");
	buffer_add_text(&text, ") FROM stdin;");
	ok(copy_parse(text.bytes, &copy) && copy.column_count == COPY_COLUMNS,
	   "with as many it is one");
	copy_free(&copy);
	buffer_wipe(&text);
}

/* ---- rows ---- */

static void
is_row(const char *row, size_t size, size_t count, const char *expected, const char *name)
{
	char *texts[8] = {NULL};
	char *copy = malloc(size + 1);
	Buffer found = {0};

	memcpy(copy, row, size);
	copy[size] = '\0';
	buffer_add_text(&found, "");
	if (copy_split(copy, size, texts, count))
		for (size_t i = 0; i < count; i++)
		{
			buffer_add_text(&found, i > 0 ? "|" : "");
			buffer_add_text(&found, texts[i] ? texts[i] : "NULL");
		}
	else
		buffer_add_text(&found, "none");
	is(found.bytes, expected, name);
	buffer_wipe(&found);
	free(copy);
}

#define ROW(row, count, expected, name) is_row(row, sizeof(row) - 1, count, expected, name)

static void
try_rows(void)
{
	ROW("a\tb\t", 3, "a|b|", "a row has texts between tabs");
	ROW("", 1, "", "a row of one column may be empty");
	ROW("\\N\t\\\\N\ta\\N\t\\N ", 4, "NULL|\\N|aN|N ", "\\N alone is null");
	ROW("\\b\\f\\n\\r\\t\\v\\\\", 1, "\b\f\n\r\t\v\\", "escapes are understood");
	ROW("\\101\\1018\\60\\7x\\777\\8", 1,
		"A"
		"A8"
		"0"
		"\7x"
		"\377"
		"8",
		"octal ones");
	ROW("\\x41\\x4a1\\x7\\xg\\x", 1,
		"A"
		"J1"
		"\7"
		"xg"
		"x",
		"and hexadecimal ones");
	ROW("\\a\\\"\\.\\ ", 1, "a\". ", "others are the character itself");
	ROW("a\\", 1, "a\\", "a last backslash is one");
	ROW("a\\\tb\tc", 2, "a\tb|c", "a tab behind a backslash is one");
	ROW("a\tb", 1, "none", "a row may not have more texts");
	ROW("a\tb", 3, "none", "or fewer");
	ROW("a\\000b", 1, "none", "or a zero byte");
	ROW("a\0b", 1, "none", "in whatever form");
	ROW("a\\x00", 1, "none", "and place");
	ROW("gr\303\274n\t\360\237\224\221", 2, "gr\303\274n|\360\237\224\221",
		"other bytes are as they are");
}

/*
 * Escapes a text as COPY TO does.
 */
static void
add_escaped(Buffer *row, const char *text)
{
	static const char plain[] = "\b\f\n\r\t\v\\";
	static const char letters[] = "bfnrtv\\";

	for (; *text; text++)
	{
		const char *place = strchr(plain, *text);

		if (place)
			buffer_add_char(row, '\\');
		buffer_add_char(row, place ? letters[place - plain] : *text);
	}
}

static void
try_random_rows(void)
{
	static const char signs[] = "\b\f\n\r\t\v\\\\\\NnxT.0'\"\377";
	size_t wrong = 0;

	for (int i = 0; i < 50000; i++)
	{
		char expected[5][12] = {"", "", "", "", ""};
		char *texts[5];
		size_t count = 1 + random_below(5);
		Buffer row = {0};

		buffer_add_text(&row, "");
		for (size_t t = 0; t < count; t++)
		{
			for (uint32_t c = random_below(12); c > 0; c--)
				strncat(expected[t], &signs[random_below(sizeof(signs) - 1)], 1);
			buffer_add_text(&row, t > 0 ? "\t" : "");
			add_escaped(&row, expected[t]);
		}
		if (!copy_split(row.bytes, row.size, texts, count))
			wrong++;
		else
			for (size_t t = 0; t < count; t++)
				wrong += texts[t] == NULL || strcmp(texts[t], expected[t]) != 0;
		buffer_wipe(&row);
	}
	ok(wrong == 0, "50,000 random rows are read back");
}

int
main(void)
{
	try_statements();
	try_long_statements();
	try_copy();
	try_rows();
	try_random_rows();
	return done();
}
