//! The sealed [`Slot`] trait: which layers fit a slot, and the facts that the check needs.

use std::{sync::Arc, time::Duration};

use tower_layer::Identity;

use super::slots;
use crate::{
    cancel::CancelLayer,
    circuit_breaker::{CircuitBreakerLayer, Circuits},
    dedup::DedupLayer,
    log::LogLayer,
    progress::ProgressLayer,
    retry::{self, RetryLayer},
    timeout::{FixedLimit, Measure, Span, TimeoutLayer, body::sealed::Sealed as SettlesBody},
    unshare::Unshare,
};

/// The layers that fit the slot `Name`: the layer of that name, or [`Identity`] for an empty slot.
///
/// The trait is sealed. Put other layers around the pipeline, or compose all layers in a
/// `ServiceBuilder`.
#[diagnostic::on_unimplemented(
    message = "the slot `{Name}` of a pipeline does not take `{Self}`",
    label = "does not go into this slot",
    note = "a slot takes the layer that it is named after, or `pipeline::Identity`, which leaves it empty"
)]
pub trait Slot<Name>: sealed::Slot {}

/// The table of the running jobs.
type Table = Arc<crate::job::table::Table>;

pub(super) mod sealed {
    /// A layer in a slot.
    pub trait Slot: super::Unshare {
        /// The facts that the check needs.
        fn facts(&self) -> super::SlotFacts<'_> {
            super::SlotFacts::default()
        }

        /// The layer's table of jobs, to share with the other layers.
        #[allow(private_interfaces, reason = "it has no public name")]
        fn table(&self) -> Option<&super::Table> {
            None
        }

        /// Uses the table of another layer.
        #[allow(private_interfaces, reason = "it has no public name")]
        fn share(&mut self, table: &super::Table) {
            let _ = table;
        }
    }
}

/// The facts that the check needs. Most slots have none.
#[allow(missing_debug_implementations, reason = "it has no public name")]
#[derive(Default)]
pub struct SlotFacts<'a> {
    pub(super) limits: Option<SlotLimits>,
    pub(super) retries: Option<&'a retry::RetrySettings>,
    pub(super) circuits: Option<&'a dyn Circuits>,
}

/// The limits of a timeout layer.
#[derive(Clone, Copy)]
pub(super) struct SlotLimits {
    pub(super) span: Span,
    pub(super) measure: Measure,
    /// The limit of a request that sets none itself.
    pub(super) fixed: Option<Duration>,
    pub(super) grace: Duration,
    pub(super) step: Option<Duration>,
    /// The limit includes the response body.
    pub(super) includes_body: bool,
    /// The idle limit of the response body, if it is set.
    pub(super) idle: Option<Duration>,
}

/// Layers without shared state.
macro_rules! stateless {
    ($(<$($parameter:ident),*> $of:ty),+ $(,)?) => {$(
        impl<$($parameter),*> Unshare for $of {
            fn is_shared(&self) -> bool {
                false
            }

            fn renew(&mut self) {}
        }
    )+};
}

stateless!(<> Identity, <C, F> LogLayer<C, F>, <L, T, O, B> TimeoutLayer<L, T, O, B>);

impl<Name> Slot<Name> for Identity {}
impl sealed::Slot for Identity {}

impl<C, F> Slot<slots::Log> for LogLayer<C, F> {}
impl<C, F> sealed::Slot for LogLayer<C, F> {}

impl<E> Slot<slots::Progress> for ProgressLayer<E> {}
impl<E> sealed::Slot for ProgressLayer<E> {
    #[allow(private_interfaces, reason = "it has no public name")]
    fn table(&self) -> Option<&Table> {
        Some(self.table())
    }
}

impl<G: Unshare, D, O> Slot<slots::Cancel> for CancelLayer<G, D, O> {}
impl<G: Unshare, D, O> sealed::Slot for CancelLayer<G, D, O> {
    #[allow(private_interfaces, reason = "it has no public name")]
    fn share(&mut self, table: &Table) {
        self.share(table);
    }
}

impl<F, K, M, O> Slot<slots::Dedup> for DedupLayer<F, K, M, O> {}
impl<F, K, M, O> sealed::Slot for DedupLayer<F, K, M, O> {}

impl<C, B: Circuits, O> Slot<slots::CircuitBreaker> for CircuitBreakerLayer<C, B, O> {}
impl<C, B: Circuits, O> sealed::Slot for CircuitBreakerLayer<C, B, O> {
    fn facts(&self) -> SlotFacts<'_> {
        SlotFacts {
            circuits: Some(&self.circuits),
            ..SlotFacts::default()
        }
    }
}

impl<L, T, O, B> Slot<slots::Timeout> for TimeoutLayer<L, T, O, B>
where
    L: FixedLimit,
    T: FixedLimit,
    B: SettlesBody,
{
}
impl<L, T, O, B> sealed::Slot for TimeoutLayer<L, T, O, B>
where
    L: FixedLimit,
    T: FixedLimit,
    B: SettlesBody,
{
    fn facts(&self) -> SlotFacts<'_> {
        SlotFacts {
            limits: Some(SlotLimits {
                span: self.span,
                measure: self.measure,
                fixed: self.limit.fixed_limit(),
                grace: self.grace_period().unwrap_or_default(),
                step: self.step_limit.fixed_limit(),
                includes_body: self.body.includes_body(),
                idle: self.body.idle_limit(),
            }),
            ..SlotFacts::default()
        }
    }
}

impl<P, X> Slot<slots::Retry> for RetryLayer<P, X> {}
impl<P, X> sealed::Slot for RetryLayer<P, X> {
    fn facts(&self) -> SlotFacts<'_> {
        SlotFacts {
            retries: Some(&self.settings),
            ..SlotFacts::default()
        }
    }
}
