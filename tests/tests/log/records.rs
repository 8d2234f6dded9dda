//! The record of each event: its level and its message, a minimum level, and other sinks.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use tower::{ServiceBuilder, ServiceExt};
use tower_keep::{
    BoxError, CancelLayer, CircuitBreakerLayer, DedupLayer, Event, EventKind, Job, LogLayer,
    Outcome, RetryLayer, TimeoutLayer, log::Level,
};
use tower_keep_test::{Recorder, Scripted};
use tower_keep_tests::*;

/// A job that is retried once, reports and succeeds, and a job that fails.
async fn two_jobs(log: LogLayer) {
    let mut service = ServiceBuilder::new()
        .layer(log)
        .layer(RetryLayer::new().max_retries(1))
        .service(code(|job, n| async move {
            job.progress(0.5);
            if job.attempt() == 1 || n == 1 {
                Err("busy".into())
            } else {
                Ok(n)
            }
        }));
    begin(&mut service, 0).await.await.unwrap();
    begin(&mut service, 1).await.await.unwrap_err();
}

/// R39: dispatched is INFO. R40: started DEBUG. R41: progress DEBUG. R42: success INFO. R43:
/// failure ERROR. R44: retry WARN. One record each, with the job's id. R46: at DEBUG all six
/// appear.
#[tokio::test(start_paused = true)]
async fn levels() {
    for log in [LogLayer::new(), LogLayer::new().level(Level::DEBUG)] {
        let (lines, _guard) = Lines::listen();
        two_jobs(log).await;
        let records = lines.records();
        assert_eq!(
            records[..9],
            [
                "INFO dispatched",
                "DEBUG started",
                "DEBUG progress",
                "DEBUG attempt ended",
                "WARN retry scheduled",
                "DEBUG retrying",
                "DEBUG progress",
                "DEBUG attempt ended",
                "INFO succeeded"
            ]
        );
        assert_eq!(records[9..].first().unwrap(), "INFO dispatched");
        assert_eq!(records.last().unwrap(), "ERROR failed");
        let fields = lines.fields();
        let id = |line: &str| {
            line.split(' ')
                .find(|field| field.starts_with("job.id="))
                .unwrap()
                .to_owned()
        };
        assert!(fields[..9].iter().all(|line| id(line) == id(&fields[0])));
        assert_ne!(id(&fields[0]), id(&fields[9]));
        assert!(
            fields[4].contains("error=\"busy\"") && fields[4].contains("delay_ms=1000.0"),
            "{}",
            fields[4]
        );
    }
}

/// The others: timed out WARN, circuit opened WARN, closed INFO, cancelled INFO, duplicate DEBUG,
/// and a rejected duplicate does not fail at ERROR.
#[tokio::test(start_paused = true)]
async fn levels_of_the_others() {
    let (lines, _guard) = Lines::listen();
    let cancel = CancelLayer::new();
    let handle = cancel.handle();
    let inner = Scripted::<u32, u32>::new().never().answer(1).never();
    let mut service = ServiceBuilder::new()
        .layer(LogLayer::new())
        .layer(cancel)
        .layer(DedupLayer::new(|key: &u32| Some(*key)))
        .layer(CircuitBreakerLayer::new().failure_threshold(0))
        .layer(TimeoutLayer::new(secs(1)))
        .service(inner.strict());
    begin(&mut service, 0).await.await.unwrap_err();
    tokio::time::sleep(secs(30)).await;
    begin(&mut service, 0).await.await.unwrap();
    let held = tokio::spawn(begin(&mut service, 0).await);
    tokio::task::yield_now().await;
    begin(&mut service, 0).await.await.unwrap_err();
    handle.cancel(handle.jobs()[0].job);
    held.await.unwrap().unwrap_err();
    let mut records = lines.records();
    records.retain(|record| !record.ends_with("dispatched") && !record.ends_with("started"));
    assert_eq!(
        records,
        [
            "WARN timed out",
            "WARN circuit opened",
            "ERROR failed",
            "INFO circuit half-open",
            "INFO circuit closed",
            "INFO succeeded",
            "DEBUG duplicate",
            "DEBUG rejected",
            "INFO cancelled",
        ]
    );
}

/// R40b: started means that the call got past every gate: once, before any progress, and never for
/// a job that was rejected or joined another.
#[tokio::test(start_paused = true)]
async fn started_is_past_every_gate() {
    let (log, recorder) = recording();
    let breaker = CircuitBreakerLayer::new();
    let circuit = breaker.handle();
    let inner = Scripted::<u32, u32>::new().answer_after(secs(1), 1);
    let mut service = ServiceBuilder::new()
        .layer(log.clone())
        .layer(DedupLayer::new(|key: &u32| Some(*key)).join())
        .layer(breaker)
        .service(inner.strict());
    let first = begin(&mut service, 0).await;
    let second = begin(&mut service, 0).await;
    let (first, second) = tokio::join!(first, second);
    assert!(first.is_ok() && second.is_ok());
    let [leader, follower] = recorder.jobs()[..] else {
        panic!("two jobs")
    };
    recorder.assert_names_of(leader, ["dispatched", "started", "succeeded"]);
    recorder.assert_names_of(follower, ["dispatched", "duplicate", "succeeded"]);

    recorder.clear();
    circuit.force_open();
    begin(&mut service, 0).await.await.unwrap_err();
    recorder.assert_names(["dispatched", "failed"]);

    // A gate that keeps the call waiting: started when it lets it through.
    recorder.clear();
    let ready = tower_keep_test::Gate::new();
    let waits = tower_keep_test::Readiness::ok().when(&ready);
    let mut service = ServiceBuilder::new()
        .layer(log.clone())
        .layer(DedupLayer::new(|key: &u32| Some(*key)))
        .service(
            Scripted::<u32, u32>::new()
                .answer(1)
                .readiness(waits)
                .strict(),
        );
    let call = tokio::spawn(begin(&mut service, 0).await);
    tokio::time::sleep(secs(2)).await;
    recorder.assert_names(["dispatched"]);
    ready.open();
    call.await.unwrap().unwrap();
    assert_eq!(recorder.times()[1], ("started", secs(2)));

    // Once, before the progress of code that reports at once, and before a retry.
    recorder.clear();
    let service = ServiceBuilder::new()
        .layer(log)
        .layer(RetryLayer::new())
        .service(code(|job, _| async move {
            job.progress(0.1);
            if job.attempt() < 3 {
                Err("again".into())
            } else {
                Ok(1)
            }
        }));
    service.oneshot(0).await.unwrap();
    assert_eq!(recorder.count("started"), 1);
    assert_eq!(recorder.names()[..3], ["dispatched", "started", "progress"]);
}

/// R39, R40, R41, R42, R43, R44: each record carries the name and the number of the step, and has
/// no such field without a step.
#[tokio::test(start_paused = true)]
async fn steps_are_fields() {
    let (lines, _guard) = Lines::listen();
    let service = ServiceBuilder::new()
        .layer(LogLayer::new())
        .service(code(|job, _| async move {
            let job = job.steps(2);
            job.step("fetch\n", async { Ok::<_, BoxError>(1) }).await?;
            job.step("parse", async { Err::<u32, BoxError>("no".into()) })
                .await
        }));
    service.oneshot(0).await.unwrap_err();
    let first = r#"step.name="fetch\n" step.number=1 step.total=2 "#;
    let second = r#"step.name="parse" step.number=2 step.total=2 "#;
    let expected = [
        ("INFO dispatched", ""),
        ("DEBUG started", ""),
        ("DEBUG step started", first),
        ("DEBUG progress", first),
        ("DEBUG step succeeded", first),
        ("DEBUG step started", second),
        ("ERROR failed", second),
    ];
    let fields = lines.fields();
    for ((record, fields), (expected, step)) in lines.records().iter().zip(&fields).zip(expected) {
        assert_eq!(record, expected);
        assert!(fields.contains(step), "{fields}");
        assert_eq!(fields.contains("step."), !step.is_empty(), "{fields}");
    }
    assert_eq!(fields.len(), expected.len());
    assert!(fields[3].contains("done=1 steps=2"), "{}", fields[3]);
    assert!(fields[4].contains("took_ms=0.0"), "{}", fields[4]);
}

/// R45: a minimum level. R47: at WARN only retry and failure.
#[tokio::test(start_paused = true)]
async fn a_minimum_level() {
    let (lines, _guard) = Lines::listen();
    two_jobs(LogLayer::new().level(Level::WARN)).await;
    assert_eq!(
        lines.records(),
        [
            "WARN retry scheduled",
            "WARN retry scheduled",
            "ERROR failed"
        ]
    );
    drop(lines);

    let recorder = Recorder::new();
    two_jobs(LogLayer::to(recorder.clone()).level(Level::INFO)).await;
    recorder.assert_names([
        "dispatched",
        "retry_scheduled",
        "succeeded",
        "dispatched",
        "retry_scheduled",
        "failed",
    ]);
}

/// R48: left out it writes nothing, and does not even begin a job.
#[tokio::test(start_paused = true)]
async fn left_out() {
    let (lines, _guard) = Lines::listen();
    let service = ServiceBuilder::new()
        .option_layer(None::<LogLayer>)
        .service(code(|job, _| async move {
            assert_eq!(job.id(), None);
            Ok(1)
        }));
    service.oneshot(0).await.unwrap();
    assert!(lines.records().is_empty());
}

/// R49: any sink plugs in without touching a service, and a panicking one never harms a job or
/// another sink.
#[tokio::test(start_paused = true)]
async fn sinks_plug_in() {
    let count = Arc::new(AtomicU32::new(0));
    let counted = count.clone();
    let recorder = Recorder::new();
    let service = ServiceBuilder::new()
        .layer(LogLayer::to(move |_: &Event| {
            counted.fetch_add(1, Ordering::Relaxed);
            std::panic::panic_any("a sink's panic");
        }))
        .layer(LogLayer::to(recorder.clone()))
        .service(code(|job, _| async move {
            job.progress(0.5);
            Ok(7)
        }));
    assert_eq!(service.oneshot(0).await.unwrap(), 7);
    assert_eq!(count.load(Ordering::Relaxed), 4);
    recorder.assert_names(["dispatched", "started", "progress", "succeeded"]);
}

/// R43: a response that the classifier calls a failure fails the job, for every observer.
#[tokio::test(start_paused = true)]
async fn a_response_can_fail_the_job() {
    let recorder = Recorder::new();
    let classify = |result: &Result<u32, &'static str>| match result {
        Ok(500..) | Err(_) => Outcome::Failure,
        Ok(_) => Outcome::Success,
    };
    let (outer, outer_recorder) = recording();
    let mut service = ServiceBuilder::new()
        .layer(outer)
        .layer(LogLayer::to(recorder.clone()).classify(classify))
        .service(Scripted::<u32, u32>::new().answer(500).answer(200).strict());
    assert_eq!(begin(&mut service, 0).await.await, Ok(500));
    assert_eq!(begin(&mut service, 0).await.await, Ok(200));
    for recorder in [recorder, outer_recorder] {
        let endings: Vec<_> = recorder
            .jobs()
            .iter()
            .map(|job| recorder.terminal(*job).unwrap())
            .collect();
        assert!(matches!(endings[0], EventKind::Failed { .. }));
        assert_eq!(endings[1], EventKind::Succeeded);
    }
}

/// Where tracing has no listener, the job goes on as ever.
#[tokio::test(start_paused = true)]
async fn nobody_listens_to_tracing() {
    let service = ServiceBuilder::new()
        .layer(LogLayer::new())
        .service(code(|job, _| async move {
            assert!(job.id().is_some());
            assert_eq!(Job::current().id(), job.id());
            Ok(1)
        }));
    service.oneshot(0).await.unwrap();
    assert_eq!(Job::current().id(), None);
}
