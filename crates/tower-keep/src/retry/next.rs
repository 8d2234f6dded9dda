//! What follows a failed attempt. All of it is off the path of a call that succeeds.

use std::{fmt, time::Duration};

use tokio::time::Instant;

use super::{
    backoff::Walk,
    policy::{Attempt, Decision},
    settings::Settings,
};
use crate::{
    event::{EventKind, GiveUpReason},
    job::{
        seat::Seat,
        stop::{self, StopKind},
    },
};

/// An attempt that is over.
pub(super) struct Over<'a> {
    pub(super) settings: &'a Settings,
    pub(super) seat: &'a Seat,
    pub(super) attempt: u32,
    /// There is a request for another attempt.
    pub(super) repeatable: bool,
    /// When all attempts are to be over, as far as this retry is concerned.
    pub(super) end: Option<Instant>,
    /// Made when the call first waits for a time that takes more than the retry's number to find.
    pub(super) walk: &'a mut Option<Box<Walk>>,
}

impl Over<'_> {
    /// How long to wait before the next attempt, of which the job is told; `None` if this result is final after all.
    #[cold]
    pub(super) fn next<T, E: fmt::Display>(
        mut self,
        result: &Result<T, E>,
        decision: Decision,
    ) -> Option<Duration> {
        if decision == Decision::Never {
            stop::forbid(result);
        }
        let mut cancelled = false;
        self.seat.with_job(|job| cancelled = job.is_cancelled());
        if cancelled {
            return None;
        }
        let (attempt, max_retries) = (self.attempt, self.settings.max_retries);
        match self.plan(decision) {
            Ok(delay) => {
                self.seat.with_job(|job| {
                    job.attempt_over();
                    job.emit(|| EventKind::RetryScheduled {
                        attempt,
                        max_retries,
                        delay,
                        error: match result {
                            Err(error) => error.to_string().into(),
                            Ok(_) => StopKind::Failure.describe().into(),
                        },
                    });
                });
                Some(delay)
            }
            Err(reason) => {
                self.seat.with_job(|job| {
                    job.emit(|| EventKind::RetryGivenUp {
                        attempt,
                        max_retries,
                        reason,
                    });
                });
                None
            }
        }
    }

    fn plan(&mut self, decision: Decision) -> Result<Duration, GiveUpReason> {
        let settings = self.settings;
        if decision == Decision::Never {
            return Err(GiveUpReason::Forbidden);
        }
        if self.attempt > settings.max_retries {
            return Err(GiveUpReason::Exhausted);
        }
        if !self.repeatable {
            return Err(GiveUpReason::NotRepeatable);
        }
        let delay = match decision {
            Decision::RetryAfter(delay) => delay.min(settings.backoff.max),
            _ => self.backoff(),
        };
        let attempt = Attempt {
            number: self.attempt,
            max_retries: settings.max_retries,
            seat: self.seat,
        };
        if is_in_vain(delay, attempt.deadline()) {
            return Err(GiveUpReason::Deadline);
        }
        if is_in_vain(delay, self.end) {
            return Err(GiveUpReason::TotalTime);
        }
        // The last to be asked, as it gives nothing back.
        match &settings.budget {
            Some(budget) if !budget.withdraw() => Err(GiveUpReason::Budget),
            _ => Ok(delay),
        }
    }

    fn backoff(&mut self) -> Duration {
        let backoff = &self.settings.backoff;
        let retry = self.attempt - 1;
        if backoff.is_walk() {
            let walk = self
                .walk
                .get_or_insert_with(|| Box::new(Walk::new(self.settings.chance())));
            backoff.next(retry, walk)
        } else {
            backoff.steady(retry, None)
        }
    }
}

/// Whether an attempt after this wait would begin too late.
fn is_in_vain(delay: Duration, end: Option<Instant>) -> bool {
    end.is_some_and(|end| end.saturating_duration_since(Instant::now()) <= delay)
}

/// Tells the job that another attempt begins.
#[cold]
pub(super) fn begin_attempt(seat: &Seat, attempt: u32, max_retries: u32) {
    seat.with_job(|job| {
        job.set_attempt(attempt);
        job.emit(|| EventKind::Retrying {
            attempt,
            max_retries,
        });
    });
}
