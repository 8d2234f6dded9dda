//! Runs the models of the layer that cancels.

macro_rules! models {
    ($($module:ident: $($model:ident)*;)*) => {$(
        mod $module {$(
            #[test]
            fn $model() {
                tower_keep_models::cancel::$module::$model();
            }
        )*}
    )*};
}

models! {
    replacing:
        one_of_several_goes_on
        an_older_job_is_woken
        one_leaves_as_the_next_enters
        cancelling_reaches_who_is_in;
    shutting_down:
        a_job_is_found_or_refused
        each_job_is_counted_once
        another_reason_is_counted_as_such
        a_job_of_two_calls_is_counted_once;
}
