/*
 * What the test server does wrong when it is asked to.
 */
#ifndef TESTSERVER_FAULT_H
#define TESTSERVER_FAULT_H

typedef enum Fault
{
	FAULT_NONE,
	FAULT_CUT,	/* closes the connection in the middle */
	FAULT_END,	/* ends the stream in the middle, without a finish reason */
	FAULT_SLOW, /* waits before each token */
	FAULT_500,
	FAULT_429,	 /* with retry-after: 1 */
	FAULT_QUOTA, /* 429 that no wait helps against */
	FAULT_503,	 /* loading its model */
	FAULT_400,
	FAULT_404,
	FAULT_UTF8, /* bytes that are no UTF-8 */
	FAULT_NUL,
	FAULT_SPLIT,	 /* characters cut between events */
	FAULT_HANG_HEAD, /* no answer at all */
	FAULT_HANG,		 /* no more behind some tokens */
	FAULT_DRIP,		 /* a byte a second */
	FAULT_ERROR,	 /* an error event behind the head */
	FAULT_GARBAGE,	 /* events that are no JSON */
	FAULT_LONG,		 /* text without end, as fast as it goes */
	FAULT_COUNT
} Fault;

extern const char *const fault_names[FAULT_COUNT];
extern const char *const fault_helps[FAULT_COUNT];

/* The fault of that name; FAULT_NONE when there is none. */
extern Fault fault_find(const char *name);

#endif
