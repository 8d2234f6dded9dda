//! A job ends, and is seen to have ended, whatever of the user's code panics.

use std::{
    cell::Cell,
    fmt,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    task::Context,
};

use tower::{Layer, Service, ServiceBuilder, ServiceExt};
use tower_keep::{CancelLayer, EventKind, FailureCause, Outcome, ProgressLayer};
use tower_keep_test::{Recorder, Scripted};

use super::support::*;

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

thread_local! {
    static DROP_PANICS: Cell<bool> = const { Cell::new(false) };
}

/// A group whose drop panics once.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Group;

impl Drop for Group {
    fn drop(&mut self) {
        assert!(!DROP_PANICS.take(), "the drop of a group");
    }
}

/// R52: a job whose group panics when a clone of it is dropped leaves nothing in the group, nor does one whose call
/// panics because the waker of the job that it replaces does.
#[tokio::test(start_paused = true)]
async fn a_panic_on_the_way_in_leaves_no_job_in_the_group() {
    for replaces in [false, true] {
        let cancel = CancelLayer::new();
        let group: fn(&u32) -> Option<Group> = |_| Some(Group);
        let cancel = if replaces {
            cancel.replace(group)
        } else {
            cancel.group_by(group)
        };
        let (handle, groups) = (cancel.handle(), cancel.group_handle());
        let inner = Scripted::<u32, u32>::new().never().repeat_last();
        let mut service = cancel.layer(inner);
        let mut first = Box::pin(service.call(0));
        let waker = panicking_waker();
        let polled = first.as_mut().poll(&mut Context::from_waker(&waker));
        assert!(polled.is_pending());
        DROP_PANICS.set(!replaces);
        let second = AssertUnwindSafe(|| drop(service.call(0)));
        assert!(catch_unwind(second).is_err());
        assert_eq!(groups.jobs(&Group).len(), 1);
        drop(first);
        assert!(handle.jobs().is_empty());
        assert!(groups.jobs(&Group).is_empty());
    }
}
