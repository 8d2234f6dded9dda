//! Which events are logged at which level, and how the user chooses others.

use std::num::NonZeroUsize;

use tower::{Layer, Service, ServiceBuilder, ServiceExt};
use tower_keep::{
    BoxError, CircuitBreakerLayer, DedupLayer, Dispatcher, Event, EventKind, FailureCause,
    LogLayer, RetryLayer,
    log::{Level, level_of},
    progress::JobState,
};
use tower_keep_test::{Recorder, Scripted};
use tower_keep_tests::*;

/// A stack whose circuit is open.
fn turned_away(
    log: LogLayer,
) -> impl Service<u32, Response = u32, Error = BoxError, Future: Send> + Clone {
    let breaker = CircuitBreakerLayer::new();
    breaker.handle().force_open();
    ServiceBuilder::new()
        .layer(log)
        .layer(breaker)
        .service(Scripted::<u32, u32>::new().strict())
}

/// R76 A job that an open circuit turns away is logged as rejected at DEBUG, and no call writes an
/// ERROR.
#[tokio::test(start_paused = true)]
async fn an_open_circuit_writes_no_errors() {
    let (lines, _guard) = Lines::listen();
    let mut service = turned_away(LogLayer::new());
    for _ in 0..1000 {
        begin(&mut service, 0).await.await.unwrap_err();
    }
    let records = lines.records();
    assert_eq!(records.len(), 2000);
    for pair in records.chunks(2) {
        assert_eq!(pair, ["INFO dispatched", "DEBUG rejected"]);
    }
    let fields = lines.fields();
    assert!(
        fields[1].contains(r#"cause="the circuit is open""#) && fields[1].contains("error="),
        "{}",
        fields[1]
    );
}

/// R76 The event of a rejected job stays a failure with its cause, for every observer.
#[tokio::test(start_paused = true)]
async fn a_rejection_is_a_failure_with_its_cause() {
    let (log, recorder) = recording();
    turned_away(log).oneshot(0).await.unwrap_err();
    recorder.assert_names(["dispatched", "failed"]);
    let Some(EventKind::Failed { cause, .. }) = recorder.terminal(recorder.job()) else {
        panic!("it failed")
    };
    assert_eq!(cause, FailureCause::CircuitOpen);
    for (cause, is_rejection) in [
        (FailureCause::Error, false),
        (FailureCause::TimedOut, false),
        (FailureCause::CircuitOpen, true),
        (FailureCause::Duplicate, true),
        (FailureCause::Panicked, false),
        (FailureCause::Rejected, true),
    ] {
        assert_eq!(cause.is_rejection(), is_rejection, "{cause:?}");
        let kind = EventKind::Failed {
            cause,
            error: "why".into(),
        };
        let level = if is_rejection {
            Level::DEBUG
        } else {
            Level::ERROR
        };
        assert_eq!(level_of(&kind), level, "{cause:?}");
    }
}

/// R76 A rejection that a response or the user's own error stands for is logged as one all the
/// same.
#[tokio::test(start_paused = true)]
async fn a_rejection_in_the_users_words_is_one() {
    let (lines, _guard) = Lines::listen();
    let breaker = CircuitBreakerLayer::new().respond_with(|_| 503);
    breaker.handle().force_open();
    let inner = || Scripted::<u32, u32>::new().strict();
    let responds = ServiceBuilder::new()
        .layer(LogLayer::new())
        .layer(breaker)
        .service(inner());
    assert_eq!(responds.oneshot(0).await, Ok(503));
    let breaker = CircuitBreakerLayer::new().fail_with(|_| "come back later");
    breaker.handle().force_open();
    let fails = ServiceBuilder::new()
        .layer(LogLayer::new())
        .layer(breaker)
        .service(inner());
    assert_eq!(fails.oneshot(0).await, Err("come back later"));
    let held = Scripted::<u32, u32>::new().never();
    let mut duplicates = ServiceBuilder::new()
        .layer(LogLayer::new())
        .layer(DedupLayer::new(|_: &u32| Some(())))
        .service(held.strict());
    let _first = begin(&mut duplicates, 0).await;
    begin(&mut duplicates, 0).await.await.unwrap_err();
    let mut records = lines.records();
    records.retain(|record| !record.starts_with("INFO"));
    assert_eq!(
        records,
        [
            "DEBUG rejected",
            "DEBUG rejected",
            "DEBUG duplicate",
            "DEBUG rejected"
        ]
    );
}

/// R76 A dispatcher without room is a gate.
#[tokio::test(start_paused = true)]
async fn a_dispatcher_without_room_is_a_gate() {
    let jobs = Dispatcher::new(Scripted::<u32, u32>::new().never()).limit(NonZeroUsize::MIN);
    let _running = jobs.dispatch(1);
    let refused = jobs.dispatch(2);
    let JobState::Failed(cause) = refused.state() else {
        panic!("it was turned away")
    };
    assert_eq!(cause, FailureCause::Rejected);
    assert!(cause.is_rejection());
}

/// Rejections as warnings, retries as traces, and nothing of what begins.
fn own_level(event: &Event) -> Option<Level> {
    match &event.kind {
        EventKind::Failed { cause, .. } if cause.is_rejection() => Some(Level::WARN),
        EventKind::RetryScheduled { .. } => Some(Level::TRACE),
        EventKind::Dispatched => None,
        kind => Some(level_of(kind)),
    }
}

fn fails_twice() -> Scripted<u32, u32, &'static str> {
    Scripted::<u32, u32>::new().times(2, || tower_keep_test::Step::error("busy"))
}

/// R76 The user chooses the level of each event, and can switch one off.
#[tokio::test(start_paused = true)]
async fn levels_are_the_users_choice() {
    let (lines, _guard) = Lines::listen();
    let log = || LogLayer::new().level_with(own_level);
    turned_away(log()).oneshot(0).await.unwrap_err();
    let retried = ServiceBuilder::new()
        .layer(log())
        .layer(RetryLayer::new().max_retries(1))
        .service(fails_twice().strict());
    retried.oneshot(0).await.unwrap_err();
    assert_eq!(
        lines.records(),
        [
            "WARN rejected",
            "DEBUG started",
            "DEBUG attempt ended",
            "TRACE retry scheduled",
            "DEBUG retrying",
            "DEBUG attempt ended",
            "DEBUG retry given up",
            "ERROR failed"
        ]
    );
}

/// R76 The minimum level applies to the level that the user chose, in either order of the two
/// settings.
#[tokio::test(start_paused = true)]
async fn the_minimum_applies_to_the_chosen_level() {
    for log in [
        LogLayer::new().level_with(own_level).level(Level::WARN),
        LogLayer::new().level(Level::WARN).level_with(own_level),
    ] {
        let (lines, _guard) = Lines::listen();
        turned_away(log.clone()).oneshot(0).await.unwrap_err();
        let retried = ServiceBuilder::new()
            .layer(log)
            .layer(RetryLayer::new().max_retries(1))
            .service(fails_twice().strict());
        retried.oneshot(0).await.unwrap_err();
        assert_eq!(lines.records(), ["WARN rejected", "ERROR failed"]);
    }
}

/// R76 A custom sink receives what would be written to tracing.
#[tokio::test(start_paused = true)]
async fn custom_sinks_follow_the_levels() {
    let recorder = Recorder::new();
    let log = || LogLayer::to(recorder.clone()).level_with(own_level);
    turned_away(log()).oneshot(0).await.unwrap_err();
    recorder.assert_names(["failed"]);
    recorder.clear();
    turned_away(LogLayer::to(recorder.clone()).level(Level::INFO))
        .oneshot(0)
        .await
        .unwrap_err();
    recorder.assert_names(["dispatched"]);
    recorder.clear();
    let retried = ServiceBuilder::new()
        .layer(log().level(Level::DEBUG))
        .layer(RetryLayer::new().max_retries(1))
        .service(fails_twice().strict());
    retried.oneshot(0).await.unwrap_err();
    recorder.assert_names([
        "started",
        "attempt_ended",
        "retrying",
        "attempt_ended",
        "retry_given_up",
        "failed",
    ]);
}

/// R76 A choice of levels that panics loses that record, and neither the others nor the job.
#[tokio::test(start_paused = true)]
async fn a_choice_that_panics_loses_one_record() {
    let (lines, _guard) = Lines::listen();
    let log = LogLayer::new().level_with(|event| match event.kind {
        EventKind::Started => std::panic::panic_any("undecided"),
        _ => Some(Level::INFO),
    });
    let service = log_and(log, Scripted::<u32, u32>::new().answer(1).strict());
    assert_eq!(service.oneshot(0).await, Ok(1));
    assert_eq!(lines.records(), ["INFO dispatched", "INFO succeeded"]);
}

fn log_and<S>(log: LogLayer, inner: S) -> tower_keep::log::Log<S> {
    tower::Layer::layer(&log, inner)
}

/// The level of a log that is set last is the one in force, be it lower than one before.
#[tokio::test(start_paused = true)]
async fn the_last_level_is_in_force() {
    let recorder = Recorder::new();
    let service = LogLayer::to(recorder.clone())
        .level(Level::WARN)
        .level(Level::DEBUG)
        .layer(Scripted::<u32, u32>::new().answer(1));
    service.oneshot(0).await.unwrap();
    assert_eq!(recorder.count("succeeded"), 1);
}
