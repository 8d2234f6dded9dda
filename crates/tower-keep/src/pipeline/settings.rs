use std::time::Duration;

use crate::{
    cancel::CancelLayer,
    circuit_breaker::CircuitBreakerLayer,
    dedup::{DedupLayer, NoKey},
    log::LogLayer,
    progress::ProgressLayer,
    retry::RetryLayer,
    timeout::TimeoutLayer,
};

/// Composes the seven layers. Each setter takes the layer as it is used alone.
#[derive(Clone, Debug)]
#[must_use = "a pipeline does nothing until it is built and put around a service"]
pub struct Pipeline<
    L = LogLayer,
    C = CancelLayer,
    D = DedupLayer<NoKey>,
    B = CircuitBreakerLayer,
    T = TimeoutLayer,
    R = RetryLayer,
    A = TimeoutLayer,
> {
    pub(super) log: L,
    pub(super) progress: ProgressLayer,
    pub(super) cancel: C,
    pub(super) dedup: D,
    pub(super) circuit_breaker: B,
    pub(super) timeout: T,
    pub(super) retry: R,
    pub(super) attempt_timeout: A,
}

impl Pipeline {
    /// Each layer's own defaults, no deduplication, 60 s overall and 10 s for each attempt.
    pub fn new() -> Self {
        Self {
            log: LogLayer::new(),
            progress: ProgressLayer::new(),
            cancel: CancelLayer::new(),
            dedup: DedupLayer::off(),
            circuit_breaker: CircuitBreakerLayer::new(),
            timeout: TimeoutLayer::new(Duration::from_secs(60)),
            retry: RetryLayer::new(),
            attempt_timeout: TimeoutLayer::new(Duration::from_secs(10)).per_attempt(),
        }
    }
}

impl Default for Pipeline {
    fn default() -> Self {
        Self::new()
    }
}

/// The pipeline with one layer replaced by the argument of that name, which may be of another type; the rest is listed
/// because a struct cannot be rebuilt around it.
macro_rules! with {
    ($self:ident, $layer:ident; $($rest:ident),+) => {{
        let Self { $layer: _, $($rest),+ } = $self;
        Pipeline { $layer, $($rest),+ }
    }};
}

impl<L, C, D, B, T, R, A> Pipeline<L, C, D, B, T, R, A> {
    /// Where progress is shown. Default: [`ProgressLayer::new`].
    pub fn progress(mut self, progress: ProgressLayer) -> Self {
        self.progress = progress;
        self
    }

    /// How events are logged. Default: [`LogLayer::new`].
    pub fn log<N>(self, log: LogLayer<N>) -> Pipeline<LogLayer<N>, C, D, B, T, R, A> {
        with!(self, log; progress, cancel, dedup, circuit_breaker, timeout, retry, attempt_timeout)
    }

    /// How jobs are cancelled. Default: [`CancelLayer::new`].
    pub fn cancel<N1, N2, N3>(
        self,
        cancel: CancelLayer<N1, N2, N3>,
    ) -> Pipeline<L, CancelLayer<N1, N2, N3>, D, B, T, R, A> {
        with!(self, cancel; log, progress, dedup, circuit_breaker, timeout, retry, attempt_timeout)
    }

    /// Which requests are duplicates. Default: none.
    pub fn dedup<N1, N2, N3>(
        self,
        dedup: DedupLayer<N1, N2, N3>,
    ) -> Pipeline<L, C, DedupLayer<N1, N2, N3>, B, T, R, A> {
        with!(self, dedup; log, progress, cancel, circuit_breaker, timeout, retry, attempt_timeout)
    }

    /// When to stop calling. Default: [`CircuitBreakerLayer::new`].
    pub fn circuit_breaker<N1, N2, N3>(
        self,
        circuit_breaker: CircuitBreakerLayer<N1, N2, N3>,
    ) -> Pipeline<L, C, D, CircuitBreakerLayer<N1, N2, N3>, T, R, A> {
        with!(self, circuit_breaker; log, progress, cancel, dedup, timeout, retry, attempt_timeout)
    }

    /// The limit over all attempts and waits. Default: 60 s.
    pub fn timeout<N1, N2>(
        self,
        timeout: TimeoutLayer<N1, N2>,
    ) -> Pipeline<L, C, D, B, TimeoutLayer<N1, N2>, R, A> {
        with!(self, timeout; log, progress, cancel, dedup, circuit_breaker, retry, attempt_timeout)
    }

    /// When to try again. Default: [`RetryLayer::new`].
    #[allow(
        clippy::type_complexity,
        reason = "the type is the input's, in another struct"
    )]
    pub fn retry<N1, N2, N3, N4>(
        self,
        retry: RetryLayer<N1, N2, N3, N4>,
    ) -> Pipeline<L, C, D, B, T, RetryLayer<N1, N2, N3, N4>, A> {
        with!(self, retry; log, progress, cancel, dedup, circuit_breaker, timeout, attempt_timeout)
    }

    /// The limit of each attempt. Default: 10 s.
    pub fn attempt_timeout<N1, N2>(
        self,
        attempt_timeout: TimeoutLayer<N1, N2>,
    ) -> Pipeline<L, C, D, B, T, R, TimeoutLayer<N1, N2>> {
        with!(self, attempt_timeout; log, progress, cancel, dedup, circuit_breaker, timeout, retry)
    }
}
