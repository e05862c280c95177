/*
 * AMD devices by what their driver shows in the file system.
 */
#include "gpu/amd.h"

#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/memory.h"

/*
 * Reads the number in the first file that fits the pattern.
 */
static bool
read_number(const char *card, const char *pattern, long long *number)
{
	Buffer path = {0};
	glob_t found;
	bool is_read = false;

	buffer_print(&path, "%s/device/%s", card, pattern);
	if (glob(path.bytes, 0, NULL, &found) == 0)
	{
		FILE *file = fopen(found.gl_pathv[0], "re");

		is_read = file && fscanf(file, "%lld", number) == 1;
		if (file)
			fclose(file);
		globfree(&found);
	}
	buffer_wipe(&path);
	return is_read;
}

static void
read_text(const char *card, const char *name, char *to, int size)
{
	Buffer path = {0};
	FILE *file;

	buffer_print(&path, "%s/device/%s", card, name);
	file = fopen(path.bytes, "re");
	if (file && fgets(to, size, file))
		to[strcspn(to, "\n")] = '\0';
	if (file)
		fclose(file);
	buffer_wipe(&path);
}

/*
 * Only AMD's driver tells the memory; cards of others are passed over.
 */
static bool
read_card(const char *card, Device *device, int index)
{
	long long number;

	device_init(device, index, "rocm");
	if (!read_number(card, "mem_info_vram_total", &number))
		return false;
	device->memory_total = number;
	if (read_number(card, "mem_info_vram_used", &number))
	{
		device->memory_used = number;
		device->memory_free = device->memory_total - number;
	}
	if (read_number(card, "gpu_busy_percent", &number))
		device->utilisation = (int) number;
	if (read_number(card, "hwmon/hwmon*/temp1_input", &number))
		device->temperature = (int) (number / 1000);
	if (read_number(card, "hwmon/hwmon*/power1_average", &number))
		device->power = (double) number / 1e6;
	if (read_number(card, "hwmon/hwmon*/power1_cap", &number))
		device->power_limit = (double) number / 1e6;
	read_text(card, "product_name", device->name, sizeof(device->name));
	read_text(card, "unique_id", device->uuid, sizeof(device->uuid));
	if (device->name[0] == '\0')
		device_copy_text(device->name, sizeof(device->name), "AMD GPU");
	return true;
}

bool
amd_read(const char *folder, Inventory *inventory)
{
	Buffer pattern = {0};
	glob_t cards;

	inventory->count = 0;
	inventory->source = "amd";
	buffer_print(&pattern, "%s/card[0-9]*", folder);
	if (glob(pattern.bytes, 0, NULL, &cards) == 0)
	{
		for (size_t i = 0; i < cards.gl_pathc && inventory->count < DEVICES; i++)
			if (read_card(cards.gl_pathv[i], &inventory->devices[inventory->count],
						  inventory->count))
				inventory->count++;
		globfree(&cards);
	}
	buffer_wipe(&pattern);
	return inventory->count > 0;
}
