/*
 * Probes: datagrams from agent to agent over the mesh, to tell a node that is gone from one that
 * only does not reach the lead, and to measure the way.
 *
 * Each round asks a few peers in rotation, so the cost grows with the nodes and not their square.
 * An attempt is three questions in turn; it fails when none is answered. A "suspect" is a node that
 * the lead misses: it is asked at once.
 */
#include "registry/registry.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "access/xlog.h"
#include "access/xlogrecovery.h"
#include "replication/walreceiver.h"
#include "shared/probe_packet.h"
#include "storage/lwlock.h"
#include "utils/guc.h"

#define PEERS_IN_ROUND 5
#define QUESTIONS 3
#define QUESTION_US 300000L /* until the next question of an attempt */
#define LISTEN_AGAIN_US 2000000L
#define MAX_DATAGRAMS 256 /* read in one turn */

typedef struct Probe
{
	AuroraPeerSeen seen;
	struct sockaddr_storage address;
	socklen_t address_size; /* 0 when it has none */
	int questions;			/* asked in this attempt; 0 when none is under way */
	int64 asked_us[QUESTIONS];
	uint64 nonces[QUESTIONS];
	bool suspected;
	bool changed; /* since it was last collected */
} Probe;

static char *agent_address = NULL;
static int agent_port = 0;
static int probe_interval_ms = 0;

static AuroraPoller *poller = NULL;
static Probe probes[AURORA_MAX_PEERS];
static int probe_count = 0;
static int next_in_rotation = 0;
static int64 next_round_us = 0;
static int64 listen_at_us = 0;
static int listener = -1;
static char own_address[AURORA_ADDRESS_SIZE];
static char listening_on[AURORA_ADDRESS_SIZE];
static int listening_port = 0;
static bool news = false;
static bool asked_all_once = false;

/* ---- packets ---- */

static uint64
receive_position(void)
{
	XLogRecPtr replayed = GetXLogReplayRecPtr(NULL);
	XLogRecPtr received = GetWalRcvFlushRecPtr(NULL, NULL);

	return Max(replayed, received);
}

static void
fill_packet(AuroraProbePacket *packet, uint8 kind, uint64 nonce)
{
	AuroraEpoch epoch = aurora_epoch_own();
	bool standby = RecoveryInProgress();
	TimeLineID timeline;

	memset(packet, 0, sizeof(*packet));
	packet->kind = kind;
	packet->nonce = nonce;
	packet->system_identifier = GetSystemIdentifier();
	if (standby)
	{
		packet->replay_lsn = GetXLogReplayRecPtr(&timeline);
		packet->receive_lsn = receive_position();
	}
	else
		packet->receive_lsn = packet->replay_lsn = GetFlushRecPtr(&timeline);
	packet->timeline = timeline;
	packet->epoch_timeline = epoch.timeline;
	packet->epoch_began_at = epoch.began_at;
	memcpy(packet->epoch_id, epoch.id, sizeof(packet->epoch_id));
	strlcpy(packet->name, aurora_node_name(), sizeof(packet->name));
}

static bool
send_packet(uint8 kind, uint64 nonce, const struct sockaddr_storage *to, socklen_t size)
{
	AuroraProbePacket packet;
	uint8 bytes[AURORA_PROBE_SIZE];

	fill_packet(&packet, kind, nonce);
	aurora_probe_packet_write(&packet, bytes);
	return sendto(listener, bytes, sizeof(bytes), MSG_DONTWAIT | MSG_NOSIGNAL,
				  (const struct sockaddr *) to, size) == sizeof(bytes);
}

static AuroraEpoch
epoch_of(const AuroraProbePacket *packet)
{
	AuroraEpoch epoch = {.timeline = packet->epoch_timeline, .began_at = packet->epoch_began_at};

	memcpy(epoch.id, packet->epoch_id, sizeof(epoch.id));
	return epoch;
}

/*
 * What the present peers have answered decides, so a peer that is removed takes its word along.
 */
static void
note_newest_epoch(void)
{
	const AuroraPeerSeen *newest = NULL;
	AuroraEpoch none = {0};

	for (int i = 0; i < probe_count; i++)
		if (newest == NULL || aurora_epoch_compare(&probes[i].seen.epoch, &newest->epoch) > 0)
			newest = &probes[i].seen;
	aurora_epoch_set_newest(newest ? &newest->epoch : &none, newest ? newest->name : "");
}

/*
 * Has this address sent it; the port is the agent's own. Over the mesh nobody else can.
 */
static bool
is_from(const Probe *probe, const struct sockaddr_storage *from)
{
	if (probe->address_size == 0 || probe->address.ss_family != from->ss_family)
		return false;
	if (from->ss_family == AF_INET)
	{
		const struct sockaddr_in *a = (const struct sockaddr_in *) &probe->address;
		const struct sockaddr_in *b = (const struct sockaddr_in *) from;

		return a->sin_addr.s_addr == b->sin_addr.s_addr && a->sin_port == b->sin_port;
	}
	else
	{
		const struct sockaddr_in6 *a = (const struct sockaddr_in6 *) &probe->address;
		const struct sockaddr_in6 *b = (const struct sockaddr_in6 *) from;

		return memcmp(&a->sin6_addr, &b->sin6_addr, sizeof(a->sin6_addr)) == 0 &&
			   a->sin6_port == b->sin6_port;
	}
}

/* ---- attempts ---- */

static void
end_attempt(Probe *probe)
{
	probe->questions = 0;
	probe->changed = true;
	if (probe->suspected)
		news = true;
	probe->suspected = false;
}

static void
fail_attempt(Probe *probe, const char *detail)
{
	probe->seen.failures++;
	strlcpy(probe->seen.detail, detail, AURORA_DETAIL_SIZE);
	end_attempt(probe);
}

static void
take_answer(Probe *probe, const AuroraProbePacket *packet)
{
	int64 now = aurora_clock_us();

	for (int i = 0; i < probe->questions; i++)
	{
		if (probe->nonces[i] != packet->nonce)
			continue;
		if (strcmp(packet->name, probe->seen.name) != 0)
		{
			fail_attempt(probe, "another node answers at its address");
			return;
		}
		if (packet->system_identifier != GetSystemIdentifier())
		{
			fail_attempt(probe, "a node of another cluster answers at its address");
			return;
		}
		probe->seen.epoch = epoch_of(packet);
		probe->seen.rtt_us = (int) Max(now - probe->asked_us[i], 1);
		probe->seen.success_us = now;
		probe->seen.failures = 0;
		probe->seen.timeline = packet->timeline;
		probe->seen.receive_lsn = packet->receive_lsn;
		probe->seen.replay_lsn = packet->replay_lsn;
		probe->seen.detail[0] = '\0';
		end_attempt(probe);
		return;
	}
}

/*
 * What cannot be sent from here says nothing about the peer.
 */
static void
ask(Probe *probe)
{
	int i = probe->questions;
	uint64 nonce;

	if (!pg_strong_random(&nonce, sizeof(nonce)) ||
		!send_packet(AURORA_PROBE_QUESTION, nonce, &probe->address, probe->address_size))
	{
		snprintf(probe->seen.detail, AURORA_DETAIL_SIZE, "could not ask: %s", strerror(errno));
		probe->questions = 0;
		probe->suspected = false;
		return;
	}
	probe->questions++;
	probe->nonces[i] = nonce;
	probe->asked_us[i] = aurora_clock_us();
	probe->seen.attempt_us = probe->asked_us[i];
}

static void
begin_attempt(Probe *probe)
{
	if (probe->address_size != 0 && probe->questions == 0)
		ask(probe);
}

static void
go_on(Probe *probe, int64 now)
{
	if (probe->questions == 0 || now - probe->asked_us[probe->questions - 1] < QUESTION_US)
		return;
	if (probe->questions < QUESTIONS)
		ask(probe);
	else
		fail_attempt(probe, "no answer");
}

static bool
epoch_is_news(const AuroraProbePacket *packet)
{
	AuroraEpoch theirs = epoch_of(packet);
	AuroraEpoch own = aurora_epoch_own();

	return aurora_epoch_compare(&theirs, &own) > 0;
}

/* ---- the port ---- */

/*
 * Anybody's question is answered, since a node may ask before this one has heard of it. What a
 * question says is not believed, for anybody may have sent it; a peer that names a newer epoch is
 * asked, and then its answer is.
 */
static void
take_datagrams(void *argument, int fd, uint32 events)
{
	for (int n = 0; n < MAX_DATAGRAMS; n++)
	{
		struct sockaddr_storage from;
		socklen_t from_size = sizeof(from);
		uint8 bytes[AURORA_PROBE_SIZE + 1];
		AuroraProbePacket packet;
		ssize_t size =
			recvfrom(fd, bytes, sizeof(bytes), MSG_DONTWAIT, (struct sockaddr *) &from, &from_size);

		if (size < 0)
			return;
		if (!aurora_probe_packet_read(&packet, bytes, size))
			continue;
		if (packet.kind == AURORA_PROBE_QUESTION)
			(void) send_packet(AURORA_PROBE_ANSWER, packet.nonce, &from, from_size);
		for (int i = 0; i < probe_count; i++)
			if (is_from(&probes[i], &from))
			{
				if (packet.kind == AURORA_PROBE_ANSWER)
					take_answer(&probes[i], &packet);
				else if (epoch_is_news(&packet))
					begin_attempt(&probes[i]);
			}
	}
}

static bool
resolve(const char *address, int port, struct sockaddr_storage *to, socklen_t *size)
{
	struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV,
							 .ai_socktype = SOCK_DGRAM};
	struct addrinfo *found = NULL;
	char service[16];

	snprintf(service, sizeof(service), "%d", port);
	if (port == 0 || address[0] == '\0' || getaddrinfo(address, service, &hints, &found) != 0)
		return false;
	memcpy(to, found->ai_addr, found->ai_addrlen);
	*size = found->ai_addrlen;
	freeaddrinfo(found);
	return true;
}

static void
say_listening(const char *what)
{
	AuroraBoard *board = aurora_board_lock(true);

	strlcpy(board->agent.listening, what, AURORA_DETAIL_SIZE);
	aurora_board_unlock();
}

static void
stop_listening(void)
{
	if (listener < 0)
		return;
	aurora_poller_forget(poller, listener);
	close(listener);
	listener = -1;
}

/*
 * Opens the port on the node's address, or says why not; the mesh may come up after the server.
 */
static void
listen_on(const char *address)
{
	struct sockaddr_storage to;
	socklen_t size;
	char what[AURORA_DETAIL_SIZE];

	strlcpy(listening_on, address, sizeof(listening_on));
	listening_port = agent_port;
	if (!resolve(address, agent_port, &to, &size))
	{
		say_listening(agent_port == 0 ? "off: aurora.agent_port is 0"
									  : "off: this node has no address yet");
		return;
	}
	listener = socket(to.ss_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (listener < 0 || bind(listener, (struct sockaddr *) &to, size) != 0)
	{
		snprintf(what, sizeof(what), "could not listen on %s port %d: %s", address, agent_port,
				 strerror(errno));
		if (listener >= 0)
			close(listener);
		listener = -1;
	}
	else
	{
		aurora_poller_watch(poller, listener, EPOLLIN, take_datagrams, NULL);
		snprintf(what, sizeof(what), "%s port %d", address, agent_port);
	}
	say_listening(what);
}

static void
keep_listening(int64 now)
{
	const char *address = agent_address[0] ? agent_address : own_address;

	if (listening_port != agent_port || strcmp(listening_on, address) != 0)
	{
		stop_listening();
		listen_at_us = 0;
	}
	if (listener >= 0 || now < listen_at_us)
		return;
	listen_at_us = now + LISTEN_AGAIN_US;
	listen_on(address);
}

/* ---- what the agent calls ---- */

int
aurora_probe_port(void)
{
	return agent_port;
}

static Probe *
probe_of(const char *name, size_t length)
{
	for (int i = 0; i < probe_count; i++)
		if (strlen(probes[i].seen.name) == length &&
			strncmp(probes[i].seen.name, name, length) == 0)
			return &probes[i];
	return NULL;
}

void
aurora_probe_set_peers(const AuroraPeer *peers, int count, const char *address)
{
	static Probe kept[AURORA_MAX_PEERS];

	strlcpy(own_address, address, sizeof(own_address));
	count = Min(count, AURORA_MAX_PEERS);
	for (int i = 0; i < count; i++)
	{
		Probe *old = probe_of(peers[i].name, strlen(peers[i].name));

		if (old && strcmp(old->seen.address, peers[i].address) == 0 &&
			old->seen.port == peers[i].port)
		{
			kept[i] = *old;
			continue;
		}
		memset(&kept[i], 0, sizeof(Probe));
		strlcpy(kept[i].seen.name, peers[i].name, AURORA_NODE_NAME_SIZE);
		strlcpy(kept[i].seen.address, peers[i].address, AURORA_ADDRESS_SIZE);
		kept[i].seen.port = peers[i].port;
		if (!resolve(peers[i].address, peers[i].port, &kept[i].address, &kept[i].address_size))
			kept[i].address_size = 0;
		next_round_us = 0;
	}
	memcpy(probes, kept, count * sizeof(Probe));
	probe_count = count;
	if (probe_count == 0)
		aurora_lead_asked_peers();
}

void
aurora_probe_suspects(const char *names)
{
	while (names && *names)
	{
		size_t length = strcspn(names, ",");
		Probe *probe = probe_of(names, length);

		/* Its answer names the suspects again, so without this they would be asked without rest. */
		if (probe && listener >= 0 && probe->address_size != 0 &&
			aurora_clock_us() - probe->seen.attempt_us > aurora_heartbeat_interval_ms * 500L)
		{
			probe->suspected = true;
			begin_attempt(probe);
		}
		names += length;
		names += *names == ',';
	}
}

static void
begin_round(void)
{
	int left = Min(PEERS_IN_ROUND, probe_count);

	for (int i = 0; i < probe_count && left > 0; i++)
	{
		Probe *probe = &probes[next_in_rotation++ % probe_count];

		if (probe->address_size == 0)
			continue;
		begin_attempt(probe);
		left--;
	}
	next_in_rotation %= Max(probe_count, 1);
}

/*
 * The lead may begin its duties when the first attempts have ended, well or not.
 */
static void
note_first_round(void)
{
	if (asked_all_once)
		return;
	for (int i = 0; i < Min(probe_count, PEERS_IN_ROUND); i++)
		if (probes[i].address_size != 0 && probes[i].seen.success_us == 0 &&
			probes[i].seen.failures == 0)
			return;
	asked_all_once = true;
	aurora_lead_asked_peers();
}

static void
show_on_board(void)
{
	AuroraBoard *board = aurora_board_lock(true);

	board->peer_count = probe_count;
	for (int i = 0; i < probe_count; i++)
		board->peers[i] = probes[i].seen;
	aurora_board_unlock();
}

void
aurora_probe_step(bool hurried)
{
	int64 now = aurora_clock_us();
	int64 interval_us = (hurried ? aurora_heartbeat_interval_ms : probe_interval_ms) * 1000L;

	keep_listening(now);
	if (listener >= 0)
	{
		if (next_round_us > now + interval_us)
			next_round_us = now;
		if (next_round_us <= now)
		{
			next_round_us = now + interval_us;
			begin_round();
		}
		for (int i = 0; i < probe_count; i++)
			go_on(&probes[i], now);
		note_first_round();
	}
	note_newest_epoch();
	show_on_board();
}

int64
aurora_probe_next_us(void)
{
	int64 now = aurora_clock_us();
	int64 next = listener >= 0 ? next_round_us : listen_at_us;

	for (int i = 0; i < probe_count; i++)
		if (probes[i].questions > 0)
			next = Min(next, probes[i].asked_us[probes[i].questions - 1] + QUESTION_US);
	return Max(next - now, 0);
}

bool
aurora_probe_has_news(void)
{
	bool had = news;

	news = false;
	return had;
}

static void
collect(StringInfo messages)
{
	int64 now = aurora_clock_us();

	for (int i = 0; i < probe_count; i++)
	{
		Probe *probe = &probes[i];

		if (!probe->changed)
			continue;
		aurora_message_begin(messages, "probe");
		aurora_message_text(messages, "to", probe->seen.name);
		aurora_message_number(messages, "failures", probe->seen.failures);
		aurora_message_number(messages, "attempt_age_us", now - probe->seen.attempt_us);
		if (probe->seen.success_us != 0)
		{
			aurora_message_number(messages, "rtt_us", probe->seen.rtt_us);
			aurora_message_number(messages, "success_age_us", now - probe->seen.success_us);
		}
		aurora_message_end(messages);
		probe->changed = false;
	}
}

void
aurora_probe_start(AuroraPoller *the_poller)
{
	poller = the_poller;
}

static bool
check_address(char **value, void **extra, GucSource source)
{
	struct sockaddr_storage to;
	socklen_t size;

	if ((*value)[0] == '\0' || resolve(*value, 1, &to, &size))
		return true;
	GUC_check_errdetail("An IPv4 or IPv6 address is wanted.");
	return false;
}

void
aurora_probe_init(void)
{
	DefineCustomStringVariable("aurora.agent_address",
							   "Address on which the agent answers probes of its peers; empty for "
							   "the node's address in the registry.",
							   NULL, &agent_address, "", PGC_SIGHUP, 0, check_address, NULL, NULL);
	DefineCustomIntVariable("aurora.agent_port",
							"UDP port on which the agent answers probes of its peers; 0 for none.",
							NULL, &agent_port, 9998, 0, 65535, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("aurora.probe_interval", "Time between two rounds of probes.", NULL,
							&probe_interval_ms, 10000, 100, 3600000, PGC_SIGHUP, GUC_UNIT_MS, NULL,
							NULL, NULL);
	aurora_outbox_add_source(collect, NULL);
}
