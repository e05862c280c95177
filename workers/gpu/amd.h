/*
 * AMD devices by what their driver shows in the file system.
 */
#ifndef GPU_AMD_H
#define GPU_AMD_H

#include <stdbool.h>

#include "gpu/device.h"

/* "folder" is /sys/class/drm, but for tests. False when there is none. */
extern bool amd_read(const char *folder, Inventory *inventory);

#endif
