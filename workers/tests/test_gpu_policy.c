/*
 * The decision which job a device runs next: what must hold in any world, tried in random ones, and
 * what it does in plain ones.
 */
#include <stdlib.h>
#include <string.h>

#include "shared/gpu_policy.h"
#include "tests/tap.h"

#define DEVICES 4
#define MODELS 4
#define JOBS 24
#define ROUNDS 20000

typedef struct World
{
	AuroraGpuView view;
	AuroraGpuDevice devices[DEVICES];
	AuroraGpuFit fits[DEVICES * MODELS];
	int waiters[MODELS];
	AuroraGpuJob jobs[JOBS];
	AuroraGpuVerdict verdicts[JOBS];
} World;

static const AuroraGpuSettings defaults = AURORA_GPU_DEFAULTS;

static double
random_share(void)
{
	return random_below(1000001) / 1000000.0;
}

static AuroraGpuFit *
fit_of(World *world, int device, int model)
{
	return &world->fits[device * world->view.model_count + model];
}

static void
set_view(World *world, int devices, int models, int jobs)
{
	memset(world, 0, sizeof(*world));
	world->view = (AuroraGpuView) {.settings = defaults,
								   .device_count = devices,
								   .devices = world->devices,
								   .model_count = models,
								   .fits = world->fits,
								   .waiters = world->waiters,
								   .job_count = jobs,
								   .jobs = world->jobs};
}

/* ---- random worlds ---- */

static void
make_device(World *world, int device)
{
	AuroraGpuDevice *on = &world->devices[device];
	double used = 0;

	*on = (AuroraGpuDevice) {.is_live = random_below(5) > 0,
							 .slots = random_below(4),
							 .memory = random_below(4) ? 10 + random_below(30) : 0};
	for (int model = 0; model < world->view.model_count; model++)
	{
		AuroraGpuFit *fit = fit_of(world, device, model);

		*fit = (AuroraGpuFit) {.present = random_below(3) > 0,
							   .size = random_below(4) ? 1 + random_below(25) : 0,
							   .load = random_share() * 20,
							   .prompt_rate = random_below(10) ? 1 + random_share() * 4000 : 0,
							   .decode_rate = random_below(10) ? 1 + random_share() * 120 : 0,
							   .uncached = random_share()};
		if (fit->present && random_below(2) && (used + fit->size <= on->memory || on->memory == 0))
		{
			fit->resident = true;
			used += fit->size;
			if (on->busy < on->slots && random_below(2))
			{
				fit->active = 1;
				on->busy++;
				on->next_free = on->next_free == 0 ? random_share() * 9 : on->next_free;
				on->all_free = on->next_free + random_share() * 5;
			}
		}
	}
	on->memory_free = on->memory > used ? on->memory - used : 0;
}

static void
make_world(World *world)
{
	set_view(world, 1 + random_below(DEVICES), 1 + random_below(MODELS), random_below(JOBS + 1));
	for (int device = 0; device < world->view.device_count; device++)
		make_device(world, device);
	for (int i = 0; i < world->view.job_count; i++)
	{
		AuroraGpuJob *job = &world->jobs[i];

		*job = (AuroraGpuJob) {.job_id = i + 1,
							   .model = random_below(world->view.model_count),
							   .class = random_below(AURORA_JOB_CLASS_COUNT),
							   .age = random_share() * (random_below(3) ? 5 : 500),
							   .prompt_tokens = random_below(4000),
							   .output_tokens = random_below(2000),
							   .is_gone = random_below(10) == 0};
		if (!job->is_gone)
			world->waiters[job->model]++;
	}
}

/*
 * Would the model fit, were all that nobody uses unloaded?
 */
static bool
fits(World *world, int device, int model)
{
	const AuroraGpuDevice *on = &world->devices[device];
	double free = on->memory_free;

	if (fit_of(world, device, model)->resident || on->memory == 0)
		return true;
	for (int other = 0; other < world->view.model_count; other++)
	{
		const AuroraGpuFit *fit = fit_of(world, device, other);

		if (fit->resident && fit->active == 0)
			free += fit->size;
	}
	return fit_of(world, device, model)->size <= free;
}

/* What is wrong with a decision, or NULL. */
static const char *
wrong_choice(World *world, int device, int chosen)
{
	const AuroraGpuDevice *on = &world->devices[device];
	const AuroraGpuJob *job = &world->jobs[chosen];

	if (job->is_gone)
		return "a job that is gone is chosen";
	if (!on->is_live || on->busy >= on->slots)
		return "a device that is off or full chooses";
	if (!fit_of(world, device, job->model)->present)
		return "a model is chosen that the device does not have";
	if (!fits(world, device, job->model))
		return "a model is chosen that does not fit";
	if (job->class == AURORA_JOB_BATCH && on->slots > 1 && on->busy == on->slots - 1 &&
		job->age < defaults.reserve_age)
		return "batch takes the last slot";
	return NULL;
}

static const char *
wrong_verdicts(World *world, int device, int chosen)
{
	int said_chosen = 0;

	for (int i = 0; i < world->view.job_count; i++)
	{
		const AuroraGpuVerdict *verdict = &world->verdicts[i];
		const AuroraGpuJob *job = &world->jobs[i];

		said_chosen += verdict->kind == AURORA_GPU_CHOSEN;
		if (!(verdict->score >= 0) || !(verdict->score < 1e12))
			return "a score is no number";
		if ((verdict->kind == AURORA_GPU_LEFT) != (verdict->other >= 0))
			return "a job is left to nobody";
		if (verdict->kind != AURORA_GPU_LEFT)
			continue;
		if (job->age > defaults.leave_age)
			return "an old job is left to another device";
		if (verdict->other == device || !world->devices[verdict->other].is_live ||
			!fit_of(world, verdict->other, job->model)->present)
			return "a job is left to a device that cannot run it";
		if (verdict->other_in >= verdict->load * defaults.leave_load + verdict->prompt +
									 verdict->decode - defaults.leave_margin)
			return "a job is left to a device that is no sooner, loading counted twice";
	}
	return said_chosen == (chosen >= 0) ? NULL : "not one job is said to be chosen";
}

static void
test_random_worlds(void)
{
	const char *wrong = NULL;
	int chosen_count = 0;

	for (int round = 0; round < ROUNDS && wrong == NULL; round++)
	{
		static World world;
		static World again;
		int device;
		int chosen;

		make_world(&world);
		device = random_below(world.view.device_count);
		chosen = aurora_gpu_decide(&world.view, device, world.verdicts);
		chosen_count += chosen >= 0;
		if (chosen >= 0)
			wrong = wrong_choice(&world, device, chosen);
		if (wrong == NULL)
			wrong = wrong_verdicts(&world, device, chosen);
		again = world;
		again.view.devices = again.devices;
		again.view.fits = again.fits;
		again.view.waiters = again.waiters;
		again.view.jobs = again.jobs;
		if (wrong == NULL && aurora_gpu_decide(&again.view, device, again.verdicts) != chosen)
			wrong = "the same world gives another choice";
		if (wrong == NULL && chosen >= 0)
		{
			aurora_gpu_start(&world.view, device, chosen);
			if (world.devices[device].memory_free < -1e-6 ||
				world.devices[device].busy > world.devices[device].slots)
				wrong = "a start uses more than there is";
		}
	}
	is(wrong ? wrong : "nothing", "nothing", "in random worlds nothing is wrong with the choice");
	ok(chosen_count > ROUNDS / 10, "in many of them there is one (%d)", chosen_count);
}

/*
 * All jobs that a live device could ever run are forecast, in slots that are there.
 */
static void
test_forecasts(void)
{
	const char *wrong = NULL;

	for (int round = 0; round < ROUNDS / 10 && wrong == NULL; round++)
	{
		static World world;
		AuroraGpuRunning running[DEVICES * 4];
		AuroraGpuForecast forecasts[JOBS];
		bool can[JOBS] = {false};

		make_world(&world);
		for (int device = 0; device < world.view.device_count; device++)
		{
			AuroraGpuDevice *on = &world.devices[device];

			/* None runs, so that what blocks memory ends in the forecast, too. */
			on->busy = 0;
			on->next_free = on->all_free = 0;
			for (int model = 0; model < world.view.model_count; model++)
				fit_of(&world, device, model)->active = 0;
		}
		for (int i = 0; i < world.view.job_count; i++)
			for (int device = 0; device < world.view.device_count; device++)
				if (!world.jobs[i].is_gone && world.devices[device].is_live &&
					world.devices[device].slots > 0 &&
					fit_of(&world, device, world.jobs[i].model)->present &&
					fits(&world, device, world.jobs[i].model))
					can[i] = true;
		aurora_gpu_forecast(&world.view, running, 0, 8, world.verdicts, forecasts);
		for (int i = 0; i < world.view.job_count && wrong == NULL; i++)
			if (can[i] != (forecasts[i].device >= 0))
				wrong = can[i] ? "a job is forgotten" : "a job is forecast that cannot run";
			else if (can[i] && forecasts[i].ends_in < forecasts[i].starts_in)
				wrong = "a job ends before it starts";
	}
	is(wrong ? wrong : "nothing", "nothing", "in random worlds nothing is wrong with forecasts");
}

/* ---- plain worlds ---- */

/*
 * Two devices with one slot, one four times as fast, and a model that both have loaded.
 */
static void
make_pair(World *world, int jobs)
{
	set_view(world, 2, 2, jobs);
	for (int device = 0; device < 2; device++)
	{
		world->devices[device] =
			(AuroraGpuDevice) {.is_live = true, .slots = 1, .memory = 24, .memory_free = 19};
		for (int model = 0; model < 2; model++)
			*fit_of(world, device, model) = (AuroraGpuFit) {.present = true,
															.resident = model == 0,
															.size = model == 0 ? 5 : 20,
															.load = 10,
															.prompt_rate = 1000,
															.decode_rate = device == 0 ? 100 : 25,
															.uncached = 1};
	}
	for (int i = 0; i < jobs; i++)
		world->jobs[i] = (AuroraGpuJob) {.job_id = i + 1,
										 .class = AURORA_JOB_NORMAL,
										 .prompt_tokens = 100,
										 .output_tokens = 200};
	world->waiters[0] = jobs;
}

static int
choice(World *world, int device)
{
	return aurora_gpu_decide(&world->view, device, world->verdicts);
}

static void
test_leaving(void)
{
	static World world;

	make_pair(&world, 1);
	ok(choice(&world, 0) == 0, "a fast device takes a job");
	ok(choice(&world, 1) == -1 && world.verdicts[0].kind == AURORA_GPU_LEFT &&
		   world.verdicts[0].other == 0,
	   "a slow one leaves it to the fast one");
	world.jobs[0].age = 121;
	ok(choice(&world, 1) == 0, "but not when it has waited long");
	make_pair(&world, 2);
	world.jobs[0].age = 1;
	ok(choice(&world, 1) == -1, "two jobs are left to it while both are done sooner there");
	make_pair(&world, 6);
	ok(choice(&world, 1) >= 0, "of many jobs a slow device takes one");
	make_pair(&world, 1);
	world.devices[0].is_live = false;
	ok(choice(&world, 1) == 0, "nothing is left to a device that is off");
}

static void
test_loading(void)
{
	static World world;

	make_pair(&world, 1);
	fit_of(&world, 0, 0)->resident = false;
	world.devices[0].memory_free = 24;
	ok(choice(&world, 0) == -1 && world.verdicts[0].other == 1,
	   "a model is not loaded to be done a little sooner than where it is loaded");
	world.devices[1].busy = 1;
	world.devices[1].next_free = world.devices[1].all_free = 15;
	ok(choice(&world, 0) == 0, "but to be done much sooner");
	fit_of(&world, 1, 0)->resident = false;
	world.devices[1] = world.devices[0];
	ok(choice(&world, 0) == 0 && choice(&world, 1) == -1,
	   "of two devices that would have to load it the faster one does");
	for (int device = 0; device < 2; device++)
		fit_of(&world, device, 0)->decode_rate = 50;
	ok(choice(&world, 0) == 0 && choice(&world, 1) == 0,
	   "of two that are the same neither leaves it to the other");
}

static void
test_waiting(void)
{
	static World world;

	make_pair(&world, 2);
	world.jobs[0].class = AURORA_JOB_BATCH;
	world.jobs[1].class = AURORA_JOB_INTERACTIVE;
	world.jobs[0].age = 100000;
	world.jobs[1].age = 0;
	ok(choice(&world, 0) == 0, "a batch job that has waited for long goes first");
	world.jobs[1].age = 120;
	ok(choice(&world, 0) == 1, "but not before interactive ones that have waited for two minutes");
	world.jobs[0].output_tokens = 100;
	ok(choice(&world, 0) == 0, "unless it is shorter, so that it does not starve either");
}

static void
test_classes(void)
{
	static World world;

	make_pair(&world, 3);
	world.jobs[1].class = AURORA_JOB_INTERACTIVE;
	world.jobs[2].class = AURORA_JOB_BATCH;
	ok(choice(&world, 0) == 1, "an interactive job goes first");
	world.jobs[2].age = 100;
	ok(choice(&world, 0) == 2, "unless a batch job is out of patience");
	world.jobs[2].age = 0;
	world.jobs[1].model = 1;
	world.waiters[0] = 2;
	world.waiters[1] = 1;
	ok(choice(&world, 0) == 0,
	   "a job whose model is loaded goes before one that takes long to load");
	world.waiters[1] = 4;
	world.jobs[0].class = AURORA_JOB_BATCH;
	ok(choice(&world, 0) == 1, "but loading is worth it when many wait for it");
}

static void
test_memory(void)
{
	static World world;

	make_pair(&world, 2);
	world.devices[1].is_live = false;
	for (int device = 0; device < 2; device++)
		world.devices[device].slots = 2;
	world.devices[0].busy = 1;
	world.devices[0].next_free = world.devices[0].all_free = 3;
	fit_of(&world, 0, 0)->active = 1;
	world.jobs[1] = (AuroraGpuJob) {.job_id = 2, .model = 1, .class = AURORA_JOB_INTERACTIVE};
	ok(choice(&world, 0) == 0 && world.verdicts[1].kind == AURORA_GPU_NO_ROOM,
	   "a model waits for memory that others use");
	world.jobs[1].age = 10;
	ok(choice(&world, 0) == -1 && world.verdicts[0].kind == AURORA_GPU_DRAINING,
	   "after a while nothing else is taken, so that it gets it");
	world.devices[1].is_live = true;
	ok(choice(&world, 0) == 0, "but not when another device has room for it");
}

int
main(void)
{
	test_random_worlds();
	test_forecasts();
	test_leaving();
	test_loading();
	test_waiting();
	test_classes();
	test_memory();
	return done();
}
