//! What holds for a piece of code beside its job: the limits in force, and what tells it to stop. Taken along where the
//! code goes on elsewhere.

use std::sync::Arc;

use super::{
    halt::{self, Halt},
    limits::{InForce, Limits},
};

/// Nothing, by default: no limit holds, and nobody stops it.
#[derive(Clone, Default)]
pub(crate) struct Surroundings {
    limits: Limits,
    halt: Option<Arc<Halt>>,
}

impl Surroundings {
    pub(crate) fn new(limits: Limits, halt: Option<Arc<Halt>>) -> Self {
        Self { limits, halt }
    }

    /// Lets them hold, and no others, while `code` runs.
    pub(crate) fn around<T>(&mut self, code: impl FnOnce() -> T) -> T {
        let _limits = InForce::only(self.limits);
        let _halt = halt::Entered::new(&mut self.halt);
        code()
    }
}
