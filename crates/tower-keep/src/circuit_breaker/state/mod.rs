//! The circuit's state machine: its state and its transitions.
//!
//! `admit.rs` admits or rejects calls, `record.rs` records their outcomes, `manual.rs` serves the
//! handle. There is no clock: callers pass the time as a duration since a fixed instant.
//!
//! # Invariants
//! 1. `word` holds state, generation, flags and the failures in a row. State, generation and flags
//!    change only under the lock of `locked`. The failures change by compare-and-swap, which fails
//!    if anything else changed. A success in a closed circuit without failures and without a window
//!    thus reads one word and writes nothing.
//! 2. Every transition begins a new generation. An outcome of an older generation is ignored.
//! 3. In the half-open state, `locked.leases` holds the running probes, at most `half_open_probes`.
//!    In other states it is empty.
//! 4. `until` is written before the word of its transition. A reader without the lock may see the
//!    value of a transition in progress. The value is valid only if the reader then takes the lock
//!    and finds the same generation.
//! 5. A circuit opens together with its cause. If user code makes the text of the cause, `record`
//!    only decides that the circuit opens, and `open_for` opens it with the text. No user code runs
//!    under the lock.

mod admit;
mod manual;
mod record;

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

pub(super) use self::record::Streak;
use super::{
    mode::Mode,
    opening_reason::{OpeningReason, RejectionFacts},
    packed_state::{
        DATED, OBSERVING, PackedState, RAMPING, State, TIMED, TRACKED, WINDOWED, next_generation,
    },
    settings::Settings,
    slow_in_flight::{SlowInFlight, nanos},
    snapshot::CircuitSnapshot,
    transition::StateChange,
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

/// The admission of one call, with the generation of that moment.
#[derive(Debug)]
#[must_use = "the outcome of an admission must be recorded"]
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
    /// A call that the circuit would have rejected, in observe-only mode.
    Uncounted,
}

impl Admission {
    /// Whether the call is a probe of a half-open circuit.
    pub(super) fn is_probe(&self) -> bool {
        matches!(self.kind, Kind::Probe(_))
    }

    /// Whether only the observe-only mode admitted the call.
    pub(super) fn is_uncounted(&self) -> bool {
        self.kind == Kind::Uncounted
    }
}

/// The admission of what follows the response head of a call: its body, which may fail once more.
/// It counts in its generation only.
#[derive(Clone, Copy, Debug)]
pub(super) struct LateAdmission {
    generation: u32,
    /// The head was a success, which ends the failures in a row if nothing worse follows.
    ends_streak: bool,
}

impl Admission {
    /// The admission of what follows the head with this outcome and effect. `None` if nothing that
    /// follows can count.
    pub(super) fn after_head(
        &self,
        outcome: Outcome,
        effect: Option<&OutcomeEffect>,
    ) -> Option<LateAdmission> {
        let generation = match effect {
            // A probe that closed the circuit: its body belongs to the closed circuit.
            Some(OutcomeEffect::Closed(_)) => next_generation(self.generation),
            Some(OutcomeEffect::Trips(_)) => return None,
            None => self.generation,
        };
        // A failed head has spoken against the service already.
        (!self.is_uncounted() && outcome != Outcome::Failure).then_some(LateAdmission {
            generation,
            ends_streak: outcome == Outcome::Success,
        })
    }
}

/// The rejection of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NotAdmitted {
    /// The time until the circuit may admit a call; `None` means until a manual change.
    pub(super) remaining: Option<Duration>,
    pub(super) facts: Arc<RejectionFacts>,
}

/// The time until the circuit may admit a call; `None` means until a manual change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wait(pub(super) Option<Duration>);

/// An earlier answer of the circuit: how long it rejects calls in this generation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    generation: u32,
    pub(super) wait: Wait,
}

/// The answer to a request for admission.
#[derive(Debug)]
pub(super) struct AdmitResult {
    pub(super) admission: Result<Admission, NotAdmitted>,
    pub(super) transition: Option<Box<StateChange>>,
}

/// The effect of an outcome on the circuit.
#[derive(Debug)]
pub(super) enum OutcomeEffect {
    /// The circuit closed.
    Closed(Box<StateChange>),
    /// The circuit must open, by [`open_for`](Circuit::open_for), when the cause is known.
    Trips(Trip),
}

/// The decision that the circuit opens. It is valid as long as its generation is current.
#[derive(Clone, Copy, Debug)]
#[must_use = "the circuit must be opened"]
pub(super) struct Trip {
    generation: u32,
    /// The cooldown that the service requested.
    requested: Option<Duration>,
    pub(super) reason: OpeningReason,
}

/// The details of a transition.
#[derive(Clone, Copy, Default)]
struct Leave {
    /// How long the circuit stays open; `None` means until a manual change.
    cooldown: Option<Duration>,
    /// `RAMPING` or nothing.
    ramping: u64,
    manual: bool,
}

#[derive(Debug)]
pub(crate) struct Circuit {
    word: AtomicU64,
    /// `until` of the last transition, in nanoseconds; `FAR` if there is none or if it overflows.
    until: AtomicU64,
    locked: Mutex<LockedState>,
}

#[derive(Debug)]
pub(super) struct LockedState {
    settings: Settings,
    pub(super) mode: Mode,
    /// When an open circuit admits a probe; `None` means after a manual change.
    until: Option<Duration>,
    leases: Vec<Lease>,
    next_lease: u32,
    /// The probes' outcomes in this half-open state.
    successes: u32,
    failures: u32,
    /// The number of leases that expired since the last outcome of a probe.
    lost: u32,
    /// The probes have decided that the circuit opens, and the cause is not known yet.
    tripping: bool,
    /// The last transition was manual.
    manual: bool,
    facts: Arc<RejectionFacts>,
    /// The outcomes of the current or the last closed state.
    outcomes: Option<Outcomes>,
    in_flight: Option<SlowInFlight>,
    /// The number of openings in a row for the growing cooldown, and the last cooldown.
    trips: u32,
    cooldown: Duration,
    /// The time of the last closing, and the ramp's credit for admissions since.
    closed_at: Duration,
    ramp_credit: u128,
    rejected: u64,
    opened: u64,
    /// The number of transitions.
    sequence: u64,
    rng: fastrand::Rng,
    /// The seed, if the user set one.
    seeded: Option<u64>,
}

#[derive(Debug)]
struct Lease {
    id: u32,
    expires: Duration,
    /// The call was made. Until then the slot is only reserved.
    called: bool,
}

impl Circuit {
    pub(super) fn new(settings: Settings, seed: u64) -> Self {
        let mut locked = LockedState {
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
        locked.track(Duration::ZERO);
        Self {
            word: AtomicU64::new(PackedState::new(State::Closed, 0, 0, locked.flags()).0),
            until: AtomicU64::new(FAR),
            locked: Mutex::new(locked),
        }
    }

    pub(super) fn word(&self) -> PackedState {
        PackedState(self.word.load(Ordering::Acquire))
    }

    pub(super) fn state(&self) -> State {
        self.word().state()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, LockedState> {
        self.locked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the flags, while other threads may count failures.
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

    /// Changes the settings, at any time. Counts stay, and running cooldowns and probes keep their
    /// deadlines.
    pub(super) fn change_settings(&self, change: impl FnOnce(&mut Settings), now: Duration) {
        let mut locked = self.lock();
        let before = locked.settings;
        change(&mut locked.settings);
        let after = locked.settings;
        if !after.is_windowed() {
            locked.outcomes = None;
        } else if let Some(outcomes) = &mut locked.outcomes {
            if before.window != after.window {
                outcomes.resize(after.window, now);
            }
        } else {
            locked.outcomes = Some(Outcomes::new(after.window));
        }
        if before.slow_call_duration != after.slow_call_duration
            || locked.tracks() != locked.in_flight.is_some()
        {
            locked.track(now);
        }
        let ramping = self.word().flags() & RAMPING;
        self.set_flags(locked.flags() | ramping);
    }

    /// Begins a new generation in this state. State and flags change in one store, so that no call
    /// sees only one of them.
    fn transit(
        &self,
        locked: &mut LockedState,
        to: State,
        leave: Leave,
        now: Duration,
    ) -> Box<StateChange> {
        let word = self.word();
        let from = word.state();
        locked.sequence += u64::from(from != to);
        let (counts, _) = locked.counts(now);
        let transition = StateChange {
            sequence: locked.sequence,
            from,
            to,
            mode: locked.mode,
            manual: leave.manual,
            failures_in_a_row: word.failures(),
            calls: counts.calls,
            failures: counts.failures,
            slow_calls: counts.slow,
            probe_successes: locked.successes,
            probe_failures: locked.failures,
            cause: locked.facts.cause.clone(),
            cooldown: leave.cooldown,
        };
        locked.until = leave.cooldown.map(|cooldown| now.saturating_add(cooldown));
        // Before the word: a reader that sees the open state also sees its `until`, or a later one.
        let until = locked.until.map_or(FAR, nanos);
        self.until.store(until, Ordering::Release);
        locked.manual = leave.manual;
        locked.leases.clear();
        locked.successes = 0;
        locked.failures = 0;
        locked.lost = 0;
        locked.tripping = false;
        locked.ramp_credit = 0;
        locked.track(now);
        if to == State::Closed {
            locked.closed_at = now;
            locked.forget();
        }
        let generation = next_generation(word.generation());
        let word = PackedState::new(to, generation, 0, locked.flags() | leave.ramping);
        self.word.store(word.0, Ordering::Release);
        Box::new(transition)
    }

    /// Whether the circuit had no transition since this admission.
    pub(super) fn is_current(&self, admission: &Admission) -> bool {
        admission.generation == self.word().generation()
    }
}

impl LockedState {
    /// The flags for the settings and the mode.
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

    /// Whether calls in flight are counted.
    fn tracks(&self) -> bool {
        self.settings.count_in_flight && self.settings.slow_call_rate.is_some()
    }

    /// Empties the window.
    fn forget(&mut self) {
        let window = self.settings.window;
        self.outcomes = self.settings.is_windowed().then(|| Outcomes::new(window));
    }

    fn set_cause(&mut self, cause: Option<Arc<str>>) {
        Arc::make_mut(&mut self.facts).cause = cause;
    }

    fn rejection(&self, Wait(remaining): Wait) -> NotAdmitted {
        NotAdmitted {
            remaining,
            facts: Arc::clone(&self.facts),
        }
    }

    /// Starts to count calls in flight. Earlier calls in flight stay unknown.
    fn track(&mut self, now: Duration) {
        let slow_after = self.settings.slow_call_duration;
        self.in_flight = self
            .tracks()
            .then(|| SlowInFlight::new(slow_after, nanos(now)));
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
                // The lease starts with the call.
                let expires = now.saturating_add(self.settings.lease());
                for lease in self.leases.iter_mut().filter(|lease| lease.id == id) {
                    lease.expires = expires;
                    lease.called = true;
                }
            }
            Kind::Uncounted => {}
        }
    }

    /// The counts of the window, and the number of slow calls in flight.
    #[inline]
    fn counts(&mut self, now: Duration) -> (Counts, u64) {
        let outcomes = self.outcomes.as_mut();
        let counts = outcomes.map_or_else(Counts::default, |outcomes| outcomes.counts(now));
        let in_flight = self.in_flight.as_mut();
        (counts, in_flight.map_or(0, |calls| calls.slow(nanos(now))))
    }

    /// The number of running probes.
    fn probes(&self, now: Duration) -> usize {
        self.leases
            .iter()
            .filter(|lease| lease.expires > now)
            .count()
    }
}

#[cfg(test)]
mod tests;
