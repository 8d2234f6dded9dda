use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use tower_layer::Layer;
use tower_service::Service;

use super::{
    error::Open,
    future::{Admitted, ResponseFuture, State},
    layer::CircuitBreakerLayer,
    state::Rejection,
};
use crate::{
    classify::{Classify, ErrorsAsFailures},
    job::seat::Seat,
    reject::{Fail, OnReject},
};

/// The service that [`CircuitBreakerLayer`] makes.
pub struct CircuitBreaker<S, C = ErrorsAsFailures, O = Fail> {
    inner: S,
    layer: CircuitBreakerLayer<C, O>,
    /// The circuit rejected when readiness was asked for, so the inner service was not asked and must not be called.
    rejecting: bool,
}

impl<S, C, O> CircuitBreaker<S, C, O> {
    pub(super) fn new(inner: S, layer: CircuitBreakerLayer<C, O>) -> Self {
        Self {
            inner,
            layer,
            rejecting: false,
        }
    }
}

impl<S: Clone, C: Clone, O: Clone> Clone for CircuitBreaker<S, C, O> {
    fn clone(&self) -> Self {
        // Readiness is not inherited, and so neither is its lack.
        Self {
            inner: self.inner.clone(),
            layer: self.layer.clone(),
            rejecting: false,
        }
    }
}

impl<S, C: Clone, O: Clone> Layer<S> for CircuitBreakerLayer<C, O> {
    type Service = CircuitBreaker<S, C, O>;

    fn layer(&self, inner: S) -> CircuitBreaker<S, C, O> {
        CircuitBreaker::new(inner, self.clone())
    }
}

impl<S, C, O, Request> Service<Request> for CircuitBreaker<S, C, O>
where
    S: Service<Request>,
    C: Classify<S::Response, S::Error> + Clone,
    O: OnReject<Open, S::Response, S::Error> + Clone,
    O::Error: fmt::Display,
{
    type Response = S::Response;
    type Error = O::Error;
    type Future = ResponseFuture<S::Future, C, O>;

    #[inline(always)]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), O::Error>> {
        let shared = &self.layer.shared;
        if shared.circuit.rejects(|| shared.now()).is_some() {
            self.rejecting = true;
            return Poll::Ready(Ok(()));
        }
        self.rejecting = false;
        self.inner
            .poll_ready(cx)
            .map_err(|error| self.layer.on_reject.pass(error))
    }

    #[inline(always)]
    fn call(&mut self, request: Request) -> Self::Future {
        let layer = &self.layer;
        let shared = &layer.shared;
        if std::mem::take(&mut self.rejecting) {
            // The circuit may have changed its mind meanwhile, but the inner service was not made ready.
            let rejection = shared.circuit.rejects(|| shared.now());
            return rejected(
                layer,
                rejection.unwrap_or(Rejection(Some(std::time::Duration::ZERO))),
            );
        }
        let (admission, transition) = match shared.circuit.admit(|| shared.now()) {
            Ok(admitted) => admitted,
            Err(rejection) => return rejected(layer, rejection),
        };
        let mut admitted = Admitted::new(Arc::clone(shared), admission, layer.ignore_timeouts);
        let (seat, future) = admitted.guarded(|| Seat::call(|| self.inner.call(request)));
        if let Some(transition) = transition {
            seat.announce(|job| shared.announce(transition, job));
        }
        admitted.set_job(seat.ambient_id());
        let state = State::Calling { future, admitted };
        ResponseFuture::new(state, layer.classify.clone(), layer.on_reject.clone(), seat)
    }
}

#[cold]
fn rejected<F, C: Clone, O: Clone>(
    layer: &CircuitBreakerLayer<C, O>,
    rejection: Rejection,
) -> ResponseFuture<F, C, O> {
    let open = Open::new(layer.shared.name(), rejection.0);
    let state = State::Rejected { open: Some(open) };
    ResponseFuture::new(
        state,
        layer.classify.clone(),
        layer.on_reject.clone(),
        Seat::without_call(),
    )
}

impl<S: fmt::Debug, C, O> fmt::Debug for CircuitBreaker<S, C, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitBreaker")
            .field("inner", &self.inner)
            .field("layer", &self.layer)
            .finish()
    }
}
