//! Runs the models of the dedup.

macro_rules! models {
    ($($module:ident: $($model:ident)*;)*) => {$(
        mod $module {$(
            #[test]
            fn $model() {
                tower_keep_models::dedup::$module::$model();
            }
        )*}
    )*};
}

models! {
    flights:
        everybody_gets_the_output
        everybody_who_waits_is_woken
        joining_comes_before_or_after_the_landing
        one_that_polled_it_leaves
        one_that_polled_it_leaves_as_another_comes
        a_caller_gets_it_by_itself
        joining_comes_before_or_after_the_launch
        one_that_waits_leaves
        one_is_set_aside_and_one_leaves
        the_last_to_leave_drops_it
        joining_comes_before_or_after_the_last_left
        serving_again_comes_before_or_after_an_older_waker;
    panics:
        a_panic_reaches_everybody
        a_panic_reaches_who_joins;
    replacing:
        a_newer_call_meets_a_result
        an_older_call_is_woken
        the_end_of_an_older_call_takes_no_place
        a_place_is_left_to_the_waiting_call
        a_third_call_replaces_or_waits
        a_turn_that_nobody_takes_holds_nobody_up;
    table:
        one_execution_at_a_time
        three_calls_at_once
        who_leaves_frees_the_key
        one_call_has_the_key
        a_kept_result_is_found_at_once
        an_invalidated_result_is_not_kept
        an_invalidated_key_is_free;
}
