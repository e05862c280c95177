// Runs a peer of aurora's job queue with the modes, options and output of jobs_client.c, where they are
// described: node jobs_peer.mjs graphile|pgboss MODE [OPTION=VALUE]... Each peer is a module that gives
// setup, open, submit, submitMany, work, watch, claimOrder and claimStatement.
import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import pg from 'pg';

const [peerName, mode, ...words] = process.argv.slice(2);
const peer = await import(`./jobs_${peerName}.mjs`);
const option = { clients: 1, batch: 1, jobs: 1000, seconds: 600, pause: 20, rate: 30, idle: '' };
for (const word of words) {
    const [name, value] = word.split('=');
    option[name] = Number.isNaN(Number(value)) ? value : Number(value);
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const seconds = () => Number(process.hrtime.bigint()) / 1e9;

function payload(number, kind = 'none') {
    const data = { n: number, class: kind, pad: '' };
    data.pad = 'x'.repeat(200 - JSON.stringify(data).length);
    return data;
}

function quantile(values, share) {
    const sorted = [...values].sort((a, b) => a - b);
    return sorted.length ? sorted[Math.round(share * (sorted.length - 1))] : 0;
}

// So many jobs are done before the clock runs, for the compiler of node.
const warmUp = () => (option.jobs < 1000 ? 0 : 200);

async function submit() {
    const share = Math.floor(option.jobs / option.clients);
    const times = [];
    async function client(number) {
        for (let i = 0; i < share; i += option.batch) {
            const began = seconds();
            const count = Math.min(option.batch, share - i);
            if (option.batch === 1) await peer.submit(payload(number * share + i));
            else await peer.submitMany(Array.from({ length: count }, (_, k) => payload(number * share + i + k)));
            times.push((seconds() - began) * 1e3);
        }
    }
    await peer.open(option.clients);
    for (let i = 0; i < warmUp(); i++) await peer.submit(payload(i));
    const started = seconds();
    await Promise.all(Array.from({ length: option.clients }, (_, number) => client(number)));
    const rate = (share * option.clients) / (seconds() - started);
    console.log(rate.toFixed(0), quantile(times, 0.5).toFixed(3), quantile(times, 0.99).toFixed(3), share * option.clients);
}

// The clock runs from the end of the warm-up, or when a worker has its first job, to the last job's end.
async function work() {
    let first = 0;
    let last = 0;
    let done = -warmUp();
    let enough;
    const over = new Promise((resolve) => { enough = resolve; });
    const timer = setTimeout(enough, option.seconds * 1000);
    await peer.open(option.clients);
    const stop = await peer.work(option, {
        began: () => { first ||= seconds(); },
        finished: (count) => {
            done += count;
            last = seconds();
            if (done <= 0) first = last;
            if (done >= option.jobs - warmUp()) enough();
        },
        empty: enough,
    });
    await over;
    clearTimeout(timer);
    const rate = done / (last - first);
    const jobs = done;
    await stop();
    console.log((jobs ? rate : 0).toFixed(0), '-', '-', jobs);
}

// The submitter is a process of its own, so that both do not wait for one event loop.
async function pickup() {
    const child = fork(fileURLToPath(import.meta.url), [peerName, 'submit_when_told', ...words]);
    const told = [];
    const whole = [];
    let had;
    let times;
    const heard = (what) => new Promise((resolve) => child.once('message', (message) => resolve(message[what])));
    const ready = heard('ready');
    await peer.open(1);
    const stop = await peer.watch(option, () => had(seconds()));
    await ready;
    for (let i = 0; i < option.jobs; i++) {
        await pause(option.pause * (1 + ((i * 7) % 10) / 10));
        const picked = new Promise((resolve) => { had = resolve; });
        times = heard('times');
        child.send(i);
        const [before, known] = await times;
        const at = await picked;
        told.push(Math.max(0, at - known) * 1e3);
        whole.push((at - before) * 1e3);
    }
    child.disconnect();
    await stop();
    console.log(quantile(told, 0.5).toFixed(3), quantile(told, 0.99).toFixed(3), quantile(whole, 0.5).toFixed(3));
}

async function submitWhenTold() {
    await peer.open(1);
    process.on('disconnect', () => process.exit());
    process.on('message', async (number) => {
        const before = seconds();
        await peer.submit(payload(number));
        process.send({ times: [before, seconds()] });
    });
    process.send({ ready: true });
    await new Promise(() => {});
}

async function priority() {
    await peer.open(1);
    for (let i = 0; i < 500; i++) await peer.submit(payload(i, 'low'), 'low');
    const started = seconds();
    let next = 0;
    const kinds = await peer.claimOrder(option.jobs, async () => {
        const early = started + next++ / option.rate - seconds();
        if (early > 0) await pause(early * 1e3);
        await peer.submit(payload(next, 'high'), 'high');
    });
    const high = kinds.filter((kind) => kind === 'high').length;
    console.log(high, kinds.length - high);
}

// What the peer's own claim touches: its statement is caught on its way and explained.
async function buffers() {
    const query = pg.Client.prototype.query;
    let caught;
    pg.Client.prototype.query = function (first, values, ...rest) {
        const text = first?.text ?? first;
        if (typeof text === 'string' && peer.claimStatement.test(text)) caught = { text, values: first?.values ?? values };
        return query.call(this, first, values, ...rest);
    };
    let enough;
    const over = new Promise((resolve) => { enough = resolve; });
    await peer.open(1);
    const stop = await peer.work({ ...option, clients: 1, batch: 1, jobs: 10 }, {
        began: () => {}, finished: () => { if (caught) enough(); }, empty: enough,
    });
    await over;
    await stop();
    pg.Client.prototype.query = query;
    const client = new pg.Client();
    await client.connect();
    let sum = 0;
    for (let i = -5; i < option.jobs; i++) {
        const { rows } = await client.query({ text: `EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) ${caught.text}`, values: caught.values });
        const plan = rows[0]['QUERY PLAN'][0].Plan;
        if (i >= 0) sum += plan['Shared Hit Blocks'] + plan['Shared Read Blocks'];
    }
    await client.end();
    console.log((sum / option.jobs).toFixed(1));
}

const modes = { setup: () => peer.setup(), submit, work, pickup, submit_when_told: submitWhenTold, priority, buffers };
await modes[mode]();
process.exit(0);
