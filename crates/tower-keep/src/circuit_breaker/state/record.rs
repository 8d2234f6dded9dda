//! Outcomes of admitted calls: counts them, and decides when the circuit opens or closes.

use std::{sync::Arc, time::Duration};

use super::{
    Admission, Circuit, DATED, Kind, LateAdmission, Leave, LockedState, Mode, OpeningReason,
    Ordering, Outcome, OutcomeEffect, PackedState, RAMPING, Ratio, Sample, State, StateChange,
    TIMED, TRACKED, Trip, UNTIMED, WINDOWED, nanos,
};

/// The call whose outcome is judged.
#[derive(Clone, Copy)]
pub(super) struct Ended {
    failed: bool,
    /// The duration, if the call was slow.
    slow: Option<Duration>,
}

/// What a success means for the failures in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Streak {
    Ends,
    /// The call goes on, and its end decides.
    Stays,
}

impl Circuit {
    /// Counts the outcome of an admitted call, unless its generation is over. `requested` is the
    /// cooldown that the service requested. A failure that opens the circuit is counted here, and
    /// opens it in [`open_for`](Self::open_for).
    #[inline(always)]
    pub(in super::super) fn record(
        &self,
        admission: &Admission,
        outcome: Outcome,
        requested: Option<Duration>,
        streak: Streak,
        now: impl FnOnce() -> Duration,
    ) -> Option<OutcomeEffect> {
        let word = self.word();
        let changes_nothing = admission.kind == Kind::Call
            && outcome == Outcome::Success
            && !word.has(TRACKED | WINDOWED)
            && (word.failures() == 0 || streak == Streak::Stays);
        if changes_nothing {
            return None;
        }
        self.record_counted(word, admission, outcome, requested, streak, now)
    }

    #[inline(never)]
    fn record_counted(
        &self,
        word: PackedState,
        admission: &Admission,
        outcome: Outcome,
        requested: Option<Duration>,
        streak: Streak,
        now: impl FnOnce() -> Duration,
    ) -> Option<OutcomeEffect> {
        if admission.kind == Kind::Call && !word.has(TRACKED) {
            match outcome {
                Outcome::Success if !word.has(WINDOWED) => {
                    if streak == Streak::Ends {
                        self.count_success(admission.generation);
                    }
                    return None;
                }
                Outcome::Ignored => return None,
                Outcome::Success | Outcome::Failure => {}
            }
        }
        // A window of calls does not need the time.
        let is_timeless = admission.kind == Kind::Call && !word.has(TIMED | TRACKED | DATED);
        let now = if is_timeless { Duration::ZERO } else { now() };
        self.record_slow(admission, outcome, requested, streak, now)
    }

    /// Counts one more failure of a call whose outcome is recorded, unless its generation is over.
    /// A failure that opens the circuit opens it in [`open_for`](Self::open_for).
    #[cold]
    pub(in super::super) fn record_late_failure(
        &self,
        late: LateAdmission,
        now: Duration,
    ) -> Option<Trip> {
        let LateAdmission { generation, .. } = late;
        let mut locked = self.lock();
        let word = self.word();
        if word.generation() != generation || locked.mode == Mode::Disabled {
            return None;
        }
        let ended = Ended {
            failed: true,
            slow: None,
        };
        let reason = match word.state() {
            State::Closed => {
                if let Some(outcomes) = &mut locked.outcomes {
                    let (failed, slow) = (true, false);
                    outcomes.push(Sample { failed, slow }, now);
                }
                let in_a_row = self.count_failure();
                self.judge(&mut locked, in_a_row, Some(ended), now)?
            }
            // The slot of the probe is free already.
            State::HalfOpen => self.count_probe(&mut locked, ended)?,
            State::Open => return None,
        };
        Some(Trip {
            generation,
            requested: None,
            reason,
        })
    }

    /// A call whose success left the failures in a row has ended without a failure.
    #[inline]
    pub(in super::super) fn record_late_end(&self, late: LateAdmission) {
        if late.ends_streak {
            self.count_success(late.generation);
        }
    }

    fn count_success(&self, generation: u32) {
        let mut word = self.word();
        while word.generation() == generation && word.failures() > 0 {
            match self.word.compare_exchange_weak(
                word.0,
                word.with_failures(0).0,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => return,
                Err(current) => word = PackedState(current),
            }
        }
    }

    /// Counts a failure and returns the failures in a row.
    fn count_failure(&self) -> u32 {
        let mut word = self.word();
        loop {
            let failures = word.failures().saturating_add(1);
            match self.word.compare_exchange_weak(
                word.0,
                word.with_failures(failures).0,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => return failures,
                Err(current) => word = PackedState(current),
            }
        }
    }

    #[inline(always)]
    fn record_slow(
        &self,
        admission: &Admission,
        outcome: Outcome,
        requested: Option<Duration>,
        streak: Streak,
        now: Duration,
    ) -> Option<OutcomeEffect> {
        let mut locked = self.lock();
        // Under the lock, other threads can only count failures of this generation.
        if !self.is_current(admission) {
            return None;
        }
        if admission.kind == Kind::Call && admission.began != UNTIMED {
            if let Some(in_flight) = &mut locked.in_flight {
                in_flight.end(admission.began, nanos(now));
            }
        }
        if locked.mode == Mode::Disabled {
            return None;
        }
        let took = || Duration::from_nanos(nanos(now).saturating_sub(admission.began));
        let ended = Ended {
            failed: outcome == Outcome::Failure,
            slow: locked.settings.slow_call(took),
        };
        let reason = match (admission.kind, outcome) {
            (Kind::Probe(lease), outcome) => {
                let reason = match outcome {
                    Outcome::Ignored => None,
                    // The outcome of a probe with an expired lease counts too: it is of this
                    // generation.
                    Outcome::Success | Outcome::Failure => self.count_probe(&mut locked, ended),
                };
                if !locked.tripping {
                    locked.leases.retain(|held| held.id != lease);
                }
                match (reason, outcome) {
                    // All slots stay occupied until the circuit opens, so that no other probe is
                    // admitted.
                    (Some(reason), _) => reason,
                    (None, Outcome::Ignored) => return None,
                    (None, _) => return self.close(&mut locked, now).map(OutcomeEffect::Closed),
                }
            }
            (Kind::Uncounted, _) | (_, Outcome::Ignored) => return None,
            (Kind::Call, Outcome::Success | Outcome::Failure) => {
                if let Some(outcomes) = &mut locked.outcomes {
                    let (failed, slow) = (ended.failed, ended.slow.is_some());
                    outcomes.push(Sample { failed, slow }, now);
                }
                // Judge the streak with this outcome, even if a concurrent success resets it.
                let in_a_row = if ended.failed {
                    self.count_failure()
                } else {
                    if streak == Streak::Ends {
                        self.count_success(admission.generation);
                    }
                    0
                };
                self.judge(&mut locked, in_a_row, Some(ended), now)?
            }
        };
        Some(OutcomeEffect::Trips(Trip {
            generation: admission.generation,
            requested,
            reason,
        }))
    }

    /// The reason why a closed circuit opens, if a condition is met.
    pub(super) fn judge(
        &self,
        locked: &mut LockedState,
        in_a_row: u32,
        ended: Option<Ended>,
        now: Duration,
    ) -> Option<OpeningReason> {
        if !matches!(locked.mode, Mode::Automatic | Mode::ObserveOnly) {
            return None;
        }
        let (counts, in_flight) = locked.counts(now);
        let settings = &locked.settings;
        let reached = |rate: Option<Ratio>, part: u64, calls: u64| {
            calls >= settings.least_calls() && rate.is_some_and(|rate| rate.is_reached(part, calls))
        };
        let failed = ended.is_some_and(|ended| ended.failed);
        let (slow_calls, calls) = (counts.slow + in_flight, counts.calls + in_flight);
        let limit = settings.slow_call_duration;
        if settings.consecutive().is_some_and(|most| in_a_row > most) {
            Some(if failed {
                OpeningReason::Failure
            } else {
                OpeningReason::Failures(in_a_row)
            })
        } else if reached(settings.failure_rate, counts.failures, counts.calls) {
            Some(if failed {
                OpeningReason::Failure
            } else {
                OpeningReason::FailureRate {
                    failures: counts.failures,
                    calls: counts.calls,
                }
            })
        } else if reached(settings.slow_call_rate, slow_calls, calls) {
            Some(match ended.and_then(|ended| ended.slow) {
                Some(took) => OpeningReason::Slow { took, limit },
                None => OpeningReason::SlowRate {
                    slow: slow_calls,
                    calls,
                    limit,
                },
            })
        } else {
            None
        }
    }

    /// Opens the circuit by an earlier decision, unless its generation is over.
    #[cold]
    pub(in super::super) fn open_for(
        &self,
        trip: Trip,
        cause: Arc<str>,
        now: Duration,
    ) -> Option<Box<StateChange>> {
        let mut locked = self.lock();
        (self.word().generation() == trip.generation)
            .then(|| self.open(&mut locked, Some(cause), trip.requested, now))
    }

    pub(super) fn open(
        &self,
        locked: &mut LockedState,
        cause: Option<Arc<str>>,
        requested: Option<Duration>,
        now: Duration,
    ) -> Box<StateChange> {
        // After a closed time as long as the last cooldown, the growth starts over.
        if self.state() == State::Closed && now.saturating_sub(locked.closed_at) >= locked.cooldown
        {
            locked.trips = 0;
        }
        let cooldown = locked.settings.cooldown_after(locked.trips, requested);
        locked.cooldown = cooldown;
        let shortened = match locked.settings.cooldown_jitter {
            Some(jitter) => shortened(cooldown, jitter.as_f64() * locked.rng.f64()),
            None => cooldown,
        };
        locked.trips = locked.trips.saturating_add(1);
        locked.opened += 1;
        locked.set_cause(cause);
        let leave = Leave {
            cooldown: Some(shortened),
            ..Leave::default()
        };
        self.transit(locked, State::Open, leave, now)
    }

    /// Counts a probe. Returns the reason if the circuit opens.
    fn count_probe(&self, locked: &mut LockedState, ended: Ended) -> Option<OpeningReason> {
        let reason = match ended.slow {
            _ if ended.failed => Some(OpeningReason::Failure),
            // A slow probe counts as failed.
            Some(took) => Some(OpeningReason::Slow {
                took,
                limit: locked.settings.slow_call_duration,
            }),
            None => None,
        };
        locked.lost = 0;
        if reason.is_some() {
            locked.failures += 1;
        } else {
            locked.successes += 1;
        }
        let trips = locked.failures >= locked.settings.half_open_failures.get();
        // After a change of settings, even a success can find enough failures to open. Not while
        // the circuit is already about to open.
        let reason =
            reason.or((!locked.tripping).then_some(OpeningReason::Failures(locked.failures)));
        let reason = reason.filter(|_| trips)?;
        locked.tripping = true;
        Some(reason)
    }

    /// Closes a half-open circuit if enough probes succeeded.
    fn close(&self, locked: &mut LockedState, now: Duration) -> Option<Box<StateChange>> {
        if locked.tripping || locked.successes < locked.settings.half_open_successes.get() {
            return None;
        }
        let ramp = locked.settings.ramp;
        let leave = Leave {
            ramping: if ramp.is_some() { RAMPING } else { 0 },
            ..Leave::default()
        };
        let transition = self.transit(locked, State::Closed, leave, now);
        // Enough credit for the first call.
        locked.ramp_credit = ramp.unwrap_or_default().as_nanos();
        Some(transition)
    }
}

/// The duration, reduced by this share.
fn shortened(duration: Duration, share: f64) -> Duration {
    let left = duration.as_secs_f64() * (1.0 - share);
    // Rounding must not make the duration longer or overflow it.
    Duration::try_from_secs_f64(left).map_or(duration, |left| left.min(duration))
}
