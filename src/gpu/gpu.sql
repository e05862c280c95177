-- The GPU mesh: devices and what they have learned, requests to models, and the text that streams back.

-- ---- devices ----

CREATE TABLE aurora.gpu_device (
    node text COLLATE "C" NOT NULL REFERENCES aurora.node (name) ON UPDATE CASCADE ON DELETE CASCADE,
    device int NOT NULL,
    kind text COLLATE "C" NOT NULL,
    state text COLLATE "C" NOT NULL,
    draining boolean NOT NULL,
    slots int NOT NULL,
    busy int NOT NULL,
    memory_total bigint,
    memory_free bigint,
    memory_used bigint,
    reported_at timestamptz NOT NULL,
    uuid text COLLATE "C",
    name text,
    unified boolean NOT NULL,
    utilisation real,
    temperature real,
    power real,
    power_limit real,
    driver text,
    compute_capability text,
    problem text,
    PRIMARY KEY (node, device),
    CONSTRAINT gpu_device_device_check CHECK (device BETWEEN 0 AND 1023),
    CONSTRAINT gpu_device_kind_check CHECK (kind IN ('cuda', 'metal', 'rocm', 'cpu', 'declared')),
    CONSTRAINT gpu_device_state_check CHECK (state IN ('ready', 'loading', 'lost', 'down')),
    CONSTRAINT gpu_device_slots_check CHECK (slots BETWEEN 0 AND 1024 AND busy >= 0),
    CONSTRAINT gpu_device_memory_check CHECK (memory_total >= 0 AND memory_free >= 0 AND memory_used >= 0)
) WITH (fillfactor = 30, autovacuum_vacuum_threshold = 200, autovacuum_vacuum_scale_factor = 0, vacuum_truncate = off);
COMMENT ON TABLE aurora.gpu_device IS 'What runs models, as the worker of its node last reported it. Read aurora.devices.';
COMMENT ON COLUMN aurora.gpu_device.node IS 'The node.';
COMMENT ON COLUMN aurora.gpu_device.device IS 'Number of the device in the node.';
COMMENT ON COLUMN aurora.gpu_device.kind IS 'cuda, metal, rocm, cpu, or declared: by the worker''s configuration.';
COMMENT ON COLUMN aurora.gpu_device.state IS 'ready; loading: a model; lost: the driver has no answer; down: its inference server has none.';
COMMENT ON COLUMN aurora.gpu_device.draining IS 'Does its worker finish what runs and take nothing more.';
COMMENT ON COLUMN aurora.gpu_device.slots IS 'How many jobs run at once.';
COMMENT ON COLUMN aurora.gpu_device.busy IS 'How many did.';
COMMENT ON COLUMN aurora.gpu_device.memory_total IS 'Bytes of memory; null when it is not known.';
COMMENT ON COLUMN aurora.gpu_device.memory_free IS 'Bytes that nothing uses.';
COMMENT ON COLUMN aurora.gpu_device.memory_used IS 'Bytes in use.';
COMMENT ON COLUMN aurora.gpu_device.reported_at IS 'When it was reported, by the lead''s clock.';
COMMENT ON COLUMN aurora.gpu_device.uuid IS 'Name that the maker gave this very device.';
COMMENT ON COLUMN aurora.gpu_device.name IS 'Its model.';
COMMENT ON COLUMN aurora.gpu_device.unified IS 'Does it share the memory of the machine.';
COMMENT ON COLUMN aurora.gpu_device.utilisation IS 'Per cent of the time that it was busy.';
COMMENT ON COLUMN aurora.gpu_device.temperature IS 'Degrees Celsius.';
COMMENT ON COLUMN aurora.gpu_device.power IS 'Watts that it draws.';
COMMENT ON COLUMN aurora.gpu_device.power_limit IS 'Watts that it may draw.';
COMMENT ON COLUMN aurora.gpu_device.driver IS 'Version of its driver.';
COMMENT ON COLUMN aurora.gpu_device.compute_capability IS 'Compute capability, of an NVIDIA device.';
COMMENT ON COLUMN aurora.gpu_device.problem IS 'What is wrong with it.';

CREATE TABLE aurora.gpu_model (
    node text COLLATE "C" NOT NULL,
    device int NOT NULL,
    model text COLLATE "C" NOT NULL,
    resident boolean NOT NULL,
    size bigint,
    context int,
    PRIMARY KEY (node, device, model),
    FOREIGN KEY (node, device) REFERENCES aurora.gpu_device ON UPDATE CASCADE ON DELETE CASCADE,
    CONSTRAINT gpu_model_model_check CHECK (length(model) BETWEEN 1 AND 200),
    CONSTRAINT gpu_model_size_check CHECK (size >= 0 AND context >= 0)
) WITH (fillfactor = 50, vacuum_truncate = off);
CREATE INDEX gpu_model_model ON aurora.gpu_model (model);
COMMENT ON INDEX aurora.gpu_model_model IS 'Who has a model.';
COMMENT ON TABLE aurora.gpu_model IS 'The models that a device can run, as last reported.';
COMMENT ON COLUMN aurora.gpu_model.node IS 'The node.';
COMMENT ON COLUMN aurora.gpu_model.device IS 'The device.';
COMMENT ON COLUMN aurora.gpu_model.model IS 'Name of the model, as its inference server has it.';
COMMENT ON COLUMN aurora.gpu_model.resident IS 'Is it loaded.';
COMMENT ON COLUMN aurora.gpu_model.size IS 'Bytes that it takes in memory; null when it is not known.';
COMMENT ON COLUMN aurora.gpu_model.context IS 'Tokens of its context; null when it is not known.';

CREATE TABLE aurora.gpu_speed (
    node text COLLATE "C" NOT NULL REFERENCES aurora.node (name) ON UPDATE CASCADE ON DELETE CASCADE,
    device int NOT NULL,
    model text COLLATE "C" NOT NULL,
    jobs bigint NOT NULL,
    loads bigint NOT NULL,
    load_ms real,
    prompt_rate real,
    decode_rate real,
    mean_output real,
    uncached real,
    learned_at timestamptz NOT NULL,
    PRIMARY KEY (node, device, model)
) WITH (fillfactor = 40, vacuum_truncate = off);
COMMENT ON TABLE aurora.gpu_speed IS 'What finished jobs have taught about models on devices: means in which the last ones weigh most. It outlives the report of the device.';
COMMENT ON COLUMN aurora.gpu_speed.node IS 'The node.';
COMMENT ON COLUMN aurora.gpu_speed.device IS 'The device.';
COMMENT ON COLUMN aurora.gpu_speed.model IS 'The model.';
COMMENT ON COLUMN aurora.gpu_speed.jobs IS 'Jobs learned from.';
COMMENT ON COLUMN aurora.gpu_speed.loads IS 'Loads of the model learned from.';
COMMENT ON COLUMN aurora.gpu_speed.load_ms IS 'Milliseconds to load the model; null when it has not been loaded yet.';
COMMENT ON COLUMN aurora.gpu_speed.prompt_rate IS 'Prompt tokens computed in a second.';
COMMENT ON COLUMN aurora.gpu_speed.decode_rate IS 'Tokens of output in a second, for one job.';
COMMENT ON COLUMN aurora.gpu_speed.mean_output IS 'Tokens of output of a job.';
COMMENT ON COLUMN aurora.gpu_speed.uncached IS 'Share of prompt tokens that were not in the cache.';
COMMENT ON COLUMN aurora.gpu_speed.learned_at IS 'When a job last taught something.';

-- ---- requests ----

CREATE TABLE aurora.generation (
    job_id bigint NOT NULL,
    company_id int NOT NULL REFERENCES aurora.company,
    embeds boolean NOT NULL,
    prompt_tokens int NOT NULL,
    max_tokens int,
    deadline timestamptz,
    PRIMARY KEY (job_id, company_id)
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000, vacuum_truncate = off);
CREATE INDEX generation_deadline ON aurora.generation (deadline) WHERE deadline IS NOT NULL;
COMMENT ON INDEX aurora.generation_deadline IS 'Whose time is over first.';
COMMENT ON TABLE aurora.generation IS 'What the claim of a job needs to know of its request without reading it. There while the job is live.';
COMMENT ON COLUMN aurora.generation.job_id IS 'The job.';
COMMENT ON COLUMN aurora.generation.company_id IS 'Whose job it is.';
COMMENT ON COLUMN aurora.generation.embeds IS 'Are vectors wanted, not text.';
COMMENT ON COLUMN aurora.generation.prompt_tokens IS 'About how many tokens the prompt has: a quarter of its bytes.';
COMMENT ON COLUMN aurora.generation.max_tokens IS 'Tokens of output at most; null for no limit.';
COMMENT ON COLUMN aurora.generation.deadline IS 'When the job is given up; null for never.';

CREATE INDEX gpu_job_again ON aurora.job (queue_id, job_id) WHERE state = 'waiting' AND attempt > 0;
COMMENT ON INDEX aurora.gpu_job_again IS 'What waits after an attempt that failed or lost its lease: a device looks at these first, wherever they stand in the queue.';

-- ---- the text that streams back ----

CREATE TABLE aurora.generation_output (
    job_id bigint NOT NULL,
    company_id int NOT NULL,
    token_no int NOT NULL,
    began_at int NOT NULL,
    slot smallint NOT NULL,
    text text NOT NULL,
    PRIMARY KEY (job_id, token_no, company_id, slot)
) PARTITION BY LIST (slot);
COMMENT ON TABLE aurora.generation_output IS 'Text as models gave it, a row for a few tokens, in a ring of partitions of which the oldest is emptied when the next is needed. Read it with job_output().';
DO $$
DECLARE
    c text;
BEGIN
    FOR slot IN 0..2 LOOP
        EXECUTE format('CREATE TABLE aurora.generation_output_%s PARTITION OF aurora.generation_output FOR VALUES IN (%s)
                        WITH (autovacuum_vacuum_insert_scale_factor = 1, vacuum_truncate = off)', slot, slot);
        EXECUTE format('COMMENT ON TABLE aurora.generation_output_%s IS %L', slot, format('Place %s in the ring of aurora.generation_output.', slot));
        EXECUTE format('SELECT pg_catalog.pg_extension_config_dump(%L, '''')', format('aurora.generation_output_%s', slot));
    END LOOP;
    FOREACH c IN ARRAY ARRAY['', '_0', '_1', '_2'] LOOP
        EXECUTE format($c$
            COMMENT ON COLUMN aurora.generation_output%1$s.job_id IS 'The job.';
            COMMENT ON COLUMN aurora.generation_output%1$s.company_id IS 'Whose job it is.';
            COMMENT ON COLUMN aurora.generation_output%1$s.token_no IS 'Number of the last token of the row, counted on over restarts.';
            COMMENT ON COLUMN aurora.generation_output%1$s.began_at IS 'Number after which the text that counts begins: 0, or that of the row which says that it began anew.';
            COMMENT ON COLUMN aurora.generation_output%1$s.slot IS 'Place in the ring.';
            COMMENT ON COLUMN aurora.generation_output%1$s.text IS 'The text of these tokens.'; $c$, c);
    END LOOP;
END
$$;

CREATE TABLE aurora.generation_output_ring (
    slot smallint PRIMARY KEY,
    filled_from timestamptz NOT NULL,
    CONSTRAINT generation_output_ring_slot_check CHECK (slot BETWEEN 0 AND 2)
);
COMMENT ON TABLE aurora.generation_output_ring IS 'Since when each place in the ring of streamed text has been filled. The latest is being filled; without a row it is place 0.';
COMMENT ON COLUMN aurora.generation_output_ring.slot IS 'Place in the ring.';
COMMENT ON COLUMN aurora.generation_output_ring.filled_from IS 'Since when text goes there.';

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['gpu_device', 'gpu_model', 'gpu_speed', 'generation', 'generation_output', 'generation_output_ring'] LOOP
        PERFORM pg_catalog.pg_extension_config_dump(('aurora.' || name)::regclass, '');
    END LOOP;
END
$$;
