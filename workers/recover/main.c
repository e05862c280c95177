/*
 * aurora-secrets-recover: has the values of secrets from a backup and a key file, when there is no
 * server to ask.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "recover/input.h"
#include "recover/keys.h"
#include "recover/message.h"
#include "recover/options.h"
#include "recover/output.h"
#include "recover/recover.h"
#include "recover/store.h"
#include "recover/text.h"

#define MICROSECONDS 1000000

/*
 * A file that is opened must not become standard output or standard error.
 */
static void
check_standard_files(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0)
			message_end("standard input, output and error have to be open");
}

/*
 * No core file, and no debugger of the same user. After this /proc/self, and so <(command), cannot
 * be opened any more.
 */
static void
protect_memory(void)
{
#ifndef __SANITIZE_ADDRESS__ /* it looks for leaks as a debugger does */
	struct rlimit none = {0, 0};

	if (setrlimit(RLIMIT_CORE, &none) != 0 || prctl(PR_SET_DUMPABLE, 0) != 0)
		message_end("core files cannot be turned off: %s", strerror(errno));
#endif
}

static int64_t
now(void)
{
	struct timespec time;

	if (clock_gettime(CLOCK_REALTIME, &time) != 0)
		message_end("there is no clock: %s", strerror(errno));
	return (int64_t) time.tv_sec * MICROSECONDS + time.tv_nsec / 1000;
}

static bool
has_any_table(const Store *store)
{
	for (int i = 0; i < TABLE_COUNT; i++)
		if (store->has_table[i] && i != TABLE_COMPANY)
			return true;
	return false;
}

static bool
has_all_tables(const Store *store)
{
	return store->has_table[TABLE_SECRET] && store->has_table[TABLE_VERSION] &&
		   store->has_table[TABLE_DATA_KEY];
}

/*
 * Why there is no store that can be used.
 */
static const char *
trouble_of(const Stores *stores)
{
	for (size_t i = 0; i < stores->count; i++)
		if (stores->list[i]->has_inserts && !has_all_tables(stores->list[i]))
			return "the rows of aurora's secrets are in it as INSERT: dump without --inserts, "
				   "--column-inserts and --rows-per-insert, or restore it and dump anew";
	for (size_t i = 0; i < stores->count; i++)
		if (has_any_table(stores->list[i]))
			return "it lacks rows of aurora.secret, aurora.secret_version or "
				   "aurora.secret_data_key: dump the whole database";
	return "there are no rows of aurora's secrets in it: is it of another database, or without "
		   "data (--schema-only)";
}

static _Noreturn void
ask_for_database(const Store *one, const Store *other)
{
	Buffer names = {0};

	text_add_printable(&names, one->database);
	buffer_add_text(&names, "\" and \"");
	text_add_printable(&names, other->database);
	message_end("several databases of the backup have secrets, as \"%s\": choose one with "
				"--database",
				names.bytes);
}

/*
 * Of several databases the one that is named, since what they have has the same names.
 */
static void
check_databases(const Stores *stores, const char *database)
{
	const Store *found = NULL;

	for (size_t i = 0; i < stores->count; i++)
	{
		const Store *store = stores->list[i];

		if (!has_all_tables(store) || store->database == NULL)
			continue;
		if (found && database == NULL)
			ask_for_database(found, store);
		if (database == NULL || strcmp(store->database, database) == 0)
			found = store;
	}
	if (database && found == NULL)
		message_end("the backup has no secrets of a database \"%s\"", database);
}

static void
recover_all(Stores *stores, const KeyRing *ring, const Options *options)
{
	Output output;
	size_t usable = 0;

	for (size_t i = 0; i < stores->count; i++)
		usable += has_all_tables(stores->list[i]);
	if (usable == 0)
		message_end("the backup cannot be used: %s", trouble_of(stores));
	check_databases(stores, options->database);
	output_open(&output, options->output);
	for (size_t i = 0; i < stores->count; i++)
	{
		const char *database = stores->list[i]->database;

		if (has_all_tables(stores->list[i]) &&
			(options->database == NULL || (database && strcmp(database, options->database) == 0)))
			recover_store(stores->list[i], ring, &options->wish, &output);
	}
	output_close(&output, message_problems() == 0);
}

int
main(int count, char **arguments)
{
	Options options;
	Stores stores = {0};
	KeyRing ring = {0};
	int key_files[KEY_FILES];
	int input;

	check_standard_files();
	options_read(&options, count, arguments);
	if (options.output == NULL && !options.wish.names_only && isatty(STDOUT_FILENO))
		message_end("values do not go to a terminal, which keeps them: name a file with --output, "
					"or - to have them here");
	output_check(options.output);
	input = input_open(options.input);
	for (int i = 0; i < options.key_file_count; i++)
		key_files[i] = keys_open(options.key_files[i]);
	protect_memory();
	for (int i = 0; i < options.key_file_count; i++)
		keys_read(&ring, key_files[i], options.key_files[i]);
	stores.keeps_all = options.wish.all_versions;
	stores.now = now();
	input_read(input, &stores);
	recover_all(&stores, &ring, &options);
	keys_close(&ring);
	stores_free(&stores);
	if (message_problems() > 0)
		message_say("%lu problems; the rest is recovered", message_problems());
	return message_problems() > 0 ? STATUS_PROBLEM : EXIT_SUCCESS;
}
