//! The attempts of a job: when each began, and one event for the end of each.
//!
//! A Retry layer marks its job. An attempt is open until the event of its end was sent. It is not
//! open while the call is held, during backoff, and while a hook prepares the next one. The first
//! of these sends the event, under the lock:
//!
//! | sender | attempt |
//! |---|---|
//! | the Timeout layer | cut off by its limit |
//! | the Retry layer | has a result |
//! | the end of the job | dropped, or panicked |

use std::time::Duration;

use tokio::time::Instant;

use super::{Core, Flag, Locked, family, nanos, steps::StepKey};
use crate::{
    event::{AttemptOutcome, EventKind},
    sync::atomic::Ordering,
};

impl Core {
    pub(crate) fn attempt(&self) -> u32 {
        self.attempt.load(Ordering::Relaxed)
    }

    /// A Retry layer makes the attempts of this job, and has just `called` or polled the service.
    #[inline(always)]
    pub(crate) fn has_attempts(&self, called: bool) {
        if self.flags.set(Flag::Attempts).has(Flag::AttemptClosed) && called {
            // A foreign layer called the service again.
            self.attempt_runs();
        }
    }

    /// This attempt began the job; the service was just called for it.
    pub(crate) fn begun_in_attempt(&self, attempt: u32) {
        self.attempt.store(attempt, Ordering::Relaxed);
    }

    /// The wait for another attempt is over, except for the service's readiness.
    pub(crate) fn begin_attempt(&self, attempt: u32) {
        self.attempt.store(attempt, Ordering::Relaxed);
        self.note_attempt();
        if let Some(rare) = &mut self.lock().rare {
            // Each attempt numbers its steps from 1 again.
            rare.steps.restart();
            rare.forget_response();
        }
        self.touch();
    }

    /// A hook prepares an attempt. The attempt opens when the service is called.
    #[cold]
    pub(crate) fn attempt_is_prepared(&self) {
        if self.is_heard() {
            self.note_attempt();
        }
        self.flags
            .update(|flags| flags.without(Flag::BackingOff).with(Flag::AttemptClosed));
    }

    /// The hook is over, with or without success: nothing holds the job back any more.
    #[cold]
    pub(crate) fn attempt_was_prepared(&self) {
        self.flags.release();
    }

    /// The service is about to be called for another attempt.
    #[cold]
    pub(crate) fn attempt_runs(&self) {
        self.note_attempt();
        self.flags
            .update(|flags| flags.without(Flag::BackingOff).without(Flag::AttemptClosed));
    }

    /// A gate let the call through: its attempt begins now.
    pub(crate) fn release(&self) {
        if self.is_heard() {
            self.note_attempt();
        }
        self.flags.release();
    }

    fn note_attempt(&self) {
        let since_born = nanos(self.born.elapsed());
        self.attempt_at.store(since_born, Ordering::Relaxed);
    }

    /// When the current or last attempt began, in nanoseconds since the job's beginning.
    pub(super) fn attempt_at(&self) -> u64 {
        self.attempt_at.load(Ordering::Relaxed)
    }

    /// Time since the attempt began.
    pub(crate) fn attempt_took(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.born)
            .saturating_sub(Duration::from_nanos(self.attempt_at()))
    }

    /// The attempt did not reach the service.
    pub(crate) fn attempt_turned_away(&self) {
        self.flags.set(Flag::AttemptClosed);
    }

    /// Ends the attempt: sends the event, unless it was sent.
    #[cold]
    pub(crate) fn attempt_ended(&self, here: Option<StepKey>, outcome: AttemptOutcome) {
        if !self.is_observed() {
            return;
        }
        let at = Instant::now();
        let mut job = self.lock();
        if !self.state().is_over() {
            if let Some(kind) = job.end_attempt(outcome, at) {
                let step = job.step_of(&kind, here);
                job.notify_all(kind, at, step, None);
            }
        }
    }

    /// Another attempt follows.
    pub(crate) fn attempt_over(&self) {
        self.flags
            .update(|flags| flags.without(Flag::Decided).with(Flag::BackingOff));
        // Before the event: the transport may still send what this attempt began.
        #[cfg(all(feature = "http", feature = "progress"))]
        self.uploads.outdate();
        if self.activity.is_timed() {
            family::touch(self);
            self.activity.pause();
        }
        self.let_attempt_go();
    }
}

impl Locked<'_> {
    fn end_attempt(&mut self, outcome: AttemptOutcome, at: Instant) -> Option<EventKind> {
        let core = self.core;
        if !core.state().has_open_attempt() {
            return None;
        }
        core.flags.set(Flag::AttemptClosed);
        Some(EventKind::AttemptEnded {
            attempt: core.attempt(),
            took: core.attempt_took(at),
            outcome,
        })
    }

    /// Ends the open attempt with the job.
    pub(super) fn end_last_attempt(
        &mut self,
        ending: &EventKind,
        at: Instant,
    ) -> Option<EventKind> {
        let outcome = match ending {
            EventKind::Succeeded => AttemptOutcome::Succeeded,
            EventKind::Cancelled { .. } => AttemptOutcome::Cancelled,
            EventKind::Failed { cause, .. } if !cause.is_rejection() => {
                AttemptOutcome::Failed(*cause)
            }
            _ => return None,
        };
        // Otherwise it did not reach the service.
        self.start_was_sent()
            .then(|| self.end_attempt(outcome, at))?
    }
}
