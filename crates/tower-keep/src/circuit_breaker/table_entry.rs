//! A circuit's link to its table: its number, and the table's list of changed circuits.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

/// The numbers of circuits that may belong to another eviction queue now.
#[derive(Default)]
pub(super) struct ChangedCircuits {
    /// A leaf lock.
    numbers: Mutex<Vec<u64>>,
}

impl ChangedCircuits {
    pub(super) fn take(&self) -> Vec<u64> {
        std::mem::take(&mut *self.numbers.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A circuit's link to its table.
pub(super) struct TableEntry {
    /// Unique in the table, for ever.
    pub(super) number: u64,
    changes: Arc<ChangedCircuits>,
    /// Whether the number is in the list. It is there at most once.
    noted: AtomicBool,
}

impl TableEntry {
    pub(super) fn new(number: u64, changes: Arc<ChangedCircuits>) -> Self {
        Self {
            number,
            changes,
            noted: AtomicBool::new(false),
        }
    }

    /// Adds the number to the list, after a change of state or mode.
    pub(super) fn note(&self) {
        if !self.noted.swap(true, Ordering::AcqRel) {
            let mut numbers = (self.changes.numbers.lock()).unwrap_or_else(PoisonError::into_inner);
            numbers.push(self.number);
        }
    }

    /// Allows the next change to be noted.
    pub(super) fn forget(&self) {
        self.noted.store(false, Ordering::Release);
    }
}
