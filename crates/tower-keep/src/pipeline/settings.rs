//! [`Pipeline`]: the slots and their setters.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tower_layer::Identity;

use super::{
    slot::Slot,
    slots::{Cancel, CircuitBreaker, Dedup, Log, Progress, Retry, Timeout},
};
use crate::{
    cancel::CancelLayer,
    circuit_breaker::CircuitBreakerLayer,
    log::LogLayer,
    progress::ProgressLayer,
    retry::RetryLayer,
    timeout::TimeoutLayer,
    unshare::{Unshare, has_others},
};

/// Composes the seven layers, and checks their settings against each other.
///
/// Each setter takes a configured layer, or [`Identity`] for an empty slot. The type parameters are
/// the slots, outermost first: `L` log, `P` progress, `C` cancel, `D` dedup, `B` circuit breaker,
/// `T` overall timeout, `R` retry, `A` timeout of each attempt. See [how to keep a pipeline in a
/// struct](super#in-a-struct).
///
/// ```
/// use tower_keep::{Pipeline, RetryLayer};
///
/// // Jitter and a budget, as the module recommends for production.
/// let pipeline = Pipeline::new().retry(RetryLayer::for_clients()).build().unwrap();
/// # let _ = pipeline;
/// ```
///
/// A handle that was taken from a layer before also sees the pipeline's calls. Clones of a pipeline
/// share its layers.
///
/// If a pipeline has a clone, or a clone was built, its setters return a pipeline whose layers have
/// new state. The settings stay the same. To share one layer between two pipelines, set it in both
/// as the last step.
#[derive(Clone)]
#[must_use = "a pipeline does nothing until it is built and put around a service"]
pub struct Pipeline<
    L = LogLayer,
    P = ProgressLayer,
    C = CancelLayer,
    D = Identity,
    B = CircuitBreakerLayer,
    T = TimeoutLayer,
    R = RetryLayer,
    A = TimeoutLayer,
> {
    pub(super) log: L,
    pub(super) progress: P,
    pub(super) cancel: C,
    pub(super) dedup: D,
    pub(super) circuit_breaker: B,
    pub(super) timeout: T,
    pub(super) retry: R,
    pub(super) attempt_timeout: A,
    pub(super) clones: Clones,
}

/// Counts the clones of a pipeline, and remembers whether one was built. Its services may outlive
/// it.
#[derive(Clone, Default)]
pub(super) struct Clones(Arc<AtomicBool>);

impl Clones {
    pub(super) fn built(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Pipeline {
    /// A pipeline with the defaults of each layer, no Dedup, 60 s overall and 10 s for each
    /// attempt.
    pub fn new() -> Self {
        Self {
            log: LogLayer::new(),
            progress: ProgressLayer::new(),
            cancel: CancelLayer::new(),
            dedup: Identity::new(),
            circuit_breaker: CircuitBreakerLayer::new(),
            timeout: TimeoutLayer::new(Duration::from_secs(60)),
            retry: RetryLayer::new(),
            attempt_timeout: TimeoutLayer::new(Duration::from_secs(10)).per_attempt(),
            clones: Clones::default(),
        }
    }
}

impl Default for Pipeline {
    fn default() -> Self {
        Self::new()
    }
}

/// The pipeline with the layer in slot `$layer` replaced by the argument of that name, possibly of
/// another type. The other fields are listed because struct update syntax cannot change the type.
macro_rules! with {
    ($self:ident, $layer:ident; $($rest:ident),+) => {{
        let Self { $layer: _, $($rest,)+ clones } = $self.unshared();
        Pipeline { $layer, $($rest,)+ clones }
    }};
}

impl<L, P, C, D, B, T, R, A> Unshare for Pipeline<L, P, C, D, B, T, R, A>
where
    L: Slot<Log>,
    P: Slot<Progress>,
    C: Slot<Cancel>,
    D: Slot<Dedup>,
    B: Slot<CircuitBreaker>,
    T: Slot<Timeout>,
    R: Slot<Retry>,
    A: Slot<Timeout>,
{
    /// Whether the pipeline has a clone, or a clone was built. Handles of its layers do not count:
    /// they are meant to stay connected.
    fn is_shared(&self) -> bool {
        let Clones(built) = &self.clones;
        has_others(built) || built.load(Ordering::Relaxed)
    }

    fn renew(&mut self) {
        self.clones = Clones::default();
        self.log.unshare();
        self.progress.unshare();
        self.cancel.unshare();
        self.dedup.unshare();
        self.circuit_breaker.unshare();
        self.timeout.unshare();
        self.retry.unshare();
        self.attempt_timeout.unshare();
    }
}

impl<L, P, C, D, B, T, R, A> Pipeline<L, P, C, D, B, T, R, A>
where
    L: Slot<Log>,
    P: Slot<Progress>,
    C: Slot<Cancel>,
    D: Slot<Dedup>,
    B: Slot<CircuitBreaker>,
    T: Slot<Timeout>,
    R: Slot<Retry>,
    A: Slot<Timeout>,
{
    /// Sets how events are logged. Default: [`LogLayer::new`].
    pub fn log<N: Slot<Log>>(self, log: N) -> Pipeline<N, P, C, D, B, T, R, A> {
        with!(self, log; progress, cancel, dedup, circuit_breaker, timeout, retry, attempt_timeout)
    }

    /// Sets where progress is shown. Default: [`ProgressLayer::new`].
    pub fn progress<N: Slot<Progress>>(self, progress: N) -> Pipeline<L, N, C, D, B, T, R, A> {
        with!(self, progress; log, cancel, dedup, circuit_breaker, timeout, retry, attempt_timeout)
    }

    /// Sets how jobs are cancelled. Default: [`CancelLayer::new`].
    pub fn cancel<N: Slot<Cancel>>(self, cancel: N) -> Pipeline<L, P, N, D, B, T, R, A> {
        with!(self, cancel; log, progress, dedup, circuit_breaker, timeout, retry, attempt_timeout)
    }

    /// Sets which requests are duplicates. Default: an empty slot.
    pub fn dedup<N: Slot<Dedup>>(self, dedup: N) -> Pipeline<L, P, C, N, B, T, R, A> {
        with!(self, dedup; log, progress, cancel, circuit_breaker, timeout, retry, attempt_timeout)
    }

    /// Sets when calls are rejected. Default: [`CircuitBreakerLayer::new`].
    pub fn circuit_breaker<N: Slot<CircuitBreaker>>(
        self,
        circuit_breaker: N,
    ) -> Pipeline<L, P, C, D, N, T, R, A> {
        with!(self, circuit_breaker; log, progress, cancel, dedup, timeout, retry, attempt_timeout)
    }

    /// Sets the limit over all attempts and waits. Default: 60 s.
    pub fn timeout<N: Slot<Timeout>>(self, timeout: N) -> Pipeline<L, P, C, D, B, N, R, A> {
        with!(self, timeout; log, progress, cancel, dedup, circuit_breaker, retry, attempt_timeout)
    }

    /// Sets when calls are retried. Default: [`RetryLayer::new`].
    pub fn retry<N: Slot<Retry>>(self, retry: N) -> Pipeline<L, P, C, D, B, T, N, A> {
        with!(self, retry; log, progress, cancel, dedup, circuit_breaker, timeout, attempt_timeout)
    }

    /// Sets the limit of each attempt. Default: 10 s.
    pub fn attempt_timeout<N: Slot<Timeout>>(
        self,
        attempt_timeout: N,
    ) -> Pipeline<L, P, C, D, B, T, R, N> {
        with!(self, attempt_timeout; log, progress, cancel, dedup, circuit_breaker, timeout, retry)
    }
}

impl<L, P, C, D, B, T, R, A> fmt::Debug for Pipeline<L, P, C, D, B, T, R, A>
where
    L: fmt::Debug,
    P: fmt::Debug,
    C: fmt::Debug,
    D: fmt::Debug,
    B: fmt::Debug,
    T: fmt::Debug,
    R: fmt::Debug,
    A: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipeline")
            .field("log", &self.log)
            .field("progress", &self.progress)
            .field("cancel", &self.cancel)
            .field("dedup", &self.dedup)
            .field("circuit_breaker", &self.circuit_breaker)
            .field("timeout", &self.timeout)
            .field("retry", &self.retry)
            .field("attempt_timeout", &self.attempt_timeout)
            .finish()
    }
}
