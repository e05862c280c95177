// What the gateway is measured beside: a surface by fastify and pg, and a topic by ws and pg, both with
// the key checked and its principal assumed in the database as the gateway does it.
//   node gateway_peer.mjs transaction PORT   GET /api/priorities/surface?top_n=10, in a transaction
//   node gateway_peer.mjs statement PORT     the same, in one statement
//   node gateway_peer.mjs sockets PORT       /ws, with the subscribe of the gateway's protocol; PGREADER reads the topic
import { createHash } from 'node:crypto';
import pg from 'pg';

const [mode, port] = process.argv.slice(2);
const hashOf = (header) => createHash('sha256').update(header?.startsWith('Bearer ') ? header.slice(7) : '').digest();
const assume = { name: 'assume', text: 'SELECT company_id, owner FROM aurora.assume_key($1, $2, NULL, 5000)' };

// Numbers as numbers; times and intervals stay the texts that they came as, which spares a Date.
for (const type of [20, 1700]) pg.types.setTypeParser(type, Number);
for (const type of [1184, 1186]) pg.types.setTypeParser(type, (text) => text);

// As it is usually written: a transaction of four statements.
async function transaction(pool, key, route, query) {
    const client = await pool.connect();
    try {
        await client.query('BEGIN');
        await client.query({ ...assume, values: [hashOf(key), route] });
        const { rows } = await client.query(query);
        await client.query('COMMIT');
        return rows;
    } catch (error) {
        await client.query('ROLLBACK').catch(() => {});
        throw error;
    } finally {
        client.release();
    }
}

// As few round trips as can be: one statement, whose function is called for what the first has given.
const oneStatement = (pool, key, route, topN) => pool.query({
    name: 'one', values: [hashOf(key), route, topN],
    text: `SELECT s.* FROM aurora.assume_key($1, $2, NULL, 5000) k, LATERAL aurora.surface($3 + 0 * k.company_id) s`,
}).then(({ rows }) => rows);

const failed = (error) => (error.code === '28000' ? 401 : error.code === '42501' ? 403 : 500);

async function serveHttp() {
    const { default: fastify } = await import('fastify');
    const pool = new pg.Pool({ max: 4, min: 4 });
    const app = fastify({ logger: false });
    const text = { type: 'string' };
    const number = { type: 'number' };
    const nullable = (type) => ({ type, nullable: true });
    const row = {
        rank: number, item_id: number, kind: text, title: text, quadrant: text, score: number, amount: nullable('number'),
        currency: nullable('string'), act_by: nullable('string'), slack: nullable('string'), why: nullable('string'), lane: number,
        lane0_left_out: nullable('number'),
    };
    const schema = {
        querystring: { type: 'object', properties: { top_n: { type: 'integer', minimum: 1, maximum: 100, default: 10 } } },
        response: { 200: { type: 'array', items: { type: 'object', properties: row } } },
    };

    app.get('/api/priorities/surface', { schema }, async (request, reply) => {
        try {
            const key = request.headers.authorization;
            const topN = request.query.top_n;
            return await (mode === 'statement'
                ? oneStatement(pool, key, 'GET /api/priorities/surface', topN)
                : transaction(pool, key, 'GET /api/priorities/surface',
                    { name: 'surface', text: 'SELECT * FROM aurora.surface($1)', values: [topN] }));
        } catch (error) {
            return reply.code(failed(error)).type('application/problem+json').send({ title: error.message, status: failed(error) });
        }
    });
    await app.listen({ port: Number(port), host: '127.0.0.1' });
}

// One reader for a topic; each event is made a text once and given to all that have subscribed.
async function follow(topic, after, clients) {
    const reader = new pg.Client({ user: process.env.PGREADER });
    await reader.connect();
    for (;;) {
        await reader.query('CALL aurora.wait_events($1, $2, $3)', [topic, after, '10 s']);
        const { rows } = await reader.query({ name: 'events', values: [topic, after],
            text: 'SELECT seq, epoch, at, publisher, client_id, payload::text FROM aurora.events($1, $2, 1000)' });
        for (const event of rows) {
            const { payload, ...rest } = event;
            const text = Buffer.from(`${JSON.stringify({ type: 'event', topic, ...rest }).slice(0, -1)},"payload":${payload}}`);
            for (const client of clients) client.send(text, { binary: false });
            after = event.seq;
        }
    }
}

async function serveSockets() {
    const { WebSocketServer } = await import('ws');
    const pool = new pg.Pool({ max: 4, min: 4 });
    const topics = new Map();
    const server = new WebSocketServer({ port: Number(port), host: '127.0.0.1', perMessageDeflate: false });

    async function subscribe(socket, key, message) {
        const [row] = await transaction(pool, key, 'GET /ws',
            { name: 'topic', text: 'SELECT last_seq FROM aurora.topics WHERE topic = $1', values: [message.topic] });
        if (!topics.has(message.topic)) {
            topics.set(message.topic, new Set());
            follow(message.topic, row?.last_seq ?? 0, topics.get(message.topic));
        }
        topics.get(message.topic).add(socket);
        socket.send(JSON.stringify({ type: 'subscribed', id: message.id, topic: message.topic }));
    }
    server.on('connection', (socket, request) => {
        socket.on('message', (bytes) => subscribe(socket, request.headers.authorization, JSON.parse(bytes)).catch((error) => {
            socket.send(JSON.stringify({ type: 'error', title: error.message }));
        }));
        socket.on('close', () => topics.forEach((clients) => clients.delete(socket)));
    });
}

await (mode === 'sockets' ? serveSockets() : serveHttp());
