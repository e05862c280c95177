/*
 * Replays traces of requests on simulated devices in virtual time, once with the decision of
 * shared/gpu_policy.c and once first come, first served among the jobs that a device can run. The
 * policy knows only what the server would: reports that are up to 5 seconds old, and speeds learned
 * from finished jobs. Prints one line for each load, policy and seed.
 */
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shared/gpu_policy.h"

#define DEVICES 5
#define MODELS 5
#define SLOTS 2 /* at most, of a device */
#define WINDOW 32
#define LOOK_AT 512
#define MOST_JOBS 20000
#define FORECAST_EVERY 23 /* jobs that are asked for their expected end when they come */
#define BACKLOG 2500	  /* batch jobs that wait when others begin to come */
#define CLASSES AURORA_JOB_CLASS_COUNT

/* ---- what there is ---- */

typedef struct Machine
{
	const char *name;
	double memory; /* GB */
	double load;   /* GB a second */
	double decode; /* tokens a second of a model of 5 GB, alone */
	double prompt;
	int slots;
} Machine;

static const Machine machines[DEVICES] = {
	{"RTX 4090", 24, 1.25, 120, 4000, 2}, {"RTX 4090", 24, 1.25, 120, 4000, 2},
	{"RTX 4090", 24, 1.25, 120, 4000, 2}, {"M3 Max", 64, 1.25, 60, 800, 2},
	{"CPU", 64, 1.25, 10, 60, 1},
};

/* Of the first, some are asked for more often. Loads take from 2 to 23 s. */
static const double model_size[MODELS] = {5, 2.5, 9, 20, 28};
static const double model_share[MODELS] = {0.42, 0.2, 0.2, 0.15, 0.03};
static const double model_output[MODELS] = {180, 60, 220, 260, 300};
static const double class_share[CLASSES] = {0.35, 0.35, 0.3};
static const double class_weight[CLASSES] = {16, 4, 1};

typedef struct Job
{
	int class;
	int model;
	double arrives;
	double prompt;
	double output;
	double max_output;
	double starts;
	double ends; /* 0 while it is not done */
	int device;
	double expected; /* seconds from its arrival; 0 when it was not asked for */
} Job;

typedef struct Slot
{
	int job; /* -1 for none */
	double load;
	double ends;
} Slot;

typedef struct Device
{
	bool resident[MODELS];
	double used[MODELS]; /* when it was last run */
	Slot slots[SLOTS];
} Device;

typedef struct Report
{
	double at;
	bool resident[MODELS];
	double memory_free;
} Report;

typedef struct Speed
{
	int jobs;
	int loads;
	double load;
	double prompt;
	double decode;
	double output;
} Speed;

typedef struct World
{
	bool is_fifo;
	bool asks; /* when jobs will be done */
	double now;
	int count;
	Job *jobs;
	int first; /* no job before it waits */
	int come;  /* jobs that have arrived */
	Device devices[DEVICES];
	Report reports[DEVICES];
	Speed speeds[DEVICES][MODELS];
	int swaps;
} World;

static Job jobs[MOST_JOBS];

/* ---- chance ---- */

static uint64_t chance_state;

static double
chance(void)
{
	uint64_t z = (chance_state += 0x9e3779b97f4a7c15ULL);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return ((z ^ (z >> 31)) >> 11) / 9007199254740992.0;
}

static double
exponential(double mean)
{
	return -mean * log(1 - chance());
}

static double
lognormal(double median, double sigma)
{
	return median * exp(sigma * sqrt(-2 * log(1 - chance())) * cos(2 * M_PI * chance()));
}

static int
pick(const double *shares, int count)
{
	double at = chance();

	for (int i = 0; i < count - 1; i++)
		if ((at -= shares[i]) < 0)
			return i;
	return count - 1;
}

/* ---- true speeds ---- */

static bool
can_run(int device, int model)
{
	return model_size[model] <= machines[device].memory && !(device == 4 && model_size[model] > 10);
}

static double
true_load(int device, int model)
{
	return model_size[model] / machines[device].load;
}

static double
true_decode_rate(int device, int model)
{
	return machines[device].decode * 5 / (model_size[model] < 2.5 ? 2.5 : model_size[model]);
}

/*
 * How long the job runs once its model is loaded, with so many others beside it.
 */
static double
true_service(int device, const Job *job, int others)
{
	return job->prompt / (machines[device].prompt * 5 / model_size[job->model]) +
		   job->output / true_decode_rate(device, job->model) * (1 + 0.25 * others);
}

/* ---- traces ---- */

/*
 * Seconds between arrivals at which the devices would just be busy, were each job where it runs
 * fastest and nothing ever loaded: work of a job on a 4090, over as many of these as all slots are
 * worth.
 */
static double
full_interval(void)
{
	double work = 0;

	for (int model = 0; model < MODELS; model++)
	{
		Job typical = {.model = model, .prompt = 600, .output = model_output[model] * 1.13};

		work += model_share[model] * true_service(model == 4 ? 3 : 0, &typical, 1);
	}
	return work / (3 * 2 + 1.0);
}

static void
make_trace(uint64_t seed, int count, double load, int backlog)
{
	double now = 0;
	double interval = full_interval() / load;

	chance_state = seed * 7919 + 17;
	for (int i = 0; i < count; i++)
	{
		Job *job = &jobs[i];

		/* Bursts: the rate swings by half around its mean. */
		if (i >= backlog)
			now += exponential(interval) / (1 + 0.5 * sin(now / 120));
		*job = (Job) {.arrives = now, .device = -1};
		job->class = pick(class_share, CLASSES);
		if (i < backlog)
			job->class = AURORA_JOB_BATCH;
		while (i >= backlog && backlog > 0 && job->class == AURORA_JOB_BATCH)
			job->class = pick(class_share, CLASSES);
		job->model = pick(model_share, MODELS);
		job->prompt = lognormal(400, 0.8);
		job->output = lognormal(model_output[job->model], 0.5);
		job->max_output = chance() < 0.5 ? 1024 : 1e9;
		job->output = fmin(ceil(job->output), job->max_output);
	}
}

/* ---- reports and speeds, as the server has them ---- */

static double
memory_free(const World *world, int device)
{
	double free = machines[device].memory;

	for (int model = 0; model < MODELS; model++)
		if (world->devices[device].resident[model])
			free -= model_size[model];
	return free;
}

static void
report(World *world, int device)
{
	Report *to = &world->reports[device];

	to->at = world->now;
	to->memory_free = memory_free(world, device);
	memcpy(to->resident, world->devices[device].resident, sizeof(to->resident));
}

static double
blend(double old, double new, int n)
{
	return n == 0 ? new : old + (new - old) * fmax(1.0 / (n + 1), 0.1);
}

static void
learn(World *world, int device, const Job *job, double load, int others)
{
	Speed *speed = &world->speeds[device][job->model];

	if (load > 0)
	{
		speed->load = blend(speed->load, load, speed->loads);
		speed->loads++;
	}
	speed->prompt =
		blend(speed->prompt, machines[device].prompt * 5 / model_size[job->model], speed->jobs);
	speed->decode = blend(speed->decode, true_decode_rate(device, job->model) / (1 + 0.25 * others),
						  speed->jobs);
	speed->output = blend(speed->output, job->output, speed->jobs);
	speed->jobs++;
}

/* ---- the view of the policy ---- */

typedef struct Scene
{
	AuroraGpuView view;
	AuroraGpuDevice devices[DEVICES];
	AuroraGpuFit fits[DEVICES * MODELS];
	int waiters[MODELS];
	AuroraGpuJob jobs[3 * 600];
	int numbers[3 * 600];
	AuroraGpuVerdict verdicts[3 * 600];
	AuroraGpuRunning running[2 * DEVICES * SLOTS + 1];
	int running_count;
} Scene;

static double
mean_output(const World *world, int model)
{
	double sum = 0;
	double count = 0;

	for (int device = 0; device < DEVICES; device++)
	{
		sum += world->speeds[device][model].output * world->speeds[device][model].jobs;
		count += world->speeds[device][model].jobs;
	}
	return count > 0 ? sum / count : 256;
}

static void
set_fit(const World *world, Scene *scene, int device, int model)
{
	AuroraGpuFit *fit = &scene->fits[device * MODELS + model];
	const Speed *speed = &world->speeds[device][model];

	*fit = (AuroraGpuFit) {.present = can_run(device, model),
						   .resident = world->reports[device].resident[model],
						   .size = model_size[model],
						   .uncached = 1};
	/* What is not learned yet is guessed as the server does: by the same kind, then by size. */
	for (int other = 0; other < DEVICES && speed->jobs == 0; other++)
		if (strcmp(machines[other].name, machines[device].name) == 0 &&
			world->speeds[other][model].jobs > 0)
			speed = &world->speeds[other][model];
	fit->load = speed->loads > 0 ? speed->load : model_size[model] / 1.5;
	fit->decode_rate = speed->jobs > 0 ? speed->decode
									   : (device == 3	? 30
										  : device == 4 ? 8
														: 60) *
											 fmin(fmax(8 / model_size[model], 0.1), 4);
	fit->prompt_rate = speed->jobs > 0 ? speed->prompt : fit->decode_rate * 20;
}

static void
add_running(const World *world, Scene *scene, int device, const Slot *slot)
{
	const Job *job = &world->jobs[slot->job];
	AuroraGpuFit *fit = &scene->fits[device * MODELS + job->model];
	AuroraGpuDevice *on = &scene->devices[device];
	AuroraGpuJob seen = {.model = job->model, .output_tokens = mean_output(world, job->model)};
	double total;
	double left;

	if (!fit->resident)
	{
		fit->resident = true;
		on->memory_free = fmax(on->memory_free - fit->size, 0);
	}
	total = aurora_gpu_estimate(&scene->view, device, &seen);
	fit->active++;
	left = fmax(total - (world->now - job->starts), total * 0.1);
	on->next_free = on->busy == 0 ? left : fmin(on->next_free, left);
	on->all_free = fmax(on->all_free, left);
	on->busy++;
	scene->running[scene->running_count++] =
		(AuroraGpuRunning) {.device = device, .model = job->model, .ends_in = left};
}

static void
set_scene(const World *world, Scene *scene)
{
	memset(&scene->view, 0, sizeof(scene->view));
	scene->view.settings = (AuroraGpuSettings) AURORA_GPU_DEFAULTS;
	scene->view.device_count = DEVICES;
	scene->view.devices = scene->devices;
	scene->view.model_count = MODELS;
	scene->view.fits = scene->fits;
	scene->view.waiters = scene->waiters;
	scene->view.jobs = scene->jobs;
	scene->running_count = 0;
	for (int device = 0; device < DEVICES; device++)
	{
		scene->devices[device] =
			(AuroraGpuDevice) {.is_live = true,
							   .slots = machines[device].slots,
							   .memory = machines[device].memory,
							   .memory_free = world->reports[device].memory_free};
		for (int model = 0; model < MODELS; model++)
			set_fit(world, scene, device, model);
		for (int slot = 0; slot < SLOTS; slot++)
			if (world->devices[device].slots[slot].job >= 0)
				add_running(world, scene, device, &world->devices[device].slots[slot]);
	}
}

/*
 * The first jobs of each class that the device (-1: any) could start.
 */
static void
add_candidates(const World *world, Scene *scene, int device, int most)
{
	memset(scene->waiters, 0, sizeof(scene->waiters));
	for (int class = 0; class < CLASSES; class ++)
	{
		int found = 0;
		int seen = 0;

		for (int i = world->first; i < world->come && found < most && seen < LOOK_AT; i++)
		{
			const Job *job = &world->jobs[i];
			int n = scene->view.job_count;

			if (job->class != class || job->device >= 0)
				continue;
			seen++;
			scene->waiters[job->model]++;
			if (device >= 0 && !can_run(device, job->model))
				continue;
			found++;
			scene->numbers[n] = i;
			scene->jobs[n] = (AuroraGpuJob) {
				.job_id = i,
				.model = job->model,
				.class = class,
				.age = world->now - job->arrives,
				.prompt_tokens = job->prompt,
				.output_tokens = fmin(mean_output(world, job->model), job->max_output)};
			scene->view.job_count++;
		}
	}
}

static Scene scene;

static int
choose_by_policy(World *world, int device)
{
	int chosen;

	set_scene(world, &scene);
	add_candidates(world, &scene, device, WINDOW);
	chosen = aurora_gpu_decide(&scene.view, device, scene.verdicts);
	return chosen < 0 ? -1 : scene.numbers[chosen];
}

static bool has_room(const World *world, int device, int model);

/*
 * Plain SKIP LOCKED with a filter: the oldest job that the device can run and has memory for now.
 */
static int
choose_first(const World *world, int device)
{
	for (int i = world->first; i < world->come; i++)
		if (world->jobs[i].device < 0 && can_run(device, world->jobs[i].model) &&
			has_room(world, device, world->jobs[i].model))
			return i;
	return -1;
}

/* ---- devices ---- */

static bool
is_active(const World *world, int device, int model)
{
	for (int slot = 0; slot < SLOTS; slot++)
	{
		int job = world->devices[device].slots[slot].job;

		if (job >= 0 && world->jobs[job].model == model)
			return true;
	}
	return false;
}

static bool
has_room(const World *world, int device, int model)
{
	double free = memory_free(world, device);

	if (world->devices[device].resident[model])
		return true;
	for (int other = 0; other < MODELS; other++)
		if (world->devices[device].resident[other] && !is_active(world, device, other))
			free += model_size[other];
	return model_size[model] <= free;
}

/*
 * Loads the model as an inference server does: it unloads what was used least recently. When what
 * runs leaves no memory, it waits for that to end.
 */
static double
load_model(World *world, int device, int model)
{
	Device *on = &world->devices[device];
	double wait = 0;

	if (on->resident[model])
		return 0;
	while (memory_free(world, device) < model_size[model])
	{
		int oldest = -1;

		for (int other = 0; other < MODELS; other++)
			if (on->resident[other] && (wait > 0 || !is_active(world, device, other)) &&
				(oldest < 0 || on->used[other] < on->used[oldest]))
				oldest = other;
		if (oldest >= 0)
			on->resident[oldest] = false;
		else
			for (int slot = 0; slot < SLOTS; slot++)
				if (on->slots[slot].job >= 0)
					wait = fmax(wait, on->slots[slot].ends - world->now);
	}
	on->resident[model] = true;
	world->swaps++;
	return wait + true_load(device, model);
}

static int
busy_slots(const World *world, int device)
{
	int busy = 0;

	for (int slot = 0; slot < SLOTS; slot++)
		busy += world->devices[device].slots[slot].job >= 0;
	return busy;
}

static void
start(World *world, int device, int number)
{
	Device *on = &world->devices[device];
	Job *job = &world->jobs[number];
	int others = busy_slots(world, device);
	double load = load_model(world, device, job->model);
	Slot *slot = &on->slots[0];

	while (slot->job >= 0)
		slot++;
	on->used[job->model] = world->now;
	*slot = (Slot) {
		.job = number, .load = load, .ends = world->now + load + true_service(device, job, others)};
	job->device = device;
	job->starts = world->now;
	if (load > 0) /* a worker tells at once when a model has been loaded */
		report(world, device);
}

static void
end(World *world, int device, Slot *slot)
{
	Job *job = &world->jobs[slot->job];

	job->ends = slot->ends;
	learn(world, device, job, slot->load, busy_slots(world, device) - 1);
	world->devices[device].used[job->model] = world->now;
	slot->job = -1;
}

/* ---- running a trace ---- */

/*
 * What a job that has just come would be told of its end.
 */
static void
ask_forecast(World *world, int number)
{
	static AuroraGpuForecast forecasts[3 * 600];

	set_scene(world, &scene);
	add_candidates(world, &scene, -1, 200);
	aurora_gpu_forecast(&scene.view, scene.running, scene.running_count, WINDOW, scene.verdicts,
						forecasts);
	for (int i = 0; i < scene.view.job_count; i++)
		if (scene.numbers[i] == number && forecasts[i].device >= 0)
			world->jobs[number].expected = forecasts[i].ends_in;
}

static void
let_devices_choose(World *world)
{
	for (int turn = 0; turn < DEVICES; turn++)
	{
		/* Who looks first differs from time to time. */
		int device = (turn + (int) (world->now * 7)) % DEVICES;

		while (busy_slots(world, device) < machines[device].slots)
		{
			int job =
				world->is_fifo ? choose_first(world, device) : choose_by_policy(world, device);

			if (job < 0)
				break;
			start(world, device, job);
		}
	}
	while (world->first < world->come && world->jobs[world->first].device >= 0)
		world->first++;
}

static double
next_event(const World *world)
{
	double next = world->come < world->count ? world->jobs[world->come].arrives : INFINITY;

	for (int device = 0; device < DEVICES; device++)
	{
		if (busy_slots(world, device) < machines[device].slots && world->first < world->come)
			next = fmin(next, world->now + 1); /* workers look each second */
		for (int slot = 0; slot < SLOTS; slot++)
			if (world->devices[device].slots[slot].job >= 0)
				next = fmin(next, world->devices[device].slots[slot].ends);
	}
	return next;
}

static void
replay(World *world)
{
	for (int device = 0; device < DEVICES; device++)
		for (int slot = 0; slot < SLOTS; slot++)
			world->devices[device].slots[slot].job = -1;
	for (int device = 0; device < DEVICES; device++)
		report(world, device);
	for (;;)
	{
		double next = next_event(world);

		if (isinf(next))
			break;
		world->now = next;
		for (int device = 0; device < DEVICES; device++)
		{
			for (int slot = 0; slot < SLOTS; slot++)
				if (world->devices[device].slots[slot].job >= 0 &&
					world->devices[device].slots[slot].ends <= world->now)
					end(world, device, &world->devices[device].slots[slot]);
			if (world->now - world->reports[device].at >= 5)
				report(world, device);
		}
		while (world->come < world->count && world->jobs[world->come].arrives <= world->now)
			if (world->come++ % FORECAST_EVERY == 0 && !world->is_fifo && world->asks)
				ask_forecast(world, world->come - 1);
		let_devices_choose(world);
	}
}

/* ---- results ---- */

static int
compare(const void *a, const void *b)
{
	double left = *(const double *) a;
	double right = *(const double *) b;

	return left < right ? -1 : left > right;
}

/*
 * Work done in a second, until four fifths of it all is done: the work of a job is how long it
 * takes on the fastest device that can run it, so that short jobs count for little.
 */
static double
saturated_rate(const World *world)
{
	static double ends[MOST_JOBS][2];
	double work = 0;
	double done = 0;

	for (int i = 0; i < world->count; i++)
	{
		ends[i][0] = world->jobs[i].ends;
		ends[i][1] = true_service(world->jobs[i].model == 4 ? 3 : 0, &world->jobs[i], 0);
		work += ends[i][1];
	}
	qsort(ends, world->count, sizeof(ends[0]), compare);
	for (int i = 0; i < world->count; i++)
		if ((done += ends[i][1]) >= 0.8 * work)
			return done / ends[i][0];
	return 0;
}

/*
 * Work in a second that the devices could do at most: nothing is ever loaded or waited for, and
 * each job is where it is least slow. The 4090s leave to the M3 what only it can run, then what it
 * is least slow at, until both would end together; the CPU adds what it does fastest.
 */
static double
most_rate(const World *world)
{
	double on_card[MODELS] = {0};
	double on_max[MODELS] = {0};
	double work = 0;
	double cards = 0;
	double max = 0;
	double cpu = 0;

	for (int i = 0; i < world->count; i++)
	{
		const Job *job = &world->jobs[i];
		double alone = true_service(job->model == 4 ? 3 : 0, job, 0);

		work += alone;
		if (job->model == 4)
			max += true_service(3, job, 1) / 2;
		else
			cards += true_service(0, job, 1) / 6;
		on_card[job->model] += true_service(0, job, 1) / 6;
		on_max[job->model] += true_service(3, job, 1) / 2;
		if (can_run(4, job->model))
			cpu = fmax(cpu, alone / true_service(4, job, 0));
	}
	for (int turn = 0; turn < MODELS - 1 && cards > max; turn++)
	{
		int best = -1;
		double share;

		for (int model = 0; model < MODELS - 1; model++)
			if (on_card[model] > 0 &&
				(best < 0 || on_max[model] / on_card[model] < on_max[best] / on_card[best]))
				best = model;
		if (best < 0)
			break;
		share = fmin(1, (cards - max) / (on_card[best] + on_max[best]));
		cards -= share * on_card[best];
		max += share * on_max[best];
		on_card[best] = 0;
	}
	return work / fmax(cards, max) + cpu;
}

static void
print_results(const World *world, const char *load, uint64_t seed)
{
	static double batch[MOST_JOBS];
	double latency = 0;
	double weights = 0;
	double mean[CLASSES] = {0};
	int counts[CLASSES] = {0};
	int batches = 0;
	int asked = 0;
	int near = 0;
	int skip = world->count / 20; /* while nothing is learned or loaded yet */

	for (int i = 0; i < world->count; i++)
	{
		const Job *job = &world->jobs[i];
		double took = job->ends - job->arrives;

		if (i < skip)
			continue;
		latency += took * class_weight[job->class];
		weights += class_weight[job->class];
		mean[job->class] += took;
		counts[job->class]++;
		if (job->class == AURORA_JOB_BATCH)
			batch[batches++] = took;
		if (job->expected > 0)
		{
			asked++;
			near += job->expected <= 2 * took && took <= 2 * job->expected;
		}
	}
	qsort(batch, batches, sizeof(double), compare);
	printf("%s %s %d %.3f %.3f %.3f %.3f %.1f %.4f %.3f %d %d %.4f\n", load,
		   world->is_fifo ? "fifo" : "policy", (int) seed, latency / weights, mean[0] / counts[0],
		   mean[1] / counts[1], mean[2] / counts[2], 1000.0 * world->swaps / world->count,
		   saturated_rate(world), batch[(int) (batches * 0.99)], asked, near, most_rate(world));
}

int
main(int argc, char **argv)
{
	int seeds = argc > 1 ? atoi(argv[1]) : 12;
	int count = argc > 2 ? atoi(argv[2]) : 6000;
	static const struct
	{
		const char *name;
		double load;
		int backlog;
	} loads[] = {{"light", 0.2, 0},
				 {"medium", 0.7, 0},
				 {"heavy", 0.9, 0},
				 {"full", 3, 0},
				 {"backlog", 0.3, BACKLOG}};

	if (seeds < 1 || count < 100 || count > MOST_JOBS)
		return 2;
	for (size_t load = 0; load < sizeof(loads) / sizeof(loads[0]); load++)
		for (int seed = 1; seed <= seeds; seed++)
			for (int is_fifo = 0; is_fifo < 2; is_fifo++)
			{
				static World world;

				memset(&world, 0, sizeof(world));
				make_trace(seed, count, loads[load].load, loads[load].backlog);
				world.is_fifo = is_fifo;
				world.asks = loads[load].load < 1 && loads[load].backlog == 0;
				world.count = count;
				world.jobs = jobs;
				replay(&world);
				print_results(&world, loads[load].name, seed);
			}
	return 0;
}
