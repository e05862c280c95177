/*
 * Reads the inventory again and again in a thread of its own, since a driver may hang. When it
 * hangs for long, all devices that the driver has are lost until it comes back.
 */
#ifndef GPU_SAMPLER_H
#define GPU_SAMPLER_H

#include <stdbool.h>

#include "common/loop.h"
#include "gpu/inventory.h"

typedef struct Sampler Sampler;

/* Begins to read; "sampled" is called in the loop, also when it hangs. NULL when there is no
 * thread. */
extern Sampler *sampler_open(Loop *loop, const InventorySources *sources, int interval,
							 void (*sampled)(void *context, const Inventory *inventory),
							 void *context);

/* A thread that hangs in the driver is left behind. */
extern void sampler_close(Sampler *sampler);

#endif
