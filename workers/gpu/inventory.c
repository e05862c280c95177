/*
 * Finds the node's devices.
 */
#include "gpu/inventory.h"

#include <stdio.h>
#include <string.h>

#include "gpu/amd.h"
#include "gpu/smi.h"

void
finder_open(Finder *finder, const InventorySources *sources)
{
	memset(finder, 0, sizeof(*finder));
	finder->sources = *sources;
	if (sources->use_nvml)
		finder->nvml = nvml_open(sources->nvml_library, sources->meminfo);
}

void
finder_close(Finder *finder)
{
	if (finder->nvml)
		nvml_close(finder->nvml);
	finder->nvml = NULL;
}

static void
read_processor(const char *meminfo, Device *device)
{
	FILE *file = fopen("/proc/cpuinfo", "re");
	char line[256];

	device_init(device, 0, "cpu");
	device_copy_text(device->name, sizeof(device->name), "processor");
	while (file && fgets(line, sizeof(line), file))
		if (strncmp(line, "model name", 10) == 0 && strchr(line, ':'))
		{
			line[strcspn(line, "\n")] = '\0';
			device_copy_text(device->name, sizeof(device->name), strchr(line, ':') + 2);
			break;
		}
	if (file)
		fclose(file);
	device_share_memory(device, meminfo);
}

/*
 * What was declared of a device's memory stays as it is, unless it is the machine's.
 */
static void
add_declared(const InventorySources *sources, Inventory *inventory)
{
	int found = inventory->count;

	for (int i = 0; i < sources->declared.count && inventory->count < DEVICES; i++)
	{
		const Device *declared = &sources->declared.devices[i];
		Device *device = &inventory->devices[inventory->count];
		bool is_there = false;
		int64_t total;
		int64_t available;

		for (int j = 0; j < found; j++)
			is_there |= inventory->devices[j].index == declared->index;
		if (is_there)
			continue;
		*device = *declared;
		if (device->unified && host_memory(sources->meminfo, &total, &available))
		{
			if (device->memory_total == UNKNOWN)
				device->memory_total = total;
			device->memory_free =
				available < device->memory_total ? available : device->memory_total;
			device->memory_used = device->memory_total - device->memory_free;
		}
		inventory->count++;
	}
}

void
finder_read(Finder *finder, int64_t now, Inventory *inventory)
{
	const InventorySources *sources = &finder->sources;

	inventory->count = 0;
	if (!((finder->nvml && nvml_read(finder->nvml, now, inventory)) ||
		  (sources->use_smi && smi_read(sources->nvidia_smi, sources->meminfo, inventory)) ||
		  (sources->use_amd && amd_read(sources->drm_folder, inventory))))
	{
		inventory->count = 0;
		inventory->source = "declared";
	}
	add_declared(sources, inventory);
	if (inventory->count > 0)
		return;
	inventory->source = "cpu";
	read_processor(sources->meminfo, &inventory->devices[0]);
	inventory->count = 1;
}
