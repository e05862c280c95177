/*
 * What the test server does wrong.
 */
#include "gpu/testserver/fault.h"

#include <stddef.h>
#include <string.h>

const char *const fault_names[FAULT_COUNT] = {
	"none", "cut", "end",	"slow",		 "500",	 "429",	 "quota", "503",	 "400",	 "404",
	"utf8", "nul", "split", "hang-head", "hang", "drip", "error", "garbage", "long",
};

const char *const fault_helps[FAULT_COUNT] = {
	"nothing",
	"closes the connection in the middle",
	"ends the stream in the middle, without a finish reason",
	"waits 200 ms before each token",
	"HTTP status 500",
	"HTTP status 429 with retry-after: 1",
	"HTTP status 429 with insufficient_quota",
	"HTTP status 503, loading its model",
	"HTTP status 400",
	"HTTP status 404, no such model",
	"bytes that are no UTF-8 in the text",
	"NUL characters in the text",
	"characters cut between events",
	"no answer at all",
	"no more behind some tokens",
	"a byte a second",
	"an error event behind the head",
	"events that are no JSON",
	"text without end, as fast as it goes",
};

Fault
fault_find(const char *name)
{
	for (int i = 1; name && i < FAULT_COUNT; i++)
		if (strcmp(name, fault_names[i]) == 0)
			return (Fault) i;
	return FAULT_NONE;
}
