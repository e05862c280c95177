/*
 * The worker: it reports the node's devices, takes jobs for them, runs these in backends and writes
 * what comes of them. "Draining" it takes no more and ends with its last job.
 */
#ifndef GPU_WORKER_H
#define GPU_WORKER_H

#include <stdbool.h>
#include <stdint.h>

#include "common/connection.h"
#include "common/loop.h"
#include "gpu/backend.h"
#include "gpu/config.h"
#include "gpu/http.h"
#include "gpu/job.h"
#include "gpu/sampler.h"

typedef struct Worker
{
	Loop loop;
	Config *config;
	const char *config_path;
	Connection *connection;
	Http *http;
	Sampler *sampler;
	Inventory inventory;
	bool has_inventory;
	Backend *backends;
	Job *jobs;
	int job_count;

	/* taking, see claim.c */
	bool wants[DEVICES]; /* by index: there may be something for the device */
	bool is_claiming;
	int claim_device;
	int claim_size;
	Timer poll;
	Connection *bell; /* see bell.c */
	bool is_waiting;
	Timer bell_timer;

	/* writing, see writer.c */
	Timer flush;
	int64_t flushed_at;
	bool is_appending;
	bool is_urgent;	 /* what should not wait came while text was on its way */
	bool is_careful; /* one job at a time, since a batch of several was refused */
	bool is_renewing;
	Timer housekeeping;

	/* reporting, see report.c */
	Timer report;
	int64_t started_at;
	char *reported; /* what changes seldom, as it was reported last */
	bool is_reporting;
	bool has_reported;
	bool is_changed; /* since: what would be taken now is chosen by what no longer holds */

	bool is_once; /* ends when there is nothing to do */
	bool is_draining;
	bool is_giving_back;
	Timer drain;
	Timer watchdog;
	int64_t watchdog_interval;
} Worker;

/* Runs it to its end. Returns the status to end with. */
extern int worker_run(const char *config_path, Config *config, bool is_once);

/* ---- claim.c ---- */

/* Has the device, or all with -1, asked for. */
extern void claim_wake(Worker *worker, int device);
extern void claim_start(Worker *worker);

/* ---- bell.c ---- */

extern bool bell_open(Worker *worker);
extern void bell_close(Worker *worker);

/* A job was taken: more may come. */
extern void bell_wake(Worker *worker);

/* ---- writer.c ---- */

/* There is something to write; "now" for what should not wait for more. */
extern void writer_wake(Worker *worker, bool now);
extern void writer_start(Worker *worker);

/* The connection is there again. */
extern void writer_resume(Worker *worker);

/* ---- report.c ---- */

/* Reports soon when something has changed. */
extern void report_wake(Worker *worker);
extern void report_start(Worker *worker);

/* ---- keys.c ---- */

/* Asks the database for the keys of backends that want one. */
extern void keys_ask(Worker *worker);

/* ---- worker.c ---- */

/* Removes a job, whose fate the database knows, or whose lease is lost. */
extern void worker_drop(Worker *worker, Job *job);

extern Job *worker_find_job(Worker *worker, int64_t id, int attempt);

/* Says an error of the database. */
extern void worker_log_error(const char *event, const PGresult *result, int64_t job);

/* Does the error say that this is no lead, or is shutting down? The connection is given up then. */
extern bool worker_leaves(Worker *worker, const PGresult *result);

#endif
