//! Runs the models of the retry budget.

use tower_keep_models::retry::withdrawals;

macro_rules! models {
    ($($model:ident)*) => {$(
        #[test]
        fn $model() {
            withdrawals::$model();
        }
    )*};
}

models! {
    the_last_retry_goes_once
    the_floor_is_given_out_once
    each_call_counts_once
    a_bucket_is_emptied_once
    calls_of_before_grant_nothing
    a_late_call_spoils_no_later_bucket
    time_does_not_go_back
    the_balance_is_of_one_moment
}
