//! [`Polled`], a future that a test polls by hand, and [`WakeCounter`].

use std::{
    fmt,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

/// Counts the wakes of its waker. Clones share the count.
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

    /// The counted waker. All wakers of one counter [would wake](Waker::will_wake) the same task.
    #[must_use]
    pub fn waker(&self) -> Waker {
        Waker::from(self.0.clone())
    }

    /// The number of wakes, over all clones of the waker.
    #[must_use]
    pub fn wakes(&self) -> usize {
        self.0.0.load(Ordering::SeqCst)
    }
}

/// A future that the test polls by hand.
///
/// It needs no runtime itself, but the polled future may. In a paused tokio runtime, time passes
/// only with `tokio::time::advance`. In the end it can be awaited.
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
    /// The count before the last poll.
    seen: usize,
    done: bool,
}

impl<F> Polled<F>
where
    F: Future,
{
    /// Wraps the future without polling it.
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

    /// Polls once and returns the output.
    ///
    /// # Panics
    ///
    /// If the future is pending or already complete.
    #[track_caller]
    pub fn assert_ready(&mut self) -> F::Output {
        match self.poll() {
            Poll::Ready(output) => output,
            Poll::Pending => panic!("the future is pending after {} polls", self.polls),
        }
    }

    /// Polls once and asserts that there is no output.
    ///
    /// # Panics
    ///
    /// If the future completes or is already complete.
    #[track_caller]
    pub fn assert_pending(&mut self) {
        assert!(
            self.poll().is_pending(),
            "the future completed in poll {}",
            self.polls
        );
    }

    /// Polls once and asserts that the future waits: it has no output, and did not wake itself.
    ///
    /// So the awaited event is still to come, and a busy loop is caught.
    ///
    /// # Panics
    ///
    /// If the future completes, is already complete, or woke itself.
    #[track_caller]
    pub fn assert_waiting(&mut self) {
        self.assert_pending();
        assert!(
            !self.is_woken(),
            "the future woke itself in poll {} instead of waiting",
            self.polls,
        );
    }

    /// Asserts that the future was woken since its last poll began. Does not poll it.
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

    /// Whether the future has returned its output.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// The number of polls.
    #[must_use]
    pub fn polls(&self) -> usize {
        self.polls
    }

    /// The number of wakes.
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

    /// Returns the future, for the rest of its work.
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
