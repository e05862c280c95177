/*
 * Events: durable topics with gapless numbers, and who wakes up for them.
 *
 * A "topic" belongs to a company, or to the mesh when its name begins with "mesh/". Its events are
 * numbered 1, 2, 3 in the order of their commits ("seq"). An "epoch" of a topic is the reign of one
 * lead as far as it published there; a "cursor" is an epoch and a seq: what somebody has read. A
 * "note" is a change that a capability tells of and that is published when its transaction commits.
 */
#ifndef AURORA_EVENTS_H
#define AURORA_EVENTS_H

#include "tenancy/tenancy.h"

#include "utils/uuid.h"

#define AURORA_ERRCODE_CURSOR_LOST MAKE_SQLSTATE('5', '5', 'A', '0', '1')
#define AURORA_ERRCODE_CURSOR_AHEAD MAKE_SQLSTATE('5', '5', 'A', '0', '2')
#define AURORA_ERRCODE_CURSOR_TRIMMED MAKE_SQLSTATE('5', '5', 'A', '0', '3')

extern void aurora_events_init(void);

/* ---- topic.c ---- */

typedef struct AuroraTopic
{
	int64 topic_id;
	int32 company_id; /* 0 for the mesh */
	int64 last_seq;	  /* 0 before the first event */
	int64 first_seq;  /* the oldest that is kept */
	int32 timeline;	  /* of the last event; 0 before the first */
	int64 system_identifier;
} AuroraTopic;

/*
 * A name that only capabilities publish to, and who may read there; a name that ends with a slash
 * stands for all that begin with it, and "rest" is what follows.
 */
typedef bool (*AuroraTopicRight)(const AuroraIdentity *identity, int32 company_id,
								 const char *rest);
extern void aurora_topic_reserve(const char *name, AuroraTopicRight may_read);

extern bool aurora_topic_is_reserved(const char *name);

/* Raises 22023 for a name that no topic can have. */
extern void aurora_topic_check_name(text *name);

/*
 * The company that a call means, 0 for the mesh. When there is none at all, a writer who may makes
 * the default company, and a reader gets -1.
 */
extern int32 aurora_topic_company(const AuroraIdentity *identity, text *name, text *company,
								  bool writes);
extern bool aurora_topic_may_read(const AuroraIdentity *identity, int32 company_id,
								  const char *name);

/* Is the caller an administrator or operator, who publish to topics of the mesh. */
extern bool aurora_topic_may_operate(const AuroraIdentity *identity);

extern bool aurora_topic_find(int32 company_id, text *name, Snapshot snapshot, AuroraTopic *topic);
extern bool aurora_topic_find_by_id(int64 topic_id, Snapshot snapshot, AuroraTopic *topic);

/*
 * The topic that a reader names: false when there is none yet, which a caller may wait for.
 * Raises what is wrong with the name, and 42501.
 */
extern bool aurora_topic_to_read(text *name, text *company, Snapshot snapshot, int32 *company_id,
								 AuroraTopic *topic);

/*
 * The same for who only learns a number there: a gateway, which waits for many, may name any
 * company.
 */
extern bool aurora_topic_to_await(text *name, text *company, Snapshot snapshot, int32 *company_id,
								  AuroraTopic *topic);

/* ---- cursor.c ---- */

typedef enum AuroraCursorState
{
	AURORA_CURSOR_CONTINUES,
	AURORA_CURSOR_LOST,	   /* what it has read last is not of this history */
	AURORA_CURSOR_AHEAD,   /* this standby has not replayed that far */
	AURORA_CURSOR_TRIMMED, /* what follows was removed */
} AuroraCursorState;

typedef struct AuroraCursor
{
	AuroraCursorState state;
	int64 resume_after; /* where the reader may go on without a gap */
	bool known;			/* is the epoch known here */
} AuroraCursor;

/* The epoch may be NULL, which then is not checked. */
extern AuroraCursor aurora_cursor_check(const AuroraTopic *topic, const pg_uuid_t *epoch,
										int64 after_seq, Snapshot snapshot);

/* Raises what keeps a cursor from going on; a standby that is behind is no error here. */
extern void aurora_cursor_require(const AuroraCursor *cursor, const char *name, int64 after_seq);

/* ---- publish.c ---- */

typedef struct AuroraNewEvent
{
	int32 company_id; /* 0 for the mesh */
	text *topic;
	Datum payload;	 /* jsonb */
	text *client_id; /* NULL for none */
	text *publisher;
} AuroraNewEvent;

/*
 * Appends to the topic, which is made when it is missing, and returns the number; rights are the
 * caller's. Holds the topic's row until the transaction ends.
 */
extern int64 aurora_event_append(const AuroraNewEvent *event);

/* ---- note.c ---- */

extern void aurora_note_init(void);

/*
 * Tells of a change, as JSON text, to a reserved topic (company 0: the mesh's). All that a
 * transaction tells of one topic is one event, {"changed": [...], "more": n}, of at most
 * AURORA_NOTE_DETAILS different changes. It locks nothing: the lead's courier publishes it soon
 * after the commit; without that process the transaction does, in the topics' order, as its last
 * act.
 */
#define AURORA_NOTE_DETAILS 100
extern void aurora_event_note(int32 company_id, const char *topic, const char *detail);

/* Publishes what is noted; true when there is more. For a process in a transaction of its own. */
extern bool aurora_note_publish(void);

/* ---- wait.c ---- */

extern void aurora_wait_init(void);

/* A standby has heard that the topic has that number by now. */
extern void aurora_wait_announce(int64 topic_id, int64 seq);

/* A standby has heard that there are news up to that position in the write-ahead log. */
extern void aurora_wait_announce_news(int64 lsn);

/*
 * Up to where there are news, as this standby has heard, and since when it has; false when it hears
 * of none.
 */
extern bool aurora_wait_announced_news(int64 *lsn, int64 *heard_us);

/* Raises 25001 unless the procedure of that name may end its transaction, and so wait. */
extern void aurora_wait_require_nonatomic(FunctionCallInfo fcinfo, const char *name);

/* Does a standby hear of events; when not, who waits there looks for itself. */
extern void aurora_wait_set_announced(bool announced);

/* ---- courier.c ---- */

extern void aurora_courier_init(void);

/*
 * Has rings of a kind carried to those who LISTEN on a channel, as the name that the function finds
 * for an id in a transaction with a snapshot; NULL for nothing to tell.
 */
typedef char *(*AuroraRingName)(int64 id);
extern void aurora_courier_carry(AuroraBell kind, const char *channel, AuroraRingName name);

/* ---- redis_url.c ---- */

#define AURORA_REDIS_TEXT_SIZE 256

typedef struct AuroraRedisUrl
{
	bool tls;
	bool local; /* host is the path of a socket */
	char host[AURORA_REDIS_TEXT_SIZE];
	char port[8];
	char user[AURORA_REDIS_TEXT_SIZE]; /* empty for none */
	char password[AURORA_REDIS_TEXT_SIZE];
} AuroraRedisUrl;

/* NULL, or what is wrong with it. */
extern const char *aurora_redis_url_parse(const char *text, AuroraRedisUrl *url);

/* ---- redis.c ---- */

typedef enum AuroraRedisState
{
	AURORA_REDIS_OFF, /* no URL is set */
	AURORA_REDIS_WAITING,
	AURORA_REDIS_CONNECTING,
	AURORA_REDIS_CONNECTED,
} AuroraRedisState;

typedef struct AuroraRedisStatus
{
	AuroraRedisState state;
	int64 connects;
	int64 failures;
	int64 published;
	int64 received;
	int64 dropped; /* not published, since Redis was away or slow */
	char error[AURORA_REDIS_TEXT_SIZE];
} AuroraRedisStatus;

extern void aurora_redis_init(void);

/* What a subscriber calls for each message. */
typedef void (*AuroraRedisMessage)(const char *text);

/*
 * The one connection of the courier. It never waits: it is stepped, as publisher or as subscriber
 * of a channel, and connects anew when the URL or its part changes or Redis goes away.
 */
extern void aurora_redis_open(AuroraPoller *poller, const char *channel,
							  AuroraRedisMessage received);
extern void aurora_redis_step(bool subscribe, bool wanted);
extern void aurora_redis_publish(const char *text);
extern void aurora_redis_flush(void);
extern const AuroraRedisStatus *aurora_redis_status(void);

#endif
