/*
 * What the agent has to say to the lead besides its heartbeat: messages of several sources, in
 * batches. A batch stays the same until it has arrived, so that the lead can tell one that comes
 * twice by its number.
 */
#include "registry/registry.h"

#include "mb/pg_wchar.h"
#include "utils/json.h"
#include "utils/memutils.h"

#define MAX_SOURCES 8

typedef struct Source
{
	AuroraCollect collect;
	AuroraDelivered delivered;
} Source;

static Source sources[MAX_SOURCES];
static int source_count = 0;

static StringInfoData batch;
static bool under_way = false;
static bool has_more = false;
static int64 batch_number = 0;
static int64 batch_us = 0; /* when it was put together */

void
aurora_outbox_add_source(AuroraCollect collect, AuroraDelivered delivered)
{
	if (source_count == MAX_SOURCES)
		elog(ERROR, "too many sources of messages");
	sources[source_count++] = (Source) {.collect = collect, .delivered = delivered};
}

void
aurora_message_begin(StringInfo messages, const char *kind)
{
	if (messages->len > 1)
		appendStringInfoChar(messages, ',');
	appendStringInfo(messages, "{\"kind\":\"%s\",\"body\":{", kind);
}

static void
begin_field(StringInfo messages, const char *key)
{
	if (messages->data[messages->len - 1] != '{')
		appendStringInfoChar(messages, ',');
	appendStringInfo(messages, "\"%s\":", key);
}

/*
 * What programs print may be in no encoding at all, or be cut in the middle of a character.
 */
void
aurora_copy_text(char *to, size_t size, const char *from)
{
	size_t length = strlcpy(to, from, size);
	int most = length >= size ? 4 : 1; /* tries: a character cut off at the end may go */

	length = Min(length, size - 1);
	for (int try = 0; try < most; try++)
	{
		if (pg_verifymbstr(to, (int) length, true))
			return;
		if (try < most - 1 && length > 0)
			to[--length] = '\0';
	}
	for (unsigned char *c = (unsigned char *) to; *c; c++)
		if (*c > 126)
			*c = '?';
}

void
aurora_message_text(StringInfo messages, const char *key, const char *value)
{
	size_t size = strlen(value) + 1;
	char *clean = palloc(size);

	aurora_copy_text(clean, size, value);
	begin_field(messages, key);
	escape_json(messages, clean);
	pfree(clean);
}

void
aurora_message_number(StringInfo messages, const char *key, int64 value)
{
	begin_field(messages, key);
	appendStringInfo(messages, INT64_FORMAT, value);
}

void
aurora_message_end(StringInfo messages)
{
	appendStringInfoString(messages, "}}");
}

const char *
aurora_outbox_batch(int64 *number)
{
	if (!under_way)
	{
		MemoryContext before = MemoryContextSwitchTo(TopMemoryContext);

		if (batch.data == NULL)
			initStringInfo(&batch);
		resetStringInfo(&batch);
		appendStringInfoChar(&batch, '[');
		has_more = false;
		for (int i = 0; i < source_count; i++)
			sources[i].collect(&batch);
		appendStringInfoChar(&batch, ']');
		batch_number++;
		batch_us = aurora_clock_us();
		under_way = true;
		MemoryContextSwitchTo(before);
	}
	*number = batch_number;
	return batch.data;
}

void
aurora_outbox_ask_again(void)
{
	has_more = true;
}

bool
aurora_outbox_has_more(void)
{
	return has_more && !under_way;
}

int64
aurora_outbox_age_us(void)
{
	return aurora_clock_us() - batch_us;
}

/*
 * A batch that did not arrive is sent again as it is; the lead may have taken it before the
 * connection broke.
 */
void
aurora_outbox_delivered(void)
{
	for (int i = 0; under_way && i < source_count; i++)
		if (sources[i].delivered)
			sources[i].delivered();
	under_way = false;
}
