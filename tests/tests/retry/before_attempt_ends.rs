//! The events of attempts that a hook prepares: one end for each that reached the service.

use std::{
    future::{Ready, pending, ready},
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll},
};

use futures::FutureExt;
use tokio::time::sleep;
use tower::{Layer, Service, ServiceBuilder, ServiceExt};
use tower_keep::{
    AttemptOutcome::{Failed, Succeeded},
    BoxError, EventKind,
    FailureCause::{Error, Panicked, TimedOut},
    Job, ProgressLayer, RetryLayer, TimeoutLayer,
    progress::JobState,
};
use tower_keep_test::{Recorder, Scripted, Step};
use tower_keep_tests::*;

use super::attempts::ended;

type Inner = Scripted<u32, u32, BoxError>;

fn fails_once() -> Inner {
    Inner::new()
        .error_after(secs(2), "busy".into())
        .answer_after(secs(3), 7)
}

/// The failed attempts: the number, and how long each took.
fn failed(recorder: &Recorder) -> Vec<(u32, std::time::Duration)> {
    let kinds = recorder.kinds().into_iter();
    kinds
        .filter_map(|kind| match kind {
            EventKind::RetryScheduled { attempt, took, .. } => Some((attempt, took)),
            _ => None,
        })
        .collect()
}

/// R78 Each attempt that reached the service has one end, without the hook's time; one whose hook
/// failed has none, and took as long as the hook.
#[tokio::test(start_paused = true)]
async fn each_attempt_ends_once() {
    for log_outside in [true, false] {
        for fails in [0, 1, 2] {
            let (log, recorder) = recording();
            let retry = RetryLayer::new().before_attempt_async(move |request: u32, attempt| {
                let fails = attempt.number() == fails;
                async move {
                    sleep(secs(5)).await;
                    match fails {
                        true => Err(BoxError::from("no token")),
                        false => Ok(request),
                    }
                }
            });
            let service = match log_outside {
                true => Stack::new(log.layer(retry.layer(fails_once()))),
                false => Stack::new(retry.layer(log.layer(fails_once()))),
            };
            assert_eq!(service.oneshot(0).await.unwrap(), 7);
            let case = format!("{log_outside} {fails}: {recorder}");
            let (busy, done) = match fails {
                0 => (1, 2),
                1 => (2, 3),
                _ => (1, 3),
            };
            assert_eq!(
                ended(&recorder),
                [(busy, secs(2), Failed(Error)), (done, secs(3), Succeeded)],
                "{case}"
            );
            let took = match (fails, log_outside) {
                (0, _) => vec![(1, secs(2))],
                (1, true) => vec![(1, secs(5)), (2, secs(2))],
                // The job begins with the first attempt that reaches the layer that begins it.
                (1, false) => vec![(2, secs(2))],
                _ => vec![(1, secs(2)), (2, secs(5))],
            };
            assert_eq!(failed(&recorder), took, "{case}");
            recorder.assert_one_terminal_each();
        }
    }
}

/// Fails, or panics before there is a future.
#[derive(Clone)]
struct Panics {
    on: u32,
}

impl Service<u32> for Panics {
    type Response = u32;
    type Error = BoxError;
    type Future = Ready<Result<u32, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, attempt: u32) -> Self::Future {
        assert!(attempt != self.on, "in call");
        ready(Err("busy".into()))
    }
}

/// R78 An attempt whose call panics has one end, as without a hook.
#[tokio::test(start_paused = true)]
async fn a_panic_in_call_ends_it() {
    for on in [1, 2] {
        for log_outside in [true, false] {
            let (log, recorder) = recording();
            let retry = RetryLayer::new()
                .before_attempt_async(|_: u32, attempt| ready(Ok::<_, BoxError>(attempt.number())));
            let service = match log_outside {
                true => Stack::new(log.layer(retry.layer(Panics { on }))),
                false => Stack::new(retry.layer(log.layer(Panics { on }))),
            };
            let call = AssertUnwindSafe(service.oneshot(0)).catch_unwind().await;
            assert!(call.is_err());
            let outcomes: Vec<_> = ended(&recorder)
                .into_iter()
                .map(|(number, _, outcome)| (number, outcome))
                .collect();
            let expected = [(1, Failed(Error)), (on, Failed(Panicked))];
            assert_eq!(outcomes, expected[2 - on as usize..], "{recorder}");
        }
    }
}

/// R78 An attempt of a retry around has no end where only the hook inside ran: it failed, or a
/// limit cut it off.
#[tokio::test(start_paused = true)]
async fn nested_retries() {
    for on in [1, 2] {
        for hangs in [false, true] {
            let (log, recorder) = recording();
            let hooks = Arc::new(AtomicU32::new(0));
            let prepared =
                RetryLayer::new()
                    .max_retries(0)
                    .before_attempt_async(move |request: u32, _| {
                        let meant = hooks.fetch_add(1, Ordering::Relaxed) + 1 == on;
                        async move {
                            if meant && hangs {
                                pending::<()>().await;
                            }
                            match meant {
                                true => Err(BoxError::from("no token")),
                                false => Ok(request),
                            }
                        }
                    });
            let service = ServiceBuilder::new()
                .layer(log)
                .layer(RetryLayer::new())
                .layer(TimeoutLayer::new(secs(4)).per_attempt())
                .layer(prepared)
                .service(fails_once());
            assert_eq!(service.oneshot(0).await.unwrap(), 7);
            let busy = if on == 1 { 2 } else { 1 };
            assert_eq!(
                ended(&recorder),
                [(busy, secs(2), Failed(Error)), (3, secs(3), Succeeded)],
                "{recorder}"
            );
            assert_eq!(failed(&recorder).len(), 2);
        }
    }
}

/// R78 A retry around sees nothing but a poll where the job begins in a later poll: the end that
/// was reported stays reported.
#[tokio::test(start_paused = true)]
async fn nested_retries_whose_job_begins_in_a_poll() {
    let (log, recorder) = recording();
    let prepared = RetryLayer::new()
        .base_delay(secs(20))
        .before_attempt_async(|request: u32, _| ready(Ok::<_, BoxError>(request)));
    let service = ServiceBuilder::new()
        .layer(TimeoutLayer::new(secs(30)))
        .layer(RetryLayer::new())
        .layer(prepared)
        .layer(log)
        .service(Inner::new().error("busy".into()).never());
    service.oneshot(0).await.unwrap_err();
    assert_eq!(
        ended(&recorder),
        [(1, secs(0), Failed(Error)), (2, secs(10), Failed(TimedOut))],
        "{recorder}"
    );
}

/// R78 A hook that reports or runs a step starts its job: `Started` comes first, and the view shows
/// it.
#[tokio::test(start_paused = true)]
async fn a_report_of_the_hook_is_a_start() {
    let (log, recorder) = recording();
    let progress = ProgressLayer::new();
    let board = progress.handle();
    let seen = Arc::new(AtomicU32::new(0));
    let shown = Arc::clone(&seen);
    let retry = RetryLayer::new().before_attempt_async(move |request: u32, attempt| {
        let (board, seen, first) = (board.clone(), Arc::clone(&seen), attempt.number() == 1);
        async move {
            let job = Job::current();
            if first {
                assert_eq!(board.jobs()[0].state, JobState::Waiting);
            }
            let fetch = async { Ok::<_, BoxError>(request) };
            let request = job.step("fetch a token", fetch).await?;
            job.progress(0.1);
            let view = &board.jobs()[0];
            assert_eq!(view.state, JobState::Running);
            assert_eq!(view.started_at, Some(view.dispatched_at));
            seen.fetch_add(1, Ordering::Relaxed);
            Ok::<_, BoxError>(request)
        }
    });
    let inner = Inner::new()
        .error("busy".into())
        .otherwise(|| Step::with(Ok));
    let layers = ServiceBuilder::new()
        .layer(log)
        .layer(progress)
        .layer(retry);
    layers.service(inner).oneshot(0).await.unwrap();
    assert_eq!(shown.load(Ordering::Relaxed), 2);
    recorder.assert_names([
        "dispatched",
        "started",
        "step_started",
        "step_succeeded",
        "progress",
        "attempt_ended",
        "retry_scheduled",
        "retrying",
        "step_started",
        "step_succeeded",
        "progress",
        "attempt_ended",
        "succeeded",
    ]);
}
