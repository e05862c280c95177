// Has OpenAI's own client ask the gateway, and prints one line of JSON with what each call gave.
//   node openai_client.mjs BASE_URL KEY
import OpenAI, { APIError } from 'openai';

const [baseURL, apiKey] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const question = { model: 'test', messages: [{ role: 'user', content: 'Why is the sky blue?' }], max_tokens: 12 };

const problem = (error) => (error instanceof APIError
    ? { name: error.constructor.name, status: error.status, code: error.code, type: error.type, param: error.param, message: error.message }
    : { name: error.constructor.name, message: String(error) });

async function failing(call) {
    try {
        await call();
        return { name: 'none' };
    } catch (error) {
        return problem(error);
    }
}

async function streamed() {
    const parts = [];
    let finish = null;
    let usage = null;
    const stream = await client.chat.completions.create({ ...question, stream: true, stream_options: { include_usage: true } });
    for await (const chunk of stream) {
        if (chunk.choices[0]?.delta?.content) parts.push(chunk.choices[0].delta.content);
        finish = chunk.choices[0]?.finish_reason ?? finish;
        usage = chunk.usage ?? usage;
    }
    return { parts: parts.length, text: parts.join(''), finish, usage };
}

// Goes away after the first words.
async function abandoned() {
    const stream = await client.chat.completions.create({
        ...question, messages: [{ role: 'user', content: 'Go on for ever' }], max_tokens: 4000, stream: true,
    });
    let parts = 0;
    for await (const chunk of stream) {
        if (chunk.choices[0]?.delta?.content) parts += 1;
        if (parts === 3) break;
    }
    return { parts };
}

const calls = {
    models: async () => (await client.models.list()).data.map((model) => model.id),
    model: async () => (await client.models.retrieve('test')).id,
    no_model: () => failing(() => client.models.retrieve('no-such-model')),
    chat: async () => client.chat.completions.create(question),
    streamed,
    embeddings: async () => {
        const answer = await client.embeddings.create({ model: 'test', input: ['one', 'two'] });
        return { count: answer.data.length, numbers: answer.data[0].embedding.length, index: answer.data[1].index, object: answer.object };
    },
    unknown_model: () => failing(() => client.chat.completions.create({ ...question, model: 'no-such-model' })),
    bad_temperature: () => failing(() => client.chat.completions.create({ ...question, temperature: 17 })),
    no_messages: () => failing(() => client.chat.completions.create({ ...question, messages: [] })),
    tools: () => failing(() => client.chat.completions.create({
        ...question, tools: [{ type: 'function', function: { name: 'f', parameters: {} } }],
    })),
    wrong_key: () => failing(() => new OpenAI({ baseURL, apiKey: `aur_${'A'.repeat(43)}`, maxRetries: 0 }).models.list()),
    abandoned,
};

const answers = {};
for (const [name, call] of Object.entries(calls)) {
    try {
        answers[name] = await call();
    } catch (error) {
        answers[name] = { failed: problem(error) };
    }
}
console.log(JSON.stringify(answers));
