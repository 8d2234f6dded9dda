//! Runs the models of the circuit breaker.

macro_rules! models {
    ($($module:ident: $($model:ident)*;)*) => {$(
        mod $module {$(
            #[test]
            fn $model() {
                tower_keep_models::circuit_breaker::$module::$model();
            }
        )*}
    )*};
}

models! {
    closed:
        failures_open_once
        each_failure_counts_once
        a_success_comes_before_between_or_after
        a_success_does_not_undo_an_opening
        a_window_holds_each_outcome_once
        calls_in_flight_are_known
        a_stale_outcome_changes_nothing
        a_stale_failure_does_not_prolong_the_cooldown
        a_call_is_let_through_or_rejected
        the_ramp_holds_from_the_first_call
        an_open_circuit_has_its_cause;
    half_open:
        no_more_probes_than_places
        a_place_given_back_is_given_once
        a_success_and_a_failure_decide_once
        each_success_counts_once
        a_probe_that_hung_comes_back
        the_cooldown_holds
        a_decision_to_open_stands;
    by_hand:
        forced_open_stays_open
        a_probe_does_not_close_what_is_forced_open
        a_reset_begins_with_nothing
        a_mode_goes_with_its_state
        failures_do_not_open_what_is_held_closed
        an_observer_rejects_nobody
        new_settings_lose_no_count
        new_settings_lose_no_flag
        new_settings_leave_no_call_in_flight_behind
        new_settings_keep_the_ramp
        the_ramp_ends
        an_order_to_probe_lets_one_probe_through
        a_forced_time_holds
        a_rejection_is_of_one_moment
        a_rejection_of_a_circuit_that_closes;
    waiting:
        closing_wakes_everybody
        a_reset_wakes_everybody
        a_place_given_back_goes_round
        two_places_reach_two_who_wait
        who_gives_up_passes_the_wake_up_on
        several_who_give_up_pass_the_wake_up_on
        new_settings_wake_everybody
        a_place_passes_over_a_waiter_that_was_woken
        who_was_woken_and_leaves_passes_it_on
        nobody_sleeps_before_a_circuit_that_closed_last;
}
