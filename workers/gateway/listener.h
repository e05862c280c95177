/*
 * Sockets that requests come in at, each an HTTP daemon of the library in the gateway's loop, and
 * "clients", which are their connections. A client that takes too long is hung up on.
 */
#ifndef GATEWAY_LISTENER_H
#define GATEWAY_LISTENER_H

#include <microhttpd.h>
#include <stdbool.h>

#include "gateway/gateway.h"
#include "gateway/request.h"

struct Listener
{
	Gateway *gateway;
	const ListenConfig *config;
	struct MHD_Daemon *daemon;
	int socket;
	int epoll;	 /* the daemon's, watched in the loop */
	bool is_due; /* has something to do at the end of the turn */
	Timer timer; /* what the daemon asks for */
	Listener *next;
};

struct Client
{
	Gateway *gateway;
	Listener *listener;
	int fd;
	int64_t deadline; /* ms; LOOP_NEVER when nothing is waited for from the client */
	bool is_suspended;
	bool is_watched; /* whether it goes, in the loop */
	bool is_upgraded;
	bool is_late;	 /* it was hung up on */
	Request request; /* one after the other */
	Client *next;
	Client *previous;
};

/* Opens the sockets of the configuration; false when one cannot be had, which is logged. */
extern bool listeners_open(Gateway *gateway);

/* Lets the daemons do what is left to do. */
extern void listeners_turn(Gateway *gateway);

/* Has all daemons run at the end of the turn, as after an upgraded connection was given back. */
extern void listeners_wake(Gateway *gateway);

/* Takes no more connections. */
extern void listeners_stop(Gateway *gateway);
extern void listeners_close(Gateway *gateway);

/* Hangs up on clients that are over their time, and looks whether those that wait are there. */
extern void clients_sweep(Gateway *gateway);

/* Have the client's connection sleep, and go on. */
extern void client_suspend(Client *client);
extern void client_resume(Client *client);

/* Has the client's going noticed while it is suspended. */
extern void client_watch(Client *client);

/* Opens a socket for --check and for the daemons; -1, and what is wrong, to be freed. */
extern int listener_socket(const ListenConfig *config, char **problem);

#endif
