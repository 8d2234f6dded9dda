//! What layers learn from the layers inside them, and what users' own layers can say.

use tower::{Layer, Service, ServiceBuilder, ServiceExt, util::BoxCloneSyncService};
use tower_keep::{
    CircuitBreakerLayer, EventKind, FailureCause, LogLayer, Outcome, ProgressLayer, RetryLayer,
    TimeoutLayer,
    reject::recovered,
    retry::{Attempt, Decision},
};
use tower_keep_test::{Recorder, Scripted};
use tower_keep_tests::*;

pub(super) type Answer = Result<u32, &'static str>;

pub(super) fn server_errors(result: &Answer) -> Outcome {
    match result {
        Ok(status) if *status < 500 => Outcome::Success,
        _ => Outcome::Failure,
    }
}

pub(super) fn ending(recorder: &Recorder) -> EventKind {
    recorder.terminal(recorder.job()).expect("the job ended")
}

/// A limit that answers 504, and code that makes a good answer of it.
fn answered_and_mended(
    mend: impl Fn(u32) -> u32 + Clone + Send + Sync + 'static,
) -> (
    BoxCloneSyncService<u32, u32, &'static str>,
    tower_keep_test::Calls<u32>,
) {
    let inner = Scripted::<u32, u32>::new().never().repeat_last();
    let calls = inner.calls();
    let service = ServiceBuilder::new()
        .map_response(mend)
        .layer(
            TimeoutLayer::new(secs(1))
                .per_attempt()
                .respond_with(|_| 504),
        )
        .service(inner.strict());
    (BoxCloneSyncService::new(service), calls)
}

/// R79 A layer that was given a classifier believes it: a 504 of an inner limit that became a good
/// answer is not retried, not counted and not logged as a failure.
#[tokio::test(start_paused = true)]
async fn a_classifier_is_believed() {
    for (status, good) in [(200, true), (504, false)] {
        let (inner, calls) = answered_and_mended(move |_| status);
        let recorder = Recorder::new();
        let circuit = CircuitBreakerLayer::new()
            .classify(server_errors)
            .fail_with(|_| "open");
        let handle = circuit.handle();
        let service = ServiceBuilder::new()
            .layer(LogLayer::to(recorder.clone()).classify(server_errors))
            .layer(circuit)
            .layer(RetryLayer::new().max_retries(1).classify(server_errors))
            .service(inner);
        assert_eq!(service.oneshot(0).await, Ok(status));
        assert_eq!(calls.count(), if good { 1 } else { 2 });
        assert_eq!(handle.snapshot().failures_in_a_row, u32::from(!good));
        assert_eq!(recorder.count("timed_out"), calls.count());
        match ending(&recorder) {
            EventKind::Succeeded => assert!(good),
            // The note adds the cause.
            EventKind::Failed { cause, .. } => assert!(!good && cause == FailureCause::TimedOut),
            other => panic!("{other:?}"),
        }
    }
}

/// R79 A closure for how long the service asks to be left alone leaves it to the classifier, or to
/// the default, to judge a response.
#[tokio::test(start_paused = true)]
async fn a_wait_judges_no_response() {
    for classified in [true, false] {
        let (inner, _) = answered_and_mended(|_| 200);
        let circuit = CircuitBreakerLayer::new().fail_with(|_| "open");
        let (result, handle) = if classified {
            let circuit = circuit.classify(server_errors);
            let circuit = circuit.retry_after(|_: &Answer| None);
            (circuit.layer(inner).oneshot(0).await, circuit.handle())
        } else {
            let circuit = circuit.retry_after(|_: &Answer| None);
            (circuit.layer(inner).oneshot(0).await, circuit.handle())
        };
        assert_eq!(result, Ok(200));
        assert_eq!(handle.snapshot().failures_in_a_row, u32::from(!classified));
    }
}

/// R79 A layer with only its default takes an `Ok` with which an inner layer answered for that
/// layer's doing; code that recovers says so.
#[tokio::test(start_paused = true)]
async fn without_a_classifier_recovered_says_it() {
    for recovers in [true, false] {
        let (inner, calls) = answered_and_mended(move |_| {
            if recovers {
                recovered();
            }
            200
        });
        let (log, recorder) = recording();
        let circuit = CircuitBreakerLayer::new().fail_with(|_| "open");
        let handle = circuit.handle();
        let service = ServiceBuilder::new()
            .layer(log)
            .layer(circuit)
            .layer(RetryLayer::new().max_retries(1))
            .service(inner);
        assert_eq!(service.oneshot(0).await, Ok(200));
        assert_eq!(calls.count(), if recovers { 1 } else { 2 });
        assert_eq!(handle.snapshot().failures_in_a_row, u32::from(!recovers));
        assert_eq!(ending(&recorder) == EventKind::Succeeded, recovers);
    }
}

/// R79 A fallback's own error, in the same poll, is not the open circuit's, if the fallback says
/// that it recovered.
#[tokio::test(start_paused = true)]
async fn a_fallbacks_own_error() {
    let open = CircuitBreakerLayer::new().fail_with(|_| "open");
    open.handle().force_open();
    let (log, recorder) = recording();
    let outer = CircuitBreakerLayer::new().fail_with(|_| "outer");
    let handle = outer.handle();
    let service = ServiceBuilder::new()
        .layer(log)
        .layer(outer)
        .layer(RetryLayer::new().max_retries(1))
        .map_result(|result: Answer| {
            result.map_err(|_| {
                recovered();
                "no fallback either"
            })
        })
        .layer(open)
        .service(Scripted::<u32, u32>::new().strict());
    assert_eq!(service.oneshot(0).await, Err("no fallback either"));
    assert_eq!(recorder.count("retry_scheduled"), 1);
    assert_eq!(handle.snapshot().failures_in_a_row, 1);
    assert_eq!(
        ending(&recorder),
        EventKind::Failed {
            cause: FailureCause::Error,
            error: "no fallback either".into()
        }
    );
}

/// R79 A note is about the result that comes up with it: none is left for a result that comes
/// later.
#[tokio::test(start_paused = true)]
async fn a_note_does_not_outlive_the_poll() {
    let open = CircuitBreakerLayer::new().fail_with(|_| "open");
    open.handle().force_open();
    let (log, recorder) = recording();
    let service = ServiceBuilder::new()
        .layer(log)
        .layer(RetryLayer::new().max_retries(1))
        .then(|result: Answer| async move {
            // Another poll.
            tokio::task::yield_now().await;
            result.map_err(|_| "no fallback either")
        })
        .layer(open)
        .service(Scripted::<u32, u32>::new().strict());
    assert_eq!(service.oneshot(0).await, Err("no fallback either"));
    assert_eq!(recorder.count("retry_scheduled"), 1);
    assert!(matches!(
        ending(&recorder),
        EventKind::Failed {
            cause: FailureCause::Error,
            ..
        }
    ));
}

/// R79 Of a limit's answer that a log's classifier accepts nothing is left: a retry around it that
/// wants better gives no other reason than its own.
#[tokio::test(start_paused = true)]
async fn a_log_that_accepts_a_limits_answer() {
    let recorder = Recorder::new();
    let retry_all = |_: &Answer, _: &Attempt<'_>| Decision::Retry;
    let service = ServiceBuilder::new()
        .layer(RetryLayer::new().max_retries(1).policy(retry_all))
        .layer(LogLayer::to(recorder.clone()).classify(|_: &Answer| Outcome::Success))
        .layer(
            TimeoutLayer::new(secs(1))
                .per_attempt()
                .respond_with(|_| 504),
        )
        .service(Scripted::<u32, u32>::new().never().repeat_last());
    assert_eq!(service.oneshot(0).await, Ok(504));
    let text = "the response is classified as a failure";
    assert!(
        recorder.kinds().iter().any(
            |kind| matches!(kind, EventKind::RetryScheduled { error, .. } if &**error == text)
        )
    );
    assert_eq!(
        ending(&recorder),
        EventKind::Failed {
            cause: FailureCause::Error,
            error: text.into()
        }
    );
}

/// R79 Where a policy forbids other attempts after a limit's answer, and a log's classifier accepts
/// the answer, no retry around follows and the job succeeds.
#[tokio::test(start_paused = true)]
async fn a_log_that_accepts_a_forbidden_answer() {
    let recorder = Recorder::new();
    let retry_all = |_: &Answer, _: &Attempt<'_>| Decision::Retry;
    let never = |_: &Answer, _: &Attempt<'_>| Decision::Never;
    let service = ServiceBuilder::new()
        .layer(RetryLayer::new().policy(retry_all))
        .layer(LogLayer::to(recorder.clone()).classify(|_: &Answer| Outcome::Success))
        .layer(RetryLayer::new().policy(never))
        .layer(
            TimeoutLayer::new(secs(1))
                .per_attempt()
                .respond_with(|_| 504),
        )
        .service(Scripted::<u32, u32>::new().never());
    assert_eq!(service.oneshot(0).await, Ok(504));
    assert_eq!(recorder.count("retry_scheduled"), 0);
    assert_eq!(ending(&recorder), EventKind::Succeeded);
}

/// R79 What a limit says of a call reaches the log also where code in between calls the limit
/// again.
#[tokio::test(start_paused = true)]
async fn a_limit_that_is_called_again() {
    let (log, recorder) = recording();
    let limit = ServiceBuilder::new()
        .layer(
            TimeoutLayer::new(secs(1))
                .per_attempt()
                .respond_with(|_| 504),
        )
        .layer(ProgressLayer::new())
        .service(Scripted::<u32, u32>::new().answer(503).never());
    let service = log.layer(tower::service_fn(move |request: u32| {
        let mut limit = limit.clone();
        let first = limit.call(request);
        async move {
            assert_eq!(first.await, Ok(503));
            limit.call(request).await
        }
    }));
    assert_eq!(service.oneshot(0).await, Ok(504));
    assert_eq!(recorder.jobs().len(), 1);
    assert!(matches!(
        ending(&recorder),
        EventKind::Failed {
            cause: FailureCause::TimedOut,
            ..
        }
    ));
}
