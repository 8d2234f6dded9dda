//! Overall limits, limits of an attempt and limits of a step.

use std::time::Duration;

use tokio::time::Instant;
use tower::{Layer, ServiceBuilder, ServiceExt};
use tower_keep::{
    BoxError, EventKind, FailureCause, Job, LimitScope, LogLayer, RetryLayer, TimeoutLayer, find,
    timeout::Elapsed,
};
use tower_keep_test::{Polled, Scripted, Step};
use tower_keep_tests::*;

/// R12: the clock starts at `call`, also where the future is polled late.
#[tokio::test(start_paused = true)]
async fn the_clock_starts_at_the_call() {
    let inner = Scripted::<u32, u32>::new().answer_after(ms(60), 1);
    let mut service = ServiceBuilder::new()
        .layer(TimeoutLayer::new(ms(100)))
        .service(inner.strict());
    let future = begin(&mut service, 0).await;
    tokio::time::sleep(ms(50)).await;
    // The inner future is first polled now and would be ready at 110 ms.
    let start = Instant::now();
    let error = future.await.unwrap_err();
    assert_eq!(find::<Elapsed>(&*error).unwrap().limit(), ms(100));
    assert_eq!(start.elapsed(), ms(50));
}

/// R12: no limit set means no timeout.
#[tokio::test(start_paused = true)]
async fn no_limit_is_no_timeout() {
    assert_eq!(TimeoutLayer::none().limit(), None);
    assert_eq!(TimeoutLayer::new(secs(3)).limit(), Some(secs(3)));
    let inner = Scripted::<u32, u32>::new().answer_after(secs(1_000_000), 1);
    let service = ServiceBuilder::new()
        .layer(TimeoutLayer::none())
        .service(inner.strict());
    assert_eq!(service.oneshot(0).await.unwrap(), 1);

    let inner = Scripted::<u32, u32>::new().answer_after(secs(1_000_000), 1);
    let unlimited = TimeoutLayer::none().limit_by(|_: &u32| None);
    let service = ServiceBuilder::new()
        .layer(unlimited)
        .service(inner.strict());
    assert_eq!(service.oneshot(0).await.unwrap(), 1);
}

/// The order of a layer's settings does not matter, and a layer with them can be a constant.
#[test]
fn settings_come_in_any_order() {
    const LAYER: TimeoutLayer = TimeoutLayer::new(secs(1))
        .per_attempt()
        .idle()
        .grace(secs(2))
        .step_limit(secs(3));
    let other = TimeoutLayer::new(secs(1))
        .step_limit(secs(3))
        .grace(secs(2))
        .idle()
        .per_attempt();
    assert_eq!(format!("{LAYER:?}"), format!("{other:?}"));
}

/// R13: in time no timeout is ever reported, and the timer is gone.
#[tokio::test(start_paused = true)]
async fn in_time_nothing_is_reported() {
    let (log, recorder) = recording();
    let inner = Scripted::<u32, u32>::new().answer_after(secs(59), 1);
    let mut service = ServiceBuilder::new()
        .layer(log)
        .layer(TimeoutLayer::new(secs(60)))
        .service(inner.strict());
    let mut future = Polled::new(begin(&mut service, 0).await);
    future.assert_pending();
    tokio::time::sleep(secs(59)).await;
    assert_eq!(future.assert_ready().unwrap(), 1);
    let wakes = future.wakes();
    // The finished future is still there: its timer would wake it at 60 s.
    tokio::time::sleep(secs(100)).await;
    assert_eq!(future.wakes(), wakes);
    recorder.assert_names(["dispatched", "started", "succeeded"]);
}

/// R14: on expiry `TimedOut`, then the job's `Failed`, once each, at the limit; nothing from that
/// job later.
#[tokio::test(start_paused = true)]
async fn expiry_is_reported_once() {
    let (log, recorder) = recording();
    let service = ServiceBuilder::new()
        .layer(log)
        .layer(TimeoutLayer::new(secs(60)))
        .service(code(|job, _| async move {
            // This outlives the call and keeps reporting.
            let spawned = job.clone();
            tokio::spawn(job.scope(async move {
                loop {
                    tokio::time::sleep(secs(50)).await;
                    spawned.progress(0.5);
                }
            }));
            std::future::pending().await
        }));
    service.oneshot(0).await.unwrap_err();
    tokio::time::sleep(secs(1000)).await;
    assert_eq!(
        recorder.times(),
        [
            ("dispatched", secs(0)),
            ("started", secs(0)),
            ("progress", secs(50)),
            ("timed_out", secs(60)),
            ("failed", secs(60)),
        ]
    );
    let kinds = recorder.kinds();
    assert!(matches!(
        kinds[3],
        EventKind::TimedOut {
            scope: LimitScope::Overall,
            name: None,
            limit,
            dropped: true,
            ..
        } if limit == secs(60)
    ));
    assert!(matches!(
        kinds[4],
        EventKind::Failed {
            cause: FailureCause::TimedOut,
            ..
        }
    ));
}

/// R15: overall is one budget over all attempts and waits.
#[tokio::test(start_paused = true)]
async fn overall_spans_attempts_and_waits() {
    let start = Instant::now();
    let inner =
        Scripted::<u32, u32>::new().times(4, || tower_keep_test::Step::error("no").after(secs(1)));
    let calls = inner.calls();
    // Attempts of 1 s at 0, 2, 5, 10: the limit expires in the third.
    let service = ServiceBuilder::new()
        .layer(TimeoutLayer::new(ms(5500)))
        .layer(RetryLayer::new())
        .service(inner.strict());
    let error = service.oneshot(0).await.unwrap_err();
    assert_eq!(
        find::<Elapsed>(&*error).unwrap().scope(),
        &LimitScope::Overall
    );
    assert_eq!(start.elapsed(), ms(5500));
    assert_eq!(calls.count(), 3);
}

/// R16: each attempt has its own limit, restarted each time.
#[tokio::test(start_paused = true)]
async fn each_attempt_has_its_own_limit() {
    let (log, recorder) = recording();
    let inner = Scripted::<u32, u32>::new()
        .never()
        .never()
        .answer_after(secs(9), 7);
    let service = ServiceBuilder::new()
        .layer(log)
        .layer(RetryLayer::new())
        .layer(TimeoutLayer::new(secs(10)).per_attempt())
        .service(inner.strict());
    assert_eq!(service.oneshot(0).await.unwrap(), 7);
    assert_eq!(
        recorder.times(),
        [
            ("dispatched", secs(0)),
            ("started", secs(0)),
            ("timed_out", secs(10)),
            ("attempt_ended", secs(10)),
            ("retry_scheduled", secs(10)),
            ("retrying", secs(11)),
            ("timed_out", secs(21)),
            ("attempt_ended", secs(21)),
            ("retry_scheduled", secs(21)),
            ("retrying", secs(23)),
            ("attempt_ended", secs(32)),
            ("succeeded", secs(32)),
        ]
    );
}

/// R16: whichever limit comes first wins: the attempt's, or the overall one in the middle of an
/// attempt.
#[tokio::test(start_paused = true)]
async fn the_first_limit_wins() {
    for (overall, scope, attempt) in [(15, LimitScope::Overall, 2), (100, LimitScope::Attempt, 1)] {
        let inner = Scripted::<u32, u32>::new().never().repeat_last();
        let service = ServiceBuilder::new()
            .layer(LogLayer::to(|_: &tower_keep::Event| ()))
            .layer(TimeoutLayer::new(secs(overall)))
            .layer(RetryLayer::new().max_retries(if attempt == 1 { 0 } else { 3 }))
            .layer(TimeoutLayer::new(secs(10)).per_attempt())
            .service(inner.strict());
        let error = service.oneshot(0).await.unwrap_err();
        let elapsed = find::<Elapsed>(&*error).unwrap();
        assert_eq!((elapsed.scope(), elapsed.attempt()), (&scope, attempt));
    }
}

/// R16: a named step has its own limit, without a layer of its own; the next step's starts over.
#[tokio::test(start_paused = true)]
async fn each_step_has_its_own_limit() {
    let (log, recorder) = recording();
    let service = ServiceBuilder::new()
        .layer(log)
        .layer(TimeoutLayer::none().step_limit(secs(10)))
        .service(code(|job, _| async move {
            let wait = |s| async move {
                tokio::time::sleep(secs(s)).await;
                Ok::<_, BoxError>(1)
            };
            job.step("a", wait(8)).await?;
            job.step("b", wait(8)).await?;
            job.step("own limit", wait(20)).limit(secs(30)).await?;
            job.step("save", wait(11)).await
        }));
    let error = service.oneshot(0).await.unwrap_err();
    let elapsed = find::<Elapsed>(&*error).unwrap();
    assert_eq!(elapsed.scope(), &LimitScope::Step("save".into()));
    assert_eq!(elapsed.limit(), secs(10));
    let times = recorder.times();
    assert_eq!(
        times[times.len() - 2..],
        [("timed_out", secs(46)), ("failed", secs(46))]
    );
}

/// R16: the layer's limit for steps holds wherever the layer stands: outside what begins the job
/// too. Of several, the shortest holds.
#[tokio::test(start_paused = true)]
async fn a_step_limit_holds_in_any_order() {
    let limit = |seconds| TimeoutLayer::none().step_limit(secs(seconds));
    let inner = || {
        code(|job, _| async move {
            let never = std::future::pending::<Result<u32, BoxError>>();
            job.step("save", never).await
        })
    };
    let stack = ServiceBuilder::new;
    let outside = stack().layer(limit(10)).layer(LogLayer::new());
    let inside = stack().layer(LogLayer::new()).layer(limit(10));
    let watched = stack().layer(limit(10).grace(secs(1)));
    let errors = [
        outside.layer(limit(20)).service(inner()).oneshot(0).await,
        inside.layer(limit(20)).service(inner()).oneshot(0).await,
        watched.layer(limit(20)).service(inner()).oneshot(0).await,
    ];
    for error in errors.map(Result::unwrap_err) {
        let elapsed = find::<Elapsed>(&*error).unwrap();
        assert_eq!(elapsed.limit(), secs(10));
    }
}

/// R16: a step's limit holds outside any stack too.
#[tokio::test(start_paused = true)]
async fn a_step_alone_has_a_limit() {
    let never = std::future::pending::<Result<(), BoxError>>();
    let error = Job::current()
        .step("save", never)
        .limit(secs(5))
        .await
        .unwrap_err();
    assert_eq!(find::<Elapsed>(&*error).unwrap().limit(), secs(5));
}

/// R16b: the limit can come from the request.
#[tokio::test(start_paused = true)]
async fn the_limit_comes_from_the_request() {
    let inner = Scripted::<u32, u32>::new().never().repeat_last();
    let mut service = ServiceBuilder::new()
        .layer(TimeoutLayer::none().limit_by(|request: &u32| Some(secs(u64::from(*request)))))
        .service(inner.strict());
    for limit in [3, 7] {
        let start = Instant::now();
        begin(&mut service, limit).await.await.unwrap_err();
        assert_eq!(start.elapsed(), secs(u64::from(limit)));
    }
    let inner = Scripted::<u32, u32>::new().never().repeat_last();
    let mut service = ServiceBuilder::new()
        .layer(
            TimeoutLayer::none()
                .limit_by(|request: &u32| Some(secs(u64::from(*request))))
                .per_attempt(),
        )
        .service(inner.strict());
    let error = begin(&mut service, 2).await.await.unwrap_err();
    assert_eq!(
        find::<Elapsed>(&*error).unwrap().scope(),
        &LimitScope::Attempt
    );
}

/// R16b: `Duration::ZERO` lets through what is ready at once; `Duration::MAX` never expires;
/// neither panics.
#[tokio::test(start_paused = true)]
async fn zero_and_max() {
    let zero = TimeoutLayer::new(std::time::Duration::ZERO);
    let ready = Scripted::<u32, u32>::new().answer(1);
    assert_eq!(
        ServiceBuilder::new()
            .layer(zero.clone())
            .service(ready.strict())
            .oneshot(0)
            .await
            .unwrap(),
        1
    );
    let pending = Scripted::<u32, u32>::new().answer_after(ms(1), 1);
    let start = Instant::now();
    ServiceBuilder::new()
        .layer(zero)
        .service(pending.strict())
        .oneshot(0)
        .await
        .unwrap_err();
    assert_eq!(start.elapsed(), secs(0));

    for max in [
        TimeoutLayer::new(std::time::Duration::MAX),
        TimeoutLayer::new(std::time::Duration::MAX).per_attempt(),
    ] {
        let slow = Scripted::<u32, u32>::new().answer_after(secs(1_000_000), 1);
        let max = max.step_limit(std::time::Duration::MAX);
        assert_eq!(
            ServiceBuilder::new()
                .layer(max)
                .service(slow.strict())
                .oneshot(0)
                .await
                .unwrap(),
            1
        );
    }
}

/// R16b: on a tie the result wins.
#[tokio::test(start_paused = true)]
async fn the_result_wins_a_tie() {
    let inner = Scripted::<u32, u32>::new().answer_after(secs(5), 1);
    let service = ServiceBuilder::new()
        .layer(TimeoutLayer::new(secs(5)))
        .service(inner.strict());
    assert_eq!(service.oneshot(0).await.unwrap(), 1);
}

/// R12: the job knows its deadline, the nearest of those set, and what remains of it.
#[tokio::test(start_paused = true)]
async fn the_job_knows_its_deadline() {
    let service = ServiceBuilder::new()
        .layer(TimeoutLayer::new(secs(60)))
        .layer(LogLayer::new())
        .layer(TimeoutLayer::new(secs(20)))
        .service(code(|job, _| async move {
            assert_eq!(job.remaining(), Some(secs(20)));
            tokio::time::sleep(secs(5)).await;
            assert_eq!(job.remaining(), Some(secs(15)));
            Ok(1)
        }));
    service.oneshot(0).await.unwrap();
    assert_eq!(Job::current().deadline(), None);
}

/// R14: an inner future that uses up the task's budget in every poll starves neither its limit nor
/// its grace period.
#[tokio::test(start_paused = true)]
async fn a_busy_inner_future_times_out() {
    async fn busy() -> Result<u32, BoxError> {
        loop {
            tokio::task::coop::consume_budget().await;
        }
    }
    async fn ends<S>(service: S)
    where
        S: tower::Service<u32, Response = u32, Error = BoxError, Future: Send> + Send + 'static,
    {
        let call = tokio::spawn(service.oneshot(0));
        for _ in 0..50 {
            tokio::time::advance(ms(1)).await;
        }
        assert!(call.is_finished(), "its limit is starved");
        let error = call.await.unwrap().unwrap_err();
        assert!(find::<Elapsed>(&*error).is_some());
    }
    let service = || tower::service_fn(|_: u32| busy());
    let limit = TimeoutLayer::new(ms(20));
    let stack = ServiceBuilder::new;
    ends(stack().layer(limit.clone()).service(service())).await;
    ends(stack().layer(limit.grace(ms(20))).service(service())).await;
    ends(
        stack()
            .layer(TimeoutLayer::new(ms(20)).idle())
            .service(service()),
    )
    .await;
    let step = |_: u32| async {
        let step = Job::current().step("busy", busy());
        step.limit(ms(20)).grace(ms(20)).await
    };
    let layer = LogLayer::to(|_: &tower_keep::Event| ());
    ends(stack().layer(layer).service(tower::service_fn(step))).await;
}

/// A limit of zero lets through only what is there at the first poll, on a real clock too.
#[tokio::test]
async fn a_limit_of_zero_expires_at_once() {
    let inner = Scripted::<u32, u32, BoxError>::new()
        .times(100, || {
            Step::run(async |_| {
                tokio::task::yield_now().await;
                Ok(1)
            })
        })
        .answer(2);
    let service = TimeoutLayer::new(Duration::ZERO).layer(inner);
    for _ in 0..100 {
        let error = service.clone().oneshot(0).await.unwrap_err();
        assert!(find::<Elapsed>(&*error).is_some());
        // So that calls begin anywhere in a tick of the timer.
        tokio::time::sleep(Duration::from_micros(300)).await;
    }
    assert_eq!(service.oneshot(0).await.unwrap(), 2);
}
