//! Panics of a job's code: the panic ends the job and continues to the caller.

use std::{
    any::Any,
    mem,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::Arc,
};

use super::{
    context::{self, Phase},
    core::{Core, Ending},
};
use crate::{
    error::{panic_text, unharmed},
    error_text::bounded,
    event::{FailureCause, JobId},
};

/// Runs `code`. If it panics, `note` sees the panic first.
#[inline(always)]
pub(crate) fn noticed<T>(code: impl FnOnce() -> T, note: impl FnOnce(&Panic)) -> T {
    match catch(code) {
        Ok(done) => done,
        Err(panic) => {
            // A second panic must not hide the first from the caller.
            unharmed(|| note(&panic));
            panic.resume()
        }
    }
}

/// Runs `code` and catches its panic.
#[inline(always)]
pub(crate) fn catch<T>(code: impl FnOnce() -> T) -> Result<T, Panic> {
    catch_unwind(AssertUnwindSafe(code)).map_err(Panic::new)
}

/// A panic on its way to the caller.
pub(crate) struct Panic {
    payload: Box<dyn Any + Send>,
    /// The job, if a closure that a layer runs before the service panicked.
    before_service: Option<JobId>,
}

impl Panic {
    #[cold]
    fn new(payload: Box<dyn Any + Send>) -> Self {
        Self {
            payload,
            before_service: context::take_panic_before_service(),
        }
    }

    /// Whether a panicked call had passed every gate of its stack.
    fn is_past_gates(&self, job: &Core) -> bool {
        self.before_service != Some(job.id())
    }

    /// Like [`is_past_gates`](Self::is_past_gates), for a poll.
    pub(crate) fn is_past_gates_in_poll(&self, job: &Core) -> bool {
        self.is_past_gates(job)
            && !context::current_verdict().is_some_and(|stop| stop.kind.is_gate())
    }

    /// The call or poll of this job panicked. The job has started, unless none of its code ran.
    pub(crate) fn note_start(&self, job: &Core, phase: Phase) {
        let starts = match phase {
            Phase::Calling => self.is_past_gates(job),
            _ => self.is_past_gates_in_poll(job),
        };
        if starts {
            job.started(false);
        }
    }

    /// Ends the job.
    pub(super) fn end(&self, job: &Core) {
        job.end(context::step_of(job.id()), || self.ending());
    }

    /// The ending of a job by this panic.
    pub(crate) fn ending(&self) -> Ending {
        Ending::Failed {
            cause: FailureCause::Panicked,
            error: text(panic_text(&*self.payload)),
        }
    }

    pub(crate) fn resume(self) -> ! {
        resume_unwind(self.payload)
    }
}

/// The text of a panic with this message, for events.
pub(crate) fn text(message: Option<&str>) -> Arc<str> {
    match message {
        Some(message) => bounded(format_args!("{}: {message}", FailureCause::Panicked)),
        None => FailureCause::Panicked.to_string().into(),
    }
}

/// Runs user code before the service call, such as a key function. Its panic does not start the
/// job.
#[inline(always)]
pub(crate) fn before_service<T>(ask: impl FnOnce() -> T) -> T {
    struct Asking;

    impl Drop for Asking {
        // Reached only on unwinding.
        #[cold]
        fn drop(&mut self) {
            context::note_panic_before_service();
        }
    }

    let asking = Asking;
    let answer = ask();
    mem::forget(asking);
    answer
}
