-- Who sees and may do what.

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
    FOREACH name IN ARRAY ARRAY['weight_override', 'weight_change'] LOOP
        EXECUTE format('ALTER TABLE aurora.%I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY %I ON aurora.%I USING (aurora.is_member(company_id)
                        AND (owner IS NULL OR aurora.may_see(company_id, owner)))', name || '_owner', name);
        EXECUTE format('COMMENT ON POLICY %I ON aurora.%I IS %L', name || '_owner', name,
                       'A caller sees what holds for its companies, and for the owners that it sees.');
    END LOOP;
    FOREACH name IN ARRAY ARRAY['company_kind', 'person', 'win_chance', 'placement_run'] LOOP
        EXECUTE format('ALTER TABLE aurora.%I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY %I ON aurora.%I USING (aurora.is_member(company_id))', name || '_member', name);
        EXECUTE format('COMMENT ON POLICY %I ON aurora.%I IS %L', name || '_member', name,
                       'A caller sees the rows of its companies.');
    END LOOP;
END
$$;

REVOKE ALL ON ALL ROUTINES IN SCHEMA aurora FROM PUBLIC;
GRANT SELECT ON aurora.item, aurora.items, aurora.item_history, aurora.item_dependency, aurora.item_phase,
    aurora.item_surfaced, aurora.company_kind, aurora.kinds, aurora.weight_override, aurora.weights, aurora.weight_change,
    aurora.person, aurora.win_chance, aurora.placement_run, aurora.duties
    TO aurora_admin, aurora_operator, aurora_user, aurora_agent, aurora_gateway;
GRANT EXECUTE ON FUNCTION aurora.builtin_kinds, aurora.builtin_weights, aurora.cell_features, aurora.item_score,
    aurora.explain_features, aurora.explain, aurora.surface, aurora.owner_surface, aurora.agenda, aurora.quadrant, aurora.company_surface,
    aurora.company_amount, aurora.priority_stats, aurora.duty_definitions, aurora.scheduled_duties, aurora.add_item,
    aurora.add_person, aurora.complete, aurora.dismiss, aurora.snooze, aurora.unsnooze, aurora.delegate, aurora.restore,
    aurora.undo, aurora.add_dependency, aurora.remove_dependency, aurora.set_weight, aurora.reset_weights
    TO aurora_admin, aurora_operator, aurora_user, aurora_agent, aurora_gateway;
GRANT EXECUTE ON FUNCTION aurora.set_kind TO aurora_admin, aurora_user, aurora_gateway;
GRANT EXECUTE ON FUNCTION aurora.apply_settings_batch, aurora.wake_snoozed, aurora.sample_surface,
    aurora.observe_phases, aurora.archive_q4, aurora.sweep_cells, aurora.set_groups_apart, aurora.learn_win_chances,
    aurora.apply_win_chances, aurora.refresh_win_chances, aurora.run_duty, aurora.schedule_duties, aurora.require_read_committed, aurora.require_positive
    TO aurora_admin, aurora_operator;
GRANT EXECUTE ON PROCEDURE aurora.apply_settings TO aurora_admin, aurora_operator;
GRANT SELECT ON aurora.duties TO aurora_monitor;
GRANT EXECUTE ON FUNCTION aurora.duty_definitions, aurora.scheduled_duties TO aurora_monitor;
