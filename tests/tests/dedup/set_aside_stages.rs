//! A service that waits at several points, stacks around it, and calls that are set aside at each
//! of these points.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::sync::oneshot;
use tower::Service;
use tower_keep::BoxError;
use tower_keep_test::Polled;
use tower_keep_tests::*;

/// What an execution waits for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Point {
    /// Its next turn.
    Yield,
    /// It is pending twice, and wakes itself each time.
    Itself,
    /// A timer.
    Time(u64),
    /// A message from a task that waits for a timer.
    Task(u64),
}

impl Point {
    fn takes(self) -> Duration {
        match self {
            Self::Yield | Self::Itself => Duration::ZERO,
            Self::Time(time) | Self::Task(time) => ms(time),
        }
    }

    async fn pass(self) {
        match self {
            Self::Yield => tokio::task::yield_now().await,
            Self::Itself => {
                let mut left = 2;
                poll_fn(|cx| {
                    if left == 0 {
                        return Poll::Ready(());
                    }
                    left -= 1;
                    cx.waker().wake_by_ref();
                    Poll::Pending
                })
                .await;
            }
            Self::Time(time) => tokio::time::sleep(ms(time)).await,
            Self::Task(time) => {
                let (to, from) = oneshot::channel();
                tokio::spawn(async move {
                    tokio::time::sleep(ms(time)).await;
                    let _ = to.send(());
                });
                from.await.expect("the task sends");
            }
        }
    }
}

/// Each instance waits for these before it is ready.
const UNREADY: [Point; 2] = [Point::Yield, Point::Time(5)];

/// Each kind of point once, and up to two more, in any order.
pub(super) fn plan(seed: u64) -> Vec<Point> {
    let rng = &mut fastrand::Rng::with_seed(seed);
    let mut points = vec![
        Point::Yield,
        Point::Itself,
        Point::Time(rng.u64(1..40)),
        Point::Task(rng.u64(1..40)),
    ];
    for _ in 0..rng.u8(0..3) {
        points.push(Point::Time(rng.u64(1..40)));
    }
    rng.shuffle(&mut points);
    points
}

/// What became of the executions.
#[derive(Debug, Default)]
pub(super) struct Seen {
    begun: AtomicU32,
    running: AtomicU32,
    dropped: AtomicU32,
}

impl Seen {
    /// How many calls the service had.
    pub(super) fn begun(&self) -> u32 {
        self.begun.load(Ordering::Relaxed)
    }

    pub(super) fn running(&self) -> u32 {
        self.running.load(Ordering::Relaxed)
    }

    /// How many were dropped before they were over.
    pub(super) fn dropped(&self) -> u32 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// An execution that runs.
struct Running {
    seen: Arc<Seen>,
    is_over: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.seen.running.fetch_sub(1, Ordering::Relaxed);
        if !self.is_over {
            self.seen.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

type Wait = Pin<Box<dyn Future<Output = ()> + Send + Sync>>;

/// A service that waits before it is ready, and at each point of its plan. Each call's response is
/// its number.
pub(super) struct Staged {
    plan: Arc<[Point]>,
    fails_first: bool,
    /// How many calls this instance had, and the one of which it is a clone.
    calls: u32,
    seen: Arc<Seen>,
    wait: Option<Wait>,
    is_ready: bool,
}

impl Staged {
    pub(super) fn new(plan: &[Point]) -> Self {
        Self {
            plan: plan.into(),
            fails_first: false,
            calls: 0,
            seen: Arc::default(),
            wait: None,
            is_ready: false,
        }
    }

    /// The first call of each instance fails: a retry calls it again, or a clone that was made
    /// after the call.
    pub(super) fn failing_first(mut self) -> Self {
        self.fails_first = true;
        self
    }

    pub(super) fn seen(&self) -> Arc<Seen> {
        Arc::clone(&self.seen)
    }

    /// How long a call takes that is awaited, the wait for readiness included.
    pub(super) fn takes(&self) -> Duration {
        let points = UNREADY.iter().chain(&*self.plan);
        points.map(|point| point.takes()).sum()
    }
}

impl Clone for Staged {
    fn clone(&self) -> Self {
        Self {
            plan: Arc::clone(&self.plan),
            fails_first: self.fails_first,
            calls: self.calls,
            seen: Arc::clone(&self.seen),
            // Readiness is not inherited.
            wait: None,
            is_ready: false,
        }
    }
}

impl Service<u32> for Staged {
    type Response = u32;
    type Error = BoxError;
    type Future = Work;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        if !self.is_ready {
            let wait = self.wait.get_or_insert_with(|| {
                Box::pin(async {
                    for point in UNREADY {
                        point.pass().await;
                    }
                })
            });
            ready!(wait.as_mut().poll(cx));
            self.wait = None;
            self.is_ready = true;
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: u32) -> Work {
        assert!(std::mem::take(&mut self.is_ready), "it was ready");
        let number = self.seen.begun.fetch_add(1, Ordering::Relaxed) + 1;
        self.seen.running.fetch_add(1, Ordering::Relaxed);
        let running = Running {
            seen: self.seen(),
            is_over: false,
        };
        self.calls += 1;
        let fails = self.fails_first && self.calls == 1;
        let plan = Arc::clone(&self.plan);
        Box::pin(async move {
            let mut running = running;
            for point in plan.iter() {
                point.pass().await;
            }
            running.is_over = true;
            if fails {
                return Err("once more".into());
            }
            Ok(number)
        })
    }
}

/// A name, and what makes a stack around the service, whose keys no other stack has.
pub(super) type NamedStack = (&'static str, Box<dyn Fn(Staged) -> Stack>);

/// A dedup layer, alone and with others around it and inside it.
macro_rules! stacks {
    ($dedup:expr) => {{
        let all: Vec<NamedStack> = vec![
            ("bare", Box::new(|inner| Stack::new($dedup.layer(inner)))),
            (
                "below a Cancel layer",
                Box::new(|inner| Stack::new(CancelLayer::new().layer($dedup.layer(inner)))),
            ),
            (
                "below a limit",
                Box::new(|inner| {
                    let limit = TimeoutLayer::new(secs(10_000));
                    Stack::new(limit.layer($dedup.layer(inner)))
                }),
            ),
            (
                "around a retry",
                Box::new(|inner| {
                    let retry = RetryLayer::new().base_delay(ms(20));
                    Stack::new($dedup.layer(retry.layer(inner.failing_first())))
                }),
            ),
            (
                "tracked",
                Box::new(|inner| {
                    let layers = ServiceBuilder::new()
                        .layer(LogLayer::new())
                        .layer(CancelLayer::new())
                        .layer($dedup)
                        .layer(RetryLayer::new().base_delay(ms(20)))
                        .layer(TimeoutLayer::new(secs(10)).per_attempt());
                    Stack::new(layers.service(inner.failing_first()))
                }),
            ),
            (
                "pipeline",
                Box::new(|inner| {
                    let layer = Pipeline::new().dedup($dedup).build().unwrap();
                    Stack::new(layer.layer(inner))
                }),
            ),
        ];
        all
    }};
}
pub(super) use stacks;

/// How long a call may take in any of these stacks: two attempts, and the wait between them.
pub(super) fn at_most(inner: &Staged) -> Duration {
    2 * inner.takes() + ms(20)
}

/// The requests of a test have one key.
pub(super) fn one_key(_: &u32) -> Option<u32> {
    Some(7)
}

/// Where a call is set aside.
#[derive(Clone, Copy, Debug)]
pub(super) struct Aside {
    /// After this number of polls. All but the first follow a wake.
    pub(super) polls: usize,
    /// It was woken after the last of them, and not polled again.
    pub(super) woken: bool,
}

/// Waits until the call is woken, without polling it.
pub(super) async fn woken<F: Future>(call: &Polled<F>) {
    for _ in 0..100_000 {
        if call.is_woken() {
            return;
        }
        tokio::task::yield_now().await;
        if !call.is_woken() {
            tokio::time::sleep(ms(1)).await;
        }
    }
    panic!("nobody wakes it: {call:?}");
}

/// Polls the call up to the point at which it is set aside; its output if it was over before.
pub(super) async fn set_aside<F: Future>(call: &mut Polled<F>, at: Aside) -> Option<F::Output> {
    for poll in 0..at.polls {
        if poll > 0 {
            woken(call).await;
        }
        if let Poll::Ready(output) = call.poll() {
            return Some(output);
        }
    }
    if at.woken && at.polls > 0 {
        woken(call).await;
    }
    None
}

/// Polls a call only when it was woken, until it is over.
pub(super) async fn by_wakes<F: Future>(mut call: Polled<F>) -> F::Output {
    loop {
        woken(&call).await;
        if let Poll::Ready(output) = call.poll() {
            return output;
        }
    }
}

/// Runs the test with a call that is set aside at each of its points, before the first poll too,
/// until it says that the call was over before. Counts the points.
pub(super) async fn at_each_point(test: impl AsyncFn(Aside) -> bool) -> usize {
    for polls in 0.. {
        for woken in [false, true] {
            if !test(Aside { polls, woken }).await {
                return polls;
            }
        }
    }
    unreachable!("a call is over at some time");
}

/// The plans that each test goes through.
pub(super) fn plans() -> impl Iterator<Item = Vec<Point>> {
    (0..5).map(|round| plan(6400 + round))
}

/// The result of a call that is awaited, and how long that took. It has a minute.
pub(super) async fn awaited<T>(call: impl IntoFuture<Output = T>) -> (T, Duration) {
    let began = tokio::time::Instant::now();
    let result = tokio::time::timeout(secs(60), call).await;
    (result.expect("it waits for nobody"), began.elapsed())
}

/// Whether the call is pending for a minute, though it is polled whenever it is woken, and at the
/// end.
pub(super) async fn waits<F: Future>(call: &mut Polled<F>) -> bool {
    for second in 0..60 {
        let is_due = second == 0 || call.is_woken();
        if is_due && call.poll().is_ready() {
            return false;
        }
        tokio::time::sleep(secs(1)).await;
    }
    call.poll().is_pending()
}
