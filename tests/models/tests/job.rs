//! Runs the models of the job.

macro_rules! models {
    ($($module:ident: $($model:ident)*;)*) => {$(
        mod $module {$(
            #[test]
            fn $model() {
                tower_keep_models::job::$module::$model();
            }
        )*}
    )*};
}

models! {
    ending:
        a_job_is_cancelled_or_succeeds
        an_unwatched_job_is_cancelled_or_succeeds
        one_reason_is_told
        a_time_limit_fails_or_is_too_late
        one_ending_is_told
        who_waits_for_the_end_is_let_go;
    telling:
        a_late_observer_is_told_in_order
        a_late_listener_hears_what_follows
        the_end_reaches_who_began_to_watch
        two_observers_see_the_same
        a_report_comes_after_the_start_and_before_the_end
        a_child_and_its_parent_end_at_once
        what_comes_meanwhile_is_told;
    waking:
        a_token_taken_late_fires
        a_token_fires_if_the_job_does
        all_that_watch_are_woken
        the_next_in_a_place_is_woken
        a_result_gives_the_place_back;
    family:
        a_child_is_cancelled_with_its_parent
        children_of_two_threads_are_cancelled
        a_child_ends_or_is_cancelled
        a_stop_signal_reaches_who_is_born_within
        a_stop_signals_token_taken_late_fires
        an_inherited_child_is_cancelled
        a_child_born_late_is_cancelled
        a_child_goes_to_the_nearest_that_runs
        a_child_that_goes_is_in_no_table
        a_stop_signal_reaches_an_inherited_child
        a_detached_child_is_inherited;
    shared:
        the_last_of_caller_and_execution_fires
        others_go_on
        an_expired_limit_fires_when_the_execution_is_over
        one_reason_of_a_limit_and_a_request
        a_job_that_succeeds_leaves_its_execution;
    detached:
        the_later_of_caller_and_work_ends_it
        a_caller_that_stays_ends_it
        the_work_says_whether_it_was_cancelled
        a_caller_that_leaves_between_attempts_ends_it
        a_given_up_task_says_nothing
        a_task_given_up_as_it_ends_says_nothing
        an_unwatched_one_ends_too;
}
