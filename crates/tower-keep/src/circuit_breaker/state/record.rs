//! What becomes of the calls that a circuit let through, and what that does to its state.

use std::{sync::Arc, time::Duration};

use super::{
    Admission, Circuit, DATED, Kind, Leave, Mode, Ordering, Outcome, OutcomeEffect, PackedState,
    RAMPING, Ratio, Reason, Sample, Slow, State, TIMED, TRACKED, Transition, Trip, UNTIMED,
    WINDOWED, nanos,
};

/// The call whose outcome is judged.
#[derive(Clone, Copy)]
pub(super) struct Ended {
    failed: bool,
    /// How long it took, where it was slow.
    slow: Option<Duration>,
}

impl Circuit {
    /// Counts the outcome of an admitted call, unless its generation has passed. `asked` is how
    /// long the service asked to be left alone. A failure that opens the circuit is counted here,
    /// and opens it in [`open_for`](Self::open_for).
    #[inline(always)]
    pub(in super::super) fn record(
        &self,
        admission: &Admission,
        outcome: Outcome,
        asked: Option<Duration>,
        now: impl FnOnce() -> Duration,
    ) -> Option<OutcomeEffect> {
        let word = self.word();
        let moves_nothing = admission.kind == Kind::Call
            && outcome == Outcome::Success
            && !word.has(TRACKED | WINDOWED)
            && word.failures() == 0;
        if moves_nothing {
            return None;
        }
        self.record_counted(word, admission, outcome, asked, now)
    }

    #[inline(never)]
    fn record_counted(
        &self,
        word: PackedState,
        admission: &Admission,
        outcome: Outcome,
        asked: Option<Duration>,
        now: impl FnOnce() -> Duration,
    ) -> Option<OutcomeEffect> {
        if admission.kind == Kind::Call && !word.has(TRACKED) {
            match outcome {
                Outcome::Success if !word.has(WINDOWED) => {
                    self.count_success(admission.generation);
                    return None;
                }
                Outcome::Ignored => return None,
                Outcome::Success | Outcome::Failure => {}
            }
        }
        // To a window of calls it is all the same when they end.
        let is_timeless = admission.kind == Kind::Call && !word.has(TIMED | TRACKED | DATED);
        let now = if is_timeless { Duration::ZERO } else { now() };
        self.record_slow(admission, outcome, asked, now)
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

    /// How many there are then.
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
        asked: Option<Duration>,
        now: Duration,
    ) -> Option<OutcomeEffect> {
        let mut slow = self.slow();
        // From here on only failures of this generation can be counted meanwhile.
        if !self.is_current(admission) {
            return None;
        }
        if admission.kind == Kind::Call && admission.began != UNTIMED {
            if let Some(in_flight) = &mut slow.in_flight {
                in_flight.end(admission.began, nanos(now));
            }
        }
        if slow.mode == Mode::Disabled {
            return None;
        }
        let took = || Duration::from_nanos(nanos(now).saturating_sub(admission.began));
        let ended = Ended {
            failed: outcome == Outcome::Failure,
            slow: slow.settings.slow_call(took),
        };
        let reason = match (admission.kind, outcome) {
            (Kind::Probe(lease), outcome) => {
                let reason = match outcome {
                    Outcome::Ignored => None,
                    // One whose lease has expired lost its place, but what it found out is of this
                    // generation and counts.
                    Outcome::Success | Outcome::Failure => self.count_probe(&mut slow, ended),
                };
                if !slow.tripping {
                    slow.leases.retain(|held| held.id != lease);
                }
                match (reason, outcome) {
                    // All places are kept until the circuit opens, so that no other probe goes
                    // meanwhile.
                    (Some(reason), _) => reason,
                    (None, Outcome::Ignored) => return None,
                    (None, _) => return self.close(&mut slow, now).map(OutcomeEffect::Closed),
                }
            }
            (Kind::Uncounted, _) | (_, Outcome::Ignored) => return None,
            (Kind::Call, Outcome::Success | Outcome::Failure) => {
                if let Some(outcomes) = &mut slow.outcomes {
                    let (failed, slow) = (ended.failed, ended.slow.is_some());
                    outcomes.push(Sample { failed, slow }, now);
                }
                // Judged is the streak that this outcome made, whatever success ends it this very moment.
                let in_a_row = if ended.failed {
                    self.count_failure()
                } else {
                    self.count_success(admission.generation);
                    0
                };
                self.judge(&mut slow, in_a_row, Some(ended), now)?
            }
        };
        Some(OutcomeEffect::Trips(Trip {
            generation: admission.generation,
            asked,
            reason,
        }))
    }

    /// Why a closed circuit opens, if one of the conditions holds.
    pub(super) fn judge(
        &self,
        slow: &mut Slow,
        in_a_row: u32,
        ended: Option<Ended>,
        now: Duration,
    ) -> Option<Reason> {
        if !matches!(slow.mode, Mode::Automatic | Mode::ObserveOnly) {
            return None;
        }
        let (counts, in_flight) = slow.counts(now);
        let settings = &slow.settings;
        let reached = |rate: Option<Ratio>, part: u64, calls: u64| {
            calls >= settings.least_calls() && rate.is_some_and(|rate| rate.is_reached(part, calls))
        };
        let failed = ended.is_some_and(|ended| ended.failed);
        let (slow_calls, calls) = (counts.slow + in_flight, counts.calls + in_flight);
        let limit = settings.slow_call_duration;
        if settings.consecutive().is_some_and(|most| in_a_row > most) {
            Some(if failed {
                Reason::Failure
            } else {
                Reason::Failures(in_a_row)
            })
        } else if reached(settings.failure_rate, counts.failures, counts.calls) {
            Some(if failed {
                Reason::Failure
            } else {
                Reason::FailureRate {
                    failures: counts.failures,
                    calls: counts.calls,
                }
            })
        } else if reached(settings.slow_call_rate, slow_calls, calls) {
            Some(match ended.and_then(|ended| ended.slow) {
                Some(took) => Reason::Slow { took, limit },
                None => Reason::SlowRate {
                    slow: slow_calls,
                    calls,
                    limit,
                },
            })
        } else {
            None
        }
    }

    /// Opens the circuit as was decided, unless its generation has passed.
    #[cold]
    pub(in super::super) fn open_for(
        &self,
        trip: Trip,
        cause: Arc<str>,
        now: Duration,
    ) -> Option<Box<Transition>> {
        let mut slow = self.slow();
        (self.word().generation() == trip.generation)
            .then(|| self.open(&mut slow, Some(cause), trip.asked, now))
    }

    pub(super) fn open(
        &self,
        slow: &mut Slow,
        cause: Option<Arc<str>>,
        asked: Option<Duration>,
        now: Duration,
    ) -> Box<Transition> {
        // After a closed time as long as the cooldown before, the cooldowns start over.
        if self.state() == State::Closed && now.saturating_sub(slow.closed_at) >= slow.cooldown {
            slow.trips = 0;
        }
        let cooldown = slow.settings.cooldown_after(slow.trips, asked);
        slow.cooldown = cooldown;
        let shortened = match slow.settings.cooldown_jitter {
            Some(jitter) => shortened(cooldown, jitter.as_f64() * slow.rng.f64()),
            None => cooldown,
        };
        slow.trips = slow.trips.saturating_add(1);
        slow.opened += 1;
        slow.set_cause(cause);
        let leave = Leave {
            cooldown: Some(shortened),
            ..Leave::default()
        };
        self.transit(slow, State::Open, leave, now)
    }

    /// Counts a probe, and says why the circuit opens if it does.
    fn count_probe(&self, slow: &mut Slow, ended: Ended) -> Option<Reason> {
        let reason = match ended.slow {
            _ if ended.failed => Some(Reason::Failure),
            // As slow as what the circuit may have opened for.
            Some(took) => Some(Reason::Slow {
                took,
                limit: slow.settings.slow_call_duration,
            }),
            None => None,
        };
        slow.lost = 0;
        if reason.is_some() {
            slow.failures += 1;
        } else {
            slow.successes += 1;
        }
        let trips = slow.failures >= slow.settings.half_open_failures.get();
        // A success that the failures outweigh opens too, where they were allowed until the
        // settings changed. While the circuit is about to open, it does not.
        let reason = reason.or((!slow.tripping).then_some(Reason::Failures(slow.failures)));
        let reason = reason.filter(|_| trips)?;
        slow.tripping = true;
        Some(reason)
    }

    /// Closes a half-open circuit if enough probes succeeded.
    fn close(&self, slow: &mut Slow, now: Duration) -> Option<Box<Transition>> {
        if slow.tripping || slow.successes < slow.settings.half_open_successes.get() {
            return None;
        }
        let ramp = slow.settings.ramp;
        let leave = Leave {
            ramping: if ramp.is_some() { RAMPING } else { 0 },
            ..Leave::default()
        };
        let transition = self.transit(slow, State::Closed, leave, now);
        // The first call goes through at once.
        slow.ramp_credit = ramp.unwrap_or_default().as_nanos();
        Some(transition)
    }
}

/// A duration without this share of it.
fn shortened(duration: Duration, share: f64) -> Duration {
    let left = duration.as_secs_f64() * (1.0 - share);
    // Rounding must make it neither longer nor more than a `Duration` holds.
    Duration::try_from_secs_f64(left).map_or(duration, |left| left.min(duration))
}
