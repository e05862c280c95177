/*
 * Writes a value with its names, as a line of JSON or as a variable for a shell.
 */
#ifndef RECOVER_WRITE_H
#define RECOVER_WRITE_H

#include "recover/recover.h"

/* A value, or NULL for none. */
typedef struct Value
{
	const char *bytes;
	size_t size;
} Value;

extern void write_json(Buffer *to, const Version *version, const Value *value, bool names_only);

/*
 * Adds a comment first, unless the last value was of the same service and scope. Returns why it
 * cannot be written so, or NULL.
 */
extern const char *write_env(Buffer *to, const Version *version, const Value *value,
							 const Secret *last);

/* Adds the names of a version for a message. */
extern void write_name(Buffer *to, const Secret *secret, int64_t version);

#endif
