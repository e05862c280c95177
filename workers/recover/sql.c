/*
 * Finds the statements in the SQL of a dump. psql does the same when it restores one.
 */
#include "recover/sql.h"

#include <string.h>
#include <strings.h>

#define KEPT 256			/* of a statement that nobody reads on */
#define KEPT_COPY (1 << 20) /* 1,600 columns have shorter names */
#define KEPT_COMMAND 4096

static bool
is_word_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
		   (unsigned char) c >= 0x80;
}

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v';
}

static void
keep(Sql *sql, char c)
{
	Buffer *statement = &sql->statement;

	if (statement->size == 0 && is_blank(c))
		return;
	if (statement->size < KEPT)
		buffer_add_char(statement, c);
	else if (strncasecmp(statement->bytes, "copy", 4) == 0)
	{
		sql->is_too_long = statement->size >= KEPT_COPY;
		if (!sql->is_too_long)
			buffer_add_char(statement, c);
	}
}

/*
 * The dash or slash that has begun a comment was kept before it was known as such.
 */
static void
begin_comment(Sql *sql, SqlState state)
{
	Buffer *statement = &sql->statement;

	if (statement->size > 0 && statement->size < KEPT)
		statement->bytes[--statement->size] = '\0';
	sql->state = state;
	sql->depth = 1;
	sql->last = 0;
}

static void
begin_quote(Sql *sql)
{
	if (sql->last == '\'')
		sql->state = sql->last_quote; /* '' within a quote */
	else if (sql->backslash_escapes ||
			 ((sql->last == 'E' || sql->last == 'e') && !is_word_char(sql->before)))
		sql->state = SQL_ESCAPING_QUOTE;
	else
		sql->state = SQL_QUOTE;
	sql->escaped = false;
	keep(sql, '\'');
}

static SqlEvent
take_plain(Sql *sql, char c)
{
	char last = sql->last;

	if (c == '\'')
	{
		begin_quote(sql);
		return SQL_NOTHING;
	}
	sql->before = last;
	sql->last = c;
	if (c == '-' && last == '-')
		begin_comment(sql, SQL_LINE_COMMENT);
	else if (c == '*' && last == '/')
		begin_comment(sql, SQL_BLOCK_COMMENT);
	else if (c == '\\')
		sql->state = SQL_IN_COMMAND;
	else
	{
		keep(sql, c);
		if (c == '"')
			sql->state = SQL_NAME;
		else if (c == '$' && !is_word_char(last) && last != '$')
		{
			sql->state = SQL_DOLLAR_TAG;
			sql->tag[0] = '$';
			sql->tag_size = 1;
		}
		else if (c == ';')
			return SQL_STATEMENT;
	}
	return SQL_NOTHING;
}

/*
 * Within ''. The state after its end is plain, where another ' at once goes on with it.
 */
static void
take_quoted(Sql *sql, char c)
{
	keep(sql, c);
	if (sql->escaped)
		sql->escaped = false;
	else if (c == '\\' && sql->state == SQL_ESCAPING_QUOTE)
		sql->escaped = true;
	else if (c == '\'')
	{
		sql->last_quote = sql->state;
		sql->state = SQL_PLAIN;
		sql->last = '\'';
	}
}

/*
 * Within what may become the tag of a dollar quote; when it does not, it was plain.
 */
static SqlEvent
take_tag(Sql *sql, char c)
{
	bool is_first = sql->tag_size == 1;
	bool fits = is_word_char(c) && !(is_first && c >= '0' && c <= '9');

	if (c != '$' && (!fits || sql->tag_size > SQL_TAG_SIZE))
	{
		sql->state = SQL_PLAIN;
		return take_plain(sql, c);
	}
	keep(sql, c);
	sql->tag[sql->tag_size++] = c;
	sql->last = c;
	if (c == '$')
	{
		sql->state = SQL_DOLLAR_QUOTE;
		sql->matched = 0;
	}
	return SQL_NOTHING;
}

/*
 * A tag has a dollar at its ends only, so that one in the wrong place can only begin it anew.
 */
static void
take_dollar_quoted(Sql *sql, char c)
{
	keep(sql, c);
	if (c == sql->tag[sql->matched])
		sql->matched++;
	else
		sql->matched = c == '$' ? 1 : 0;
	if (sql->matched == sql->tag_size)
	{
		sql->state = SQL_PLAIN;
		sql->last = '$';
	}
}

static void
take_comment(Sql *sql, char c)
{
	if (sql->state == SQL_LINE_COMMENT)
	{
		if (c == '\n')
			sql->state = SQL_PLAIN;
		return;
	}
	if (c == '/' && sql->last == '*')
	{
		c = 0;
		if (--sql->depth == 0)
			sql->state = SQL_PLAIN;
	}
	else if (c == '*' && sql->last == '/')
	{
		c = 0;
		sql->depth++;
	}
	sql->last = c;
}

SqlEvent
sql_take(Sql *sql, char c)
{
	switch (sql->state)
	{
		case SQL_PLAIN:
			return take_plain(sql, c);
		case SQL_QUOTE:
		case SQL_ESCAPING_QUOTE:
			take_quoted(sql, c);
			break;
		case SQL_NAME:
			keep(sql, c);
			if (c == '"')
				sql->state = SQL_PLAIN;
			break;
		case SQL_DOLLAR_TAG:
			return take_tag(sql, c);
		case SQL_DOLLAR_QUOTE:
			take_dollar_quoted(sql, c);
			break;
		case SQL_LINE_COMMENT:
		case SQL_BLOCK_COMMENT:
			take_comment(sql, c);
			break;
		case SQL_IN_COMMAND:
			if (c == '\n')
				return SQL_COMMAND;
			if (sql->command.size < KEPT_COMMAND)
				buffer_add_char(&sql->command, c);
			break;
	}
	return SQL_NOTHING;
}

void
sql_next(Sql *sql)
{
	if (sql->state == SQL_IN_COMMAND)
		buffer_clear(&sql->command);
	else
	{
		buffer_clear(&sql->statement);
		sql->is_too_long = false;
	}
	sql->state = SQL_PLAIN;
	sql->last = 0;
}

void
sql_close(Sql *sql)
{
	buffer_wipe(&sql->statement);
	buffer_wipe(&sql->command);
}
