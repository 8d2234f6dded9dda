//! Calls of the inner service: as the owner of a job, inside a job, or before there is one.

use std::sync::Arc;

use tokio::time::Instant;

use super::{
    Joining, LayerId, Membership, Role,
    entry::{Entry, Layer},
};
use crate::{
    event::JobName,
    job::{
        adopt::{self, Found},
        context::{self, Phase},
        core::{self, Core, Origin},
        limits::Limits,
    },
};

/// The name and the external id that a layer gives a job.
#[derive(Default)]
pub(crate) struct Labels {
    pub(crate) name: Option<JobName>,
    pub(crate) external_id: Option<Arc<str>>,
}

/// Takes the result of a call out of its slot. A future is large, and returning it through each
/// frame would copy it.
#[inline(always)]
fn take_made<T>(slot: Option<T>) -> T {
    match slot {
        Some(made) => made,
        None => unreachable!("each entry makes its call"),
    }
}

impl Membership {
    /// Calls the inner service for a layer that begins no job.
    #[inline(always)]
    pub(crate) fn call<T>(call: impl FnOnce() -> T) -> (Self, T) {
        let mut slot = None;
        let membership = Self::around_call(None, || slot = Some(call()));
        (membership, take_made(slot))
    }

    #[inline(always)]
    fn around_call(at: Option<Instant>, call: impl FnOnce()) -> Self {
        match Entry::of(context::phase(), Layer::Plain) {
            Entry::Adopt => Self::call_as_owner(at, call),
            Entry::Untracked => {
                call();
                let role = if context::phase() == Phase::Adopting {
                    Role::Untracked
                } else {
                    Role::Member
                };
                Self::new(role, None)
            }
            _ => {
                call();
                Self::member()
            }
        }
    }

    /// Like [`call`](Self::call), for a layer with limits: it applies them to the stack's job, or
    /// to the job that is begun below. `at` is the current time, if known.
    #[inline(always)]
    pub(crate) fn call_limited<T>(
        limits: Limits,
        at: Option<Instant>,
        call: impl FnOnce() -> T,
    ) -> (Self, T) {
        if limits.step.is_some() && context::is_calling() {
            context::with_current(|job| {
                job.into_iter()
                    .for_each(|job| job.set_step_limit(limits.step));
            });
        }
        let mut slot = None;
        let membership = Self::around_call(at, || {
            let _limits = context::narrow(limits);
            slot = Some(call());
        });
        (membership, take_made(slot))
    }

    #[inline(always)]
    fn call_as_owner(at: Option<Instant>, call: impl FnOnce()) -> Self {
        let _limits = context::narrow_for_callee();
        match adopt::adopt_on_call(at, call) {
            Found::Begun(job) => Self::new(Role::Owner, Some(job)),
            Found::Again => Self::member(),
            Found::Nothing => Self::new(Role::Owner, None),
        }
    }

    /// Calls the inner service for a tracking layer: joins the stack's job, or begins one.
    #[inline(always)]
    pub(crate) fn track<T>(joining: &Joining<'_>, call: impl FnOnce() -> T) -> (Self, T) {
        Self::track_labelled(joining, Labels::default(), call)
    }

    /// Whether a call of this layer, which names jobs, begins the job or finds it unnamed and
    /// unused.
    pub(crate) fn takes_name(layer: LayerId) -> bool {
        context::with_current(|job| match context::is_calling() {
            true => job.is_some_and(|job| job.name().is_empty() && job.state().is_fresh()),
            false => job.is_none_or(|job| !layer.belongs_to(job)),
        })
    }

    /// Whether a call of this layer, which identifies jobs, begins the job or finds it without an
    /// external id.
    pub(crate) fn takes_external_id(layer: LayerId) -> bool {
        let lacks = |job: &Arc<Core>| !job.state().is_over() && job.external_id().is_none();
        context::with_current(|job| match context::is_calling() {
            true => job.is_some_and(lacks),
            // A foreign layer in between may make a later attempt.
            false => job.is_none_or(|job| !layer.belongs_to(job) || lacks(job)),
        })
    }

    /// Whether an event of the job of a call may reach an observer, given the observer of the layer
    /// that is called. `traced`: it writes to tracing.
    pub(crate) fn will_be_observed(traced: bool) -> bool {
        core::listens(traced)
            || context::with_current(|job| job.is_some_and(|job| job.is_observed()))
    }

    /// Like [`track`](Self::track). Gives the job a name and an external id if it
    /// [may](Self::takes_name).
    #[inline(always)]
    pub(crate) fn track_labelled<T>(
        joining: &Joining<'_>,
        labels: Labels,
        call: impl FnOnce() -> T,
    ) -> (Self, T) {
        let mut slot = None;
        let membership = Self::track_call(joining, labels, || slot = Some(call()));
        (membership, take_made(slot))
    }

    #[inline(always)]
    fn track_call(joining: &Joining<'_>, labels: Labels, call: impl FnOnce()) -> Self {
        let Labels { name, external_id } = labels;
        let phase = context::phase();
        let around = match phase {
            Phase::Calling | Phase::Rejoined => None,
            _ => context::current(),
        };
        let layer = match &around {
            Some(job) if joining.layer.belongs_to(job) => Layer::Known,
            _ => Layer::Tracking,
        };
        match (Entry::of(phase, layer), around) {
            (entry @ (Entry::Begin | Entry::BeginForOwner), around) => {
                let name = name.unwrap_or(JobName::EMPTY);
                let origin = context::origin(around);
                let at = context::called_at();
                let job = Core::begin(name, origin, at, context::apart, joining.watcher);
                external_id.iter().for_each(|id| job.identify(id));
                if entry == Entry::Begin {
                    let _limits = context::narrow_for_callee();
                    return Self::begin_as_owner(job, call);
                }
                joining.layer.join(&job);
                if let Some(limits) = context::limits() {
                    job.set_step_limit(limits.step);
                }
                context::lay_over(job);
                context::set_phase(Phase::Calling);
                context::set_called_at(Some(at));
            }
            (Entry::Rejoin, Some(job)) => {
                external_id.iter().for_each(|id| job.identify(id));
                joining.join(&job);
                let _calling = context::in_phase(Phase::Calling);
                context::set_called_at(None);
                call();
                return Self::member();
            }
            (Entry::RejoinForOwner, Some(job)) => {
                external_id.iter().for_each(|id| job.identify(id));
                joining.join(&job);
                context::set_phase(Phase::Rejoined);
            }
            _ if name.is_some() || external_id.is_some() || joining.watcher.runs_code() => {
                // The handle is cloned, because the observer may enter its own scope.
                if let Some(job) = context::current() {
                    name.into_iter().for_each(|name| job.set_name(name));
                    external_id.iter().for_each(|id| job.identify(id));
                    joining.join(&job);
                }
            }
            _ => context::with_current(|job| job.into_iter().for_each(|job| joining.join(job))),
        }
        call();
        Self::member()
    }

    /// Begins a job that outlives its caller. It knows the id of the current job, and nothing else
    /// of the surrounding code. `call` only makes the future: the current limits and signals still
    /// apply to it.
    pub(crate) fn begin_apart<T>(labels: Labels, call: impl FnOnce() -> T) -> (Self, Arc<Core>, T) {
        let begun_by = context::with_current(|job| job.map(|job| job.id()));
        let origin = begun_by.map_or(Origin::Nobody, Origin::Apart);
        let name = labels.name.unwrap_or(JobName::EMPTY);
        let job = Core::new(name, origin, context::apart);
        labels.external_id.iter().for_each(|id| job.identify(id));
        let mut slot = None;
        let membership = Self::begin_as_owner(Arc::clone(&job), || slot = Some(call()));
        (membership, job, take_made(slot))
    }

    #[inline(always)]
    fn begin_as_owner(job: Arc<Core>, call: impl FnOnce()) -> Self {
        let at = job.born();
        let mut membership = Self::new(Role::Owner, Some(job));
        let call = || {
            context::set_called_at(Some(at));
            call();
        };
        adopt::within(&mut membership.job, Phase::Calling, true, call);
        membership
    }

    /// Calls the inner service again, or for the first time, from a poll: the call belongs to the
    /// same job.
    #[inline(always)]
    pub(crate) fn recall<T>(&mut self, call: impl FnOnce() -> T) -> T {
        let mut slot = None;
        let call = || {
            // Time has passed since the first call.
            context::set_called_at(None);
            slot = Some(call());
        };
        match (self.role, &self.job) {
            (Role::Member, _) => {
                let _calling = context::in_phase(Phase::Calling);
                call();
            }
            (_, Some(_)) => {
                // The job is in `self.job` and not ambient, because `run` is not around this call.
                let ends = self.role == Role::Owner;
                adopt::within(&mut self.job, Phase::Calling, ends, call);
            }
            (Role::Untracked, None) => self.recall_untracked(call),
            (_, None) => *self = Self::call_as_owner(None, call),
        }
        take_made(slot)
    }

    fn recall_untracked(&mut self, call: impl FnOnce()) {
        match adopt::adopt_on_call(None, call) {
            Found::Begun(job) if context::phase() == Phase::Open => {
                // The owner is polling this future: leave the job as the ambient one.
                context::lay_over(job);
                context::set_phase(Phase::Offered);
                self.role = Role::Member;
            }
            // The future was moved to its own task, where this layer is an owner.
            Found::Begun(job) => *self = Self::new(Role::Owner, Some(job)),
            Found::Again => self.role = Role::Member,
            Found::Nothing => {}
        }
    }
}
