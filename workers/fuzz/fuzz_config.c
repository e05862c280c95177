/*
 * Fuzzes the reading of configurations, and of what servers and programs tell in plain text.
 */
#include <stdlib.h>
#include <string.h>

#include "fuzz/harness.h"
#include "gpu/config.h"
#include "gpu/metrics.h"
#include "gpu/retry.h"
#include "gpu/smi.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const names[] = {"vllm:num_requests_running", "a", NULL};
	static Inventory inventory;
	char *text = memory_get(size + 1);
	char *problem = NULL;
	Config *config;
	double sum;

	memcpy(text, data, size);
	config = config_parse(text, &problem);
	REQUIRE((config == NULL) == (problem != NULL));
	config_free(config);
	free(problem);
	(void) metrics_sum(text, names, &sum);
	(void) smi_parse(text, "/nowhere", &inventory);
	REQUIRE(retry_after_header(text, 1000) <= 3600000);
	free(text);
	return 0;
}
