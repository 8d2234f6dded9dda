//! Code of the user that panics: the job ends, and its end is reported.

use std::{
    fmt,
    future::{Ready, ready},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio_util::sync::CancellationToken;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, util::BoxCloneSyncService};
use tower_keep::{
    BoxError, CancelLayer, CircuitBreakerLayer, DedupLayer, EventKind, FailureCause, JobLayer,
    LogLayer, Outcome, ProgressLayer, RetryLayer, TimeoutLayer,
    retry::{Decision, RetryBudget},
};
use tower_keep_test::{Recorder, Scripted};
use tower_keep_tests::*;

use super::panics::caught;

#[derive(Debug)]
struct Unspeakable;

impl fmt::Display for Unspeakable {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("this error cannot be shown")
    }
}

#[track_caller]
fn assert_panicked(recorder: &Recorder) {
    recorder.assert_one_terminal_each();
    let ending = recorder.terminal(recorder.job());
    assert!(
        matches!(
            ending,
            Some(EventKind::Failed {
                cause: FailureCause::Panicked,
                ..
            })
        ),
        "{ending:?}"
    );
}

/// A job whose error panics where it is to become text has ended, and is on no progress board any
/// more.
#[tokio::test(start_paused = true)]
async fn an_error_that_panics_when_shown_ends_the_job() {
    let (log, recorder) = recording();
    let progress = ProgressLayer::new();
    let handle = progress.handle();
    let service = ServiceBuilder::new()
        .layer(log)
        .layer(progress)
        .service(Scripted::<u32, u32, _>::new().error(Unspeakable));
    assert!(panics(service.oneshot(0)).await);
    assert_panicked(&recorder);
    assert!(handle.jobs().is_empty());
}

/// A job whose classifier panics failed: its caller gets a panic and no response, and did not go
/// away.
#[tokio::test(start_paused = true)]
async fn a_classifier_that_panics_fails_the_job() {
    let (log, recorder) = recording();
    let service = log
        .classify(|_: &Result<u32, &str>| -> Outcome { panic!("unclassifiable") })
        .layer(Scripted::<u32, u32>::new().answer(1));
    assert!(panics(service.oneshot(0)).await);
    assert_panicked(&recorder);
}

/// Its clone number `fuse`, counted from 1, panics; every call fails.
struct Bomb {
    clones: Arc<AtomicU32>,
    fuse: u32,
}

impl Clone for Bomb {
    fn clone(&self) -> Self {
        let clone = self.clones.fetch_add(1, Ordering::Relaxed) + 1;
        assert_ne!(clone, self.fuse, "ouch");
        Self {
            clones: Arc::clone(&self.clones),
            fuse: self.fuse,
        }
    }
}

impl Service<u32> for Bomb {
    type Response = u32;
    type Error = &'static str;
    type Future = Ready<Result<u32, &'static str>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), &'static str>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: u32) -> Self::Future {
        ready(Err("no"))
    }
}

/// R76 The user's code of an outermost layer that tracks no job ends the job of the layer inside by
/// its panic, with what that says.
#[tokio::test(start_paused = true)]
async fn a_panic_of_an_outermost_layers_own_code() {
    type Outcomes = Result<u32, &'static str>;

    async fn check<S>(what: &str, recorder: &Recorder, service: S)
    where
        S: Service<u32, Response = u32, Error = &'static str>,
    {
        let said = caught(|| service.oneshot(1)).await;
        assert!(said.contains("ouch"), "{what}: {said}");
        match recorder.terminal(recorder.job()) {
            Some(EventKind::Failed {
                cause: FailureCause::Panicked,
                error,
            }) => assert!(error.contains("ouch"), "{what}: {error}"),
            other => panic!("{what}: {other:?}"),
        }
        assert_eq!(recorder.count("started"), 1, "{what}");
    }

    for fuse in [1, 2] {
        let (log, recorder) = recording();
        let clones = Arc::default();
        let service = RetryLayer::new().layer(log.layer(Bomb { clones, fuse }));
        check("the service's clone", &recorder, service).await;
    }
    let failing = || Scripted::<u32, u32>::new().error("no").repeat_last();
    let (log, recorder) = recording();
    let retry = RetryLayer::new().decide_with(|_: &Outcomes, _| panic!("ouch"));
    check("a policy", &recorder, retry.layer(log.layer(failing()))).await;

    let (log, recorder) = recording();
    let retry = RetryLayer::new().max_retries(0);
    let retry = retry.on_give_up(|_: Outcomes, _| panic!("ouch"));
    check("a hook", &recorder, retry.layer(log.layer(failing()))).await;

    let (log, recorder) = recording();
    let copies = Arc::new(AtomicU32::new(0));
    let retry = RetryLayer::new().clone_with(move |request: &u32| {
        assert_eq!(copies.fetch_add(1, Ordering::Relaxed), 0, "ouch");
        Some(*request)
    });
    let service = retry.layer(log.layer(failing()));
    check("the second copy of a request", &recorder, service).await;

    let (log, recorder) = recording();
    let log = log.classify(|_: &Outcomes| -> Outcome { panic!("ouch") });
    let service = log.layer(Scripted::<u32, u32>::new().answer(1));
    check("the log's own classifier", &recorder, service).await;

    let (log, recorder) = recording();
    let breaker = CircuitBreakerLayer::new().fail_with(|_| "open");
    let breaker = breaker.classify(|_: &Outcomes| -> Outcome { panic!("ouch") });
    let service = breaker.layer(log.layer(failing()));
    check("a circuit's classifier", &recorder, service).await;

    let (log, recorder) = recording();
    let timeout = TimeoutLayer::new(secs(1))
        .per_attempt()
        .respond_with(|_| panic!("ouch"));
    let service = timeout.layer(log.layer(Scripted::<u32, u32>::new().never()));
    check("the answer of an expired limit", &recorder, service).await;
}

fn asked<T>(_: &u32) -> T {
    panic!("asked")
}

/// R76 A panic of what a layer asks the user before the service is called is not the start of the
/// job.
#[tokio::test(start_paused = true)]
async fn a_panic_of_a_gate_is_no_start() {
    type Key = fn(&u32) -> Option<u32>;
    type Make = Box<dyn Fn(LogLayer) -> Stack>;
    let key: Key = asked;
    let service = || Stack::new(code(|_, n| async move { Ok(n) }));
    let open = || {
        let breaker = CircuitBreakerLayer::new();
        breaker.handle().force_open();
        breaker
    };
    let stopped = || {
        let token = CancellationToken::new();
        token.cancel();
        CancelLayer::new().token(token)
    };
    let makers: Vec<(&str, Make)> = vec![
        (
            "a key",
            Box::new(move |log| {
                BoxCloneSyncService::new(log.layer(DedupLayer::new(key).layer(service())))
            }),
        ),
        (
            "a key of calls that join",
            Box::new(move |log| {
                BoxCloneSyncService::new(log.layer(DedupLayer::new(key).join().layer(service())))
            }),
        ),
        (
            "a key of the latest",
            Box::new(move |log| {
                BoxCloneSyncService::new(log.layer(DedupLayer::new(key).latest().layer(service())))
            }),
        ),
        (
            "a circuit's key",
            Box::new(move |log| {
                let breaker = CircuitBreakerLayer::new().per_key(asked::<u32>);
                BoxCloneSyncService::new(log.layer(breaker.layer(service())))
            }),
        ),
        (
            "what a retry's policy keeps of the request",
            Box::new(move |log| {
                let retry = RetryLayer::new()
                    .decide_with_request(asked::<()>, |_: &(), _: &Result<u32, BoxError>, _| {
                        Decision::Stop
                    });
                BoxCloneSyncService::new(log.layer(retry.layer(service())))
            }),
        ),
        (
            "a retry's budget",
            Box::new(move |log| {
                let retry = RetryLayer::new().budget_by(asked::<Option<RetryBudget>>);
                BoxCloneSyncService::new(log.layer(retry.layer(service())))
            }),
        ),
        (
            "a retry's number of retries",
            Box::new(move |log| {
                let retry = RetryLayer::new().max_retries_by(asked::<Option<u32>>);
                BoxCloneSyncService::new(log.layer(retry.layer(service())))
            }),
        ),
        (
            "a retry's hook",
            Box::new(move |log| {
                let retry = RetryLayer::new().before_attempt(|request: &mut u32, _| asked(request));
                BoxCloneSyncService::new(log.layer(retry.layer(service())))
            }),
        ),
        (
            "a retry's hook that makes a future",
            Box::new(move |log| {
                let retry = RetryLayer::new().before_attempt_async(|request: u32, _| {
                    asked::<()>(&request);
                    ready(Ok::<_, BoxError>(request))
                });
                BoxCloneSyncService::new(log.layer(retry.layer(service())))
            }),
        ),
        (
            "the future of a retry's hook",
            Box::new(move |log| {
                let retry = RetryLayer::new().before_attempt_async(|request: u32, _| async move {
                    tokio::task::yield_now().await;
                    asked::<()>(&request);
                    Ok::<_, BoxError>(request)
                });
                BoxCloneSyncService::new(log.layer(retry.layer(service())))
            }),
        ),
        (
            "a limit of the request",
            Box::new(move |log| {
                let limit = TimeoutLayer::new(secs(1)).limit_by(asked::<Option<Duration>>);
                BoxCloneSyncService::new(log.layer(limit.layer(service())))
            }),
        ),
        (
            "a step limit of the request",
            Box::new(move |log| {
                let limit = TimeoutLayer::none().step_limit_by(asked::<Option<Duration>>);
                BoxCloneSyncService::new(log.layer(limit.layer(service())))
            }),
        ),
        (
            "whether a cached result is renewed",
            Box::new(move |log| {
                let dedup = DedupLayer::new(|key: &u32| Some(*key))
                    .join()
                    .cache(secs(1));
                let dedup = dedup.refresh_if(asked::<bool>);
                BoxCloneSyncService::new(log.layer(dedup.layer(service())))
            }),
        ),
        (
            "a circuit's key, asked in a poll",
            Box::new(move |log| {
                let breaker = CircuitBreakerLayer::new().per_key(asked::<u32>);
                let dedup = DedupLayer::new(|key: &u32| Some(*key));
                BoxCloneSyncService::new(log.layer(dedup.layer(breaker.layer(service()))))
            }),
        ),
        (
            "a group",
            Box::new(move |log| {
                let cancel = CancelLayer::new().group_by(key);
                BoxCloneSyncService::new(log.layer(cancel.layer(service())))
            }),
        ),
        (
            "a limit",
            Box::new(move |log| {
                let timeout = TimeoutLayer::none().limit_by(asked::<Option<Duration>>);
                BoxCloneSyncService::new(log.layer(timeout.layer(service())))
            }),
        ),
        (
            "an idle limit",
            Box::new(move |log| {
                let timeout = TimeoutLayer::none()
                    .limit_by(asked::<Option<Duration>>)
                    .idle();
                BoxCloneSyncService::new(log.layer(timeout.layer(service())))
            }),
        ),
        (
            "a copy of the request",
            Box::new(move |log| {
                let retry = RetryLayer::new().clone_with(key);
                BoxCloneSyncService::new(log.layer(retry.layer(service())))
            }),
        ),
        (
            "a name",
            Box::new(move |log| {
                let named = JobLayer::named_by(asked::<&'static str>);
                BoxCloneSyncService::new(log.layer(named.layer(service())))
            }),
        ),
        (
            "the response of an open circuit",
            Box::new(move |log| {
                let breaker = open().respond_with(|_| -> u32 { asked(&0) });
                BoxCloneSyncService::new(log.layer(breaker.layer(service())))
            }),
        ),
        (
            "the response to a duplicate",
            Box::new(move |log| {
                let hangs = code(|_, _| std::future::pending());
                let dedup = DedupLayer::new(|_: &u32| Some(0));
                let dedup = dedup.respond_with(|_| -> u32 { asked(&0) }).layer(hangs);
                // The first call has the key until it is dropped, which never happens.
                std::mem::forget(dedup.clone().call(0));
                BoxCloneSyncService::new(log.layer(dedup))
            }),
        ),
        (
            "the error of a layer that is shut down",
            Box::new(move |log| {
                let cancel = stopped().fail_with(|_| -> BoxError { asked(&0) });
                BoxCloneSyncService::new(log.layer(cancel.layer(service())))
            }),
        ),
    ];
    for (what, make) in makers {
        let (log, recorder) = recording();
        let service = make(log);
        assert_eq!(caught(|| service.oneshot(1)).await, "asked", "{what}");
        let names = recorder.names();
        assert!(!names.contains(&"started"), "{what}: {names:?}");
        recorder.assert_one_terminal_each();
        // What another job of this thread does is not mistaken for that.
        let (log, recorder) = recording();
        let service = log.layer(Scripted::<u32, u32>::new().panic("ouch").strict());
        assert_eq!(caught(|| service.oneshot(1)).await, "ouch");
        recorder.assert_names(["dispatched", "started", "failed"]);
    }
}

/// R76 A gate that a client's stack asks within a job's code leaves the start of that job as it is.
#[tokio::test(start_paused = true)]
async fn a_gate_of_a_child_is_not_the_parents() {
    let client = CircuitBreakerLayer::new()
        .per_key(asked::<u32>)
        .layer(Stack::new(code(|_, n| async move { Ok(n) })));
    let client = Stack::new(client);
    let (log, recorder) = recording();
    let service = log.layer(code(move |_, n| {
        let client = client.clone();
        async move { client.oneshot(n).await }
    }));
    assert_eq!(caught(|| service.oneshot(1)).await, "asked");
    recorder.assert_names(["dispatched", "started", "failed"]);
}
