//! Leaving a scope in order, also by a panic: what a root takes over, and what ends there and then.

use std::sync::Arc;

use super::{
    core::{Core, Ending},
    scope::{self, Entered, Phase},
};

/// What a root's call came upon below it.
pub(super) enum Found {
    /// A job that was begun there, for the root to own.
    Begun(Arc<Core>),
    /// The job around the root, by a layer that belongs to it.
    Again,
    /// No job.
    Nothing,
}

/// A root's call that begins no job itself, but takes over one that is begun below.
pub(super) struct Frame(Phase);

impl Frame {
    #[inline(always)]
    pub(super) fn open() -> Self {
        Self(scope::set_phase(Phase::Adopting))
    }

    #[inline(always)]
    pub(super) fn close(self) -> Found {
        let phase = scope::set_phase(self.0);
        std::mem::forget(self);
        match phase {
            Phase::Calling => scope::take_over().map_or(Found::Nothing, Found::Begun),
            Phase::Rejoined => Found::Again,
            _ => Found::Nothing,
        }
    }
}

impl Drop for Frame {
    // Only on unwinding out of the call.
    fn drop(&mut self) {
        if scope::set_phase(self.0) == Phase::Calling {
            if let Some(job) = scope::take_over() {
                job.end(Ending::panicked);
            }
        }
    }
}

/// A root's poll while its stack has no job: takes over one that a layer inside begins meanwhile.
pub(super) struct Open(Phase);

impl Open {
    #[inline(always)]
    pub(super) fn new() -> Self {
        Self(scope::set_phase(Phase::Open))
    }

    #[inline(always)]
    pub(super) fn close(self) -> Option<Arc<Core>> {
        let phase = scope::set_phase(self.0);
        std::mem::forget(self);
        if phase == Phase::Offered {
            scope::take_over()
        } else {
            None
        }
    }
}

impl Drop for Open {
    // Only on unwinding out of the poll.
    fn drop(&mut self) {
        if scope::set_phase(self.0) == Phase::Offered {
            if let Some(job) = scope::take_over() {
                job.end(Ending::panicked);
            }
        }
    }
}

/// Leaves the scope; if the code in it panicked, the job of its owner ends there and then.
pub(super) struct Unwinding<'a> {
    entered: Option<Entered<'a>>,
    ends: bool,
}

impl<'a> Unwinding<'a> {
    #[inline(always)]
    pub(super) fn new(job: &'a mut Option<Arc<Core>>, phase: Phase, ends: bool) -> Self {
        Self {
            entered: Some(Entered::new(job, phase)),
            ends,
        }
    }

    #[inline(always)]
    pub(super) fn disarm(mut self) {
        self.entered = None;
    }
}

impl Drop for Unwinding<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        if self.ends && self.entered.is_some() {
            if let Some(job) = scope::current() {
                job.end(Ending::panicked);
            }
        }
    }
}
