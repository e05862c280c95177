/*
 * Which job a device should run next: a decision over arrays that the caller has filled, so that
 * the server, a property test and a simulator run the same code.
 *
 * A "fit" is a model on a device. A job is "left" when another device would have finished it
 * sooner. All times are in seconds, sizes in bytes, rates in tokens a second.
 */
#ifndef AURORA_GPU_POLICY_H
#define AURORA_GPU_POLICY_H

#include <stdbool.h>
#include <stdint.h>

#include "shared/job_names.h"

/* How a candidate fares, with a text for people. */
#define AURORA_GPU_VERDICT_LIST(X)                                                      \
	X(AURORA_GPU_CHOSEN, "chosen")                                                      \
	X(AURORA_GPU_LOWER, "another one has a higher score")                               \
	X(AURORA_GPU_LEFT, "another device has it done sooner")                             \
	X(AURORA_GPU_ABSENT, "the device does not have the model")                          \
	X(AURORA_GPU_NO_ROOM, "models that are running leave no memory for it")             \
	X(AURORA_GPU_TOO_LARGE, "the model is larger than the device's memory")             \
	X(AURORA_GPU_RESERVED, "the last slot is kept from batch")                          \
	X(AURORA_GPU_DRAINING, "the device waits until it has room for an interactive job") \
	X(AURORA_GPU_BUSY, "no slot is free")                                               \
	X(AURORA_GPU_OFF, "the device takes no work")

typedef enum AuroraGpuVerdictKind
{
#define AURORA_GPU_VALUE(symbol, ...) symbol,
	AURORA_GPU_VERDICT_LIST(AURORA_GPU_VALUE) AURORA_GPU_VERDICT_COUNT
#undef AURORA_GPU_VALUE
} AuroraGpuVerdictKind;

typedef struct AuroraGpuSettings
{
	double weight[AURORA_JOB_CLASS_COUNT];
	double age_scale; /* a job that has waited so long counts twice, */
	double patience;  /* and much more, whatever its class, when it has waited longer than this; */
	double age_limit; /* beyond this, waiting counts no more */
	double advantage; /* at most so much rather, or less, than others */
	double leave_margin; /* another device must be sooner by this */
	double leave_age;	 /* a job older than this is left to nobody */
	double leave_load;	 /* loading counts so many times: who comes behind waits for it, too */
	double slowdown;	 /* of decoding, for each other busy slot */
	double drain_after;	 /* an interactive job that has waited so long gets memory freed for it */
	int share_load;		/* loading counts for one of at most so many jobs that wait for the model */
	double reserve_age; /* the last slot is kept from batch jobs that have waited less */
} AuroraGpuSettings;

/* What holds when nothing else is said; the settings of the server have the same. */
#define AURORA_GPU_DEFAULTS \
	{.weight = {16, 4, 1},  \
	 .age_scale = 60,       \
	 .patience = 30,        \
	 .age_limit = 120,      \
	 .advantage = 4,        \
	 .leave_margin = 0.05,  \
	 .leave_age = 120,      \
	 .leave_load = 2,       \
	 .slowdown = 0.25,      \
	 .drain_after = 10,     \
	 .share_load = 4,       \
	 .reserve_age = 2}

typedef struct AuroraGpuFit
{
	bool present;		/* the device can run it */
	bool resident;		/* it is loaded */
	int active;			/* jobs of it that run there */
	double size;		/* of the model in memory; 0 when it is not known */
	double load;		/* time to load it */
	double prompt_rate; /* of prompt tokens */
	double decode_rate; /* of output tokens */
	double uncached;	/* share of prompt tokens that are computed, 0 to 1 */
} AuroraGpuFit;

typedef struct AuroraGpuDevice
{
	bool is_live; /* it reports, and takes work */
	int slots;
	int busy;
	double memory;		/* all of it; 0 when it is not known */
	double memory_free; /* what nothing uses; a model that nobody uses may be unloaded for more */
	double next_free;	/* when all slots are busy: until the first is free */
	double all_free;	/* until nothing runs */
	/* Set by the decision. */
	double idle_size; /* of models that nobody uses */
	int left;		  /* jobs left to it, and their time */
	double left_time;
} AuroraGpuDevice;

typedef struct AuroraGpuJob
{
	int64_t job_id;
	int model;
	AuroraJobClass class;
	double age; /* since it could run */
	double prompt_tokens;
	double output_tokens;
	bool is_gone;	/* no candidate any more */
	bool is_hidden; /* set by the forecast: no candidate now */
} AuroraGpuJob;

typedef struct AuroraGpuVerdict
{
	AuroraGpuVerdictKind kind;
	double load;
	double prompt;
	double decode;
	double unload;	 /* what unloading others costs those that wait for them */
	double score;	 /* 0 when it cannot run there */
	int other;		 /* the device it is left to, else -1 */
	double other_in; /* when that one would have it done */
} AuroraGpuVerdict;

typedef struct AuroraGpuView
{
	AuroraGpuSettings settings;
	int device_count;
	AuroraGpuDevice *devices;
	int model_count;
	AuroraGpuFit *fits; /* of each device, of each model */
	int *waiters;		/* of each model: jobs that wait for it */
	int job_count;
	AuroraGpuJob *jobs;
} AuroraGpuView;

extern const char *aurora_gpu_verdict_text(AuroraGpuVerdictKind kind);

/* How long the device would take for the job, were a slot free now. */
extern double aurora_gpu_estimate(const AuroraGpuView *view, int device, const AuroraGpuJob *job);

/*
 * The job that the device should run now, or -1; with a verdict for each job.
 */
extern int aurora_gpu_decide(AuroraGpuView *view, int device, AuroraGpuVerdict *verdicts);

/*
 * Notes in the view that the device runs the job: slots, residency, memory. What has to be unloaded
 * is: first what nobody waits for.
 */
extern void aurora_gpu_start(AuroraGpuView *view, int device, int job);

/* A job that runs, for the forecast. */
typedef struct AuroraGpuRunning
{
	int device; /* -1 for none */
	int model;
	double ends_in;
} AuroraGpuRunning;

typedef struct AuroraGpuForecast
{
	double starts_in; /* -1 when no device will have it */
	double ends_in;
	int device;
} AuroraGpuForecast;

/*
 * When each job would start and end if no other came: the decisions that the devices would make
 * from now on. It uses up the view. "running" has room for as many as all slots; verdicts and
 * forecasts for as many as jobs. The first "window" jobs of each class are candidates at any time.
 */
extern void aurora_gpu_forecast(AuroraGpuView *view, AuroraGpuRunning *running, int running_count,
								int window, AuroraGpuVerdict *verdicts,
								AuroraGpuForecast *forecasts);

#endif
