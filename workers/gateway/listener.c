/*
 * Sockets that requests come in at, and clients.
 */
#include "gateway/listener.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "gateway/exchange.h"

#define BACKLOG 1024
#define WATCH_AFTER 100	 /* ms: a request that takes longer has its client watched */
#define LAST_MOMENT 1000 /* ms for the library to notice that a client was hung up on */

/* ---- sockets ---- */

static int
complain(char **problem, const char *what, int fd)
{
	int saved = errno;

	if (asprintf(problem, "%s: %s", what, strerror(errno)) < 0)
		*problem = memory_copy(what);
	if (fd >= 0)
		close(fd);
	errno = saved;
	return -1;
}

/*
 * A socket that nobody listens at any more was left by a process that was killed.
 */
static bool
is_left_over(const struct sockaddr_un *address)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool is_refused = fd >= 0 &&
					  connect(fd, (const struct sockaddr *) address, sizeof(*address)) != 0 &&
					  errno == ECONNREFUSED;

	if (fd >= 0)
		close(fd);
	return is_refused;
}

static int
open_unix(const ListenConfig *config, char **problem)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	mode_t mask;
	int bound;

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", config->socket);
	if (fd < 0)
		return complain(problem, config->socket, fd);
	if (is_left_over(&address))
		(void) unlink(config->socket);
	mask = umask(0117);
	bound = bind(fd, (struct sockaddr *) &address, sizeof(address));
	umask(mask);
	if (bound != 0 || listen(fd, BACKLOG) != 0)
		return complain(problem, config->socket, fd);
	return fd;
}

static int
open_address(const ListenConfig *config, char **problem)
{
	struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE,
							 .ai_socktype = SOCK_STREAM};
	struct addrinfo *found = NULL;
	char *host = memory_copy(config->address[0] == '[' ? config->address + 1 : config->address);
	char *port = strrchr(host, ':');
	int yes = 1;
	int fd = -1;

	*port++ = '\0';
	if (port[-2] == ']')
		port[-2] = '\0';
	errno = EINVAL;
	if (getaddrinfo(host, port, &hints, &found) == 0)
		fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	free(host);
	if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)) == 0 &&
		bind(fd, found->ai_addr, found->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0)
	{
		freeaddrinfo(found);
		return fd;
	}
	if (found)
	{
		int saved = errno;

		freeaddrinfo(found);
		errno = saved;
	}
	return complain(problem, config->address, fd);
}

int
listener_socket(const ListenConfig *config, char **problem)
{
	return config->socket ? open_unix(config, problem) : open_address(config, problem);
}

/* ---- clients ---- */

static void
hang_up(Client *client)
{
	(void) shutdown(client->fd, SHUT_RDWR);
	client->is_late = true;
	client->deadline = clock_ms() + LAST_MOMENT;
}

static Client *
add_client(Listener *listener, int fd)
{
	Gateway *gateway = listener->gateway;
	Client *client = memory_get(sizeof(Client));

	client->gateway = gateway;
	client->listener = listener;
	client->fd = fd;
	client->deadline = clock_ms() + gateway->config->header_timeout;
	request_open(&client->request, client);
	client->next = gateway->clients;
	if (gateway->clients)
		gateway->clients->previous = client;
	gateway->clients = client;
	gateway->client_count++;
	if (gateway->client_count > gateway->config->connections)
		hang_up(client);
	return client;
}

static void
unwatch(Client *client)
{
	if (client->is_watched)
		loop_forget(&client->gateway->loop, client->fd);
	client->is_watched = false;
}

static void
remove_client(Client *client)
{
	Gateway *gateway = client->gateway;

	unwatch(client);
	request_close(&client->request);
	if (client->previous)
		client->previous->next = client->next;
	else
		gateway->clients = client->next;
	if (client->next)
		client->next->previous = client->previous;
	gateway->client_count--;
	free(client);
}

static void
connection_changed(void *context, struct MHD_Connection *connection, void **socket_context,
				   enum MHD_ConnectionNotificationCode code)
{
	Listener *listener = context;
	const union MHD_ConnectionInfo *info;

	if (code == MHD_CONNECTION_NOTIFY_CLOSED)
	{
		if (*socket_context)
			remove_client(*socket_context);
		*socket_context = NULL;
		return;
	}
	info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
	*socket_context = info ? add_client(listener, info->connect_fd) : NULL;
}

void
client_suspend(Client *client)
{
	if (client->is_suspended)
		return;
	client->is_suspended = true;
	client->deadline = LOOP_NEVER;
	MHD_suspend_connection(client->request.connection);
}

void
client_resume(Client *client)
{
	if (!client->is_suspended)
		return;
	client->is_suspended = false;
	unwatch(client);
	client->deadline = clock_ms() + client->gateway->config->body_timeout;
	client->listener->is_due = true;
	MHD_resume_connection(client->request.connection);
	gateway_wake(client->gateway);
}

static void
client_went(void *context, int fd, uint32_t events)
{
	Client *client = context;

	(void) fd;
	if (!(events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)))
		return;
	unwatch(client);
	request_gone(&client->request);
}

void
client_watch(Client *client)
{
	if (client->is_watched || !client->is_suspended)
		return;
	client->is_watched = true;
	loop_watch(&client->gateway->loop, client->fd, EPOLLRDHUP, client_went, client);
}

void
clients_sweep(Gateway *gateway)
{
	int64_t now = clock_ms();
	Client *next;

	for (Client *client = gateway->clients; client; client = next)
	{
		next = client->next;
		if (client->is_suspended)
		{
			if (clock_us() - client->request.started > WATCH_AFTER * 1000)
				client_watch(client);
		}
		else if (client->deadline <= now && !client->is_upgraded)
			hang_up(client);
	}
}

/* ---- daemons ---- */

/*
 * The request line is there: the rest of the header has its own time. The answer is the state that
 * the other functions get.
 */
static void *
take_line(void *context, const char *target, struct MHD_Connection *connection)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
	Client *client = info ? info->socket_context : NULL;
	int64_t limit;

	(void) context;
	if (client == NULL)
		return NULL;
	limit = clock_ms() + client->gateway->config->header_timeout;
	if (client->deadline > limit)
		client->deadline = limit;
	request_take_line(&client->request, connection, target);
	return &client->request;
}

static enum MHD_Result
take_request(void *context, struct MHD_Connection *connection, const char *path, const char *method,
			 const char *version, const char *data, size_t *size, void **state)
{
	(void) context;
	(void) connection;
	(void) path;
	return *state ? request_take(*state, method, version, data, size) : MHD_NO;
}

static void
completed(void *context, struct MHD_Connection *connection, void **state,
		  enum MHD_RequestTerminationCode code)
{
	Request *request = *state;

	(void) context;
	(void) connection;
	*state = NULL;
	if (request == NULL)
		return;
	request->client->deadline = clock_ms() + request->client->gateway->config->idle_timeout;
	request_complete(request, code == MHD_REQUEST_TERMINATED_COMPLETED_OK);
	if (request->client->gateway->is_draining && !request->client->is_upgraded)
		hang_up(request->client);
}

/*
 * Nothing is decoded by the library: it would cut a path at %00. What it would give is not used.
 */
static size_t
decode_nothing(void *context, struct MHD_Connection *connection, char *text)
{
	(void) context;
	(void) connection;
	return strlen(text);
}

static void
run(Listener *listener)
{
	MHD_UNSIGNED_LONG_LONG wait;

	listener->is_due = false;
	if (listener->daemon == NULL)
		return;
	MHD_run(listener->daemon);
	if (MHD_get_timeout(listener->daemon, &wait) != MHD_YES)
		loop_unset(&listener->gateway->loop, &listener->timer);
	else
		loop_set(&listener->gateway->loop, &listener->timer,
				 wait > 0 ? clock_ms() + (int64_t) wait : 0);
}

static void
ready(void *context, int fd, uint32_t events)
{
	(void) fd;
	(void) events;
	run(context);
}

static void
due(void *context)
{
	run(context);
}

static void
log_library(void *context, const char *format, va_list arguments)
{
	char line[256];

	(void) context;
	if (!log_has(LOG_DEBUG))
		return;
	vsnprintf(line, sizeof(line), format, arguments);
	line[strcspn(line, "\n")] = '\0';
	log_event(LOG_DEBUG, "http", TEXT("message", line));
}

static bool
start_daemon(Listener *listener)
{
	const Config *config = listener->gateway->config;
	unsigned flags =
		MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_ALLOW_UPGRADE | MHD_USE_ERROR_LOG;
	const union MHD_DaemonInfo *info;

	/* Room for the header that may come, one that is too large by not very much, and an answer's.
	 */
	listener->daemon = MHD_start_daemon(
		flags, 0, NULL, NULL, take_request, listener,				/**/
		MHD_OPTION_EXTERNAL_LOGGER, log_library, NULL,				/* first, for what follows */
		MHD_OPTION_LISTEN_SOCKET, listener->socket,					/**/
		MHD_OPTION_NOTIFY_CONNECTION, connection_changed, listener, /**/
		MHD_OPTION_URI_LOG_CALLBACK, take_line, listener,			/**/
		MHD_OPTION_NOTIFY_COMPLETED, completed, listener,			/**/
		MHD_OPTION_UNESCAPE_CALLBACK, decode_nothing, listener,		/**/
		MHD_OPTION_CONNECTION_TIMEOUT, 0u,							/* clients_sweep() does it */
		MHD_OPTION_CONNECTION_LIMIT, (unsigned) config->connections + 16,	   /**/
		MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t) config->header_limit * 2, /**/
		MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1, MHD_OPTION_END);
	info =
		listener->daemon ? MHD_get_daemon_info(listener->daemon, MHD_DAEMON_INFO_EPOLL_FD) : NULL;
	if (info == NULL)
		return false;
	listener->epoll = info->epoll_fd;
	loop_watch(&listener->gateway->loop, listener->epoll, EPOLLIN, ready, listener);
	return true;
}

static bool
open_one(Gateway *gateway, const ListenConfig *config)
{
	Listener *listener = memory_get(sizeof(Listener));
	char *problem = NULL;

	*listener = (Listener) {.gateway = gateway,
							.config = config,
							.epoll = -1,
							.timer = {.due = due, .context = listener},
							.next = gateway->listeners};
	gateway->listeners = listener;
	listener->socket = listener_socket(config, &problem);
	if (listener->socket >= 0 && start_daemon(listener))
	{
		log_event(LOG_INFO, "listening", TEXT("listener", config->name),
				  TEXT("socket", config->socket), TEXT("address", config->address));
		return true;
	}
	log_event(LOG_ERROR, "a listener cannot be opened", TEXT("listener", config->name),
			  TEXT("error", problem ? problem : "the HTTP library refuses it"));
	free(problem);
	return false;
}

bool
listeners_open(Gateway *gateway)
{
	for (int i = 0; i < gateway->config->listener_count; i++)
		if (!open_one(gateway, &gateway->config->listeners[i]))
			return false;
	return true;
}

void
listeners_wake(Gateway *gateway)
{
	for (Listener *listener = gateway->listeners; listener; listener = listener->next)
		listener->is_due = true;
	gateway_wake(gateway);
}

void
listeners_turn(Gateway *gateway)
{
	for (Listener *listener = gateway->listeners; listener; listener = listener->next)
		if (listener->is_due)
			run(listener);
}

void
listeners_stop(Gateway *gateway)
{
	for (Listener *listener = gateway->listeners; listener; listener = listener->next)
	{
		if (listener->socket < 0)
			continue;
		if (listener->config->socket)
			(void) unlink(listener->config->socket);
		MHD_quiesce_daemon(listener->daemon);
		close(listener->socket);
		listener->socket = -1;
	}
	for (Client *client = gateway->clients; client; client = client->next)
		if (request_is_idle(&client->request) && !client->is_upgraded)
			hang_up(client);
}

void
listeners_close(Gateway *gateway)
{
	for (Client *client = gateway->clients; client; client = client->next)
		if (client->is_suspended && !client->is_upgraded)
			request_gone(&client->request);
	while (gateway->listeners)
	{
		Listener *listener = gateway->listeners;

		gateway->listeners = listener->next;
		loop_unset(&gateway->loop, &listener->timer);
		if (listener->epoll >= 0)
			loop_forget(&gateway->loop, listener->epoll);
		if (listener->daemon)
			MHD_stop_daemon(listener->daemon);
		if (listener->socket >= 0 && listener->config->socket)
			(void) unlink(listener->config->socket);
		free(listener);
	}
}
