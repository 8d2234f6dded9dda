//! What a circuit knows of its table: its number, and the list of changes.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

/// The numbers of the circuits whose queue may be another by now.
#[derive(Default)]
pub(super) struct Changes {
    /// A leaf lock.
    numbers: Mutex<Vec<u64>>,
}

impl Changes {
    pub(super) fn take(&self) -> Vec<u64> {
        std::mem::take(&mut *self.numbers.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What a circuit knows of the table that it is in.
pub(super) struct TableEntry {
    /// No other circuit of the table ever has the same.
    pub(super) number: u64,
    changes: Arc<Changes>,
    /// Whether the number stands in the list, so that it stands there once.
    noted: AtomicBool,
}

impl TableEntry {
    pub(super) fn new(number: u64, changes: Arc<Changes>) -> Self {
        Self {
            number,
            changes,
            noted: AtomicBool::new(false),
        }
    }

    /// The state or the mode changed.
    pub(super) fn note(&self) {
        if !self.noted.swap(true, Ordering::AcqRel) {
            let mut numbers = (self.changes.numbers.lock()).unwrap_or_else(PoisonError::into_inner);
            numbers.push(self.number);
        }
    }

    /// What changes from here on is noted again.
    pub(super) fn forget(&self) {
        self.noted.store(false, Ordering::Release);
    }
}
