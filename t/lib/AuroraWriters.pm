# Concurrent writers: pgbench clients that do everything people and duties do with items, at random.
#
# An expected refusal (the item was closed meanwhile, a circle, a deadlock) ends one action and is
# counted; any other error is kept in reference.trouble for the test to find.
package AuroraWriters;

use strict;
use warnings;

use Exporter 'import';
use IPC::Run ();
use PostgreSQL::Test::Utils;

our @EXPORT = qw(install_writers start_writers writers_run finish_writers);

my $actions = <<'SQL';
CREATE TABLE reference.trouble (state text, message text, action text, at timestamptz DEFAULT clock_timestamp());
CREATE TABLE reference.refusal (state text, action text);

CREATE FUNCTION reference.any_item(wanted text DEFAULT 'open') RETURNS bigint LANGUAGE sql VOLATILE AS $$
    SELECT item_id FROM aurora.item WHERE state = $1::aurora.item_state
    OFFSET (SELECT floor(random() * count(*)) FROM aurora.item WHERE state = $1::aurora.item_state) LIMIT 1
$$;

CREATE FUNCTION reference.add_any(id int, company text) RETURNS void LANGUAGE sql VOLATILE AS $$
    SELECT aurora.add_item('arrived ' || $1, (ARRAY['deal', 'email', 'task', 'page', 'idea'])[reference.some(1, 5)],
        owner => 'owner ' || reference.some(1, 4), company => $2, provider => 'feed', external_id => $1::text,
        amount => 1000 * reference.some(0, 90), due_at => reference.some_time('mixed'), vip => reference.chance(0.1),
        risk => reference.some(0, 3), group_key => CASE WHEN reference.chance(0.4) THEN 'thread ' || reference.some(1, 8) END)
$$;

CREATE FUNCTION reference.act(action text) RETURNS void LANGUAGE plpgsql SET client_min_messages = error AS $$
DECLARE
    company text := 'company ' || reference.some(1, 2);
    said text;
BEGIN
    CASE action
        WHEN 'add' THEN PERFORM reference.add_any(reference.some(1, 2000), company);
        WHEN 'complete' THEN PERFORM aurora.complete(reference.any_item());
        WHEN 'dismiss' THEN PERFORM aurora.dismiss(reference.any_item());
        WHEN 'restore' THEN PERFORM aurora.restore(reference.any_item('done'));
        WHEN 'undo' THEN PERFORM aurora.undo();
        WHEN 'snooze' THEN PERFORM aurora.snooze(reference.any_item(), clock_timestamp() + interval '2 s' * random());
        WHEN 'unsnooze' THEN PERFORM aurora.unsnooze(reference.any_item());
        WHEN 'delegate' THEN PERFORM aurora.delegate(reference.any_item(), 'owner ' || reference.some(1, 4));
        WHEN 'delete' THEN DELETE FROM aurora.item WHERE item_id = (SELECT reference.any_item());
        WHEN 'amend' THEN
            UPDATE aurora.item SET amount = 1000 * reference.some(0, 90), risk = reference.some(0, 3),
                   due_at = reference.some_time('mixed'), group_key = 'thread ' || reference.some(1, 8)
            WHERE item_id = (SELECT reference.any_item());
        WHEN 'depend' THEN PERFORM aurora.add_dependency(reference.any_item(), reference.any_item());
        WHEN 'free' THEN
            PERFORM aurora.remove_dependency(item_id, blocker_id) FROM aurora.item_dependency ORDER BY random() LIMIT 1;
        WHEN 'weigh' THEN PERFORM aurora.set_weight('risk', reference.some(0, 20), 'owner ' || reference.some(1, 4), company);
        WHEN 'threshold' THEN PERFORM aurora.set_company(company, big_threshold => 10000 * reference.some(1, 8));
        WHEN 'kind' THEN
            PERFORM aurora.set_kind('idea', default_deadline => make_interval(hours => reference.some(0, 90)), company => company);
        WHEN 'vip' THEN
            PERFORM aurora.add_person(format('p%s@example.com', reference.some(1, 9)), vip => reference.chance(0.5), company => company);
        WHEN 'apart' THEN PERFORM aurora.set_groups_apart(30);
        WHEN 'apply' THEN PERFORM aurora.apply_settings_batch(200);
        ELSE EXECUTE format('SELECT aurora.%I()', action);
    END CASE;
EXCEPTION
    WHEN no_data_found OR object_not_in_prerequisite_state OR deadlock_detected OR lock_not_available
         OR unique_violation THEN
        INSERT INTO reference.refusal VALUES (SQLSTATE, action);
    WHEN OTHERS THEN
        GET STACKED DIAGNOSTICS said = PG_EXCEPTION_CONTEXT;
        IF SQLSTATE = '22023' AND action = 'depend' THEN
            INSERT INTO reference.refusal VALUES (SQLSTATE, action);
        ELSE
            INSERT INTO reference.trouble VALUES (SQLSTATE, SQLERRM || ' ' || said, action);
        END IF;
END
$$;

-- Rarely what changes much, often what people do all day.
CREATE FUNCTION reference.act_at_random() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM reference.act(CASE WHEN reference.chance(0.06)
        THEN (ARRAY['threshold', 'kind', 'vip', 'apart', 'apart', 'sweep_cells', 'sweep_cells', 'wake_snoozed', 'sample_surface',
                    'archive_q4', 'weigh', 'refresh_win_chances'])[reference.some(1, 12)]
        ELSE (ARRAY['add', 'add', 'add', 'complete', 'dismiss', 'restore', 'undo', 'snooze', 'snooze', 'unsnooze', 'delegate',
                    'amend', 'amend', 'depend', 'depend', 'free', 'delete', 'apply'])[reference.some(1, 18)] END);
END
$$;
SQL

my %script = (
    one => "SELECT reference.act_at_random();\n",
    several => "BEGIN;\nSELECT reference.act_at_random();\nSELECT reference.act_at_random();\nCOMMIT;\n",
    undone => "BEGIN;\nSELECT reference.act_at_random();\nSELECT reference.act_at_random();\nROLLBACK;\n",
    plain => "\\set id random(1, 2000)\nSELECT reference.add_any(:id, 'company 1');\n");

sub install_writers
{
    my ($lead) = @_;

    $lead->safe_psql('postgres', $actions);
    return;
}

# Starts clients that do so many transactions each.
sub start_writers
{
    my ($lead, %option) = @_;
    my $folder = PostgreSQL::Test::Utils::tempdir();
    my %weight = (one => 10, several => 4, undone => 1, plain => 2);
    my @scripts;
    my $writers = { output => '' };

    for my $name (sort keys %script)
    {
        append_to_file("$folder/$name.sql", $script{$name});
        push @scripts, '-f', "$folder/$name.sql\@$weight{$name}";
    }
    $writers->{run} = IPC::Run::start(
        [   'pgbench', '-n', '--max-tries=1000', '-c', $option{clients} // 4, '-j', 2,
            $option{seconds} ? ('-T', $option{seconds}) : ('-t', $option{transactions} // 300),
            @scripts, $lead->connstr('postgres') ],
        '<', \'', '>', \$writers->{output}, '2>&1');
    return $writers;
}

sub writers_run
{
    my ($writers) = @_;

    return $writers->{run}->pumpable && do { $writers->{run}->pump_nb; $writers->{run}->pumpable };
}

# Waits for the writers to end by themselves; returns what pgbench said and its exit status.
sub finish_writers
{
    my ($writers) = @_;

    $writers->{run}->finish;
    return ($writers->{output}, $writers->{run}->result(0));
}

1;
