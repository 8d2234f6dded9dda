//! Limits that have a name.

use std::{
    future::{IntoFuture, pending},
    panic::catch_unwind,
    time::Duration,
};

use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_keep::{
    BoxError, CancelLayer, DedupLayer, Dispatcher, EventKind, Job, LogLayer, Pipeline, RetryLayer,
    TimeoutLayer, find,
    timeout::{Elapsed, LimitScope},
};
use tower_keep_test::{Recorder, Scripted};
use tower_keep_tests::*;

/// The names in the events of expired limits.
fn names(recorder: &Recorder) -> Vec<(LimitScope, Option<String>)> {
    let names = recorder.kinds().into_iter().filter_map(|kind| match kind {
        EventKind::TimedOut { scope, name, .. } => Some((scope, name.map(|name| name.to_string()))),
        _ => None,
    });
    names.collect()
}

/// A layer is a constant still.
const DATABASE: TimeoutLayer = TimeoutLayer::new(secs(5)).named("db");

/// R78 each kind of limit carries its name: in the error and its text, in the event.
#[tokio::test(start_paused = true)]
async fn every_kind_of_limit_says_its_name() {
    for (limit, scope, text) in [
        (DATABASE, LimitScope::Overall, "overall"),
        (DATABASE.per_attempt(), LimitScope::Attempt, "attempt"),
        (DATABASE.idle(), LimitScope::Idle, "idle"),
        (DATABASE.per_attempt().idle(), LimitScope::Idle, "idle"),
        (DATABASE.grace(secs(1)), LimitScope::Overall, "overall"),
    ] {
        for log_outside in [true, false] {
            let (log, recorder) = recording();
            let inner = Scripted::<u32, u32>::new().never().strict();
            let error = match log_outside {
                true => log.layer(limit.clone().layer(inner)).oneshot(0).await,
                false => limit.clone().layer(log.layer(inner)).oneshot(0).await,
            };
            let error = error.unwrap_err();
            let expected = format!("{text} time limit \"db\" of 5s expired");
            assert_eq!(error.to_string(), expected);
            let elapsed = find::<Elapsed>(&*error).unwrap();
            assert_eq!((elapsed.name(), elapsed.scope()), (Some("db"), &scope));
            assert_eq!(names(&recorder), [(scope.clone(), Some("db".to_owned()))]);
            assert!(recorder.kinds().iter().any(
                |kind| matches!(kind, EventKind::Failed { error, .. } if **error == expected)
            ));
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum App {
    #[error("too slow")]
    TooSlow(#[from] Elapsed),
    #[error(transparent)]
    Other(#[from] BoxError),
}

/// R78 a limit has its name with an error and an answer of the user's own, and where the limit
/// comes from the request.
#[tokio::test(start_paused = true)]
async fn in_every_form() {
    let hangs = || service_fn(|_: u32| pending::<Result<String, BoxError>>());
    let name = |why: Elapsed| why.name().unwrap_or("none").to_owned();

    let service = DATABASE.respond_with(name).layer(hangs());
    assert_eq!(service.oneshot(0).await.unwrap(), "db");
    // Whichever comes first.
    let service = TimeoutLayer::none()
        .limit_by(|limit: &u32| Some(secs((*limit).into())))
        .respond_with(name)
        .named("cache")
        .layer(hangs());
    assert_eq!(service.oneshot(2).await.unwrap(), "cache");
    let service = DATABASE
        .limit_by(|_: &u32| None)
        .fail_with(App::TooSlow)
        .layer(hangs());
    let error = service.oneshot(0).await.unwrap_err();
    assert!(
        matches!(&error, App::TooSlow(why) if why.name() == Some("db")),
        "{error:?}"
    );
}

/// R78 of several limits the error says which it was, and from which attempt; limits without a name
/// have none, steps their own.
#[tokio::test(start_paused = true)]
async fn of_several_limits() {
    let (log, recorder) = recording();
    let service = ServiceBuilder::new()
        .layer(log)
        .layer(TimeoutLayer::new(secs(60)).named("all"))
        .layer(RetryLayer::new().max_retries(1))
        .layer(TimeoutLayer::new(secs(5)).per_attempt())
        .layer(
            TimeoutLayer::new(secs(2))
                .step_limit(secs(1))
                .per_attempt()
                .named("db"),
        )
        .service(code(|job: Job, _| async move {
            let step = job.step("save", pending::<Result<u32, BoxError>>());
            let error = step.await.unwrap_err();
            assert_eq!(find::<Elapsed>(&*error).unwrap().name(), None);
            pending().await
        }));
    let error = service.oneshot(0).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "attempt time limit \"db\" of 2s expired in attempt 2"
    );
    let step = (LimitScope::Step("save".into()), None);
    let attempt = (LimitScope::Attempt, Some("db".to_owned()));
    assert_eq!(
        names(&recorder),
        [step.clone(), attempt.clone(), step, attempt]
    );
    let service = TimeoutLayer::new(secs(1)).layer(Scripted::<u32, u32>::new().never());
    let error = service.oneshot(0).await.unwrap_err();
    assert_eq!(error.to_string(), "overall time limit of 1s expired");
    assert_eq!(find::<Elapsed>(&*error).unwrap().name(), None);
}

/// R78 a limit has its name nested in another stack, under a dispatcher, and for all callers of a
/// joined execution.
#[tokio::test(start_paused = true)]
async fn in_compositions() {
    let inner = || Scripted::<u32, u32>::new().never().repeat_last();
    let name =
        |error: BoxError| find::<Elapsed>(&*error).and_then(|why| why.name().map(str::to_owned));
    let joined = ServiceBuilder::new()
        .layer(DedupLayer::new(|key: &u32| Some(*key)).join())
        .layer(DATABASE)
        .service(inner());
    let (first, second) = tokio::join!(joined.clone().oneshot(0), joined.clone().oneshot(0));
    for result in [first, second] {
        assert_eq!(name(result.unwrap_err()).as_deref(), Some("db"));
    }
    let around = TimeoutLayer::new(secs(90)).named("outer").layer(joined);
    assert_eq!(
        name(around.oneshot(0).await.unwrap_err()).as_deref(),
        Some("db")
    );

    let dispatcher = Dispatcher::new(DATABASE.per_attempt().layer(inner()));
    let error = dispatcher.dispatch(0).await.unwrap_err();
    assert_eq!(name(error).as_deref(), Some("db"));
}

/// R78 the name reaches each caller of a joined execution, whichever polls it as the limit expires,
/// also where their jobs can be cancelled; and each job ends by the limit.
#[tokio::test(start_paused = true)]
async fn to_all_callers_of_a_pipeline() {
    for attempt_limit in [8, 15] {
        for grace in [0, 1] {
            let (log, recorder) = recording();
            let pipeline = Pipeline::new()
                .log(log)
                .cancel(CancelLayer::new().grace(secs(grace)))
                .dedup(DedupLayer::new(|key: &u32| Some(*key)).join())
                .timeout(TimeoutLayer::new(secs(20)).named("all"))
                .attempt_timeout(TimeoutLayer::new(secs(attempt_limit)).per_attempt());
            let inner = Scripted::<u32, u32>::new().never().repeat_last();
            let service = pipeline.build().unwrap().layer(inner);
            let calls = (0..3).map(|_| service.clone().oneshot(0));
            let results = futures::future::join_all(calls).await;
            let dispatcher = Dispatcher::new(service);
            let calls = (0..3).map(|_| dispatcher.dispatch(0).into_future());
            for result in (results.into_iter()).chain(futures::future::join_all(calls).await) {
                let error = result.unwrap_err();
                let elapsed = find::<Elapsed>(&*error).expect("the limit's own error");
                assert_eq!(elapsed.scope(), &LimitScope::Overall);
                assert_eq!(elapsed.name(), Some("all"));
            }
            assert_eq!(recorder.count("failed"), 6, "{recorder}");
            recorder.assert_one_terminal_each();
        }
    }
}

/// R78 the name is a field of the record, and where there is none, no field.
#[tokio::test(start_paused = true)]
async fn in_the_log() {
    for (limit, field) in [
        (DATABASE, Some("limit_name=\"db\"")),
        (TimeoutLayer::new(secs(5)), None),
    ] {
        let (lines, _guard) = Lines::listen();
        let inner = Scripted::<u32, u32>::new().never();
        let service = LogLayer::new().layer(limit.layer(inner));
        service.oneshot(0).await.unwrap_err();
        let timed_out = lines.records().into_iter().zip(lines.fields());
        let timed_out: Vec<_> = timed_out
            .filter(|(line, _)| line.ends_with("timed out"))
            .collect();
        assert_eq!(timed_out.len(), 1);
        let fields = &timed_out[0].1;
        match field {
            Some(field) => assert!(fields.contains(field), "{fields}"),
            None => assert!(!fields.contains("limit_name"), "{fields}"),
        }
    }
}

/// R78 an empty name says nothing, and is refused where it is set.
#[test]
fn an_empty_name_is_refused() {
    let refused = |set: fn()| {
        let panic = catch_unwind(set).unwrap_err();
        let text = panic.downcast_ref::<&str>().unwrap();
        assert_eq!(*text, "the name of a limit must not be empty");
    };
    refused(|| drop(TimeoutLayer::new(Duration::ZERO).named("")));
    refused(|| drop(Elapsed::new(LimitScope::Idle, Duration::ZERO, 1).named("")));
}
