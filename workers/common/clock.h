/*
 * Time in milliseconds and microseconds, from a clock that nobody sets.
 */
#ifndef COMMON_CLOCK_H
#define COMMON_CLOCK_H

#include <stdint.h>

extern int64_t clock_ms(void);
extern int64_t clock_us(void);

#endif
