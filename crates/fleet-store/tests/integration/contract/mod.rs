//! One suite, run on SQLite in memory with calls inline, on an SQLite file with threads, and on PostgreSQL.

use crate::place::Place;

mod access;
mod claims;
mod creation;
mod feed;
mod fencing;
mod gate;
mod health;
mod inventory;
mod lifecycle;
mod lists;
mod outputs;
mod people;
mod requests;
mod slots;
mod together;
mod trail;
mod tries;
mod verbs;
mod versions;
mod views;

macro_rules! cases {
    (alone { $($module:ident: $($case:ident)+;)+ } shared { $($both:ident: $($pair:ident)+;)+ }) => {
        mod memory {
            $($(
                #[tokio::test]
                async fn $case() {
                    super::$module::$case(&super::Place::memory()).await;
                }
            )+)+
        }

        mod sqlite {
            cases!(each {super::Place::file()}: $($module: $($case)+;)+ $($both: $($pair)+;)+);
        }

        mod postgres {
            cases!(some {super::Place::postgres().await}: $($module: $($case)+;)+ $($both: $($pair)+;)+);
        }
    };
    (each $place:block: $($module:ident: $($case:ident)+;)+) => {
        $($(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$module::$case(&$place).await;
            }
        )+)+
    };
    (some $place:block: $($module:ident: $($case:ident)+;)+) => {
        $($(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                if let Some(place) = $place {
                    super::$module::$case(&place).await;
                }
            }
        )+)+
    };
}

cases! {
    alone {
    lifecycle: a_step_ends_once goes_through one_attempt_is_the_one_of_the_list rolls_back_to_own_versions retries;
    creation: refuses_what_makes_no_sense second_is_refused_and_told_of_the_first newborn_is_attended what_is_left_to_others_is_shown
        known_bad_commit_needs_consent empty_stages_vanish;
    claims: in_order_and_at_most_so_many never_two_on_one_machine exceptions_are_left_out
        nothing_without_a_target only_under_a_lease told_of_what_may_be_under_way_still;
    gate: halts_at_the_fourth_of_ten stops_as_soon_as_it_is_certain nothing_to_do_does_not_dilute
        last_stage_is_judged_too some_may_fail aborting_stage_is_not_judged
        only_touched_hosts_blame_the_commit;
    fencing: stale_epoch_writes_nothing lease_that_ran_out_writes_nothing taken_over_by_another
        live_worker_keeps_its_hosts reboot_ends_every_lease gone_process_is_dead_at_once_and_for_ever
        worker_that_left_is_gone raised_above_what_the_host_knows wall_clock_jumps_change_nothing
        illegal_events_change_nothing;
    verbs: every_verb_in_every_state pause_lets_hosts_finish_and_opens_no_stage abort_skips_the_rest
        first_resolution_stands unresolvable_ends_it known_bad_branch_ends_it;
    inventory: duplicates_are_refused_and_nothing_is_added bad_values_are_refused edit_in_each_state what_changed_since_it_was_seen_stays
        remove_in_each_state removal_can_decide_the_gate keys_and_attention;
    feed: of_one_rollout_only waits_for_own_events;
    slots: at_most_so_many asked_for_again_it_is_the_same checks_are_counted_by_themselves
        dead_ones_count_for_a_grace leaving_frees_them;
    lists: pages_hold_each_host_once filters_choose one_host_and_its_history cells_are_in_plan_order
        selections_choose_in_the_words_of_the_command_line the_fleet_in_any_order_has_each_host_once
        how_fresh_the_health_is rollouts_are_found_by_result_and_by_who_began_them;
    people: setup_needs_a_password setup_is_over_once_there_is_an_admin use_is_noted_to_the_minute
        sessions_are_those_of_one_person sessions_are_ended_by_whose_they_are
        a_hundred_sessions_and_no_more;
    tries: a_network_is_one_source sources_that_are_no_addresses_are_sources_too clocks_that_are_set_back_keep_nobody_out what_is_no_account_is_counted_as_one
        success_is_not_held_against_the_source;
    trail: each_change_and_nothing_else texts_are_bounded_lines;
    requests: bad_keys_are_refused known_before_the_plan_is_looked_at forgotten_in_time;
    access: people programs_do_not_pass_for_people sessions_end_in_every_way tokens_end_in_every_way the_first_admin_comes_in_once
        a_late_first_admin_is_none guessing_gets_slower_and_locks_nobody_out every_change_leaves_one_row a_request_is_carried_out_once;
    health: turns_are_taken_once findings_are_written_with_their_event updates_come_first
        a_restart_keeps_the_updater_waiting a_restart_keeps_the_entry_as_it_is a_dead_checker_is_no_obstacle
        a_restart_of_a_dead_checker_keeps_its_machine
        a_restart_of_a_dead_checker_is_over_some_day restarts_are_counted
        restarts_that_were_not_sent_do_not_count every_restart_is_on_record a_changed_key_is_on_record_once a_checker_can_outrank_what_the_host_has_on_record
        an_update_is_told_of_a_restart_just_before who_needs_a_person_is_only_looked_at;
    outputs: old_ones_are_removed_and_results_stay a_few_at_a_time long_ones_are_fewer_at_a_time;
    views: status_is_of_one_size in_flight_tells_why_nothing_moves late_hosts_are_counted_however_many
        steps_keep_their_output host_views_show_last_attempts;
    }
    shared {
    people: a_surplus_from_before_goes_bit_by_bit locked_out_at_once_everywhere one_of_many_takes_the_setup one_of_many_tokens_gets_the_name
        old_sessions_are_forgotten of_many_who_end_all_others_one_stays
        what_is_over_by_itself_goes_with_the_others;
    tries: a_wait_ends_when_it_was_said_to at_once_as_one_by_one tries_and_successes_do_not_block_each_other table_stays_small;
    trail: rows_stay_as_they_are;
    requests: one_rollout_for_two_processes;
    access: one_of_many_becomes_the_first_admin two_admins_cannot_lock_each_other_out
        one_request_made_by_many_is_one_rollout;
    creation: one_of_fifty_wins;
    outputs: what_cannot_be_told_stays several_share_it a_newer_schema_is_left_to_newer_programs
        one_clock_that_is_ahead_removes_nothing;
    claims: racing_claimers_take_each_host_once;
    fencing: lease_time_is_one_for_all_processes;
    feed: readers_miss_nothing waits_for_events_of_others;
    slots: racing_processes_stay_within_the_limit;
    together: refused_calls_do_not_undo_others dropped_calls_take_effect;
    versions: older_ones_work_while_the_schema_is_compatible contracting_waits_for_older_ones
        what_a_newer_one_wrote_to_is_left_to_it looking_is_not_writing hosts_in_flight_of_an_older_one_end
        the_gate_is_judged_by_newer_ones an_older_one_takes_nothing_over_from_a_newer_one
        a_newer_checker_is_succeeded_by_all only_newer_ones_attend what_it_does_not_know_is_not_exported;
    }
}
