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

CREATE TABLE aurora.item_kind (
    company_id int NOT NULL REFERENCES aurora.company,
    kind text COLLATE "C" NOT NULL,
    kind_no smallint NOT NULL,
    base text COLLATE "C" NOT NULL,
    half_life interval,
    stall_limit interval,
    default_deadline interval,
    kind_offset double precision,
    PRIMARY KEY (company_id, kind),
    CONSTRAINT item_kind_kind_no_key UNIQUE (company_id, kind_no),
    CONSTRAINT item_kind_kind_check CHECK (kind ~ '^[a-z][a-z0-9_]{0,62}$'),
    CONSTRAINT item_kind_kind_no_check CHECK (kind_no BETWEEN 0 AND 63),
    CONSTRAINT item_kind_half_life_check CHECK (half_life BETWEEN '36 seconds' AND '365 days'),
    CONSTRAINT item_kind_stall_limit_check CHECK (stall_limit BETWEEN '0' AND '3650 days'),
    CONSTRAINT item_kind_default_deadline_check CHECK (default_deadline BETWEEN '0' AND '3650 days'),
    CONSTRAINT item_kind_kind_offset_check CHECK (kind_offset BETWEEN -100 AND 100)
);
COMMENT ON TABLE aurora.item_kind IS 'A company''s own kinds, and its changes to the built-in ones. aurora.kinds shows all in effect.';
COMMENT ON COLUMN aurora.item_kind.company_id IS 'The company.';
COMMENT ON COLUMN aurora.item_kind.kind IS 'Name of the kind.';
COMMENT ON COLUMN aurora.item_kind.kind_no IS 'Number of the kind within the company, as cells carry it.';
COMMENT ON COLUMN aurora.item_kind.base IS 'The built-in kind that it behaves like; a built-in kind is its own base.';
COMMENT ON COLUMN aurora.item_kind.half_life IS 'Slack over which urgency halves; null as the base.';
COMMENT ON COLUMN aurora.item_kind.stall_limit IS 'Silence after which it must be acted on; 0 for none, null as the base. Days are of 24 hours.';
COMMENT ON COLUMN aurora.item_kind.default_deadline IS 'Time after receipt by which it must be acted on; 0 for none, null as the base.';
COMMENT ON COLUMN aurora.item_kind.kind_offset IS 'Points that every item of the kind gets; null as the base.';

CREATE TABLE aurora.weight_override (
    company_id int NOT NULL REFERENCES aurora.company,
    owner text COLLATE "C",
    name text COLLATE "C" NOT NULL,
    value double precision NOT NULL,
    set_at timestamptz NOT NULL DEFAULT now(),
    set_by text,
    CONSTRAINT weight_override_key UNIQUE NULLS NOT DISTINCT (company_id, owner, name),
    FOREIGN KEY (company_id, owner) REFERENCES aurora.principal ON UPDATE CASCADE ON DELETE CASCADE
);
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
    CONSTRAINT item_amount_check CHECK (amount > '-Infinity' AND amount < 'Infinity'),
    CONSTRAINT item_win_chance_check CHECK (win_chance BETWEEN 0 AND 1),
    CONSTRAINT item_risk_check CHECK (risk BETWEEN 0 AND 3),
    CONSTRAINT item_boost_check CHECK (boost BETWEEN -2 AND 2),
    CONSTRAINT item_severity_check CHECK (severity BETWEEN 1 AND 5),
    CONSTRAINT item_source_check CHECK ((provider IS NULL) = (external_id IS NULL)),
    CONSTRAINT item_times_check CHECK (isfinite(received_at) AND isfinite(due_at) AND isfinite(last_activity_at)
                                       AND isfinite(snooze_until)),
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
COMMENT ON COLUMN aurora.item.placed_at IS 'When its cell or act_by last changed; kept by a trigger.';
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
COMMENT ON TABLE aurora.item_cell IS 'The cells that hold, or held, open items. Written as items come, swept nightly. A cell may stand here twice.';
COMMENT ON COLUMN aurora.item_cell.scope IS 'Owner and level, as in aurora.item.';
COMMENT ON COLUMN aurora.item_cell.cell IS 'The cell.';

CREATE TABLE aurora.item_group_slot (
    company_id int NOT NULL,
    owner text COLLATE "C" NOT NULL,
    group_key text COLLATE "C" NOT NULL,
    slot smallint NOT NULL,
    PRIMARY KEY (company_id, owner, group_key),
    CONSTRAINT item_group_slot_slot_key UNIQUE (company_id, owner, slot),
    CONSTRAINT item_group_slot_slot_check CHECK (slot BETWEEN 1 AND 15)
);
COMMENT ON TABLE aurora.item_group_slot IS 'Crowded group keys of an owner, each with cells of its own, so that reading passes over its other rows at once.';
COMMENT ON COLUMN aurora.item_group_slot.company_id IS 'The company.';
COMMENT ON COLUMN aurora.item_group_slot.owner IS 'The owner.';
COMMENT ON COLUMN aurora.item_group_slot.group_key IS 'The group key.';
COMMENT ON COLUMN aurora.item_group_slot.slot IS 'The number that sets its cells apart.';

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
    PRIMARY KEY (company_id, item_id),
    FOREIGN KEY (company_id, item_id) REFERENCES aurora.item ON DELETE CASCADE
) WITH (fillfactor = 85);
COMMENT ON TABLE aurora.item_phase IS 'The quadrant of open items with hysteresis, as the lead saw it last; for archiving.';
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
    PRIMARY KEY (company_id, item_id),
    FOREIGN KEY (company_id, item_id) REFERENCES aurora.item ON DELETE CASCADE
) WITH (fillfactor = 70);
COMMENT ON TABLE aurora.item_surfaced IS 'Items that were among the ten on their owner''s surface, by samples that the lead takes.';
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
    FOREACH name IN ARRAY ARRAY['item_kind', 'weight_override', 'weight_change_change_id_seq', 'weight_change',
                                'person', 'item_item_id_seq', 'item', 'item_cell', 'item_group_slot',
                                'item_dependency', 'item_history_history_id_seq', 'item_history', 'item_phase',
                                'item_surfaced', 'placement_run', 'win_chance', 'duty_run'] LOOP
        PERFORM pg_catalog.pg_extension_config_dump(format('aurora.%I', name)::regclass, '');
    END LOOP;
END
$$;

-- ---- what C gives ----

CREATE FUNCTION aurora.builtin_kinds(OUT kind text, OUT kind_no smallint, OUT half_life interval,
                                     OUT stall_limit interval, OUT default_deadline interval,
                                     OUT kind_offset double precision) RETURNS SETOF record
    LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'aurora_builtin_kinds';
COMMENT ON FUNCTION aurora.builtin_kinds() IS 'The kinds that every company has, with their defaults.';

CREATE FUNCTION aurora.builtin_weights(OUT name text, OUT value double precision, OUT min_value double precision,
                                       OUT max_value double precision, OUT multiplies text) RETURNS SETOF record
    LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'aurora_builtin_weights';
COMMENT ON FUNCTION aurora.builtin_weights() IS 'The weights with their defaults and ranges, in points.';

CREATE FUNCTION aurora.place_item() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'aurora_place_item';
COMMENT ON FUNCTION aurora.place_item() IS 'Trigger: sets an item''s cell and act_by. Errors: 22023 unknown kind, or a currency without a rate.';

CREATE FUNCTION aurora.item_is_misplaced(item aurora.item) RETURNS boolean
    LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'aurora_item_is_misplaced';
COMMENT ON FUNCTION aurora.item_is_misplaced(aurora.item) IS 'Would present settings give the item another cell or act_by.';

CREATE FUNCTION aurora.wait_for_item_writers() RETURNS void
    LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'aurora_wait_for_item_writers';
COMMENT ON FUNCTION aurora.wait_for_item_writers() IS 'Returns when all transactions that were writing items have ended; new ones are not held up.';

CREATE FUNCTION aurora.cell_features(cell int, OUT kind_no int, OUT revenue_level int, OUT big boolean,
                                     OUT vip boolean, OUT severe boolean, OUT risk int, OUT boost int,
                                     OUT slot int) RETURNS record
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'aurora_cell_features';
COMMENT ON FUNCTION aurora.cell_features(int) IS 'What a cell packs.';

CREATE FUNCTION aurora.item_score(company_id int, owner text, cell int, act_by timestamptz, at timestamptz,
                                  OUT lane int, OUT score numeric, OUT static_points numeric,
                                  OUT urgency double precision, OUT important boolean, OUT urgent boolean,
                                  OUT quadrant aurora.item_quadrant) RETURNS record
    LANGUAGE c STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'aurora_item_score';
COMMENT ON FUNCTION aurora.item_score(int, text, int, timestamptz, timestamptz) IS
    'Lane, score and quadrant of an item at a time, by its owner''s weights, from the columns of aurora.item.';

CREATE FUNCTION aurora.explain_features(company_id int, owner text, cell int, act_by timestamptz, at timestamptz,
                                        OUT feature text, OUT value text, OUT points numeric, OUT formula text)
    RETURNS SETOF record
    LANGUAGE c STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'aurora_explain_features';
COMMENT ON FUNCTION aurora.explain_features(int, text, int, timestamptz, timestamptz) IS
    'The score of a cell at a time, a row for each feature; explain() asks this for an item.';

CREATE TRIGGER place_item BEFORE INSERT OR UPDATE ON aurora.item
    FOR EACH ROW EXECUTE FUNCTION aurora.place_item();
COMMENT ON TRIGGER place_item ON aurora.item IS 'Keeps cell, act_by and placed_at.';

-- ---- the surface ----

CREATE FUNCTION aurora.surface(top_n int DEFAULT 10, owner text DEFAULT NULL, at timestamptz DEFAULT now(),
                               OUT rank int, OUT item_id bigint, OUT kind text, OUT title text,
                               OUT quadrant aurora.item_quadrant, OUT score numeric, OUT amount numeric,
                               OUT currency text, OUT act_by timestamptz, OUT slack interval, OUT why text,
                               OUT lane int, OUT lane0_left_out int) RETURNS SETOF record
    LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 10 AS 'MODULE_PATHNAME', 'aurora_surface';
COMMENT ON FUNCTION aurora.surface(int, text, timestamptz) IS
    'The items that matter now: the first top_n (1 to 1,000) of level human, best of each group, by lane, score, act_by and id. owner null is the caller, over all of its companies. lane0_left_out counts lane 0 rows beyond top_n, up to 100. Errors: 22023 bad top_n or unknown owner, 42501 another''s owner.';

CREATE FUNCTION aurora.agenda(level text, top_n int DEFAULT 10, owner text DEFAULT NULL, at timestamptz DEFAULT now(),
                              OUT rank int, OUT item_id bigint, OUT kind text, OUT title text,
                              OUT quadrant aurora.item_quadrant, OUT score numeric, OUT amount numeric,
                              OUT currency text, OUT act_by timestamptz, OUT slack interval, OUT why text,
                              OUT lane int, OUT lane0_left_out int) RETURNS SETOF record
    LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 10 AS 'MODULE_PATHNAME', 'aurora_agenda';
COMMENT ON FUNCTION aurora.agenda(text, int, text, timestamptz) IS
    'Like surface(), for the items of a level: human, agent or self.';

CREATE FUNCTION aurora.quadrant(quadrant_name text, top_n int DEFAULT 10, owner text DEFAULT NULL,
                                at timestamptz DEFAULT now(),
                                OUT rank int, OUT item_id bigint, OUT kind text, OUT title text,
                                OUT quadrant aurora.item_quadrant, OUT score numeric, OUT amount numeric,
                                OUT currency text, OUT act_by timestamptz, OUT slack interval, OUT why text,
                                OUT lane int, OUT lane0_left_out int) RETURNS SETOF record
    LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 10 AS 'MODULE_PATHNAME', 'aurora_quadrant';
COMMENT ON FUNCTION aurora.quadrant(text, int, text, timestamptz) IS
    'Like surface(), for the items of a quadrant: Q1_DO_NOW, Q2_SCHEDULE, Q3_DELEGATE or Q4_ELIMINATE.';

CREATE FUNCTION aurora.company_surface(top_n int DEFAULT 10, company text DEFAULT NULL, at timestamptz DEFAULT now(),
                                       OUT rank int, OUT item_id bigint, OUT kind text, OUT title text,
                                       OUT quadrant aurora.item_quadrant, OUT score numeric, OUT amount numeric,
                                       OUT currency text, OUT act_by timestamptz, OUT slack interval, OUT why text,
                                       OUT lane int, OUT lane0_left_out int, OUT owner text) RETURNS SETOF record
    LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 10 AS 'MODULE_PATHNAME', 'aurora_company_surface';
COMMENT ON FUNCTION aurora.company_surface(int, text, timestamptz) IS
    'Like surface(), over all owners of a company, by the company''s own weights. For managers. Errors: 42501 for others.';

-- ---- kinds and weights ----

CREATE VIEW aurora.kinds WITH (security_invoker = true) AS
    SELECT c.name AS company, k.kind, coalesce(o.base, k.kind) AS base,
           coalesce(o.half_life, k.half_life) AS half_life,
           coalesce(o.stall_limit, k.stall_limit) AS stall_limit,
           coalesce(o.default_deadline, k.default_deadline) AS default_deadline,
           coalesce(o.kind_offset, k.kind_offset) AS kind_offset,
           CASE WHEN o.kind IS NULL THEN 'built-in' ELSE 'changed' END AS source,
           c.company_id, k.kind_no
    FROM aurora.company c CROSS JOIN aurora.builtin_kinds() k
    LEFT JOIN aurora.item_kind o ON o.company_id = c.company_id AND o.kind = k.kind
    UNION ALL
    SELECT c.name, o.kind, o.base, coalesce(o.half_life, k.half_life), coalesce(o.stall_limit, k.stall_limit),
           coalesce(o.default_deadline, k.default_deadline), coalesce(o.kind_offset, k.kind_offset), 'added',
           c.company_id, o.kind_no
    FROM aurora.company c JOIN aurora.item_kind o USING (company_id)
    JOIN aurora.builtin_kinds() k ON k.kind = o.base
    WHERE o.kind <> ALL (SELECT b.kind FROM aurora.builtin_kinds() b);
COMMENT ON VIEW aurora.kinds IS 'The kinds in effect in each company: built-in, changed and added. Deadlines of 0 are none.';
COMMENT ON COLUMN aurora.kinds.company IS 'The company.';
COMMENT ON COLUMN aurora.kinds.kind IS 'Name of the kind.';
COMMENT ON COLUMN aurora.kinds.base IS 'The built-in kind that it behaves like.';
COMMENT ON COLUMN aurora.kinds.half_life IS 'Slack over which urgency halves.';
COMMENT ON COLUMN aurora.kinds.stall_limit IS 'Silence after which it must be acted on.';
COMMENT ON COLUMN aurora.kinds.default_deadline IS 'Time after receipt by which it must be acted on.';
COMMENT ON COLUMN aurora.kinds.kind_offset IS 'Points that every item of the kind gets.';
COMMENT ON COLUMN aurora.kinds.source IS 'built-in, changed or added.';
COMMENT ON COLUMN aurora.kinds.company_id IS 'The company''s id.';
COMMENT ON COLUMN aurora.kinds.kind_no IS 'The kind''s number in cells.';

CREATE FUNCTION aurora.set_kind(kind text, base text DEFAULT NULL, half_life interval DEFAULT NULL,
                                stall_limit interval DEFAULT NULL, default_deadline interval DEFAULT NULL,
                                kind_offset double precision DEFAULT NULL, company text DEFAULT NULL) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    id int;
    number int;
    builtin boolean;
BEGIN
    PERFORM aurora.require_lead();
    id := aurora.company_for(company);
    PERFORM aurora.require_manage(id);
    LOCK TABLE aurora.item_kind IN SHARE ROW EXCLUSIVE MODE;
    SELECT b.kind_no INTO number FROM aurora.builtin_kinds() b WHERE b.kind = set_kind.kind;
    builtin := FOUND;
    IF base IS NOT NULL AND base NOT IN (SELECT b.kind FROM aurora.builtin_kinds() b)
       OR builtin AND base <> kind THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('kind "%s" cannot behave like "%s"', kind, base),
            HINT = CASE WHEN builtin THEN 'A built-in kind is its own base.' ELSE
                'It can behave like ' || (SELECT string_agg(b.kind, ', ') FROM aurora.builtin_kinds() b) || '.' END;
    END IF;
    IF NOT builtin THEN
        SELECT coalesce(max(k.kind_no) FILTER (WHERE k.kind = set_kind.kind), greatest(max(k.kind_no), 5) + 1, 6)
            INTO number FROM aurora.item_kind k WHERE k.company_id = id;
        IF number > 63 THEN
            RAISE program_limit_exceeded USING
                MESSAGE = 'this company has as many kinds as it can have',
                HINT = 'A company has at most 58 kinds of its own. Use an existing one.';
        END IF;
    END IF;
    INSERT INTO aurora.item_kind AS k (company_id, kind, kind_no, base, half_life, stall_limit,
                                       default_deadline, kind_offset)
        VALUES (id, kind, number, coalesce(base, CASE WHEN builtin THEN kind ELSE 'task' END), half_life,
                stall_limit, default_deadline, kind_offset)
        ON CONFLICT ON CONSTRAINT item_kind_pkey DO UPDATE
            SET base = coalesce(set_kind.base, k.base),
                half_life = coalesce(excluded.half_life, k.half_life),
                stall_limit = coalesce(excluded.stall_limit, k.stall_limit),
                default_deadline = coalesce(excluded.default_deadline, k.default_deadline),
                kind_offset = coalesce(excluded.kind_offset, k.kind_offset);
END
$$;
COMMENT ON FUNCTION aurora.set_kind(text, text, interval, interval, interval, double precision, text) IS
    'Adds a kind that behaves like a built-in one (task when not given), or changes a kind; what is left null stays. A deadline of 0 is none. Half-life 36 seconds to 365 days, offset -100 to 100 points.';

CREATE FUNCTION aurora.weight_range(company_id int, name text, OUT standard double precision,
                                    OUT min_value double precision, OUT max_value double precision) RETURNS SETOF record
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT w.value, w.min_value, w.max_value FROM aurora.builtin_weights() w WHERE w.name = $2
    UNION ALL
    SELECT k.kind_offset, -100, 100 FROM aurora.kinds k WHERE k.company_id = $1 AND 'offset.' || k.kind = $2
    UNION ALL
    SELECT extract(epoch FROM k.half_life) / 3600, 0.01, 8760
    FROM aurora.kinds k WHERE k.company_id = $1 AND 'half_life.' || k.kind = $2
$$;
COMMENT ON FUNCTION aurora.weight_range(int, text) IS 'Default and range of a weight; no row when there is no such weight.';

CREATE FUNCTION aurora.put_weight(company_id int, owner text, name text, value double precision) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    before double precision;
    actor text := coalesce((SELECT w.owner FROM aurora.whoami() w WHERE w.company_id = put_weight.company_id),
                           aurora.caller()::text);
BEGIN
    SELECT o.value INTO before FROM aurora.weight_override o
        WHERE o.company_id = put_weight.company_id AND o.owner IS NOT DISTINCT FROM put_weight.owner
          AND o.name = put_weight.name FOR UPDATE;
    IF value IS NULL THEN
        DELETE FROM aurora.weight_override o
            WHERE o.company_id = put_weight.company_id AND o.owner IS NOT DISTINCT FROM put_weight.owner
              AND o.name = put_weight.name;
    ELSE
        INSERT INTO aurora.weight_override AS o (company_id, owner, name, value, set_by)
            VALUES (company_id, owner, name, value, actor)
            ON CONFLICT ON CONSTRAINT weight_override_key DO UPDATE
                SET value = excluded.value, set_at = now(), set_by = excluded.set_by;
    END IF;
    INSERT INTO aurora.weight_change (company_id, owner, name, old_value, new_value, changed_by)
        VALUES (company_id, owner, name, before, value, actor);
END
$$;
COMMENT ON FUNCTION aurora.put_weight(int, text, text, double precision) IS
    'Sets or, with null, removes an override and logs it; set_weight() and reset_weights() check first.';

CREATE FUNCTION aurora.weight_scope(company text, owner text, OUT company_id int, OUT scope_owner text) RETURNS record
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM aurora.require_lead();
    company_id := aurora.company_for(company);
    IF owner IS NULL THEN
        PERFORM aurora.require_manage(company_id);
    ELSE
        scope_owner := aurora.owner_for(company_id, owner);
    END IF;
END
$$;
COMMENT ON FUNCTION aurora.weight_scope(text, text) IS
    'For whom a call changes weights, checked: an owner that the caller may see, or with null the company that it may manage.';

CREATE FUNCTION aurora.set_weight(name text, value double precision, owner text DEFAULT NULL,
                                  company text DEFAULT NULL) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    scope record;
    allowed record;
BEGIN
    SELECT * INTO scope FROM aurora.weight_scope(company, owner);
    SELECT * INTO allowed FROM aurora.weight_range(scope.company_id, name);
    IF NOT FOUND THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('there is no weight "%s"', name),
            HINT = 'Weights: ' || (SELECT string_agg(w.name, ', ') FROM aurora.builtin_weights() w)
                   || ', offset.<kind>, half_life.<kind>. Kinds: '
                   || (SELECT string_agg(k.kind, ', ' ORDER BY k.kind_no) FROM aurora.kinds k
                       WHERE k.company_id = scope.company_id) || '.';
    ELSIF value IS NULL OR NOT value BETWEEN allowed.min_value AND allowed.max_value THEN
        RAISE numeric_value_out_of_range USING
            MESSAGE = format('%s is out of range for the weight "%s"', coalesce(value::text, 'null'), name),
            HINT = format('It is from %s to %s; the default is %s.', allowed.min_value, allowed.max_value,
                          allowed.standard);
    END IF;
    PERFORM aurora.put_weight(scope.company_id, scope.scope_owner, name, value);
END
$$;
COMMENT ON FUNCTION aurora.set_weight(text, double precision, text, text) IS
    'Sets a weight for one owner, or with owner null for the whole company; it holds at once, on every replica. Names: revenue, vip, risk, boost, urgency and offset.<kind> in points, half_life.<kind> in hours. Errors: 22023 unknown name, 22003 out of range, 42501.';

CREATE FUNCTION aurora.reset_weights(owner text DEFAULT NULL, company text DEFAULT NULL) RETURNS int
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    scope record;
    names text[];
BEGIN
    SELECT * INTO scope FROM aurora.weight_scope(company, owner);
    names := ARRAY(SELECT o.name FROM aurora.weight_override o
                   WHERE o.company_id = scope.company_id AND o.owner IS NOT DISTINCT FROM scope.scope_owner
                   ORDER BY o.name);
    PERFORM aurora.put_weight(scope.company_id, scope.scope_owner, n, NULL) FROM unnest(names) n;
    RETURN cardinality(names);
END
$$;
COMMENT ON FUNCTION aurora.reset_weights(text, text) IS
    'Removes all weights that were set for one owner, or with owner null for the company, and returns how many.';

CREATE VIEW aurora.weights WITH (security_invoker = true) AS
    WITH scope AS (
        SELECT c.company_id, c.name AS company, NULL::text AS owner FROM aurora.company c
        UNION ALL
        SELECT c.company_id, c.name, p.owner FROM aurora.company c JOIN aurora.principal p USING (company_id)
        WHERE aurora.may_see(p.company_id, p.owner)
    ), named AS (
        SELECT s.*, w.name, w.value AS standard, w.min_value, w.max_value
        FROM scope s CROSS JOIN aurora.builtin_weights() w
        UNION ALL
        SELECT s.*, 'offset.' || k.kind, k.kind_offset, -100, 100 FROM scope s JOIN aurora.kinds k USING (company_id)
        UNION ALL
        SELECT s.*, 'half_life.' || k.kind, extract(epoch FROM k.half_life)::float8 / 3600, 0.01, 8760
        FROM scope s JOIN aurora.kinds k USING (company_id)
    )
    SELECT n.company, n.owner, n.name, coalesce(o.value, c.value, n.standard) AS value, n.standard AS default_value,
           CASE WHEN o.value IS NOT NULL THEN 'owner' WHEN c.value IS NOT NULL THEN 'company' ELSE 'default' END AS source,
           n.min_value, n.max_value
    FROM named n
    LEFT JOIN aurora.weight_override c ON c.company_id = n.company_id AND c.owner IS NULL AND c.name = n.name
    LEFT JOIN aurora.weight_override o ON o.company_id = n.company_id AND o.owner = n.owner AND o.name = n.name;
COMMENT ON VIEW aurora.weights IS 'The weights in effect: for each company (owner null) and each owner that the caller may see.';
COMMENT ON COLUMN aurora.weights.company IS 'The company.';
COMMENT ON COLUMN aurora.weights.owner IS 'The owner; null for the company as a whole.';
COMMENT ON COLUMN aurora.weights.name IS 'Name of the weight.';
COMMENT ON COLUMN aurora.weights.value IS 'Value in effect: points, or hours for a half-life.';
COMMENT ON COLUMN aurora.weights.default_value IS 'Value without overrides.';
COMMENT ON COLUMN aurora.weights.source IS 'Where the value comes from: owner, company or default.';
COMMENT ON COLUMN aurora.weights.min_value IS 'Least value allowed.';
COMMENT ON COLUMN aurora.weights.max_value IS 'Greatest value allowed.';

-- ---- adding items ----

CREATE FUNCTION aurora.add_person(email text, name text DEFAULT NULL, vip boolean DEFAULT NULL,
                                  importance int DEFAULT NULL, company text DEFAULT NULL) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    id int;
BEGIN
    PERFORM aurora.require_lead();
    id := aurora.company_for(company);
    INSERT INTO aurora.person AS p (company_id, email, name, vip, importance)
        VALUES (id, lower(email), name, coalesce(vip, false), coalesce(importance, 0))
        ON CONFLICT ON CONSTRAINT person_pkey DO UPDATE
            SET name = coalesce(excluded.name, p.name), vip = coalesce(add_person.vip, p.vip),
                importance = coalesce(add_person.importance, p.importance);
    IF vip IS NOT NULL THEN
        UPDATE aurora.item i SET vip = add_person.vip
            WHERE i.company_id = id AND i.sender = lower(add_person.email) AND i.state = 'open'
              AND i.vip <> add_person.vip;
    END IF;
END
$$;
COMMENT ON FUNCTION aurora.add_person(text, text, boolean, int, text) IS
    'Adds a person that the company hears from, or changes one; what is left null stays. Making it a VIP, or no longer one, moves its open items too. Importance, -2 to 2, is the boost of later items from it that bring none.';

CREATE FUNCTION aurora.add_item(title text, kind text DEFAULT NULL, owner text DEFAULT NULL, company text DEFAULT NULL,
                                level text DEFAULT NULL, provider text DEFAULT NULL, external_id text DEFAULT NULL,
                                url text DEFAULT NULL, sender text DEFAULT NULL, amount numeric DEFAULT NULL,
                                currency text DEFAULT NULL, win_chance double precision DEFAULT NULL,
                                due_at timestamptz DEFAULT NULL, received_at timestamptz DEFAULT NULL,
                                last_activity_at timestamptz DEFAULT NULL, vip boolean DEFAULT NULL,
                                risk int DEFAULT NULL, boost int DEFAULT NULL, severity int DEFAULT NULL,
                                group_key text DEFAULT NULL, details jsonb DEFAULT NULL) RETURNS bigint
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    id int;
    for_owner text;
    levels text[] := enum_range(NULL::aurora.item_level)::text[];
    result bigint;
BEGIN
    PERFORM aurora.require_lead();
    id := aurora.company_for(company);
    for_owner := aurora.owner_for(id, owner);
    IF level <> ALL (levels) THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('there is no level "%s"', level),
            HINT = 'Levels: ' || array_to_string(levels, ', ') || '.';
    END IF;
    INSERT INTO aurora.item AS i (company_id, owner, level, kind, title, provider, external_id, url, sender, amount,
                                  currency, win_chance, due_at, received_at, last_activity_at, vip, risk, boost,
                                  severity, group_key, details)
        VALUES (id, for_owner, coalesce(level, 'human')::aurora.item_level, coalesce(kind, 'task'), title, provider,
                external_id, url, lower(sender), amount, currency, win_chance, due_at, coalesce(received_at, now()),
                last_activity_at, vip, coalesce(risk, 0), boost, severity, group_key, coalesce(details, '{}'))
        ON CONFLICT (company_id, provider, external_id) WHERE external_id IS NOT NULL DO UPDATE SET
            owner = CASE WHEN add_item.owner IS NULL THEN i.owner ELSE excluded.owner END,
            level = coalesce(add_item.level::aurora.item_level, i.level),
            kind = coalesce(add_item.kind, i.kind),
            title = excluded.title,
            url = coalesce(excluded.url, i.url),
            sender = coalesce(excluded.sender, i.sender),
            amount = coalesce(excluded.amount, i.amount),
            currency = coalesce(add_item.currency, i.currency),
            win_chance = coalesce(excluded.win_chance, i.win_chance),
            due_at = coalesce(excluded.due_at, i.due_at),
            received_at = coalesce(add_item.received_at, i.received_at),
            last_activity_at = coalesce(excluded.last_activity_at, i.last_activity_at),
            vip = coalesce(add_item.vip, i.vip),
            risk = coalesce(add_item.risk, i.risk),
            boost = coalesce(add_item.boost, i.boost),
            severity = coalesce(excluded.severity, i.severity),
            group_key = coalesce(excluded.group_key, i.group_key),
            details = i.details || excluded.details
            WHERE aurora.may_see(i.company_id, i.owner)
        RETURNING i.item_id INTO result;
    IF result IS NULL THEN
        RAISE insufficient_privilege USING
            MESSAGE = format('permission denied to change the item %s of %s', external_id, provider),
            HINT = 'It is another owner''s.';
    END IF;
    RETURN result;
END
$$;
COMMENT ON FUNCTION aurora.add_item(text, text, text, text, text, text, text, text, text, numeric, text, double precision,
                                    timestamptz, timestamptz, timestamptz, boolean, int, int, int, text, jsonb) IS
    'Adds an item (kind task, level human, the caller''s own unless said otherwise) and returns its id. With provider and external_id a repeat changes the same item; what is left null stays, details are merged. Errors: 22023 unknown kind, level, owner, company or a currency without a rate; 42501 another''s item.';

-- ---- acting on items ----

CREATE FUNCTION aurora.actor(company_id int) RETURNS text
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce((SELECT w.owner FROM aurora.whoami() w WHERE w.company_id = $1), aurora.caller()::text)
$$;
COMMENT ON FUNCTION aurora.actor(int) IS 'The caller''s name in the history of a company.';

CREATE FUNCTION aurora.lock_item(item_id bigint) RETURNS aurora.item
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    result aurora.item;
BEGIN
    PERFORM aurora.require_lead();
    SELECT i.* INTO result FROM aurora.item i
        WHERE i.company_id = ANY (aurora.company_ids()) AND i.item_id = lock_item.item_id
          AND aurora.may_see(i.company_id, i.owner)
        FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE no_data_found USING
            MESSAGE = format('there is no item %s that the caller may see', item_id),
            HINT = 'aurora.items lists them.';
    END IF;
    RETURN result;
END
$$;
COMMENT ON FUNCTION aurora.lock_item(bigint) IS 'Finds an item that the caller may act on and locks it. Errors: P0002 none, 25006 on a standby.';

CREATE FUNCTION aurora.item_marks(item aurora.item) RETURNS jsonb
    LANGUAGE sql IMMUTABLE AS $$
    SELECT jsonb_build_object('state', ($1).state, 'owner', ($1).owner, 'level', ($1).level, 'outcome', ($1).outcome,
                              'snooze_until', ($1).snooze_until, 'delegated_to', ($1).delegated_to)
$$;
COMMENT ON FUNCTION aurora.item_marks(aurora.item) IS 'What actions change of an item, as history keeps it.';

CREATE FUNCTION aurora.change_item(before aurora.item, after aurora.item, action text) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    who text := aurora.actor(before.company_id);
BEGIN
    UPDATE aurora.item i SET owner = after.owner, level = after.level, state = after.state, outcome = after.outcome,
                             snooze_until = after.snooze_until, delegated_to = after.delegated_to,
                             state_by = CASE WHEN after.state <> before.state THEN who ELSE i.state_by END
        WHERE i.company_id = before.company_id AND i.item_id = before.item_id;
    INSERT INTO aurora.item_history (company_id, item_id, owner, action, acted_by, "from", "to")
        VALUES (before.company_id, before.item_id, before.owner, action, who, aurora.item_marks(before),
                aurora.item_marks(after));
END
$$;
COMMENT ON FUNCTION aurora.change_item(aurora.item, aurora.item, text) IS
    'Writes an action''s changes and its history; the verbs check first.';

CREATE FUNCTION aurora.require_state(item aurora.item, VARIADIC allowed aurora.item_state[]) RETURNS void
    LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    IF item.state <> ALL (allowed) THEN
        RAISE object_not_in_prerequisite_state USING
            MESSAGE = format('item %s is %s', item.item_id, item.state),
            HINT = CASE WHEN item.state = 'open' THEN 'This is for items that are '
                        || array_to_string(allowed, ', ') || '.'
                        ELSE 'aurora.restore() opens it again.' END;
    END IF;
END
$$;
COMMENT ON FUNCTION aurora.require_state(aurora.item, aurora.item_state[]) IS 'Raises 55000 unless the item is in one of the states.';

CREATE FUNCTION aurora.complete(item_id bigint, outcome text DEFAULT NULL) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    before aurora.item := aurora.lock_item(item_id);
    after aurora.item := before;
BEGIN
    PERFORM aurora.require_state(before, 'open', 'delegated');
    IF outcome <> ALL (enum_range(NULL::aurora.item_outcome)::text[]) THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('there is no outcome "%s"', outcome),
            HINT = 'A deal is won or lost.';
    END IF;
    after.state := 'done';
    after.outcome := outcome;
    PERFORM aurora.change_item(before, after, 'complete');
END
$$;
COMMENT ON FUNCTION aurora.complete(bigint, text) IS
    'The item is done; a deal may say whether it was won or lost. Errors: P0002 no such item, 55000 not open.';

CREATE FUNCTION aurora.dismiss(item_id bigint) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    before aurora.item := aurora.lock_item(item_id);
    after aurora.item := before;
BEGIN
    PERFORM aurora.require_state(before, 'open', 'delegated');
    after.state := 'dismissed';
    PERFORM aurora.change_item(before, after, 'dismiss');
END
$$;
COMMENT ON FUNCTION aurora.dismiss(bigint) IS 'The item will not be done. Errors: P0002 no such item, 55000 not open.';

CREATE FUNCTION aurora.snooze(item_id bigint, until timestamptz) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    before aurora.item := aurora.lock_item(item_id);
    after aurora.item := before;
BEGIN
    PERFORM aurora.require_state(before, 'open');
    IF until IS NULL OR until <= now() OR NOT isfinite(until) THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'an item is snoozed until a time to come',
            HINT = 'For example now() + interval ''3 hours''.';
    END IF;
    after.snooze_until := until;
    PERFORM aurora.change_item(before, after, 'snooze');
END
$$;
COMMENT ON FUNCTION aurora.snooze(bigint, timestamptz) IS
    'Hides the item until then; it comes back by itself, on every replica. Errors: P0002 no such item, 55000 not open, 22023 not in the future.';

CREATE FUNCTION aurora.unsnooze(item_id bigint) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    before aurora.item := aurora.lock_item(item_id);
    after aurora.item := before;
BEGIN
    PERFORM aurora.require_state(before, 'open');
    IF before.snooze_until IS NULL THEN
        RAISE object_not_in_prerequisite_state USING
            MESSAGE = format('item %s is not snoozed', item_id);
    END IF;
    after.snooze_until := NULL;
    PERFORM aurora.change_item(before, after, 'unsnooze');
END
$$;
COMMENT ON FUNCTION aurora.unsnooze(bigint) IS 'Shows a snoozed item again at once. Errors: P0002 no such item, 55000 not snoozed.';

CREATE FUNCTION aurora.delegate(item_id bigint, to_whom text, outside boolean DEFAULT false) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    before aurora.item := aurora.lock_item(item_id);
    after aurora.item := before;
    their_trust aurora.trust;
BEGIN
    PERFORM aurora.require_state(before, 'open');
    IF coalesce(to_whom, '') = '' THEN
        RAISE invalid_parameter_value USING MESSAGE = 'an item is delegated to somebody';
    ELSIF outside THEN
        after.state := 'delegated';
        after.delegated_to := to_whom;
    ELSE
        SELECT p.trust INTO their_trust FROM aurora.principal p
            WHERE p.company_id = before.company_id AND p.owner = to_whom;
        IF NOT FOUND THEN
            RAISE invalid_parameter_value USING
                MESSAGE = format('there is no owner "%s" in this company', to_whom),
                HINT = 'Owners: ' || (SELECT string_agg(quote_literal(o.owner), ', ')
                                      FROM (SELECT p.owner FROM aurora.principal p
                                            WHERE p.company_id = before.company_id ORDER BY p.owner LIMIT 20) o)
                       || '. Say outside => true to delegate to somebody else.';
        END IF;
        after.owner := to_whom;
        after.level := CASE WHEN their_trust = 'agent' THEN 'agent' ELSE 'human' END;
        after.snooze_until := NULL;
    END IF;
    PERFORM aurora.change_item(before, after, 'delegate');
END
$$;
COMMENT ON FUNCTION aurora.delegate(bigint, text, boolean) IS
    'Hands the item to another owner of the company, on whose surface it then is (level agent for an agent); with outside => true to anybody, and it is off the surface. Errors: P0002 no such item, 55000 not open, 22023 no such owner.';

CREATE FUNCTION aurora.restore(item_id bigint) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    before aurora.item := aurora.lock_item(item_id);
    after aurora.item := before;
BEGIN
    PERFORM aurora.require_state(before, 'done', 'dismissed', 'delegated', 'archived');
    IF before.state = 'archived' AND before.state_at < now() - interval '30 days' THEN
        RAISE object_not_in_prerequisite_state USING
            MESSAGE = format('item %s was archived more than 30 days ago', item_id),
            HINT = 'Add it again with aurora.add_item().';
    END IF;
    after.state := 'open';
    after.outcome := NULL;
    after.snooze_until := NULL;
    after.delegated_to := NULL;
    PERFORM aurora.change_item(before, after, 'restore');
END
$$;
COMMENT ON FUNCTION aurora.restore(bigint) IS
    'Opens an item again: done, dismissed, delegated outside, or archived in the last 30 days. Errors: P0002 no such item, 55000 open, or archived too long ago.';

CREATE FUNCTION aurora.undo(item_id bigint DEFAULT NULL) RETURNS bigint
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    last aurora.item_history;
    before aurora.item;
    after aurora.item;
BEGIN
    PERFORM aurora.require_lead();
    SELECT h.* INTO last FROM aurora.item_history h
        WHERE h.company_id = ANY (aurora.company_ids()) AND h.undone_at IS NULL AND h.action <> 'undo'
          AND CASE WHEN undo.item_id IS NULL THEN h.acted_by = aurora.actor(h.company_id)
                   ELSE h.item_id = undo.item_id END
        ORDER BY h.history_id DESC LIMIT 1;
    IF NOT FOUND THEN
        RAISE no_data_found USING
            MESSAGE = CASE WHEN item_id IS NULL THEN 'the caller has done nothing that can be undone'
                           ELSE format('nothing was done with item %s that can be undone', item_id) END,
            HINT = 'aurora.item_history shows what was done.';
    END IF;
    IF last.owner = aurora.actor(last.company_id) OR last.acted_by = aurora.actor(last.company_id) THEN
        SELECT i.* INTO before FROM aurora.item i
            WHERE i.company_id = last.company_id AND i.item_id = last.item_id FOR NO KEY UPDATE;
    ELSE
        before := aurora.lock_item(last.item_id);
    END IF;
    IF aurora.item_marks(before) <> last."to" THEN
        RAISE object_not_in_prerequisite_state USING
            MESSAGE = format('item %s has changed since', last.item_id),
            HINT = 'Undo the later change first, or use restore(), unsnooze() or delegate().';
    END IF;
    after := before;
    after.state := last."from" ->> 'state';
    after.owner := last."from" ->> 'owner';
    after.level := last."from" ->> 'level';
    after.outcome := last."from" ->> 'outcome';
    after.snooze_until := last."from" ->> 'snooze_until';
    after.delegated_to := last."from" ->> 'delegated_to';
    UPDATE aurora.item_history h SET undone_at = clock_timestamp()
        WHERE h.company_id = last.company_id AND h.history_id = last.history_id;
    PERFORM aurora.change_item(before, after, 'undo');
    RETURN last.item_id;
END
$$;
COMMENT ON FUNCTION aurora.undo(bigint) IS
    'Undoes the last action on an item, or with null the caller''s last action, and returns the item''s id. Errors: P0002 nothing to undo, 55000 the item has changed since.';

-- ---- dependencies ----

CREATE FUNCTION aurora.is_pending(state aurora.item_state) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT $1 IN ('open', 'delegated') $$;
COMMENT ON FUNCTION aurora.is_pending(aurora.item_state) IS 'Does an item in this state still hold up those that wait for it.';

CREATE FUNCTION aurora.add_dependency(item_id bigint, blocker_id bigint) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    waits aurora.item := aurora.lock_item(item_id);
    blocker aurora.item := aurora.lock_item(blocker_id);
BEGIN
    IF waits.company_id <> blocker.company_id THEN
        RAISE invalid_parameter_value USING MESSAGE = 'an item waits for items of its own company only';
    END IF;
    INSERT INTO aurora.item_dependency (company_id, item_id, blocker_id)
        VALUES (waits.company_id, waits.item_id, blocker.item_id) ON CONFLICT DO NOTHING;
END
$$;
COMMENT ON FUNCTION aurora.add_dependency(bigint, bigint) IS
    'The item waits, off the surface, until the blocker has ended. Errors: P0002 no such item, 22023 that would be a circle.';

CREATE FUNCTION aurora.remove_dependency(item_id bigint, blocker_id bigint) RETURNS boolean
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    waits aurora.item := aurora.lock_item(item_id);
BEGIN
    DELETE FROM aurora.item_dependency d
        WHERE d.company_id = waits.company_id AND d.item_id = waits.item_id
          AND d.blocker_id = remove_dependency.blocker_id;
    RETURN FOUND;
END
$$;
COMMENT ON FUNCTION aurora.remove_dependency(bigint, bigint) IS 'The item no longer waits for the blocker; false when it did not.';

CREATE FUNCTION aurora.count_dependency() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    d aurora.item_dependency := CASE WHEN TG_OP = 'INSERT' THEN NEW ELSE OLD END;
    change int := CASE WHEN TG_OP = 'INSERT' THEN 1 ELSE -1 END;
    pending boolean;
BEGIN
    IF TG_OP = 'INSERT' THEN
        -- One at a time in a company, or two halves of a circle could be added at once.
        PERFORM pg_advisory_xact_lock(hashtextextended('aurora.item_dependency', d.company_id));
        IF EXISTS (
            WITH RECURSIVE up AS (
                SELECT d.blocker_id AS id
                UNION
                SELECT n.blocker_id FROM up JOIN aurora.item_dependency n
                    ON n.company_id = d.company_id AND n.item_id = up.id
            ) SELECT FROM up WHERE up.id = d.item_id) THEN
            RAISE invalid_parameter_value USING
                MESSAGE = format('item %s cannot wait for item %s', d.item_id, d.blocker_id),
                DETAIL = CASE WHEN d.item_id = d.blocker_id THEN 'They are the same.'
                              ELSE 'That one waits for it already, itself or through others.' END;
        END IF;
    END IF;
    UPDATE aurora.item i SET blocking = i.blocking + change
        WHERE i.company_id = d.company_id AND i.item_id = d.blocker_id
        RETURNING aurora.is_pending(i.state) INTO pending;
    IF pending THEN
        UPDATE aurora.item i SET open_blockers = i.open_blockers + change
            WHERE i.company_id = d.company_id AND i.item_id = d.item_id;
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION aurora.count_dependency() IS 'Trigger: keeps open_blockers and blocking, and refuses circles.';
CREATE TRIGGER count_dependency AFTER INSERT OR DELETE ON aurora.item_dependency
    FOR EACH ROW EXECUTE FUNCTION aurora.count_dependency();
COMMENT ON TRIGGER count_dependency ON aurora.item_dependency IS 'Keeps the counts on items.';

CREATE FUNCTION aurora.release_dependents() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    change int := CASE WHEN TG_OP = 'UPDATE' AND aurora.is_pending(NEW.state) THEN 1 ELSE -1 END;
BEGIN
    UPDATE aurora.item i SET open_blockers = i.open_blockers + change
        FROM aurora.item_dependency d
        WHERE d.company_id = OLD.company_id AND d.blocker_id = OLD.item_id
          AND i.company_id = d.company_id AND i.item_id = d.item_id;
    RETURN CASE WHEN TG_OP = 'DELETE' THEN OLD END;
END
$$;
COMMENT ON FUNCTION aurora.release_dependents() IS 'Trigger: an item that ends, or opens again, tells those that wait for it.';
CREATE TRIGGER release_dependents AFTER UPDATE OF state ON aurora.item FOR EACH ROW
    WHEN (NEW.blocking > 0 AND (OLD.state IN ('open', 'delegated')) <> (NEW.state IN ('open', 'delegated')))
    EXECUTE FUNCTION aurora.release_dependents();
COMMENT ON TRIGGER release_dependents ON aurora.item IS 'Keeps open_blockers of those that wait.';
CREATE TRIGGER release_dependents_of_deleted BEFORE DELETE ON aurora.item FOR EACH ROW
    WHEN (OLD.blocking > 0 AND OLD.state IN ('open', 'delegated'))
    EXECUTE FUNCTION aurora.release_dependents();
COMMENT ON TRIGGER release_dependents_of_deleted ON aurora.item IS 'The same when an item is deleted.';

-- ---- reading items ----

CREATE VIEW aurora.items WITH (security_invoker = true) AS
    SELECT i.*, s.lane, s.score, s.static_points, s.urgency, s.important, s.urgent, s.quadrant
    FROM aurora.item i CROSS JOIN LATERAL aurora.item_score(i.company_id, i.owner, i.cell, i.act_by, now()) s;
COMMENT ON VIEW aurora.items IS 'All items that the caller may see, with their score now by their owner''s weights.';
DO $$
DECLARE
    c record;
BEGIN
    FOR c IN SELECT a.attname, d.description FROM pg_catalog.pg_attribute a
             JOIN pg_catalog.pg_description d ON d.objoid = a.attrelid AND d.objsubid = a.attnum
             WHERE a.attrelid = 'aurora.item'::regclass AND a.attnum > 0 LOOP
        EXECUTE format('COMMENT ON COLUMN aurora.items.%I IS %L', c.attname, c.description);
    END LOOP;
END
$$;
COMMENT ON COLUMN aurora.items.lane IS '0 for what must not be missed, else 1.';
COMMENT ON COLUMN aurora.items.score IS 'Points now.';
COMMENT ON COLUMN aurora.items.static_points IS 'Points without urgency.';
COMMENT ON COLUMN aurora.items.urgency IS 'Urgency now, 0 to 1.';
COMMENT ON COLUMN aurora.items.important IS 'Is it important: big, VIP, or static points at or over the threshold.';
COMMENT ON COLUMN aurora.items.urgent IS 'Is it urgent now: slack of one half-life or less.';
COMMENT ON COLUMN aurora.items.quadrant IS 'The quadrant now.';

CREATE FUNCTION aurora.explain(item_id bigint, at timestamptz DEFAULT now(), OUT feature text, OUT value text,
                               OUT points numeric, OUT formula text) RETURNS SETOF record
    LANGUAGE plpgsql STABLE ROWS 6 SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    i aurora.item;
BEGIN
    SELECT it.* INTO i FROM aurora.item it
        WHERE it.company_id = ANY (aurora.company_ids()) AND it.item_id = explain.item_id
          AND aurora.may_see(it.company_id, it.owner);
    IF NOT FOUND THEN
        RAISE no_data_found USING
            MESSAGE = format('there is no item %s that the caller may see', item_id),
            HINT = 'aurora.items lists them.';
    END IF;
    RETURN QUERY SELECT f.feature, f.value, f.points, f.formula
        FROM aurora.explain_features(i.company_id, i.owner, i.cell, i.act_by, at) f;
END
$$;
COMMENT ON FUNCTION aurora.explain(bigint, timestamptz) IS
    'Why an item has its score: a row for each feature with value, points and formula; the points add up to the score. Errors: P0002 no such item.';

CREATE FUNCTION aurora.company_amount(company_id int, amount numeric, currency text) RETURNS numeric
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT $2 * CASE WHEN c.currency = $3 THEN 1
                     ELSE (SELECT r.rate FROM aurora.currency_rate r WHERE r.company_id = $1 AND r.currency = $3) END
    FROM aurora.company c WHERE c.company_id = $1
$$;
COMMENT ON FUNCTION aurora.company_amount(int, numeric, text) IS 'An amount in the company''s currency; null without a rate.';

CREATE FUNCTION aurora.priority_stats(OUT company text, OUT metric text, OUT level aurora.item_level,
                                      OUT quadrant aurora.item_quadrant, OUT value numeric, OUT unit text)
    RETURNS SETOF record
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    WITH scored AS (
        SELECT i.company_id, i.level, s.quadrant, i.act_by < now() AS overdue
        FROM aurora.item i CROSS JOIN LATERAL aurora.item_score(i.company_id, i.owner, i.cell, i.act_by, now()) s
        WHERE i.state = 'open'
    ), grid AS (
        SELECT c.company_id, l AS level, q AS quadrant
        FROM aurora.company c, unnest(enum_range(NULL::aurora.item_level)) l,
             unnest(enum_range(NULL::aurora.item_quadrant)) q
    ), phases AS (
        SELECT p.company_id,
               count(*) AS entered,
               count(*) FILTER (WHERE i.state = 'archived' AND i.state_at <= p.since + interval '72 hours') AS archived
        FROM aurora.item_phase p JOIN aurora.item i USING (company_id, item_id)
        WHERE p.quadrant = 'Q4_ELIMINATE' AND i.level = 'human' AND p.since > now() - interval '33 days'
          AND (p.since <= now() - interval '72 hours' OR i.state = 'archived')
        GROUP BY p.company_id
    ), archive AS (
        SELECT h.company_id, count(*) FILTER (WHERE h.action = 'archive') AS archived,
               count(*) FILTER (WHERE h.action = 'restore' AND h."from" ->> 'state' = 'archived') AS restored
        FROM aurora.item_history h WHERE h.acted_at > now() - interval '14 days' GROUP BY h.company_id
    ), surfaced AS (
        SELECT c.company_id, sum(aurora.company_amount(c.company_id, t.amount, t.currency)) AS amount
        FROM aurora.company c
        JOIN aurora.principal p ON p.company_id = c.company_id AND aurora.may_see(p.company_id, p.owner)
        CROSS JOIN LATERAL aurora.surface(10, p.owner) s
        JOIN aurora.item t ON t.company_id = c.company_id AND t.item_id = s.item_id
        GROUP BY c.company_id
    ), influenced AS (
        SELECT i.company_id, sum(aurora.company_amount(i.company_id, i.amount, i.currency)) AS amount
        FROM aurora.item i JOIN aurora.item_surfaced f USING (company_id, item_id)
        WHERE i.outcome = 'won' AND f.first_at <= i.state_at
        GROUP BY i.company_id
    )
    SELECT c.name, m.metric, m.level, m.quadrant, m.value, m.unit
    FROM aurora.company c CROSS JOIN LATERAL (
        SELECT 1 AS place, 'open' AS metric, g.level, g.quadrant, count(s.company_id)::numeric AS value, 'items' AS unit
        FROM grid g LEFT JOIN scored s ON s.company_id = g.company_id AND s.level = g.level AND s.quadrant = g.quadrant
        WHERE g.company_id = c.company_id GROUP BY g.level, g.quadrant
        UNION ALL
        SELECT 2, 'overdue', l, NULL, count(s.company_id), 'items'
        FROM unnest(enum_range(NULL::aurora.item_level)) l
        LEFT JOIN scored s ON s.company_id = c.company_id AND s.level = l AND s.overdue GROUP BY l
        UNION ALL
        SELECT 3, 'archived_within_72h', NULL, 'Q4_ELIMINATE',
               (SELECT round(100.0 * p.archived / nullif(p.entered, 0), 1) FROM phases p WHERE p.company_id = c.company_id),
               'percent of those that entered'
        UNION ALL
        SELECT 4, 'archived', NULL, NULL,
               coalesce((SELECT a.archived FROM archive a WHERE a.company_id = c.company_id), 0), 'items in 14 days'
        UNION ALL
        SELECT 5, 'restored', NULL, NULL,
               coalesce((SELECT a.restored FROM archive a WHERE a.company_id = c.company_id), 0), 'items in 14 days'
        UNION ALL
        SELECT 6, 'revenue_in_surface', NULL, NULL,
               coalesce((SELECT s.amount FROM surfaced s WHERE s.company_id = c.company_id), 0), c.currency
        UNION ALL
        SELECT 7, 'revenue_influenced', NULL, NULL,
               coalesce((SELECT f.amount FROM influenced f WHERE f.company_id = c.company_id), 0), c.currency
    ) m
    ORDER BY c.name, m.place, m.level, m.quadrant
$$;
COMMENT ON FUNCTION aurora.priority_stats() IS
    'Numbers about the items that the caller may see, a row each: open items by level and quadrant, overdue by level, Q4 archived within 72 hours (percent, last 30 days), archived and restored (last 14 days), amounts on the surfaces now, and the amount of won deals that had been on a surface before.';

-- ---- duties of the lead ----

CREATE FUNCTION aurora.request_placement() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO aurora.placement_run AS r (company_id)
        VALUES (CASE WHEN TG_OP = 'DELETE' THEN OLD.company_id ELSE NEW.company_id END)
        ON CONFLICT (company_id) DO UPDATE SET requested_at = clock_timestamp(), last_item_id = 0;
    IF NOT aurora.library_preloaded() THEN
        RAISE NOTICE 'items keep their places until CALL aurora.apply_settings()'
            USING HINT = 'With aurora in shared_preload_libraries a worker does it.';
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION aurora.request_placement() IS 'Trigger: settings that place items have changed; items are to be moved.';
CREATE TRIGGER request_placement AFTER UPDATE OF currency, big_threshold, sla_hours, revenue_unit ON aurora.company
    FOR EACH ROW WHEN ((OLD.currency, OLD.big_threshold, OLD.sla_hours, OLD.revenue_unit)
                       IS DISTINCT FROM (NEW.currency, NEW.big_threshold, NEW.sla_hours, NEW.revenue_unit))
    EXECUTE FUNCTION aurora.request_placement();
COMMENT ON TRIGGER request_placement ON aurora.company IS 'Has items moved.';
CREATE TRIGGER request_placement AFTER INSERT OR UPDATE OR DELETE ON aurora.currency_rate
    FOR EACH ROW EXECUTE FUNCTION aurora.request_placement();
COMMENT ON TRIGGER request_placement ON aurora.currency_rate IS 'Has items moved.';
CREATE TRIGGER request_placement AFTER INSERT OR UPDATE OR DELETE ON aurora.item_kind
    FOR EACH ROW EXECUTE FUNCTION aurora.request_placement();
COMMENT ON TRIGGER request_placement ON aurora.item_kind IS 'Has items moved.';
CREATE TRIGGER request_placement AFTER INSERT OR DELETE ON aurora.item_group_slot
    FOR EACH ROW EXECUTE FUNCTION aurora.request_placement();
COMMENT ON TRIGGER request_placement ON aurora.item_group_slot IS 'Has items moved.';

CREATE FUNCTION aurora.apply_settings_batch(max_rows int DEFAULT 2000) RETURNS boolean
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    run aurora.placement_run;
    seen timestamptz;
    last bigint;
BEGIN
    PERFORM aurora.require_lead();
    SELECT r.* INTO run FROM aurora.placement_run r ORDER BY r.requested_at, r.company_id LIMIT 1;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    seen := run.requested_at;
    IF run.last_item_id = 0 THEN
        -- Those that began to write before the change may have placed items by the old settings.
        PERFORM aurora.wait_for_item_writers();
    END IF;
    SELECT r.* INTO run FROM aurora.placement_run r WHERE r.company_id = run.company_id FOR UPDATE SKIP LOCKED;
    IF NOT FOUND OR run.requested_at <> seen THEN
        RETURN true;
    END IF;
    SELECT max(b.item_id) INTO last FROM (
        SELECT i.item_id FROM aurora.item i WHERE i.company_id = run.company_id AND i.item_id > run.last_item_id
        ORDER BY i.item_id LIMIT max_rows) b;
    IF last IS NULL THEN
        DELETE FROM aurora.placement_run r WHERE r.company_id = run.company_id;
        RETURN EXISTS (SELECT FROM aurora.placement_run);
    END IF;
    UPDATE aurora.item i SET cell = i.cell
        WHERE i.company_id = run.company_id AND i.item_id > run.last_item_id AND i.item_id <= last
          AND i.state = 'open' AND aurora.item_is_misplaced(i);
    UPDATE aurora.placement_run r SET last_item_id = last WHERE r.company_id = run.company_id;
    RETURN true;
END
$$;
COMMENT ON FUNCTION aurora.apply_settings_batch(int) IS
    'Moves the next items to the cells that changed settings give, looking at max_rows of them; true when there is more to do. For READ COMMITTED transactions.';

CREATE PROCEDURE aurora.apply_settings(max_rows int DEFAULT 2000)
    LANGUAGE plpgsql AS $$
BEGIN
    WHILE aurora.apply_settings_batch(max_rows) LOOP
        COMMIT;
    END LOOP;
END
$$;
COMMENT ON PROCEDURE aurora.apply_settings(int) IS
    'Moves all items to the cells that changed settings give, in transactions of max_rows items. The worker does the same by itself.';

CREATE FUNCTION aurora.wake_snoozed(max_rows int DEFAULT 2000) RETURNS bigint
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    woken bigint;
BEGIN
    PERFORM aurora.require_lead();
    WITH due AS (
        SELECT i.company_id, i.item_id
        FROM aurora.principal p CROSS JOIN generate_series(0, 2) l
        CROSS JOIN LATERAL (
            SELECT n.company_id, n.item_id FROM aurora.item n
            WHERE n.scope = p.principal_no * 4 + l AND n.snooze_until <= now()
              AND n.state = 'open' AND n.open_blockers = 0 AND n.snooze_until IS NOT NULL
            ORDER BY n.snooze_until LIMIT max_rows) i
        LIMIT max_rows
    )
    UPDATE aurora.item i SET snooze_until = NULL FROM due d
        WHERE i.company_id = d.company_id AND i.item_id = d.item_id AND i.snooze_until <= now();
    GET DIAGNOSTICS woken = ROW_COUNT;
    RETURN woken;
END
$$;
COMMENT ON FUNCTION aurora.wake_snoozed(int) IS
    'Ends the snooze of items whose time has come, at most max_rows, so that they are read by cell again. They are on the surface before, too.';

CREATE FUNCTION aurora.sample_surface(at timestamptz DEFAULT now()) RETURNS bigint
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    p record;
    sampled bigint := 0;
    rows bigint;
BEGIN
    PERFORM aurora.require_lead();
    FOR p IN SELECT DISTINCT n.owner FROM aurora.principal n
             WHERE EXISTS (SELECT FROM aurora.item_cell c WHERE c.scope = n.principal_no * 4) ORDER BY n.owner LOOP
        BEGIN
            INSERT INTO aurora.item_surfaced AS f (company_id, item_id, first_at, last_at, best_rank)
                SELECT i.company_id, i.item_id, sample_surface.at, sample_surface.at, s.rank
                FROM aurora.surface(10, p.owner, sample_surface.at) s
                JOIN aurora.principal n ON n.owner = p.owner
                JOIN aurora.item i ON i.company_id = n.company_id AND i.item_id = s.item_id AND i.owner = n.owner
                ON CONFLICT (company_id, item_id) DO UPDATE SET
                    first_at = least(f.first_at, excluded.first_at), last_at = greatest(f.last_at, excluded.last_at),
                    best_rank = least(f.best_rank, excluded.best_rank), samples = f.samples + 1;
            GET DIAGNOSTICS rows = ROW_COUNT;
            sampled := sampled + rows;
        EXCEPTION WHEN invalid_parameter_value THEN
            RAISE WARNING 'the surface of "%" cannot be sampled: %', p.owner, SQLERRM;
        END;
    END LOOP;
    RETURN sampled;
END
$$;
COMMENT ON FUNCTION aurora.sample_surface(timestamptz) IS
    'Notes which items are among each owner''s ten; priority_stats() tells from it what the surface influenced. For administrators and the worker.';

CREATE FUNCTION aurora.observe_phases(at timestamptz DEFAULT now()) RETURNS bigint
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    changed bigint;
BEGIN
    PERFORM aurora.require_lead();
    DELETE FROM aurora.item_phase p USING aurora.item i
        WHERE i.company_id = p.company_id AND i.item_id = p.item_id AND i.state NOT IN ('open', 'archived');
    INSERT INTO aurora.item_phase AS p (company_id, item_id, important, urgent, quadrant, since)
        SELECT n.company_id, n.item_id, n.important, n.urgent, n.quadrant,
               CASE WHEN n.was IS NULL THEN least(n.placed_at, at) WHEN n.was = n.quadrant
                    THEN greatest(n.since, least(n.placed_at, at)) ELSE at END
        FROM (
            SELECT b.*, CASE WHEN b.important THEN CASE WHEN b.urgent THEN 'Q1_DO_NOW' ELSE 'Q2_SCHEDULE' END
                        ELSE CASE WHEN b.urgent THEN 'Q3_DELEGATE' ELSE 'Q4_ELIMINATE' END
                        END::aurora.item_quadrant AS quadrant
            FROM (
                SELECT i.company_id, i.item_id, i.placed_at, o.quadrant AS was, o.since, o.important AS was_important,
                       o.urgent AS was_urgent,
                       s.important OR coalesce(o.important, false)
                           AND s.static_points >= 0.9 * c.important_points AS important,
                       s.urgent OR coalesce(o.urgent, false) AND s.urgency >= 0.30 AS urgent
                FROM aurora.item i JOIN aurora.company c USING (company_id)
                CROSS JOIN LATERAL aurora.item_score(i.company_id, i.owner, i.cell, i.act_by, at) s
                LEFT JOIN aurora.item_phase o ON o.company_id = i.company_id AND o.item_id = i.item_id
                WHERE i.state = 'open') b) n
        WHERE n.was IS NULL OR n.was <> n.quadrant OR n.since < least(n.placed_at, at)
           OR (n.was_important, n.was_urgent) IS DISTINCT FROM (n.important, n.urgent)
        ON CONFLICT (company_id, item_id) DO UPDATE SET
            important = excluded.important, urgent = excluded.urgent, quadrant = excluded.quadrant,
            since = excluded.since;
    GET DIAGNOSTICS changed = ROW_COUNT;
    RETURN changed;
END
$$;
COMMENT ON FUNCTION aurora.observe_phases(timestamptz) IS
    'Brings item_phase up to a time and returns how many rows changed. An edit that moves an item to another cell or deadline counts as a break.';

CREATE FUNCTION aurora.archive_q4(at timestamptz DEFAULT now()) RETURNS bigint
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    archived bigint;
BEGIN
    PERFORM aurora.observe_phases(at);
    WITH stale AS (
        SELECT i.company_id, i.item_id
        FROM aurora.item_phase p JOIN aurora.item i USING (company_id, item_id)
        CROSS JOIN LATERAL aurora.cell_features(i.cell) f
        JOIN aurora.kinds k ON k.company_id = i.company_id AND k.kind_no = f.kind_no
        WHERE p.quadrant = 'Q4_ELIMINATE' AND p.since <= at - interval '48 hours'
          AND i.state = 'open' AND i.level = 'human' AND i.open_blockers = 0 AND i.blocking = 0
          AND i.snooze_until IS NULL AND (i.due_at IS NULL OR i.due_at < at)
          AND NOT f.big AND NOT f.vip AND k.base <> 'incident'
        ORDER BY i.company_id, i.item_id FOR NO KEY UPDATE OF i SKIP LOCKED
    ), before AS (
        SELECT i.* FROM aurora.item i JOIN stale USING (company_id, item_id)
    ), after AS (
        UPDATE aurora.item i SET state = 'archived', state_by = 'aurora', state_at = at FROM stale s
        WHERE i.company_id = s.company_id AND i.item_id = s.item_id RETURNING i.*
    )
    INSERT INTO aurora.item_history (company_id, item_id, owner, action, acted_at, acted_by, "from", "to")
        SELECT a.company_id, a.item_id, a.owner, 'archive', at, 'aurora', aurora.item_marks(b),
               jsonb_set(aurora.item_marks(b), '{state}', '"archived"')
        FROM after a JOIN before b USING (company_id, item_id);
    GET DIAGNOSTICS archived = ROW_COUNT;
    RETURN archived;
END
$$;
COMMENT ON FUNCTION aurora.archive_q4(timestamptz) IS
    'Archives human items that have been in Q4 for 48 hours without a break, and returns how many. Never big, VIP, incident, blocking, blocked or snoozed ones, nor those with a due time still to come. restore() brings one back for 30 days.';

CREATE FUNCTION aurora.sweep_cells() RETURNS bigint
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '200ms' AS $$
DECLARE
    swept bigint;
    tries int := 0;
BEGIN
    PERFORM aurora.require_lead();
    LOOP
        BEGIN
            LOCK TABLE aurora.item_cell IN SHARE ROW EXCLUSIVE MODE;
            EXIT;
        EXCEPTION WHEN lock_not_available THEN
            tries := tries + 1;
            IF tries = 50 THEN
                RAISE lock_not_available USING
                    MESSAGE = 'cells cannot be swept while items are being written',
                    HINT = 'A long transaction writes items; the next run tries again.';
            END IF;
            PERFORM pg_sleep(0.1 * random());
        END;
    END LOOP;
    DELETE FROM aurora.item_cell c
        WHERE NOT EXISTS (
                SELECT FROM aurora.item i
                WHERE i.scope = c.scope AND i.cell = c.cell
                  AND i.state = 'open' AND i.open_blockers = 0 AND i.snooze_until IS NULL)
           OR EXISTS (
                SELECT FROM aurora.item_cell d
                WHERE d.scope = c.scope AND d.cell = c.cell AND d.ctid < c.ctid);
    GET DIAGNOSTICS swept = ROW_COUNT;
    RETURN swept;
END
$$;
COMMENT ON FUNCTION aurora.sweep_cells() IS
    'Removes cells that hold no open item, and doubles, and returns how many. Needs a moment without writers; waits for at most ten seconds in all.';

CREATE FUNCTION aurora.set_groups_apart(min_items int DEFAULT 256) RETURNS bigint
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    added bigint;
BEGIN
    PERFORM aurora.require_lead();
    DELETE FROM aurora.item_group_slot s
        WHERE NOT EXISTS (
            SELECT FROM aurora.principal p JOIN aurora.item_cell c ON c.scope >> 2 = p.principal_no
            CROSS JOIN LATERAL aurora.cell_features(c.cell) f
            WHERE p.company_id = s.company_id AND p.owner = s.owner AND f.slot = s.slot)
          AND NOT EXISTS (SELECT FROM aurora.placement_run r WHERE r.company_id = s.company_id);
    WITH crowded AS (
        SELECT i.company_id, i.owner, i.group_key, count(*) AS items
        FROM aurora.item i WHERE i.state = 'open' AND i.group_key IS NOT NULL
        GROUP BY i.company_id, i.owner, i.group_key HAVING count(*) >= min_items
    ), wanting AS (
        SELECT c.company_id, c.owner, c.group_key,
               row_number() OVER (PARTITION BY c.company_id, c.owner ORDER BY c.items DESC, c.group_key) AS n
        FROM crowded c
        WHERE NOT EXISTS (SELECT FROM aurora.item_group_slot s
                          WHERE s.company_id = c.company_id AND s.owner = c.owner AND s.group_key = c.group_key)
    ), free AS (
        SELECT p.company_id, p.owner, slot,
               row_number() OVER (PARTITION BY p.company_id, p.owner ORDER BY slot) AS n
        FROM (SELECT DISTINCT w.company_id, w.owner FROM wanting w) p CROSS JOIN generate_series(1, 15) slot
        WHERE NOT EXISTS (SELECT FROM aurora.item_group_slot s
                          WHERE s.company_id = p.company_id AND s.owner = p.owner AND s.slot = slot)
    )
    INSERT INTO aurora.item_group_slot (company_id, owner, group_key, slot)
        SELECT w.company_id, w.owner, w.group_key, f.slot
        FROM wanting w JOIN free f USING (company_id, owner, n);
    GET DIAGNOSTICS added = ROW_COUNT;
    RETURN added;
END
$$;
COMMENT ON FUNCTION aurora.set_groups_apart(int) IS
    'Gives the largest group keys of each owner, of min_items open items or more and 15 at most, cells of their own, and returns how many. Reading then passes over all but their best item at once.';

-- ---- chance to win ----

CREATE FUNCTION aurora.learn_win_chances(at timestamptz DEFAULT now(), company text DEFAULT NULL) RETURNS bigint
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    learned bigint;
    only_id int;
BEGIN
    PERFORM aurora.require_lead();
    only_id := CASE WHEN company IS NOT NULL THEN aurora.company_for(company) END;
    DELETE FROM aurora.win_chance w WHERE only_id IS NULL OR w.company_id = only_id;
    WITH deal AS (
        SELECT i.company_id, i.kind, i.received_at AS opened_at, i.outcome = 'won' AS won,
               CASE WHEN i.outcome IS NOT NULL AND i.state_at <= at THEN i.state_at END AS closed_at
        FROM aurora.item i JOIN aurora.kinds k ON k.company_id = i.company_id AND k.kind = i.kind
        WHERE k.base = 'deal' AND i.received_at < at AND (only_id IS NULL OR i.company_id = only_id)
    ), record AS (
        SELECT d.company_id, d.kind, min(d.closed_at) AS start FROM deal d GROUP BY d.company_id, d.kind
    ), seen AS (
        SELECT d.company_id, d.kind, least(floor(extract(epoch FROM t.t - d.opened_at) / 604800), 20)::int AS age_weeks,
               (d.won AND d.closed_at <= t.t + interval '336 hours') IS TRUE AS won
        FROM deal d JOIN record r USING (company_id, kind)
        CROSS JOIN LATERAL generate_series(at - interval '360 hours', r.start, interval '-168 hours') t (t)
        WHERE d.opened_at <= t.t AND (d.closed_at IS NULL OR d.closed_at > t.t)
          AND (d.closed_at IS NOT NULL OR t.t - d.opened_at >= interval '3360 hours')
    ), mean AS (
        SELECT s.company_id, s.kind, avg(s.won::int)::float8 AS chance FROM seen s GROUP BY s.company_id, s.kind
    ), counted AS (
        SELECT s.company_id, s.kind, s.age_weeks, count(*) AS at_risk, count(*) FILTER (WHERE s.won) AS won
        FROM seen s GROUP BY s.company_id, s.kind, s.age_weeks
    )
    INSERT INTO aurora.win_chance (company_id, kind, age_weeks, chance, at_risk, learned_at)
        SELECT m.company_id, m.kind, w, (coalesce(c.won, 0) + 20 * m.chance) / (coalesce(c.at_risk, 0) + 20),
               coalesce(c.at_risk, 0), at
        FROM mean m CROSS JOIN generate_series(0, 20) w
        LEFT JOIN counted c ON c.company_id = m.company_id AND c.kind = m.kind AND c.age_weeks = w;
    GET DIAGNOSTICS learned = ROW_COUNT;
    RETURN learned;
END
$$;
COMMENT ON FUNCTION aurora.learn_win_chances(timestamptz, text) IS
    'Learns from a company''s deals (all companies when null), as known at a time, the chance that a deal of a given age in weeks is won within 14 days, among deals that end; and returns how many rows. docs/priority.md has the definition.';

CREATE FUNCTION aurora.apply_win_chances(at timestamptz DEFAULT now(), company text DEFAULT NULL) RETURNS bigint
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    changed bigint;
    only_id int;
BEGIN
    PERFORM aurora.require_lead();
    only_id := CASE WHEN company IS NOT NULL THEN aurora.company_for(company) END;
    UPDATE aurora.item i SET win_chance = w.chance
        FROM aurora.win_chance w
        WHERE w.company_id = i.company_id AND w.kind = i.kind AND i.state = 'open'
          AND (only_id IS NULL OR i.company_id = only_id)
          AND w.age_weeks = greatest(least(floor(extract(epoch FROM at - i.received_at) / 604800), 20), 0)
          AND i.win_chance IS DISTINCT FROM w.chance;
    GET DIAGNOSTICS changed = ROW_COUNT;
    RETURN changed;
END
$$;
COMMENT ON FUNCTION aurora.apply_win_chances(timestamptz, text) IS
    'Gives open deals the learned chance of their age, and returns how many changed.';

CREATE FUNCTION aurora.refresh_win_chances() RETURNS bigint
    LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT aurora.learn_win_chances();
    SELECT aurora.apply_win_chances();
$$;
COMMENT ON FUNCTION aurora.refresh_win_chances() IS 'Learns the chances of deals anew and applies them; returns how many deals changed.';

-- ---- duties, by the clock ----

CREATE FUNCTION aurora.duty_definitions(OUT duty text, OUT runs_by text, OUT schedule text, OUT call text, OUT what text)
    RETURNS SETOF record
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    VALUES ('apply_settings', 'worker', 'every 5 seconds', 'apply_settings_batch', 'moves items to the cells that changed settings give'),
           ('wake_snoozed', 'worker', 'every minute', 'wake_snoozed', 'ends the snooze of items whose time has come'),
           ('sample_surface', 'worker', 'every 5 minutes', 'sample_surface', 'notes which items are on the surfaces'),
           ('archive_q4', 'pg_cron', '7 * * * *', 'archive_q4', 'archives what has been in Q4 for 48 hours'),
           ('sweep_cells', 'pg_cron', '23 3 * * *', 'sweep_cells', 'removes emptied cells'),
           ('set_groups_apart', 'pg_cron', '29 3 * * *', 'set_groups_apart', 'gives crowded groups cells of their own'),
           ('refresh_win_chances', 'pg_cron', '37 3 * * *', 'refresh_win_chances', 'learns the chances of deals')
$$;
COMMENT ON FUNCTION aurora.duty_definitions() IS 'The duties of the lead and the functions that do them.';

CREATE FUNCTION aurora.run_duty(duty text) RETURNS bigint
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    definition record;
    result text;
    failure text;
    started timestamptz := clock_timestamp();
BEGIN
    PERFORM aurora.require_lead();
    SELECT * INTO definition FROM aurora.duty_definitions() d WHERE d.duty = run_duty.duty;
    IF NOT FOUND THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('there is no duty "%s"', duty),
            HINT = 'Duties: ' || (SELECT string_agg(d.duty, ', ') FROM aurora.duty_definitions() d) || '.';
    END IF;
    BEGIN
        EXECUTE format('SELECT aurora.%I()', definition.call) INTO result;
    EXCEPTION WHEN OTHERS THEN
        failure := SQLERRM;
        RAISE WARNING 'duty "%" failed: %', duty, failure;
    END;
    result := CASE result WHEN 'true' THEN '1' WHEN 't' THEN '1' WHEN 'false' THEN '0' WHEN 'f' THEN '0' ELSE result END;
    INSERT INTO aurora.duty_run AS r (duty, started_at, finished_at, rows, error)
        VALUES (duty, started, clock_timestamp(), result::bigint, failure)
        ON CONFLICT ON CONSTRAINT duty_run_pkey DO UPDATE SET
            started_at = excluded.started_at, finished_at = excluded.finished_at, rows = excluded.rows,
            error = excluded.error;
    RETURN result::bigint;
END
$$;
COMMENT ON FUNCTION aurora.run_duty(text) IS
    'Does a duty now and notes the run; returns how many rows it changed, or null with a warning when it failed. Errors: 22023 no such duty, 25006 on a standby.';

CREATE FUNCTION aurora.scheduled_duties() RETURNS SETOF text
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF to_regclass('cron.job') IS NOT NULL THEN
        RETURN QUERY EXECUTE
            'SELECT substr(jobname, 8) FROM cron.job WHERE jobname LIKE ''aurora %'' AND active
             AND database = current_database()';
    END IF;
END
$$;
COMMENT ON FUNCTION aurora.scheduled_duties() IS 'The duties that pg_cron has in its table.';

CREATE FUNCTION aurora.schedule_duties() RETURNS SETOF text
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    definition record;
BEGIN
    PERFORM aurora.require_lead();
    IF to_regclass('cron.job') IS NULL THEN
        RAISE undefined_object USING
            MESSAGE = 'pg_cron is not in this database',
            HINT = 'Install it, set cron.database_name to this database and run CREATE EXTENSION pg_cron; or call aurora.run_duty() by hand.';
    END IF;
    FOR definition IN SELECT * FROM aurora.duty_definitions() d WHERE d.runs_by = 'pg_cron' LOOP
        EXECUTE 'SELECT cron.schedule($1, $2, $3)'
            USING 'aurora ' || definition.duty, definition.schedule, format('SELECT aurora.run_duty(%L)', definition.duty);
        RETURN NEXT definition.duty;
    END LOOP;
END
$$;
COMMENT ON FUNCTION aurora.schedule_duties() IS
    'Has pg_cron run the duties that go by the clock, and returns their names; again changes nothing. Errors: 42704 without pg_cron.';

CREATE VIEW aurora.duties AS
    SELECT d.duty, d.what, d.runs_by, d.schedule,
           CASE d.runs_by WHEN 'worker' THEN aurora.library_preloaded()
                ELSE d.duty IN (SELECT aurora.scheduled_duties()) END AS scheduled,
           r.started_at AS last_started_at, r.finished_at AS last_finished_at, r.rows AS last_rows, r.error AS last_error
    FROM aurora.duty_definitions() d LEFT JOIN aurora.duty_run r USING (duty);
COMMENT ON VIEW aurora.duties IS 'What the lead does by itself: by whom, when, and how the last run went. aurora.run_duty() does one by hand.';
COMMENT ON COLUMN aurora.duties.duty IS 'Name of the duty.';
COMMENT ON COLUMN aurora.duties.what IS 'What it does.';
COMMENT ON COLUMN aurora.duties.runs_by IS 'worker: aurora''s background worker; pg_cron: by the clock.';
COMMENT ON COLUMN aurora.duties.schedule IS 'When: in words for the worker, in cron''s notation for pg_cron.';
COMMENT ON COLUMN aurora.duties.scheduled IS 'Will it run by itself; if not, aurora.schedule_duties() or shared_preload_libraries is missing.';
COMMENT ON COLUMN aurora.duties.last_started_at IS 'Start of the last run.';
COMMENT ON COLUMN aurora.duties.last_finished_at IS 'End of the last run.';
COMMENT ON COLUMN aurora.duties.last_rows IS 'Rows that it changed.';
COMMENT ON COLUMN aurora.duties.last_error IS 'Why it failed, if it did.';

-- ---- what each role sees ----

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['item', 'item_history'] LOOP
        EXECUTE format('ALTER TABLE aurora.%I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY %I ON aurora.%I USING (company_id = ANY (aurora.company_ids())
                        AND aurora.may_see(company_id, owner))', name || '_owner', name);
        EXECUTE format('COMMENT ON POLICY %I ON aurora.%I IS %L', name || '_owner', name,
                       'A caller sees its own rows, managers those of their company.');
    END LOOP;
    FOREACH name IN ARRAY ARRAY['item_dependency', 'item_phase', 'item_surfaced'] LOOP
        EXECUTE format('ALTER TABLE aurora.%I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY %I ON aurora.%I USING (EXISTS (
            SELECT FROM aurora.item i WHERE i.company_id = %I.company_id AND i.item_id = %I.item_id))',
            name || '_owner', name, name, name);
        EXECUTE format('COMMENT ON POLICY %I ON aurora.%I IS %L', name || '_owner', name,
                       'Seen by those who see the item.');
    END LOOP;
    FOREACH name IN ARRAY ARRAY['item_kind', 'weight_override', 'weight_change', 'person', 'win_chance',
                                'placement_run'] LOOP
        EXECUTE format('ALTER TABLE aurora.%I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY %I ON aurora.%I USING (aurora.is_member(company_id))', name || '_member', name);
        EXECUTE format('COMMENT ON POLICY %I ON aurora.%I IS %L', name || '_member', name,
                       'A caller sees the rows of its companies.');
    END LOOP;
END
$$;

REVOKE ALL ON ALL ROUTINES IN SCHEMA aurora FROM PUBLIC;
GRANT SELECT ON aurora.item, aurora.items, aurora.item_history, aurora.item_dependency, aurora.item_phase,
    aurora.item_surfaced, aurora.item_kind, aurora.kinds, aurora.weight_override, aurora.weights, aurora.weight_change,
    aurora.person, aurora.win_chance, aurora.placement_run, aurora.duties
    TO aurora_admin, aurora_operator, aurora_user, aurora_agent, aurora_gateway;
GRANT EXECUTE ON FUNCTION aurora.builtin_kinds, aurora.builtin_weights, aurora.cell_features, aurora.item_score,
    aurora.explain_features, aurora.explain, aurora.surface, aurora.agenda, aurora.quadrant, aurora.company_surface,
    aurora.company_amount, aurora.priority_stats, aurora.duty_definitions, aurora.scheduled_duties, aurora.add_item,
    aurora.add_person, aurora.complete, aurora.dismiss, aurora.snooze, aurora.unsnooze, aurora.delegate, aurora.restore,
    aurora.undo, aurora.add_dependency, aurora.remove_dependency, aurora.set_weight, aurora.reset_weights
    TO aurora_admin, aurora_operator, aurora_user, aurora_agent, aurora_gateway;
GRANT EXECUTE ON FUNCTION aurora.set_kind TO aurora_admin, aurora_user, aurora_gateway;
GRANT EXECUTE ON FUNCTION aurora.apply_settings_batch, aurora.wake_snoozed, aurora.sample_surface,
    aurora.observe_phases, aurora.archive_q4, aurora.sweep_cells, aurora.set_groups_apart, aurora.learn_win_chances,
    aurora.apply_win_chances, aurora.refresh_win_chances, aurora.run_duty, aurora.schedule_duties,
    aurora.item_is_misplaced
    TO aurora_admin, aurora_operator;
GRANT EXECUTE ON PROCEDURE aurora.apply_settings TO aurora_admin, aurora_operator;
GRANT SELECT ON aurora.duties TO aurora_monitor;
GRANT EXECUTE ON FUNCTION aurora.duty_definitions, aurora.scheduled_duties TO aurora_monitor;
