//! The kinds of circuits that a layer can have, [one](super::one_circuit), one with
//! [backpressure](super::backpressure), or one [for each key](super::per_key): what a service does at them.

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
    state::{Answer, Seen},
    transition_listeners::TransitionListeners,
};
use crate::unshare::Unshare;

/// Whom to ask for readiness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    Inner,
    /// The call will be rejected.
    Nobody,
}

/// The circuits that a layer has.
#[allow(private_interfaces, reason = "it has no public name")]
pub trait Circuits: Unshare {
    fn settings(&self) -> Settings;
    fn change_settings(&self, change: &dyn Fn(&mut Settings));
    fn name(&self) -> Arc<str>;
    fn rename(&self, name: Arc<str>);
    fn seed(&self, seed: u64);
    fn listeners(&self) -> &TransitionListeners;
}

/// How the clones of a service come by the circuits.
pub trait Spread {
    fn spread(&self) -> Self;
}

/// What a service does at its circuit.
#[allow(private_interfaces, reason = "it has no public name")]
#[diagnostic::on_unimplemented(
    message = "the closure given to `per_key` does not take `&{Request}`",
    label = "the service takes `{Request}`",
    note = "the closure has to be an `Fn(&{Request}) -> Key` and `Clone`"
)]
pub trait Admits<Request>: Circuits + Clone {
    fn poll_ready(&self, ready: &mut Ready, cx: &mut Context<'_>) -> Poll<Ask>;
    /// The service is called, perhaps in another thread than before.
    fn follow_thread(&mut self) {}
    /// The circuit of this request.
    fn circuit(&self, request: &Request) -> Cow<'_, CircuitRef>;
}

/// What an instance of the service knows from `poll_ready`. A clone begins with nothing.
#[derive(Default)]
pub(super) struct Ready {
    /// The circuit rejected, so that the inner service was not asked and must not be called.
    pub(super) rejecting: Option<Seen>,
    pub(super) place: Place,
}

/// A place at a circuit that makes its callers wait.
#[derive(Default)]
pub(super) enum Place {
    #[default]
    None,
    Awaited(Box<Waiting>),
    Reserved(Reserved),
}

impl Ready {
    /// Asks a circuit that is not closed.
    #[cold]
    pub(super) fn ask(&mut self, shared: &SharedCircuit) -> Ask {
        self.rejecting = shared.circuit.rejects(|| shared.now());
        match self.rejecting {
            Some(_) => Ask::Nobody,
            None => Ask::Inner,
        }
    }
}

impl Place {
    /// What becomes of a call now.
    pub(super) fn enter(self, shared: &SharedCircuit) -> Answer {
        let Self::Reserved(reserved) = self else {
            return shared.circuit.admit(false, || shared.now());
        };
        let reject = || shared.circuit.reject(None, || shared.now());
        Answer {
            admission: reserved.begin().ok_or_else(reject),
            transition: None,
        }
    }
}
