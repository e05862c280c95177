// graphile-worker as its documentation recommends it: one pool of workers with as many concurrent jobs
// as there are workers, or, by batch, pools with a local queue and batched completions. Lower
// priorities go first.
import { EventEmitter } from 'node:events';
import { Logger, WorkerPreset, makeWorkerUtils, run } from 'graphile-worker';
import pg from 'pg';

export const claimStatement = /_private_jobs as jobs[\s\S]*skip locked/i;
const priorities = { none: 0, low: 10, high: -10 };
const logger = new Logger(() => (level, message) => { if (level === 'error') console.error(message); });
let utils;

function preset(worker) {
    return { extends: [WorkerPreset], worker: { logger, ...worker } };
}

// graphile-worker wants pools to have handlers for errors.
function makePool(max) {
    const pool = new pg.Pool({ max });
    const report = (error) => console.error(error.message);
    pool.on('error', report);
    pool.on('connect', (client) => client.on('error', report));
    return pool;
}

export async function setup() {
    const client = new pg.Client();
    await client.connect();
    await client.query('DROP SCHEMA IF EXISTS graphile_worker CASCADE');
    await client.end();
    await open(1);
    await utils.migrate();
}

export async function open(clients) {
    utils = await makeWorkerUtils({ pgPool: makePool(clients), preset: preset({}) });
}

export async function submit(data, kind = 'none') {
    await utils.addJob('bench', data, { priority: priorities[kind] });
}

export async function submitMany(all) {
    await utils.addJobs(all.map((data) => ({ identifier: 'bench', payload: data })));
}

function start(task, events, worker) {
    return run({
        pgPool: makePool(worker.concurrentJobs + 2),
        noHandleSignals: true,
        events,
        parsedCronItems: [],
        taskList: { bench: task },
        preset: preset(worker),
    });
}

function batched(size) {
    return { concurrentJobs: size, localQueue: { size }, completeJobBatchDelay: 0, failJobBatchDelay: 0 };
}

export async function work(option, on) {
    const pools = option.batch === 1 ? 1 : option.clients;
    const runners = [];
    for (let i = 0; i < pools; i++) {
        const events = new EventEmitter();
        events.on('job:complete', () => on.finished(1));
        runners.push(await start(async () => on.began(), events,
            option.batch === 1 ? { concurrentJobs: option.clients } : batched(option.batch)));
    }
    return () => Promise.all(runners.map((runner) => runner.stop()));
}

export async function watch(option, had) {
    const runner = await start(async () => had(), new EventEmitter(), { concurrentJobs: 1 });
    return () => runner.stop();
}

// A claim follows on the task's end, so the next high job comes in within the task.
export async function claimOrder(count, before) {
    const kinds = [];
    let enough;
    const over = new Promise((resolve) => { enough = resolve; });
    await before();
    const runner = await start(async (data) => {
        kinds.push(data.class);
        if (kinds.length >= count) enough();
        else await before();
    }, new EventEmitter(), { concurrentJobs: 1 });
    await over;
    const taken = kinds.slice(0, count);
    await runner.stop();
    return taken;
}
