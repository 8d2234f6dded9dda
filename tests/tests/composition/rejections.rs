//! Calls that a gate rejects, also a user's own layer: what the other layers make of it, and how
//! code asks for the reason.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tower::{Layer, Service, ServiceBuilder, ServiceExt};
use tower_keep::{
    BoxError, CancelLayer, CancelReason, CircuitBreakerLayer, DedupLayer, Dispatcher, EventKind,
    FailureCause, GiveUpReason, LogLayer, Outcome, Rejection, RetryLayer, TimeoutLayer,
    cancel::Cancelled,
    find,
    reject::{Fail, FailWith, OnReject, Rejected, RespondWith, mark_rejection},
    retry::{Attempt, Decision, GaveUp},
    timeout::Elapsed,
};
use tower_keep_test::{Recorder, Scripted, Step};
use tower_keep_tests::*;

use super::verdicts::{Answer, ending};

/// A user's own gate: it turns every call away, at once or after a while.
#[derive(Clone)]
struct Closed<S, O> {
    inner: S,
    on_reject: O,
    after: Duration,
}

impl<S, O> Service<u32> for Closed<S, O>
where
    S: Service<u32, Response = u32>,
    O: OnReject<Rejected, u32, S::Error> + Clone + Send + 'static,
{
    type Response = u32;
    type Error = O::Error;
    type Future = Pin<Box<dyn Future<Output = Result<u32, O::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), O::Error>> {
        self.inner
            .poll_ready(cx)
            .map_err(|error| self.on_reject.pass(error))
    }

    fn call(&mut self, _: u32) -> Self::Future {
        let (on_reject, after) = (self.on_reject.clone(), self.after);
        Box::pin(async move {
            if !after.is_zero() {
                tokio::time::sleep(after).await;
            }
            let result = on_reject.reject(Rejected::new("the bulkhead is full"));
            mark_rejection(&result, "the bulkhead is full");
            result
        })
    }
}

/// R79 A user's own layer rejects as ours do: not retried, not counted, never started, and logged
/// as rejected, in each of the three forms.
#[tokio::test(start_paused = true)]
async fn a_users_layer_can_reject() {
    async fn check<O>(on_reject: O, after: Duration, expected: Result<u32, &str>)
    where
        O: OnReject<Rejected, u32, BoxError> + Clone + Send + Sync + 'static,
        O::Error: Into<BoxError>,
    {
        let (log, recorder) = recording();
        let circuit = CircuitBreakerLayer::new();
        let handle = circuit.handle();
        let inner = Scripted::<u32, u32, BoxError>::new();
        let calls = inner.calls();
        let service = ServiceBuilder::new()
            .layer(log)
            .layer(circuit)
            .layer(RetryLayer::new())
            .map_err(Into::<BoxError>::into)
            .service(Closed {
                inner,
                on_reject,
                after,
            });
        let result = service.oneshot(0).await.map_err(|error| error.to_string());
        assert_eq!(result, expected.map_err(str::to_owned));
        assert_eq!((calls.count(), handle.snapshot().failures_in_a_row), (0, 0));
        let expected = expected.err().unwrap_or("the bulkhead is full");
        assert_eq!(
            ending(&recorder),
            EventKind::Failed {
                cause: FailureCause::Rejected,
                error: expected.into()
            }
        );
        if after.is_zero() {
            recorder.assert_names(["dispatched", "failed"]);
        }
    }
    for after in [Duration::ZERO, secs(1)] {
        check(Fail, after, Err("the bulkhead is full")).await;
        check(
            FailWith::new(|_| BoxError::from("full")),
            after,
            Err("full"),
        )
        .await;
        check(RespondWith::new(|_| 503), after, Ok(503)).await;
    }
}

/// R79 A log whose classifier accepts a gate's answer takes nothing back: no retry around it
/// follows, and the job ends as rejected.
#[tokio::test(start_paused = true)]
async fn a_log_that_accepts_a_rejection() {
    let recorder = Recorder::new();
    let retry_all = |_: &Result<u32, BoxError>, _: &Attempt<'_>| Decision::Retry;
    let service = ServiceBuilder::new()
        .layer(RetryLayer::new().policy(retry_all))
        .layer(
            LogLayer::to(recorder.clone()).classify(|_: &Result<u32, BoxError>| Outcome::Success),
        )
        .service(Closed {
            inner: Scripted::<u32, u32, BoxError>::new(),
            on_reject: RespondWith::new(|_| 503),
            after: Duration::ZERO,
        });
    assert_eq!(service.oneshot(0).await.unwrap(), 503);
    recorder.assert_names(["dispatched", "failed"]);
    assert!(matches!(
        ending(&recorder),
        EventKind::Failed {
            cause: FailureCause::Rejected,
            ..
        }
    ));
}

/// R79 Without the mark it is an error like any other.
#[tokio::test(start_paused = true)]
async fn an_unmarked_rejection_is_an_error() {
    let inner = Scripted::<u32, u32, BoxError>::always(|_: u32| Err(Rejected::new("full").into()));
    let calls = inner.calls();
    let error = RetryLayer::new()
        .layer(inner.strict())
        .oneshot(0)
        .await
        .unwrap_err();
    assert_eq!(calls.count(), 4);
    let rejected = find::<Rejected>(&*error).expect("the gate's reason");
    assert_eq!(rejected.reason().to_string(), "full");
}

/// R79 A mark that nobody took is gone with the next poll.
#[tokio::test(start_paused = true)]
async fn a_stray_mark_is_nobodys() {
    mark_rejection(&Ok::<u32, BoxError>(1), "stray");
    let (log, recorder) = recording();
    let service = log.layer(Scripted::<u32, u32>::new().answer(1).strict());
    assert_eq!(service.oneshot(0).await, Ok(1));
    assert_eq!(ending(&recorder), EventKind::Succeeded);
}

/// R79 A stray mark does not hide that a call began which panics.
#[tokio::test(start_paused = true)]
async fn a_stray_mark_and_a_panic() {
    let (log, recorder) = recording();
    let inner = Scripted::<u32, u32>::new().step(Step::panic_in_call("ouch"));
    let mut service = log.layer(inner);
    let call = std::panic::AssertUnwindSafe(|| {
        mark_rejection(&Ok::<u32, BoxError>(1), "stray");
        drop(service.call(1));
    });
    std::panic::catch_unwind(call).unwrap_err();
    recorder.assert_names(["dispatched", "started", "failed"]);
}

/// R79 One question to an error, whichever layer it comes from and however deep its reason is.
#[tokio::test(start_paused = true)]
async fn one_question_to_an_error() {
    #[derive(Debug, thiserror::Error)]
    #[error("wrapped")]
    struct Wrapped(#[source] BoxError);

    let hangs = || Scripted::<u32, u32, BoxError>::new().never();
    let open = CircuitBreakerLayer::new();
    open.handle().force_open();
    let stopped = CancelLayer::new();
    stopped.handle().shutdown(Duration::ZERO).await;
    let dedup = DedupLayer::new(|request: &u32| Some(*request)).layer(hangs());
    let _first = tokio::spawn(dedup.clone().oneshot(0));
    tokio::task::yield_now().await;
    let full = Dispatcher::new(hangs()).limit(std::num::NonZeroUsize::MIN);
    let _running = full.try_dispatch(0).unwrap();

    let gave_up = GaveUp::new(GiveUpReason::Budget, 2).caused_by(Rejected::new("full"));
    let cases: [(BoxError, Option<Rejection>); 9] = [
        (
            TimeoutLayer::new(secs(1))
                .layer(hangs())
                .oneshot(0)
                .await
                .unwrap_err(),
            Some(Rejection::TimedOut),
        ),
        (
            open.layer(hangs()).oneshot(0).await.unwrap_err(),
            Some(Rejection::CircuitOpen),
        ),
        (
            stopped.layer(hangs()).oneshot(0).await.unwrap_err(),
            Some(Rejection::Cancelled),
        ),
        (
            dedup.oneshot(0).await.unwrap_err(),
            Some(Rejection::Duplicate),
        ),
        (
            full.try_reserve().map(drop).unwrap_err().into(),
            Some(Rejection::Full),
        ),
        // The outermost reason is the answer.
        (
            gave_up.into(),
            Some(Rejection::GaveUp {
                attempts: 2,
                reason: GiveUpReason::Budget,
            }),
        ),
        // The work of a job that a time limit cancelled.
        (
            Cancelled::new(CancelReason::TimedOut).into(),
            Some(Rejection::TimedOut),
        ),
        (Rejected::new("no").into(), Some(Rejection::Other)),
        ("the service's own".into(), None),
    ];
    for (error, expected) in cases {
        assert_eq!(Rejection::of(&*error), expected, "{error}");
        assert_eq!(Rejection::of(&Wrapped(error)), expected);
    }
}

/// R79 Streams and bodies wrap errors in an `io::Error`, whose `source` skips what it wraps.
#[tokio::test(start_paused = true)]
async fn a_reason_inside_an_io_error() {
    let hangs = Scripted::<u32, u32, BoxError>::new().never();
    let error = TimeoutLayer::new(secs(1)).layer(hangs).oneshot(0).await;
    let error = io::Error::other(io::Error::other(error.unwrap_err()));
    assert_eq!(Rejection::of(&error), Some(Rejection::TimedOut));
    assert!(find::<Elapsed>(&error).is_some());
}

/// R59, R79 A gate's rejection is never counted, also where a classifier calls every error a
/// failure.
#[tokio::test(start_paused = true)]
async fn a_gates_rejection_is_never_counted() {
    for answers in [true, false] {
        let open = CircuitBreakerLayer::new();
        open.handle().force_open();
        let outer = CircuitBreakerLayer::new()
            .classify(|_: &Answer| Outcome::Failure)
            .fail_with(|_| "outer");
        let handle = outer.handle();
        let inner = Scripted::<u32, u32>::new().strict();
        let result = if answers {
            outer
                .layer(open.respond_with(|_| 503).layer(inner))
                .oneshot(0)
                .await
        } else {
            outer
                .layer(open.fail_with(|_| "inner").layer(inner))
                .oneshot(0)
                .await
        };
        assert_eq!(result, if answers { Ok(503) } else { Err("inner") });
        assert_eq!(handle.snapshot().failures_in_a_row, 0);
    }
}
