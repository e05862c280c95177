/*
 * The decision which job a device should run next. docs/gpu.md says why it is as it is.
 */
#include "shared/gpu_policy.h"

#include <stddef.h>

#define SHORTEST 0.02 /* seconds that any job takes */

static const char *const verdict_text[AURORA_GPU_VERDICT_COUNT] = {
#define TEXT(symbol, text) [symbol] = text,
	AURORA_GPU_VERDICT_LIST(TEXT)
#undef TEXT
};

const char *
aurora_gpu_verdict_text(AuroraGpuVerdictKind kind)
{
	return verdict_text[kind];
}

static double
least(double a, double b)
{
	return a < b ? a : b;
}

static AuroraGpuFit *
fit_of(const AuroraGpuView *view, int device, int model)
{
	return &view->fits[device * view->model_count + model];
}

/* ---- how long a job takes ---- */

static double
prompt_time(const AuroraGpuFit *fit, const AuroraGpuJob *job)
{
	return fit->prompt_rate > 0 ? job->prompt_tokens * fit->uncached / fit->prompt_rate : 0;
}

static double
output_time(const AuroraGpuFit *fit, const AuroraGpuJob *job)
{
	return fit->decode_rate > 0 ? job->output_tokens / fit->decode_rate : 0;
}

static double
decode_time(const AuroraGpuView *view, int device, const AuroraGpuJob *job)
{
	const AuroraGpuFit *fit = fit_of(view, device, job->model);
	const AuroraGpuDevice *on = &view->devices[device];
	int others = on->busy < on->slots ? on->busy : on->slots - 1;

	return output_time(fit, job) * (1 + view->settings.slowdown * (others > 0 ? others : 0));
}

double
aurora_gpu_estimate(const AuroraGpuView *view, int device, const AuroraGpuJob *job)
{
	const AuroraGpuFit *fit = fit_of(view, device, job->model);

	return (fit->resident ? 0 : fit->load) + prompt_time(fit, job) + decode_time(view, device, job);
}

/* ---- memory ---- */

static void
sum_idle_models(AuroraGpuView *view)
{
	for (int device = 0; device < view->device_count; device++)
	{
		AuroraGpuDevice *on = &view->devices[device];

		on->left = 0;
		on->left_time = 0;
		on->idle_size = 0;
		for (int model = 0; model < view->model_count; model++)
		{
			const AuroraGpuFit *fit = fit_of(view, device, model);

			if (fit->resident && fit->active == 0)
				on->idle_size += fit->size;
		}
	}
}

/*
 * Can the device never have the model: it is larger than its memory.
 */
static bool
is_too_large(const AuroraGpuDevice *on, const AuroraGpuFit *fit)
{
	return on->memory > 0 && fit->size > on->memory;
}

/*
 * Is there memory for the model now, models that nobody uses unloaded.
 */
static bool
has_room(const AuroraGpuDevice *on, const AuroraGpuFit *fit)
{
	return fit->resident || fit->size <= 0 || on->memory <= 0 ||
		   fit->size <= on->memory_free + on->idle_size;
}

/*
 * Time to load again those models that must be unloaded although jobs wait for them.
 */
static double
unload_cost(const AuroraGpuView *view, int device, int model)
{
	const AuroraGpuDevice *on = &view->devices[device];
	const AuroraGpuFit *wanted = fit_of(view, device, model);
	double missing = wanted->size - on->memory_free;
	double cost = 0;

	if (wanted->resident || wanted->size <= 0 || on->memory <= 0)
		return 0;
	for (int wanted_too = 0; wanted_too < 2 && missing > 0; wanted_too++)
		for (int other = 0; other < view->model_count && missing > 0; other++)
		{
			const AuroraGpuFit *fit = fit_of(view, device, other);

			if (!fit->resident || fit->active > 0 || (view->waiters[other] > 0) != wanted_too)
				continue;
			missing -= fit->size;
			if (wanted_too)
				cost += fit->load;
		}
	return cost;
}

/* ---- one job on one device ---- */

/*
 * How much rather this device should run the job than the fastest other one that could: a device
 * that is slow at everything does what it is least slow at, and what no other has.
 */
static double
advantage(const AuroraGpuView *view, int device, const AuroraGpuJob *job, double own)
{
	double most = view->settings.advantage;
	double best = most;

	if (own < SHORTEST)
		own = SHORTEST;
	for (int other = 0; other < view->device_count; other++)
	{
		const AuroraGpuDevice *on = &view->devices[other];
		const AuroraGpuFit *fit = fit_of(view, other, job->model);
		double time;

		if (other == device || !on->is_live || on->slots < 1 || !fit->present ||
			is_too_large(on, fit))
			continue;
		time = prompt_time(fit, job) + output_time(fit, job);
		best = least(best, (time < SHORTEST ? SHORTEST : time) / own);
	}
	return best < 1 / most ? 1 / most : best;
}

/*
 * How much a job counts: by its class while it is young; out of patience, by its wait, so that no
 * class starves. That has a limit, or old batch jobs would keep all others waiting for hours.
 */
static double
urgency(const AuroraGpuSettings *settings, const AuroraGpuJob *job)
{
	double age = least(job->age, settings->age_limit);
	double waits = age / settings->patience;
	double impatience = waits * waits * waits;
	double weight = 1 + (settings->weight[job->class] - 1) / (1 + impatience);

	return weight * (1 + age / settings->age_scale + impatience);
}

/*
 * Fills the verdict: can it run here now, and if so what is its score.
 */
static void
judge(const AuroraGpuView *view, int device, const AuroraGpuJob *job, AuroraGpuVerdict *verdict)
{
	const AuroraGpuSettings *settings = &view->settings;
	const AuroraGpuDevice *on = &view->devices[device];
	const AuroraGpuFit *fit = fit_of(view, device, job->model);
	double sharers = view->waiters[job->model];
	double time;

	*verdict = (AuroraGpuVerdict) {.kind = AURORA_GPU_LOWER, .other = -1};
	if (!fit->present)
		verdict->kind = AURORA_GPU_ABSENT;
	else if (is_too_large(on, fit))
		verdict->kind = AURORA_GPU_TOO_LARGE;
	if (verdict->kind != AURORA_GPU_LOWER)
		return;
	verdict->load = fit->resident ? 0 : fit->load;
	verdict->prompt = prompt_time(fit, job);
	verdict->decode = decode_time(view, device, job);
	if (!on->is_live)
		verdict->kind = AURORA_GPU_OFF;
	else if (on->busy >= on->slots)
		verdict->kind = AURORA_GPU_BUSY;
	else if (!has_room(on, fit))
		verdict->kind = AURORA_GPU_NO_ROOM;
	else if (job->class == AURORA_JOB_BATCH && job->age < settings->reserve_age && on->slots > 1 &&
			 on->busy == on->slots - 1)
		verdict->kind = AURORA_GPU_RESERVED;
	if (verdict->kind != AURORA_GPU_LOWER)
		return;
	verdict->unload = unload_cost(view, device, job->model);
	sharers = least(sharers < 1 ? 1 : sharers, settings->share_load);
	time = verdict->prompt + verdict->decode + (verdict->load + verdict->unload) / sharers;
	verdict->score = urgency(settings, job) *
					 advantage(view, device, job, verdict->prompt + verdict->decode) /
					 (time < SHORTEST ? SHORTEST : time);
}

/*
 * When the device would have the job done, behind what is left to it already; less than 0 when it
 * never would.
 */
static double
done_in(const AuroraGpuView *view, int device, const AuroraGpuJob *job)
{
	const AuroraGpuDevice *on = &view->devices[device];
	const AuroraGpuFit *fit = fit_of(view, device, job->model);
	double wait = 0;

	if (!on->is_live || on->slots < 1 || !fit->present || is_too_large(on, fit))
		return -1;
	if (!has_room(on, fit))
		wait = on->all_free;
	else if (on->busy >= on->slots)
		wait = on->next_free;
	if (on->busy + on->left >= on->slots)
		wait += on->left_time / on->slots;
	return wait + aurora_gpu_estimate(view, device, job);
}

/*
 * What loading counts for beyond its time, on a device that would have to.
 */
static double
load_surcharge(const AuroraGpuView *view, int device, const AuroraGpuJob *job)
{
	const AuroraGpuFit *fit = fit_of(view, device, job->model);

	return fit->resident ? 0 : fit->load * (view->settings.leave_load - 1);
}

/*
 * Another device that has the job done sooner, or -1. What loads a model keeps a slot from others,
 * so that one that has it may be somewhat later.
 */
static int
better_device(const AuroraGpuView *view, int device, const AuroraGpuJob *job, double own,
			  double *in)
{
	int best = -1;
	double least_cost = own + load_surcharge(view, device, job) - view->settings.leave_margin;

	if (job->age > view->settings.leave_age)
		return -1;
	for (int other = 0; other < view->device_count; other++)
	{
		double time = other == device ? -1 : done_in(view, other, job);
		double cost = time + load_surcharge(view, other, job);

		if (time < 0 || cost >= least_cost)
			continue;
		best = other;
		least_cost = cost;
		*in = time;
	}
	return best;
}

/* ---- memory for an interactive job ---- */

/*
 * Of the devices that could have the job but for models in use, the one that is free first; -1 when
 * a device has room for it now.
 */
static int
first_to_drain(const AuroraGpuView *view, const AuroraGpuJob *job)
{
	int first = -1;

	for (int device = 0; device < view->device_count; device++)
	{
		const AuroraGpuDevice *on = &view->devices[device];
		const AuroraGpuFit *fit = fit_of(view, device, job->model);

		if (!on->is_live || on->slots < 1 || !fit->present || is_too_large(on, fit))
			continue;
		if (has_room(on, fit))
			return -1;
		if (first < 0 || on->all_free < view->devices[first].all_free)
			first = device;
	}
	return first;
}

static bool
must_drain(const AuroraGpuView *view, int device, const AuroraGpuVerdict *verdicts)
{
	for (int i = 0; i < view->job_count; i++)
	{
		const AuroraGpuJob *job = &view->jobs[i];

		if (!job->is_gone && !job->is_hidden && job->class == AURORA_JOB_INTERACTIVE &&
			verdicts[i].kind == AURORA_GPU_NO_ROOM && job->age >= view->settings.drain_after &&
			first_to_drain(view, job) == device)
			return true;
	}
	return false;
}

/* ---- the decision ---- */

static int
highest(const AuroraGpuView *view, const AuroraGpuVerdict *verdicts)
{
	int best = -1;

	for (int i = 0; i < view->job_count; i++)
		if (!view->jobs[i].is_gone && !view->jobs[i].is_hidden &&
			verdicts[i].kind == AURORA_GPU_LOWER &&
			(best < 0 || verdicts[i].score > verdicts[best].score))
			best = i;
	return best;
}

int
aurora_gpu_decide(AuroraGpuView *view, int device, AuroraGpuVerdict *verdicts)
{
	int best;

	sum_idle_models(view);
	for (int i = 0; i < view->job_count; i++)
		if (!view->jobs[i].is_hidden)
			judge(view, device, &view->jobs[i], &verdicts[i]);
	if (must_drain(view, device, verdicts))
		for (int i = 0; i < view->job_count; i++)
			if (verdicts[i].kind == AURORA_GPU_LOWER)
				verdicts[i].kind = AURORA_GPU_DRAINING;
	while ((best = highest(view, verdicts)) >= 0)
	{
		AuroraGpuVerdict *verdict = &verdicts[best];
		double own = verdict->load + verdict->prompt + verdict->decode;

		verdict->other = better_device(view, device, &view->jobs[best], own, &verdict->other_in);
		if (verdict->other < 0)
		{
			verdict->kind = AURORA_GPU_CHOSEN;
			return best;
		}
		verdict->kind = AURORA_GPU_LEFT;
		view->devices[verdict->other].left++;
		view->devices[verdict->other].left_time +=
			aurora_gpu_estimate(view, verdict->other, &view->jobs[best]);
	}
	return -1;
}

/*
 * Unloads models that nobody uses until there is room: first those that nobody waits for.
 */
static void
make_room(AuroraGpuView *view, int device, const AuroraGpuFit *wanted)
{
	AuroraGpuDevice *on = &view->devices[device];

	if (wanted->size <= 0 || on->memory <= 0)
		return;
	for (int wanted_too = 0; wanted_too < 2; wanted_too++)
		for (int model = 0; model < view->model_count && on->memory_free < wanted->size; model++)
		{
			AuroraGpuFit *fit = fit_of(view, device, model);

			if (!fit->resident || fit->active > 0 || (view->waiters[model] > 0) != wanted_too)
				continue;
			fit->resident = false;
			on->memory_free += fit->size;
		}
	on->memory_free -= wanted->size;
}

void
aurora_gpu_start(AuroraGpuView *view, int device, int job)
{
	AuroraGpuJob *started = &view->jobs[job];
	AuroraGpuFit *fit = fit_of(view, device, started->model);
	AuroraGpuDevice *on = &view->devices[device];
	double time = aurora_gpu_estimate(view, device, started);

	if (!fit->resident)
		make_room(view, device, fit);
	fit->resident = true;
	fit->active++;
	on->next_free = on->busy == 0 ? time : least(on->next_free, time);
	if (time > on->all_free)
		on->all_free = time;
	on->busy++;
	started->is_gone = true;
	if (view->waiters[started->model] > 0)
		view->waiters[started->model]--;
}

/* ---- the forecast ---- */

static void
end_running(AuroraGpuView *view, AuroraGpuRunning *running, int count, double now)
{
	for (int i = 0; i < count; i++)
		if (running[i].device >= 0 && running[i].ends_in <= now)
		{
			if (running[i].model >= 0)
				fit_of(view, running[i].device, running[i].model)->active--;
			view->devices[running[i].device].busy--;
			running[i].device = -1;
		}
	for (int device = 0; device < view->device_count; device++)
	{
		view->devices[device].next_free = 0;
		view->devices[device].all_free = 0;
	}
	for (int i = 0; i < count; i++)
		if (running[i].device >= 0)
		{
			AuroraGpuDevice *on = &view->devices[running[i].device];
			double left = running[i].ends_in - now;

			on->next_free = on->all_free == 0 ? left : least(on->next_free, left);
			if (left > on->all_free)
				on->all_free = left;
		}
}

static double
next_end(const AuroraGpuRunning *running, int count)
{
	double next = -1;

	for (int i = 0; i < count; i++)
		if (running[i].device >= 0 && (next < 0 || running[i].ends_in < next))
			next = running[i].ends_in;
	return next;
}

/*
 * Leaves the first jobs of each class in sight that the device could start.
 */
static void
hide_others(AuroraGpuView *view, int device, int window)
{
	int seen[AURORA_JOB_CLASS_COUNT] = {0};

	for (int i = 0; i < view->job_count; i++)
	{
		AuroraGpuJob *job = &view->jobs[i];
		const AuroraGpuFit *fit = fit_of(view, device, job->model);

		job->is_hidden = job->is_gone || !fit->present ||
						 is_too_large(&view->devices[device], fit) || seen[job->class] >= window;
		if (!job->is_hidden)
			seen[job->class]++;
	}
}

static bool
any_waits(const AuroraGpuView *view)
{
	for (int i = 0; i < view->job_count; i++)
		if (!view->jobs[i].is_gone)
			return true;
	return false;
}

/*
 * Has the device start what it would now; true when it does.
 */
static bool
start_one(AuroraGpuView *view, int device, AuroraGpuRunning *running, int *running_count,
		  int window, double now, AuroraGpuVerdict *verdicts, AuroraGpuForecast *forecasts)
{
	AuroraGpuDevice *on = &view->devices[device];
	int slot = 0;
	int job;
	double time;

	if (!on->is_live || on->busy >= on->slots)
		return false;
	hide_others(view, device, window);
	job = aurora_gpu_decide(view, device, verdicts);
	if (job < 0)
		return false;
	time = aurora_gpu_estimate(view, device, &view->jobs[job]);
	forecasts[job] =
		(AuroraGpuForecast) {.starts_in = now, .ends_in = now + time, .device = device};
	while (slot < *running_count && running[slot].device >= 0)
		slot++;
	if (slot == *running_count)
		(*running_count)++;
	running[slot] = (AuroraGpuRunning) {
		.device = device, .model = view->jobs[job].model, .ends_in = now + time};
	aurora_gpu_start(view, device, job);
	return true;
}

void
aurora_gpu_forecast(AuroraGpuView *view, AuroraGpuRunning *running, int running_count, int window,
					AuroraGpuVerdict *verdicts, AuroraGpuForecast *forecasts)
{
	double now = 0;
	double next;
	int idle = 0; /* times that nothing ran although jobs wait */

	for (int i = 0; i < view->job_count; i++)
		forecasts[i] = (AuroraGpuForecast) {.starts_in = -1, .ends_in = -1, .device = -1};
	for (;;)
	{
		bool started = true;

		end_running(view, running, running_count, now);
		while (started)
		{
			started = false;
			for (int device = 0; device < view->device_count; device++)
				if (start_one(view, device, running, &running_count, window, now, verdicts,
							  forecasts))
					started = true;
		}
		next = next_end(running, running_count);
		if (!any_waits(view) || (next < 0 && ++idle > 2))
			break;
		if (next < 0) /* what is kept from a slot, or left to a device that does not want it */
			next = now + (idle == 1 ? view->settings.reserve_age : view->settings.leave_age) + 1;
		else
			idle = 0;
		for (int i = 0; i < view->job_count; i++)
			view->jobs[i].age += next - now;
		now = next;
	}
}
