//! What happened, second by second.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use crate::day::Day;

/// What was counted in one second.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Second {
    /// Calls that clients made.
    pub(crate) calls: u32,
    /// How many of these calls succeeded, whenever that was.
    pub(crate) fulfilled: u32,
    /// Calls that succeeded in this second, whenever they were made.
    pub(crate) answered: u32,
    /// Calls that came as far as the retry: its first attempts.
    pub(crate) first_attempts: u32,
    /// Attempts that arrived at the backend: its load.
    pub(crate) attempts: u32,
    /// Retries that were decided on, of which each comes a little later.
    pub(crate) retries_granted: u32,
}

/// Shared by all who take part. One thread runs them, so nobody ever waits for the lock.
#[derive(Clone, Debug)]
pub(crate) struct Books {
    seconds: Arc<Mutex<Vec<Second>>>,
    opened: Instant,
}

impl Books {
    pub(crate) fn open(day: Day) -> Self {
        Self {
            seconds: Arc::new(Mutex::new(vec![Second::default(); day.seconds()])),
            opened: Instant::now(),
        }
    }

    /// Counts something that happens now, and says which second that is.
    pub(crate) fn note(&self, note: impl FnOnce(&mut Second)) -> usize {
        let now = self.opened.elapsed().as_secs() as usize;
        self.note_at(now, note);
        now
    }

    /// Counts something that belongs to this second. What is left over from the day's end belongs
    /// to none.
    pub(crate) fn note_at(&self, second: usize, note: impl FnOnce(&mut Second)) {
        if let Some(second) = self.seconds().get_mut(second) {
            note(second);
        }
    }

    pub(crate) fn close(self) -> Vec<Second> {
        std::mem::take(&mut *self.seconds())
    }

    fn seconds(&self) -> MutexGuard<'_, Vec<Second>> {
        self.seconds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
