//! Who decides whether and when to try again, and who learns how often it was.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tower::{Layer, Service, ServiceBuilder, ServiceExt};
use tower_keep::{
    BoxError, CancelLayer, DedupLayer, EventKind, FailureCause, GiveUpReason, Job, LogLayer,
    Outcome, RetryLayer, TimeoutLayer, find,
    retry::{Attempt, Decision, Policy},
    timeout::Elapsed,
};
use tower_keep_test::{Recorder, Scripted, Step};
use tower_keep_tests::*;

/// A policy's `Never` ends the attempts here and in every retry around, with the result as it is.
#[tokio::test(start_paused = true)]
async fn never_reaches_the_retries_around() {
    for (decision, attempts, reasons) in [
        (Decision::Never, 1, vec![(1, GiveUpReason::Forbidden)]),
        // A mere stop is no matter to the outer one.
        (Decision::Stop, 4, vec![(4, GiveUpReason::Exhausted)]),
    ] {
        let (log, recorder) = recording();
        let inner = Scripted::<u32, u32>::new().error("no").repeat_last();
        let calls = inner.calls();
        let service = ServiceBuilder::new()
            .layer(log)
            .layer(RetryLayer::new())
            .layer(
                TimeoutLayer::new(secs(60))
                    .per_attempt()
                    .fail_with(|_| "slow"),
            )
            .layer(RetryLayer::new().decide_with(move |_: &Result<u32, &str>, _| decision))
            .service(inner.strict());
        assert_eq!(service.oneshot(0).await, Err("no"));
        assert_eq!(calls.count(), attempts);
        assert_eq!(given_up(&recorder), reasons);
        assert!(matches!(
            recorder.terminal(recorder.job()),
            Some(EventKind::Failed {
                cause: FailureCause::Error,
                ..
            })
        ));
    }
}

/// `Never` holds in spite of what a layer inside said of the result: the job's failure keeps its
/// cause.
#[tokio::test(start_paused = true)]
async fn never_keeps_the_cause() {
    let never = || RetryLayer::new().decide_with(|_: &Result<u32, BoxError>, _| Decision::Never);
    let (log, recorder) = recording();
    let inner = Scripted::<u32, u32>::new().never();
    let calls = inner.calls();
    let service = ServiceBuilder::new()
        .layer(log)
        .layer(RetryLayer::new())
        .layer(never())
        .layer(TimeoutLayer::new(secs(1)).per_attempt())
        .service(inner.strict());
    let error = service.oneshot(0).await.unwrap_err();
    assert!(find::<Elapsed>(&*error).is_some());
    assert_eq!(calls.count(), 1);
    assert!(matches!(
        recorder.terminal(recorder.job()),
        Some(EventKind::Failed {
            cause: FailureCause::TimedOut,
            ..
        })
    ));

    // Also through a task of its own, and an execution that several share.
    for spawned in [true, false] {
        let inner = Scripted::<u32, u32, BoxError>::new().step(Step::error("no".into()));
        let calls = inner.calls();
        let retry = ServiceBuilder::new()
            .layer(LogLayer::to(|_: &tower_keep::Event| ()))
            .layer(RetryLayer::new());
        if spawned {
            let service = retry.layer(CancelLayer::new().detached()).layer(never());
            service.service(inner).oneshot(0).await.unwrap_err();
        } else {
            let service = retry
                .layer(DedupLayer::new(|key: &u32| Some(*key)).join())
                .layer(never());
            service.service(inner).oneshot(0).await.unwrap_err();
        }
        assert_eq!(calls.count(), 1, "spawned: {spawned}");
    }
}

/// `Never` on a response makes no failure of it, and leaves the word to a classifier around.
#[tokio::test(start_paused = true)]
async fn never_on_a_response() {
    for classified in [false, true] {
        let recorder = Recorder::new();
        let log = LogLayer::to(recorder.clone()).classify(move |result: &Result<u32, &str>| {
            if classified && *result != Ok(200) {
                Outcome::Failure
            } else {
                Outcome::Success
            }
        });
        let inner = Scripted::<u32, u32>::new().answer(400);
        let retry_all = |_: &Result<u32, &str>, _: &Attempt<'_>| Decision::Retry;
        let never = |_: &Result<u32, &str>, _: &Attempt<'_>| Decision::Never;
        let service = ServiceBuilder::new()
            .layer(RetryLayer::new().policy(retry_all))
            .layer(log)
            .layer(RetryLayer::new().policy(never))
            .service(inner.strict());
        assert_eq!(service.oneshot(0).await, Ok(400));
        let last = if classified { "failed" } else { "succeeded" };
        recorder.assert_names([
            "dispatched",
            "started",
            "attempt_ended",
            "retry_given_up",
            last,
        ]);
    }
}

/// A policy sees the outcome, the attempt, its job and the time left; what it asks for is clamped.
#[tokio::test(start_paused = true)]
async fn a_policy_sees_it_all() {
    let (log, recorder) = recording();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let told = seen.clone();
    let retry = RetryLayer::new().max_retries(2).decide_with(
        move |result: &Result<u32, BoxError>, attempt| {
            told.lock().unwrap().push((
                attempt.number(),
                attempt.retries_left(),
                attempt.job().id(),
                attempt.job().attempt(),
                attempt.remaining(),
            ));
            match result {
                Ok(_) => Decision::Stop,
                Err(_) if attempt.number() == 1 => Decision::RetryAfter(ms(250)),
                Err(_) => Decision::RetryIn(secs(30)),
            }
        },
    );
    let service = ServiceBuilder::new()
        .layer(log)
        .layer(TimeoutLayer::new(secs(100)))
        .layer(retry)
        .service(code(|job: Job, _| async move {
            match job.attempt() {
                3 => Ok(3),
                _ => Err("no".into()),
            }
        }));
    assert_eq!(service.oneshot(0).await.unwrap(), 3);
    let job = Some(recorder.job());
    assert_eq!(
        *seen.lock().unwrap(),
        [
            (1, 2, job, 1, Some(secs(100))),
            (2, 1, job, 2, Some(ms(99_750))),
            (3, 0, job, 3, Some(ms(69_750))),
        ]
    );
}

/// The caller can tell how many attempts were made, while the call runs and from its result.
#[tokio::test(start_paused = true)]
async fn attempts_are_visible_to_the_caller() {
    let inner = Scripted::<u32, u32>::new()
        .error("a")
        .error("b")
        .answer(1)
        .answer(2);
    let mut service = RetryLayer::new().layer(inner);
    let mut call = std::pin::pin!(service.ready().await.unwrap().call(0));
    assert_eq!(call.attempts(), 1);
    // During the second wait, two were made.
    let pending = tokio::time::timeout(ms(2500), call.as_mut()).await;
    assert!(pending.is_err());
    assert_eq!(call.attempts(), 2);
    assert_eq!(call.as_mut().await, Ok(1));
    assert_eq!(call.attempts(), 3);

    let mut call = std::pin::pin!(service.ready().await.unwrap().call(0));
    assert_eq!((call.as_mut().await, call.attempts()), (Ok(2), 1));
}

/// What a policy was asked about: what it kept, the result, the attempt, whether a limit cut it
/// off.
type Asked = Arc<Mutex<Vec<(bool, Result<u32, &'static str>, u32, bool)>>>;

/// Keeps of a request whether it is even, notes each question and always gives the same answer.
fn asked(
    asked: &Asked,
    decision: Decision,
) -> RetryLayer<impl Policy<u32, u32, &'static str, Seen = bool> + Clone + use<>> {
    let asked = asked.clone();
    RetryLayer::new().decide_with_request(
        |request: &u32| request % 2 == 0,
        move |even: &bool, result: &Result<u32, &'static str>, attempt: &Attempt<'_>| {
            let question = (*even, *result, attempt.number(), attempt.timed_out());
            asked.lock().unwrap().push(question);
            decision
        },
    )
}

/// R67 The policy sees what it kept of the request, at each attempt; the request need not be
/// `Clone` for that.
#[tokio::test(start_paused = true)]
async fn a_policy_sees_the_request() {
    struct Order {
        repeatable: bool,
    }
    for (repeatable, attempts) in [(true, 4), (false, 1)] {
        let calls = Arc::new(Mutex::new(0));
        let counted = calls.clone();
        let service = RetryLayer::new()
            .clone_with(|order: &Order| {
                Some(Order {
                    repeatable: order.repeatable,
                })
            })
            .decide_with_request(
                |order: &Order| order.repeatable,
                |repeatable: &bool, result: &Result<(), BoxError>, _| {
                    if *repeatable && result.is_err() {
                        Decision::Retry
                    } else {
                        Decision::Stop
                    }
                },
            )
            .layer(tower::service_fn(move |_: Order| {
                *counted.lock().unwrap() += 1;
                async { Err::<(), BoxError>("no".into()) }
            }));
        service.oneshot(Order { repeatable }).await.unwrap_err();
        assert_eq!(*calls.lock().unwrap(), attempts);
    }
}

/// R67 The policy looks at the request once, before the first attempt, and is asked after each: the
/// last one too, also where there are to be no retries.
#[tokio::test(start_paused = true)]
async fn a_policy_is_asked_after_every_attempt() {
    let questions = Asked::default();
    let inner = Scripted::<u32, u32>::new().error("no").answer(1);
    let retry = asked(&questions, Decision::Retry).max_retries(1);
    assert_eq!(retry.layer(inner.strict()).oneshot(2).await, Ok(1));
    assert_eq!(
        *questions.lock().unwrap(),
        [(true, Err("no"), 1, false), (true, Ok(1), 2, false)]
    );

    for result in [Ok(1), Err("no")] {
        let questions = Asked::default();
        let inner = Scripted::<u32, u32>::always(move |_: u32| result);
        let retry = asked(&questions, Decision::Retry).max_retries(0);
        assert_eq!(retry.layer(inner.strict()).oneshot(3).await, result);
        assert_eq!(*questions.lock().unwrap(), [(false, result, 1, false)]);
    }
}

/// R67 The policy is asked about an attempt that a limit cut off, and knows that: also where the
/// limit's layer answered with a response, as under axum.
#[tokio::test(start_paused = true)]
async fn a_policy_is_asked_about_a_cut_off_attempt() {
    for answered in [true, false] {
        let questions = Asked::default();
        let limit = TimeoutLayer::new(secs(1)).per_attempt();
        let hangs = || Scripted::<u32, u32>::new().never();
        let retry = asked(&questions, Decision::Stop);
        let (result, expected) = if answered {
            let limit = limit.respond_with(|_| 504);
            let service = retry.layer(limit.layer(hangs().strict()));
            (service.oneshot(1).await, Ok(504))
        } else {
            let limit = limit.fail_with(|_| "slow");
            let service = retry.layer(limit.layer(hangs().strict()));
            (service.oneshot(1).await, Err("slow"))
        };
        assert_eq!(result, expected);
        assert_eq!(*questions.lock().unwrap(), [(false, expected, 1, true)]);
    }
}

/// R67 `Stop`, `Never`, `should_retry`, `classify` and a delay have their effect on an answered
/// limit. A retry without a policy repeats the attempt, as after any other limit.
#[tokio::test(start_paused = true)]
async fn every_policy_rules_over_an_answered_limit() {
    macro_rules! attempts {
        ($retry:expr) => {{
            let inner = Scripted::<u32, u32>::new().never().repeat_last();
            let calls = inner.calls();
            let limit = TimeoutLayer::new(secs(1))
                .per_attempt()
                .respond_with(|_| 504);
            let service = $retry.layer(limit.layer(inner.strict()));
            assert_eq!(service.oneshot(0).await, Ok(504));
            calls.count()
        }};
    }
    let decide = |decision| RetryLayer::new().decide_with(move |_: &Result<u32, &str>, _| decision);
    assert_eq!(attempts!(decide(Decision::Stop)), 1);
    assert_eq!(attempts!(decide(Decision::Never)), 1);
    assert_eq!(attempts!(decide(Decision::RetryAfter(Duration::MAX))), 1);
    assert_eq!(attempts!(decide(Decision::RetryIn(ms(1)))), 4);
    assert_eq!(
        attempts!(RetryLayer::new().should_retry(|_: &&str| false)),
        1
    );
    let classified = |outcome| RetryLayer::new().classify(move |_: &Result<u32, &str>| outcome);
    assert_eq!(attempts!(classified(Outcome::Success)), 1);
    assert_eq!(attempts!(classified(Outcome::Ignored)), 1);
    assert_eq!(attempts!(classified(Outcome::Failure)), 4);
    assert_eq!(attempts!(RetryLayer::new()), 4);
    assert_eq!(
        attempts!(RetryLayer::new().classify::<_, u32, &str>(tower_keep::ErrorsAsFailures)),
        4
    );
}

/// R67 The policy is not asked about a gate's rejection, an overall limit inside the retry, nor a
/// cancelled job: those are final.
#[tokio::test(start_paused = true)]
async fn a_policy_is_not_asked_about_what_is_final() {
    use tower_keep::CircuitBreakerLayer;

    let questions = Asked::default();
    let open = CircuitBreakerLayer::new().fail_with(|_| "open");
    open.handle().force_open();
    let idle = || Scripted::<u32, u32>::new().strict();

    let service = asked(&questions, Decision::Retry).layer(open.layer(idle()));
    assert_eq!(service.oneshot(0).await, Err("open"));
    let open = CircuitBreakerLayer::new().respond_with(|_| 503);
    open.handle().force_open();
    let service = asked(&questions, Decision::Retry).layer(open.layer(idle()));
    assert_eq!(service.oneshot(0).await, Ok(503));

    let cancel = CancelLayer::new().fail_with(|_| "gone");
    cancel.handle().shutdown(Duration::ZERO).await;
    let service = asked(&questions, Decision::Retry).layer(cancel.layer(idle()));
    assert_eq!(service.oneshot(0).await, Err("gone"));

    let overall = TimeoutLayer::new(secs(1)).respond_with(|_| 504);
    let hangs = Scripted::<u32, u32>::new().never();
    let service = asked(&questions, Decision::Retry).layer(overall.layer(hangs.strict()));
    assert_eq!(service.oneshot(0).await, Ok(504));

    // The job is cancelled while its attempt runs, and the attempt fails.
    let cancel = CancelLayer::new()
        .grace(secs(10))
        .fail_with(|_| "cancelled");
    let handle = cancel.handle();
    let inner = Scripted::<u32, u32>::new()
        .error_after(secs(1), "no")
        .repeat_last();
    let calls = inner.calls();
    let service = ServiceBuilder::new()
        .layer(cancel)
        .layer(asked(&questions, Decision::Retry))
        .service(inner.strict());
    let call = tokio::spawn(service.oneshot(0));
    tokio::time::sleep(ms(500)).await;
    handle.cancel_all("test");
    assert_eq!(call.await.unwrap(), Err("cancelled"));
    assert_eq!(calls.count(), 1);

    assert_eq!(*questions.lock().unwrap(), []);
}

/// R24 A closure decides first, and the policy decides on what is left: its kept request, its delay
/// and its description stay.
#[tokio::test(start_paused = true)]
async fn a_closure_decides_first() {
    let reads = RetryLayer::new()
        .decide_with_request(
            |request: &u32| *request == 0,
            |is_read: &bool, result: &Result<u32, &'static str>, _: &Attempt<'_>| match result {
                Err(_) if *is_read => Decision::Retry,
                _ => Decision::Stop,
            },
        )
        .retry_after(|_: &Result<u32, &'static str>| Some(secs(7)))
        .decide_first(|result: &Result<u32, &'static str>, attempt| match result {
            Err("busy") => Some(Decision::RetryIn(secs(attempt.number().into()))),
            Err("gone") => Some(Decision::Never),
            _ => None,
        });
    for (request, errors, expected) in [
        // The closure asks for what the policy would not do.
        (1, vec!["busy", "busy", "broken"], (3, secs(3))),
        (0, vec!["busy", "broken"], (3, secs(8))),
        (0, vec!["broken", "gone"], (2, secs(7))),
        (1, vec!["broken"], (1, secs(0))),
    ] {
        let (log, recorder) = recording();
        let mut inner = Scripted::<u32, u32>::new();
        for error in errors.clone() {
            inner = inner.error(error);
        }
        let inner = inner.answer(5);
        let calls = inner.calls();
        let service = ServiceBuilder::new()
            .layer(log)
            .layer(reads.clone())
            .service(inner.strict());
        let began = tokio::time::Instant::now();
        let result = service.oneshot(request).await;
        assert_eq!((calls.count(), began.elapsed()), expected, "{errors:?}");
        let last = *errors.last().unwrap();
        let is_retried = calls.count() > errors.len();
        assert_eq!(result, if is_retried { Ok(5) } else { Err(last) });
        let forbidden = last == "gone";
        assert_eq!(recorder.count("retry_given_up"), usize::from(forbidden));
    }
}

/// R24 Without a word of the closure, a failed response stays one, although it is not retried.
#[tokio::test(start_paused = true)]
async fn a_policy_behind_a_closure_still_judges_responses() {
    #[derive(Clone)]
    struct Never;

    impl Policy<u32, u32, BoxError> for Never {
        type Seen = ();

        fn see(&self, _: &u32) {}

        fn decide(&self, (): &(), _: &Result<u32, BoxError>, _: &Attempt<'_>) -> Decision {
            Decision::Stop
        }

        fn is_failure(&self, response: &u32) -> bool {
            *response == 500
        }

        fn describe(&self, _: &Result<u32, BoxError>) -> Option<std::borrow::Cow<'static, str>> {
            Some("the server failed".into())
        }
    }

    for (response, ending) in [(500, "failed"), (200, "succeeded")] {
        let (log, recorder) = recording();
        let retry = RetryLayer::new()
            .policy(Never)
            .decide_first(|_: &Result<u32, BoxError>, _| None);
        let inner = Scripted::<u32, u32, BoxError>::new().answer(response);
        let service = ServiceBuilder::new()
            .layer(log)
            .layer(retry)
            .service(inner.strict());
        assert_eq!(service.oneshot(0).await.unwrap(), response);
        assert_eq!(recorder.names().last(), Some(&ending));
    }
}
