/*
 * Reads a backup, of whatever kind it is.
 */
#ifndef RECOVER_INPUT_H
#define RECOVER_INPUT_H

#include <stddef.h>

#include "recover/store.h"

/* Opens it (NULL: takes standard input), or ends the program. */
extern int input_open(const char *path);

/* What a file that begins so is, when it is nothing that can be read, and what to do; or NULL. */
extern const char *input_trouble(const char *beginning, size_t size);

/* Reads all of it into the stores, or ends the program. */
extern void input_read(int fd, Stores *stores);

#endif
