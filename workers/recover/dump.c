/*
 * Reads a dump in plain text.
 */
#include "recover/dump.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "recover/copy.h"
#include "recover/message.h"
#include "recover/text.h"

#define LONGEST_ROW ((size_t) 64 << 20) /* a value of 1 MiB takes less than 2 */
#define LONGEST_OTHER 4					/* of rows that are not ours: to know the end */

/* Takes a row's texts, in the order of the columns below; false when they are not as they should
 * be. */
typedef bool (*TakeRow)(Store *store, char **texts);

static bool take_company(Store *store, char **texts);
static bool take_secret(Store *store, char **texts);
static bool take_version(Store *store, char **texts);
static bool take_data_key(Store *store, char **texts);

static const struct
{
	const char *name;
	const char *columns[DUMP_COLUMNS];
	TakeRow take_row;
} tables[TABLE_COUNT] = {
	[TABLE_COMPANY] = {"company", {"company_id", "name"}, take_company},
	[TABLE_SECRET] = {"secret",
					  {"secret_id", "company_id", "service", "key_name", "node", "version"},
					  take_secret},
	[TABLE_VERSION] = {"secret_version",
					   {"secret_id", "version", "key_no", "token", "expires_at", "deleted_at"},
					   take_version},
	[TABLE_DATA_KEY] = {"secret_data_key", {"key_no", "master_key_id", "wrapped"}, take_data_key},
};

void
dump_open(Dump *dump, Stores *stores)
{
	memset(dump, 0, sizeof(*dump));
	dump->stores = stores;
	dump->store = stores_add(stores, NULL);
}

/* ---- rows ---- */

static bool
take_company(Store *store, char **texts)
{
	Company *company;
	int64_t company_id;

	if (texts[0] == NULL || !text_number(texts[0], &company_id) || texts[1] == NULL)
		return false;
	company = store_add_company(store);
	company->company_id = company_id;
	company->name = memory_copy(texts[1]);
	return true;
}

static bool
take_secret(Store *store, char **texts)
{
	Secret *secret;
	int64_t secret_id;
	int64_t company_id = NO_COMPANY;
	int64_t version;

	if (texts[0] == NULL || !text_number(texts[0], &secret_id) ||
		(texts[1] && !text_number(texts[1], &company_id)) || texts[2] == NULL || texts[3] == NULL ||
		texts[5] == NULL || !text_number(texts[5], &version))
		return false;
	secret = store_add_secret(store);
	secret->secret_id = secret_id;
	secret->company_id = company_id;
	secret->service = memory_copy(texts[2]);
	secret->key_name = memory_copy(texts[3]);
	secret->node = memory_copy(texts[4]);
	secret->version = version;
	return true;
}

/*
 * Versions before the last are left out at once where their secrets are known already, as they are
 * in what pg_dump writes.
 */
static bool
take_version(Store *store, char **texts)
{
	const Secret *secret;
	Version *version;
	int64_t secret_id;
	int64_t number;
	int64_t key_no;
	int64_t expires_at = INT64_MAX;

	if (texts[0] == NULL || !text_number(texts[0], &secret_id) || texts[1] == NULL ||
		!text_number(texts[1], &number) || texts[2] == NULL || !text_number(texts[2], &key_no))
		return false;
	secret = store_find_secret(store, secret_id);
	if (!store->keeps_all && secret && secret->version != number)
		return true;
	if (texts[4] && !text_time(texts[4], &expires_at))
	{
		message_problem("version %lld of secret_id %lld expires at a time that cannot be read",
						(long long) number, (long long) secret_id);
		expires_at = INT64_MAX;
	}
	version = store_add_version(store);
	version->secret_id = secret_id;
	version->version = number;
	version->key_no = key_no;
	version->token = memory_copy(texts[3]);
	version->is_expired = expires_at <= store->now;
	version->is_deleted = texts[5] != NULL;
	return true;
}

static bool
take_data_key(Store *store, char **texts)
{
	DataKey *key;
	int64_t key_no;

	if (texts[0] == NULL || !text_number(texts[0], &key_no) || texts[1] == NULL || texts[2] == NULL)
		return false;
	key = store_add_data_key(store);
	key->key_no = key_no;
	key->master_key_id = memory_copy(texts[1]);
	key->wrapped = memory_copy(texts[2]);
	return true;
}

static void
take_row(Dump *dump)
{
	char *wanted[DUMP_COLUMNS] = {NULL};
	const char *name = tables[dump->table].name;

	dump->row_number++;
	if (dump->is_row_too_long ||
		!copy_split(dump->row.bytes, dump->row.size, dump->texts, dump->column_count))
	{
		message_problem("row %llu of aurora.%s is no row of that table", dump->row_number, name);
		return;
	}
	for (size_t i = 0; i < DUMP_COLUMNS && tables[dump->table].columns[i]; i++)
		wanted[i] = dump->texts[dump->places[i]];
	if (!tables[dump->table].take_row(dump->store, wanted))
		message_problem("row %llu of aurora.%s lacks what it has to have", dump->row_number, name);
}

static void
end_rows(Dump *dump)
{
	free(dump->texts);
	dump->texts = NULL;
	dump->is_wanted = false;
	dump->phase = DUMP_SQL;
}

/*
 * Keeps of a line what is read of it.
 */
static void
keep_line(Dump *dump, const char *bytes, size_t size)
{
	size_t most = dump->is_wanted ? LONGEST_ROW : LONGEST_OTHER;

	if (size > most - dump->row.size)
	{
		dump->is_row_too_long = true;
		size = most - dump->row.size;
	}
	buffer_add(&dump->row, bytes, size);
}

static void
end_line(Dump *dump)
{
	Buffer *row = &dump->row;

	if (!dump->is_row_too_long && row->size > 0 && row->bytes[row->size - 1] == '\r')
		row->bytes[--row->size] = '\0'; /* the dump went through Windows; in data it is escaped */
	if (!dump->is_row_too_long && row->size == 2 && memcmp(row->bytes, "\\.", 2) == 0)
		end_rows(dump);
	else if (dump->is_wanted)
		take_row(dump);
	buffer_clear(row);
	dump->is_row_too_long = false;
}

/* ---- statements ---- */

/*
 * Finds the columns that are read; false when one is missing.
 */
static bool
find_columns(Dump *dump, const CopyStatement *copy)
{
	for (size_t i = 0; i < DUMP_COLUMNS && tables[dump->table].columns[i]; i++)
	{
		const char *name = tables[dump->table].columns[i];
		size_t place = 0;

		while (place < copy->column_count && strcmp(copy->columns[place], name) != 0)
			place++;
		if (place == copy->column_count)
		{
			message_problem("aurora.%s in the dump has no column %s: its rows cannot be read",
							tables[dump->table].name, name);
			return false;
		}
		dump->places[i] = place;
	}
	dump->column_count = copy->column_count;
	dump->texts = memory_get(copy->column_count * sizeof(char *));
	return true;
}

static void
begin_rows(Dump *dump, const CopyStatement *copy)
{
	dump->phase = DUMP_END_OF_COPY;
	dump->is_wanted = false;
	dump->row_number = 0;
	if (strcmp(copy->schema, "aurora") != 0)
		return;
	for (int i = 0; i < TABLE_COUNT; i++)
	{
		if (strcmp(copy->relation, tables[i].name) != 0)
			continue;
		dump->table = (TableKind) i;
		if (copy->has_options)
			message_problem("aurora.%s in the dump is not as pg_dump writes it: its rows cannot be "
							"read",
							tables[i].name);
		else
			dump->is_wanted = find_columns(dump, copy);
	}
	dump->store->has_table[dump->table] |= dump->is_wanted;
	if (dump->is_wanted && dump->table == TABLE_VERSION)
		store_sort_secrets(dump->store);
}

static bool
begins_with(const char *text, const char *beginning)
{
	return strncasecmp(text, beginning, strlen(beginning)) == 0;
}

static void
take_setting(Dump *dump, const char *statement)
{
	static const char strings[] = "set standard_conforming_strings = ";
	static const char encoding[] = "set client_encoding = ";
	const char *value;

	if (begins_with(statement, strings))
		dump->sql.backslash_escapes = begins_with(statement + strlen(strings), "off");
	if (!begins_with(statement, encoding))
		return;
	value = statement + strlen(encoding);
	if (!begins_with(value, "'UTF8'") && !begins_with(value, "'SQL_ASCII'"))
		message_say("the dump is not in UTF-8: names may come out wrong, values do not; "
					"pg_dump --encoding=UTF8 avoids it");
}

static void
take_statement(Dump *dump)
{
	const char *statement = dump->sql.statement.bytes;
	CopyStatement copy;

	dump->has_statements = true;
	if (dump->sql.is_too_long)
		dump->trouble = "a statement in it is longer than pg_dump writes any";
	else if (begins_with(statement, "insert into aurora.secret"))
		dump->store->has_inserts = true;
	else if (begins_with(statement, "set "))
		take_setting(dump, statement);
	else if (copy_parse(statement, &copy))
	{
		begin_rows(dump, &copy);
		copy_free(&copy);
	}
	sql_next(&dump->sql);
}

/*
 * Reads the name of the database that \connect goes to, in place: a word, a name in quotes, or
 * dbname='name' in quotes.
 */
static char *
read_database(char *arguments)
{
	static const char option[] = "-reuse-previous=on ";
	char *at = arguments;
	char *to;
	char quote = 0;

	if (begins_with(at, option))
		at += strlen(option);
	if (*at == '"')
		quote = *at++;
	if (quote && begins_with(at, "dbname='"))
	{
		at += strlen("dbname='");
		quote = '\'';
	}
	arguments = to = at;
	for (; *at && *at != (quote ? quote : ' '); at++)
	{
		if (*at == '\\' && quote == '\'' && at[1])
			at++;
		*to++ = *at;
	}
	*to = '\0';
	return arguments;
}

static void
take_command(Dump *dump)
{
	static const char connect[] = "connect ";
	Buffer *command = &dump->sql.command;
	Store *store = dump->store;
	bool has_any = store->has_inserts;

	while (command->size > 0 && strchr("\r ", command->bytes[command->size - 1]))
		command->bytes[--command->size] = '\0';
	for (int i = 0; i < TABLE_COUNT; i++)
		has_any |= store->has_table[i];
	if (command->size > 0 && begins_with(command->bytes, connect))
	{
		const char *database = read_database(command->bytes + strlen(connect));

		if (has_any)
			dump->store = stores_add(dump->stores, database);
		else
		{
			free(store->database);
			store->database = memory_copy(database);
		}
	}
	sql_next(&dump->sql);
}

/* ---- all of it ---- */

static void
take_sql(Dump *dump, char c)
{
	switch (sql_take(&dump->sql, c))
	{
		case SQL_NOTHING:
			break;
		case SQL_STATEMENT:
			take_statement(dump);
			break;
		case SQL_COMMAND:
			take_command(dump);
			break;
	}
}

bool
dump_take(Dump *dump, const char *bytes, size_t size)
{
	const char *end = bytes + size;

	while (bytes < end && dump->trouble == NULL)
	{
		const char *newline;

		if (dump->phase == DUMP_SQL)
		{
			take_sql(dump, *bytes++);
			continue;
		}
		newline = memchr(bytes, '\n', (size_t) (end - bytes));
		if (dump->phase == DUMP_ROWS)
			keep_line(dump, bytes, (size_t) ((newline ? newline : end) - bytes));
		if (newline && dump->phase == DUMP_ROWS)
			end_line(dump);
		else if (newline)
			dump->phase = DUMP_ROWS;
		bytes = newline ? newline + 1 : end;
	}
	return dump->trouble == NULL;
}

void
dump_close(Dump *dump)
{
	/* The end of rows may lack its newline. A row that does is not whole. */
	if (dump->phase == DUMP_ROWS && dump->row.size == 2 && memcmp(dump->row.bytes, "\\.", 2) == 0)
		end_rows(dump);
	if (dump->phase != DUMP_SQL && dump->is_wanted)
		message_problem("the dump is cut off within the rows of aurora.%s",
						tables[dump->table].name);
	else if (dump->phase != DUMP_SQL)
		message_problem("the dump is cut off");
	end_rows(dump);
	buffer_wipe(&dump->row);
	sql_close(&dump->sql);
}
