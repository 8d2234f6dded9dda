//! Runs the models of the board.

macro_rules! models {
    ($($model:ident)*) => {$(
        #[test]
        fn $model() {
            tower_keep_models::progress::$model();
        }
    )*};
}

models! {
    each_job_is_in_one_of_the_two
    what_ended_is_not_left_on_the_board
    a_reader_that_begins_misses_nothing
    readers_learn_of_a_job_that_begins
    a_reader_that_begins_takes_nobodys_wake
    the_last_report_is_read
    all_readers_are_woken
    a_reader_ends_with_its_board
}
