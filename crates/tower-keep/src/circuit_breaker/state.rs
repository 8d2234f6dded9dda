//! The circuit's state machine. No clock: callers say what time it is, as a duration since some fixed instant.
//!
//! # Invariants
//!
//! 1. `word` holds state, generation and the failures in a row. The state and the generation change only under the
//!    lock of `slow`; the failures change by compare-and-swap, which fails if the generation changed meanwhile. So a
//!    success in a closed circuit without failures reads one word and writes nothing.
//! 2. Every transition begins a new generation. An outcome whose generation has passed is ignored.
//! 3. In the half-open state `slow.leases` holds the probes under way, at most `probes` of them; in others it is empty.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::classify::Outcome;

/// What a circuit does with calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum State {
    /// Lets them through and counts failures.
    Closed,
    /// Rejects them.
    Open,
    /// Lets a few through to see whether the service has recovered.
    HalfOpen,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(super) failure_threshold: u32,
    pub(crate) cooldown: Duration,
    pub(super) probes: u32,
    /// As the user set it.
    pub(crate) probe_timeout: Option<Duration>,
    /// How long it is at least, where the user set none.
    pub(crate) least_probe_timeout: Duration,
}

impl Settings {
    fn lease(&self) -> Duration {
        let default = self.cooldown.max(self.least_probe_timeout);
        self.probe_timeout.unwrap_or(default)
    }
}

/// Lets one call through, in the generation that was current then.
#[derive(Debug)]
#[must_use = "an admission is to be recorded"]
pub(super) struct Admission {
    generation: u32,
    /// `None` in the closed state.
    lease: Option<u64>,
}

impl Admission {
    /// Whether the circuit was half-open.
    pub(super) fn is_probe(&self) -> bool {
        self.lease.is_some()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transition {
    /// With the cooldown that begins.
    Opened(Duration),
    HalfOpened,
    Closed,
}

/// How long it is until a call may go through; `None` is until a reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rejection(pub(super) Option<Duration>);

#[derive(Debug)]
pub(crate) struct Circuit {
    word: AtomicU64,
    slow: Mutex<Slow>,
}

#[derive(Debug)]
struct Slow {
    settings: Settings,
    /// When an open circuit lets a probe through; `None` until a reset.
    until: Option<Duration>,
    leases: Vec<Lease>,
    next_lease: u64,
    /// Set by hand: stays closed whatever happens.
    held_closed: bool,
}

#[derive(Debug)]
struct Lease {
    id: u64,
    expires: Duration,
}

/// The packed form: failures in the upper half, then the generation, then two bits of state.
#[derive(Clone, Copy)]
struct Word(u64);

const GENERATION_BITS: u32 = 30;

impl Word {
    fn new(state: State, generation: u32, failures: u32) -> Self {
        let generation = u64::from(generation & ((1 << GENERATION_BITS) - 1));
        let state = match state {
            State::Closed => 0,
            State::Open => 1,
            State::HalfOpen => 2,
        };
        Self(u64::from(failures) << 32 | generation << 2 | state)
    }

    fn state(self) -> State {
        match self.0 & 3 {
            0 => State::Closed,
            1 => State::Open,
            _ => State::HalfOpen,
        }
    }

    fn generation(self) -> u32 {
        (self.0 as u32) >> 2
    }

    fn failures(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

impl Circuit {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            word: AtomicU64::new(Word::new(State::Closed, 0, 0).0),
            slow: Mutex::new(Slow {
                settings,
                until: None,
                leases: Vec::new(),
                next_lease: 0,
                held_closed: false,
            }),
        }
    }

    pub(super) fn state(&self) -> State {
        self.word().state()
    }

    pub(super) fn failures(&self) -> u32 {
        self.word().failures()
    }

    fn word(&self) -> Word {
        Word(self.word.load(Ordering::Acquire))
    }

    fn slow(&self) -> MutexGuard<'_, Slow> {
        self.slow.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Settings can change at any time; what is under way keeps its old deadline.
    pub(crate) fn change_settings(&self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.slow().settings);
    }

    pub(crate) fn settings(&self) -> Settings {
        self.slow().settings
    }

    /// Begins a new generation in this state.
    fn transit(&self, slow: &mut Slow, state: State, until: Option<Duration>) {
        slow.until = until;
        slow.leases.clear();
        let generation = self.word().generation().wrapping_add(1);
        self.word
            .store(Word::new(state, generation, 0).0, Ordering::Release);
    }

    /// Whether a call made now would be rejected. Changes nothing.
    #[inline(always)]
    pub(super) fn rejects(&self, now: impl FnOnce() -> Duration) -> Option<Rejection> {
        if self.word().state() == State::Closed {
            None
        } else {
            self.rejects_slow(&self.slow(), now())
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
                if held.clone().count() < slow.settings.probes as usize {
                    return None;
                }
                let next = held.map(|lease| lease.expires.saturating_sub(now)).min();
                Some(Rejection(Some(next.unwrap_or_default())))
            }
        }
    }

    /// Lets a call through, or not; the first one after the cooldown turns an open circuit half-open.
    #[inline(always)]
    pub(super) fn admit(
        &self,
        now: impl FnOnce() -> Duration,
    ) -> Result<(Admission, Option<Transition>), Rejection> {
        let word = self.word();
        if word.state() == State::Closed {
            return Ok((
                Admission {
                    generation: word.generation(),
                    lease: None,
                },
                None,
            ));
        }
        self.admit_slow(now())
    }

    #[cold]
    fn admit_slow(&self, now: Duration) -> Result<(Admission, Option<Transition>), Rejection> {
        let mut slow = self.slow();
        if let Some(rejection) = self.rejects_slow(&slow, now) {
            return Err(rejection);
        }
        let word = self.word();
        let transition = match word.state() {
            State::Closed => {
                return Ok((
                    Admission {
                        generation: word.generation(),
                        lease: None,
                    },
                    None,
                ));
            }
            State::Open => {
                self.transit(&mut slow, State::HalfOpen, None);
                Some(Transition::HalfOpened)
            }
            State::HalfOpen => None,
        };
        slow.leases.retain(|lease| lease.expires > now);
        let id = slow.next_lease;
        slow.next_lease += 1;
        let timeout = slow.settings.lease();
        slow.leases.push(Lease {
            id,
            expires: now.saturating_add(timeout),
        });
        Ok((
            Admission {
                generation: self.word().generation(),
                lease: Some(id),
            },
            transition,
        ))
    }

    /// Counts the outcome of an admitted call, unless its generation has passed.
    #[inline(always)]
    pub(super) fn record(
        &self,
        admission: &Admission,
        outcome: Outcome,
        now: impl FnOnce() -> Duration,
    ) -> Option<Transition> {
        match admission.lease {
            Some(lease) => self.record_probe(admission.generation, lease, outcome, now()),
            None => match outcome {
                Outcome::Success => {
                    self.count_success(admission.generation);
                    None
                }
                Outcome::Failure => self.count_failure(admission.generation, now),
                Outcome::Ignored => None,
            },
        }
    }

    #[inline(always)]
    fn count_success(&self, generation: u32) {
        let mut word = self.word();
        while word.generation() == generation && word.failures() > 0 {
            let clean = Word::new(word.state(), generation, 0);
            match self.word.compare_exchange_weak(
                word.0,
                clean.0,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => return,
                Err(current) => word = Word(current),
            }
        }
    }

    #[cold]
    fn count_failure(&self, generation: u32, now: impl FnOnce() -> Duration) -> Option<Transition> {
        let now = now();
        // A failure is rare enough to take the lock; only successes have to do without.
        let mut slow = self.slow();
        let mut word = self.word();
        while word.generation() == generation {
            let failures = word.failures().saturating_add(1);
            let more = Word::new(word.state(), generation, failures);
            match self.word.compare_exchange_weak(
                word.0,
                more.0,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) if failures > slow.settings.failure_threshold && !slow.held_closed => {
                    return Some(self.open(&mut slow, now));
                }
                Ok(_) => return None,
                Err(current) => word = Word(current),
            }
        }
        None
    }

    fn open(&self, slow: &mut Slow, now: Duration) -> Transition {
        let cooldown = slow.settings.cooldown;
        self.transit(slow, State::Open, Some(now.saturating_add(cooldown)));
        Transition::Opened(cooldown)
    }

    #[cold]
    fn record_probe(
        &self,
        generation: u32,
        lease: u64,
        outcome: Outcome,
        now: Duration,
    ) -> Option<Transition> {
        let mut slow = self.slow();
        if self.word().generation() != generation {
            return None;
        }
        // One whose lease has expired lost its place, but what it found out is of this generation and counts.
        slow.leases.retain(|held| held.id != lease);
        match outcome {
            Outcome::Success => {
                self.transit(&mut slow, State::Closed, None);
                Some(Transition::Closed)
            }
            Outcome::Failure => Some(self.open(&mut slow, now)),
            Outcome::Ignored => None,
        }
    }

    /// Open until a reset.
    pub(super) fn force_open(&self) {
        let mut slow = self.slow();
        slow.held_closed = false;
        self.transit(&mut slow, State::Open, None);
    }

    /// Closed until a reset, whatever fails.
    pub(super) fn force_closed(&self) {
        let mut slow = self.slow();
        slow.held_closed = true;
        self.transit(&mut slow, State::Closed, None);
    }

    /// Closed, with nothing counted, and automatic again.
    pub(super) fn reset(&self) {
        let mut slow = self.slow();
        slow.held_closed = false;
        self.transit(&mut slow, State::Closed, None);
    }

    /// As the name says; `None` in the closed state.
    pub(super) fn time_until_probe(&self, now: Duration) -> Option<Duration> {
        self.rejects_slow(&self.slow(), now)
            .and_then(|rejection| rejection.0)
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
