//! Tests of discarded responses: when a hook reads them, in which scope, and when they are freed.

use std::{
    future::{Future, poll_fn},
    panic::AssertUnwindSafe,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures_util::FutureExt;
use tokio::time::{Instant, Sleep, sleep};
use tower::{Layer, Service, ServiceExt, service_fn};

use super::{DiscardOutcome, NoDrain, sealed::Sealed};
use crate::{
    BoxError, Event, EventKind, GiveUpReason, Job, JobLayer, LogLayer,
    retry::{
        Attempt, Decision, Policy, RetryLayer, before_attempt::Unchanged, budget::LayerBudget,
        give_up::KeepOutcome, hooks::HookSet, keep_request::ByClone, max_retries::LayerRetries,
        respond::RespondAsIs,
    },
};

const SECOND: Duration = Duration::from_secs(1);

/// A response: good, or a failure that the policy retries. `alive` counts the replies that exist.
#[derive(Debug)]
struct Reply {
    is_good: bool,
    alive: Arc<AtomicU32>,
}

impl Reply {
    fn new(is_good: bool, alive: &Arc<AtomicU32>) -> Self {
        alive.fetch_add(1, Ordering::Relaxed);
        Self {
            is_good,
            alive: Arc::clone(alive),
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a drain does with a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reads {
    /// Ends after this time.
    For(Duration),
    /// Drops the reply at once.
    Nothing,
    PanicsAtOnce,
    PanicsWhenPolled,
    PanicsWhenDropped,
}

/// The hook under test, and what it did.
#[derive(Clone)]
struct Reader {
    reads: Reads,
    polls: Arc<AtomicU32>,
    discarded: Arc<AtomicU32>,
    finished: Arc<AtomicU32>,
    /// The jobs in which user code ran.
    jobs: Arc<Mutex<Vec<Job>>>,
}

struct Reading {
    reader: Reader,
    _reply: Reply,
    sleep: Pin<Box<Sleep>>,
}

impl Reader {
    fn new(reads: Reads) -> Self {
        Self {
            reads,
            polls: Arc::default(),
            discarded: Arc::default(),
            finished: Arc::default(),
            jobs: Arc::default(),
        }
    }

    fn note_job(&self) {
        self.jobs.lock().unwrap().push(Job::current());
    }
}

impl Sealed for Reader {}
impl RespondAsIs for Reader {}

impl DiscardOutcome<Reply> for Reader {
    type Drain = Reading;

    const DRAINS: bool = true;

    fn discard(&self, reply: Reply) -> Option<Reading> {
        self.note_job();
        assert!(!reply.is_good, "a good reply goes to the caller");
        self.discarded.fetch_add(1, Ordering::Relaxed);
        let time = match self.reads {
            Reads::Nothing => return None,
            Reads::PanicsAtOnce => panic!("discard"),
            Reads::For(time) => time,
            _ => Duration::ZERO,
        };
        Some(Reading {
            reader: self.clone(),
            _reply: reply,
            sleep: Box::pin(sleep(time)),
        })
    }
}

impl Future for Reading {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.reader.note_job();
        self.reader.polls.fetch_add(1, Ordering::Relaxed);
        assert_ne!(self.reader.reads, Reads::PanicsWhenPolled, "poll");
        let polled = self.sleep.as_mut().poll(cx);
        if polled.is_ready() {
            self.reader.finished.fetch_add(1, Ordering::Relaxed);
        }
        polled
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.reader.note_job();
        if self.reader.reads == Reads::PanicsWhenDropped && !std::thread::panicking() {
            panic!("drop");
        }
    }
}

type Draining = HookSet<ByClone, KeepOutcome, LayerBudget, LayerRetries, Unchanged, Reader>;

/// Retries each bad reply and each error after exactly `wait`.
fn retry(
    reader: &Reader,
    wait: Duration,
) -> RetryLayer<impl Policy<(), Reply, BoxError> + Clone + use<>, Draining> {
    RetryLayer::new()
        .with_hooks(|hooks| HookSet {
            keep_request: hooks.keep_request,
            on_give_up: hooks.on_give_up,
            choose_budget: hooks.choose_budget,
            choose_retries: hooks.choose_retries,
            before_attempt: hooks.before_attempt,
            discard_outcome: reader.clone(),
        })
        .decide_with(
            move |outcome: &Result<Reply, BoxError>, _: &Attempt<'_>| match outcome {
                Ok(reply) if reply.is_good => Decision::Stop,
                _ => Decision::RetryIn(wait),
            },
        )
}

/// Answers `bad` times with a bad reply, then with good ones. Notes when each attempt was called, and
/// how many replies existed then.
#[derive(Clone)]
struct Server {
    alive: Arc<AtomicU32>,
    calls: Arc<Mutex<Vec<(Duration, u32)>>>,
}

impl Server {
    fn new() -> Self {
        Self {
            alive: Arc::default(),
            calls: Arc::default(),
        }
    }

    fn replies(&self) -> u32 {
        self.alive.load(Ordering::Relaxed)
    }

    fn calls(&self) -> Vec<(Duration, u32)> {
        self.calls.lock().unwrap().clone()
    }

    fn service(
        &self,
        bad: usize,
    ) -> impl Service<(), Response = Reply, Error = BoxError, Future: Send> + Clone + use<> {
        let server = self.clone();
        let began = Instant::now();
        service_fn(move |()| {
            let mut calls = server.calls.lock().unwrap();
            let is_good = calls.len() >= bad;
            calls.push((began.elapsed(), server.replies()));
            let reply = Reply::new(is_good, &server.alive);
            async move { Ok(reply) }
        })
    }
}

/// The default takes no place in the future of a call, and is never asked.
#[test]
fn the_default_costs_nothing() {
    assert_eq!(size_of::<Option<NoDrain>>(), 0);
}

/// The drain runs during the wait: the next attempt begins when it would begin anyway.
#[tokio::test(start_paused = true)]
async fn a_drain_makes_no_wait_longer() {
    for (reads, finished) in [
        (Reads::Nothing, 0),
        (Reads::For(Duration::ZERO), 2),
        (Reads::For(SECOND / 2), 2),
        // Longer than the wait: dropped.
        (Reads::For(SECOND * 3 / 2), 0),
        (Reads::For(SECOND * 1_000), 0),
    ] {
        let (server, reader) = (Server::new(), Reader::new(reads));
        let service = retry(&reader, SECOND).layer(server.service(2));
        let reply = service.oneshot(()).await.unwrap();
        assert!(reply.is_good);
        // No reply is left when the next attempt begins.
        let expected = [(Duration::ZERO, 0), (SECOND, 0), (SECOND * 2, 0)];
        assert_eq!(server.calls(), expected, "{reads:?}");
        assert_eq!(reader.discarded.load(Ordering::Relaxed), 2, "{reads:?}");
        assert_eq!(
            reader.finished.load(Ordering::Relaxed),
            finished,
            "{reads:?}"
        );
        // When the reply is discarded, when the drain ends, and when the wait ends: nothing else.
        assert!(reader.polls.load(Ordering::Relaxed) <= 4, "{reads:?}");
        assert_eq!(server.replies(), 1);
    }
}

/// A drain that has ended is dropped at once, not at the end of the wait.
#[tokio::test(start_paused = true)]
async fn a_drain_that_ended_is_freed() {
    let (server, reader) = (Server::new(), Reader::new(Reads::For(SECOND)));
    let service = retry(&reader, SECOND * 10).layer(server.service(1));
    let mut call = pin!(service.oneshot(()));
    for (secs, replies) in [(0, 1), (2, 0), (3, 0)] {
        tokio::time::advance(SECOND * secs).await;
        assert!((&mut call).now_or_never().is_none());
        assert_eq!(server.replies(), replies, "after {secs} s");
    }
    assert!(call.await.unwrap().is_good);
}

/// Without a wait the drain is polled once, whether it ends or not.
#[tokio::test(start_paused = true)]
async fn without_a_wait_a_drain_is_polled_once() {
    for reads in [Reads::For(Duration::ZERO), Reads::For(SECOND)] {
        let (server, reader) = (Server::new(), Reader::new(reads));
        let service = retry(&reader, Duration::ZERO).layer(server.service(1));
        let reply = service.oneshot(()).now_or_never().unwrap().unwrap();
        assert!(reply.is_good);
        assert_eq!(reader.polls.load(Ordering::Relaxed), 1);
        assert_eq!(server.calls(), [(Duration::ZERO, 0); 2]);
    }
}

/// An error is dropped as without the hook, and the last reply goes to the caller.
#[tokio::test(start_paused = true)]
async fn errors_and_the_last_reply_are_not_discarded() {
    let reader = Reader::new(Reads::For(SECOND));
    let broken = service_fn(|()| async { Err::<Reply, BoxError>("no".into()) });
    retry(&reader, SECOND)
        .layer(broken)
        .oneshot(())
        .await
        .unwrap_err();
    assert_eq!(reader.discarded.load(Ordering::Relaxed), 0);

    let server = Server::new();
    let gave_up = retry(&reader, SECOND).max_retries(1).on_give_up(
        |outcome: Result<Reply, BoxError>, why| {
            assert_eq!(why.reason(), GiveUpReason::Exhausted);
            outcome
        },
    );
    let reply = gave_up.layer(server.service(5)).oneshot(()).await.unwrap();
    assert!(!reply.is_good);
    assert_eq!(reader.discarded.load(Ordering::Relaxed), 1);
    assert_eq!(server.replies(), 1);
}

/// The hook before the next attempt sees the reply before it is discarded.
#[tokio::test(start_paused = true)]
async fn a_reply_is_seen_before_it_is_discarded() {
    let (server, reader) = (Server::new(), Reader::new(Reads::For(SECOND / 2)));
    let discarded = Arc::clone(&reader.discarded);
    let prepared = retry(&reader, SECOND).before_attempt_async_with_outcome(
        move |outcome: &Result<Reply, BoxError>| {
            assert!(!outcome.as_ref().unwrap().is_good);
            discarded.load(Ordering::Relaxed)
        },
        |(), attempt: &Attempt<'_>, seen| {
            assert_eq!(seen, (attempt.number() - 1).checked_sub(1));
            std::future::ready(Ok::<_, BoxError>(()))
        },
    );
    prepared.layer(server.service(3)).oneshot(()).await.unwrap();
    assert_eq!(reader.discarded.load(Ordering::Relaxed), 3);
}

/// The endings among these events, as text.
fn endings(events: &Mutex<Vec<EventKind>>) -> Vec<String> {
    let events = events.lock().unwrap();
    let ended = events.iter().filter(|kind| kind.is_terminal());
    ended
        .map(|kind| match kind {
            EventKind::Failed { error, .. } => error.to_string(),
            kind => format!("{kind:?}"),
        })
        .collect()
}

/// Calls with a layer that tracks jobs, outside and inside the retry. Gives the endings and whether
/// the call panicked.
async fn tracked(reads: Reads, outside: bool) -> (Vec<String>, bool, Reader, Server) {
    let (server, reader) = (Server::new(), Reader::new(reads));
    let events = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&events);
    let log = LogLayer::to(move |event: &Event| sink.lock().unwrap().push(event.kind.clone()));
    let retry = retry(&reader, SECOND);
    let outcome = if outside {
        let service = log.layer(retry.layer(server.service(2)));
        AssertUnwindSafe(service.oneshot(()))
            .catch_unwind()
            .await
            .map(drop)
    } else {
        let service = retry.layer(log.layer(server.service(2)));
        AssertUnwindSafe(service.oneshot(()))
            .catch_unwind()
            .await
            .map(drop)
    };
    (endings(&events), outcome.is_err(), reader, server)
}

/// All code of a drain runs in the job of the call.
#[tokio::test(start_paused = true)]
async fn a_drain_runs_in_the_job() {
    for outside in [true, false] {
        for reads in [Reads::For(SECOND / 2), Reads::For(SECOND * 2)] {
            let (endings, panicked, reader, _) = tracked(reads, outside).await;
            assert_eq!(endings, ["Succeeded"]);
            assert!(!panicked);
            let jobs = reader.jobs.lock().unwrap();
            assert!(jobs.len() >= 6, "{}", jobs.len());
            let first = jobs[0].id();
            assert!(first.is_some());
            assert!(
                jobs.iter().all(|job| job.id() == first),
                "{outside} {reads:?}"
            );
        }
    }
}

/// A panic anywhere in a drain ends the job, once, as a panic, and frees the reply.
#[tokio::test(start_paused = true)]
async fn a_panic_in_a_drain_ends_the_job() {
    for outside in [true, false] {
        for (reads, message) in [
            (Reads::PanicsAtOnce, "discard"),
            (Reads::PanicsWhenPolled, "poll"),
            (Reads::PanicsWhenDropped, "drop"),
        ] {
            let (endings, panicked, _, server) = tracked(reads, outside).await;
            assert!(panicked);
            assert_eq!(endings.len(), 1, "{endings:?}");
            assert!(endings[0].contains("panicked"), "{endings:?}");
            assert!(endings[0].contains(message), "{endings:?}");
            assert_eq!(server.replies(), 0);
        }
    }
}

/// A call that is dropped after any number of polls drops the drain and its reply.
#[tokio::test(start_paused = true)]
async fn a_drop_at_any_point_frees_the_reply() {
    for polls in 0..12 {
        let (server, reader) = (Server::new(), Reader::new(Reads::For(SECOND)));
        let retry = retry(&reader, SECOND * 3);
        let mut service = JobLayer::new("call").layer(retry.layer(server.service(2)));
        poll_fn(|cx| service.poll_ready(cx)).await.unwrap();
        {
            let mut call = pin!(service.call(()));
            let mut is_over = false;
            for _ in 0..polls {
                let mut cx = Context::from_waker(Waker::noop());
                is_over = is_over || call.as_mut().poll(&mut cx).is_ready();
                tokio::time::advance(SECOND / 2).await;
            }
        }
        assert_eq!(server.replies(), 0, "after {polls} polls");
    }
}
