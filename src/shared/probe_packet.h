/*
 * The datagram by which agents measure the way to each other. A "question" and its "answer" have
 * the same size, so nobody's question makes more traffic than it cost. Both carry the epoch and the
 * position in the write-ahead log of their sender.
 *
 * Layout, all numbers in network order: "aurora" 1 kind nonce(8) system_identifier(8) timeline(4)
 * epoch_timeline(4) epoch_began_at(8) epoch_id(16) receive_lsn(8) replay_lsn(8) name(64)
 */
#ifndef AURORA_PROBE_PACKET_H
#define AURORA_PROBE_PACKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AURORA_PROBE_SIZE 136
#define AURORA_PROBE_NAME_SIZE 64

#define AURORA_PROBE_QUESTION 1
#define AURORA_PROBE_ANSWER 2

typedef struct AuroraProbePacket
{
	uint8_t kind;
	uint64_t nonce;
	uint64_t system_identifier; /* of the sender's cluster */
	uint32_t timeline;
	uint32_t epoch_timeline;
	int64_t epoch_began_at; /* microseconds since 2000 */
	uint8_t epoch_id[16];
	uint64_t receive_lsn;
	uint64_t replay_lsn;
	char name[AURORA_PROBE_NAME_SIZE];
} AuroraProbePacket;

extern void aurora_probe_packet_write(const AuroraProbePacket *packet,
									  uint8_t bytes[AURORA_PROBE_SIZE]);

/* False when the bytes are none of ours. */
extern bool aurora_probe_packet_read(AuroraProbePacket *packet, const uint8_t *bytes, size_t size);

#endif
