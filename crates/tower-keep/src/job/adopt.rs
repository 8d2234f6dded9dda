//! Entering and leaving a job's scope in order, also on panic: what an owner adopts, and which job
//! ends at once.

use std::sync::Arc;

use tokio::time::Instant;

use super::{
    context::{self, Phase},
    core::Core,
    panic,
};

/// What an owner's call found below it.
pub(super) enum Found {
    /// A job that an inner layer began, for the owner to adopt.
    Begun(Arc<Core>),
    /// The outer job of the owner, found by a layer that belongs to it.
    Again,
    /// No job.
    Nothing,
}

/// Makes an owner's call that begins no job itself, but adopts a job that an inner layer begins. If
/// the call panics, that job ends at once. `at` is the current time, if known.
#[inline(always)]
pub(super) fn adopt_on_call(at: Option<Instant>, call: impl FnOnce()) -> Found {
    let around = context::set_phase(Phase::Adopting);
    context::set_called_at(at);
    let phase = panic::noticed(
        || {
            call();
            context::set_phase(around)
        },
        |panic| {
            if context::set_phase(around) == Phase::Calling {
                if let Some(job) = context::take_over() {
                    panic.note_start(&job, Phase::Calling);
                    panic.end(&job);
                }
            }
        },
    );
    match phase {
        Phase::Calling => context::take_over().map_or(Found::Nothing, Found::Begun),
        Phase::Rejoined => Found::Again,
        _ => Found::Nothing,
    }
}

/// Polls for an owner without a job, and adopts the job that an inner layer begins. If the poll
/// panics, that job ends at once.
#[inline(always)]
pub(super) fn adopt_on_poll<T>(poll: impl FnOnce() -> T) -> (Option<Arc<Core>>, T) {
    let around = context::set_phase(Phase::Open);
    let (phase, polled) = panic::noticed(
        || {
            let polled = poll();
            let phase = context::set_phase(around);
            (phase, polled)
        },
        |panic| {
            if context::set_phase(around) == Phase::Offered {
                if let Some(job) = context::take_over() {
                    panic.note_start(&job, Phase::Running);
                    panic.end(&job);
                }
            }
        },
    );
    let found = if phase == Phase::Offered {
        context::take_over()
    } else {
        None
    };
    (found, polled)
}

/// Runs code in its job's scope. If the code panics, the owner's job ends at once.
#[inline(always)]
pub(super) fn within<T>(
    job: &mut Option<Arc<Core>>,
    phase: Phase,
    owns: bool,
    code: impl FnOnce() -> T,
) -> T {
    let _entered = context::enter(job, phase);
    panic::noticed(code, |panic| {
        if let Some(job) = context::current() {
            panic.note_start(&job, phase);
            if owns {
                panic.end(&job);
            }
        }
    })
}
