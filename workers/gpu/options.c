/*
 * Reads the arguments.
 */
#include "gpu/options.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STANDARD_CONFIG "/etc/aurora/gpu-worker.ini"

static const char help[] =
	"Runs aurora's generations on the GPUs of this node: takes jobs from the lead, has model\n"
	"servers or commands run them, and writes the text back as it comes.\n"
	"\n"
	"Usage: aurora-gpu-worker [OPTION]...\n"
	"\n"
	"  -c, --config FILE  configuration; " STANDARD_CONFIG " unless given\n"
	"      --check        look at the configuration, the devices, the backends and the database,\n"
	"                     say what is there, and end\n"
	"      --once         run what there is, and end\n"
	"  -h, --help         this text\n"
	"  -V, --version      the program's version\n"
	"\n"
	"SIGTERM and SIGINT have it finish what runs and end; a second one has that given back at\n"
	"once. SIGHUP has it read the configuration again.\n"
	"\n"
	"Exit status: 0 it ended as asked, or --check found all well; 1 it could not begin, or\n"
	"--check found something missing; 2 bad arguments or configuration.\n";

static const struct option long_options[] = {
	{"config", required_argument, NULL, 'c'}, {"check", no_argument, NULL, 'k'},
	{"once", no_argument, NULL, 'o'},		  {"help", no_argument, NULL, 'h'},
	{"version", no_argument, NULL, 'V'},	  {NULL, 0, NULL, 0},
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
	fprintf(stderr, "aurora-gpu-worker: %s; --help lists the options\n", problem);
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
				options->is_once = true;
				break;
			case 'h':
				print(help);
			case 'V':
				print("aurora-gpu-worker " AURORA_VERSION "\n");
			default:
				refuse("an option is unknown, or lacks its value");
		}
	if (optind < count)
		refuse("there are no arguments but options");
	if (options->is_check && options->is_once)
		refuse("--check runs nothing, so it does not go with --once");
}
