/*
 * Clients of /ws that have not said who they are yet: counted by themselves, so that nobody without
 * a key can take the streams of those who have one.
 */
#ifndef GATEWAY_STRANGERS_H
#define GATEWAY_STRANGERS_H

#include <stdbool.h>

#define MOST_STRANGERS 256
#define MOST_STRANGERS_OF_ADDRESS 8

typedef struct Stranger
{
	char address[64];
	struct Stranger *next;
} Stranger;

/* One more; NULL when there are too many, in all or of the address, which is "" when not known. */
extern Stranger *strangers_enter(Stranger **first, const char *address);
extern void strangers_leave(Stranger **first, Stranger *stranger);

#endif
