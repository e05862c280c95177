/*
 * A "device" is what runs models: a GPU, or the processor where there is none. An "inventory" has
 * all of a node, as they are at one time. What is not known is -1, or empty.
 */
#ifndef GPU_DEVICE_H
#define GPU_DEVICE_H

#include <stdbool.h>
#include <stdint.h>

#define DEVICES 64
#define UNKNOWN (-1)

typedef struct Device
{
	int index;
	char uuid[96];
	char name[96];
	char kind[16];		  /* cuda, rocm, metal, cpu, declared */
	int64_t memory_total; /* bytes */
	int64_t memory_free;
	int64_t memory_used;
	int utilisation; /* percent */
	int temperature; /* C */
	double power;	 /* W */
	double power_limit;
	char driver[80];
	char compute_capability[16];
	bool unified;	   /* its memory is the machine's */
	bool is_lost;	   /* takes no work */
	char problem[160]; /* why it is lost, or what is wrong */
} Device;

typedef struct Inventory
{
	Device devices[DEVICES];
	int count;
	const char *source; /* nvml, nvidia-smi, amd, declared, cpu */
} Inventory;

/* A device of that index and kind of which nothing else is known. */
extern void device_init(Device *device, int index, const char *kind);

/* Copies a text that may be too long. */
extern void device_copy_text(char *to, int size, const char *text);

/* Memory that the machine has and can give, in bytes; false when that cannot be read. */
extern bool host_memory(const char *meminfo, int64_t *total, int64_t *available);

/* Gives the device the machine's memory for its own. */
extern void device_share_memory(Device *device, const char *meminfo);

#endif
