//! [`PipelineLayer`]: the layers of a pipeline as one layer.

use tower_layer::Layer;

use super::settings::Pipeline;

/// All layers of a [`Pipeline`] as one layer. Made by [`Pipeline::build`].
///
/// See [how to keep one in a struct](super#in-a-struct).
#[derive(Clone, Debug)]
pub struct PipelineLayer<P = Pipeline> {
    layers: P,
}

impl<P> PipelineLayer<P> {
    pub(super) fn new(layers: P) -> Self {
        Self { layers }
    }
}

/// Access to the layers in the slots, for their handles. A setter on one of them returns another
/// layer, which is not in the pipeline.
impl<L, P, C, D, B, T, R, A> PipelineLayer<Pipeline<L, P, C, D, B, T, R, A>> {
    /// The progress layer.
    #[must_use]
    pub fn progress(&self) -> &P {
        &self.layers.progress
    }

    /// The cancel layer.
    #[must_use]
    pub fn cancel(&self) -> &C {
        &self.layers.cancel
    }

    /// The dedup layer.
    #[must_use]
    pub fn dedup(&self) -> &D {
        &self.layers.dedup
    }

    /// The circuit breaker layer.
    #[must_use]
    pub fn circuit_breaker(&self) -> &B {
        &self.layers.circuit_breaker
    }
}

/// The service that a [`PipelineLayer`] makes around `S`; `P` is the [`Pipeline`] with its slots.
///
/// ```
/// use tower::Layer;
/// use tower_keep::{Pipeline, pipeline::PipelineService};
///
/// /// A client with the default pipeline around it.
/// struct Client<S> {
///     service: PipelineService<S>,
/// }
///
/// fn client<S>(service: S) -> Client<S> {
///     let layer = Pipeline::new().build().expect("the defaults fit together");
///     Client { service: layer.layer(service) }
/// }
/// ```
pub type PipelineService<S, P = Pipeline> = <PipelineLayer<P> as Layer<S>>::Service;

type Made<L, S> = <L as Layer<S>>::Service;

impl<S, L, P, C, D, B, T, R, A> Layer<S> for PipelineLayer<Pipeline<L, P, C, D, B, T, R, A>>
where
    A: Layer<S>,
    R: Layer<Made<A, S>>,
    T: Layer<Made<R, Made<A, S>>>,
    B: Layer<Made<T, Made<R, Made<A, S>>>>,
    D: Layer<Made<B, Made<T, Made<R, Made<A, S>>>>>,
    C: Layer<Made<D, Made<B, Made<T, Made<R, Made<A, S>>>>>>,
    P: Layer<Made<C, Made<D, Made<B, Made<T, Made<R, Made<A, S>>>>>>>,
    L: Layer<Made<P, Made<C, Made<D, Made<B, Made<T, Made<R, Made<A, S>>>>>>>>,
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
