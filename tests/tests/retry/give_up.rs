//! What a retry does when it gives up: the hook, the job's end, the retries around it, the budget.

use std::{
    borrow::Cow,
    num::NonZeroUsize,
    sync::{Arc, Mutex},
    time::Duration,
};

use tower::{Layer, Service, ServiceBuilder, ServiceExt};
use tower_keep::{
    BoxError, CancelLayer, CircuitBreakerLayer, Classify, EventKind, FailureCause, GiveUpReason,
    LogLayer, Outcome, ProgressLayer, Ratio, Rejection, RetryLayer, TimeoutLayer, find,
    retry::{Attempt, Decision, GaveUp, RetryBudget, RetryBudgets},
};
use tower_keep_test::{Scripted, Step};
use tower_keep_tests::*;

type Outcomes = Result<u32, &'static str>;

fn failing() -> Scripted<u32, u32> {
    Scripted::new().error("no").repeat_last()
}

/// Notes why, and keeps the outcome.
fn noting(
    reasons: &Arc<Mutex<Vec<(GiveUpReason, u32)>>>,
) -> impl Fn(Outcomes, GaveUp) -> Outcomes + Clone + use<> {
    let reasons = Arc::clone(reasons);
    move |outcome, why| {
        reasons.lock().unwrap().push((why.reason(), why.attempts()));
        outcome
    }
}

fn bad(result: &Outcomes) -> Outcome {
    match result {
        Ok(200) => Outcome::Success,
        _ => Outcome::Failure,
    }
}

/// R70 The hook sees each reason, once, and after how many attempts.
#[tokio::test(start_paused = true)]
async fn the_hook_sees_why() {
    let budget = RetryBudget::default().floor(0);
    let layers = [
        (RetryLayer::new(), GiveUpReason::Exhausted, 4),
        (RetryLayer::new().max_retries(0), GiveUpReason::Exhausted, 1),
        (RetryLayer::new().budget(budget), GiveUpReason::Budget, 1),
        (
            RetryLayer::new().max_total_time(secs(2)),
            GiveUpReason::TotalTime,
            2,
        ),
    ];
    for (retry, reason, attempts) in layers {
        let seen = Arc::default();
        let service = retry.on_give_up(noting(&seen)).layer(failing().strict());
        assert_eq!(service.oneshot(0).await, Err("no"));
        assert_eq!(*seen.lock().unwrap(), [(reason, attempts)]);
    }

    let decisions = [
        (
            Decision::RetryAfter(Duration::MAX),
            GiveUpReason::AskedTooLong,
        ),
        (Decision::RetryIn(secs(10)), GiveUpReason::Deadline),
        (Decision::Stop, GiveUpReason::NotRetryable),
        (Decision::Never, GiveUpReason::Forbidden),
    ];
    for (decision, reason) in decisions {
        let seen = Arc::default();
        let service = ServiceBuilder::new()
            .layer(TimeoutLayer::new(secs(10)).fail_with(|_| "slow"))
            .layer(
                RetryLayer::new()
                    .on_give_up(noting(&seen))
                    .decide_with(move |_: &Outcomes, _| decision),
            )
            .service(failing().strict());
        assert_eq!(service.oneshot(0).await, Err("no"));
        assert_eq!(*seen.lock().unwrap(), [(reason, 1)]);
    }

    let seen = Arc::default();
    let retry = RetryLayer::new()
        .on_give_up(noting(&seen))
        .clone_with(|_: &u32| None);
    retry
        .layer(failing().strict())
        .oneshot(0)
        .await
        .unwrap_err();
    assert_eq!(*seen.lock().unwrap(), [(GiveUpReason::NotRepeatable, 1)]);
}

/// R70 The hook does not run after a success, after a response with which the policy was content,
/// nor where the policy is not asked.
#[tokio::test(start_paused = true)]
async fn the_hook_does_not_run_otherwise() {
    let seen = Arc::default();
    let content = RetryLayer::new().on_give_up(noting(&seen)).classify(bad);
    let service = content.layer(Scripted::<u32, u32>::new().answer(200).strict());
    assert_eq!(service.oneshot(0).await, Ok(200));
    let stops = RetryLayer::new().on_give_up(noting(&seen));
    let service = stops
        .clone()
        .decide_with(|_: &Outcomes, _| Decision::Stop)
        .layer(Scripted::<u32, u32>::new().answer(503).strict());
    assert_eq!(service.oneshot(0).await, Ok(503));

    let open = CircuitBreakerLayer::new().fail_with(|_| "open");
    open.handle().force_open();
    let service = stops.layer(open.layer(Scripted::<u32, u32>::new().strict()));
    assert_eq!(service.oneshot(0).await, Err("open"));
    assert_eq!(*seen.lock().unwrap(), []);
}

/// R70 What the hook returns is what the caller gets, and how the job ends: a fallback succeeds,
/// and an error that tells of the attempts keeps the last one as its source.
#[tokio::test(start_paused = true)]
async fn the_hook_replaces_the_outcome() {
    let (log, recorder) = recording();
    let service = ServiceBuilder::new()
        .layer(log)
        .layer(
            RetryLayer::new()
                .max_retries(1)
                .on_give_up(|_: Outcomes, _| Ok(7)),
        )
        .service(failing().strict());
    assert_eq!(service.oneshot(0).await, Ok(7));
    assert_eq!(
        recorder.terminal(recorder.job()),
        Some(EventKind::Succeeded)
    );

    let (log, recorder) = recording();
    let inner = Scripted::<u32, u32, BoxError>::new().times(3, || Step::error("refused".into()));
    let service = ServiceBuilder::new()
        .layer(log)
        .layer(RetryLayer::new().max_retries(2).on_give_up(
            |outcome: Result<u32, BoxError>, why| {
                outcome.map_err(|error| why.caused_by(error).into())
            },
        ))
        .service(inner.strict());
    let error = service.oneshot(0).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "gave up after 3 attempts: no retries left"
    );
    assert_eq!(error.source().unwrap().to_string(), "refused");
    assert_eq!(find::<GaveUp>(&*error).unwrap().attempts(), 3);
    assert_eq!(
        Rejection::of(&*error),
        Some(Rejection::GaveUp {
            attempts: 3,
            reason: GiveUpReason::Exhausted
        })
    );
    assert_eq!(recorder.count("failed"), 1);
}

/// R70 A fallback that the hook makes of a time-out is a success everywhere, not the time-out's.
#[tokio::test(start_paused = true)]
async fn a_fallback_is_not_the_limits_failure() {
    let (log, recorder) = recording();
    let circuit = CircuitBreakerLayer::new().fail_with(|_| "open");
    let handle = circuit.handle();
    let service = ServiceBuilder::new()
        .layer(log)
        .layer(circuit)
        .layer(
            RetryLayer::new()
                .max_retries(0)
                .on_give_up(|_: Outcomes, _| Ok(7)),
        )
        .layer(
            TimeoutLayer::new(secs(1))
                .per_attempt()
                .fail_with(|_| "slow"),
        )
        .service(Scripted::<u32, u32>::new().never().strict());
    assert_eq!(service.oneshot(0).await, Ok(7));
    assert_eq!(
        recorder.terminal(recorder.job()),
        Some(EventKind::Succeeded)
    );
    assert_eq!(handle.snapshot().failures_in_a_row, 0);
}

/// R70 The job ends as failed, everywhere, if the last response counts as a failure: in the log, on
/// the board and for a circuit around, none of which has a classifier of its own.
#[tokio::test(start_paused = true)]
async fn a_response_that_was_given_up_fails_the_job() {
    let (log, recorder) = recording();
    let progress = ProgressLayer::new();
    let board = progress.handle();
    let circuit = CircuitBreakerLayer::new().fail_with(|_| "open");
    let handle = circuit.handle();
    let service = ServiceBuilder::new()
        .layer(log)
        .layer(progress)
        .layer(CancelLayer::new().fail_with(|_| "cancelled"))
        .layer(circuit)
        .layer(TimeoutLayer::new(secs(60)).fail_with(|_| "slow"))
        .layer(RetryLayer::new().max_retries(1).classify(bad))
        .service(
            Scripted::<u32, u32>::new()
                .answer(503)
                .repeat_last()
                .strict(),
        );
    assert_eq!(service.oneshot(0).await, Ok(503));
    let job = recorder.job();
    assert!(matches!(
        recorder.terminal(job),
        Some(EventKind::Failed {
            cause: FailureCause::Error,
            ..
        })
    ));
    assert_eq!(
        board.find(job).unwrap().state.to_string(),
        "failed: an error"
    );
    assert_eq!(handle.snapshot().failures_in_a_row, 1);
}

/// R70 A classifier around that calls that response a success is believed.
#[tokio::test(start_paused = true)]
async fn an_outer_classifier_has_the_last_word() {
    let recorder = tower_keep_test::Recorder::new();
    let log = LogLayer::to(recorder.clone()).classify(|_: &Outcomes| Outcome::Success);
    let service = ServiceBuilder::new()
        .layer(log)
        .layer(RetryLayer::new().max_retries(1).classify(bad))
        .service(
            Scripted::<u32, u32>::new()
                .answer(503)
                .repeat_last()
                .strict(),
        );
    assert_eq!(service.oneshot(0).await, Ok(503));
    assert_eq!(
        recorder.terminal(recorder.job()),
        Some(EventKind::Succeeded)
    );
}

/// R70 An inner retry can stop the outer retries: of its own stack, tracked or not, and of the jobs
/// whose code made the call.
#[tokio::test(start_paused = true)]
async fn nested_retries_do_not_multiply() {
    for (stops, expected) in [(true, 4), (false, 16)] {
        let set = |retry: RetryLayer| {
            if stops {
                retry.stop_outer_retries()
            } else {
                retry
            }
        };
        for tracked in [true, false] {
            let inner = failing();
            let calls = inner.calls();
            let stack = ServiceBuilder::new()
                .layer(RetryLayer::new())
                .layer(set(RetryLayer::new()))
                .service(inner.strict());
            let result = if tracked {
                recording().0.layer(stack).oneshot(0).await
            } else {
                stack.oneshot(0).await
            };
            assert_eq!(result, Err("no"));
            assert_eq!(calls.count(), expected, "tracked: {tracked}");
        }

        // A job's code calls another stack, and that one a third.
        let inner = failing();
        let calls = inner.calls();
        let client = LogLayer::new().layer(set(RetryLayer::new()).layer(inner));
        let (log, recorder) = recording();
        let service = ServiceBuilder::new()
            .layer(log)
            .layer(RetryLayer::new())
            .service(code(move |_, n| {
                let client = client.clone();
                async move { Ok(client.oneshot(n).await?) }
            }));
        service.oneshot(0).await.unwrap_err();
        assert_eq!(calls.count(), expected, "across jobs");
        let reason = if stops {
            (1, GiveUpReason::Forbidden)
        } else {
            (4, GiveUpReason::Exhausted)
        };
        assert_eq!(given_up(&recorder), [reason]);
    }
}

/// R70 A success after retries stops nothing; nor does an error that the inner retry does not
/// retry.
#[tokio::test(start_paused = true)]
async fn only_a_retry_that_gave_up_stops_the_outer_ones() {
    let inner = Scripted::<u32, u32>::new()
        .error("final")
        .error("final")
        .answer(1);
    let calls = inner.calls();
    let service = ServiceBuilder::new()
        .layer(LogLayer::new())
        .layer(RetryLayer::new())
        .layer(
            RetryLayer::new()
                .stop_outer_retries()
                .should_retry(|error| *error != "final"),
        )
        .service(inner.strict());
    assert_eq!(service.oneshot(0).await, Ok(1));
    assert_eq!(calls.count(), 3);
}

/// R70 The retries of the job whose code calls stop too where the client's stack tracks no job.
#[tokio::test(start_paused = true)]
async fn a_client_without_a_job_stops_its_callers_retries() {
    let inner = failing();
    let calls = inner.calls();
    let client = RetryLayer::new().stop_outer_retries().layer(inner);
    let (log, recorder) = recording();
    let service = ServiceBuilder::new()
        .layer(log)
        .layer(RetryLayer::new())
        .service(code(move |_, n| {
            let client = client.clone();
            async move { Ok(client.oneshot(n).await?) }
        }));
    service.oneshot(0).await.unwrap_err();
    assert_eq!(calls.count(), 4);
    assert_eq!(recorder.count("retry_scheduled"), 0);
}

/// R70 A fallback in the hook of a retry that forbids others is not retried either.
#[tokio::test(start_paused = true)]
async fn a_fallback_lifts_no_ban() {
    for never in [true, false] {
        let inner = failing();
        let calls = inner.calls();
        let forbids = RetryLayer::new().max_retries(0).stop_outer_retries();
        let forbids = forbids.decide_with(move |_: &Outcomes, _| {
            if never {
                Decision::Never
            } else {
                Decision::Retry
            }
        });
        let service = ServiceBuilder::new()
            .layer(RetryLayer::new().classify(bad))
            .layer(forbids.on_give_up(|_: Outcomes, _| Ok(503)))
            .service(inner.strict());
        assert_eq!(service.oneshot(0).await, Ok(503));
        assert_eq!(calls.count(), 1, "never: {never}");
    }
}

/// R70, R75 An error that takes the place of a response is logged as itself, not as that response.
#[tokio::test(start_paused = true)]
async fn an_error_in_place_of_a_response_is_logged() {
    #[derive(Clone, Copy)]
    struct Described;
    impl Classify<u32, &'static str> for Described {
        fn classify(&self, result: &Outcomes) -> Outcome {
            bad(result)
        }
        fn describe(&self, result: &Outcomes) -> Option<Cow<'static, str>> {
            Some(format!("answered {result:?}").into())
        }
    }

    for by_hook in [true, false] {
        let (log, recorder) = recording();
        let retry = RetryLayer::new().max_retries(0).classify(Described);
        let service = ServiceBuilder::new()
            .layer(log)
            .map_result(move |outcome: Outcomes| outcome.and(Err::<u32, _>("gone")))
            .layer(retry.on_give_up(
                move |outcome: Outcomes, _| {
                    if by_hook { Err("gone") } else { outcome }
                },
            ))
            .service(Scripted::<u32, u32>::new().answer(503));
        assert_eq!(service.oneshot(0).await, Err("gone"));
        let failed = EventKind::Failed {
            cause: FailureCause::Error,
            error: "gone".into(),
        };
        assert_eq!(recorder.terminal(recorder.job()), Some(failed));
    }
}

/// R70 One dead host uses up its own retries, and none of the others'.
#[tokio::test(start_paused = true)]
async fn a_budget_for_each_key() {
    let budgets = RetryBudgets::new(RetryBudget::new(Ratio::percent(10).unwrap()).floor(2));
    let by_host = budgets.clone();
    // Hosts are the tens of a request; host 0 is dead, the others fail at first.
    let inner = Scripted::<u32, u32>::always(
        |request: u32| {
            if request < 10 { Err("dead") } else { Err("no") }
        },
    );
    let calls = inner.calls();
    let mut service = RetryLayer::new()
        .max_retries(1)
        .base_delay(ms(1))
        .budget_by(move |request: &u32| Some(by_host.get(&(request / 10).to_string())))
        .layer(inner);
    for _ in 0..9 {
        service.ready().await.unwrap().call(0).await.unwrap_err();
    }
    assert_eq!(calls.count(), 9 + 2, "two retries, and no more");
    for request in [10, 10, 20] {
        service
            .ready()
            .await
            .unwrap()
            .call(request)
            .await
            .unwrap_err();
    }
    assert_eq!(calls.count(), 11 + 6, "each of the others is retried");
    assert_eq!(budgets.get("0").balance().available(), 0);
    assert_eq!(budgets.get("1").balance().retries(), 2);
    assert_eq!(budgets.get("2").balance().first_attempts(), 1);
}

/// R70 The table of budgets is bounded: the least recently used goes first.
#[tokio::test(start_paused = true)]
async fn budgets_are_bounded() {
    let two = NonZeroUsize::new(2).unwrap();
    let budgets = RetryBudgets::<u32>::new(RetryBudget::default()).max_keys(two);
    let by_key = budgets.clone();
    let mut service = RetryLayer::new()
        .budget_by(move |key: &u32| Some(by_key.get(key)))
        .layer(Scripted::<u32, u32>::always(|key: u32| Ok(key)));
    for key in [1, 2, 1, 3] {
        service.ready().await.unwrap().call(key).await.unwrap();
    }
    // Key 2 was forgotten for key 3, and begins again.
    let firsts = [1, 3, 2].map(|key| budgets.get(&key).balance().first_attempts());
    assert_eq!(firsts, [2, 1, 0]);
}

/// A request without a key draws from the layer's own budget.
#[tokio::test(start_paused = true)]
async fn no_key_is_the_layers_own_budget() {
    let own = RetryBudget::default().floor(1);
    let inner = failing();
    let calls = inner.calls();
    let mut service = RetryLayer::new()
        .max_retries(1)
        .budget(own.clone())
        .budget_by(|_: &u32| None)
        .layer(inner);
    for _ in 0..3 {
        service.ready().await.unwrap().call(0).await.unwrap_err();
    }
    assert_eq!(calls.count(), 4);
    assert_eq!(own.balance().first_attempts(), 3);
}

/// The hook's attempt count and the policy's are the same.
#[tokio::test(start_paused = true)]
async fn attempts_are_counted_alike() {
    let numbers = Arc::new(Mutex::new(Vec::new()));
    let noted = numbers.clone();
    let service = RetryLayer::new()
        .on_give_up(|_: Outcomes, why: GaveUp| Ok(why.attempts()))
        .decide_with(move |_: &Outcomes, attempt: &Attempt<'_>| {
            noted.lock().unwrap().push(attempt.number());
            Decision::Retry
        })
        .layer(failing().strict());
    assert_eq!(service.oneshot(0).await, Ok(4));
    assert_eq!(*numbers.lock().unwrap(), [1, 2, 3, 4]);
}
