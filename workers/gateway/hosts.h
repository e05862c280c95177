/*
 * Connection strings whose hosts are tried one by one: libpq would wait for each as long as the
 * kernel does.
 */
#ifndef GATEWAY_HOSTS_H
#define GATEWAY_HOSTS_H

#include <libpq-fe.h>
#include <stdbool.h>

#include "common/resolve.h"

typedef struct Hosts
{
	PQconninfoOption *options;
	int count;
} Hosts;

/* Reads a connection string; false, and what is wrong with it, to be freed. */
extern bool hosts_read(Hosts *hosts, const char *conninfo, char **problem);
extern void hosts_free(Hosts *hosts);

/* The name of one of them that has to be looked up first, to be freed; NULL when none has to be. */
extern char *hosts_name(const Hosts *hosts, int host);

typedef struct HostsWish
{
	int host;
	const Addresses *addresses; /* of its name; NULL when that need not be looked up */
	unsigned turn;				/* with which of them to begin */
	bool for_writes;			/* only a server that takes them will do */
	int timeout;				/* ms, of statements whose transaction has no other; 0: none */
} HostsWish;

/* Begins to connect. */
extern PGconn *hosts_connect(const Hosts *hosts, const HostsWish *wish);

#endif
