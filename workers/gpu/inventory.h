/*
 * Finds the node's devices: by NVML, else nvidia-smi, else AMD's driver; devices that the
 * configuration declares are added where no other has their index; where there is none at all the
 * processor is one.
 */
#ifndef GPU_INVENTORY_H
#define GPU_INVENTORY_H

#include <stdbool.h>
#include <stdint.h>

#include "gpu/device.h"
#include "gpu/nvml.h"

/* Where to look; the paths are others in tests only. */
typedef struct InventorySources
{
	bool use_nvml;
	bool use_smi;
	bool use_amd;
	char *nvml_library;
	char *nvidia_smi;
	char *drm_folder;
	char *meminfo;
	Inventory declared;
} InventorySources;

typedef struct Finder
{
	InventorySources sources; /* the texts are somebody else's */
	Nvml *nvml;
} Finder;

extern void finder_open(Finder *finder, const InventorySources *sources);
extern void finder_close(Finder *finder);

/* Reads all devices; "now" is a time of clock_ms(). May block for seconds. */
extern void finder_read(Finder *finder, int64_t now, Inventory *inventory);

#endif
