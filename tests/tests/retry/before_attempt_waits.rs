//! A hook that takes its time before each attempt.

use std::{
    future::{Future, pending, ready},
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
};

use futures::FutureExt;
use tokio::time::{Instant, sleep};
use tower::{
    Layer, Service, ServiceBuilder, ServiceExt, limit::GlobalConcurrencyLimitLayer, service_fn,
};
use tower_keep::{
    BoxError, CancelLayer, CircuitBreakerLayer, Dispatcher, EventKind, FailureCause, GiveUpReason,
    Job, Pipeline, Rejection, RetryLayer, TimeoutLayer, find,
    retry::{Attempt, Decision},
    timeout::Elapsed,
};
use tower_keep_test::{Polled, Scripted, Step};
use tower_keep_tests::*;

/// Adds the attempt's number, after a second.
fn slow(
    request: u32,
    attempt: &Attempt<'_>,
) -> impl Future<Output = Result<u32, BoxError>> + use<> {
    let number = attempt.number();
    async move {
        sleep(secs(1)).await;
        Ok(request + number)
    }
}

fn failing() -> Scripted<u32, u32, BoxError> {
    Scripted::new().otherwise(|| Step::error("no".into()))
}

/// R78 The hook is awaited before each attempt, each of which starts from the request as it came.
#[tokio::test(start_paused = true)]
async fn each_attempt_is_prepared() {
    let inner = failing().recording();
    let calls = inner.calls();
    let retry = RetryLayer::new().max_retries(2).before_attempt_async(slow);
    let service = retry.layer(inner.strict());
    assert_eq!(service.oneshot(10).await.unwrap_err().to_string(), "no");
    assert_eq!(calls.requests(), [11, 12, 13]);
    // Waits of 1 and 2 s, and a second for each hook.
    assert_eq!(calls.started_at(), [secs(1), secs(3), secs(6)]);
}

/// R78 an error of the hook is the attempt's: the policy sees it, and says whether there is
/// another.
#[tokio::test(start_paused = true)]
async fn its_error_is_the_attempts() {
    let (log, recorder) = recording();
    let retry = RetryLayer::new().before_attempt_async(|request: u32, attempt| {
        ready(match attempt.number() {
            1 => Err(BoxError::from("no token")),
            _ => Ok(request),
        })
    });
    let inner = Scripted::<u32, u32, BoxError>::new().answer(7);
    let layers = ServiceBuilder::new().layer(log).layer(retry);
    assert_eq!(layers.service(inner.strict()).oneshot(0).await.unwrap(), 7);
    recorder.assert_names([
        "dispatched",
        "started",
        "retry_scheduled",
        "retrying",
        "attempt_ended",
        "succeeded",
    ]);

    let inner = failing();
    let calls = inner.calls();
    let (log, recorder) = recording();
    let retry = RetryLayer::new()
        .should_retry(|error: &BoxError| error.to_string() != "refused")
        .before_attempt_async(|_: u32, _| ready(Err::<u32, _>(BoxError::from("refused"))));
    let layers = ServiceBuilder::new().layer(log).layer(retry);
    let error = layers.service(inner).oneshot(0).await.unwrap_err();
    assert_eq!((error.to_string().as_str(), calls.count()), ("refused", 0));
    // An attempt was made, though not of the service.
    recorder.assert_names(["dispatched", "started", "failed"]);
}

/// R78 The hook fetches another token only where the last one was refused, and keeps nothing else
/// of the outcome.
#[tokio::test(start_paused = true)]
async fn it_sees_what_was_kept_of_the_last_outcome() {
    let fetched = Arc::new(AtomicU32::new(0));
    let tokens = Arc::clone(&fetched);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&seen);
    let retry = RetryLayer::new()
        .decide_with(|result: &Result<u32, BoxError>, _| match result {
            Ok(401 | 503) => Decision::Retry,
            _ => Decision::Stop,
        })
        .before_attempt_async_with_outcome(
            |result: &Result<u32, BoxError>| matches!(result, Ok(401)),
            move |_: u32, _, refused: Option<bool>| {
                noted.lock().unwrap().push(refused);
                let tokens = Arc::clone(&tokens);
                async move {
                    if refused == Some(true) {
                        sleep(secs(1)).await;
                        tokens.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok::<_, BoxError>(tokens.load(Ordering::Relaxed))
                }
            },
        );
    let busy = Arc::new(AtomicU32::new(0));
    let service = retry.layer(service_fn(move |token: u32| {
        let first = busy.fetch_add(1, Ordering::Relaxed) == 0;
        ready(Ok::<_, BoxError>(match (first, token) {
            (true, _) => 503,
            (false, 0) => 401,
            _ => 200,
        }))
    }));
    assert_eq!(service.oneshot(0).await.unwrap(), 200);
    assert_eq!(*seen.lock().unwrap(), [None, Some(false), Some(true)]);
    assert_eq!(fetched.load(Ordering::Relaxed), 1);
}

/// R78 no place of the service is held while the hook is waited for, before no attempt: others get
/// through.
#[tokio::test(start_paused = true)]
async fn it_holds_no_readiness() {
    let limit = GlobalConcurrencyLimitLayer::new(1);
    let inner = Scripted::<u32, u32, BoxError>::new()
        .answer(1)
        .error("no".into())
        .answer(2);
    let calls = inner.calls();
    let limited = limit.layer(inner.strict());
    let mut service = RetryLayer::new()
        .before_attempt_async(slow)
        .layer(limited.clone());
    let call = tokio::spawn(begin(&mut service, 0).await);
    tokio::time::sleep(ms(500)).await;
    // During the first hook.
    assert_eq!(limited.clone().oneshot(0).await.unwrap(), 1);
    // During the second: 1 s, a wait of 1 s.
    tokio::time::sleep(secs(2)).await;
    assert_eq!(limited.oneshot(0).await.unwrap(), 2);
    drop(call);
    assert_eq!(calls.started_at(), [ms(500), secs(1), ms(2500)]);
}

/// R78 the limits around the retry end it; that of an attempt begins after it.
#[tokio::test(start_paused = true)]
async fn it_runs_under_the_limits_around() {
    let hangs =
        RetryLayer::new().before_attempt_async(|_: u32, _| pending::<Result<u32, BoxError>>());
    let (log, recorder) = recording();
    let service = ServiceBuilder::new()
        .layer(log)
        .layer(TimeoutLayer::new(secs(5)))
        .layer(hangs)
        .service(failing().strict());
    let error = service.oneshot(0).await.unwrap_err();
    assert_eq!(find::<Elapsed>(&*error).unwrap().limit(), secs(5));
    recorder.assert_one_terminal_each();

    let start = Instant::now();
    let inner = Scripted::<u32, u32, BoxError>::new().never();
    let service = ServiceBuilder::new()
        .layer(RetryLayer::new().max_retries(0).before_attempt_async(slow))
        .layer(TimeoutLayer::new(ms(500)).per_attempt())
        .service(inner.strict());
    service.oneshot(0).await.unwrap_err();
    assert_eq!(start.elapsed(), ms(1500));

    // The code of the hook knows when it will be stopped.
    let asks = RetryLayer::new().before_attempt_async(|request: u32, attempt| {
        let left = attempt.remaining();
        async move {
            assert_eq!(left, Some(secs(5)));
            assert_eq!(Job::current().remaining(), Some(secs(5)));
            Ok::<_, BoxError>(request)
        }
    });
    let inner = Scripted::<u32, u32, BoxError>::new().answer(1);
    let service = TimeoutLayer::new(secs(5)).layer(asks.layer(inner));
    assert_eq!(service.oneshot(0).await.unwrap(), 1);
}

/// R78 an idle limit too, before the first attempt and before a later one.
#[tokio::test(start_paused = true)]
async fn an_idle_limit_ends_it() {
    for hangs in [1, 2] {
        let start = Instant::now();
        let retry = RetryLayer::new().before_attempt_async(move |request: u32, attempt| {
            let hangs = attempt.number() == hangs;
            async move {
                if hangs {
                    pending::<()>().await;
                }
                Ok::<_, BoxError>(request)
            }
        });
        let service = TimeoutLayer::new(secs(10))
            .idle()
            .layer(retry.layer(failing()));
        let error = service.oneshot(0).await.unwrap_err();
        assert_eq!(find::<Elapsed>(&*error).unwrap().limit(), secs(10));
        // A wait of 1 s before the second attempt.
        assert_eq!(start.elapsed(), secs(9 + hangs as u64));
    }
}

/// Says when it is dropped.
struct Guard(Arc<AtomicU32>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// R78 R10 dropped at any await, or cancelled, it is dropped with what it has, and nothing of the
/// service is held.
#[tokio::test(start_paused = true)]
async fn a_drop_or_a_cancellation_ends_it() {
    let dropped = Arc::new(AtomicU32::new(0));
    let guards = Arc::clone(&dropped);
    let retry = RetryLayer::new()
        .max_retries(1)
        .before_attempt_async(move |request: u32, _| {
            let guard = Guard(Arc::clone(&guards));
            async move {
                let _guard = guard;
                for _ in 0..3 {
                    sleep(secs(1)).await;
                }
                Ok::<_, BoxError>(request)
            }
        });
    let semaphore = Arc::new(tokio::sync::Semaphore::new(1));
    let limit = GlobalConcurrencyLimitLayer::with_semaphore(Arc::clone(&semaphore));
    // The attempts fail after half a second, at 3.5 s and 8 s.
    let inner = limit.layer(
        Scripted::<u32, u32, BoxError>::new().otherwise(|| Step::error("no".into()).after(ms(500))),
    );
    for after in (0..18).map(|half| ms(500 * half + 250)) {
        let (log, recorder) = recording();
        let service = log.layer(retry.clone().layer(inner.clone()));
        dropped.store(0, Ordering::Relaxed);
        let call = tokio::time::timeout(after, service.oneshot(0)).await;
        assert_eq!(call.is_ok(), after > ms(8000));
        assert_eq!(
            dropped.load(Ordering::Relaxed),
            1 + u32::from(after > ms(4500))
        );
        assert_eq!(semaphore.available_permits(), 1);
        recorder.assert_one_terminal_each();
        assert_eq!(
            recorder.count("started"),
            usize::from(after > secs(3)),
            "{after:?}"
        );
    }

    let cancel = CancelLayer::new();
    let handle = cancel.handle();
    dropped.store(0, Ordering::Relaxed);
    let mut service = cancel.layer(retry.layer(inner));
    let call = tokio::spawn(begin(&mut service, 0).await);
    sleep(ms(500)).await;
    assert_eq!(handle.cancel_all("tests"), 1);
    let error = call.await.unwrap().unwrap_err();
    assert_eq!(Rejection::of(&*error), Some(Rejection::Cancelled));
    assert_eq!(dropped.load(Ordering::Relaxed), 1);
    assert_eq!(semaphore.available_permits(), 1);
}

/// R78 a call that was never polled has asked nobody, and a service that is never ready is waited
/// for after the hook.
#[tokio::test(start_paused = true)]
async fn a_service_that_is_never_ready() {
    let inner = failing().never_ready();
    let calls = inner.calls();
    let mut service = RetryLayer::new()
        .before_attempt_async(slow)
        .layer(inner.strict());
    drop(begin(&mut service, 0).await);
    let mut call = Polled::new(begin(&mut service, 0).await);
    call.assert_waiting();
    assert_eq!(calls.polls(), 0);
    tokio::time::advance(secs(1)).await;
    call.assert_waiting();
    assert_eq!((calls.polls(), calls.count()), (1, 0));
    tokio::time::advance(secs(3600)).await;
    assert!(!call.is_woken());
    drop(call);
    let limited = TimeoutLayer::new(secs(5)).layer(service);
    let error = limited.oneshot(0).await.unwrap_err();
    assert_eq!(Rejection::of(&*error), Some(Rejection::TimedOut));
}

/// R78 R10 a panic of the hook's future ends the job, does not start it before the first attempt,
/// and holds nothing.
#[tokio::test(start_paused = true)]
async fn a_panic() {
    for attempt in [1, 2] {
        for log_outside in [true, false] {
            let (log, recorder) = recording();
            let retry = RetryLayer::new().before_attempt_async(move |request: u32, begins| {
                let panics = begins.number() == attempt;
                async move {
                    sleep(secs(1)).await;
                    assert!(!panics, "hook");
                    Ok::<_, BoxError>(request)
                }
            });
            let limit = GlobalConcurrencyLimitLayer::new(1);
            let inner = limit.layer(failing());
            let service = match log_outside {
                true => Stack::new(log.layer(retry.layer(inner.clone()))),
                false => Stack::new(retry.layer(log.layer(inner.clone()))),
            };
            let panic = AssertUnwindSafe(service.oneshot(0)).catch_unwind().await;
            assert_eq!(panic.unwrap_err().downcast_ref::<&str>(), Some(&"hook"));
            assert_eq!(inner.oneshot(0).await.unwrap_err().to_string(), "no");
            if attempt == 1 && !log_outside {
                assert_eq!(recorder.jobs(), []);
                continue;
            }
            recorder.assert_one_terminal_each();
            assert_eq!(
                recorder.count("started"),
                attempt as usize - 1,
                "{recorder}"
            );
            let failed = recorder.terminal(recorder.job());
            assert!(
                matches!(&failed, Some(EventKind::Failed { cause: FailureCause::Panicked, error })
                    if **error == *"the service panicked: hook"),
                "{failed:?}"
            );
        }
    }
}

/// R78 R66 the next attempt goes on where the instance of the last one stands.
#[tokio::test(start_paused = true)]
async fn the_next_attempt_knows_what_the_last_one_learnt() {
    #[derive(Clone)]
    struct RoundRobin(u32);

    impl Service<u32> for RoundRobin {
        type Response = u32;
        type Error = BoxError;
        type Future = std::future::Ready<Result<u32, BoxError>>;

        fn poll_ready(
            &mut self,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Result<(), BoxError>> {
            std::task::Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: u32) -> Self::Future {
            self.0 += 1;
            ready(match self.0 {
                1 | 2 => Err("down".into()),
                endpoint => Ok(endpoint),
            })
        }
    }

    let service = RetryLayer::new()
        .before_attempt_async(slow)
        .layer(RoundRobin(0));
    assert_eq!(service.oneshot(0).await.unwrap(), 3);
}

/// R78 a request that cannot be repeated is prepared for its one attempt, as is one where there are
/// no retries.
#[tokio::test(start_paused = true)]
async fn a_request_that_cannot_be_repeated() {
    struct Upload(u32);
    let prepare = |upload: Upload, attempt: &Attempt<'_>| {
        ready(Ok::<_, BoxError>(Upload(upload.0 + attempt.number())))
    };
    let (log, recorder) = recording();
    let retry = RetryLayer::new().clone_with(|_: &Upload| None);
    let service = ServiceBuilder::new()
        .layer(log)
        .layer(retry.before_attempt_async(prepare))
        .service(service_fn(|upload: Upload| async move {
            assert_eq!(upload.0, 8);
            Err::<u32, BoxError>("no".into())
        }));
    service.oneshot(Upload(7)).await.unwrap_err();
    assert_eq!(given_up(&recorder), [(1, GiveUpReason::NotRepeatable)]);
}

/// R78 what its code calls are child jobs of the call's, and none of the stack's own: also where a
/// layer inside the retry begins the stack's job.
#[tokio::test(start_paused = true)]
async fn its_client_is_a_stack_of_its_own() {
    let (log, recorder) = recording();
    let (client_log, clients) = recording();
    let client = client_log.layer(Scripted::<u32, u32, BoxError>::always(|_| Ok(5)));
    let retry = RetryLayer::new()
        .max_retries(1)
        .before_attempt_async(move |_: u32, _| {
            let client = client.clone();
            async move { client.oneshot(0).await }
        });
    for outside in [true, false] {
        recorder.clear();
        clients.clear();
        let inner = Scripted::<u32, u32, BoxError>::new()
            .error("no".into())
            .otherwise(|| Step::with(Ok));
        let service = match outside {
            true => Stack::new(log.layer(retry.clone().layer(inner))),
            false => Stack::new(retry.clone().layer(log.layer(inner))),
        };
        assert_eq!(service.oneshot(0).await.unwrap(), 5);
        recorder.assert_one_terminal_each();
        clients.assert_one_terminal_each();
        assert_eq!(clients.jobs().len(), 2);
        let job = recorder.job();
        let parents: Vec<_> = clients
            .jobs()
            .iter()
            .map(|id| clients.events_of(*id)[0].parent)
            .collect();
        // Before the first attempt nothing has begun a job yet, where that is done inside.
        assert_eq!(parents, [outside.then_some(job), Some(job)]);
    }
}

/// R78 what a stack inside the hook rejects is no rejection of the stack's own: the attempt failed,
/// and is repeated.
#[tokio::test(start_paused = true)]
async fn a_rejection_inside_it_is_an_error() {
    let breaker = CircuitBreakerLayer::new();
    let handle = breaker.handle();
    handle.force_open();
    let tokens = breaker.layer(Scripted::<u32, u32, BoxError>::always(Ok));
    let retry =
        RetryLayer::new()
            .max_retries(1)
            .before_attempt_async(move |request: u32, attempt| {
                if attempt.number() == 2 {
                    handle.reset();
                }
                tokens.clone().oneshot(request)
            });
    let inner = Scripted::<u32, u32, BoxError>::always(Ok);
    let service = retry.layer(inner.strict());
    assert_eq!(service.oneshot(7).await.unwrap(), 7);
}

/// R78 in a pipeline, nested, and under a dispatcher.
#[tokio::test(start_paused = true)]
async fn in_compositions() {
    let inner = || {
        Scripted::<u32, u32, BoxError>::new()
            .error("no".into())
            .otherwise(|| Step::with(Ok))
    };
    let retry = RetryLayer::new().max_retries(1).before_attempt_async(slow);
    let pipeline = Pipeline::new().retry(retry.clone()).build().unwrap();
    let service = pipeline.layer(inner());
    assert_eq!(service.oneshot(10).await.unwrap(), 12);
    let dispatcher = Dispatcher::new(pipeline.layer(inner()));
    assert_eq!(dispatcher.dispatch(10).await.unwrap(), 12);
    let nested = retry.clone().layer(retry.layer(inner()));
    // The first one outside, the second inside.
    assert_eq!(nested.oneshot(10).await.unwrap(), 13);
}
