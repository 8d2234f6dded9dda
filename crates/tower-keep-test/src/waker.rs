use std::{
    fmt,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

/// Counts how often its waker is woken. Clones count together.
///
/// ```
/// use tower_keep_test::WakeCounter;
///
/// let counter = WakeCounter::new();
/// counter.waker().wake_by_ref();
/// assert_eq!(counter.wakes(), 1);
/// ```
#[derive(Clone, Debug, Default)]
pub struct WakeCounter(Arc<Count>);

#[derive(Debug, Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl WakeCounter {
    /// A counter at 0.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The waker that is counted. Wakers of one counter [would wake](Waker::will_wake) the same task.
    #[must_use]
    pub fn waker(&self) -> Waker {
        Waker::from(self.0.clone())
    }

    /// How often the waker and its clones were woken.
    #[must_use]
    pub fn wakes(&self) -> usize {
        self.0.0.load(Ordering::SeqCst)
    }
}

/// A future that the test polls by hand.
///
/// It needs no runtime of its own, but what it polls may: inside a paused tokio runtime, time passes only where the
/// test says so with `tokio::time::advance`. It can be awaited at last.
///
/// For `poll_ready`: `Polled::new(std::future::poll_fn(|cx| service.poll_ready(cx)))`.
///
/// ```
/// use tower_keep_test::{Polled, ms};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() {
/// let mut sleep = Polled::new(tokio::time::sleep(ms(5)));
/// sleep.assert_waiting();
/// tokio::time::advance(ms(5)).await;
/// assert!(sleep.is_woken());
/// sleep.assert_ready();
/// # }
/// ```
pub struct Polled<F>
where
    F: Future,
{
    future: Pin<Box<F>>,
    counter: WakeCounter,
    waker: Waker,
    polls: usize,
    /// What the counter showed before the last poll.
    seen: usize,
    done: bool,
}

impl<F> Polled<F>
where
    F: Future,
{
    /// Takes the future, without polling it.
    #[must_use]
    pub fn new(future: F) -> Self {
        let counter = WakeCounter::new();
        Self {
            future: Box::pin(future),
            waker: counter.waker(),
            counter,
            polls: 0,
            seen: 0,
            done: false,
        }
    }

    /// Polls once.
    ///
    /// # Panics
    ///
    /// If the future is complete.
    #[track_caller]
    pub fn poll(&mut self) -> Poll<F::Output> {
        assert!(
            !self.done,
            "the future is complete: there is nothing to poll"
        );
        self.polls += 1;
        self.seen = self.counter.wakes();
        let poll = self
            .future
            .as_mut()
            .poll(&mut Context::from_waker(&self.waker));
        self.done = poll.is_ready();
        poll
    }

    /// Polls once and expects an output.
    ///
    /// # Panics
    ///
    /// If the future is pending, or complete already.
    #[track_caller]
    pub fn assert_ready(&mut self) -> F::Output {
        match self.poll() {
            Poll::Ready(output) => output,
            Poll::Pending => panic!("the future is pending after {} polls", self.polls),
        }
    }

    /// Polls once and expects no output.
    ///
    /// # Panics
    ///
    /// If the future completes, or is complete already.
    #[track_caller]
    pub fn assert_pending(&mut self) {
        assert!(
            self.poll().is_pending(),
            "the future completed in poll {}",
            self.polls
        );
    }

    /// Polls once and expects that it waits: no output, and no wake by which it would only be polled again at once.
    ///
    /// Whatever it waits for is still ahead then, and a busy loop is caught.
    ///
    /// # Panics
    ///
    /// If the future completes, is complete already, or woke itself.
    #[track_caller]
    pub fn assert_waiting(&mut self) {
        self.assert_pending();
        assert!(
            !self.is_woken(),
            "the future woke itself in poll {}, though it waits",
            self.polls,
        );
    }

    /// Asserts that the future was woken since its last poll began, without polling it.
    ///
    /// # Panics
    ///
    /// If it was not.
    #[track_caller]
    pub fn assert_woken(&self) {
        assert!(
            self.is_woken(),
            "the future was not woken since poll {}",
            self.polls
        );
    }

    /// Whether the future was woken since its last poll began.
    #[must_use]
    pub fn is_woken(&self) -> bool {
        self.counter.wakes() > self.seen
    }

    /// Whether the future gave its output.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// How often the future was polled.
    #[must_use]
    pub fn polls(&self) -> usize {
        self.polls
    }

    /// How often the future was woken.
    #[must_use]
    pub fn wakes(&self) -> usize {
        self.counter.wakes()
    }
}

impl<F> IntoFuture for Polled<F>
where
    F: Future,
{
    type Output = F::Output;
    type IntoFuture = Pin<Box<F>>;

    /// The future itself, for whatever it has left to do.
    fn into_future(self) -> Pin<Box<F>> {
        self.future
    }
}

impl<F> fmt::Debug for Polled<F>
where
    F: Future,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Polled")
            .field("polls", &self.polls)
            .field("wakes", &self.wakes())
            .field("woken", &self.is_woken())
            .field("done", &self.done)
            .finish()
    }
}
