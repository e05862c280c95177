#include "gateway/describe.h"
void
describe_openapi(Buffer *to)
{
	buffer_add_text(to, "{}");
}
void
describe_docs(Buffer *to)
{
	buffer_add_text(to, "");
}
