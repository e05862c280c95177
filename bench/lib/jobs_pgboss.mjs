// pg-boss with its default settings. Jobs are taken with fetch() and complete(); a worker that waits is
// one of work(), which polls as often as it may, or with idle=listen is woken. Higher priorities go first.
import { PgBoss } from 'pg-boss';
import pg from 'pg';

export const claimStatement = /FOR UPDATE OF j SKIP LOCKED/i;
const queue = 'bench';
const priorities = { none: 0, low: 1, high: 10 };
const woken = process.argv.includes('idle=listen');
let boss;

async function connect(options) {
    boss = new PgBoss({ host: process.env.PGHOST, port: Number(process.env.PGPORT), user: process.env.PGUSER,
        database: process.env.PGDATABASE, ...options });
    boss.on('error', (error) => console.error(error.message));
    await boss.start();
}

export async function setup() {
    const client = new pg.Client();
    await client.connect();
    await client.query('DROP SCHEMA IF EXISTS pgboss CASCADE');
    await client.end();
    await connect({});
    await boss.createQueue(queue, { notify: woken });
}

export async function open(clients) {
    await connect({ max: clients + 2, useListenNotify: woken });
}

export async function submit(data, kind = 'none') {
    await boss.send(queue, data, { priority: priorities[kind] });
}

export async function submitMany(all) {
    await boss.insert(queue, all.map((data) => ({ data })));
}

export async function work(option, on) {
    let left = option.jobs;
    let stopping = false;
    async function worker() {
        while (!stopping && left > 0) {
            const jobs = await boss.fetch(queue, { batchSize: option.batch });
            if (jobs.length === 0) break;
            on.began();
            left -= jobs.length;
            await boss.complete(queue, jobs.map((job) => job.id));
            on.finished(jobs.length);
        }
    }
    const workers = Promise.all(Array.from({ length: option.clients }, worker)).then(on.empty);
    return async () => {
        stopping = true;
        await workers;
    };
}

export async function watch(option, had) {
    await boss.work(queue, { batchSize: 1, pollingIntervalSeconds: 0.5 }, async () => had());
    return () => boss.offWork(queue);
}

export async function claimOrder(count, before) {
    const kinds = [];
    while (kinds.length < count) {
        await before();
        const [job] = await boss.fetch(queue);
        kinds.push(job.data.class);
        await boss.complete(queue, job.id);
    }
    return kinds;
}
