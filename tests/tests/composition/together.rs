//! The layers together: which layer decides first, and what the pipeline makes of its settings.

use std::{num::NonZeroU32, time::Duration};

use tower::{Layer, ServiceBuilder, ServiceExt};
use tower_keep::{
    CancelLayer, CircuitBreakerLayer, DedupLayer, EventKind, FailureCause, JobLayer, LogLayer,
    Pipeline, ProgressLayer, RetryLayer, TimeoutLayer,
    circuit_breaker::{Open, State},
    dedup::Duplicate,
    find,
    timeout::Elapsed,
};
use tower_keep_test::{Scripted, Step};
use tower_keep_tests::*;

/// R55: duplicate is asked first: a duplicate is skipped, with no execution and the circuit
/// untouched.
#[tokio::test(start_paused = true)]
async fn a_duplicate_touches_nothing() {
    let (log, _recorder) = recording();
    let breaker = CircuitBreakerLayer::new().failure_threshold(0);
    let circuit = breaker.handle();
    let pipeline = Pipeline::new()
        .log(log)
        .dedup(DedupLayer::new(|key: &u32| Some(*key)))
        .circuit_breaker(breaker)
        .build()
        .unwrap();
    let inner = Scripted::<u32, u32>::new().answer_after(secs(1), 1);
    let calls = inner.calls();
    let mut service = ServiceBuilder::new()
        .layer(pipeline)
        .service(inner.strict());
    let first = tokio::spawn(begin(&mut service, 1).await);
    tokio::task::yield_now().await;
    for _ in 0..10 {
        let error = begin(&mut service, 1).await.await.unwrap_err();
        assert!(find::<Duplicate>(&*error).is_some());
    }
    first.await.unwrap().unwrap();
    assert_eq!(
        (
            calls.count(),
            circuit.state(),
            circuit.snapshot().failures_in_a_row
        ),
        (1, State::Closed, 0)
    );
}

/// R56: an overall timeout fails the job and is not retried.
#[tokio::test(start_paused = true)]
async fn an_overall_timeout_is_not_retried() {
    // Outside the retry as documented, and inside it.
    for outside in [true, false] {
        let (log, recorder) = recording();
        let limit = TimeoutLayer::new(secs(5));
        let inner = Scripted::<u32, u32>::new().never();
        let calls = inner.calls();
        let error = if outside {
            let service = ServiceBuilder::new()
                .layer(log)
                .layer(limit)
                .layer(RetryLayer::new());
            service
                .service(inner.strict())
                .oneshot(0)
                .await
                .unwrap_err()
        } else {
            let service = ServiceBuilder::new()
                .layer(log)
                .layer(RetryLayer::new())
                .layer(limit);
            service
                .service(inner.strict())
                .oneshot(0)
                .await
                .unwrap_err()
        };
        assert!(find::<Elapsed>(&*error).is_some());
        assert_eq!(calls.count(), 1);
        recorder.assert_names([
            "dispatched",
            "started",
            "timed_out",
            "attempt_ended",
            "failed",
        ]);
    }
}

/// R57: success ends. R58: failure with retries left: wait and execute again, dedup not asked
/// again.
#[tokio::test(start_paused = true)]
async fn the_pipeline_retries() {
    let (log, recorder) = recording();
    let asked = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    let count = asked.clone();
    let pipeline = Pipeline::new()
        .log(log)
        .dedup(DedupLayer::new(move |key: &u32| {
            count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            Some(*key)
        }))
        .build()
        .unwrap();
    let inner = Scripted::<u32, u32>::new().error("no").never().answer(7);
    let calls = inner.calls();
    let service = ServiceBuilder::new()
        .layer(pipeline)
        .service(inner.strict());
    assert_eq!(service.oneshot(1).await.unwrap(), 7);
    assert_eq!(calls.started_at(), [secs(0), secs(1), secs(13)]);
    assert_eq!(asked.load(std::sync::atomic::Ordering::Relaxed), 1);
    recorder.assert_names([
        "dispatched",
        "started",
        "attempt_ended",
        "retry_scheduled",
        "retrying",
        "timed_out",
        "attempt_ended",
        "retry_scheduled",
        "retrying",
        "attempt_ended",
        "succeeded",
    ]);
}

/// R59: with no retries left one failure is recorded in the circuit for the job; past the threshold
/// it opens. An overall timeout counts too; a setting gives it up. Cancelled, duplicate and
/// rejected never count.
#[tokio::test(start_paused = true)]
async fn one_failure_for_each_job() {
    for ignored in [false, true] {
        let breaker = CircuitBreakerLayer::new().failure_threshold(2);
        let breaker = if ignored {
            breaker.ignore_timeouts()
        } else {
            breaker
        };
        let circuit = breaker.handle();
        let cancel = CancelLayer::new();
        let handle = cancel.handle();
        let pipeline = Pipeline::new()
            .cancel(cancel)
            .dedup(DedupLayer::new(|key: &u32| Some(*key)))
            .circuit_breaker(breaker)
            .timeout(TimeoutLayer::new(secs(30)))
            .attempt_timeout(TimeoutLayer::new(secs(20)).per_attempt())
            .build()
            .unwrap();
        let inner = Scripted::<u32, u32>::new()
            .times(4, || Step::error("no"))
            .times(3, Step::never)
            .times(4, || Step::error("no"));
        let mut service = ServiceBuilder::new()
            .layer(pipeline)
            .service(inner.strict());
        begin(&mut service, 1).await.await.unwrap_err();
        assert_eq!(
            circuit.snapshot().failures_in_a_row,
            1,
            "four attempts, one job"
        );
        // Cancelled, with a duplicate at the same time.
        let cancelled = tokio::spawn(begin(&mut service, 1).await);
        tokio::task::yield_now().await;
        begin(&mut service, 1).await.await.unwrap_err();
        handle.cancel(handle.jobs()[0].job);
        cancelled.await.unwrap().unwrap_err();
        assert_eq!(circuit.snapshot().failures_in_a_row, 1);
        // In the second attempt, which began at 21 s.
        let error = begin(&mut service, 1).await.await.unwrap_err();
        assert!(find::<Elapsed>(&*error).is_some());
        assert_eq!(
            circuit.snapshot().failures_in_a_row,
            if ignored { 1 } else { 2 }
        );
        if !ignored {
            begin(&mut service, 1).await.await.unwrap_err();
            assert_eq!(circuit.state(), State::Open);
        }
    }
}

/// R60: an open circuit fails the next job before it starts, and is never retried.
#[tokio::test(start_paused = true)]
async fn an_open_circuit_fails_the_next_job() {
    let (log, recorder) = recording();
    let pipeline = Pipeline::new().log(log).build().unwrap();
    pipeline.circuit_breaker().handle().force_open();
    let inner = Scripted::<u32, u32>::new();
    let calls = inner.calls();
    let service = ServiceBuilder::new()
        .layer(pipeline)
        .service(inner.strict());
    let error = service.oneshot(0).await.unwrap_err();
    assert!(find::<Open>(&*error).is_some());
    assert_eq!(calls.count(), 0);
    recorder.assert_names(["dispatched", "failed"]);
    let failed = recorder.terminal(recorder.job()).unwrap();
    assert!(matches!(
        failed,
        EventKind::Failed {
            cause: FailureCause::CircuitOpen,
            ..
        }
    ));

    // Inside a retry, in each of the three ways to reject.
    for way in 0..3 {
        let breaker = CircuitBreakerLayer::new();
        breaker.handle().force_open();
        let (log, recorder) = recording();
        let builder = ServiceBuilder::new().layer(log).layer(RetryLayer::new());
        let inner = Scripted::<u32, u32>::new().strict();
        match way {
            0 => drop(builder.layer(breaker).service(inner).oneshot(0).await),
            1 => drop(
                builder
                    .layer(breaker.fail_with(|_| "open"))
                    .service(inner)
                    .oneshot(0)
                    .await,
            ),
            _ => drop(
                builder
                    .layer(breaker.respond_with(|_| 503))
                    .service(inner)
                    .oneshot(0)
                    .await,
            ),
        }
        recorder.assert_names(["dispatched", "failed"]);
    }
}

/// R61: each layer works alone, around any service.
#[tokio::test(start_paused = true)]
async fn each_layer_works_alone() {
    async fn check<L>(layer: L)
    where
        L: Layer<tower_keep_test::Strict<Scripted<u32, u32>>>,
        L::Service: tower::Service<u32, Response = u32>,
        <L::Service as tower::Service<u32>>::Error: std::fmt::Display + std::fmt::Debug,
    {
        let inner = Scripted::<u32, u32>::new().answer(1).error("no");
        let mut service = layer.layer(inner.strict());
        assert_eq!(begin(&mut service, 0).await.await.unwrap(), 1);
        assert_eq!(
            begin(&mut service, 0).await.await.unwrap_err().to_string(),
            "no"
        );
    }
    check(LogLayer::new()).await;
    check(ProgressLayer::new()).await;
    check(CancelLayer::new()).await;
    check(CancelLayer::new().detached()).await;
    check(DedupLayer::new(|key: &u32| Some(*key))).await;
    check(DedupLayer::new(|key: &u32| Some(*key)).join()).await;
    check(CircuitBreakerLayer::new()).await;
    check(TimeoutLayer::new(secs(1))).await;
    check(RetryLayer::new().max_retries(0)).await;
    check(JobLayer::new("name")).await;
}

/// R62: the ready-made pipeline composes all seven, and checks its settings against one another
/// with a clear error.
#[test]
fn the_pipeline_checks_its_settings() {
    let ok = Pipeline::new().build();
    assert!(ok.is_ok());

    let error = Pipeline::new()
        .timeout(TimeoutLayer::new(secs(5)))
        .build()
        .unwrap_err();
    assert_eq!(error.settings(), ("attempt_timeout", "timeout"));
    assert_eq!(
        error.to_string(),
        "attempt_timeout (10s) is longer than timeout (5s) and could never expire: set attempt_timeout to at most 5s, \
         or timeout to at least 10s"
    );

    // Waits of 1 + 2 + 4 + 8 + 16 + 30 = 61 s.
    let waits = |retries| {
        Pipeline::new()
            .retry(RetryLayer::new().max_retries(retries))
            .build()
    };
    assert!(waits(5).is_ok());
    let error = waits(6).unwrap_err();
    assert_eq!(error.settings(), ("retry", "timeout"));
    assert_eq!(
        error.to_string(),
        "retry waits 61s in all, which does not fit into the timeout of 60s: set max_retries to at most 5, shorten \
         base_delay or max_delay, or set timeout to more than 61s"
    );
    assert!(waits(u32::MAX).is_err());

    let step = Pipeline::new()
        .timeout(TimeoutLayer::new(secs(60)).step_limit(secs(11)))
        .build()
        .unwrap_err();
    assert_eq!(step.settings(), ("step_limit", "attempt_timeout"));
    let attempt = TimeoutLayer::new(secs(10))
        .per_attempt()
        .step_limit(secs(10));
    assert!(Pipeline::new().attempt_timeout(attempt).build().is_ok());

    let breaker = CircuitBreakerLayer::new()
        .probe_timeout(secs(59))
        .half_open_probes(NonZeroU32::MIN);
    let error = Pipeline::new()
        .circuit_breaker(breaker)
        .build()
        .unwrap_err();
    assert_eq!(
        error.settings(),
        ("circuit_breaker.probe_timeout", "timeout")
    );
    assert!(error.to_string().contains("at least 60s"), "{error}");

    // A limit that comes from the request cannot be checked.
    let by_request = TimeoutLayer::none().limit_by(|_: &u32| Some(Duration::ZERO));
    assert!(Pipeline::new().timeout(by_request).build().is_ok());
    assert!(
        Pipeline::new()
            .timeout(TimeoutLayer::none())
            .build()
            .is_ok()
    );
}

/// R62: a probe of the pipeline's circuit may use the whole overall limit.
#[tokio::test(start_paused = true)]
async fn a_slow_probe_closes_the_pipelines_circuit() {
    let breaker = CircuitBreakerLayer::new().failure_threshold(0);
    let circuit = breaker.handle();
    let pipeline = Pipeline::new()
        .circuit_breaker(breaker)
        .retry(RetryLayer::new().max_retries(0))
        .attempt_timeout(TimeoutLayer::new(secs(60)).per_attempt())
        .build()
        .unwrap();
    let inner = Scripted::<u32, u32>::new()
        .error("no")
        .answer_after(secs(59), 1);
    let mut service = ServiceBuilder::new()
        .layer(pipeline)
        .service(inner.strict());
    begin(&mut service, 0).await.await.unwrap_err();
    tokio::time::sleep(secs(30)).await;
    begin(&mut service, 0).await.await.unwrap();
    assert_eq!(circuit.state(), State::Closed);
}
