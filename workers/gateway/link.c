/*
 * One connection of the pool.
 */
#include "gateway/link.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/memory.h"

#define CONNECT_LIMIT 5000 /* ms for each host */
#define LEAST_BACKOFF 100
#define MOST_BACKOFF 2000
#define SLOW_HEAD 20000 /* us: a link whose first unit takes longer is avoided */

static void handle(void *context, int fd, uint32_t events);

/* ---- losing it ---- */

static void
forget_prepared(Link *link)
{
	free(link->prepared);
	link->prepared = NULL;
	link->prepared_count = 0;
}

static void
hang_up(Link *link)
{
	if (link->fd >= 0)
		loop_forget(link->loop, link->fd);
	link->fd = -1;
	resolve_cancel(link->resolve);
	link->resolve = NULL;
	cancel_end(link->cancel);
	link->cancel = NULL;
	link->may_stray = false;
	PQfinish(link->conn);
	link->conn = NULL;
	forget_prepared(link);
}

static void
drop_tickets(Link *link)
{
	Ticket *ticket = link->first;
	bool is_over = link->is_over;

	link->is_over = false;
	link->first = link->last = NULL;
	link->under_way = link->background = link->slow = 0;
	while (ticket)
	{
		Ticket *next = ticket->next;

		ticket->link = NULL;
		ticket->next = NULL;
		pool_lost(link->pool, ticket, is_over);
		ticket = next;
	}
}

/*
 * Once all hosts were tried in vain the wait doubles.
 */
void
link_lose(Link *link, const char *reason)
{
	char *copy;
	bool was_up = link->state == LINK_UP;
	bool was_last;

	if (link->state == LINK_WAITING)
		return;
	copy = memory_copy(reason && *reason ? reason : "the connection was closed");
	copy[strcspn(copy, "\n")] = '\0';
	if (was_up)
		link->backoff = LEAST_BACKOFF;
	link->state = LINK_WAITING;
	hang_up(link);
	if (!was_up)
		link->host = (link->host + 1) % link->hosts->count;
	was_last = !was_up && link->host == 0;
	loop_set(link->loop, &link->timer, clock_ms() + (was_last ? link->backoff : 0));
	if (was_last)
		link->backoff = link->backoff * 2 > MOST_BACKOFF ? MOST_BACKOFF : link->backoff * 2;
	drop_tickets(link);
	pool_unlinked(link->pool, link, was_up, was_last, copy);
	free(copy);
}

/* ---- connecting ---- */

static void
become_up(Link *link)
{
	link->state = LINK_UP;
	link->backoff = LEAST_BACKOFF;
	loop_unset(link->loop, &link->timer);
	loop_watch(link->loop, link->fd, EPOLLIN, handle, link);
	if (PQsetnonblocking(link->conn, 1) != 0 || !PQenterPipelineMode(link->conn))
		link_lose(link, PQerrorMessage(link->conn));
	else
		pool_linked(link->pool, link->side);
}

/*
 * The socket may be another one at each step.
 */
static void
continue_connecting(Link *link, PostgresPollingStatusType status)
{
	if (status == PGRES_POLLING_FAILED)
	{
		link_lose(link, PQerrorMessage(link->conn));
		return;
	}
	link->fd = PQsocket(link->conn);
	if (status == PGRES_POLLING_OK)
		become_up(link);
	else
		loop_watch(link->loop, link->fd, status == PGRES_POLLING_READING ? EPOLLIN : EPOLLOUT,
				   handle, link);
}

/*
 * What the server says aside would stand in the log as lines of another form.
 */
static void
ignore_notice(void *context, const char *message)
{
	(void) context;
	(void) message;
}

static void
connect_to(Link *link, const Addresses *addresses)
{
	HostsWish wish = {.host = link->host,
					  .addresses = addresses,
					  .turn = link->tries++,
					  .for_writes = link->side == SIDE_LEAD,
					  .timeout = link->side == SIDE_WAKE ? 0 : pool_timeout(link->pool)};

	link->conn = hosts_connect(link->hosts, &wish);
	if (link->conn == NULL || PQstatus(link->conn) == CONNECTION_BAD)
	{
		link_lose(link, link->conn ? PQerrorMessage(link->conn) : "there is no memory");
		return;
	}
	PQsetNoticeProcessor(link->conn, ignore_notice, NULL);
	continue_connecting(link, PGRES_POLLING_WRITING);
}

static void
resolved(void *context, const Addresses *addresses)
{
	Link *link = context;

	link->resolve = NULL;
	if (addresses->count > 0)
		connect_to(link, addresses);
	else
		link_lose(link, addresses->problem);
}

static void
connect_now(Link *link)
{
	char *name = hosts_name(link->hosts, link->host);

	link->state = LINK_CONNECTING;
	loop_set(link->loop, &link->timer, clock_ms() + CONNECT_LIMIT);
	if (name == NULL)
	{
		connect_to(link, NULL);
		return;
	}
	link->resolve = resolve_start(link->loop, name, resolved, link);
	free(name);
	if (link->resolve == NULL)
		link_lose(link, "there is no thread to look up the host");
}

static void
time_is_up(void *context)
{
	Link *link = context;

	if (link->state == LINK_WAITING)
		connect_now(link);
	else if (link->state == LINK_CONNECTING)
		link_lose(link, "the host does not answer");
	else
		link_take_results(link);
}

/* ---- sending ---- */

/*
 * While the socket is full libpq reads what the server says, of which epoll tells nothing any more:
 * it is looked at in the next turn, since nobody is answered while something is sent.
 */
void
link_flush(Link *link)
{
	int left = PQflush(link->conn);

	if (left < 0)
	{
		link_lose(link, PQerrorMessage(link->conn));
		return;
	}
	loop_watch(link->loop, link->fd, left > 0 ? EPOLLIN | EPOLLOUT : EPOLLIN, handle, link);
	if (left > 0)
		loop_set(link->loop, &link->timer, clock_ms());
}

static void
handle(void *context, int fd, uint32_t events)
{
	Link *link = context;
	PGnotify *notification;

	(void) fd;
	if (link->state == LINK_CONNECTING)
	{
		/* libpq may close the socket and open another one with the same number. */
		loop_forget(link->loop, link->fd);
		link->fd = -1;
		continue_connecting(link, PQconnectPoll(link->conn));
		return;
	}
	if (events & EPOLLOUT)
		link_flush(link);
	if (link->conn == NULL)
		return;
	if ((events & ~(uint32_t) EPOLLOUT) && !PQconsumeInput(link->conn))
	{
		link_take_results(link); /* what it said before it went */
		if (link->conn)
			link_lose(link, PQerrorMessage(link->conn));
		return;
	}
	link_take_results(link);
	while (link->conn && (notification = PQnotifies(link->conn)) != NULL)
		PQfreemem(notification);
	if (link->conn && PQstatus(link->conn) == CONNECTION_BAD)
		link_lose(link, PQerrorMessage(link->conn));
}

/* ---- cancelling ---- */

static void
cancelled(void *context, bool is_delivered)
{
	Link *link = context;

	link->cancel = NULL;
	link->may_stray |= !is_delivered;
}

/*
 * A cancel is for the connection: it hits what runs when it arrives, if anything does. Whatever is
 * under way until then may be that, and the pool tries it again.
 */
bool
link_cancel(Link *link)
{
	if (link->first == NULL || link->cancel)
		return false;
	link->cancel = cancel_start(link->loop, link->conn, cancelled, link);
	if (link->cancel == NULL)
		return false;
	link->first->is_cancelled = true;
	link->cancelled_at = clock_us();
	for (Ticket *ticket = link->first->next; ticket; ticket = ticket->next)
		ticket->is_exposed = true;
	return true;
}

/* ---- the whole ---- */

int
link_load(const Link *link, int64_t now)
{
	int load = link->under_way;

	if (link->slow > 0 || (link->first && now - link->head_since > SLOW_HEAD))
		load += 1000;
	return load;
}

void
link_open(Link *link, Pool *pool, Loop *loop, const Hosts *hosts, Side side)
{
	*link = (Link) {.pool = pool,
					.loop = loop,
					.hosts = hosts,
					.side = side,
					.fd = -1,
					.backoff = LEAST_BACKOFF,
					.timer = {.due = time_is_up, .context = link}};
	loop_set(loop, &link->timer, clock_ms());
}

void
link_close(Link *link)
{
	loop_unset(link->loop, &link->timer);
	link->state = LINK_WAITING;
	hang_up(link);
	drop_tickets(link);
}
