/*
 * aurora-gateway: HTTP for a node's aurora.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "gateway/check.h"
#include "gateway/config.h"
#include "gateway/describe.h"
#include "gateway/gateway.h"
#include "gateway/options.h"
#include "gateway/route.h"

/*
 * Keys and secrets are in memory: no core file, and no debugger of the same user.
 */
static void
protect_memory(void)
{
#ifndef __SANITIZE_ADDRESS__ /* it looks for leaks as a debugger does */
	struct rlimit none = {0, 0};

	(void) setrlimit(RLIMIT_CORE, &none);
	(void) prctl(PR_SET_DUMPABLE, 0);
#endif
}

static int
describe(bool is_openapi)
{
	Buffer text = {0};
	bool is_printed;

	if (is_openapi)
		describe_openapi(&text);
	else
		describe_docs(&text);
	is_printed = fwrite(text.bytes, 1, text.size, stdout) == text.size && fflush(stdout) == 0;
	buffer_wipe(&text);
	return is_printed ? EXIT_SUCCESS : EXIT_FAILURE;
}

int
main(int count, char **arguments)
{
	Options options;
	Config *config;
	char *problem;

	options_read(&options, count, arguments);
	route_index();
	if (options.is_openapi || options.is_api_docs)
		return describe(options.is_openapi);
	protect_memory();
	config = config_read(options.config, &problem);
	if (config == NULL)
	{
		fprintf(stderr,
				"aurora-gateway: %s: %s\n"
				"hint: --config names another file, and docs/gateway.md has all settings\n",
				options.config, problem);
		free(problem);
		return STATUS_UNUSABLE;
	}
	return options.is_check ? check_run(config) : gateway_run(options.config, config);
}
