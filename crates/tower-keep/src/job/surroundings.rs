//! What holds for a piece of code beside its job: the limits in force, what tells it to stop, and whether callers share
//! it. Taken along where the code goes on elsewhere.

use std::{cell::Cell, sync::Arc};

use super::{
    halt::{self, Halt},
    limits::{InForce, Limits},
    local::Local as _,
};
use crate::event::JobId;

thread_local! {
    /// The job whose execution, which callers share, runs now.
    static EXECUTION: Cell<Option<JobId>> = const { Cell::new(None) };
}

/// Whether what is called now is a part of the execution of this job that callers share, rather than one of those calls.
pub(crate) fn is_execution_of(job: JobId) -> bool {
    EXECUTION.read() == Some(job)
}

/// Nothing, by default: no limit holds, and nobody stops it.
#[derive(Clone, Default)]
pub(crate) struct Surroundings {
    limits: Limits,
    halt: Option<Arc<Halt>>,
    execution: Option<JobId>,
}

/// Puts the one before back.
struct Executing(Option<JobId>);

impl Drop for Executing {
    fn drop(&mut self) {
        EXECUTION.write(self.0);
    }
}

impl Surroundings {
    pub(crate) fn new(limits: Limits, halt: Option<Arc<Halt>>) -> Self {
        Self {
            limits,
            halt,
            execution: None,
        }
    }

    /// Those of an execution that callers share: it is under nobody's limits.
    pub(crate) fn of_execution(job: Option<JobId>) -> Self {
        Self {
            execution: job,
            ..Self::default()
        }
    }

    /// As the code that runs now has it.
    pub(crate) fn in_the_same_execution(self) -> Self {
        Self {
            execution: EXECUTION.read(),
            ..self
        }
    }

    /// Lets them hold, and no others, while `code` runs.
    pub(crate) fn around<T>(&mut self, code: impl FnOnce() -> T) -> T {
        let _execution = Executing(EXECUTION.exchange(self.execution));
        let _limits = InForce::only(self.limits);
        let _halt = halt::Entered::new(&mut self.halt);
        code()
    }
}
