//! The circuit's state machine: what it knows, and whom it lets through. What becomes of the calls stands in
//! `counting.rs`, what is done by hand in `by_hand.rs`. No clock: callers say what time it is, as a duration since some
//! fixed instant.
//!
//! # Invariants
//!
//! 1. `word` holds state, generation, flags and the failures in a row. All but the failures change only under the lock
//!    of `slow`; the failures change by compare-and-swap, which fails if anything changed meanwhile. So a success in a
//!    closed circuit without failures and without a window reads one word and writes nothing.
//! 2. Every transition begins a new generation. An outcome whose generation has passed is ignored.
//! 3. In the half-open state `slow.leases` holds the probes under way, at most `half_open_probes` of them; in others it
//!    is empty.
//! 4. A circuit opens together with its cause. Where the text of a failure is the user's to make, `record` only decides
//!    that the circuit opens, and `open_for` opens it once the text is known. No user code runs under the lock.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

pub use super::word::State;
use super::{
    cause::Reason,
    in_flight::{InFlight, nanos},
    settings::Settings,
    snapshot::Snapshot,
    transition::Transition,
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

/// The circuit does not let a call through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rejection {
    /// How long it is until a call may go through; `None` is until a release by hand.
    pub(super) remaining: Option<Duration>,
    /// The failure that opened the circuit the last time.
    pub(super) cause: Option<Arc<str>>,
}

/// How long it is until a call may go through; `None` is until a release by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wait(pub(super) Option<Duration>);

/// What came of a call that asked to be let through.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) admission: Result<Admission, Rejection>,
    pub(super) transition: Option<Box<Transition>>,
}

/// What an outcome makes of the circuit.
#[derive(Debug)]
pub(super) enum Verdict {
    /// It closed.
    Closed(Box<Transition>),
    /// It is to open: by [`open_for`](Circuit::open_for), once the cause is known.
    Trips(Trip),
}

/// The decision that the circuit opens, for as long as its generation is current.
#[derive(Clone, Copy, Debug)]
#[must_use = "the circuit is to be opened"]
pub(super) struct Trip {
    generation: u32,
    /// How long the service asked to be left alone.
    asked: Option<Duration>,
    pub(super) reason: Reason,
}

/// How a circuit leaves its state.
#[derive(Clone, Copy, Default)]
struct Leave {
    /// How long an open circuit stays so; `None` until a release.
    cooldown: Option<Duration>,
    /// `RAMPING` or nothing.
    ramping: u64,
    manual: bool,
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
    /// The probes have decided that the circuit opens, and the cause is awaited.
    tripping: bool,
    /// The state was entered by hand.
    manual: bool,
    /// The failure that opened the circuit the last time.
    cause: Option<Arc<str>>,
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
    /// How many changes of the state there were.
    sequence: u64,
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
            tripping: false,
            manual: false,
            cause: None,
            trips: 0,
            cooldown: Duration::ZERO,
            closed_at: Duration::ZERO,
            ramp_credit: 0,
            rejected: 0,
            opened: 0,
            sequence: 0,
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

    /// Begins a new generation in this state. Its flags go in one store with it, so that no call slips through between.
    fn transit(&self, slow: &mut Slow, to: State, leave: Leave, now: Duration) -> Box<Transition> {
        let word = self.word();
        let from = word.state();
        slow.sequence += u64::from(from != to);
        let (counts, _) = slow.counts(now);
        let transition = Transition {
            sequence: slow.sequence,
            from,
            to,
            mode: slow.mode,
            manual: leave.manual,
            failures_in_a_row: word.failures(),
            calls: counts.calls,
            failures: counts.failures,
            slow_calls: counts.slow,
            probe_successes: slow.successes,
            probe_failures: slow.failures,
            cause: slow.cause.clone(),
            cooldown: leave.cooldown,
        };
        slow.until = leave.cooldown.map(|cooldown| now.saturating_add(cooldown));
        slow.manual = leave.manual;
        slow.leases.clear();
        slow.successes = 0;
        slow.failures = 0;
        slow.lost = 0;
        slow.tripping = false;
        slow.ramp_credit = 0;
        slow.track(now);
        if to == State::Closed {
            slow.closed_at = now;
            slow.forget();
        }
        let generation = word.generation().wrapping_add(1);
        let word = Word::new(to, generation, 0, slow.flags() | leave.ramping);
        self.word.store(word.0, Ordering::Release);
        Box::new(transition)
    }

    // ===== letting calls through =====

    /// Whether a call made now would be rejected. Changes nothing.
    #[inline(always)]
    pub(super) fn rejects(&self, now: impl FnOnce() -> Duration) -> Option<Wait> {
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
    fn rejects_slow(&self, slow: &Slow, now: Duration) -> Option<Wait> {
        match self.word().state() {
            State::Closed => None,
            State::Open => match slow.until {
                Some(until) if until <= now => None,
                until => Some(Wait(until.map(|until| until.saturating_sub(now)))),
            },
            State::HalfOpen => {
                let held = slow.leases.iter().filter(|lease| lease.expires > now);
                if held.clone().count() < slow.settings.half_open_probes.get() as usize {
                    return None;
                }
                let next = held.map(|lease| lease.expires.saturating_sub(now)).min();
                Some(Wait(Some(next.unwrap_or_default())))
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
        let wait = match self.state() {
            // Who finds out that the service hangs is not let through, however short the cooldown.
            State::Open if transition.is_some() => Some(Wait(Some(
                (slow.until).map_or(Duration::ZERO, |until| until.saturating_sub(now)),
            ))),
            State::Closed if !reserves => self.ramp(&mut slow, now),
            _ => self.rejects_slow(&slow, now),
        };
        if let Some(wait) = wait {
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
                Err(slow.rejection(wait))
            };
            return Answer {
                admission,
                transition,
            };
        }
        if self.state() == State::Open {
            transition = Some(self.transit(&mut slow, State::HalfOpen, Leave::default(), now));
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
    fn before_admission(&self, slow: &mut Slow, now: Duration) -> Option<Box<Transition>> {
        match self.state() {
            State::Closed => {
                let reason = self.judge(slow, self.word().failures(), None, now)?;
                Some(self.open(slow, reason.text(), None, now))
            }
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
                (slow.lost >= most.saturating_mul(LOST_ROUNDS))
                    .then(|| self.open(slow, Reason::ProbesHang.text(), None, now))
            }
        }
    }

    /// While the closed circuit's load grows, the share of calls that it lets through is how much of the time has
    /// passed, and a tenth at least.
    fn ramp(&self, slow: &mut Slow, now: Duration) -> Option<Wait> {
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
            Some(Wait(Some(ramp - passed)))
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

    /// Whether nothing has happened to the circuit since this admission.
    pub(super) fn is_current(&self, admission: &Admission) -> bool {
        admission.generation == self.word().generation()
    }
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

    /// Begins to count with an empty window, where a rate is set.
    fn forget(&mut self) {
        let window = self.settings.window;
        self.outcomes = self.settings.is_windowed().then(|| Outcomes::new(window));
    }

    fn rejection(&self, Wait(remaining): Wait) -> Rejection {
        Rejection {
            remaining,
            cause: self.cause.clone(),
        }
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

// Beside this file rather than below it, so that whoever includes it by its path finds them too.
#[path = "by_hand.rs"]
mod by_hand;
#[path = "counting.rs"]
mod counting;

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
