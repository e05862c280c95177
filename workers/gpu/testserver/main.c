/*
 * aurora-test-model-server: an OpenAI-compatible server without a model, for tests and
 * demonstrations. It makes up text that follows from the prompt alone, and does wrong what it is
 * asked to.
 */
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gpu/testserver/fault.h"
#include "gpu/testserver/server.h"

static const char help[] =
	"A TEST SERVER for aurora: an OpenAI-compatible HTTP server without any model, which makes up\n"
	"text that follows from the prompt alone. Nothing it says means anything.\n"
	"\n"
	"Usage: aurora-test-model-server [OPTION]...\n"
	"\n"
	"  -p, --port N         port on 127.0.0.1; 0, the default, for any that is free\n"
	"  -s, --slots N        generations at once; others get HTTP status 503 (4)\n"
	"  -d, --delay MS       wait before each token (0)\n"
	"  -f, --fault-every N  one of N generations has a fault, in turn (0: none)\n"
	"  -o, --owner NAME     owned_by of its models, by which clients recognise servers: llamacpp,\n"
	"                       vllm, library for Ollama; it has their pages then, and no others'\n"
	"  -L, --load MS        load a model for so long when it is first asked for (0: all are "
	"loaded)\n"
	"  -O, --old-names      vLLM's metrics by the names that old versions gave them\n"
	"  -k, --api-key KEY    refuse who does not bring it\n"
	"  -h, --help           this text\n"
	"\n"
	"The model \"test\" works. Models test-FAULT, the header X-Fault: FAULT or ?fault=FAULT have "
	"it do\n"
	"something wrong, or slowly:\n";

static _Noreturn void
print_help(void)
{
	fputs(help, stdout);
	for (int i = 1; i < FAULT_COUNT; i++)
		printf("  %-10s %s\n", fault_names[i], fault_helps[i]);
	exit(EXIT_SUCCESS);
}

static int
read_number(const char *text, int most)
{
	char *end;
	long number = strtol(text, &end, 10);

	if (end == text || *end || number < 0 || number > most)
	{
		fprintf(stderr, "aurora-test-model-server: %s is no number from 0 to %d\n", text, most);
		exit(2);
	}
	return (int) number;
}

static void
read_options(int count, char **arguments)
{
	static const struct option options[] = {
		{"port", required_argument, NULL, 'p'},
		{"slots", required_argument, NULL, 's'},
		{"delay", required_argument, NULL, 'd'},
		{"fault-every", required_argument, NULL, 'f'},
		{"owner", required_argument, NULL, 'o'},
		{"api-key", required_argument, NULL, 'k'},
		{"load", required_argument, NULL, 'L'},
		{"old-names", no_argument, NULL, 'O'},
		{"loading", no_argument, NULL, 'l'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	int option;

	while ((option = getopt_long(count, arguments, "p:s:d:f:o:k:L:Oh", options, NULL)) != -1)
		switch (option)
		{
			case 'p':
				server.port = read_number(optarg, 65535);
				break;
			case 's':
				server.slots = read_number(optarg, 10000);
				break;
			case 'd':
				server.delay = read_number(optarg, 60000);
				break;
			case 'f':
				server.fault_every = read_number(optarg, 1000000);
				break;
			case 'o':
				server.owner = optarg;
				break;
			case 'k':
				server.api_key = optarg;
				break;
			case 'L':
				server.load = read_number(optarg, 600000);
				break;
			case 'O':
				server.has_old_names = true;
				break;
			case 'l':
				atomic_store(&server.is_loading, true);
				break;
			case 'h':
				print_help();
			default:
				fprintf(stderr, "aurora-test-model-server: --help lists the options\n");
				exit(2);
		}
}

/*
 * SIGUSR1 has it load its model, or be done with that; SIGUSR2 has it full of others' requests, or
 * rid of them.
 */
static void
wait_for_end(void)
{
	sigset_t signals;
	int signal;

	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGUSR1);
	sigaddset(&signals, SIGUSR2);
	while (sigwait(&signals, &signal) == 0 && (signal == SIGUSR1 || signal == SIGUSR2))
	{
		atomic_bool *flag = signal == SIGUSR1 ? &server.is_loading : &server.is_full;

		atomic_store(flag, !atomic_load(flag));
	}
}

int
main(int count, char **arguments)
{
	struct MHD_Daemon *daemon;
	sigset_t signals;

	read_options(count, arguments);
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGUSR1);
	sigaddset(&signals, SIGUSR2);
	pthread_sigmask(SIG_BLOCK, &signals, NULL);
	signal(SIGPIPE, SIG_IGN);
	daemon = MHD_start_daemon(
		MHD_USE_THREAD_PER_CONNECTION | MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_ITC,
		(uint16_t) server.port, NULL, NULL, server_handle, NULL, MHD_OPTION_NOTIFY_COMPLETED,
		server_completed, NULL, MHD_OPTION_SOCK_ADDR,
		&(struct sockaddr_in) {.sin_family = AF_INET,
							   .sin_port = htons((uint16_t) server.port),
							   .sin_addr = {htonl(INADDR_LOOPBACK)}},
		MHD_OPTION_END);
	if (daemon == NULL)
	{
		fprintf(stderr, "aurora-test-model-server: port %d cannot be had: %s\n", server.port,
				strerror(errno));
		return EXIT_FAILURE;
	}
	printf("This is a TEST SERVER without a model: what it says means nothing.\n"
		   "listening on http://127.0.0.1:%d\n",
		   MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_BIND_PORT)->port);
	fflush(stdout);
	wait_for_end();
	_exit(EXIT_SUCCESS); /* threads that hang on purpose are not waited for */
}
