//! The naive reference of the property test.

use super::*;

/// The rules in the plainest form: one generation number, one list, no packing.
pub(super) struct Model {
    pub(super) settings: Settings,
    pub(super) mode: Mode,
    pub(super) state: State,
    pub(super) generation: u64,
    pub(super) in_a_row: u32,
    /// The outcome of each call in the closed state, whether it was slow, and when it ended.
    pub(super) ended: Vec<(bool, bool, Duration)>,
    pub(super) until: Option<Duration>,
    pub(super) probes: Vec<(usize, Duration)>,
    pub(super) good: u32,
    pub(super) bad: u32,
    pub(super) lost: u32,
    pub(super) trips: u32,
    pub(super) cooldown: Duration,
    pub(super) closed_at: Duration,
    pub(super) rejected: u64,
    /// The cause is unknown after a manual change.
    pub(super) forced: bool,
}

/// What follows the head of a call: it counts in its generation only.
#[derive(Clone, Copy, Debug)]
pub(super) struct Following {
    pub(super) generation: u64,
    /// The head was a success.
    pub(super) ends_streak: bool,
}

/// How a call was admitted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Passed {
    Counted(u64),
    Uncounted,
}

impl Model {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            settings,
            mode: Mode::Automatic,
            state: State::Closed,
            generation: 0,
            in_a_row: 0,
            ended: Vec::new(),
            until: None,
            probes: Vec::new(),
            good: 0,
            bad: 0,
            lost: 0,
            trips: 0,
            cooldown: Duration::ZERO,
            closed_at: Duration::ZERO,
            rejected: 0,
            forced: false,
        }
    }

    pub(super) fn transit(&mut self, state: State, until: Option<Duration>, now: Duration) {
        self.generation += 1;
        self.state = state;
        self.until = until;
        (self.in_a_row, self.good, self.bad, self.lost) = (0, 0, 0, 0);
        self.probes.clear();
        if state == State::Closed {
            self.ended.clear();
            self.closed_at = now;
        }
    }

    pub(super) fn open(&mut self, requested: Option<Duration>, now: Duration) {
        if self.state == State::Closed && now - self.closed_at >= self.cooldown {
            self.trips = 0;
        }
        let longest = self.settings.max_cooldown.max(self.settings.cooldown);
        self.cooldown = match requested {
            Some(requested) if requested > Duration::ZERO => requested.min(longest),
            _ if self.settings.growing => {
                let doubled =
                    (0..self.trips.min(20)).fold(self.settings.cooldown, |all, _| all * 2);
                doubled.min(longest)
            }
            _ => self.settings.cooldown,
        };
        self.trips += 1;
        self.forced = false;
        self.transit(State::Open, Some(now + self.cooldown), now);
    }

    pub(super) fn force_open_for(&mut self, time: Duration, now: Duration) {
        self.mode = Mode::Automatic;
        self.trips = 0;
        self.forced = true;
        self.ended.clear();
        self.transit(State::Open, Some(now + time), now);
    }

    pub(super) fn probe_now(&mut self, now: Duration) -> bool {
        if self.state != State::Open {
            return false;
        }
        if self.mode == Mode::ForcedOpen {
            self.mode = Mode::Automatic;
        }
        self.transit(State::HalfOpen, None, now);
        true
    }

    pub(super) fn set(&mut self, mode: Mode, now: Duration) {
        self.mode = mode;
        self.trips = 0;
        self.forced = true;
        let state = match mode {
            Mode::ForcedOpen => State::Open,
            _ => State::Closed,
        };
        self.ended.clear();
        self.transit(state, None, now);
    }

    pub(super) fn window(&self) -> &[(bool, bool, Duration)] {
        let Window(WindowSize::Calls(size)) = self.settings.window else {
            unreachable!("the model knows count windows only")
        };
        let from = self.ended.len().saturating_sub(size.get() as usize);
        &self.ended[from..]
    }

    /// `streak`: the failures in a row that end with the judged call.
    pub(super) fn judge(&mut self, streak: u32, requested: Option<Duration>, now: Duration) {
        let window = self.window();
        let share = |rate: Option<Ratio>, part: usize| {
            // The rates in these tests are whole percents.
            let percent = rate.map(|rate| (rate.as_f64() * 100.0).round() as usize);
            percent.is_some_and(|percent| part * 100 >= percent * window.len())
        };
        let enough = !window.is_empty() && window.len() as u64 >= self.settings.least_calls();
        let failed = window.iter().filter(|call| call.0).count();
        let slow = window.iter().filter(|call| call.1).count();
        let windowed = enough
            && (share(self.settings.failure_rate, failed)
                || share(self.settings.slow_call_rate, slow));
        let most = self.settings.failure_threshold.or_else(|| {
            let rates = self.settings.failure_rate.or(self.settings.slow_call_rate);
            rates.is_none().then_some(5)
        });
        let in_a_row = most.is_some_and(|most| streak > most);
        if (windowed || in_a_row) && matches!(self.mode, Mode::Automatic | Mode::ObserveOnly) {
            self.open(requested, now);
        }
    }

    pub(super) fn admit(&mut self, call: usize, now: Duration) -> Option<Passed> {
        if self.state == State::HalfOpen {
            let held = self.probes.len();
            self.probes.retain(|(_, expires)| *expires > now);
            self.lost += (held - self.probes.len()) as u32;
            if self.lost >= 3 * self.settings.half_open_probes.get() {
                self.open(None, now);
                self.rejected += 1;
                return (self.mode == Mode::ObserveOnly).then_some(Passed::Uncounted);
            }
        }
        if self.state == State::Open && self.until.is_some_and(|until| until <= now) {
            self.transit(State::HalfOpen, None, now);
        }
        let full = self.probes.len() >= self.settings.half_open_probes.get() as usize;
        if self.state == State::Open || self.state == State::HalfOpen && full {
            self.rejected += 1;
            return (self.mode == Mode::ObserveOnly).then_some(Passed::Uncounted);
        }
        if self.state == State::HalfOpen {
            let default = self.settings.cooldown.max(secs(1));
            let timeout = self.settings.probe_timeout.unwrap_or(default);
            self.probes.push((call, now + timeout));
        }
        Some(Passed::Counted(self.generation))
    }

    pub(super) fn record(
        &mut self,
        call: usize,
        passed: Passed,
        (outcome, slow): (Outcome, bool),
        requested: Option<Duration>,
        streak: Streak,
        now: Duration,
    ) {
        if passed != Passed::Counted(self.generation) || self.mode == Mode::Disabled {
            return;
        }
        self.probes.retain(|(probe, _)| *probe != call);
        let failed = match outcome {
            Outcome::Ignored => return,
            outcome => outcome == Outcome::Failure,
        };
        if self.state == State::Closed {
            self.ended.push((failed, slow, now));
            if failed {
                self.in_a_row += 1;
            } else if streak == Streak::Ends {
                self.in_a_row = 0;
            }
            let of_this = if failed { self.in_a_row } else { 0 };
            self.judge(of_this, requested, now);
            return;
        }
        self.lost = 0;
        if failed || slow {
            self.bad += 1;
        } else {
            self.good += 1;
        }
        if self.bad >= self.settings.half_open_failures.get() {
            self.open(requested, now);
        } else if self.good >= self.settings.half_open_successes.get() {
            self.transit(State::Closed, None, now);
        }
    }

    /// Like [`record`](Self::record), for the head of a call that goes on.
    pub(super) fn record_head(
        &mut self,
        call: usize,
        passed: Passed,
        (outcome, slow): (Outcome, bool),
        requested: Option<Duration>,
        now: Duration,
    ) -> Option<Following> {
        let before = self.generation;
        self.record(call, passed, (outcome, slow), requested, Streak::Stays, now);
        let Passed::Counted(admitted) = passed else {
            return None;
        };
        let generation = match self.generation {
            same if same == before => admitted,
            _ if self.state == State::Open => return None,
            closed => closed,
        };
        (outcome != Outcome::Failure).then_some(Following {
            generation,
            ends_streak: outcome == Outcome::Success,
        })
    }

    /// The call ended after its head.
    pub(super) fn record_late(&mut self, following: Following, failed: bool, now: Duration) {
        if following.generation != self.generation {
            return;
        }
        if !failed {
            if following.ends_streak {
                self.in_a_row = 0;
            }
            return;
        }
        match self.state {
            _ if self.mode == Mode::Disabled => {}
            State::Closed => {
                self.ended.push((true, false, now));
                self.in_a_row += 1;
                self.judge(self.in_a_row, None, now);
            }
            State::HalfOpen => {
                self.lost = 0;
                self.bad += 1;
                if self.bad >= self.settings.half_open_failures.get() {
                    self.open(None, now);
                }
            }
            State::Open => {}
        }
    }
}
