-- Priority: items, what they depend on, and the surface.

-- ---- types ----

CREATE TYPE aurora.item_level AS ENUM ('human', 'agent', 'self');
COMMENT ON TYPE aurora.item_level IS 'Who an item is for. human: shown to a person; agent: done by the AI agent; self: silent maintenance.';

CREATE TYPE aurora.item_state AS ENUM ('open', 'done', 'dismissed', 'delegated', 'archived');
COMMENT ON TYPE aurora.item_state IS 'Where an item stands. delegated: handed to somebody outside; archived: put away by itself, restorable for 30 days.';

CREATE TYPE aurora.item_quadrant AS ENUM ('Q1_DO_NOW', 'Q2_SCHEDULE', 'Q3_DELEGATE', 'Q4_ELIMINATE');
COMMENT ON TYPE aurora.item_quadrant IS 'Important and urgent, important only, urgent only, neither.';

CREATE TYPE aurora.item_outcome AS ENUM ('won', 'lost');
COMMENT ON TYPE aurora.item_outcome IS 'How a deal ended.';

-- ---- tables ----

CREATE TABLE aurora.company_kind (
    company_id int NOT NULL REFERENCES aurora.company,
    kind text COLLATE "C" NOT NULL,
    kind_no smallint NOT NULL,
    base text COLLATE "C" NOT NULL,
    half_life interval,
    stall_limit interval,
    default_deadline interval,
    kind_offset double precision,
    PRIMARY KEY (company_id, kind),
    CONSTRAINT company_kind_kind_no_key UNIQUE (company_id, kind_no),
    CONSTRAINT company_kind_kind_check CHECK (kind ~ '^[a-z][a-z0-9_]{0,62}$'),
    CONSTRAINT company_kind_kind_no_check CHECK (kind_no BETWEEN 0 AND 63),
    CONSTRAINT company_kind_half_life_check CHECK (extract(epoch FROM half_life) BETWEEN 36 AND 31536000),
    CONSTRAINT company_kind_stall_limit_check CHECK (extract(epoch FROM stall_limit) BETWEEN 0 AND 315360000),
    CONSTRAINT company_kind_default_deadline_check CHECK (extract(epoch FROM default_deadline) BETWEEN 0 AND 315360000),
    CONSTRAINT company_kind_kind_offset_check CHECK (kind_offset BETWEEN -100 AND 100)
);
COMMENT ON TABLE aurora.company_kind IS 'A company''s own kinds, and its changes to the built-in ones. aurora.kinds shows all in effect.';
COMMENT ON COLUMN aurora.company_kind.company_id IS 'The company.';
COMMENT ON COLUMN aurora.company_kind.kind IS 'Name of the kind.';
COMMENT ON COLUMN aurora.company_kind.kind_no IS 'Number of the kind within the company, as cells carry it.';
COMMENT ON COLUMN aurora.company_kind.base IS 'The built-in kind that it behaves like; a built-in kind is its own base.';
COMMENT ON COLUMN aurora.company_kind.half_life IS 'Slack over which urgency halves; null as the base.';
COMMENT ON COLUMN aurora.company_kind.stall_limit IS 'Silence after which it must be acted on; 0 for none, null as the base. Days are of 24 hours.';
COMMENT ON COLUMN aurora.company_kind.default_deadline IS 'Time after receipt by which it must be acted on when no due time is given; 0 for none, null as the base.';
COMMENT ON COLUMN aurora.company_kind.kind_offset IS 'Points that every item of the kind gets; null as the base.';

CREATE TABLE aurora.weight_override (
    company_id int NOT NULL REFERENCES aurora.company,
    owner text COLLATE "C",
    name text COLLATE "C" NOT NULL,
    value double precision NOT NULL,
    set_at timestamptz NOT NULL DEFAULT now(),
    set_by text,
    CONSTRAINT weight_override_key UNIQUE NULLS NOT DISTINCT (company_id, owner, name),
    FOREIGN KEY (company_id, owner) REFERENCES aurora.principal ON UPDATE CASCADE ON DELETE CASCADE
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 100);
COMMENT ON TABLE aurora.weight_override IS 'Weights that differ from the built-in ones, for a company or one owner. aurora.weights shows all in effect.';
COMMENT ON COLUMN aurora.weight_override.company_id IS 'The company.';
COMMENT ON COLUMN aurora.weight_override.owner IS 'The owner it holds for; null for the whole company.';
COMMENT ON COLUMN aurora.weight_override.name IS 'Name of the weight: revenue, vip, risk, boost, urgency, offset.<kind>, half_life.<kind>.';
COMMENT ON COLUMN aurora.weight_override.value IS 'Its value: points, or hours for a half-life.';
COMMENT ON COLUMN aurora.weight_override.set_at IS 'When it was set.';
COMMENT ON COLUMN aurora.weight_override.set_by IS 'Who set it.';

CREATE SEQUENCE aurora.weight_change_change_id_seq;
COMMENT ON SEQUENCE aurora.weight_change_change_id_seq IS 'Numbers the changes of weights.';
CREATE TABLE aurora.weight_change (
    company_id int NOT NULL REFERENCES aurora.company,
    change_id bigint NOT NULL DEFAULT nextval('aurora.weight_change_change_id_seq'),
    owner text COLLATE "C",
    name text COLLATE "C" NOT NULL,
    old_value double precision,
    new_value double precision,
    changed_at timestamptz NOT NULL DEFAULT now(),
    changed_by text,
    PRIMARY KEY (company_id, change_id)
);
ALTER SEQUENCE aurora.weight_change_change_id_seq OWNED BY aurora.weight_change.change_id;
COMMENT ON TABLE aurora.weight_change IS 'Every change of a weight: the log of set_weight() and reset_weights().';
COMMENT ON COLUMN aurora.weight_change.company_id IS 'The company.';
COMMENT ON COLUMN aurora.weight_change.change_id IS 'Number of the change.';
COMMENT ON COLUMN aurora.weight_change.owner IS 'The owner it holds for; null for the whole company.';
COMMENT ON COLUMN aurora.weight_change.name IS 'Name of the weight.';
COMMENT ON COLUMN aurora.weight_change.old_value IS 'Override before; null when there was none.';
COMMENT ON COLUMN aurora.weight_change.new_value IS 'Override after; null when it was reset.';
COMMENT ON COLUMN aurora.weight_change.changed_at IS 'When.';
COMMENT ON COLUMN aurora.weight_change.changed_by IS 'Who.';

CREATE TABLE aurora.person (
    company_id int NOT NULL REFERENCES aurora.company,
    email text COLLATE "C" NOT NULL,
    name text,
    vip boolean NOT NULL DEFAULT false,
    importance smallint NOT NULL DEFAULT 0,
    PRIMARY KEY (company_id, email),
    CONSTRAINT person_email_check CHECK (length(email) BETWEEN 1 AND 320 AND email = lower(email)),
    CONSTRAINT person_importance_check CHECK (importance BETWEEN -2 AND 2)
);
COMMENT ON TABLE aurora.person IS 'People outside whom a company hears from: its VIP list, and how important a sender is.';
COMMENT ON COLUMN aurora.person.company_id IS 'The company.';
COMMENT ON COLUMN aurora.person.email IS 'Address in lower case, as items carry it in their sender column.';
COMMENT ON COLUMN aurora.person.name IS 'Name for people to read.';
COMMENT ON COLUMN aurora.person.vip IS 'Is a VIP: the items are important, and mail is due within the SLA.';
COMMENT ON COLUMN aurora.person.importance IS 'Boost, -2 to 2, of items from this sender that bring none of their own.';

CREATE SEQUENCE aurora.item_item_id_seq;
COMMENT ON SEQUENCE aurora.item_item_id_seq IS 'Numbers the items of all companies.';
CREATE TABLE aurora.item (
    company_id int NOT NULL,
    item_id bigint NOT NULL DEFAULT nextval('aurora.item_item_id_seq'),
    owner text COLLATE "C" NOT NULL,
    level aurora.item_level NOT NULL DEFAULT 'human',
    scope int NOT NULL,
    cell int NOT NULL,
    act_by timestamptz NOT NULL,
    kind text COLLATE "C" NOT NULL DEFAULT 'task',
    title text NOT NULL,
    amount numeric,
    currency text COLLATE "C",
    win_chance double precision,
    due_at timestamptz,
    received_at timestamptz NOT NULL DEFAULT now(),
    last_activity_at timestamptz,
    vip boolean NOT NULL,
    risk smallint NOT NULL DEFAULT 0,
    boost smallint NOT NULL,
    severity smallint,
    group_key text COLLATE "C",
    snooze_until timestamptz,
    state aurora.item_state NOT NULL DEFAULT 'open',
    state_at timestamptz NOT NULL DEFAULT now(),
    state_by text,
    outcome aurora.item_outcome,
    delegated_to text,
    open_blockers int NOT NULL DEFAULT 0,
    blocking int NOT NULL DEFAULT 0,
    provider text COLLATE "C",
    external_id text COLLATE "C",
    url text,
    sender text COLLATE "C",
    created_at timestamptz NOT NULL DEFAULT now(),
    placed_at timestamptz NOT NULL DEFAULT now(),
    details jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (company_id, item_id),
    CONSTRAINT item_owner_fkey FOREIGN KEY (company_id, owner) REFERENCES aurora.principal ON UPDATE CASCADE,
    CONSTRAINT item_title_check CHECK (length(title) BETWEEN 1 AND 1000),
    CONSTRAINT item_amount_check CHECK (amount BETWEEN -1e18 AND 1e18),
    CONSTRAINT item_win_chance_check CHECK (win_chance BETWEEN 0 AND 1),
    CONSTRAINT item_risk_check CHECK (risk BETWEEN 0 AND 3),
    CONSTRAINT item_boost_check CHECK (boost BETWEEN -2 AND 2),
    CONSTRAINT item_severity_check CHECK (severity BETWEEN 1 AND 5),
    CONSTRAINT item_source_check CHECK ((provider IS NULL) = (external_id IS NULL)),
    CONSTRAINT item_times_check CHECK (isfinite(received_at) AND isfinite(due_at) AND isfinite(last_activity_at)
                                       AND isfinite(snooze_until)),
    CONSTRAINT item_key_lengths_check CHECK (length(group_key) <= 500 AND length(provider) <= 100
                                             AND length(external_id) <= 500 AND length(sender) <= 320),
    CONSTRAINT item_blockers_check CHECK (open_blockers >= 0 AND blocking >= 0)
) WITH (fillfactor = 85, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000,
        vacuum_truncate = off);
ALTER SEQUENCE aurora.item_item_id_seq OWNED BY aurora.item.item_id;
COMMENT ON TABLE aurora.item IS 'Whatever may want a person''s or an agent''s attention: deals, mail, meetings, tasks, incidents, chores.';
COMMENT ON COLUMN aurora.item.company_id IS 'The company.';
COMMENT ON COLUMN aurora.item.item_id IS 'Number of the item, unique over all companies.';
COMMENT ON COLUMN aurora.item.owner IS 'Whose item it is.';
COMMENT ON COLUMN aurora.item.level IS 'Who it is for.';
COMMENT ON COLUMN aurora.item.scope IS 'Owner and level as one number, four times the principal''s number plus the level''s place; kept by a trigger.';
COMMENT ON COLUMN aurora.item.cell IS 'All features that do not change with time, packed; kept by a trigger.';
COMMENT ON COLUMN aurora.item.act_by IS 'The earliest of its deadlines; kept by a trigger. infinity when it has none.';
COMMENT ON COLUMN aurora.item.kind IS 'What it is; aurora.kinds lists the kinds.';
COMMENT ON COLUMN aurora.item.title IS 'What a person reads.';
COMMENT ON COLUMN aurora.item.amount IS 'Money at stake, in its currency.';
COMMENT ON COLUMN aurora.item.currency IS 'ISO 4217 code; the company''s when none is given.';
COMMENT ON COLUMN aurora.item.win_chance IS 'Chance, 0 to 1, that the amount is won; null when unknown.';
COMMENT ON COLUMN aurora.item.due_at IS 'When it is due, or begins.';
COMMENT ON COLUMN aurora.item.received_at IS 'When it came in at its source.';
COMMENT ON COLUMN aurora.item.last_activity_at IS 'When something last happened on it.';
COMMENT ON COLUMN aurora.item.vip IS 'It concerns a VIP; taken from the sender when not given.';
COMMENT ON COLUMN aurora.item.risk IS 'Risk of loss, 0 to 3.';
COMMENT ON COLUMN aurora.item.boost IS 'A person''s correction, -2 to 2; the sender''s importance when not given.';
COMMENT ON COLUMN aurora.item.severity IS 'Of an incident: 1 is worst, 5 least.';
COMMENT ON COLUMN aurora.item.group_key IS 'Thread, deal or topic: of each the surface shows the best item.';
COMMENT ON COLUMN aurora.item.snooze_until IS 'Hidden until then.';
COMMENT ON COLUMN aurora.item.state IS 'Where it stands.';
COMMENT ON COLUMN aurora.item.state_at IS 'Since when.';
COMMENT ON COLUMN aurora.item.state_by IS 'Who put it there.';
COMMENT ON COLUMN aurora.item.outcome IS 'How a deal ended.';
COMMENT ON COLUMN aurora.item.delegated_to IS 'Whom outside it was handed to.';
COMMENT ON COLUMN aurora.item.open_blockers IS 'How many items it waits for that have not ended; kept by triggers.';
COMMENT ON COLUMN aurora.item.blocking IS 'How many items were made to wait for it; kept by triggers.';
COMMENT ON COLUMN aurora.item.provider IS 'The source it came from, such as hubspot.';
COMMENT ON COLUMN aurora.item.external_id IS 'Its id there; with the provider unique within the company.';
COMMENT ON COLUMN aurora.item.url IS 'Where a person opens it.';
COMMENT ON COLUMN aurora.item.sender IS 'Address it came from, in lower case; aurora.person knows VIPs.';
COMMENT ON COLUMN aurora.item.created_at IS 'When it was added here.';
COMMENT ON COLUMN aurora.item.placed_at IS 'When it last came to where it is: moved to another cell or deadline, woke, was unblocked or opened again; kept by a trigger.';
COMMENT ON COLUMN aurora.item.details IS 'Whatever else the source says.';

CREATE UNIQUE INDEX item_source ON aurora.item (company_id, provider, external_id) WHERE external_id IS NOT NULL;
COMMENT ON INDEX aurora.item_source IS 'One item for each thing at a source.';
CREATE INDEX item_open ON aurora.item (scope, cell, act_by, item_id)
    WHERE state = 'open' AND open_blockers = 0 AND snooze_until IS NULL;
COMMENT ON INDEX aurora.item_open IS 'Open items by cell and deadline: what the surface reads.';
CREATE INDEX item_open_group ON aurora.item (scope, (cell >> 8), act_by)
    WHERE state = 'open' AND open_blockers = 0 AND snooze_until IS NULL;
COMMENT ON INDEX aurora.item_open_group IS 'The same by groups of cells, to pass over those that cannot matter.';
CREATE INDEX item_snoozed ON aurora.item (scope, snooze_until)
    WHERE state = 'open' AND open_blockers = 0 AND snooze_until IS NOT NULL;
COMMENT ON INDEX aurora.item_snoozed IS 'Snoozed items by the time they wake.';
CREATE INDEX item_sender ON aurora.item (company_id, sender) WHERE sender IS NOT NULL AND state = 'open';
COMMENT ON INDEX aurora.item_sender IS 'Open items of a sender, for changes to the VIP list.';

CREATE TABLE aurora.item_cell (
    scope int NOT NULL,
    cell int NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200,
        autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 100, vacuum_truncate = off);
CREATE INDEX item_cell_key ON aurora.item_cell (scope, cell);
COMMENT ON INDEX aurora.item_cell_key IS 'Cells of an owner and level.';
COMMENT ON TABLE aurora.item_cell IS 'The cells that hold, or held, open items. Written as items come, swept nightly. A cell may stand here twice.';
COMMENT ON COLUMN aurora.item_cell.scope IS 'Owner and level, as in aurora.item.';
COMMENT ON COLUMN aurora.item_cell.cell IS 'The cell.';

CREATE TABLE aurora.crowded_group (
    company_id int NOT NULL,
    owner text COLLATE "C" NOT NULL,
    group_key text COLLATE "C" NOT NULL,
    slot smallint NOT NULL,
    PRIMARY KEY (company_id, owner, group_key),
    CONSTRAINT crowded_group_slot_key UNIQUE (company_id, owner, slot),
    CONSTRAINT crowded_group_slot_check CHECK (slot BETWEEN 1 AND 15)
);
COMMENT ON TABLE aurora.crowded_group IS 'Crowded group keys of an owner, each with cells of its own, so that reading passes over its other rows at once.';
COMMENT ON COLUMN aurora.crowded_group.company_id IS 'The company.';
COMMENT ON COLUMN aurora.crowded_group.owner IS 'The owner.';
COMMENT ON COLUMN aurora.crowded_group.group_key IS 'The group key.';
COMMENT ON COLUMN aurora.crowded_group.slot IS 'The number that sets its cells apart.';

CREATE TABLE aurora.item_dependency (
    company_id int NOT NULL,
    item_id bigint NOT NULL,
    blocker_id bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (company_id, item_id, blocker_id),
    FOREIGN KEY (company_id, item_id) REFERENCES aurora.item ON DELETE CASCADE,
    FOREIGN KEY (company_id, blocker_id) REFERENCES aurora.item (company_id, item_id) ON DELETE CASCADE
);
CREATE INDEX item_dependency_blocker ON aurora.item_dependency (company_id, blocker_id);
COMMENT ON INDEX aurora.item_dependency_blocker IS 'Which items wait for one.';
COMMENT ON TABLE aurora.item_dependency IS 'Which item waits for which. An item is out of the surface until the last one it waits for has ended.';
COMMENT ON COLUMN aurora.item_dependency.company_id IS 'The company.';
COMMENT ON COLUMN aurora.item_dependency.item_id IS 'The item that waits.';
COMMENT ON COLUMN aurora.item_dependency.blocker_id IS 'The item it waits for.';
COMMENT ON COLUMN aurora.item_dependency.created_at IS 'When the dependency was added.';

CREATE SEQUENCE aurora.item_history_history_id_seq;
COMMENT ON SEQUENCE aurora.item_history_history_id_seq IS 'Numbers the actions on items.';
CREATE TABLE aurora.item_history (
    company_id int NOT NULL,
    history_id bigint NOT NULL DEFAULT nextval('aurora.item_history_history_id_seq'),
    item_id bigint NOT NULL,
    owner text COLLATE "C" NOT NULL,
    action text COLLATE "C" NOT NULL,
    acted_at timestamptz NOT NULL DEFAULT now(),
    acted_by text COLLATE "C" NOT NULL,
    "from" jsonb NOT NULL,
    "to" jsonb NOT NULL,
    undone_at timestamptz,
    PRIMARY KEY (company_id, history_id),
    FOREIGN KEY (company_id, item_id) REFERENCES aurora.item ON DELETE CASCADE
);
CREATE INDEX item_history_item ON aurora.item_history (company_id, item_id, history_id);
CREATE INDEX item_history_actor ON aurora.item_history (company_id, acted_by, history_id);
COMMENT ON INDEX aurora.item_history_item IS 'What was done with an item.';
COMMENT ON INDEX aurora.item_history_actor IS 'What somebody did last.';
ALTER SEQUENCE aurora.item_history_history_id_seq OWNED BY aurora.item_history.history_id;
COMMENT ON TABLE aurora.item_history IS 'What was done with items: who, when, from what to what.';
COMMENT ON COLUMN aurora.item_history.company_id IS 'The company.';
COMMENT ON COLUMN aurora.item_history.history_id IS 'Number of the action.';
COMMENT ON COLUMN aurora.item_history.item_id IS 'The item.';
COMMENT ON COLUMN aurora.item_history.owner IS 'Whose item it was before.';
COMMENT ON COLUMN aurora.item_history.action IS 'complete, snooze, unsnooze, delegate, dismiss, restore, archive or undo.';
COMMENT ON COLUMN aurora.item_history.acted_at IS 'When.';
COMMENT ON COLUMN aurora.item_history.acted_by IS 'Who: an owner, or the role of one who is no principal.';
COMMENT ON COLUMN aurora.item_history."from" IS 'State, owner and so on before.';
COMMENT ON COLUMN aurora.item_history."to" IS 'The same after.';
COMMENT ON COLUMN aurora.item_history.undone_at IS 'When it was undone.';

CREATE TABLE aurora.item_phase (
    company_id int NOT NULL,
    item_id bigint NOT NULL,
    important boolean NOT NULL,
    urgent boolean NOT NULL,
    quadrant aurora.item_quadrant NOT NULL,
    since timestamptz NOT NULL,
    PRIMARY KEY (company_id, item_id)
) WITH (fillfactor = 85);
COMMENT ON TABLE aurora.item_phase IS 'The quadrant of open items with hysteresis, as the lead saw it last; for archiving. Rows of items that are gone are removed at the next look.';
COMMENT ON COLUMN aurora.item_phase.company_id IS 'The company.';
COMMENT ON COLUMN aurora.item_phase.item_id IS 'The item.';
COMMENT ON COLUMN aurora.item_phase.important IS 'Became important, and has not fallen below 90 % of the threshold since.';
COMMENT ON COLUMN aurora.item_phase.urgent IS 'Became urgent, and its urgency has not fallen below 0.30 since.';
COMMENT ON COLUMN aurora.item_phase.quadrant IS 'The quadrant that these give.';
COMMENT ON COLUMN aurora.item_phase.since IS 'Since when it is there without a break.';

CREATE TABLE aurora.item_surfaced (
    company_id int NOT NULL,
    item_id bigint NOT NULL,
    first_at timestamptz NOT NULL,
    last_at timestamptz NOT NULL,
    best_rank int NOT NULL,
    samples bigint NOT NULL DEFAULT 1,
    PRIMARY KEY (company_id, item_id)
) WITH (fillfactor = 70);
COMMENT ON TABLE aurora.item_surfaced IS 'Items that were among the ten on their owner''s surface, by samples that the lead takes. Rows of items that are gone are removed at the next sample.';
COMMENT ON COLUMN aurora.item_surfaced.company_id IS 'The company.';
COMMENT ON COLUMN aurora.item_surfaced.item_id IS 'The item.';
COMMENT ON COLUMN aurora.item_surfaced.first_at IS 'When it was first seen there.';
COMMENT ON COLUMN aurora.item_surfaced.last_at IS 'When it was last seen there.';
COMMENT ON COLUMN aurora.item_surfaced.best_rank IS 'Its best rank.';
COMMENT ON COLUMN aurora.item_surfaced.samples IS 'In how many samples it was there.';

CREATE TABLE aurora.placement_run (
    company_id int PRIMARY KEY REFERENCES aurora.company,
    requested_at timestamptz NOT NULL DEFAULT now(),
    last_item_id bigint NOT NULL DEFAULT 0
);
COMMENT ON TABLE aurora.placement_run IS 'Companies whose items are being moved, in batches, to the cells that changed settings give.';
COMMENT ON COLUMN aurora.placement_run.company_id IS 'The company.';
COMMENT ON COLUMN aurora.placement_run.requested_at IS 'When the settings changed.';
COMMENT ON COLUMN aurora.placement_run.last_item_id IS 'Items up to this one are done.';

CREATE TABLE aurora.win_chance (
    company_id int NOT NULL REFERENCES aurora.company,
    kind text COLLATE "C" NOT NULL,
    age_weeks int NOT NULL,
    chance double precision NOT NULL,
    at_risk bigint NOT NULL,
    learned_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (company_id, kind, age_weeks),
    CONSTRAINT win_chance_chance_check CHECK (chance BETWEEN 0 AND 1)
);
COMMENT ON TABLE aurora.win_chance IS 'Chance that an open deal is won soon, learned from the age of the company''s earlier deals.';
COMMENT ON COLUMN aurora.win_chance.company_id IS 'The company.';
COMMENT ON COLUMN aurora.win_chance.kind IS 'The kind of deal.';
COMMENT ON COLUMN aurora.win_chance.age_weeks IS 'Age in full weeks since receipt; the last row holds for all older.';
COMMENT ON COLUMN aurora.win_chance.chance IS 'Chance, 0 to 1.';
COMMENT ON COLUMN aurora.win_chance.at_risk IS 'Number of observations behind it.';
COMMENT ON COLUMN aurora.win_chance.learned_at IS 'When it was learned.';

CREATE TABLE aurora.duty_run (
    duty text COLLATE "C" PRIMARY KEY,
    started_at timestamptz NOT NULL,
    finished_at timestamptz NOT NULL,
    rows bigint,
    error text
);
COMMENT ON TABLE aurora.duty_run IS 'The last run of each duty; aurora.duties shows it.';
COMMENT ON COLUMN aurora.duty_run.duty IS 'Name of the duty.';
COMMENT ON COLUMN aurora.duty_run.started_at IS 'When it started.';
COMMENT ON COLUMN aurora.duty_run.finished_at IS 'When it ended.';
COMMENT ON COLUMN aurora.duty_run.rows IS 'How many rows it changed; null when it failed.';
COMMENT ON COLUMN aurora.duty_run.error IS 'Why it failed; null when it did not.';

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['company_kind', 'weight_override', 'weight_change_change_id_seq', 'weight_change',
                                'person', 'item_item_id_seq', 'item', 'item_cell', 'crowded_group',
                                'item_dependency', 'item_history_history_id_seq', 'item_history', 'item_phase',
                                'item_surfaced', 'placement_run', 'win_chance', 'duty_run'] LOOP
        PERFORM pg_catalog.pg_extension_config_dump(format('aurora.%I', name)::regclass, '');
    END LOOP;
END
$$;
