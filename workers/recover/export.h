/*
 * Reads what aurora.export_secrets() gives when it is not asked for plain text: JSON with tokens
 * and wrapped data keys.
 */
#ifndef RECOVER_EXPORT_H
#define RECOVER_EXPORT_H

#include <stdbool.h>
#include <stddef.h>

#include "recover/store.h"

#define EXPORT_FORMAT "aurora secrets 1"

/*
 * Adds a store for each export in the text, of which there may be several, one after another.
 * Returns why that is not possible, or NULL; *line is then where.
 */
extern const char *export_read(const char *text, size_t size, Stores *stores, int *line);

#endif
