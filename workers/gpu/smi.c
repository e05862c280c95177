/*
 * NVIDIA devices by the program nvidia-smi: a line for each, with commas between the fields, of
 * which any may be [N/A], [Not Supported] or an error.
 */
#include "gpu/smi.h"

#include <stdlib.h>
#include <string.h>

#include "common/child.h"
#include "common/memory.h"

#define LIMIT 10000 /* ms: on a sick driver it hangs */
#define MIB (1024.0 * 1024.0)
#define LARGEST 1e9 /* of what it tells, in its units */

typedef enum SmiField
{
	SMI_INDEX,
	SMI_UUID,
	SMI_NAME,
	SMI_MEMORY_TOTAL,
	SMI_MEMORY_USED,
	SMI_MEMORY_FREE,
	SMI_UTILISATION,
	SMI_TEMPERATURE,
	SMI_POWER,
	SMI_POWER_LIMIT,
	SMI_DRIVER,
	SMI_COMPUTE,
	SMI_FIELDS
} SmiField;

static const char query[] =
	"--query-gpu=index,uuid,name,memory.total,memory.used,memory.free,utilization.gpu,"
	"temperature.gpu,power.draw,power.limit,driver_version,compute_cap";

static bool
read_number(const char *text, double *number)
{
	char *end;

	*number = strtod(text, &end);
	return end != text && *end == '\0';
}

/*
 * A number within reason, in the units wanted.
 */
static double
number_or_unknown(const char *text, double scale)
{
	double number;

	return read_number(text, &number) && number >= 0 && number < LARGEST ? number * scale : UNKNOWN;
}

/*
 * Splits a line in place; false when it has too few fields.
 */
static bool
split(char *line, char **fields)
{
	for (int i = 0; i < SMI_FIELDS; i++)
	{
		char *end = strchr(line, ',');

		fields[i] = line;
		if (end == NULL)
			return i == SMI_FIELDS - 1;
		*end = '\0';
		line = end + 1 + strspn(end + 1, " ");
	}
	return true;
}

static void
take_text(char *to, int size, const char *field)
{
	device_copy_text(to, size, field[0] == '[' ? "" : field);
}

static bool
take_line(char *line, const char *meminfo, Device *device)
{
	char *fields[SMI_FIELDS];
	double index;

	if (!split(line, fields) || !read_number(fields[SMI_INDEX], &index) ||
		!(index >= 0 && index < DEVICES))
		return false;
	device_init(device, (int) index, "cuda");
	take_text(device->uuid, sizeof(device->uuid), fields[SMI_UUID]);
	take_text(device->name, sizeof(device->name), fields[SMI_NAME]);
	take_text(device->driver, sizeof(device->driver), fields[SMI_DRIVER]);
	take_text(device->compute_capability, sizeof(device->compute_capability), fields[SMI_COMPUTE]);
	device->memory_total = (int64_t) number_or_unknown(fields[SMI_MEMORY_TOTAL], MIB);
	device->memory_used = (int64_t) number_or_unknown(fields[SMI_MEMORY_USED], MIB);
	device->memory_free = (int64_t) number_or_unknown(fields[SMI_MEMORY_FREE], MIB);
	device->utilisation = (int) number_or_unknown(fields[SMI_UTILISATION], 1);
	device->temperature = (int) number_or_unknown(fields[SMI_TEMPERATURE], 1);
	device->power = number_or_unknown(fields[SMI_POWER], 1);
	device->power_limit = number_or_unknown(fields[SMI_POWER_LIMIT], 1);
	if (strstr(fields[SMI_NAME], "GPU is lost") || strstr(fields[SMI_MEMORY_TOTAL], "GPU is lost"))
	{
		device->is_lost = true;
		device_copy_text(device->problem, sizeof(device->problem), "GPU is lost");
	}
	else if (device->memory_total == UNKNOWN)
		device_share_memory(device, meminfo);
	return true;
}

bool
smi_parse(const char *text, const char *meminfo, Inventory *inventory)
{
	char *copy = memory_copy(text);
	char *next = copy;

	inventory->count = 0;
	inventory->source = "nvidia-smi";
	while (next && *next && inventory->count < DEVICES)
	{
		char *line = next;

		next = strchr(line, '\n');
		if (next)
			*next++ = '\0';
		if (take_line(line, meminfo, &inventory->devices[inventory->count]))
			inventory->count++;
	}
	free(copy);
	return inventory->count > 0;
}

bool
smi_read(const char *program, const char *meminfo, Inventory *inventory)
{
	const char *const arguments[] = {program, query, "--format=csv,noheader,nounits", NULL};
	Buffer output = {0};
	bool has_any = false;

	inventory->count = 0;
	/* It ends with an error when one of several devices is lost, and tells of the others. */
	(void) child_run(arguments, LIMIT, &output);
	if (output.size > 0)
		has_any = smi_parse(output.bytes, meminfo, inventory);
	buffer_wipe(&output);
	return has_any;
}
