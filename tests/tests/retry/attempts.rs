//! How long attempts took, and how they ended.

use std::time::Duration;

use tower::{Layer, ServiceBuilder, ServiceExt, util::BoxCloneSyncService};
use tower_keep::{
    AttemptOutcome::{self, Cancelled, Failed, Succeeded},
    BoxError, CancelLayer, CircuitBreakerLayer, DedupLayer, Dispatcher, EventKind,
    FailureCause::{Error, Panicked, TimedOut},
    JobLayer, LogLayer, Outcome, Pipeline, ProgressLayer, RetryLayer, TimeoutLayer,
    retry::{Attempt, Decision},
};
use tower_keep_test::{Readiness, Recorder, Scripted, Step};
use tower_keep_tests::*;

type Told = (u32, Duration, AttemptOutcome);

/// The attempts that ended, in order: the number, how long each took and how it ended.
pub(crate) fn ended(recorder: &Recorder) -> Vec<Told> {
    let kinds = recorder.kinds().into_iter();
    kinds
        .filter_map(|kind| match kind {
            EventKind::AttemptEnded {
                attempt,
                took,
                outcome,
                ..
            } => Some((attempt, took, outcome)),
            _ => None,
        })
        .collect()
}

type Inner = Scripted<u32, u32, BoxError>;

fn fails_once() -> Inner {
    Inner::new()
        .error_after(secs(2), "busy".into())
        .answer_after(secs(3), 7)
}

/// R78 Each attempt ends with an event that has its duration, the last one too, wherever the Retry
/// layer stands.
#[tokio::test(start_paused = true)]
async fn each_attempt_has_a_duration() {
    type Around = fn(LogLayer, Inner) -> Stack;
    let stacks: [(&str, Around); 9] = [
        ("log, retry", |log, inner| {
            Stack::new(log.layer(RetryLayer::new().layer(inner)))
        }),
        ("retry, log", |log, inner| {
            Stack::new(RetryLayer::new().layer(log.layer(inner)))
        }),
        ("timeout, retry, log", |log, inner| {
            let retry = RetryLayer::new().layer(log.layer(inner));
            Stack::new(TimeoutLayer::new(secs(60)).layer(retry))
        }),
        ("retry, dedup, log", |log, inner| {
            let dedup = DedupLayer::new(|key: &u32| Some(*key));
            Stack::new(RetryLayer::new().layer(dedup.layer(log.layer(inner))))
        }),
        ("log, dedup, retry", |log, inner| {
            let dedup = DedupLayer::new(|key: &u32| Some(*key)).join();
            Stack::new(log.layer(dedup.layer(RetryLayer::new().layer(inner))))
        }),
        ("log, retry, timeout, breaker", |log, inner| {
            let inner = CircuitBreakerLayer::new().layer(inner);
            let inner = TimeoutLayer::new(secs(5)).per_attempt().layer(inner);
            Stack::new(log.layer(RetryLayer::new().layer(inner)))
        }),
        ("log, detached cancel, retry", |log, inner| {
            let cancel = CancelLayer::new().detached();
            Stack::new(log.layer(cancel.layer(RetryLayer::new().layer(inner))))
        }),
        ("name, progress, log, retry", |log, inner| {
            let stack = ServiceBuilder::new()
                .layer(JobLayer::new("named"))
                .layer(ProgressLayer::new())
                .layer(log)
                .layer(RetryLayer::new());
            Stack::new(stack.service(inner))
        }),
        ("pipeline", |log, inner| {
            Stack::new(Pipeline::new().log(log).build().unwrap().layer(inner))
        }),
    ];
    for (name, around) in stacks {
        let (log, recorder) = recording();
        let service = around(log, fails_once());
        assert_eq!(service.clone().oneshot(1).await.unwrap(), 7, "{name}");
        let expected = [(1, secs(2), Failed(Error)), (2, secs(3), Succeeded)];
        assert_eq!(ended(&recorder), expected, "{name}");
        assert_eq!(
            recorder.times()[2..],
            [
                ("attempt_ended", secs(2)),
                ("retry_scheduled", secs(2)),
                ("retrying", secs(3)),
                ("attempt_ended", secs(6)),
                ("succeeded", secs(6)),
            ],
            "{name}"
        );
        recorder.assert_one_terminal_each();
    }
}

/// R78 Each job has its own attempts, also under a dispatcher, and of calls of clones at the same
/// time.
#[tokio::test(start_paused = true)]
async fn each_job_has_its_attempts() {
    let (log, recorder) = recording();
    let stack = ServiceBuilder::new()
        .layer(log)
        .layer(RetryLayer::new())
        .service(code(|job, n| async move {
            tokio::time::sleep(secs(u64::from(n))).await;
            if job.attempt() == 1 {
                Err("no".into())
            } else {
                Ok(n)
            }
        }));
    let jobs = Dispatcher::new(BoxCloneSyncService::new(stack));
    let handles: Vec<_> = (1..=4).map(|n| jobs.dispatch(n)).collect();
    for (n, handle) in (1..).zip(handles) {
        let id = handle.id();
        assert_eq!(handle.await.unwrap(), n);
        let took = recorder
            .kinds_of(id)
            .into_iter()
            .filter_map(|kind| match kind {
                EventKind::AttemptEnded { took, .. } => Some(took),
                _ => None,
            });
        assert_eq!(took.collect::<Vec<_>>(), [secs(u64::from(n)); 2]);
    }
}

/// R78 A job without a Retry layer has one attempt, which needs no event: it is over with the job.
#[tokio::test(start_paused = true)]
async fn without_a_retry_layer_there_is_no_event() {
    let (log, recorder) = recording();
    let stack = ServiceBuilder::new()
        .layer(log)
        .layer(ProgressLayer::new())
        .layer(CancelLayer::new())
        .layer(CircuitBreakerLayer::new())
        .layer(TimeoutLayer::new(secs(5)));
    let service = stack.service(Inner::new().answer(1).never().strict());
    let mut service = service;
    begin(&mut service, 1).await.await.unwrap();
    begin(&mut service, 2).await.await.unwrap_err();
    assert_eq!(recorder.count("attempt_ended"), 0);

    // A child job without one, in an attempt of its parent.
    let (log, recorder) = recording();
    let child = log.layer(Inner::always(|_| Ok(1)));
    let parent = RetryLayer::new().layer(TimeoutLayer::new(secs(1)).layer(code(move |_, n| {
        let child = child.clone();
        async move { child.oneshot(n).await }
    })));
    parent.oneshot(1).await.unwrap();
    recorder.assert_names(["dispatched", "started", "succeeded"]);
}

/// R78 Where retries are switched off, or the service needs none, the first attempt has its event
/// all the same.
#[tokio::test(start_paused = true)]
async fn the_only_attempt() {
    for retries in [0, 3] {
        let (log, recorder) = recording();
        let service = ServiceBuilder::new()
            .layer(log)
            .layer(RetryLayer::new().max_retries(retries))
            .service(Inner::new().answer_after(secs(1), 1).strict());
        service.oneshot(1).await.unwrap();
        assert_eq!(ended(&recorder), [(1, secs(1), Succeeded)]);
    }
}

/// R78 The end of an attempt comes after the limit that cut it off, and before what follows from
/// it.
#[tokio::test(start_paused = true)]
async fn an_attempt_that_a_limit_cuts_off() {
    for answers in [false, true] {
        let (log, recorder) = recording();
        let limit = TimeoutLayer::new(secs(10)).per_attempt();
        let inner = || Inner::new().never().answer_after(secs(4), 1);
        let service = match answers {
            false => Stack::new(RetryLayer::new().layer(limit.layer(inner()))),
            // The limit's layer answers, and the policy retries that.
            true => {
                let answered = limit.respond_with(|_| 504);
                Stack::new(RetryLayer::new().layer(answered.layer(inner())))
            }
        };
        log.layer(service).oneshot(1).await.unwrap();
        assert_eq!(
            ended(&recorder),
            [(1, secs(10), Failed(TimedOut)), (2, secs(4), Succeeded)]
        );
        recorder.assert_names([
            "dispatched",
            "started",
            "timed_out",
            "attempt_ended",
            "retry_scheduled",
            "retrying",
            "attempt_ended",
            "succeeded",
        ]);
    }
}

/// R78 An overall limit ends the attempt that runs, and none in a wait; also where a layer outside
/// makes the best of it.
#[tokio::test(start_paused = true)]
async fn an_overall_limit() {
    for (limit, last) in [(5, Some((2, secs(2), Failed(TimedOut)))), (2, None)] {
        for recovers in [false, true] {
            let (log, recorder) = recording();
            let service = ServiceBuilder::new()
                .layer(log)
                .then(move |result: Result<u32, BoxError>| async move {
                    // A fallback that takes its time.
                    if recovers {
                        tokio::time::sleep(secs(60)).await;
                        return Ok(0);
                    }
                    result
                })
                .layer(TimeoutLayer::new(secs(limit)))
                .layer(RetryLayer::new().base_delay(secs(2)))
                .service(Inner::new().error_after(secs(1), "no".into()).never());
            assert_eq!(service.oneshot(1).await.is_ok(), recovers);
            let mut expected = vec![(1, secs(1), Failed(Error))];
            expected.extend(last);
            assert_eq!(ended(&recorder), expected, "{limit} {recovers}");
        }
    }
}

/// R78 In a grace period the work may come to its own end: the attempt took until then.
#[tokio::test(start_paused = true)]
async fn an_attempt_in_its_grace_period() {
    for per_attempt in [false, true] {
        let (log, recorder) = recording();
        let limit = TimeoutLayer::new(secs(4)).grace(secs(10));
        let inner = code(|job, n| async move {
            if job.attempt() == 2 {
                return Ok(n);
            }
            job.cancelled().await;
            tokio::time::sleep(secs(1)).await;
            Err("cleaned up".into())
        });
        let service = match per_attempt {
            true => Stack::new(RetryLayer::new().layer(limit.per_attempt().layer(inner))),
            false => Stack::new(limit.layer(RetryLayer::new().layer(inner))),
        };
        let result = log.layer(service).oneshot(1).await;
        assert_eq!(result.is_ok(), per_attempt);
        let ends = ended(&recorder);
        assert_eq!(ends[0], (1, secs(5), Failed(TimedOut)));
        assert_eq!(ends.len(), if per_attempt { 2 } else { 1 });
        assert_eq!(recorder.names()[2..4], ["timed_out", "attempt_ended"]);
    }
}

/// R78 A cancellation, a caller that leaves and a panic end the attempt that runs, once, before the
/// job.
#[tokio::test(start_paused = true)]
async fn an_attempt_that_is_dropped() {
    let stack = |inner: Inner| {
        let (log, recorder) = recording();
        let cancel = CancelLayer::new();
        let handle = cancel.handle();
        let service = ServiceBuilder::new()
            .layer(log)
            .layer(cancel)
            .layer(RetryLayer::new())
            .service(inner);
        (service, recorder, handle)
    };
    let first = (1, secs(2), Failed(Error));
    // Seconds after the beginning: in the first attempt, in the wait, in the second.
    for (at, expected) in [
        (1500, vec![(1, ms(1500), Cancelled)]),
        (2500, vec![first]),
        (4500, vec![first, (2, ms(1500), Cancelled)]),
    ] {
        for leaves in [false, true] {
            let (service, recorder, handle) = stack(fails_once());
            let call = tokio::spawn(service.oneshot(1));
            tokio::time::sleep(ms(at)).await;
            if leaves {
                call.abort();
            } else {
                assert!(handle.cancel(recorder.job()));
            }
            let _ended = call.await;
            assert_eq!(ended(&recorder), expected, "{at} {leaves}");
            assert_eq!(recorder.names().last(), Some(&"cancelled"));
            recorder.assert_one_terminal_each();
        }
    }
    let panics = Inner::new()
        .error_after(secs(2), "busy".into())
        .step(Step::panic("ouch").after(secs(1)));
    let (service, recorder, _) = stack(panics);
    tokio::spawn(service.oneshot(1)).await.unwrap_err();
    assert_eq!(ended(&recorder), [first, (2, secs(1), Failed(Panicked))]);
    assert_eq!(
        recorder.names()[recorder.names().len() - 2..],
        ["attempt_ended", "failed"]
    );
}

/// R78 A call that was never polled had no attempt, nor had a call that a gate rejected.
#[tokio::test(start_paused = true)]
async fn what_did_not_reach_the_service() {
    let (log, recorder) = recording();
    let mut service = log.layer(RetryLayer::new().layer(fails_once()));
    drop(begin(&mut service, 1).await);
    recorder.assert_names(["dispatched", "cancelled"]);

    // A circuit inside opens after the first attempt: the second is turned away.
    let (log, recorder) = recording();
    let service = ServiceBuilder::new()
        .layer(log)
        .layer(RetryLayer::new())
        .layer(CircuitBreakerLayer::new().failure_threshold(0))
        .service(fails_once());
    service.oneshot(1).await.unwrap_err();
    assert_eq!(ended(&recorder), [(1, secs(2), Failed(Error))]);
    recorder.assert_names([
        "dispatched",
        "started",
        "circuit_opened",
        "attempt_ended",
        "retry_scheduled",
        "retrying",
        "failed",
    ]);
}

/// R78 The wait for a gate or for the service's readiness is no part of an attempt, and without
/// readiness there is none.
#[tokio::test(start_paused = true)]
async fn waits_before_an_attempt_do_not_count() {
    let (log, recorder) = recording();
    let service = ServiceBuilder::new()
        .layer(log)
        .layer(DedupLayer::new(|_: &u32| Some(1)).debounce(secs(3)))
        .layer(RetryLayer::new())
        .service(fails_once());
    service.oneshot(1).await.unwrap();
    assert_eq!(
        ended(&recorder),
        [(1, secs(2), Failed(Error)), (2, secs(3), Succeeded)]
    );

    let (log, recorder) = recording();
    let inner = fails_once()
        .readiness(Readiness::ok())
        .readiness(Readiness::ok().after(secs(20)))
        .readiness(Readiness::ok());
    let service = log.layer(RetryLayer::new().layer(inner));
    service.oneshot(1).await.unwrap();
    assert_eq!(
        ended(&recorder),
        [(1, secs(2), Failed(Error)), (2, secs(3), Succeeded)]
    );
    assert_eq!(recorder.times().last(), Some(&("succeeded", secs(26))));
}

/// R78 The policy says whether an attempt succeeded; what a layer outside makes of the result is
/// the job's end.
#[tokio::test(start_paused = true)]
async fn the_policy_judges_an_attempt() {
    for (decision, outcome, last) in [
        (Decision::Stop, Succeeded, "failed"),
        (Decision::Never, Succeeded, "failed"),
        (Decision::Retry, Failed(Error), "failed"),
    ] {
        let recorder = Recorder::new();
        let log =
            LogLayer::to(recorder.clone()).classify(|_: &Result<u32, BoxError>| Outcome::Failure);
        let policy = move |_: &Result<u32, BoxError>, _: &Attempt<'_>| decision;
        let service = ServiceBuilder::new()
            .layer(log)
            .layer(RetryLayer::new().max_retries(0).policy(policy))
            .service(Inner::new().answer_after(secs(1), 500));
        assert_eq!(service.oneshot(1).await.unwrap(), 500);
        assert_eq!(ended(&recorder), [(1, secs(1), outcome)], "{decision:?}");
        assert_eq!(recorder.names().last(), Some(&last));
    }
}
