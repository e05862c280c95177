/*
 * What all kinds of devices share.
 */
#include "gpu/device.h"

#include <stdio.h>
#include <string.h>

#define CGROUP_LIMIT "/sys/fs/cgroup/memory.max"
#define CGROUP_USE "/sys/fs/cgroup/memory.current"

void
device_init(Device *device, int index, const char *kind)
{
	memset(device, 0, sizeof(*device));
	device->index = index;
	device_copy_text(device->kind, sizeof(device->kind), kind);
	device->memory_total = device->memory_free = device->memory_used = UNKNOWN;
	device->utilisation = device->temperature = UNKNOWN;
	device->power = device->power_limit = UNKNOWN;
}

void
device_copy_text(char *to, int size, const char *text)
{
	snprintf(to, (size_t) size, "%s", text ? text : "");
}

static bool
read_number(const char *path, int64_t *number)
{
	FILE *file = fopen(path, "re");
	long long value;
	bool is_read;

	if (file == NULL)
		return false;
	is_read = fscanf(file, "%lld", &value) == 1;
	fclose(file);
	if (is_read)
		*number = value;
	return is_read;
}

/*
 * A container may have less than the machine.
 */
static void
apply_cgroup(int64_t *total, int64_t *available)
{
	int64_t limit;
	int64_t used = 0;

	if (!read_number(CGROUP_LIMIT, &limit) || limit >= *total)
		return;
	(void) read_number(CGROUP_USE, &used);
	*total = limit;
	if (limit - used < *available)
		*available = limit > used ? limit - used : 0;
}

bool
host_memory(const char *meminfo, int64_t *total, int64_t *available)
{
	FILE *file = fopen(meminfo, "re");
	char line[256];
	long long value;

	*total = *available = UNKNOWN;
	if (file == NULL)
		return false;
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "MemTotal: %lld kB", &value) == 1)
			*total = value * 1024;
		else if (sscanf(line, "MemAvailable: %lld kB", &value) == 1)
			*available = value * 1024;
	fclose(file);
	if (*total < 0 || *available < 0)
		return false;
	if (strcmp(meminfo, "/proc/meminfo") == 0)
		apply_cgroup(total, available);
	return true;
}

void
device_share_memory(Device *device, const char *meminfo)
{
	device->unified = true;
	if (!host_memory(meminfo, &device->memory_total, &device->memory_free))
		return;
	device->memory_used = device->memory_total - device->memory_free;
}
