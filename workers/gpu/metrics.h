/*
 * Reads numbers out of what a model server tells in Prometheus' text format.
 */
#ifndef GPU_METRICS_H
#define GPU_METRICS_H

#include <stdbool.h>

/*
 * The sum over all labels of the metric with one of these names, which end with a NULL; the first
 * name that is there holds. False when none is.
 */
extern bool metrics_sum(const char *text, const char *const *names, double *sum);

#endif
