/*
 * Reads the arguments.
 */
#include "gateway/options.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STANDARD_CONFIG "/etc/aurora/gateway.ini"

static const char help[] =
	"Answers HTTP, Server-Sent Events and WebSockets for this node's aurora: reads from the "
	"node's\n"
	"own PostgreSQL, writes to the lead. nginx stands in front of it.\n"
	"\n"
	"Usage: aurora-gateway [OPTION]...\n"
	"\n"
	"  -c, --config FILE  configuration; " STANDARD_CONFIG " unless given\n"
	"      --check        try out the configuration, the databases and the listeners, say what is\n"
	"                     there, and end\n"
	"      --openapi      print the OpenAPI description of all routes, and end\n"
	"      --api-docs     print the same as a page of documentation, and end\n"
	"  -h, --help         this text\n"
	"  -V, --version      the program's version\n"
	"\n"
	"SIGTERM and SIGINT have it answer what it has begun and end; a second one ends it at once.\n"
	"SIGHUP has it read the configuration again.\n"
	"\n"
	"Exit status: 0 it ended as asked, or --check found all well; 1 it could not begin, or\n"
	"--check found something missing; 2 bad arguments or configuration.\n";

static const struct option long_options[] = {
	{"config", required_argument, NULL, 'c'},
	{"check", no_argument, NULL, 'k'},
	{"openapi", no_argument, NULL, 'o'},
	{"api-docs", no_argument, NULL, 'd'},
	{"help", no_argument, NULL, 'h'},
	{"version", no_argument, NULL, 'V'},
	{NULL, 0, NULL, 0},
};

static _Noreturn void
print(const char *text)
{
	bool is_printed = fputs(text, stdout) >= 0 && fflush(stdout) == 0;

	exit(is_printed ? EXIT_SUCCESS : STATUS_UNUSABLE);
}

static _Noreturn void
refuse(const char *problem)
{
	fprintf(stderr, "aurora-gateway: %s; --help lists the options\n", problem);
	exit(STATUS_UNUSABLE);
}

void
options_read(Options *options, int count, char **arguments)
{
	int option;

	*options = (Options) {.config = STANDARD_CONFIG};
	opterr = 0;
	while ((option = getopt_long(count, arguments, "c:hV", long_options, NULL)) != -1)
		switch (option)
		{
			case 'c':
				options->config = optarg;
				break;
			case 'k':
				options->is_check = true;
				break;
			case 'o':
				options->is_openapi = true;
				break;
			case 'd':
				options->is_api_docs = true;
				break;
			case 'h':
				print(help);
			case 'V':
				print("aurora-gateway " AURORA_VERSION "\n");
			default:
				refuse("an option is unknown, or lacks its value");
		}
	if (optind < count)
		refuse("there are no arguments but options");
	if (options->is_check + options->is_openapi + options->is_api_docs > 1)
		refuse("--check, --openapi and --api-docs do not go together");
}
