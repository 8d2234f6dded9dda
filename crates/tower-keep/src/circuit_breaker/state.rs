//! The circuit's state machine. No clock: callers say what time it is, as a duration since some fixed instant.
//!
//! # Invariants
//!
//! 1. `word` holds state, generation, flags and the failures in a row. All but the failures change only under the lock
//!    of `slow`; the failures change by compare-and-swap, which fails if anything changed meanwhile. So a success in a
//!    closed circuit without failures and without a window reads one word and writes nothing.
//! 2. Every transition begins a new generation. An outcome whose generation has passed is ignored.
//! 3. In the half-open state `slow.leases` holds the probes under way, at most `half_open_probes` of them; in others it
//!    is empty.

use std::{sync::PoisonError, time::Duration};

pub use super::word::State;
use super::{
    in_flight::{InFlight, nanos},
    settings::Settings,
    snapshot::Snapshot,
    window::{Counts, Outcomes, Sample},
    word::{RAMPING, TIMED, TRACKED, WINDOWED, Word},
};
use crate::{
    classify::Outcome,
    ratio::Ratio,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
};

/// Whether a circuit acts by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Mode {
    /// It does.
    Automatic,
    /// It is open until it is released.
    ForcedOpen,
    /// It is closed until it is released. It counts, but never opens.
    ForcedClosed,
    /// It lets everything through and counts nothing.
    Disabled,
    /// It counts and changes its state as ever, but lets everything through.
    ObserveOnly,
}

/// Lets one call through, in the generation that was current then.
#[derive(Debug)]
#[must_use = "an admission is to be recorded"]
pub(super) struct Admission {
    generation: u32,
    kind: Kind,
    /// Nanoseconds; `UNTIMED` unless the call is timed or tracked.
    began: u64,
}

const UNTIMED: u64 = u64::MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Call,
    Probe(u32),
    /// A call that an observing circuit would have rejected.
    Uncounted,
}

impl Admission {
    /// Whether the circuit was half-open.
    pub(super) fn is_probe(&self) -> bool {
        matches!(self.kind, Kind::Probe(_))
    }

    /// Whether it goes through only because the circuit just observes.
    pub(super) fn is_uncounted(&self) -> bool {
        self.kind == Kind::Uncounted
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transition {
    /// With the cooldown that begins.
    Opened(Duration),
    HalfOpened,
    Closed,
}

/// How long it is until a call may go through; `None` is until a release by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rejection(pub(super) Option<Duration>);

/// What came of a call that asked to be let through.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) admission: Result<Admission, Rejection>,
    pub(super) transition: Option<Transition>,
}

/// How often in a row all probes of a half-open circuit may hang until it opens again.
const LOST_ROUNDS: u32 = 3;

#[derive(Debug)]
pub(crate) struct Circuit {
    word: AtomicU64,
    slow: Mutex<Slow>,
}

#[derive(Debug)]
pub(super) struct Slow {
    settings: Settings,
    pub(super) mode: Mode,
    /// When an open circuit lets a probe through; `None` until a release.
    until: Option<Duration>,
    leases: Vec<Lease>,
    next_lease: u32,
    /// Of the probes of this half-open state.
    successes: u32,
    failures: u32,
    /// How many leases expired since a probe last came back.
    lost: u32,
    /// The outcomes of the current closed state, or of the last one.
    outcomes: Option<Outcomes>,
    in_flight: Option<InFlight>,
    /// How often it opened without a rest, and how long for the last time.
    trips: u32,
    cooldown: Duration,
    /// When it closed, if it did, and how much of a call is owed to the ramp since.
    closed_at: Duration,
    ramp_credit: u128,
    rejected: u64,
    opened: u64,
    rng: fastrand::Rng,
}

#[derive(Debug)]
struct Lease {
    id: u32,
    expires: Duration,
    /// The call was made, rather than only reserved.
    called: bool,
}

impl Circuit {
    pub(super) fn new(settings: Settings, seed: u64) -> Self {
        let mut slow = Slow {
            outcomes: settings
                .is_windowed()
                .then(|| Outcomes::new(settings.window)),
            in_flight: None,
            settings,
            mode: Mode::Automatic,
            until: None,
            leases: Vec::new(),
            next_lease: 0,
            successes: 0,
            failures: 0,
            lost: 0,
            trips: 0,
            cooldown: Duration::ZERO,
            closed_at: Duration::ZERO,
            ramp_credit: 0,
            rejected: 0,
            opened: 0,
            rng: fastrand::Rng::with_seed(seed),
        };
        slow.track(Duration::ZERO);
        Self {
            word: AtomicU64::new(Word::new(State::Closed, 0, 0, slow.flags()).0),
            slow: Mutex::new(slow),
        }
    }

    pub(super) fn word(&self) -> Word {
        Word(self.word.load(Ordering::Acquire))
    }

    pub(super) fn state(&self) -> State {
        self.word().state()
    }

    pub(super) fn slow(&self) -> MutexGuard<'_, Slow> {
        self.slow.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the flags, and the failures as told, against those who count failures meanwhile.
    fn set_flags(&self, flags: u64) {
        let mut word = self.word();
        while let Err(current) = self.word.compare_exchange(
            word.0,
            word.with_flags(flags).0,
            Ordering::AcqRel,
            Ordering::Acquire,
        ) {
            word = Word(current);
        }
    }

    /// The settings can change at any time. What was counted stays, and what is under way keeps its deadline.
    pub(super) fn change_settings(&self, change: impl FnOnce(&mut Settings), now: Duration) {
        let mut slow = self.slow();
        let before = slow.settings;
        change(&mut slow.settings);
        let after = slow.settings;
        if !after.is_windowed() {
            slow.outcomes = None;
        } else if let Some(outcomes) = &mut slow.outcomes {
            if before.window != after.window {
                outcomes.resize(after.window, now);
            }
        } else {
            slow.outcomes = Some(Outcomes::new(after.window));
        }
        if before.slow_call_duration != after.slow_call_duration
            || slow.tracks() != slow.in_flight.is_some()
        {
            slow.track(now);
        }
        let ramping = self.word().flags() & RAMPING;
        self.set_flags(slow.flags() | ramping);
    }

    /// Begins a new generation in this state, with `RAMPING` or nothing beside the flags that it has anyway. They go in
    /// one store, so that no call slips through between.
    fn transit(
        &self,
        slow: &mut Slow,
        state: State,
        ramping: u64,
        until: Option<Duration>,
        now: Duration,
    ) {
        slow.until = until;
        slow.leases.clear();
        slow.successes = 0;
        slow.failures = 0;
        slow.lost = 0;
        slow.ramp_credit = 0;
        slow.track(now);
        if state == State::Closed {
            slow.closed_at = now;
            let window = slow.settings.window;
            slow.outcomes = slow.settings.is_windowed().then(|| Outcomes::new(window));
        }
        let generation = self.word().generation().wrapping_add(1);
        let word = Word::new(state, generation, 0, slow.flags() | ramping);
        self.word.store(word.0, Ordering::Release);
    }

    // ===== letting calls through =====

    /// Whether a call made now would be rejected. Changes nothing.
    #[inline(always)]
    pub(super) fn rejects(&self, now: impl FnOnce() -> Duration) -> Option<Rejection> {
        if self.word().state() == State::Closed {
            None
        } else {
            let slow = self.slow();
            if slow.mode == Mode::ObserveOnly {
                return None;
            }
            self.rejects_slow(&slow, now())
        }
    }

    #[cold]
    fn rejects_slow(&self, slow: &Slow, now: Duration) -> Option<Rejection> {
        match self.word().state() {
            State::Closed => None,
            State::Open => match slow.until {
                Some(until) if until <= now => None,
                until => Some(Rejection(until.map(|until| until.saturating_sub(now)))),
            },
            State::HalfOpen => {
                let held = slow.leases.iter().filter(|lease| lease.expires > now);
                if held.clone().count() < slow.settings.half_open_probes.get() as usize {
                    return None;
                }
                let next = held.map(|lease| lease.expires.saturating_sub(now)).min();
                Some(Rejection(Some(next.unwrap_or_default())))
            }
        }
    }

    /// Lets a call through, or not; the first one after the cooldown turns an open circuit half-open. `reserves` says that
    /// the call itself may come later: see [`begin`](Self::begin).
    #[inline(always)]
    pub(super) fn admit(&self, reserves: bool, now: impl Fn() -> Duration) -> Answer {
        let word = self.word();
        if word.state() == State::Closed && !word.has(TRACKED | RAMPING) {
            let mut admission = Admission {
                generation: word.generation(),
                kind: Kind::Call,
                began: UNTIMED,
            };
            if word.has(TIMED) && !reserves {
                admission.began = nanos(now());
            }
            return Answer {
                admission: Ok(admission),
                transition: None,
            };
        }
        self.admit_slow(reserves, now())
    }

    #[cold]
    fn admit_slow(&self, reserves: bool, now: Duration) -> Answer {
        let mut slow = self.slow();
        let mut transition = self.before_admission(&mut slow, now);
        let rejection = match self.state() {
            // Who finds out that the service hangs is not let through, however short the cooldown.
            State::Open if transition.is_some() => Some(Rejection(Some(
                (slow.until).map_or(Duration::ZERO, |until| until.saturating_sub(now)),
            ))),
            State::Closed if !reserves => self.ramp(&mut slow, now),
            _ => self.rejects_slow(&slow, now),
        };
        if let Some(rejection) = rejection {
            // Who only asks for a place waits for it.
            let waits = reserves && slow.mode != Mode::ObserveOnly;
            slow.rejected += u64::from(!waits);
            let admission = if slow.mode == Mode::ObserveOnly {
                Ok(Admission {
                    generation: self.word().generation(),
                    kind: Kind::Uncounted,
                    began: UNTIMED,
                })
            } else {
                Err(rejection)
            };
            return Answer {
                admission,
                transition,
            };
        }
        if self.state() == State::Open {
            self.transit(&mut slow, State::HalfOpen, 0, None, now);
            transition = Some(Transition::HalfOpened);
        }
        let kind = if self.state() == State::HalfOpen {
            let id = slow.next_lease;
            slow.next_lease = id.wrapping_add(1);
            let expires = now.saturating_add(slow.settings.lease());
            slow.leases.push(Lease {
                id,
                expires,
                called: !reserves,
            });
            Kind::Probe(id)
        } else {
            Kind::Call
        };
        let mut admission = Admission {
            generation: self.word().generation(),
            kind,
            began: UNTIMED,
        };
        if !reserves {
            slow.begin(&mut admission, now);
        }
        Answer {
            admission: Ok(admission),
            transition,
        }
    }

    /// Time alone may have decided: the calls in flight are slow by now, or the probes hang.
    fn before_admission(&self, slow: &mut Slow, now: Duration) -> Option<Transition> {
        match self.state() {
            State::Closed => self.judge(slow, self.word().failures(), None, now),
            State::Open => None,
            State::HalfOpen => {
                let mut lost = 0_u32;
                slow.leases.retain(|lease| {
                    let held = lease.expires > now;
                    // A place that is only reserved says nothing about the service.
                    lost += u32::from(!held && lease.called);
                    held
                });
                slow.lost = slow.lost.saturating_add(lost);
                let most = slow.settings.half_open_probes.get();
                (slow.lost >= most.saturating_mul(LOST_ROUNDS)).then(|| self.open(slow, None, now))
            }
        }
    }

    /// While the closed circuit's load grows, the share of calls that it lets through is how much of the time has
    /// passed, and a tenth at least.
    fn ramp(&self, slow: &mut Slow, now: Duration) -> Option<Rejection> {
        if !self.word().has(RAMPING) {
            return None;
        }
        let passed = now.saturating_sub(slow.closed_at);
        let ramp = slow.settings.ramp.unwrap_or_default();
        if passed >= ramp {
            self.set_flags(slow.flags());
            return None;
        }
        let whole = ramp.as_nanos();
        slow.ramp_credit += passed.as_nanos().max(whole / 10);
        if slow.ramp_credit >= whole {
            slow.ramp_credit -= whole;
            None
        } else {
            Some(Rejection(Some(ramp - passed)))
        }
    }

    /// A call for which a place was reserved begins.
    pub(super) fn begin(&self, admission: &mut Admission, now: impl FnOnce() -> Duration) {
        let word = self.word();
        let tracked = word.has(TRACKED) || admission.is_probe();
        if tracked && word.generation() == admission.generation {
            self.slow().begin(admission, now());
        } else if word.has(TIMED) {
            admission.began = nanos(now());
        }
    }

    /// Whether nothing has happened to the circuit since this admission, and a probe still has its place.
    pub(super) fn is_valid(&self, admission: &Admission, now: impl FnOnce() -> Duration) -> bool {
        self.is_current(admission)
            && match admission.kind {
                Kind::Probe(id) => {
                    let now = now();
                    (self.slow().leases.iter()).any(|lease| lease.id == id && lease.expires > now)
                }
                Kind::Call | Kind::Uncounted => true,
            }
    }

    pub(super) fn is_forced_open(&self) -> bool {
        self.state() == State::Open && self.slow().mode == Mode::ForcedOpen
    }

    /// Whether nothing has happened to the circuit since this admission.
    pub(super) fn is_current(&self, admission: &Admission) -> bool {
        admission.generation == self.word().generation()
    }

    // ===== counting outcomes =====

    /// Counts the outcome of an admitted call, unless its generation has passed. `asked` is how long the service asked to
    /// be left alone.
    #[inline(always)]
    pub(super) fn record(
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
    fn judge(
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

    fn open(&self, slow: &mut Slow, asked: Option<Duration>, now: Duration) -> Transition {
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

    // ===== by hand =====

    /// Sets the mode, and the state that goes with it. A mode that acts by itself begins closed, with nothing counted.
    pub(super) fn set_mode(&self, mode: Mode, now: Duration) {
        let mut slow = self.slow();
        slow.mode = mode;
        slow.trips = 0;
        let state = if mode == Mode::ForcedOpen {
            State::Open
        } else {
            State::Closed
        };
        self.transit(&mut slow, state, 0, None, now);
        if state != State::Closed {
            // What was counted in the closed state before is gone too.
            let window = slow.settings.window;
            slow.outcomes = slow.settings.is_windowed().then(|| Outcomes::new(window));
        }
    }

    /// For a call that has to be rejected, whatever the circuit thinks by now.
    pub(super) fn reject_again(&self, now: Duration) -> Rejection {
        let mut slow = self.slow();
        slow.rejected += 1;
        self.rejects_slow(&slow, now)
            .unwrap_or(Rejection(Some(Duration::ZERO)))
    }

    /// Whether it would reject a call, or was told by hand what to do.
    pub(super) fn matters(&self, now: Duration) -> bool {
        let slow = self.slow();
        slow.mode != Mode::Automatic || self.rejects_slow(&slow, now).is_some()
    }

    pub(super) fn mode(&self) -> Mode {
        self.slow().mode
    }

    /// Puts settings in place of others, unless those have been replaced meanwhile.
    pub(super) fn replace_settings(&self, old: Settings, new: Settings, now: Duration) -> bool {
        let mut replaced = false;
        self.change_settings(
            |settings| {
                if *settings == old {
                    new.replace(settings);
                    replaced = true;
                }
            },
            now,
        );
        replaced
    }

    /// For whoever is derived from this one.
    pub(super) fn next_seed(&self) -> u64 {
        self.slow().rng.u64(..)
    }

    pub(super) fn seed(&self, seed: u64) {
        self.slow().rng = fastrand::Rng::with_seed(seed);
    }

    pub(super) fn settings(&self) -> Settings {
        self.slow().settings
    }

    pub(super) fn snapshot(&self, now: Duration) -> Snapshot {
        let mut slow = self.slow();
        let (counts, slow_in_flight) = slow.counts(now);
        let word = self.word();
        Snapshot {
            state: word.state(),
            mode: slow.mode,
            failures_in_a_row: word.failures(),
            calls: counts.calls,
            failures: counts.failures,
            slow_calls: counts.slow,
            slow_in_flight,
            probes: slow.probes(now),
            rejected: slow.rejected,
            opened: slow.opened,
            time_until_probe: self
                .rejects_slow(&slow, now)
                .and_then(|rejection| rejection.0),
        }
    }

    /// How long it is until a call may go through; `None` if one may now, or not before a release.
    pub(super) fn time_until_probe(&self, now: Duration) -> Option<Duration> {
        self.rejects_slow(&self.slow(), now)
            .and_then(|rejection| rejection.0)
    }
}

/// A duration without this share of it.
fn shortened(duration: Duration, share: f64) -> Duration {
    let left = duration.as_secs_f64() * (1.0 - share);
    // Rounding must make it neither longer nor more than a `Duration` holds.
    Duration::try_from_secs_f64(left).map_or(duration, |left| left.min(duration))
}

impl Slow {
    /// The flags that go with the settings and the mode.
    fn flags(&self) -> u64 {
        let mut flags = 0;
        if self.mode != Mode::Disabled && self.settings.is_windowed() {
            flags |= WINDOWED;
            if self.settings.slow_call_rate.is_some() {
                flags |= TIMED;
            }
            if self.tracks() {
                flags |= TRACKED;
            }
        }
        flags
    }

    /// Whether calls in flight are to be known.
    fn tracks(&self) -> bool {
        self.settings.count_in_flight && self.settings.slow_call_rate.is_some()
    }

    /// From now on, with those in flight unknown.
    fn track(&mut self, now: Duration) {
        let slow_after = self.settings.slow_call_duration;
        self.in_flight = self.tracks().then(|| InFlight::new(slow_after, nanos(now)));
    }

    fn begin(&mut self, admission: &mut Admission, now: Duration) {
        admission.began = nanos(now);
        match admission.kind {
            Kind::Call => {
                if let Some(in_flight) = &mut self.in_flight {
                    admission.began = in_flight.begin(nanos(now));
                }
            }
            Kind::Probe(id) => {
                // The place is kept from the call on.
                let expires = now.saturating_add(self.settings.lease());
                for lease in self.leases.iter_mut().filter(|lease| lease.id == id) {
                    lease.expires = expires;
                    lease.called = true;
                }
            }
            Kind::Uncounted => {}
        }
    }

    /// What the window holds, and how many of the calls in flight are slow.
    fn counts(&mut self, now: Duration) -> (Counts, u64) {
        let outcomes = self.outcomes.as_mut();
        let counts = outcomes.map_or_else(Counts::default, |outcomes| outcomes.counts(now));
        let in_flight = self.in_flight.as_mut();
        (counts, in_flight.map_or(0, |calls| calls.slow(nanos(now))))
    }

    /// How many probes are under way.
    fn probes(&self, now: Duration) -> usize {
        self.leases
            .iter()
            .filter(|lease| lease.expires > now)
            .count()
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
