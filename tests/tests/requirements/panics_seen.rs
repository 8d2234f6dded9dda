//! What observers learn of a panic: that the job ran, and what the panic said.

use std::{
    future::{Future, Ready, ready},
    panic::{AssertUnwindSafe, panic_any},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use futures::FutureExt;
use tokio_util::sync::CancellationToken;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn, util::BoxCloneSyncService};
use tower_keep::{
    BoxError, CancelLayer, CircuitBreakerLayer, DedupLayer, Dispatcher, EventKind, FailureCause,
    JobLayer, LogLayer, Outcome, ProgressLayer, RetryLayer, TimeoutLayer,
    progress::{JobState, JobView},
    retry::{Decision, RetryBudget},
};
use tower_keep_test::{Recorder, Scripted, Step};

use super::{log::Lines, support::*};

/// What a service panics with, and what the events say of it.
const PANICS: [(fn(), &str); 4] = [
    (|| panic!("ouch"), "the service panicked: ouch"),
    (|| panic!("ouch {}", 7), "the service panicked: ouch 7"),
    (
        || panic_any(String::from("owned")),
        "the service panicked: owned",
    ),
    (|| panic_any(7_u32), "the service panicked"),
];

/// Where the service panics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Where {
    Call,
    FirstPoll,
    SecondPoll,
}

const PLACES: [Where; 3] = [Where::Call, Where::FirstPoll, Where::SecondPoll];

fn panics(place: Where, panic: fn()) -> Boxed {
    BoxCloneSyncService::new(service_fn(move |_: u32| {
        if place == Where::Call {
            panic();
        }
        async move {
            if place == Where::SecondPoll {
                tokio::task::yield_now().await;
            }
            panic();
            Ok::<u32, BoxError>(0)
        }
    }))
}

/// Waits for the call's panic: its text, or an empty one.
async fn caught<F: Future>(call: impl FnOnce() -> F) -> String {
    let call = AssertUnwindSafe(async { call().await });
    let Err(panic) = call.catch_unwind().await else {
        return "no panic".to_owned();
    };
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.or_else(|| panic.downcast_ref::<u32>().map(u32::to_string))
        .unwrap_or_default()
}

#[track_caller]
fn assert_told(recorder: &Recorder, what: &str, text: &str) {
    recorder.assert_one_terminal_each();
    for job in recorder.jobs() {
        let mut names = recorder.names_of(job);
        // Where there is a Retry layer.
        names.retain(|name| *name != "attempt_ended");
        assert_eq!(names, ["dispatched", "started", "failed"], "{what}");
        let expected = EventKind::Failed {
            cause: FailureCause::Panicked,
            error: text.into(),
        };
        assert_eq!(recorder.terminal(job), Some(expected), "{what}");
    }
}

/// R76 A panic anywhere in the service is reported after the start, with its text, and goes on to the caller as it is.
#[tokio::test(start_paused = true)]
async fn a_panic_is_told_with_its_text() {
    type Around = fn(LogLayer, Boxed) -> Boxed;
    let stacks: [(&str, Around); 8] = [
        ("alone", |log, inner| {
            BoxCloneSyncService::new(log.layer(inner))
        }),
        ("a root without a job", |log, inner| {
            let timeout = TimeoutLayer::new(secs(60));
            BoxCloneSyncService::new(timeout.layer(log.layer(inner)))
        }),
        ("inside layers", |log, inner| {
            let layers = ServiceBuilder::new()
                .layer(log)
                .layer(CancelLayer::new())
                .layer(RetryLayer::new())
                .layer(TimeoutLayer::new(secs(60)).per_attempt());
            BoxCloneSyncService::new(layers.service(inner))
        }),
        ("called in a poll", |log, inner| {
            let dedup = DedupLayer::new(|key: &u32| Some(*key));
            BoxCloneSyncService::new(log.layer(dedup.layer(inner)))
        }),
        ("begun in a poll", |log, inner| {
            let dedup = DedupLayer::new(|key: &u32| Some(*key));
            let timeout = TimeoutLayer::new(secs(60));
            BoxCloneSyncService::new(timeout.layer(dedup.layer(log.layer(inner))))
        }),
        ("detached", |log, inner| {
            let cancel = CancelLayer::new().detached();
            BoxCloneSyncService::new(log.layer(cancel.layer(inner)))
        }),
        ("named", |log, inner| {
            let named = JobLayer::new("named");
            BoxCloneSyncService::new(named.layer(log.layer(inner)))
        }),
        ("a child", |log, inner| {
            let child = log.layer(inner);
            let parent = log.layer(service_fn(move |n: u32| {
                let child = child.clone();
                async move { child.oneshot(n).await }
            }));
            BoxCloneSyncService::new(parent)
        }),
    ];
    for (name, around) in stacks {
        for place in PLACES {
            for (panic, text) in PANICS {
                let (log, recorder) = recording();
                let service = around(log, panics(place, panic));
                let said = caught(|| service.oneshot(1)).await;
                let expected = text.strip_prefix("the service panicked: ").unwrap_or("7");
                let what = format!("{name}, {place:?}, {text}");
                assert_eq!(said, expected, "{what}");
                assert_told(&recorder, &what, text);
            }
        }
    }
}

/// R76 A detached job whose caller went away is reported with its text too.
#[tokio::test(start_paused = true)]
async fn a_detached_panic_is_told_without_its_caller() {
    for (panic, text) in PANICS {
        let (log, recorder) = recording();
        let mut service = ServiceBuilder::new()
            .layer(log)
            .layer(CancelLayer::new().detached())
            .service(panics(Where::SecondPoll, panic));
        drop(begin(&mut service, 1).await);
        recorder
            .until(|recorder| recorder.count("failed") == 1)
            .await;
        assert_told(&recorder, "detached", text);
    }
}

/// R76 A dispatched job's board keeps the text, also where the handle was dropped.
#[tokio::test(start_paused = true)]
async fn a_dispatched_panic_is_on_the_board() {
    for place in PLACES {
        for (panic, text) in PANICS {
            let (log, recorder) = recording();
            let jobs = Dispatcher::new(log.layer(panics(place, panic)));
            let ended = jobs.dispatch(1).progress().ended().await;
            assert_eq!(ended.state, JobState::Failed(FailureCause::Panicked));
            assert_eq!(ended.error.as_deref(), Some(text));
            assert!(ended.started_at.is_some());
            assert_told(&recorder, &format!("dispatched, {place:?}"), text);
        }
    }
}

/// R76 A caller that joined an execution that panicked learns what it said, whatever the caller gets in its place.
#[tokio::test(start_paused = true)]
async fn a_joined_panic_is_told_to_all() {
    let join = || DedupLayer::new(|_: &u32| Some(())).join();
    for place in PLACES {
        for (panic, text) in PANICS {
            for mode in 0..2 {
                let (log, recorder) = recording();
                let inner = panics(place, panic);
                let mut service: Boxed =
                    match mode {
                        0 => BoxCloneSyncService::new(log.layer(join().layer(inner))),
                        _ => BoxCloneSyncService::new(
                            log.layer(join().respond_with(|_| 500).layer(inner.map_err(
                                |error: BoxError| -> Arc<str> { error.to_string().into() },
                            )))
                            .map_err(|error: Arc<str>| -> BoxError { error.to_string().into() }),
                        ),
                    };
                let leader = begin(&mut service, 1).await;
                let follower = begin(&mut service, 1).await;
                let (first, second) = tokio::join!(leader, follower);
                assert_eq!(first.is_ok(), mode == 1);
                assert_eq!(second.is_ok(), mode == 1);
                recorder.assert_one_terminal_each();
                let [leader, follower] = recorder.jobs()[..] else {
                    panic!("two jobs")
                };
                let what = format!("joined, {place:?}, {text}, mode {mode}");
                assert_eq!(
                    recorder.names_of(leader),
                    ["dispatched", "started", "failed"],
                    "{what}"
                );
                assert_eq!(
                    recorder.names_of(follower),
                    ["dispatched", "duplicate", "failed"],
                    "{what}"
                );
                let expected = EventKind::Failed {
                    cause: FailureCause::Panicked,
                    error: text.into(),
                };
                for job in [leader, follower] {
                    assert_eq!(recorder.terminal(job).as_ref(), Some(&expected), "{what}");
                }
            }
        }
    }
}

/// R76 The text is in the record and on the board of any layer.
#[tokio::test(start_paused = true)]
async fn the_text_is_in_the_log_and_on_the_board() {
    let (lines, _guard) = Lines::listen();
    let progress = ProgressLayer::new();
    let board = progress.handle();
    let service = ServiceBuilder::new()
        .layer(LogLayer::new())
        .layer(progress)
        .service(Scripted::<u32, u32>::new().panic("ouch").strict());
    assert_eq!(caught(|| service.oneshot(1)).await, "ouch");
    assert_eq!(
        lines.records(),
        ["INFO dispatched", "DEBUG started", "ERROR failed"]
    );
    let fields = lines.fields().pop().unwrap();
    assert!(
        fields.contains(r#"cause="the service panicked" error="the service panicked: ouch""#),
        "{fields}"
    );
    let [JobView { error, .. }] = &board.history()[..] else {
        panic!("one job ended")
    };
    assert_eq!(error.as_deref(), Some("the service panicked: ouch"));
}

/// R76 A long text is cut at 1 KiB, and a URL in it loses its secrets.
#[tokio::test(start_paused = true)]
async fn the_text_is_bounded_and_has_no_secrets() {
    let said = format!("at https://me:secret@example.com/a {}", "ä".repeat(3000));
    for said in [said, "x".repeat(20_000), "y".repeat(1024)] {
        let (log, recorder) = recording();
        let service = log.layer(Scripted::<u32, u32>::new().panic(said.clone()).strict());
        assert_eq!(caught(|| service.oneshot(1)).await, said);
        let Some(EventKind::Failed { error, .. }) = recorder.terminal(recorder.job()) else {
            panic!("it failed")
        };
        assert!(error.len() <= 1024, "{}", error.len());
        assert!(error.starts_with("the service panicked"), "{error}");
        assert!(!error.contains("secret"), "{error}");
    }
}

/// R76 The second attempt's panic is reported once, after the retry.
#[tokio::test(start_paused = true)]
async fn a_later_attempts_panic_is_told() {
    for panic in [Step::panic("ouch"), Step::panic_in_call("ouch")] {
        let (log, recorder) = recording();
        let inner = Scripted::<u32, u32>::new().error("no").step(panic);
        let service = ServiceBuilder::new()
            .layer(log)
            .layer(RetryLayer::new())
            .service(inner.strict());
        assert_eq!(caught(|| service.oneshot(1)).await, "ouch");
        recorder.assert_names([
            "dispatched",
            "started",
            "attempt_ended",
            "retry_scheduled",
            "retrying",
            "attempt_ended",
            "failed",
        ]);
    }
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

/// R76 A panic of what a layer asks the user before the service is called is not the start of the job.
#[tokio::test(start_paused = true)]
async fn a_panic_of_a_gate_is_no_start() {
    type Key = fn(&u32) -> Option<u32>;
    type Make = Box<dyn Fn(LogLayer) -> Boxed>;
    let key: Key = asked;
    let service = || Boxed::new(code(|_, n| async move { Ok(n) }));
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
                let timeout = TimeoutLayer::by(asked::<Option<Duration>>);
                BoxCloneSyncService::new(log.layer(timeout.layer(service())))
            }),
        ),
        (
            "an idle limit",
            Box::new(move |log| {
                let timeout = TimeoutLayer::by(asked::<Option<Duration>>).idle();
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
        .layer(Boxed::new(code(|_, n| async move { Ok(n) })));
    let client = Boxed::new(client);
    let (log, recorder) = recording();
    let service = log.layer(code(move |_, n| {
        let client = client.clone();
        async move { client.oneshot(n).await }
    }));
    assert_eq!(caught(|| service.oneshot(1)).await, "asked");
    recorder.assert_names(["dispatched", "started", "failed"]);
}
