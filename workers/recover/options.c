/*
 * Reads the arguments.
 */
#include "recover/options.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "recover/message.h"

#ifndef AURORA_VERSION
#define AURORA_VERSION "unknown"
#endif

static const char help[] =
	"Recovers the values of aurora's secrets from a backup and a key file, without a server.\n"
	"\n"
	"Usage: aurora-secrets-recover --key-file FILE [OPTION]... [BACKUP]\n"
	"       pg_restore -f - db.dump | aurora-secrets-recover --key-file FILE [OPTION]...\n"
	"\n"
	"BACKUP, or standard input, is what pg_dump or pg_dumpall write as plain text, without "
	"--inserts,\n"
	"or what aurora.export_secrets() gives. Each value becomes a line of JSON.\n"
	"\n"
	"  -k, --key-file FILE    master keys, one a line; all are tried. May be given several times. "
	"Refused\n"
	"                         when group or others may use it. A pipe will do: <(command)\n"
	"  -a, --all-versions     all versions that the backup has, also deleted ones; without it, the "
	"last\n"
	"                         version of each secret, unless it is deleted\n"
	"  -s, --service PATTERN  secrets of these services only; * is any text\n"
	"  -d, --database NAME    this database of a pg_dumpall\n"
	"  -f, --format FORMAT    json, or env: KEY=\"value\" lines for a shell or "
	"import_secrets_env(), below a\n"
	"                         comment for each service and scope\n"
	"  -l, --list             names without values; needs no key\n"
	"  -o, --output FILE      a new file, which only its owner can read; - for standard output. "
	"Without it\n"
	"                         values go to standard output, but not to a terminal, which keeps "
	"them\n"
	"  -h, --help             this text\n"
	"  -V, --version          the program's version\n"
	"\n"
	"A line of JSON has service, key_name, node, company, version, state (active, expired, deleted "
	"or\n"
	"destroyed) and value; what is no UTF-8 comes as value_base64. Nodes and companies are null "
	"for all.\n"
	"\n"
	"Exit status: 0 all that was asked for is written; 1 something could not be recovered, which "
	"is said\n"
	"on standard error, and the rest is written; 2 bad arguments, or no usable backup or key "
	"file.\n";

static const struct option long_options[] = {
	{"key-file", required_argument, NULL, 'k'}, {"all-versions", no_argument, NULL, 'a'},
	{"service", required_argument, NULL, 's'},	{"database", required_argument, NULL, 'd'},
	{"format", required_argument, NULL, 'f'},	{"list", no_argument, NULL, 'l'},
	{"output", required_argument, NULL, 'o'},	{"help", no_argument, NULL, 'h'},
	{"version", no_argument, NULL, 'V'},		{NULL, 0, NULL, 0},
};

static _Noreturn void
print(const char *text)
{
	bool is_printed = fputs(text, stdout) >= 0 && fflush(stdout) == 0;

	exit(is_printed ? EXIT_SUCCESS : STATUS_UNUSABLE);
}

static void
read_format(Options *options, const char *name)
{
	if (strcmp(name, "env") == 0)
		options->wish.format = FORMAT_ENV;
	else if (strcmp(name, "json") == 0)
		options->wish.format = FORMAT_JSON;
	else
		message_end("there is no format \"%s\", only json and env", name);
}

static void
read_option(Options *options, int option)
{
	switch (option)
	{
		case 'k':
			if (options->key_file_count == KEY_FILES)
				message_end("there are too many key files");
			options->key_files[options->key_file_count++] = optarg;
			break;
		case 'a':
			options->wish.all_versions = true;
			break;
		case 's':
			options->wish.service = optarg;
			break;
		case 'd':
			options->database = optarg;
			break;
		case 'f':
			read_format(options, optarg);
			break;
		case 'l':
			options->wish.names_only = true;
			break;
		case 'o':
			options->output = optarg;
			break;
		case 'h':
			print(help);
		case 'V':
			print("aurora-secrets-recover " AURORA_VERSION "\n");
		default:
			message_end("--help lists the options");
	}
}

void
options_read(Options *options, int count, char **arguments)
{
	int option;

	memset(options, 0, sizeof(*options));
	options->wish.service = "*";
	while ((option = getopt_long(count, arguments, "k:as:d:f:lo:hV", long_options, NULL)) != -1)
		read_option(options, option);
	if (count - optind > 1)
		message_end("there may be one backup only; --help lists the options");
	if (optind < count && strcmp(arguments[optind], "-") != 0)
		options->input = arguments[optind];
	if (options->key_file_count == 0 && !options->wish.names_only)
		message_end("name a file with master keys: --key-file FILE; --help lists the options");
	if (options->wish.format == FORMAT_ENV &&
		(options->wish.names_only || options->wish.all_versions))
		message_end("the format env has one value of each name: it goes neither with --list nor "
					"with --all-versions");
}
