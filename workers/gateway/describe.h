/*
 * The description of all routes: OpenAPI 3.1, and a page of documentation.
 */
#ifndef GATEWAY_DESCRIBE_H
#define GATEWAY_DESCRIBE_H

#include "common/memory.h"

extern void describe_openapi(Buffer *to);
extern void describe_docs(Buffer *to);

#endif
