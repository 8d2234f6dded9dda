//! The default: one circuit for all calls.

use std::{
    borrow::Cow,
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use super::{
    circuit_kind::{Admits, Circuits, Readiness, Ready, Spread},
    packed_state::State,
    settings::Settings,
    shared_circuit::{CircuitRef, SharedCircuit},
    transition_listeners::TransitionListeners,
};
use crate::{job::call_end::AtResponse, sharded::Sharded, unshare::Unshare};

/// One circuit for all calls. The default.
#[derive(Clone)]
pub struct OneCircuit {
    pub(super) shared: Sharded<SharedCircuit>,
}

impl Unshare for OneCircuit {
    fn is_shared(&self) -> bool {
        self.shared.is_shared() || self.shared.is_watched()
    }

    fn renew(&mut self) {
        self.shared = Sharded::new(self.shared.renewed());
    }
}

#[allow(private_interfaces, reason = "it has no public name")]
impl Circuits for OneCircuit {
    fn settings(&self) -> Settings {
        self.shared.circuit.settings()
    }

    fn change_settings(&self, change: &dyn Fn(&mut Settings)) {
        self.shared.change_settings(change);
    }

    fn name(&self) -> Arc<str> {
        self.shared.name()
    }

    fn rename(&self, name: Arc<str>) {
        self.shared.rename(name);
    }

    fn seed(&self, seed: u64) {
        self.shared.circuit.seed(seed);
    }

    fn listeners(&self) -> &TransitionListeners {
        &self.shared.listeners
    }
}

impl Spread for OneCircuit {
    fn spread(&self) -> Self {
        Self {
            shared: self.shared.spread(),
        }
    }
}

#[allow(private_interfaces, reason = "it has no public name")]
impl<Request> Admits<Request> for OneCircuit {
    type End = AtResponse;

    #[inline(always)]
    fn follow_thread(&mut self) {
        self.shared.follow_thread();
    }

    #[inline(always)]
    fn poll_ready(&self, ready: &mut Ready, _: &mut Context<'_>) -> Poll<Readiness> {
        if self.shared.circuit.state() != State::Closed {
            return Poll::Ready(ready.check(&self.shared));
        }
        ready.rejecting = None;
        Poll::Ready(Readiness::PollInner)
    }

    #[inline(always)]
    fn circuit(&self, _: &Request) -> Cow<'_, CircuitRef> {
        Cow::Borrowed(&self.shared)
    }
}

impl fmt::Debug for OneCircuit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OneCircuit")
            .field("circuit", &self.shared.name())
            .finish()
    }
}
