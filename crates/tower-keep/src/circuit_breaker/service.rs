//! The service: asks the circuit, and calls the inner service or rejects the call.

use std::{
    fmt, mem,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tower_layer::Layer;
use tower_service::Service;

use super::{
    admitted::{Admitted, guarded},
    error::Open,
    future::{ResponseFuture, State},
    gate::{
        Ask, Place, Ready, Single,
        sealed::{Admits, Circuits, Spread},
    },
    layer::CircuitBreakerLayer,
    shared::{Shared, SharedRef},
    state::{Admission, Answer, Rejection},
    transition::Transition,
};
use crate::{
    classify::{Classify, ErrorsAsFailures},
    event::EventKind,
    job::{context, membership::Membership, panic::before_service},
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
            ready: Ready::default(),
        }
    }
}

impl<S: Clone, C: Clone, O: Clone, G: Spread> Clone for CircuitBreaker<S, C, O, G> {
    fn clone(&self) -> Self {
        // Readiness is not inherited, and so neither is its lack.
        Self::new(self.inner.clone(), self.layer.spread())
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
        match ready!(layer.gate.poll_ready(&mut self.ready, cx)) {
            Ask::Nobody => Poll::Ready(Ok(())),
            Ask::Inner => (self.inner.poll_ready(cx)).map_err(|error| layer.on_reject.pass(error)),
        }
    }

    #[inline(always)]
    fn call(&mut self, request: Request) -> Self::Future {
        let Self {
            inner,
            layer,
            ready,
        } = self;
        layer.gate.follow_thread();
        let shared = before_service(|| layer.gate.circuit(&request));
        if let Some(seen) = ready.rejecting.take() {
            // The circuit may have changed its mind meanwhile, but the inner service was not made
            // ready.
            let rejection = shared.circuit.reject(Some(seen), || shared.now());
            return rejected(layer, rejection, Membership::without_call());
        }
        if matches!(ready.place, Place::None) {
            if let Some(admission) = shared.circuit.admit_closed(false, || shared.now()) {
                return forward(inner, layer, shared.into_owned(), admission, request);
            }
        }
        call_slowly(inner, layer, mem::take(&mut ready.place), &shared, request)
    }
}

/// Calls through a circuit that does not simply let the call through.
#[cold]
fn call_slowly<S, C, O, G, Request>(
    inner: &mut S,
    layer: &CircuitBreakerLayer<C, O, G>,
    place: Place,
    shared: &SharedRef,
    request: Request,
) -> ResponseFuture<S::Future, C, O>
where
    S: Service<Request>,
    C: Clone,
    O: Clone,
{
    let Answer {
        admission,
        transition,
    } = before_service(|| place.enter(shared));
    if let Some(transition) = &transition {
        // The job can be told only once it is known, but the inner service may panic before.
        shared.publish(transition);
    }
    let mut is_uncounted = false;
    let future = match admission {
        Ok(admission) => {
            is_uncounted = admission.is_uncounted();
            forward(inner, layer, Arc::clone(shared), admission, request)
        }
        Err(rejection) => rejected(layer, rejection, Membership::without_call()),
    };
    if transition.is_some() || is_uncounted {
        announce(
            &future.membership,
            shared,
            transition.as_deref(),
            is_uncounted,
        );
    }
    future
}

#[inline(always)]
fn rejected<F, C: Clone, O: Clone, G>(
    layer: &CircuitBreakerLayer<C, O, G>,
    rejection: Rejection,
    membership: Membership,
) -> ResponseFuture<F, C, O> {
    let state = State::Rejected {
        facts: Some(rejection.facts),
        remaining: rejection.remaining,
    };
    ResponseFuture::new(
        state,
        layer.classify.clone(),
        layer.on_reject.clone(),
        membership,
    )
}

/// Makes a call that the circuit lets through.
#[inline(always)]
fn forward<S, C, O, G, Request>(
    inner: &mut S,
    layer: &CircuitBreakerLayer<C, O, G>,
    shared: SharedRef,
    admission: Admission,
    request: Request,
) -> ResponseFuture<S::Future, C, O>
where
    S: Service<Request>,
    C: Clone,
    O: Clone,
{
    let mut admission = Some(admission);
    let (membership, (future, job)) = Membership::call(|| {
        let known = context::is_calling();
        let future = guarded(&shared, &mut admission, known, || inner.call(request));
        // Of the stack's job, if it is there by now.
        let job = match context::is_calling() {
            true => context::with_current(|job| job.map(|job| job.id())),
            false => None,
        };
        (future, job)
    });
    let admitted = Admitted::new(shared, admission, layer.counting, job);
    let state = State::Calling { future, admitted };
    ResponseFuture::new(
        state,
        layer.classify.clone(),
        layer.on_reject.clone(),
        membership,
    )
}

/// Tells the job what the circuit did, or would have done.
#[cold]
fn announce(
    membership: &Membership,
    shared: &Shared,
    transition: Option<&Transition>,
    uncounted: bool,
) {
    membership.announce(|job| {
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

impl<S: fmt::Debug, C, O, G: Circuits> fmt::Debug for CircuitBreaker<S, C, O, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitBreaker")
            .field("inner", &self.inner)
            .field("layer", &self.layer)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        circuit_breaker::State,
        sharded::{SHARDS, of_threads},
    };

    /// Calls of clones that several threads made write to no reference count together.
    #[test]
    fn a_clone_has_the_count_of_its_thread() {
        let layer = CircuitBreakerLayer::new();
        let handle = layer.handle();
        let service = layer.clone().layer(());
        let waiting = layer.backpressure().layer(());
        handle.force_open();
        let numbers = of_threads(|| {
            let shared = &service.clone().layer.gate.shared;
            assert_eq!(shared.circuit.state(), State::Open);
            shared.number()
        });
        assert!(numbers.len() > SHARDS / 2, "{numbers:?}");
        let numbers = of_threads(|| waiting.clone().layer.gate.0.shared.number());
        assert!(numbers.len() > SHARDS / 2, "{numbers:?}");
    }
}
