/*
 * A server that speaks as much of PostgreSQL's protocol as the gateway's pool does, and breaks off
 * wherever a test wants it to. It runs in the test's own loop.
 */
#ifndef TESTS_FAKE_POSTGRES_H
#define TESTS_FAKE_POSTGRES_H

#include <stdbool.h>
#include <stdint.h>

#include "common/loop.h"

#define FAKE_SESSIONS 32
#define FAKE_STATEMENTS 16
#define FAKE_VALUES 4

typedef enum FakeFault
{
	FAKE_WELL,
	FAKE_MUTE,	/* does all, but sends only "at" messages more, and goes */
	FAKE_CLOSE, /* does "at" messages more, and goes without a word */
	FAKE_FATAL	/* the same, and says so */
} FakeFault;

typedef struct FakePostgres FakePostgres;

typedef struct FakeStatement
{
	char name[64];
	char sql[512];
	int generation;
} FakeStatement;

typedef struct FakeSession
{
	FakePostgres *fake;
	int fd;
	char input[2 << 20];
	size_t input_size;
	char output[65536];
	size_t output_size;
	FakeStatement statements[FAKE_STATEMENTS];
	int statement_count;
	const FakeStatement *bound;
	int value; /* the first parameter's, of what is bound */
	int writes[FAKE_VALUES];
	bool is_failed; /* until the next Sync */
	bool is_asleep;
	Timer alarm;
} FakeSession;

struct FakePostgres
{
	Loop *loop;
	char folder[64];
	int listener;
	FakeSession *sessions[FAKE_SESSIONS];
	int generation;	  /* statements of an older one fail with 0A000 */
	const char *gone; /* what they fail with instead, if anything */
	FakeFault fault;
	int at;
	bool is_reached;		  /* the fault has come */
	int commits[FAKE_VALUES]; /* of "insert", by the first parameter */
	int executed;			  /* statements, but for the pool's own */
	void (*answered)(void);	  /* called once when something was sent */
	int cancels;			  /* that were asked for */
	int cancel_delay;		  /* ms until they are delivered; < 0: never */
	FakeSession *cancelled;	  /* by the one that is to be delivered */
	int cancel_fd;
	Timer cancel_due;
};

/*
 * Statements do what their SQL has: "insert" is done at its Sync, "sleep" takes so many ms as its
 * first parameter says, "unsupported" fails with 0A000 always.
 */
extern void fake_open(FakePostgres *fake, Loop *loop);
extern void fake_close(FakePostgres *fake);

/* Forgets what was counted, and fails so, once. */
extern void fake_arm(FakePostgres *fake, FakeFault fault, int at);

#endif
