/*
 * Connection strings whose hosts are tried one by one: libpq would wait for each as long as the
 * kernel does.
 */
#ifndef GATEWAY_HOSTS_H
#define GATEWAY_HOSTS_H

#include <libpq-fe.h>
#include <stdbool.h>

typedef struct Hosts
{
	PQconninfoOption *options;
	int count;
} Hosts;

/* Reads a connection string; false, and what is wrong with it, to be freed. */
extern bool hosts_read(Hosts *hosts, const char *conninfo, char **problem);
extern void hosts_free(Hosts *hosts);

/*
 * Begins to connect to one of them: to one that takes writes, when "for_writes". A statement whose
 * transaction has no time-out of its own has this one, ms; 0: none.
 */
extern PGconn *hosts_connect(const Hosts *hosts, int host, bool for_writes, int timeout);

#endif
