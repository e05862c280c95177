/*
 * One connection of the pool, a "link": units are sent one behind the other, and their answers come
 * in the same order.
 */
#ifndef GATEWAY_LINK_H
#define GATEWAY_LINK_H

#include "gateway/cancel.h"
#include "gateway/hosts.h"
#include "gateway/pool.h"

#define SEGMENTS 8 /* of a unit, each ended by a Sync */

typedef enum SegmentKind
{
	SEGMENT_FORGET, /* a statement that is to be prepared anew */
	SEGMENT_PREPARE,
	SEGMENT_UNIT,
	SEGMENT_POSITION
} SegmentKind;

typedef struct Segment
{
	SegmentKind kind;
	const char *statement;
} Segment;

typedef struct Link Link;

typedef struct Prepared
{
	const char *name;
	bool is_failed; /* it could not be; it is tried again with the next unit */
	bool is_stale;	/* it does not work any more: the next unit prepares it anew */
	char sqlstate[6];
	char message[200];
} Prepared;

/* A unit that is asked for. */
struct Ticket
{
	Pool *pool;
	Unit unit;
	CredentialKind credential; /* the unit's kind; the credential goes with a client that goes */
	UnitAnswer answer;
	void *context;
	Side side;
	Link *link;	  /* that it was sent on */
	Ticket *next; /* in a queue: that of the side, or of the link */
	int tries;
	int64_t limit;	 /* ms: how long it may wait for a link */
	int64_t sent_at; /* us */
	int64_t ran;	 /* us, as the first of its link */
	bool is_dropped; /* its client has gone */
	bool is_cancelled;
	bool is_exposed; /* the cancel of another unit may hit it */
	bool is_lost;

	/* while its answers come */
	Segment segments[SEGMENTS];
	int segment_count;
	int segment;
	int results;	 /* of the segment so far */
	bool is_settled; /* its transaction has ended, as the Sync has told */
	PGresult *identity;
	PGresult *result;
	PGresult *error;
	bool is_refused;
	const Prepared *unprepared; /* what it lacked, while it is answered */
	bool is_outdated;			/* a statement of its was stale, and the error is for that */
	char lsn[LSN_SIZE];
};

/* Each kind has its own part of the links, and of what may wait. */
typedef enum UnitKind
{
	UNIT_ASKED, /* somebody waits for it */
	UNIT_BACKGROUND,
	UNIT_KINDS
} UnitKind;

typedef enum LinkState
{
	LINK_WAITING, /* for the time of the next try */
	LINK_CONNECTING,
	LINK_UP
} LinkState;

struct Link
{
	Pool *pool;
	Loop *loop;
	const Hosts *hosts;
	Side side;
	int host;
	unsigned tries;
	Resolve *resolve; /* of the host's name */
	LinkState state;
	PGconn *conn;
	int fd;
	int backoff;
	Timer timer; /* the next try, or the limit of the one under way; when up, to look at answers */
	Ticket *first;
	Ticket *last;
	int under_way;
	int background; /* of them, see UnitKind */
	int slow;		/* of them, that may take long */
	Prepared *prepared;
	size_t prepared_count;
	int64_t head_since;	  /* us: since when the first unit is the first */
	Cancel *cancel;		  /* that is on its way */
	int64_t cancelled_at; /* us: when something was cancelled last */
	bool may_stray;		  /* a cancel was given up, and may yet arrive */
	bool is_over;		  /* the server has said that it goes: nothing behind that was done */
};

extern void link_open(Link *link, Pool *pool, Loop *loop, const Hosts *hosts, Side side);

/* Its tickets are given to pool_lost(). */
extern void link_close(Link *link);
extern void link_lose(Link *link, const char *reason);

/* Sends a unit; the link has to be up. */
extern void link_send(Link *link, Ticket *ticket);

/* ---- between a link and its units ---- */

extern void link_flush(Link *link);

/* Takes what the server has said so far. It may lose the link, and send more on it. */
extern void link_take_results(Link *link);

/* Has the first unit cancelled; false when that cannot be now. */
extern bool link_cancel(Link *link);

/* Has all its statements prepared anew when they are needed next. */
extern void link_renew(Link *link);

/* How busy it is; more is busier. */
extern int link_load(const Link *link, int64_t now);

/* ---- what the pool is told ---- */

extern void pool_linked(Pool *pool, Side side);
extern void pool_unlinked(Pool *pool, Link *link, bool was_up, bool was_last_host,
						  const char *reason);
/* The standard time-out of statements, ms. */
extern int pool_timeout(const Pool *pool);
extern void pool_answered(Pool *pool, Ticket *ticket);

/* The link was lost with this unit under way; "is_over" as in Link. */
extern void pool_lost(Pool *pool, Ticket *ticket, bool is_over);

#endif
