//! [`Strict`]: a service that panics on violations of tower's contract.

use std::{
    fmt,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

/// Wraps a service and panics if its use violates tower's contract:
///
/// - `call` without readiness: `poll_ready` of *this* instance must have returned `Ready(Ok(()))`
///   since its last call. A clone does not inherit readiness.
/// - `poll_ready` or `call` after `poll_ready` has returned an error.
/// - Polling the response after completion.
///
/// Put it directly under the layer under test. It does not need `Send`, so it works in a `!Send`
/// stack.
///
/// ```should_panic
/// use tower::Service;
/// use tower_keep_test::Scripted;
///
/// let mut service = Scripted::<u32, u32>::new().answer(1).strict();
/// let _ = service.call(1); // panics: `call` without readiness
/// ```
pub struct Strict<S> {
    inner: S,
    state: State,
    probe: Probe,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// New, cloned, or not polled to readiness yet.
    Fresh,
    Called,
    Ready,
    Failed,
}

impl<S> Strict<S> {
    /// Wraps `inner`.
    #[must_use]
    pub fn new(inner: S) -> Self {
        Self::with_probe(inner, Probe::default())
    }

    fn with_probe(inner: S, probe: Probe) -> Self {
        Self {
            inner,
            state: State::Fresh,
            probe,
        }
    }

    /// A handle to the counts of this service and its clones.
    #[must_use]
    pub fn probe(&self) -> Probe {
        self.probe.clone()
    }

    /// The wrapped service.
    #[must_use]
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The wrapped service, mutably.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Returns the wrapped service, without the probe.
    #[must_use]
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, Req> Service<Req> for Strict<S>
where
    S: Service<Req>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = StrictFuture<S::Future>;

    #[track_caller]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        assert!(
            self.state != State::Failed,
            "strict: `poll_ready` after it returned an error; such a service must be dropped",
        );
        Counts::add(&self.probe.0.polls);
        let result = ready!(self.inner.poll_ready(cx));
        self.state = if result.is_ok() {
            State::Ready
        } else {
            State::Failed
        };
        Poll::Ready(result)
    }

    #[track_caller]
    fn call(&mut self, request: Req) -> Self::Future {
        match self.state {
            State::Ready => self.state = State::Called,
            State::Fresh => panic!(
                "strict: `call` without readiness: `poll_ready` of this instance never returned \
                 `Ready(Ok(()))`, and a clone inherits none",
            ),
            State::Called => panic!(
                "strict: `call` without readiness: `poll_ready` of this instance has not returned \
                 `Ready(Ok(()))` since its last call",
            ),
            State::Failed => panic!(
                "strict: `call` after `poll_ready` returned an error; such a service must be dropped",
            ),
        }
        Counts::add(&self.probe.0.calls);
        StrictFuture {
            inner: self.inner.call(request),
            done: false,
        }
    }
}

impl<S> Clone for Strict<S>
where
    S: Clone,
{
    /// The clone shares the probe, but not readiness.
    fn clone(&self) -> Self {
        Counts::add(&self.probe.0.clones);
        Self::with_probe(self.inner.clone(), self.probe.clone())
    }
}

impl<S> fmt::Debug for Strict<S>
where
    S: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Strict")
            .field("inner", &self.inner)
            .field("state", &self.state)
            .field("probe", &self.probe)
            .finish()
    }
}

/// Wraps services in [`Strict`]. All of them share one [`Probe`].
#[derive(Clone, Debug, Default)]
pub struct StrictLayer {
    probe: Probe,
}

impl StrictLayer {
    /// A layer with its own probe.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A handle to the counts of all services of this layer.
    #[must_use]
    pub fn probe(&self) -> Probe {
        self.probe.clone()
    }
}

impl<S> Layer<S> for StrictLayer {
    type Service = Strict<S>;

    fn layer(&self, inner: S) -> Strict<S> {
        Strict::with_probe(inner, self.probe.clone())
    }
}

/// The counts of a [`Strict`] service and its clones. Clones share the counts.
#[derive(Clone, Debug, Default)]
pub struct Probe(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    clones: AtomicUsize,
    polls: AtomicUsize,
    calls: AtomicUsize,
}

impl Counts {
    fn add(count: &AtomicUsize) {
        count.fetch_add(1, Ordering::SeqCst);
    }
}

impl Probe {
    /// The number of clones made.
    #[must_use]
    pub fn clones(&self) -> usize {
        self.0.clones.load(Ordering::SeqCst)
    }

    /// The number of `poll_ready` calls.
    #[must_use]
    pub fn polls(&self) -> usize {
        self.0.polls.load(Ordering::SeqCst)
    }

    /// The number of `call`s with readiness.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.0.calls.load(Ordering::SeqCst)
    }
}

pin_project! {
    /// The response of a [`Strict`] service.
    ///
    /// # Panics
    ///
    /// Polling panics after completion.
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct StrictFuture<F> {
        #[pin]
        inner: F,
        done: bool,
    }
}

impl<F> Future for StrictFuture<F>
where
    F: Future,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        assert!(
            !*this.done,
            "strict: a response was polled after it completed"
        );
        let output = ready!(this.inner.poll(cx));
        *this.done = true;
        Poll::Ready(output)
    }
}
