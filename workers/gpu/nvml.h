/*
 * NVIDIA devices by NVML, the driver's own library, which is opened at run time. The library stays
 * open while it works; when a device or the driver is lost it is opened anew, after a wait that
 * doubles. Its functions may block for seconds.
 */
#ifndef GPU_NVML_H
#define GPU_NVML_H

#include <stdbool.h>
#include <stdint.h>

#include "gpu/device.h"

typedef struct Nvml Nvml;

/* "library" is a name as dlopen(3) takes it. */
extern Nvml *nvml_open(const char *library, const char *meminfo);
extern void nvml_close(Nvml *nvml);

/*
 * Reads all devices into the inventory. False when there is no library, no driver or no device.
 * Devices that were there before stay, as lost ones.
 */
extern bool nvml_read(Nvml *nvml, int64_t now, Inventory *inventory);

#endif
