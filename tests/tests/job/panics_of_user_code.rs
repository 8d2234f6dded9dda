//! Code of the user that panics: the job ends, and its end is reported.

use std::fmt;

use tower::{Layer, ServiceBuilder, ServiceExt};
use tower_keep::{EventKind, FailureCause, Outcome, ProgressLayer};
use tower_keep_test::{Recorder, Scripted};
use tower_keep_tests::*;

#[derive(Debug)]
struct Unspeakable;

impl fmt::Display for Unspeakable {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("this error cannot be shown")
    }
}

#[track_caller]
fn assert_panicked(recorder: &Recorder) {
    recorder.assert_one_terminal_each();
    let ending = recorder.terminal(recorder.job());
    assert!(
        matches!(
            ending,
            Some(EventKind::Failed {
                cause: FailureCause::Panicked,
                ..
            })
        ),
        "{ending:?}"
    );
}

/// A job whose error panics where it is to become text has ended, and is on no progress board any more.
#[tokio::test(start_paused = true)]
async fn an_error_that_panics_when_shown_ends_the_job() {
    let (log, recorder) = recording();
    let progress = ProgressLayer::new();
    let handle = progress.handle();
    let service = ServiceBuilder::new()
        .layer(log)
        .layer(progress)
        .service(Scripted::<u32, u32, _>::new().error(Unspeakable));
    assert!(panics(service.oneshot(0)).await);
    assert_panicked(&recorder);
    assert!(handle.jobs().is_empty());
}

/// A job whose classifier panics failed: its caller gets a panic and no response, and did not go away.
#[tokio::test(start_paused = true)]
async fn a_classifier_that_panics_fails_the_job() {
    let (log, recorder) = recording();
    let service = log
        .classify(|_: &Result<u32, &str>| -> Outcome { panic!("unclassifiable") })
        .layer(Scripted::<u32, u32>::new().answer(1));
    assert!(panics(service.oneshot(0)).await);
    assert_panicked(&recorder);
}
