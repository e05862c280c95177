/*
 * aurora-gpu-worker: runs generations on the GPUs of a node.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "gpu/check.h"
#include "gpu/config.h"
#include "gpu/options.h"
#include "gpu/worker.h"

/*
 * Keys and prompts are in memory: no core file, and no debugger of the same user.
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

int
main(int count, char **arguments)
{
	Options options;
	Config *config;
	char *problem;

	options_read(&options, count, arguments);
	protect_memory();
	config = config_read(options.config, &problem);
	if (config == NULL)
	{
		fprintf(stderr,
				"aurora-gpu-worker: %s: %s\n"
				"hint: --config names another file, and docs/gpu.md has all settings\n",
				options.config, problem);
		free(problem);
		return STATUS_UNUSABLE;
	}
	return options.is_check ? check_run(config)
							: worker_run(options.config, config, options.is_once);
}
