//! A panic of a job's code: what it says ends the job, and the panic goes on to the caller.

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

/// Runs `code`. If it panics, `note` sees the panic before it goes on.
#[inline(always)]
pub(crate) fn noticed<T>(code: impl FnOnce() -> T, note: impl FnOnce(&Panic)) -> T {
    match catch(code) {
        Ok(done) => done,
        Err(panic) => {
            // A second panic must not keep the first from the caller.
            unharmed(|| note(&panic));
            panic.resume()
        }
    }
}

/// Runs `code`, and catches its panic.
#[inline(always)]
pub(crate) fn catch<T>(code: impl FnOnce() -> T) -> Result<T, Panic> {
    catch_unwind(AssertUnwindSafe(code)).map_err(Panic::new)
}

/// A panic on its way to the caller.
pub(crate) struct Panic {
    payload: Box<dyn Any + Send>,
    /// A closure that a layer called before the service panicked, in this job.
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

    /// Whether a call that panicked had got past every gate of its stack.
    fn is_past_gates(&self, job: &Core) -> bool {
        self.before_service != Some(job.id())
    }

    /// As [`is_past_gates`](Self::is_past_gates), of a poll.
    pub(crate) fn is_past_gates_in_poll(&self, job: &Core) -> bool {
        self.is_past_gates(job) && !context::said().is_some_and(|stop| stop.kind.is_gate())
    }

    /// The call or the poll of this job panicked: the job has started, unless no code of it ran.
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

    /// How a job ends by it.
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

/// What events say of a panic with this message.
pub(crate) fn text(message: Option<&str>) -> Arc<str> {
    match message {
        Some(message) => bounded(format_args!("{}: {message}", FailureCause::Panicked)),
        None => FailureCause::Panicked.to_string().into(),
    }
}

/// Runs what a layer asks the user's code before it calls the service, such as a request's key. A panic of it is not
/// the start of the job.
#[inline(always)]
pub(crate) fn before_service<T>(ask: impl FnOnce() -> T) -> T {
    struct Asking;

    impl Drop for Asking {
        // Only on unwinding.
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
