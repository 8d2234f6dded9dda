//! What observers learn of a panic: that the job ran, and what the panic said.

use std::{
    future::Future,
    panic::{AssertUnwindSafe, panic_any},
    sync::Arc,
};

use futures::FutureExt;
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn, util::BoxCloneSyncService};
use tower_keep::{
    BoxError, CancelLayer, DedupLayer, Dispatcher, EventKind, FailureCause, JobLayer, LogLayer,
    ProgressLayer, RetryLayer, TimeoutLayer,
    progress::{JobState, JobView},
};
use tower_keep_test::{Recorder, Scripted, Step};
use tower_keep_tests::*;

/// What a service panics with, and what the events say of it.
pub(super) const PANICS: [(fn(), &str); 4] = [
    (|| panic!("ouch"), "the service panicked: ouch"),
    (|| panic!("ouch {}", 7), "the service panicked: ouch 7"),
    (
        || panic_any(String::from("owned")),
        "the service panicked: owned",
    ),
    (|| panic_any(7_u32), "the service panicked"),
];

/// Where the service panics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Where {
    Call,
    FirstPoll,
    SecondPoll,
}

pub(super) const PLACES: [Where; 3] = [Where::Call, Where::FirstPoll, Where::SecondPoll];

pub(super) fn panics(place: Where, panic: fn()) -> Stack {
    BoxCloneSyncService::new(service_fn(move |_: u32| {
        if place == Where::Call {
            panic();
        }
        async move {
            if place == Where::SecondPoll {
                tokio::task::yield_now().await;
            }
            panic();
            Ok::<u32, BoxError>(0)
        }
    }))
}

/// Waits for the call's panic: its text, or an empty one.
pub(super) async fn caught<F: Future>(call: impl FnOnce() -> F) -> String {
    let call = AssertUnwindSafe(async { call().await });
    let Err(panic) = call.catch_unwind().await else {
        return "no panic".to_owned();
    };
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.or_else(|| panic.downcast_ref::<u32>().map(u32::to_string))
        .unwrap_or_default()
}

#[track_caller]
pub(super) fn assert_reported(recorder: &Recorder, what: &str, text: &str) {
    recorder.assert_one_terminal_each();
    for job in recorder.jobs() {
        let mut names = recorder.names_of(job);
        // Where there is a Retry layer.
        names.retain(|name| *name != "attempt_ended");
        assert_eq!(names, ["dispatched", "started", "failed"], "{what}");
        let expected = EventKind::Failed {
            cause: FailureCause::Panicked,
            error: text.into(),
        };
        assert_eq!(recorder.terminal(job), Some(expected), "{what}");
    }
}

/// R76 A panic anywhere in the service is reported after the start, with its text, and goes on to
/// the caller as it is.
#[tokio::test(start_paused = true)]
async fn a_panic_is_reported_with_its_text() {
    type Around = fn(LogLayer, Stack) -> Stack;
    let stacks: [(&str, Around); 8] = [
        ("alone", |log, inner| {
            BoxCloneSyncService::new(log.layer(inner))
        }),
        ("a root without a job", |log, inner| {
            let timeout = TimeoutLayer::new(secs(60));
            BoxCloneSyncService::new(timeout.layer(log.layer(inner)))
        }),
        ("inside layers", |log, inner| {
            let layers = ServiceBuilder::new()
                .layer(log)
                .layer(CancelLayer::new())
                .layer(RetryLayer::new())
                .layer(TimeoutLayer::new(secs(60)).per_attempt());
            BoxCloneSyncService::new(layers.service(inner))
        }),
        ("called in a poll", |log, inner| {
            let dedup = DedupLayer::new(|key: &u32| Some(*key));
            BoxCloneSyncService::new(log.layer(dedup.layer(inner)))
        }),
        ("begun in a poll", |log, inner| {
            let dedup = DedupLayer::new(|key: &u32| Some(*key));
            let timeout = TimeoutLayer::new(secs(60));
            BoxCloneSyncService::new(timeout.layer(dedup.layer(log.layer(inner))))
        }),
        ("detached", |log, inner| {
            let cancel = CancelLayer::new().detached();
            BoxCloneSyncService::new(log.layer(cancel.layer(inner)))
        }),
        ("named", |log, inner| {
            let named = JobLayer::new("named");
            BoxCloneSyncService::new(named.layer(log.layer(inner)))
        }),
        ("a child", |log, inner| {
            let child = log.layer(inner);
            let parent = log.layer(service_fn(move |n: u32| {
                let child = child.clone();
                async move { child.oneshot(n).await }
            }));
            BoxCloneSyncService::new(parent)
        }),
    ];
    for (name, around) in stacks {
        for place in PLACES {
            for (panic, text) in PANICS {
                let (log, recorder) = recording();
                let service = around(log, panics(place, panic));
                let said = caught(|| service.oneshot(1)).await;
                let expected = text.strip_prefix("the service panicked: ").unwrap_or("7");
                let what = format!("{name}, {place:?}, {text}");
                assert_eq!(said, expected, "{what}");
                assert_reported(&recorder, &what, text);
            }
        }
    }
}

/// R76 A detached job whose caller went away is reported with its text too.
#[tokio::test(start_paused = true)]
async fn a_detached_panic_is_reported_without_its_caller() {
    for (panic, text) in PANICS {
        let (log, recorder) = recording();
        let mut service = ServiceBuilder::new()
            .layer(log)
            .layer(CancelLayer::new().detached())
            .service(panics(Where::SecondPoll, panic));
        drop(begin(&mut service, 1).await);
        recorder
            .until(|recorder| recorder.count("failed") == 1)
            .await;
        assert_reported(&recorder, "detached", text);
    }
}

/// R76 A dispatched job's board keeps the text, also where the handle was dropped.
#[tokio::test(start_paused = true)]
async fn a_dispatched_panic_is_on_the_board() {
    for place in PLACES {
        for (panic, text) in PANICS {
            let (log, recorder) = recording();
            let jobs = Dispatcher::new(log.layer(panics(place, panic)));
            let ended = jobs.dispatch(1).progress().ended().await;
            assert_eq!(ended.state, JobState::Failed(FailureCause::Panicked));
            assert_eq!(ended.error.as_deref(), Some(text));
            assert!(ended.started_at.is_some());
            assert_reported(&recorder, &format!("dispatched, {place:?}"), text);
        }
    }
}

/// R76 A caller that joined an execution that panicked learns what it said, whatever the caller
/// gets in its place.
#[tokio::test(start_paused = true)]
async fn a_joined_panic_is_reported_for_all() {
    let join = || DedupLayer::new(|_: &u32| Some(())).join();
    for place in PLACES {
        for (panic, text) in PANICS {
            for mode in 0..2 {
                let (log, recorder) = recording();
                let inner = panics(place, panic);
                let mut service: Stack =
                    match mode {
                        0 => BoxCloneSyncService::new(log.layer(join().layer(inner))),
                        _ => BoxCloneSyncService::new(
                            log.layer(join().respond_with(|_| 500).layer(inner.map_err(
                                |error: BoxError| -> Arc<str> { error.to_string().into() },
                            )))
                            .map_err(|error: Arc<str>| -> BoxError { error.to_string().into() }),
                        ),
                    };
                let leader = begin(&mut service, 1).await;
                let follower = begin(&mut service, 1).await;
                let (first, second) = tokio::join!(leader, follower);
                assert_eq!(first.is_ok(), mode == 1);
                assert_eq!(second.is_ok(), mode == 1);
                recorder.assert_one_terminal_each();
                let [leader, follower] = recorder.jobs()[..] else {
                    panic!("two jobs")
                };
                let what = format!("joined, {place:?}, {text}, mode {mode}");
                assert_eq!(
                    recorder.names_of(leader),
                    ["dispatched", "started", "failed"],
                    "{what}"
                );
                assert_eq!(
                    recorder.names_of(follower),
                    ["dispatched", "duplicate", "failed"],
                    "{what}"
                );
                let expected = EventKind::Failed {
                    cause: FailureCause::Panicked,
                    error: text.into(),
                };
                for job in [leader, follower] {
                    assert_eq!(recorder.terminal(job).as_ref(), Some(&expected), "{what}");
                }
            }
        }
    }
}

/// R76 The text is in the record and on the board of any layer.
#[tokio::test(start_paused = true)]
async fn the_text_is_in_the_log_and_on_the_board() {
    let (lines, _guard) = Lines::listen();
    let progress = ProgressLayer::new();
    let board = progress.handle();
    let service = ServiceBuilder::new()
        .layer(LogLayer::new())
        .layer(progress)
        .service(Scripted::<u32, u32>::new().panic("ouch").strict());
    assert_eq!(caught(|| service.oneshot(1)).await, "ouch");
    assert_eq!(
        lines.records(),
        ["INFO dispatched", "DEBUG started", "ERROR failed"]
    );
    let fields = lines.fields().pop().unwrap();
    assert!(
        fields.contains(r#"cause="the service panicked" error="the service panicked: ouch""#),
        "{fields}"
    );
    let [JobView { error, .. }] = &board.history()[..] else {
        panic!("one job ended")
    };
    assert_eq!(error.as_deref(), Some("the service panicked: ouch"));
}

/// R76 A long text is cut at 1 KiB, and a URL in it loses its secrets.
#[tokio::test(start_paused = true)]
async fn the_text_is_bounded_and_has_no_secrets() {
    let said = format!("at https://me:secret@example.com/a {}", "ä".repeat(3000));
    for said in [said, "x".repeat(20_000), "y".repeat(1024)] {
        let (log, recorder) = recording();
        let service = log.layer(Scripted::<u32, u32>::new().panic(said.clone()).strict());
        assert_eq!(caught(|| service.oneshot(1)).await, said);
        let Some(EventKind::Failed { error, .. }) = recorder.terminal(recorder.job()) else {
            panic!("it failed")
        };
        assert!(error.len() <= 1024, "{}", error.len());
        assert!(error.starts_with("the service panicked"), "{error}");
        assert!(!error.contains("secret"), "{error}");
    }
}

/// R76 The second attempt's panic is reported once, after the retry.
#[tokio::test(start_paused = true)]
async fn a_later_attempts_panic_is_reported() {
    for panic in [Step::panic("ouch"), Step::panic_in_call("ouch")] {
        let (log, recorder) = recording();
        let inner = Scripted::<u32, u32>::new().error("no").step(panic);
        let service = ServiceBuilder::new()
            .layer(log)
            .layer(RetryLayer::new())
            .service(inner.strict());
        assert_eq!(caught(|| service.oneshot(1)).await, "ouch");
        recorder.assert_names([
            "dispatched",
            "started",
            "attempt_ended",
            "retry_scheduled",
            "retrying",
            "attempt_ended",
            "failed",
        ]);
    }
}
