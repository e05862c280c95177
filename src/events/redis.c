/*
 * The connection to Redis: one socket that is never waited for, TLS by OpenSSL, the protocol by
 * hiredis, which has no TLS of its own in Debian 12.
 *
 * Redis only makes things faster: it carries numbers, and whoever misses one looks by himself. So
 * what cannot be sent is dropped and counted.
 */
#include "events/events.h"

#include <fcntl.h>
#include <netdb.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <hiredis/hiredis.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "common/pg_prng.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/guc.h"
#include "utils/memutils.h"

#define CONNECT_US 5000000L
#define PING_US 5000000L
#define SILENCE_US 12000000L /* after which Redis counts as away */
#define FIRST_RETRY_US 100000L
#define LONGEST_RETRY_US 5000000L
#define BACKLOG (1024 * 1024)

typedef enum Phase
{
	PHASE_IDLE,
	PHASE_LOOKUP,
	PHASE_CONNECT,
	PHASE_HANDSHAKE,
	PHASE_LOGIN,
	PHASE_READY,
} Phase;

static char *redis_url = NULL;
static char *password_file = NULL;
static char *tls_ca = NULL;
static char *tls_cert = NULL;
static char *tls_key = NULL;

static struct
{
	AuroraPoller *poller;
	const char *channel;
	AuroraRedisMessage received;
	AuroraRedisStatus status;
	AuroraRedisUrl url;
	char configured[4 * AURORA_REDIS_TEXT_SIZE]; /* all settings that the connection was made by */
	bool subscribe;
	Phase phase;
	int fd;
	struct gaicb lookup;
	int address; /* which of the host's is tried: the next one when one cannot be connected to */
	SSL_CTX *tls;
	SSL *ssl;
	redisReader *reader;
	StringInfoData out;
	bool wants_write; /* TLS must write before it can go on */
	bool complained;
	int64 deadline_us;
	int64 retry_us;
	int64 backoff_us;
	int64 ping_us;
	int64 heard_us;
} redis = {.fd = -1};

static void on_ready(void *argument, int fd, uint32 events);

/* ---- closing ---- */

static void
close_connection(void)
{
	if (redis.phase == PHASE_LOOKUP && gai_error(&redis.lookup) == EAI_INPROGRESS)
		return; /* the resolver still writes there; the connection is closed when it is done */
	if (redis.phase == PHASE_LOOKUP && redis.lookup.ar_result)
		freeaddrinfo(redis.lookup.ar_result);
	memset(&redis.lookup, 0, sizeof(redis.lookup));
	if (redis.ssl)
		SSL_free(redis.ssl);
	if (redis.tls)
		SSL_CTX_free(redis.tls);
	if (redis.reader)
		redisReaderFree(redis.reader);
	if (redis.fd >= 0)
	{
		aurora_poller_forget(redis.poller, redis.fd);
		close(redis.fd);
	}
	redis.ssl = NULL;
	redis.tls = NULL;
	redis.reader = NULL;
	redis.fd = -1;
	redis.phase = PHASE_IDLE;
	redis.wants_write = false;
	resetStringInfo(&redis.out);
}

/*
 * Redis is away: the next try comes later each time, with jitter.
 */
static void
fail(const char *reason)
{
	if (redis.phase == PHASE_CONNECT)
		redis.address++;
	close_connection();
	strlcpy(redis.status.error, reason, sizeof(redis.status.error));
	redis.status.failures++;
	redis.status.state = AURORA_REDIS_WAITING;
	redis.retry_us = aurora_clock_us() +
					 (int64) (redis.backoff_us * (0.5 + pg_prng_double(&pg_global_prng_state)));
	redis.backoff_us = Min(2 * redis.backoff_us, LONGEST_RETRY_US);
	if (!redis.complained)
		ereport(LOG, (errcode(ERRCODE_CONNECTION_FAILURE), errmsg("Redis is away: %s", reason),
					  errdetail("Who waits for events looks by himself meanwhile.")));
	redis.complained = true;
}

static void
fail_tls(const char *what)
{
	char reason[AURORA_REDIS_TEXT_SIZE];
	long verified = redis.ssl ? SSL_get_verify_result(redis.ssl) : X509_V_OK;
	const char *error = ERR_reason_error_string(ERR_peek_error());

	snprintf(reason, sizeof(reason), "%s: %s", what,
			 verified != X509_V_OK ? X509_verify_cert_error_string(verified)
			 : error			   ? error
								   : "the connection was closed");
	ERR_clear_error();
	fail(reason);
}

static void
fail_system(const char *what, int error)
{
	char reason[AURORA_REDIS_TEXT_SIZE];

	snprintf(reason, sizeof(reason), "%s: %s", what, strerror(error));
	fail(reason);
}

/* ---- bytes ---- */

static void
watch(void)
{
	uint32 events = EPOLLIN;

	if (redis.fd < 0)
		return;
	if (redis.phase == PHASE_CONNECT || redis.wants_write ||
		(redis.phase >= PHASE_LOGIN && redis.out.len > redis.out.cursor))
		events |= EPOLLOUT;
	aurora_poller_watch(redis.poller, redis.fd, events, on_ready, NULL);
}

/*
 * What a call on the TLS connection came to: 1 for done, 0 for not now, -1 when it failed.
 */
static int
tls_result(int result)
{
	if (result > 0)
		return 1;
	switch (SSL_get_error(redis.ssl, result))
	{
		case SSL_ERROR_WANT_READ:
			return 0;
		case SSL_ERROR_WANT_WRITE:
			redis.wants_write = true;
			return 0;
		default:
			return -1;
	}
}

/*
 * The number of bytes, 0 for none now, -1 for the end.
 */
static ssize_t
receive_bytes(char *buffer, size_t size)
{
	ssize_t got;

	if (redis.ssl)
	{
		ERR_clear_error();
		got = SSL_read(redis.ssl, buffer, (int) size);
		return got > 0 ? got : tls_result((int) got);
	}
	got = recv(redis.fd, buffer, size, 0);
	if (got > 0)
		return got;
	return got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) ? 0 : -1;
}

static ssize_t
send_bytes(const char *data, size_t size)
{
	ssize_t sent;

	if (redis.ssl)
	{
		ERR_clear_error();
		sent = SSL_write(redis.ssl, data, (int) size);
		return sent > 0 ? sent : tls_result((int) sent);
	}
	sent = send(redis.fd, data, size, MSG_NOSIGNAL);
	if (sent >= 0)
		return sent;
	return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR ? 0 : -1;
}

static void
flush_out(void)
{
	while (redis.phase >= PHASE_LOGIN && redis.out.cursor < redis.out.len)
	{
		ssize_t sent =
			send_bytes(redis.out.data + redis.out.cursor, redis.out.len - redis.out.cursor);

		if (sent < 0)
		{
			fail("the connection was closed");
			return;
		}
		if (sent == 0)
			break;
		redis.out.cursor += (int) sent;
	}
	if (redis.out.cursor == redis.out.len)
		resetStringInfo(&redis.out);
	watch();
}

/* ---- the protocol ---- */

static void
command(int count, const char **words)
{
	char *text = NULL;
	int length = redisFormatCommandArgv(&text, count, words, NULL);

	if (length < 0)
		return;
	appendBinaryStringInfo(&redis.out, text, length);
	redisFreeCommand(text);
}

/*
 * The first line of the file takes the place of the URL's password, which the server's log shows
 * when the setting changes. Read for each connection, so that it may be changed before Redis's.
 */
static bool
read_password(void)
{
	char line[AURORA_REDIS_TEXT_SIZE] = "";
	FILE *file;
	bool whole;

	if (password_file[0] == '\0')
		return true;
	file = AllocateFile(password_file, "r");
	if (file == NULL)
	{
		fail_system("aurora.redis_password_file", errno);
		return false;
	}
	whole = fgets(line, sizeof(line), file) != NULL && strlen(line) < sizeof(line) - 1;
	(void) FreeFile(file);
	line[strcspn(line, "\r\n")] = '\0';
	if (whole)
		strlcpy(redis.url.password, line, sizeof(redis.url.password));
	else
		fail("aurora.redis_password_file has no first line, or one that is too long");
	explicit_bzero(line, sizeof(line));
	return whole;
}

static void
begin_login(void)
{
	const char *login[] = {"AUTH", redis.url.user, redis.url.password};
	const char *password[] = {"AUTH", redis.url.password};
	const char *subscription[] = {"SUBSCRIBE", redis.channel};
	const char *ping[] = {"PING"};

	if (!read_password())
		return;
	redis.phase = PHASE_LOGIN;
	if (redis.url.user[0])
		command(3, login);
	else if (redis.url.password[0])
		command(2, password);
	if (redis.subscribe)
		command(2, subscription);
	else
		command(1, ping);
	flush_out();
}

static void
become_ready(void)
{
	if (redis.phase == PHASE_READY)
		return;
	redis.phase = PHASE_READY;
	redis.status.state = AURORA_REDIS_CONNECTED;
	redis.status.connects++;
	redis.status.error[0] = '\0';
	redis.backoff_us = FIRST_RETRY_US;
	redis.ping_us = aurora_clock_us() + PING_US;
	if (redis.complained)
		ereport(LOG, (errmsg("Redis is back")));
	redis.complained = false;
}

static bool
is_text(const redisReply *reply, const char *text)
{
	return (reply->type == REDIS_REPLY_STRING || reply->type == REDIS_REPLY_STATUS) &&
		   pg_strcasecmp(reply->str, text) == 0;
}

/*
 * False when the connection is closed by now.
 */
static bool
take_reply(const redisReply *reply)
{
	redis.heard_us = aurora_clock_us();
	if (reply->type == REDIS_REPLY_ERROR)
	{
		fail(reply->str);
		return false;
	}
	if (is_text(reply, "PONG"))
		become_ready();
	if (reply->type != REDIS_REPLY_ARRAY || reply->elements < 2)
		return true;
	if (is_text(reply->element[0], "subscribe"))
		become_ready();
	else if (reply->elements == 3 && is_text(reply->element[0], "message") &&
			 reply->element[2]->type == REDIS_REPLY_STRING)
	{
		redis.status.received++;
		redis.received(reply->element[2]->str);
	}
	return true;
}

static bool
take_replies(void)
{
	void *reply = NULL;
	bool open = true;

	while (open && redisReaderGetReply(redis.reader, &reply) == REDIS_OK && reply != NULL)
	{
		open = take_reply(reply);
		freeReplyObject(reply);
		reply = NULL;
	}
	if (open && redis.reader->err)
	{
		fail("the answer is not Redis's protocol");
		open = false;
	}
	return open;
}

static void
read_all(void)
{
	char buffer[16384];

	for (;;)
	{
		ssize_t got = receive_bytes(buffer, sizeof(buffer));

		if (got == 0)
			return;
		if (got < 0)
		{
			fail("the connection was closed");
			return;
		}
		if (redisReaderFeed(redis.reader, buffer, got) != REDIS_OK)
		{
			fail("the answer is too long");
			return;
		}
		if (!take_replies())
			return;
		if (redis.reader->len - redis.reader->pos > BACKLOG)
		{
			fail("the answer is too long");
			return;
		}
	}
}

/* ---- connecting ---- */

static bool
is_address(const char *host)
{
	struct addrinfo hints = {.ai_flags = AI_NUMERICHOST};
	struct addrinfo *found = NULL;

	if (getaddrinfo(host, NULL, &hints, &found) != 0)
		return false;
	freeaddrinfo(found);
	return true;
}

static bool
set_up_tls(void)
{
	const char *host = redis.url.host;

	ERR_clear_error();
	redis.tls = SSL_CTX_new(TLS_client_method());
	if (redis.tls == NULL)
		return false;
	SSL_CTX_set_min_proto_version(redis.tls, TLS1_2_VERSION);
	SSL_CTX_set_verify(redis.tls, SSL_VERIFY_PEER, NULL);
	SSL_CTX_set_mode(redis.tls,
					 SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	if (tls_ca[0] ? SSL_CTX_load_verify_locations(redis.tls, tls_ca, NULL) != 1
				  : SSL_CTX_set_default_verify_paths(redis.tls) != 1)
		return false;
	if (tls_cert[0] && (SSL_CTX_use_certificate_chain_file(redis.tls, tls_cert) != 1 ||
						SSL_CTX_use_PrivateKey_file(redis.tls, tls_key, SSL_FILETYPE_PEM) != 1))
		return false;
	redis.ssl = SSL_new(redis.tls);
	if (redis.ssl == NULL || SSL_set_fd(redis.ssl, redis.fd) != 1)
		return false;
	if (is_address(host))
		return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(redis.ssl), host) == 1;
	return SSL_set1_host(redis.ssl, host) == 1 && SSL_set_tlsext_host_name(redis.ssl, host) == 1;
}

static void
shake_hands(void)
{
	int result;

	ERR_clear_error();
	redis.wants_write = false;
	result = tls_result(SSL_connect(redis.ssl));
	if (result < 0)
		fail_tls("TLS");
	else if (result > 0)
		begin_login();
	else
		watch();
}

static void
be_connected(void)
{
	int error = 0;
	socklen_t size = sizeof(error);

	if (getsockopt(redis.fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0 || error != 0)
	{
		fail_system(redis.url.host, error);
		return;
	}
	if (!redis.url.tls)
	{
		begin_login();
		return;
	}
	if (!set_up_tls())
	{
		fail_tls("TLS cannot be set up");
		return;
	}
	redis.phase = PHASE_HANDSHAKE;
	shake_hands();
}

static void
connect_to(int family, const struct sockaddr *address, socklen_t size)
{
	redis.fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (redis.fd < 0)
	{
		fail_system("no socket", errno);
		return;
	}
	redis.reader = redisReaderCreate();
	redis.phase = PHASE_CONNECT;
	if (redis.reader == NULL)
		fail("out of memory");
	else if (connect(redis.fd, address, size) == 0)
		be_connected();
	else if (errno == EINPROGRESS)
		watch();
	else
		fail_system(redis.url.host, errno);
}

static void
begin_connection(void)
{
	struct gaicb *list[1] = {&redis.lookup};
	static const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
	struct sockaddr_un local = {.sun_family = AF_UNIX};

	redis.status.state = AURORA_REDIS_CONNECTING;
	redis.deadline_us = aurora_clock_us() + CONNECT_US;
	redis.heard_us = aurora_clock_us();
	if (redis.url.local)
	{
		strlcpy(local.sun_path, redis.url.host, sizeof(local.sun_path));
		connect_to(AF_UNIX, (struct sockaddr *) &local, sizeof(local));
		return;
	}
	redis.lookup = (struct gaicb) {
		.ar_name = redis.url.host, .ar_service = redis.url.port, .ar_request = &hints};
	if (getaddrinfo_a(GAI_NOWAIT, list, 1, NULL) != 0)
		fail("the host's name cannot be looked up");
	else
		redis.phase = PHASE_LOOKUP;
}

/*
 * The address whose turn it is, of one or more.
 */
static struct addrinfo *
choose_address(struct addrinfo *found)
{
	struct addrinfo *chosen = found;
	int count = 0;

	for (struct addrinfo *each = found; each; each = each->ai_next)
		count++;
	for (int i = redis.address % count; i > 0; i--)
		chosen = chosen->ai_next;
	return chosen;
}

static void
end_lookup(void)
{
	int result = gai_error(&redis.lookup);
	struct addrinfo *found = redis.lookup.ar_result;
	struct addrinfo *chosen;

	if (result == EAI_INPROGRESS)
		return;
	redis.phase = PHASE_IDLE;
	redis.lookup.ar_result = NULL;
	if (result != 0 || found == NULL)
		fail("the host's name has no address");
	else
	{
		chosen = choose_address(found);
		connect_to(chosen->ai_family, chosen->ai_addr, chosen->ai_addrlen);
	}
	if (found)
		freeaddrinfo(found);
}

static void
on_ready(void *argument, int fd, uint32 events)
{
	if (fd != redis.fd)
		return;
	redis.wants_write = false;
	if (redis.phase == PHASE_CONNECT)
		be_connected();
	else if (redis.phase == PHASE_HANDSHAKE)
		shake_hands();
	else
	{
		read_all();
		flush_out();
	}
}

/* ---- the courier's side ---- */

void
aurora_redis_open(AuroraPoller *poller, const char *channel, AuroraRedisMessage received)
{
	MemoryContext before = MemoryContextSwitchTo(TopMemoryContext);

	redis.poller = poller;
	redis.channel = channel;
	redis.received = received;
	redis.backoff_us = FIRST_RETRY_US;
	initStringInfo(&redis.out);
	MemoryContextSwitchTo(before);
}

/*
 * Starts anew when what is configured has changed, or the part to play.
 */
static void
follow_settings(bool subscribe)
{
	char configured[sizeof(redis.configured)];

	snprintf(configured, sizeof(configured), "%s %s %s %s %s %d", redis_url, password_file, tls_ca,
			 tls_cert, tls_key, subscribe);
	if (strcmp(configured, redis.configured) == 0)
		return;
	close_connection();
	if (redis.phase != PHASE_IDLE)
		return;
	strlcpy(redis.configured, configured, sizeof(redis.configured));
	redis.subscribe = subscribe;
	redis.status.error[0] = '\0';
	redis.complained = false;
	redis.retry_us = 0;
	redis.backoff_us = FIRST_RETRY_US;
	redis.address = 0;
	(void) aurora_redis_url_parse(redis_url, &redis.url);
}

static void
keep_alive(void)
{
	const char *ping[] = {"PING"};
	int64 now = aurora_clock_us();

	if (now - redis.heard_us > SILENCE_US)
		fail("it does not answer");
	else if (now >= redis.ping_us)
	{
		redis.ping_us = now + PING_US;
		command(1, ping);
	}
}

void
aurora_redis_step(bool subscribe, bool wanted)
{
	int64 now = aurora_clock_us();

	if (redis_url[0] == '\0' || !wanted)
	{
		close_connection();
		redis.configured[0] = '\0';
		redis.status.state = AURORA_REDIS_OFF;
		return;
	}
	follow_settings(subscribe);
	if (redis.phase == PHASE_IDLE && now >= redis.retry_us)
		begin_connection();
	if (redis.phase == PHASE_LOOKUP)
		end_lookup();
	if (redis.phase == PHASE_READY)
		keep_alive();
	else if (redis.phase > PHASE_LOOKUP && now > redis.deadline_us)
		fail("it took too long to connect");
	if (redis.phase >= PHASE_LOGIN)
		flush_out();
}

void
aurora_redis_publish(const char *text)
{
	const char *words[] = {"PUBLISH", redis.channel, text};

	if (redis_url[0] == '\0')
		return;
	if (redis.phase != PHASE_READY || redis.out.len - redis.out.cursor > BACKLOG)
	{
		redis.status.dropped++;
		return;
	}
	command(3, words);
	redis.status.published++;
}

void
aurora_redis_flush(void)
{
	if (redis.phase == PHASE_READY)
		flush_out();
}

const AuroraRedisStatus *
aurora_redis_status(void)
{
	return &redis.status;
}

/* ---- settings ---- */

static bool
check_url(char **value, void **extra, GucSource source)
{
	AuroraRedisUrl url;
	const char *problem = (*value)[0] ? aurora_redis_url_parse(*value, &url) : NULL;

	if (problem)
		GUC_check_errdetail("Like redis://:password@host:6379 or unix:///path: %s.", problem);
	return problem == NULL;
}

void
aurora_redis_init(void)
{
	DefineCustomStringVariable(
		"aurora.redis_url",
		"The Redis that carries numbers of new events to standbys; empty for none.",
		"redis://[[user]:password@]host[:port], rediss:// for TLS, unix:///path for a socket.",
		&redis_url, "", PGC_SIGHUP, GUC_SUPERUSER_ONLY, check_url, NULL, NULL);
	DefineCustomStringVariable("aurora.redis_password_file",
							   "File whose first line is the password for Redis; empty for the "
							   "URL's.",
							   "A password in the URL shows in the server's log when it changes.",
							   &password_file, "", PGC_SIGHUP, GUC_SUPERUSER_ONLY, NULL, NULL,
							   NULL);
	DefineCustomStringVariable("aurora.redis_tls_ca",
							   "File with the certificates that vouch for Redis; empty for those "
							   "that the system trusts.",
							   NULL, &tls_ca, "", PGC_SIGHUP, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	DefineCustomStringVariable(
		"aurora.redis_tls_cert", "File with the certificate that Redis is shown; empty for none.",
		NULL, &tls_cert, "", PGC_SIGHUP, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	DefineCustomStringVariable("aurora.redis_tls_key", "File with the key of that certificate.",
							   NULL, &tls_key, "", PGC_SIGHUP, GUC_SUPERUSER_ONLY, NULL, NULL,
							   NULL);
}
