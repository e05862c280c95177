/*
 * Events as their clients read them.
 */
#include "gateway/topic.h"

#include <string.h>

#include "gateway/json_text.h"
#include "gateway/ws.h"

Shared *
event_frame(Event *event)
{
	Buffer message = {0};
	Buffer frame = {0};

	if (event->frame)
		return event->frame;
	message_add_event(&message, &event->row);
	ws_add_frame(&frame, WS_TEXT, message.bytes, message.size);
	event->frame = shared_make(frame.bytes, frame.size);
	buffer_wipe(&message);
	buffer_wipe(&frame);
	return event->frame;
}

Shared *
event_lines(Event *event)
{
	Buffer lines = {0};

	if (event->lines)
		return event->lines;
	buffer_print(&lines, "id: %s/%s\ndata: ", event->row.epoch, event->row.seq);
	message_add_event(&lines, &event->row);
	buffer_add_text(&lines, "\n\n");
	event->lines = shared_make(lines.bytes, lines.size);
	buffer_wipe(&lines);
	return event->lines;
}

void
event_free(Event *event)
{
	if (event->frame)
		shared_release(event->frame);
	if (event->lines)
		shared_release(event->lines);
	memset(event, 0, sizeof(*event));
}
