/*
 * COPY as pg_dump writes it.
 */
#include "recover/copy.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/memory.h"

/* ---- the statement ---- */

/* Where the reading is, and where the next name goes. */
typedef struct Reader
{
	const char *at;
	char *next;
} Reader;

static void
skip_blanks(Reader *reader)
{
	while (*reader->at && strchr(" \t\r\n\f\v", *reader->at))
		reader->at++;
}

static bool
is_name_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
		   c == '$' || (uint8_t) c >= 0x80;
}

static char
lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char) (c + 'a' - 'A') : c;
}

/*
 * Reads a name, quoted or not, and goes behind it; NULL when there is none.
 */
static char *
read_name(Reader *reader)
{
	char *name = reader->next;

	skip_blanks(reader);
	if (*reader->at == '"')
	{
		for (reader->at++; *reader->at != '"' || reader->at[1] == '"'; reader->at++)
		{
			if (*reader->at == '\0')
				return NULL;
			if (*reader->at == '"')
				reader->at++;
			*reader->next++ = *reader->at;
		}
		reader->at++;
	}
	else
		while (is_name_char(*reader->at))
			*reader->next++ = lower(*reader->at++);
	if (reader->next == name)
		return NULL;
	*reader->next++ = '\0';
	return name;
}

static bool
read_char(Reader *reader, char c)
{
	skip_blanks(reader);
	if (*reader->at != c)
		return false;
	reader->at++;
	return true;
}

static bool
read_word(Reader *reader, const char *word)
{
	size_t length = strlen(word);

	skip_blanks(reader);
	if (strncasecmp(reader->at, word, length) != 0 || is_name_char(reader->at[length]))
		return false;
	reader->at += length;
	return true;
}

static bool
read_columns(Reader *reader, CopyStatement *copy)
{
	if (!read_char(reader, '('))
		return true;
	do
	{
		if (copy->column_count == COPY_COLUMNS)
			return false;
		copy->columns[copy->column_count] = read_name(reader);
		if (copy->columns[copy->column_count++] == NULL)
			return false;
	} while (read_char(reader, ','));
	return read_char(reader, ')');
}

static bool
read_statement(Reader *reader, CopyStatement *copy)
{
	if (!read_word(reader, "copy"))
		return false;
	copy->schema = "";
	copy->relation = read_name(reader);
	if (copy->relation && read_char(reader, '.'))
	{
		copy->schema = copy->relation;
		copy->relation = read_name(reader);
	}
	if (copy->relation == NULL || !read_columns(reader, copy) || !read_word(reader, "from") ||
		!read_word(reader, "stdin"))
		return false;
	copy->has_options = !read_char(reader, ';');
	return true;
}

bool
copy_parse(const char *statement, CopyStatement *copy)
{
	Reader reader = {.at = statement};

	memset(copy, 0, sizeof(*copy));
	copy->names = memory_get(2 * strlen(statement) + 1); /* each name has a character and an end */
	reader.next = copy->names;
	if (read_statement(&reader, copy))
		return true;
	copy_free(copy);
	return false;
}

void
copy_free(CopyStatement *copy)
{
	free(copy->names);
	memset(copy, 0, sizeof(*copy));
}

/* ---- rows ---- */

static int
digit(char c, int base)
{
	int value = c >= '0' && c <= '9'   ? c - '0'
				: c >= 'a' && c <= 'f' ? c - 'a' + 10
				: c >= 'A' && c <= 'F' ? c - 'A' + 10
									   : base;

	return value < base ? value : -1;
}

/*
 * Reads up to so many digits, and goes behind them; how many there were.
 */
static int
read_digits(const char **from, const char *end, int base, int most, char *c)
{
	int count = 0;
	int value = 0;

	while (count < most && *from < end && digit(**from, base) >= 0)
	{
		value = value * base + digit(**from, base);
		(*from)++;
		count++;
	}
	*c = (char) value;
	return count;
}

/*
 * The character that a backslash stands for together with what comes behind it; goes behind that.
 */
static char
read_escape(const char **from, const char *end)
{
	static const char letters[] = "bfnrtv";
	static const char meant[] = "\b\f\n\r\t\v";
	const char *letter;
	char c;

	if (*from == end)
		return '\\';
	if (read_digits(from, end, 8, 3, &c) > 0)
		return c;
	c = *(*from)++;
	letter = memchr(letters, c, sizeof(letters) - 1);
	if (letter)
		return meant[letter - letters];
	if (c == 'x')
	{
		char hex;

		return read_digits(from, end, 16, 2, &hex) > 0 ? hex : c;
	}
	return c;
}

/*
 * Unescapes what is between "from" and "end" to the front of it; false when it has a zero byte.
 */
static bool
unescape(char *from, char *end)
{
	const char *at = from;
	char *to = from;

	while (at < end)
	{
		char c = *at++;

		if (c == '\\')
			c = read_escape(&at, end);
		if (c == '\0')
			return false;
		*to++ = c;
	}
	*to = '\0';
	return true;
}

/*
 * The tab that ends a text, or "end". One behind a backslash is part of the text.
 */
static char *
find_tab(char *from, char *end)
{
	for (; from < end && *from != '\t'; from++)
		if (*from == '\\' && from + 1 < end)
			from++;
	return from;
}

bool
copy_split(char *row, size_t size, char **texts, size_t count)
{
	char *end = row + size;

	for (size_t i = 0; i < count; i++)
	{
		char *text_end = find_tab(row, end);
		bool is_null = text_end - row == 2 && row[0] == '\\' && row[1] == 'N';

		if ((text_end < end) != (i + 1 < count))
			return false;
		if (!is_null && !unescape(row, text_end))
			return false;
		texts[i] = is_null ? NULL : row;
		row = text_end + 1;
	}
	return count > 0;
}
