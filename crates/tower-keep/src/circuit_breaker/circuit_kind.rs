//! The interface between the service and its circuits: [one](super::one_circuit) circuit, one with
//! [backpressure](super::backpressure), or one [per key](super::per_key).

use std::{
    borrow::Cow,
    sync::Arc,
    task::{Context, Poll},
};

use super::{
    admitted::Reserved,
    backpressure::Waiting,
    settings::Settings,
    shared_circuit::{CircuitRef, SharedCircuit},
    state::{AdmitResult, Seen},
    transition_listeners::TransitionListeners,
};
use crate::{job::call_end::BeginsCall, unshare::Unshare};

/// The result of a circuit's part in `poll_ready`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Readiness {
    /// Poll the inner service.
    PollInner,
    /// The circuit will reject the call: be ready without the inner service.
    Reject,
}

/// The circuits of a layer.
#[allow(private_interfaces, reason = "it has no public name")]
pub trait Circuits: Unshare {
    fn settings(&self) -> Settings;
    fn change_settings(&self, change: &dyn Fn(&mut Settings));
    fn name(&self) -> Arc<str>;
    fn rename(&self, name: Arc<str>);
    fn seed(&self, seed: u64);
    fn listeners(&self) -> &TransitionListeners;
}

/// The circuits for a clone of a service.
pub trait Spread {
    fn spread(&self) -> Self;
}

/// The circuits of a service.
#[allow(private_interfaces, reason = "it has no public name")]
#[diagnostic::on_unimplemented(
    message = "the circuit breaker cannot read the key of its circuit from `&{Request}`",
    label = "the service takes `{Request}`",
    note = "a closure given to `per_key` has to be an `Fn(&{Request}) -> Key` and `Clone`",
    note = "`CircuitBreakerLayer::http` needs an `http::Request`, or with the feature \
            `reqwest-0-13` a `reqwest::Request`"
)]
pub trait Admits<Request>: Circuits + Clone {
    /// What ends a call.
    type End: BeginsCall<Request> + Default;

    fn poll_ready(&self, ready: &mut Ready, cx: &mut Context<'_>) -> Poll<Readiness>;
    /// Moves the reference count to the calling thread.
    fn follow_thread(&mut self) {}
    /// The circuit of this request.
    fn circuit(&self, request: &Request) -> Cow<'_, CircuitRef>;
}

/// The state that an instance of the service keeps from `poll_ready` to `call`. A clone starts
/// without it.
#[derive(Default)]
pub(super) struct Ready {
    /// The circuit rejects: the inner service was not polled and must not be called.
    pub(super) rejecting: Option<Seen>,
    pub(super) slot: ProbeSlot,
}

/// The slot of an instance of a service with backpressure.
#[derive(Default)]
pub(super) enum ProbeSlot {
    #[default]
    None,
    Awaited(Box<Waiting>),
    Reserved(Reserved),
}

impl Ready {
    /// Checks a circuit that is not closed.
    #[cold]
    pub(super) fn check(&mut self, shared: &SharedCircuit) -> Readiness {
        self.rejecting = shared.circuit.rejects(|| shared.now());
        match self.rejecting {
            Some(_) => Readiness::Reject,
            None => Readiness::PollInner,
        }
    }
}

impl ProbeSlot {
    /// Admits or rejects a call.
    pub(super) fn enter(self, shared: &SharedCircuit) -> AdmitResult {
        let Self::Reserved(reserved) = self else {
            return shared.circuit.admit(false, || shared.now());
        };
        let reject = || shared.circuit.reject(None, || shared.now());
        AdmitResult {
            admission: reserved.begin().ok_or_else(reject),
            transition: None,
        }
    }
}
