use tower_layer::Layer;

use super::settings::Pipeline;
use crate::{
    cancel::CancelLayer,
    circuit_breaker::CircuitBreakerLayer,
    dedup::{DedupLayer, NoKey},
    log::LogLayer,
    progress::ProgressLayer,
    retry::RetryLayer,
    timeout::TimeoutLayer,
};

/// The seven layers as one. Made by [`Pipeline::build`].
#[derive(Clone, Debug)]
pub struct PipelineLayer<
    L = LogLayer,
    C = CancelLayer,
    D = DedupLayer<NoKey>,
    B = CircuitBreakerLayer,
    T = TimeoutLayer,
    R = RetryLayer,
    A = TimeoutLayer,
> {
    layers: Pipeline<L, C, D, B, T, R, A>,
}

impl<L, C, D, B, T, R, A> PipelineLayer<L, C, D, B, T, R, A> {
    pub(super) fn new(layers: Pipeline<L, C, D, B, T, R, A>) -> Self {
        Self { layers }
    }

    /// The progress layer, for its handle.
    #[must_use]
    pub fn progress(&self) -> &ProgressLayer {
        &self.layers.progress
    }

    /// The cancel layer, for its handle.
    #[must_use]
    pub fn cancel(&self) -> &C {
        &self.layers.cancel
    }

    /// The dedup layer.
    #[must_use]
    pub fn dedup(&self) -> &D {
        &self.layers.dedup
    }

    /// The circuit breaker layer, for its handle.
    #[must_use]
    pub fn circuit_breaker(&self) -> &B {
        &self.layers.circuit_breaker
    }
}

type Made<L, S> = <L as Layer<S>>::Service;

impl<S, L, C, D, B, T, R, A> Layer<S> for PipelineLayer<L, C, D, B, T, R, A>
where
    A: Layer<S>,
    R: Layer<Made<A, S>>,
    T: Layer<Made<R, Made<A, S>>>,
    B: Layer<Made<T, Made<R, Made<A, S>>>>,
    D: Layer<Made<B, Made<T, Made<R, Made<A, S>>>>>,
    C: Layer<Made<D, Made<B, Made<T, Made<R, Made<A, S>>>>>>,
    L: Layer<crate::progress::Progress<Made<C, Made<D, Made<B, Made<T, Made<R, Made<A, S>>>>>>>>,
{
    type Service = L::Service;

    fn layer(&self, inner: S) -> L::Service {
        let layers = &self.layers;
        let inner = layers.retry.layer(layers.attempt_timeout.layer(inner));
        let inner = layers.circuit_breaker.layer(layers.timeout.layer(inner));
        let inner = layers.cancel.layer(layers.dedup.layer(inner));
        layers.log.layer(layers.progress.layer(inner))
    }
}
