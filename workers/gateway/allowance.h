/*
 * How often a client may do something: so many at once, and then so many a second. Who is refused
 * and goes on all the same is at its end.
 */
#ifndef GATEWAY_ALLOWANCE_H
#define GATEWAY_ALLOWANCE_H

#include <stdint.h>

typedef struct Allowance
{
	double left;
	int64_t at; /* ms, when that was; 0: never used */
} Allowance;

typedef enum Grant
{
	GRANTED,
	GRANT_REFUSED, /* too often: wait */
	GRANT_ENDED	   /* as many were refused as may be at once */
} Grant;

extern Grant allowance_take(Allowance *allowance, int at_once, int each_second, int64_t now);

#endif
