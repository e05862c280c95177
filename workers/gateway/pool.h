/*
 * Connections to the node's own database and to the lead, in pipeline mode. What is asked is a
 * "unit": one statement, run as the principal of a credential, in one transaction and one round
 * trip. Several units may be under way on one connection.
 */
#ifndef GATEWAY_POOL_H
#define GATEWAY_POOL_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/loop.h"

#define KEY_HASH_SIZE 67 /* \x, 64 digits and a zero */
#define LSN_SIZE 24

typedef struct Pool Pool;
typedef struct Ticket Ticket;

typedef enum CredentialKind
{
	CREDENTIAL_NONE,
	CREDENTIAL_KEY,
	CREDENTIAL_SESSION
} CredentialKind;

/* Who asks. What it points to is the owner's. */
typedef struct Credential
{
	CredentialKind kind;
	char key_hash[KEY_HASH_SIZE]; /* sha256 of the key, as bytea is written */
	const char *node;			  /* X-Node-Name, or NULL */
	const char *token;			  /* of a session */
	const char *csrf;			  /* X-CSRF-Token, or NULL */
} Credential;

typedef enum Side
{
	SIDE_LOCAL,
	SIDE_LEAD,
	SIDE_WAKE, /* a local connection of its own, for the one unit that waits for what is new */
	SIDES
} Side;

typedef struct Unit
{
	Side side;
	const char *statement; /* a name that always goes with the same SQL */
	const char *sql;
	int count;
	const char *const *values;	  /* as text, NULL for null */
	const int *lengths;			  /* NULL unless "formats" has binary ones */
	const int *formats;			  /* NULL: all are text */
	const Credential *credential; /* NULL, or CREDENTIAL_NONE: nobody is assumed */
	const char *route;			  /* "GET /nodes", see route_name() */
	unsigned roles;				  /* that may; ROLE_ANY when the database decides alone */
	int timeout;				  /* ms for the statement; 0: the standard */
	bool is_write; /* SIDE_LOCAL makes SIDE_LEAD; never sent twice; its answer has an LSN */
	bool is_slow;
	bool is_background; /* has a smaller part of the links and the queue, see UnitKind */
} Unit;

typedef enum AnswerState
{
	ANSWER_OK,
	ANSWER_ERROR,		/* the database's: sqlstate, message, detail, hint */
	ANSWER_UNAVAILABLE, /* no connection, and nothing was done */
	ANSWER_LOST			/* the connection was lost: a write may have been done or not */
} AnswerState;

#define POOL_LOST "08006" /* the SQLSTATE of ANSWER_LOST */

/* Freed behind the call. */
typedef struct Answer
{
	AnswerState state;
	const PGresult *result; /* of the statement, when it is ANSWER_OK */
	const PGresult
		*identity;		  /* the row of assume_key() or assume_session(), when one was assumed */
	const char *sqlstate; /* these are set, but for detail and hint, unless it is ANSWER_OK */
	const char *message;
	const char *detail;
	const char *hint;
	bool is_refused; /* the error is the credential's, not the statement's */
	Side side;		 /* where it was run */
	const char *lsn; /* of a write: where it ended; NULL when it is not known */
	int64_t spent;	 /* us, from sending to the answer */
} Answer;

/* Called once for each unit that is not cancelled, but never from within pool_run(). */
typedef void (*UnitAnswer)(void *context, const Answer *answer);

typedef struct PoolConfig
{
	const char *local;
	const char *lead; /* NULL: local */
	int connections[SIDES];
	int timeout; /* the standard, ms */
} PoolConfig;

/* NULL, and what is wrong with a connection string, to be freed. */
extern Pool *pool_open(Loop *loop, const PoolConfig *config, char **problem);

/* Whatever is under way gets no answer. */
extern void pool_close(Pool *pool);

/*
 * Asks. What the unit points to has to stay until the answer or pool_cancel(), for it may be sent
 * anew: serialization failures and deadlocks are retried a few times, reads also when their
 * connection is lost, and what the node's own database refuses because it is read-only (25006) goes
 * to the lead.
 */
extern Ticket *pool_run(Pool *pool, const Unit *unit, UnitAnswer answer, void *context);

/*
 * The unit's client has gone: there will be no answer, and what runs for long is cancelled. What it
 * points to may go.
 */
extern void pool_cancel(Ticket *ticket);

/* Is there a connection? */
extern bool pool_is_up(const Pool *pool, Side side);

/* Why there was none the last time; "" when nothing is known. */
extern const char *pool_reason(const Pool *pool, Side side);

/* Has the standard time-out changed, after a reload. */
extern void pool_set_timeout(Pool *pool, int timeout);

/*
 * An LSN up to which the node's own database has come for sure, as a client's Aurora-LSN header has
 * it; false when that is not known and has to be waited for.
 */
extern bool pool_has_reached(const Pool *pool, const char *lsn);
extern void pool_note_reached(Pool *pool, const char *lsn);

typedef struct PoolState
{
	int connections; /* that are up */
	int under_way;	 /* units */
	int waiting;	 /* units without a connection */
	uint64_t units;	 /* all there were */
	uint64_t retries;
	uint64_t losses; /* of connections */
	uint64_t cancels;
} PoolState;

extern void pool_state(const Pool *pool, Side side, PoolState *state);

#endif
