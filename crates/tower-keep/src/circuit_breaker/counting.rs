//! What becomes of the calls that a circuit let through, and what that does to its state.

use std::time::Duration;

use super::{
    Admission, Circuit, Kind, Mode, Ordering, Outcome, RAMPING, Ratio, Sample, Slow, State,
    TRACKED, Transition, UNTIMED, WINDOWED, Word, nanos,
};

impl Circuit {
    /// Counts the outcome of an admitted call, unless its generation has passed. `asked` is how long the service asked to
    /// be left alone.
    #[inline(always)]
    pub(in super::super) fn record(
        &self,
        admission: &Admission,
        outcome: Outcome,
        asked: Option<Duration>,
        now: impl FnOnce() -> Duration,
    ) -> Option<Transition> {
        let word = self.word();
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
        self.record_slow(admission, outcome, asked, now())
    }

    #[inline(always)]
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
                Err(current) => word = Word(current),
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
                Err(current) => word = Word(current),
            }
        }
    }

    fn record_slow(
        &self,
        admission: &Admission,
        outcome: Outcome,
        asked: Option<Duration>,
        now: Duration,
    ) -> Option<Transition> {
        let mut slow = self.slow();
        // From here on only failures of this generation can be counted beside.
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
        let took = Duration::from_nanos(nanos(now).saturating_sub(admission.began));
        let is_slow = slow.settings.is_slow(took);
        match (admission.kind, outcome) {
            (Kind::Probe(lease), _) => {
                self.record_probe(&mut slow, lease, outcome, is_slow, asked, now)
            }
            (Kind::Uncounted, _) | (_, Outcome::Ignored) => None,
            (Kind::Call, Outcome::Success | Outcome::Failure) => {
                let failed = outcome == Outcome::Failure;
                if let Some(outcomes) = &mut slow.outcomes {
                    let slow = is_slow;
                    outcomes.push(Sample { failed, slow }, now);
                }
                // Judged is the streak that this outcome made, whatever success ends it this very moment.
                let in_a_row = if failed {
                    self.count_failure()
                } else {
                    self.count_success(admission.generation);
                    0
                };
                self.judge(&mut slow, in_a_row, asked, now)
            }
        }
    }

    /// Opens a closed circuit if one of the conditions holds.
    pub(super) fn judge(
        &self,
        slow: &mut Slow,
        in_a_row: u32,
        asked: Option<Duration>,
        now: Duration,
    ) -> Option<Transition> {
        if !matches!(slow.mode, Mode::Automatic | Mode::ObserveOnly) {
            return None;
        }
        let settings = slow.settings;
        let (counts, in_flight) = slow.counts(now);
        let reached = |rate: Option<Ratio>, part: u64, calls: u64| {
            calls >= settings.least_calls() && rate.is_some_and(|rate| rate.is_reached(part, calls))
        };
        let (slow_calls, calls) = (counts.slow + in_flight, counts.calls + in_flight);
        let trips = settings.consecutive().is_some_and(|most| in_a_row > most)
            || reached(settings.failure_rate, counts.failures, counts.calls)
            || reached(settings.slow_call_rate, slow_calls, calls);
        trips.then(|| self.open(slow, asked, now))
    }

    pub(super) fn open(
        &self,
        slow: &mut Slow,
        asked: Option<Duration>,
        now: Duration,
    ) -> Transition {
        // One that stayed closed for as long as it had been open starts anew.
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
        let until = now.saturating_add(shortened);
        self.transit(slow, State::Open, 0, Some(until), now);
        Transition::Opened(shortened)
    }

    fn record_probe(
        &self,
        slow: &mut Slow,
        lease: u32,
        outcome: Outcome,
        is_slow: bool,
        asked: Option<Duration>,
        now: Duration,
    ) -> Option<Transition> {
        // One whose lease has expired lost its place, but what it found out is of this generation and counts.
        slow.leases.retain(|held| held.id != lease);
        match outcome {
            Outcome::Ignored => return None,
            Outcome::Success if !is_slow => slow.successes += 1,
            // As slow as what the circuit may have opened for.
            Outcome::Success | Outcome::Failure => slow.failures += 1,
        }
        slow.lost = 0;
        if slow.failures >= slow.settings.half_open_failures.get() {
            Some(self.open(slow, asked, now))
        } else if slow.successes >= slow.settings.half_open_successes.get() {
            let ramp = slow.settings.ramp;
            let ramping = if ramp.is_some() { RAMPING } else { 0 };
            self.transit(slow, State::Closed, ramping, None, now);
            // The first call goes through at once.
            slow.ramp_credit = ramp.unwrap_or_default().as_nanos();
            Some(Transition::Closed)
        } else {
            None
        }
    }
}

/// A duration without this share of it.
fn shortened(duration: Duration, share: f64) -> Duration {
    let left = duration.as_secs_f64() * (1.0 - share);
    // Rounding must make it neither longer nor more than a `Duration` holds.
    Duration::try_from_secs_f64(left).map_or(duration, |left| left.min(duration))
}
