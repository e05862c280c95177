/*
 * WebSocket clients of a gateway, or of a peer with the same protocol, on 127.0.0.1.
 *
 *   gateway_sockets fan PORT KEY TOPIC CLIENTS EVENTS
 *       subscribes so many clients, prints "ready", reads until each has had so many events, and
 *       prints how many came, were missing, came out of order, and in how many seconds
 *   gateway_sockets delay PORT KEY TOPIC EVENTS CONNINFO
 *       publishes events one by one and waits for each: the quartiles in ms of the commit and of
 * the delivery, both from before the statement gateway_sockets again PORT KEY TOPIC EVENTS reads so
 * many events, and leaves and comes back with its cursor after some: prints how many came, were
 * missing or doubled, and how often it came back
 */
#include "jobs_common.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libpq-fe.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define ROOM 65536
#define PATIENCE_MS 30000

typedef struct Client
{
	int fd;
	size_t size; /* of what was read and not used yet */
	long long last;
	long long events;
	char *bytes;
} Client;

static const char *port;
static const char *key;
static const char *topic;
static long long out_of_order;

/* ---- connections ---- */

static void
send_all(int fd, const char *bytes, size_t size)
{
	while (size > 0)
	{
		ssize_t sent = send(fd, bytes, size, MSG_NOSIGNAL);

		if (sent < 0)
			die("cannot send: %s", strerror(errno));
		bytes += sent;
		size -= (size_t) sent;
	}
}

/* A text in a frame whose mask is zero. */
static void
send_text(Client *client, const char *text)
{
	unsigned char frame[1024] = {0x81};
	size_t size = strlen(text);
	size_t at = 2;

	if (size > sizeof(frame) - 8)
		die("too long: %s", text);
	if (size < 126)
		frame[1] = (unsigned char) (0x80 | size);
	else
	{
		frame[1] = 0x80 | 126;
		frame[at++] = (unsigned char) (size >> 8);
		frame[at++] = (unsigned char) size;
	}
	at += 4;
	memcpy(frame + at, text, size);
	send_all(client->fd, (const char *) frame, at + size);
}

/* Reads some more, and waits for it; false at the end. */
static bool
read_more(Client *client)
{
	struct pollfd wanted = {.fd = client->fd, .events = POLLIN};
	ssize_t size;

	if (poll(&wanted, 1, PATIENCE_MS) <= 0)
		return false;
	size = read(client->fd, client->bytes + client->size, ROOM - client->size);
	if (size <= 0)
		return false;
	client->size += (size_t) size;
	return true;
}

static void
drop(Client *client, size_t size)
{
	memmove(client->bytes, client->bytes + size, client->size - size);
	client->size -= size;
}

/*
 * Takes a frame that is there: its payload, or NULL. "at" is where to look, and moves on.
 */
static const char *
take_frame(Client *client, size_t *at, size_t *size)
{
	const unsigned char *bytes = (const unsigned char *) client->bytes + *at;
	size_t left = client->size - *at;
	size_t head = 2;

	if (left < 2)
		return NULL;
	*size = bytes[1] & 0x7f;
	if (*size == 127)
		die("a frame of more than 64 kB");
	if (*size == 126)
	{
		head = 4;
		if (left < head)
			return NULL;
		*size = (size_t) bytes[2] << 8 | bytes[3];
	}
	if (left < head + *size)
		return NULL;
	if ((bytes[0] & 0x0f) == 8)
		die("the server closes: %.*s", (int) *size, (const char *) bytes + head);
	*at += head + *size;
	return (const char *) bytes + head;
}

static void
open_client(Client *client)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t) atoi(port))};
	static const int on = 1;
	char text[1024];
	char *end;

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (client->bytes == NULL)
		client->bytes = malloc(ROOM + 1);
	client->size = 0;
	client->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (connect(client->fd, (const struct sockaddr *) &address, sizeof(address)) != 0)
		die("cannot connect to port %s: %s", port, strerror(errno));
	setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	snprintf(text, sizeof(text),
			 "GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
			 "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
			 "Authorization: Bearer %s\r\n\r\n",
			 key);
	send_all(client->fd, text, strlen(text));
	do
	{
		if (!read_more(client))
			die("no answer to the handshake");
		client->bytes[client->size] = '\0';
	} while ((end = strstr(client->bytes, "\r\n\r\n")) == NULL);
	if (strncmp(client->bytes, "HTTP/1.1 101", 12) != 0)
		die("the handshake was refused: %s", client->bytes);
	drop(client, (size_t) (end + 4 - client->bytes));
}

/* Does a message begin with its type being this one? */
static bool
is_type(const char *message, size_t size, const char *type)
{
	char start[64];
	int length = snprintf(start, sizeof(start), "{\"type\":\"%s\"", type);

	return size >= (size_t) length && memcmp(message, start, (size_t) length) == 0;
}

static long long
seq_of(const char *message, size_t size)
{
	const char *seq = memmem(message, size, "\"seq\":", 6);

	return seq ? strtoll(seq + 6, NULL, 10) : -1;
}

static void
note_event(Client *client, const char *message, size_t size)
{
	long long seq = seq_of(message, size);

	if (client->last >= 0 && seq != client->last + 1)
		out_of_order++;
	client->last = seq;
	client->events++;
}

/* Goes through the frames that are there; how many were of the type. */
static int
take_all(Client *client, const char *type)
{
	const char *message;
	size_t at = 0;
	size_t size;
	int found = 0;

	while ((message = take_frame(client, &at, &size)) != NULL)
	{
		if (is_type(message, size, "error"))
			die("the server says: %.*s", (int) size, message);
		if (is_type(message, size, "event"))
			note_event(client, message, size);
		if (is_type(message, size, type))
			found++;
	}
	drop(client, at);
	return found;
}

/* From now on, or from behind "after" when that is not negative. */
static void
subscribe(Client *client, long long after)
{
	char text[512];
	char cursor[64] = "null";

	if (after >= 0)
		snprintf(cursor, sizeof(cursor), "{\"seq\":%lld}", after);
	snprintf(text, sizeof(text), "{\"type\":\"subscribe\",\"topic\":\"%s\",\"cursor\":%s,\"id\":1}",
			 topic, cursor);
	client->last = after;
	send_text(client, text);
	while (take_all(client, "subscribed") == 0)
		if (!read_more(client))
			die("no answer to a subscription");
}

/* ---- fan ---- */

static void
fan(int count, long long events)
{
	Client *clients = calloc((size_t) count, sizeof(Client));
	int loop = epoll_create1(EPOLL_CLOEXEC);
	long long came = 0;
	long long wanted = count * events;
	double started = 0;
	double ended = 0;

	for (int i = 0; i < count; i++)
	{
		struct epoll_event watch = {.events = EPOLLIN, .data.ptr = &clients[i]};

		open_client(&clients[i]);
		subscribe(&clients[i], -1);
		epoll_ctl(loop, EPOLL_CTL_ADD, clients[i].fd, &watch);
	}
	puts("ready");
	fflush(stdout);
	while (came < wanted)
	{
		struct epoll_event ready[256];
		int found = epoll_wait(loop, ready, 256, PATIENCE_MS);

		if (found <= 0)
			break;
		if (started == 0)
			started = now_seconds();
		for (int i = 0; i < found; i++)
		{
			Client *client = ready[i].data.ptr;

			if (!read_more(client))
				die("the server has closed a connection");
			came += take_all(client, "event");
		}
		ended = now_seconds();
	}
	printf("%lld %lld %lld %.3f\n", came, wanted - came, out_of_order, ended - started);
}

/* ---- delay ---- */

static int
compare(const void *a, const void *b)
{
	double x = *(const double *) a;
	double y = *(const double *) b;

	return (x > y) - (x < y);
}

static void
print_quartiles(double *ms, int count)
{
	qsort(ms, (size_t) count, sizeof(*ms), compare);
	printf("%.3f %.3f %.3f\n", ms[count / 4], ms[count / 2], ms[count * 3 / 4]);
}

static void
delay(int count, const char *conninfo)
{
	Client client = {0};
	PGconn *connection = PQconnectdb(conninfo);
	double *commits = calloc((size_t) count, sizeof(double));
	double *deliveries = calloc((size_t) count, sizeof(double));

	if (PQstatus(connection) != CONNECTION_OK)
		die("%s", PQerrorMessage(connection));
	PQclear(PQprepare(connection, "publish", "SELECT aurora.publish($1, '{\"text\":\"hello\"}')", 0,
					  NULL));
	open_client(&client);
	subscribe(&client, -1);
	for (int i = -20; i < count; i++)
	{
		double began = now_seconds();
		PGresult *result = PQexecPrepared(connection, "publish", 1, &topic, NULL, NULL, 0);
		double committed = now_seconds();

		if (PQresultStatus(result) != PGRES_TUPLES_OK)
			die("%s", PQerrorMessage(connection));
		PQclear(result);
		while (take_all(&client, "event") == 0)
			if (!read_more(&client))
				die("an event was not delivered");
		if (i >= 0)
		{
			commits[i] = (committed - began) * 1e3;
			deliveries[i] = (now_seconds() - began) * 1e3;
		}
		pause_ms(10);
	}
	print_quartiles(commits, count);
	print_quartiles(deliveries, count);
	PQfinish(connection);
}

/* ---- again ---- */

static void
come_again(long long events)
{
	Client client = {0};
	int back = 0;

	open_client(&client);
	subscribe(&client, 0);
	puts("ready");
	fflush(stdout);
	while (client.last < events)
	{
		long long until = client.events + 1 + back % 37;

		while (client.events < until && client.last < events)
		{
			if (!read_more(&client))
				die("no event came after %lld", client.last);
			take_all(&client, "event");
		}
		close(client.fd);
		open_client(&client);
		subscribe(&client, client.last);
		back++;
	}
	printf("%lld %lld %d\n", client.events, out_of_order, back);
}

int
main(int count, char **words)
{
	if (count < 6)
		die("see the beginning of gateway_sockets.c");
	port = words[2];
	key = words[3];
	topic = words[4];
	if (strcmp(words[1], "fan") == 0 && count == 7)
		fan(atoi(words[5]), atoll(words[6]));
	else if (strcmp(words[1], "delay") == 0 && count == 7)
		delay(atoi(words[5]), words[6]);
	else if (strcmp(words[1], "again") == 0)
		come_again(atoll(words[5]));
	else
		die("there is no mode %s", words[1]);
	return 0;
}
