/*
 * NVIDIA devices by the program nvidia-smi, where the library cannot be opened.
 */
#ifndef GPU_SMI_H
#define GPU_SMI_H

#include <stdbool.h>

#include "gpu/device.h"

/* Runs the program, for 10 s at most. False when it finds no device. Blocks. */
extern bool smi_read(const char *program, const char *meminfo, Inventory *inventory);

/* Reads what it prints. */
extern bool smi_parse(const char *text, const char *meminfo, Inventory *inventory);

#endif
