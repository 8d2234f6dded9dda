//! `per_key`: one circuit for each key, and how a call finds its circuit.

use std::{
    borrow::Cow,
    fmt,
    hash::Hash,
    marker::PhantomData,
    sync::Arc,
    task::{Context, Poll},
};

use super::{
    circuit_kind::{Admits, Circuits, Readiness, Ready, Spread},
    settings::Settings,
    shared_circuit::CircuitRef,
    table::{CircuitTable, Seed},
    transition_listeners::TransitionListeners,
};
use crate::{
    for_request::{AskRequest, ForRequest},
    job::call_end::{AtResponse, BeginsCall},
    unshare::{Unshare, has_others},
};

/// One circuit for each key, created at the first call with the key. Made by
/// [`CircuitBreakerLayer::per_key`](super::CircuitBreakerLayer::per_key).
///
/// `R`: what ends a call, its response or its body.
pub struct PerKey<F, K, R = AtResponse> {
    by: ForRequest<F>,
    pub(super) table: Arc<CircuitTable<K>>,
    end: PhantomData<fn() -> R>,
}

impl<F, K, R> PerKey<F, K, R> {
    pub(super) fn new(
        by: F,
        settings: Settings,
        name: Option<Arc<str>>,
        seed: Seed,
        listeners: Arc<TransitionListeners>,
    ) -> Self {
        Self {
            by: ForRequest(by),
            table: Arc::new(CircuitTable::new(settings, name, seed, listeners)),
            end: PhantomData,
        }
    }
}

impl<F, K, R> Unshare for PerKey<F, K, R> {
    fn is_shared(&self) -> bool {
        // A handle of one circuit does not hold the table, so circuits count as users.
        has_others(&self.table) || self.table.len() > 0
    }

    fn renew(&mut self) {
        self.table = Arc::new(self.table.renewed());
    }
}

#[allow(private_interfaces, reason = "it has no public name")]
impl<F, K: Eq + Hash, R> Circuits for PerKey<F, K, R> {
    fn settings(&self) -> Settings {
        self.table.settings()
    }

    fn change_settings(&self, change: &dyn Fn(&mut Settings)) {
        self.table.change_settings(change);
    }

    fn name(&self) -> Arc<str> {
        self.table.name()
    }

    fn rename(&self, name: Arc<str>) {
        self.table.template().name = Some(name);
    }

    fn seed(&self, seed: u64) {
        self.table.template().seed(seed);
    }

    fn listeners(&self) -> &TransitionListeners {
        &self.table.listeners
    }
}

impl<F: Clone, K, R> Spread for PerKey<F, K, R> {
    fn spread(&self) -> Self {
        self.clone()
    }
}

#[allow(private_interfaces, reason = "it has no public name")]
#[diagnostic::do_not_recommend]
impl<F, K, R, Request> Admits<Request> for PerKey<F, K, R>
where
    F: Clone,
    ForRequest<F>: AskRequest<Request, K>,
    K: Eq + Hash + fmt::Display,
    R: BeginsCall<Request> + Default,
{
    type End = R;

    #[inline(always)]
    fn poll_ready(&self, _: &mut Ready, _: &mut Context<'_>) -> Poll<Readiness> {
        // The key is known only in `call`.
        Poll::Ready(Readiness::PollInner)
    }

    #[inline(always)]
    fn circuit(&self, request: &Request) -> Cow<'_, CircuitRef> {
        Cow::Owned(self.table.get(self.by.ask(request)))
    }
}

impl<F: Clone, K, R> Clone for PerKey<F, K, R> {
    fn clone(&self) -> Self {
        Self {
            by: self.by.clone(),
            table: Arc::clone(&self.table),
            end: PhantomData,
        }
    }
}

impl<F, K, R> fmt::Debug for PerKey<F, K, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PerKey")
            .field("circuits", &self.table.len())
            .finish_non_exhaustive()
    }
}
