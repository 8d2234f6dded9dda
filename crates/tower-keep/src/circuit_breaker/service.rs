//! `CircuitBreaker`, the service: admits a call to the inner service, or rejects it.

use std::{
    fmt, mem,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tower_layer::Layer;
use tower_service::Service;

use super::{
    admitted::{Admitted, guarded},
    call_end::FinishCall,
    circuit_kind::{Admits, Circuits, ProbeSlot, Readiness, Ready, Spread},
    error::Open,
    future::{ResponseFuture, State},
    layer::CircuitBreakerLayer,
    one_circuit::OneCircuit,
    shared_circuit::{CircuitRef, SharedCircuit},
    state::{Admission, AdmitResult, NotAdmitted},
    transition::StateChange,
};
use crate::{
    classify::{Classify, ErrorsAsFailures},
    event::EventKind,
    job::{call_end::BeginsCall, context, membership::Membership, panic::before_service},
    reject::{Fail, OnReject},
};

/// The service that [`CircuitBreakerLayer`] makes: it rejects calls while its circuit is open.
pub struct CircuitBreaker<S, C = ErrorsAsFailures, B = OneCircuit, O = Fail> {
    inner: S,
    layer: CircuitBreakerLayer<C, B, O>,
    ready: Ready,
}

impl<S, C, B, O> CircuitBreaker<S, C, B, O> {
    pub(super) fn new(inner: S, layer: CircuitBreakerLayer<C, B, O>) -> Self {
        Self {
            inner,
            layer,
            ready: Ready::default(),
        }
    }

    /// A reference to the inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// A mutable reference to the inner service. Direct calls to it bypass the circuit and are not
    /// counted.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The inner service. Frees a reserved slot. The circuit and its counts stay with the layer and
    /// its handles.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S: Clone, C: Clone, B: Spread, O: Clone> Clone for CircuitBreaker<S, C, B, O> {
    fn clone(&self) -> Self {
        // A clone inherits neither readiness nor a pending rejection.
        Self::new(self.inner.clone(), self.layer.spread())
    }
}

impl<S, C: Clone, B: Clone, O: Clone> Layer<S> for CircuitBreakerLayer<C, B, O> {
    type Service = CircuitBreaker<S, C, B, O>;

    fn layer(&self, inner: S) -> CircuitBreaker<S, C, B, O> {
        CircuitBreaker::new(inner, self.clone())
    }
}

impl<S, C, B, O, Request> Service<Request> for CircuitBreaker<S, C, B, O>
where
    S: Service<Request>,
    C: Classify<S::Response, S::Error> + Clone,
    B: Admits<Request>,
    O: OnReject<Open, S::Response, S::Error> + Clone,
    O::Error: fmt::Display,
    B::End: FinishCall<S::Response>,
{
    type Response = <B::End as FinishCall<S::Response>>::Response;
    type Error = O::Error;
    type Future = ResponseFuture<S::Future, C, O, B::End>;

    #[inline(always)]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), O::Error>> {
        let layer = &self.layer;
        match ready!(layer.circuits.poll_ready(&mut self.ready, cx)) {
            Readiness::Reject => Poll::Ready(Ok(())),
            Readiness::PollInner => {
                (self.inner.poll_ready(cx)).map_err(|error| layer.on_reject.pass(error))
            }
        }
    }

    #[inline(always)]
    fn call(&mut self, request: Request) -> Self::Future {
        let Self {
            inner,
            layer,
            ready,
        } = self;
        layer.circuits.follow_thread();
        let shared = before_service(|| layer.circuits.circuit(&request));
        if let Some(seen) = ready.rejecting.take() {
            // Reject even if the circuit has changed: the inner service was not polled for
            // readiness.
            let rejection = shared.circuit.reject(Some(seen), || shared.now());
            return rejected(layer, rejection, Membership::without_call());
        }
        if matches!(ready.slot, ProbeSlot::None) {
            if let Some(admission) = shared.circuit.admit_closed(false, || shared.now()) {
                return forward(inner, layer, shared.into_owned(), admission, request);
            }
        }
        call_slowly(inner, layer, mem::take(&mut ready.slot), &shared, request)
    }
}

/// Calls through a circuit that may reject or change.
#[cold]
fn call_slowly<S, C, B, O, R, Request>(
    inner: &mut S,
    layer: &CircuitBreakerLayer<C, B, O>,
    slot: ProbeSlot,
    shared: &CircuitRef,
    request: Request,
) -> ResponseFuture<S::Future, C, O, R>
where
    S: Service<Request>,
    C: Clone,
    O: Clone,
    R: BeginsCall<Request> + Default,
{
    let AdmitResult {
        admission,
        transition,
    } = before_service(|| slot.enter(shared));
    if let Some(transition) = &transition {
        // Before the job's event: the job is not known yet, and the inner service may panic.
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
fn rejected<F, C: Clone, B, O: Clone, R>(
    layer: &CircuitBreakerLayer<C, B, O>,
    rejection: NotAdmitted,
    membership: Membership,
) -> ResponseFuture<F, C, O, R> {
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

/// Makes an admitted call.
#[inline(always)]
fn forward<S, C, B, O, R, Request>(
    inner: &mut S,
    layer: &CircuitBreakerLayer<C, B, O>,
    shared: CircuitRef,
    admission: Admission,
    request: Request,
) -> ResponseFuture<S::Future, C, O, R>
where
    S: Service<Request>,
    C: Clone,
    O: Clone,
    R: BeginsCall<Request> + Default,
{
    let mut admission = Some(admission);
    let is_bodiless = R::default().is_bodiless(&request);
    let (membership, (future, job)) = Membership::call(|| {
        let known = context::is_calling();
        let future = guarded(&shared, &mut admission, known, || inner.call(request));
        // The id of the stack's job, if it exists by now.
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
        membership.begun(is_bodiless),
    )
}

/// Emits the job's events: a transition, or a rejection in observe-only mode.
#[cold]
fn announce(
    membership: &Membership,
    shared: &SharedCircuit,
    transition: Option<&StateChange>,
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

impl<S: fmt::Debug, C, B: Circuits, O> fmt::Debug for CircuitBreaker<S, C, B, O> {
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

    /// Clones made in several threads use different reference counts.
    #[test]
    fn a_clone_has_the_count_of_its_thread() {
        let layer = CircuitBreakerLayer::new();
        let handle = layer.handle();
        let service = layer.clone().layer(());
        let waiting = layer.backpressure().layer(());
        handle.force_open();
        let numbers = of_threads(|| {
            let shared = &service.clone().layer.circuits.shared;
            assert_eq!(shared.circuit.state(), State::Open);
            shared.number()
        });
        assert!(numbers.len() > SHARDS / 2, "{numbers:?}");
        let numbers = of_threads(|| waiting.clone().layer.circuits.0.shared.number());
        assert!(numbers.len() > SHARDS / 2, "{numbers:?}");
    }
}
