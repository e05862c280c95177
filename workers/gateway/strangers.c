/*
 * Clients that have not said who they are yet.
 */
#include "gateway/strangers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/memory.h"

Stranger *
strangers_enter(Stranger **first, const char *address)
{
	int count = 0;
	int of_address = 0;
	Stranger *stranger;

	for (const Stranger *other = *first; other; other = other->next)
	{
		count++;
		of_address += address[0] && strcmp(other->address, address) == 0;
	}
	if (count >= MOST_STRANGERS || of_address >= MOST_STRANGERS_OF_ADDRESS)
		return NULL;
	stranger = memory_get(sizeof(Stranger));
	snprintf(stranger->address, sizeof(stranger->address), "%s", address);
	stranger->next = *first;
	*first = stranger;
	return stranger;
}

void
strangers_leave(Stranger **first, Stranger *stranger)
{
	Stranger **place = first;

	while (*place != stranger)
		place = &(*place)->next;
	*place = stranger->next;
	free(stranger);
}
