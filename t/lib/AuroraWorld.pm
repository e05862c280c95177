# Random worlds: companies with owners, kinds, weights and items, made in the database from a seed.
#
# A "shape" says what the items of a world have in common: mixed, ties, overdue, far (nothing due
# for long), crowded (one group key has nine items of ten). Time stands around world_time().
package AuroraWorld;

use strict;
use warnings;

use Exporter 'import';
use Test::More;

our @EXPORT = qw(install_worlds make_world world_time random_seed);

my $settings = <<'SQL';
CREATE FUNCTION reference.world_time() RETURNS timestamptz LANGUAGE sql IMMUTABLE AS
    $$ SELECT timestamptz '2026-03-02 09:00:00+00' $$;
CREATE FUNCTION reference.some(low int, high int) RETURNS int LANGUAGE sql VOLATILE AS
    $$ SELECT $1 + floor(random() * ($2 - $1 + 1))::int $$;
CREATE FUNCTION reference.chance(p float8) RETURNS boolean LANGUAGE sql VOLATILE AS $$ SELECT random() < $1 $$;

CREATE FUNCTION reference.random_weights() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    c record;
BEGIN
    PERFORM aurora.reset_weights(company => name) FROM aurora.company;
    FOR c IN SELECT company.name, NULL AS owner FROM aurora.company
             UNION ALL (SELECT company.name, p.owner FROM aurora.company JOIN aurora.principal p USING (company_id)
                        ORDER BY p.company_id, p.owner LIMIT 12) LOOP
        PERFORM aurora.set_weight(w.name, CASE WHEN reference.chance(0.15) THEN 0
                                          ELSE round((random() * w.most)::numeric, reference.some(0, 4)) END,
                                  c.owner, c.name)
            FROM (VALUES ('revenue', 200), ('vip', 40), ('risk', 20), ('boost', 20), ('urgency', 200),
                         ('offset.email', 30), ('offset.renewal', 30)) w (name, most) WHERE reference.chance(0.3);
        PERFORM aurora.set_weight('half_life.' || k, 0.01 + random() * 300, c.owner, c.name)
            FROM unnest(ARRAY['deal', 'task', 'email', 'page']) k WHERE reference.chance(0.2);
    END LOOP;
END
$$;

CREATE FUNCTION reference.make_company(name text, currency text, owners int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM aurora.add_company(name, currency,
        big_threshold => CASE currency WHEN 'JPY' THEN 4000000 ELSE 40000 + 10000 * reference.some(0, 2) END,
        sla_hours => 1 + reference.some(0, 4), important_points => 10 + reference.some(0, 20),
        revenue_unit => CASE currency WHEN 'JPY' THEN 100000 ELSE 500 * reference.some(1, 4) END);
    PERFORM aurora.add_principal('owner ' || o, name, trust => CASE WHEN o = 3 THEN 'agent' ELSE 'member' END)
        FROM generate_series(1, owners) o;
    PERFORM aurora.set_rate(r.code, r.rate::numeric / h.rate::numeric, name)
        FROM (VALUES ('USD', 1.0), ('EUR', 1.1), ('JPY', 0.0067)) r (code, rate),
             (VALUES ('USD', 1.0), ('EUR', 1.1), ('JPY', 0.0067)) h (code, rate)
        WHERE h.code = currency AND r.code <> currency;
    PERFORM aurora.set_kind('renewal', 'deal', half_life => '100 hours', kind_offset => 3, company => name);
    PERFORM aurora.set_kind('page', 'incident', half_life => '30 minutes', company => name);
    PERFORM aurora.set_kind('idea', 'task', default_deadline => '0', kind_offset => -4.5, company => name);
    PERFORM aurora.set_kind('email', half_life => '6 hours', company => name);
END
$$;
SQL

my $items = <<'SQL';
CREATE FUNCTION reference.some_time(shape text) RETURNS timestamptz LANGUAGE sql VOLATILE AS $$
    SELECT reference.world_time() + CASE $1
        WHEN 'ties' THEN interval '1 hour' * reference.some(-2, 2)
        WHEN 'overdue' THEN interval '-1 second' * reference.some(86400, 8640000)
        WHEN 'far' THEN interval '1 second' * reference.some(17280000, 86400000)
        ELSE interval '1 second' * reference.some(-1728000, 1728000) END
$$;
CREATE FUNCTION reference.add_items(items int, owners int, shape text) RETURNS void LANGUAGE sql AS $$
    INSERT INTO aurora.item (company_id, owner, level, kind, title, amount, currency, win_chance, due_at, received_at,
                             last_activity_at, vip, risk, boost, severity, group_key, snooze_until, state, sender)
    SELECT (SELECT company_id FROM aurora.company ORDER BY company_id OFFSET n % companies LIMIT 1),
           'owner ' || 1 + floor(power(random(), 2) * $2),
           CASE WHEN reference.chance(0.08) THEN (ARRAY['agent', 'self'])[reference.some(1, 2)] ELSE 'human' END::aurora.item_level,
           (ARRAY['deal', 'email', 'meeting', 'task', 'incident', 'chore', 'renewal', 'page', 'idea'])[reference.some(1, 9)],
           'item ' || n,
           CASE WHEN $3 = 'ties' THEN 50000 WHEN reference.chance(0.5) THEN round(exp(random() * 14)::numeric, 2) END,
           CASE WHEN reference.chance(0.3) THEN (ARRAY['USD', 'EUR', 'JPY'])[reference.some(1, 3)] END,
           CASE WHEN $3 <> 'ties' AND reference.chance(0.3) THEN random() END,
           CASE WHEN reference.chance(0.6) THEN reference.some_time($3) END,
           reference.some_time($3),
           CASE WHEN reference.chance(0.4) THEN reference.some_time($3) END,
           reference.chance(0.1),
           CASE WHEN reference.chance(0.2) THEN reference.some(1, 3) ELSE 0 END,
           CASE WHEN reference.chance(0.2) THEN reference.some(-2, 2) ELSE 0 END,
           CASE WHEN reference.chance(0.2) THEN reference.some(1, 5) END,
           CASE WHEN $3 = 'crowded' AND reference.chance(0.9) THEN 'the crowd'
                WHEN reference.chance(0.3) THEN 'thread ' || reference.some(1, greatest($1 / 20, 1)) END,
           CASE WHEN reference.chance(0.1) THEN reference.some_time('mixed') END,
           CASE WHEN reference.chance(0.05) THEN (ARRAY['done', 'dismissed', 'delegated', 'archived'])[reference.some(1, 4)]
                ELSE 'open' END::aurora.item_state,
           CASE WHEN reference.chance(0.3) THEN 'p' || reference.some(1, 9) || '@example.com' END
    FROM generate_series(1, $1) n, (SELECT count(*) AS companies FROM aurora.company) c
$$;

-- One of a hundred items waits for an earlier one.
CREATE FUNCTION reference.add_dependencies() RETURNS void LANGUAGE sql AS $$
    INSERT INTO aurora.item_dependency (company_id, item_id, blocker_id)
    SELECT i.company_id, i.item_id, b.item_id
    FROM aurora.item i CROSS JOIN LATERAL (
        SELECT p.item_id FROM aurora.item p
        WHERE p.company_id = i.company_id AND p.item_id < i.item_id ORDER BY p.item_id DESC LIMIT 1) b
    WHERE reference.chance(0.02)
$$;

CREATE FUNCTION reference.make_world(seed float8, items int, owners int, companies int, shape text) RETURNS void
    LANGUAGE plpgsql SET client_min_messages = warning AS $$
BEGIN
    PERFORM setseed(seed);
    TRUNCATE aurora.company, aurora.item_cell, aurora.crowded_group, aurora.duty_run CASCADE;
    FOR c IN 1 .. companies LOOP
        PERFORM reference.make_company('company ' || c, (ARRAY['USD', 'EUR', 'JPY'])[c], owners);
    END LOOP;
    PERFORM reference.random_weights();
    PERFORM reference.add_items(items, owners, shape);
    PERFORM reference.add_dependencies();
    PERFORM aurora.add_person('p1@example.com', vip => true, company => 'company 1');
END
$$;
SQL

# Verbs on random items, as a world goes on: each action on a hundredth of the items.
my $life = <<'SQL';
CREATE FUNCTION reference.live_on() RETURNS void LANGUAGE plpgsql SET client_min_messages = warning AS $$
DECLARE
    i record;
BEGIN
    FOR i IN SELECT item_id, floor(random() * 7) AS what FROM aurora.item
             WHERE state = 'open' ORDER BY random() LIMIT 150 LOOP
        CASE i.what
            WHEN 0 THEN PERFORM aurora.complete(i.item_id);
            WHEN 1 THEN PERFORM aurora.dismiss(i.item_id);
            WHEN 2 THEN PERFORM aurora.snooze(i.item_id, now() + interval '1 day' * random());
            WHEN 3 THEN PERFORM aurora.delegate(i.item_id, 'owner 1');
            WHEN 4 THEN UPDATE aurora.item SET due_at = reference.some_time('mixed'), risk = reference.some(0, 3)
                        WHERE item_id = i.item_id;
            WHEN 5 THEN UPDATE aurora.item SET group_key = 'thread 1', amount = 60000, currency = 'USD'
                        WHERE item_id = i.item_id;
            ELSE UPDATE aurora.item SET snooze_until = reference.some_time('mixed') WHERE item_id = i.item_id;
        END CASE;
    END LOOP;
    PERFORM aurora.restore(item_id) FROM aurora.item WHERE state = 'done' ORDER BY item_id LIMIT 10;
    PERFORM reference.random_weights();
END
$$;
SQL

sub install_worlds
{
    my ($lead) = @_;

    $lead->safe_psql('postgres', $settings . $items . $life);
    return;
}

# Replaces all there is by a new world.
sub make_world
{
    my ($lead, %world) = @_;
    my %w = (items => 3000, owners => 5, companies => 2, shape => 'mixed', %world);

    $lead->safe_psql('postgres',
        "SELECT reference.make_world($w{seed}, $w{items}, $w{owners}, $w{companies}, '$w{shape}')");
    $lead->safe_psql('postgres', 'CALL aurora.apply_settings()');
    $lead->safe_psql('postgres', 'VACUUM ANALYZE aurora.item, aurora.item_cell, aurora.item_dependency');
    return;
}

sub world_time
{
    return '2026-03-02 09:00:00+00';
}

# The seed of this run: AURORA_SEED, or a new one, which is printed.
sub random_seed
{
    my $seed = $ENV{AURORA_SEED} || 1 + int(rand(1_000_000));

    srand($seed);
    diag("run with AURORA_SEED=$seed to have the same again");
    return $seed;
}

1;
