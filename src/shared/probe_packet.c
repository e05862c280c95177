/*
 * Reading and writing the probe datagram.
 */
#include "shared/probe_packet.h"

#include <string.h>

static const uint8_t magic[7] = {'a', 'u', 'r', 'o', 'r', 'a', 1};

static uint8_t *
put(uint8_t *to, uint64_t value, int size)
{
	for (int i = size - 1; i >= 0; i--)
	{
		to[i] = (uint8_t) value;
		value >>= 8;
	}
	return to + size;
}

static uint64_t
get(const uint8_t **from, int size)
{
	uint64_t value = 0;

	for (int i = 0; i < size; i++)
		value = value << 8 | *(*from)++;
	return value;
}

void
aurora_probe_packet_write(const AuroraProbePacket *packet, uint8_t bytes[AURORA_PROBE_SIZE])
{
	uint8_t *to = bytes;

	memcpy(to, magic, sizeof(magic));
	to = put(to + sizeof(magic), packet->kind, 1);
	to = put(to, packet->nonce, 8);
	to = put(to, packet->system_identifier, 8);
	to = put(to, packet->timeline, 4);
	to = put(to, packet->epoch_timeline, 4);
	to = put(to, (uint64_t) packet->epoch_began_at, 8);
	memcpy(to, packet->epoch_id, sizeof(packet->epoch_id));
	to = put(to + sizeof(packet->epoch_id), packet->receive_lsn, 8);
	to = put(to, packet->replay_lsn, 8);
	memcpy(to, packet->name, AURORA_PROBE_NAME_SIZE);
}

bool
aurora_probe_packet_read(AuroraProbePacket *packet, const uint8_t *bytes, size_t size)
{
	const uint8_t *from = bytes + sizeof(magic);

	if (size != AURORA_PROBE_SIZE || memcmp(bytes, magic, sizeof(magic)) != 0)
		return false;
	packet->kind = (uint8_t) get(&from, 1);
	packet->nonce = get(&from, 8);
	packet->system_identifier = get(&from, 8);
	packet->timeline = (uint32_t) get(&from, 4);
	packet->epoch_timeline = (uint32_t) get(&from, 4);
	packet->epoch_began_at = (int64_t) get(&from, 8);
	memcpy(packet->epoch_id, from, sizeof(packet->epoch_id));
	from += sizeof(packet->epoch_id);
	packet->receive_lsn = get(&from, 8);
	packet->replay_lsn = get(&from, 8);
	memcpy(packet->name, from, AURORA_PROBE_NAME_SIZE);
	return (packet->kind == AURORA_PROBE_QUESTION || packet->kind == AURORA_PROBE_ANSWER) &&
		   packet->name[AURORA_PROBE_NAME_SIZE - 1] == '\0';
}
