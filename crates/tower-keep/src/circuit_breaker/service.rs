//! The service: asks the circuit, and calls the inner service or rejects the call.

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tower_layer::Layer;
use tower_service::Service;

use super::{
    error::Open,
    future::{ResponseFuture, State},
    gate::{
        Ask, Ready, Single,
        sealed::{Admits, Circuits},
    },
    layer::CircuitBreakerLayer,
    shared::Shared,
    state::Rejection,
    transition::Transition,
};
use crate::{
    classify::{Classify, ErrorsAsFailures},
    event::EventKind,
    job::{context, panic::before_service, seat::Seat},
    reject::{Fail, OnReject},
};

/// The service that [`CircuitBreakerLayer`] makes.
pub struct CircuitBreaker<S, C = ErrorsAsFailures, O = Fail, G = Single> {
    inner: S,
    layer: CircuitBreakerLayer<C, O, G>,
    ready: Ready,
}

impl<S, C, O, G> CircuitBreaker<S, C, O, G> {
    pub(super) fn new(inner: S, layer: CircuitBreakerLayer<C, O, G>) -> Self {
        Self {
            inner,
            layer,
            ready: Ready::Unknown,
        }
    }
}

impl<S: Clone, C: Clone, O: Clone, G: Clone> Clone for CircuitBreaker<S, C, O, G> {
    fn clone(&self) -> Self {
        // Readiness is not inherited, and so neither is its lack.
        Self::new(self.inner.clone(), self.layer.clone())
    }
}

impl<S, C: Clone, O: Clone, G: Clone> Layer<S> for CircuitBreakerLayer<C, O, G> {
    type Service = CircuitBreaker<S, C, O, G>;

    fn layer(&self, inner: S) -> CircuitBreaker<S, C, O, G> {
        CircuitBreaker::new(inner, self.clone())
    }
}

impl<S, C, O, G, Request> Service<Request> for CircuitBreaker<S, C, O, G>
where
    S: Service<Request>,
    C: Classify<S::Response, S::Error> + Clone,
    O: OnReject<Open, S::Response, S::Error> + Clone,
    O::Error: fmt::Display,
    G: Admits<Request>,
{
    type Response = S::Response;
    type Error = O::Error;
    type Future = ResponseFuture<S::Future, C, O>;

    #[inline(always)]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), O::Error>> {
        let layer = &self.layer;
        match ready!(layer.gate.poll_ready(&mut self.ready, layer.counting, cx)) {
            Ask::Nobody => Poll::Ready(Ok(())),
            Ask::Inner => (self.inner.poll_ready(cx)).map_err(|error| layer.on_reject.pass(error)),
        }
    }

    #[inline(always)]
    fn call(&mut self, request: Request) -> Self::Future {
        let layer = &self.layer;
        let entry =
            before_service(|| (layer.gate).admit(&mut self.ready, layer.counting, &request));
        let mut admitted = match entry.admitted {
            Ok(admitted) => admitted,
            Err(rejection) => return rejected(layer, &entry.shared, rejection, entry.transition),
        };
        if let Some(transition) = &entry.transition {
            // The job can be told only once it is known, but the inner service may panic before.
            entry.shared.publish(transition);
        }
        let (seat, future) = Seat::call(|| {
            let known = context::is_calling();
            admitted.guarded(known, || self.inner.call(request))
        });
        if entry.transition.is_some() || admitted.is_uncounted() {
            announce(
                &seat,
                &entry.shared,
                entry.transition.as_deref(),
                admitted.is_uncounted(),
            );
        }
        admitted.set_job(seat.ambient_id());
        let state = State::Calling { future, admitted };
        ResponseFuture::new(state, layer.classify.clone(), layer.on_reject.clone(), seat)
    }
}

/// Tells the job what the circuit did, or would have done.
#[cold]
fn announce(seat: &Seat, shared: &Shared, transition: Option<&Transition>, uncounted: bool) {
    seat.announce(|job| {
        if let Some(transition) = transition {
            shared.emit(transition, job);
        }
        if let Some(job) = job.filter(|_| uncounted) {
            context::emit(job, || EventKind::CircuitWouldReject {
                circuit: shared.name(),
            });
        }
    });
}

#[cold]
fn rejected<F, C: Clone, O: Clone, G>(
    layer: &CircuitBreakerLayer<C, O, G>,
    shared: &Arc<Shared>,
    rejection: Rejection,
    transition: Option<Box<Transition>>,
) -> ResponseFuture<F, C, O> {
    let seat = Seat::without_call();
    if let Some(transition) = transition {
        shared.publish(&transition);
        announce(&seat, shared, Some(&transition), false);
    }
    let open = Open::new(shared.name(), rejection.remaining).caused_by(rejection.cause);
    let state = State::Rejected { open: Some(open) };
    ResponseFuture::new(state, layer.classify.clone(), layer.on_reject.clone(), seat)
}

impl<S: fmt::Debug, C, O, G: Circuits> fmt::Debug for CircuitBreaker<S, C, O, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitBreaker")
            .field("inner", &self.inner)
            .field("layer", &self.layer)
            .finish()
    }
}
