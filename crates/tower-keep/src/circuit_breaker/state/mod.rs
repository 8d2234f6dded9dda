//! The circuit's state machine: what it knows, and how it changes its state. `admit.rs` says which
//! calls it lets through, `record.rs` what their outcomes do to it, `manual.rs` what is done by hand.
//! No clock: callers say what time it is, as a duration since some fixed instant.
//!
//! # Invariants
//!
//! 1. `word` holds state, generation, flags and the failures in a row. All but the failures change only under the lock
//!    of `slow`; the failures change by compare-and-swap, which fails if anything changed meanwhile. So a success in a
//!    closed circuit without failures and without a window reads one word and writes nothing.
//! 2. Every transition begins a new generation. An outcome whose generation has passed is ignored.
//! 3. In the half-open state `slow.leases` holds the probes under way, at most `half_open_probes` of them; in others it
//!    is empty.
//! 4. `until` is written before the word of its transition. Read without the lock, it may be that of a transition that
//!    comes just now: what is read of it holds only if the lock is taken afterwards and the generation is the same.
//! 5. A circuit opens together with its cause. Where the text of a failure is the user's to make,
//!    `record` only decides that the circuit opens, and `open_for` opens it once the text is known.
//!    No user code runs under the lock.

mod admit;
mod manual;
mod record;

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use super::{
    cause::{Facts, Reason},
    in_flight::{InFlight, nanos},
    mode::Mode,
    packed_state::{DATED, OBSERVING, PackedState, RAMPING, State, TIMED, TRACKED, WINDOWED},
    settings::Settings,
    snapshot::Snapshot,
    transition::Transition,
    window::{Counts, Outcomes, Sample},
};
use crate::{
    classify::Outcome,
    ratio::Ratio,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
};

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

const FAR: u64 = u64::MAX;

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
    pub(super) facts: Arc<Facts>,
}

/// How long it is until a call may go through; `None` is until a release by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wait(pub(super) Option<Duration>);

/// How long a circuit of this generation said that it rejects calls.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    generation: u32,
    pub(super) wait: Wait,
}

/// What came of a call that asked to be let through.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) admission: Result<Admission, Rejection>,
    pub(super) transition: Option<Box<Transition>>,
}

/// What an outcome makes of the circuit.
#[derive(Debug)]
pub(super) enum OutcomeEffect {
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

#[derive(Debug)]
pub(crate) struct Circuit {
    word: AtomicU64,
    /// `until` of the last transition, in nanoseconds; `FAR` where there is none, or none so small.
    until: AtomicU64,
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
    facts: Arc<Facts>,
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
    /// What the user seeded it with.
    seeded: Option<u64>,
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
            facts: Arc::default(),
            trips: 0,
            cooldown: Duration::ZERO,
            closed_at: Duration::ZERO,
            ramp_credit: 0,
            rejected: 0,
            opened: 0,
            sequence: 0,
            rng: fastrand::Rng::with_seed(seed),
            seeded: None,
        };
        slow.track(Duration::ZERO);
        Self {
            word: AtomicU64::new(PackedState::new(State::Closed, 0, 0, slow.flags()).0),
            until: AtomicU64::new(FAR),
            slow: Mutex::new(slow),
        }
    }

    pub(super) fn word(&self) -> PackedState {
        PackedState(self.word.load(Ordering::Acquire))
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
            word = PackedState(current);
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

    /// Begins a new generation in this state. Its flags go in one store with it, so that no call
    /// slips through between.
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
            cause: slow.facts.cause.clone(),
            cooldown: leave.cooldown,
        };
        slow.until = leave.cooldown.map(|cooldown| now.saturating_add(cooldown));
        // Before the word: who sees that the circuit is open sees until when, or already until when it
        // will be.
        let until = slow.until.map_or(FAR, nanos);
        self.until.store(until, Ordering::Release);
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
        let word = PackedState::new(to, generation, 0, slow.flags() | leave.ramping);
        self.word.store(word.0, Ordering::Release);
        Box::new(transition)
    }

    /// Whether nothing has happened to the circuit since this admission.
    pub(super) fn is_current(&self, admission: &Admission) -> bool {
        admission.generation == self.word().generation()
    }
}

impl Slow {
    /// The flags that go with the settings and the mode.
    fn flags(&self) -> u64 {
        let mut flags = match self.mode {
            Mode::ObserveOnly => OBSERVING,
            _ => 0,
        };
        if self.mode != Mode::Disabled && self.settings.is_windowed() {
            flags |= WINDOWED;
            if self.settings.slow_call_rate.is_some() {
                flags |= TIMED;
            }
            if self.tracks() {
                flags |= TRACKED;
            }
            if !self.settings.counts_calls() {
                flags |= DATED;
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

    fn set_cause(&mut self, cause: Option<Arc<str>>) {
        Arc::make_mut(&mut self.facts).cause = cause;
    }

    fn rejection(&self, Wait(remaining): Wait) -> Rejection {
        Rejection {
            remaining,
            facts: Arc::clone(&self.facts),
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
    #[inline]
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
mod tests;
