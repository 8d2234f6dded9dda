//! Admission: which calls a circuit admits, reserves a slot for, or rejects.

use std::time::Duration;

use super::{
    Admission, AdmitResult, Circuit, FAR, Kind, Lease, Leave, LockedState, Mode, NotAdmitted,
    OBSERVING, OpeningReason, Ordering, RAMPING, Seen, State, StateChange, TIMED, TRACKED, UNTIMED,
    Wait, nanos,
};

/// A half-open circuit opens again after this many times its number of slots were lost in a row.
const LOST_ROUNDS: u32 = 3;

impl Circuit {
    /// Whether a call made now would be rejected. Changes nothing.
    #[inline(always)]
    pub(in super::super) fn rejects(&self, now: impl FnOnce() -> Duration) -> Option<Seen> {
        let word = self.word();
        if word.state() == State::Closed || word.has(OBSERVING) {
            return None;
        }
        let (now, until) = (now(), self.until.load(Ordering::Acquire));
        let (generation, wait) = if word.state() == State::Open && until != FAR {
            let left = until.saturating_sub(nanos(now));
            let wait = (left > 0).then(|| Wait(Some(Duration::from_nanos(left))));
            (word.generation(), wait)
        } else {
            let locked = self.lock();
            (self.word().generation(), self.rejects_locked(&locked, now))
        };
        wait.map(|wait| Seen { generation, wait })
    }

    /// Rejects a call, even if the circuit has changed. The remaining time comes from `seen`, as
    /// long as the circuit is still open.
    pub(in super::super) fn reject(
        &self,
        seen: Option<Seen>,
        now: impl FnOnce() -> Duration,
    ) -> NotAdmitted {
        let mut locked = self.lock();
        locked.rejected += 1;
        let word = self.word();
        let holds =
            |seen: &Seen| word.state() == State::Open && word.generation() == seen.generation;
        let wait = match seen.filter(holds) {
            Some(seen) => Some(seen.wait),
            None => self.rejects_locked(&locked, now()),
        };
        locked.rejection(wait.unwrap_or(Wait(Some(Duration::ZERO))))
    }

    #[cold]
    pub(super) fn rejects_locked(&self, locked: &LockedState, now: Duration) -> Option<Wait> {
        match self.word().state() {
            State::Closed => None,
            State::Open => match locked.until {
                Some(until) if until <= now => None,
                until => Some(Wait(until.map(|until| until.saturating_sub(now)))),
            },
            State::HalfOpen => {
                let held = locked.leases.iter().filter(|lease| lease.expires > now);
                if held.clone().count() < locked.settings.half_open_probes.get() as usize {
                    return None;
                }
                let next = held.map(|lease| lease.expires.saturating_sub(now)).min();
                Some(Wait(Some(next.unwrap_or_default())))
            }
        }
    }

    /// Admits a call if that needs no lock.
    #[inline(always)]
    pub(in super::super) fn admit_closed(
        &self,
        reserves: bool,
        now: impl FnOnce() -> Duration,
    ) -> Option<Admission> {
        let word = self.word();
        if word.state() != State::Closed || word.has(TRACKED | RAMPING) {
            return None;
        }
        let timed = word.has(TIMED) && !reserves;
        Some(Admission {
            generation: word.generation(),
            kind: Kind::Call,
            began: if timed { nanos(now()) } else { UNTIMED },
        })
    }

    /// Admits or rejects a call. The first call after the cooldown makes an open circuit half-open.
    /// With `reserves`, the call itself comes later: see [`begin`](Self::begin).
    pub(in super::super) fn admit(
        &self,
        reserves: bool,
        now: impl Fn() -> Duration,
    ) -> AdmitResult {
        match self.admit_closed(reserves, &now) {
            Some(admission) => AdmitResult {
                admission: Ok(admission),
                transition: None,
            },
            None => self.admit_locked(reserves, now()),
        }
    }

    #[cold]
    fn admit_locked(&self, reserves: bool, now: Duration) -> AdmitResult {
        let mut locked = self.lock();
        let mut transition = self.before_admission(&mut locked, now);
        let wait = match self.state() {
            // The call that finds a hanging service is rejected, however short the cooldown.
            State::Open if transition.is_some() => Some(Wait(Some(
                (locked.until).map_or(Duration::ZERO, |until| until.saturating_sub(now)),
            ))),
            State::Closed if !reserves => self.ramp(&mut locked, now),
            _ => self.rejects_locked(&locked, now),
        };
        if let Some(wait) = wait {
            // A reservation waits and is not a rejected call.
            let waits = reserves && locked.mode != Mode::ObserveOnly;
            locked.rejected += u64::from(!waits);
            let admission = if locked.mode == Mode::ObserveOnly {
                Ok(Admission {
                    generation: self.word().generation(),
                    kind: Kind::Uncounted,
                    began: UNTIMED,
                })
            } else {
                Err(locked.rejection(wait))
            };
            return AdmitResult {
                admission,
                transition,
            };
        }
        if self.state() == State::Open {
            transition = Some(self.transit(&mut locked, State::HalfOpen, Leave::default(), now));
        }
        let kind = if self.state() == State::HalfOpen {
            let id = locked.next_lease;
            locked.next_lease = id.wrapping_add(1);
            let expires = now.saturating_add(locked.settings.lease());
            locked.leases.push(Lease {
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
            locked.begin(&mut admission, now);
        }
        AdmitResult {
            admission: Ok(admission),
            transition,
        }
    }

    /// Opens the circuit for reasons of time alone: slow calls in flight, or hanging probes.
    fn before_admission(
        &self,
        locked: &mut LockedState,
        now: Duration,
    ) -> Option<Box<StateChange>> {
        match self.state() {
            State::Closed => {
                let reason = self.judge(locked, self.word().failures(), None, now)?;
                Some(self.open(locked, reason.text(), None, now))
            }
            State::Open => None,
            State::HalfOpen => {
                let mut lost = 0_u32;
                locked.leases.retain(|lease| {
                    let held = lease.expires > now;
                    // A slot that was only reserved says nothing about the service.
                    lost += u32::from(!held && lease.called);
                    held
                });
                locked.lost = locked.lost.saturating_add(lost);
                let most = locked.settings.half_open_probes.get();
                (locked.lost >= most.saturating_mul(LOST_ROUNDS))
                    .then(|| self.open(locked, OpeningReason::ProbesHang.text(), None, now))
            }
        }
    }

    /// Rejects a share of the calls during the ramp. The admitted share is the elapsed share of the
    /// ramp, at least a tenth.
    fn ramp(&self, locked: &mut LockedState, now: Duration) -> Option<Wait> {
        if !self.word().has(RAMPING) {
            return None;
        }
        let passed = now.saturating_sub(locked.closed_at);
        let ramp = locked.settings.ramp.unwrap_or_default();
        if passed >= ramp {
            self.set_flags(locked.flags());
            return None;
        }
        let whole = ramp.as_nanos();
        locked.ramp_credit += passed.as_nanos().max(whole / 10);
        if locked.ramp_credit >= whole {
            locked.ramp_credit -= whole;
            None
        } else {
            Some(Wait(Some(ramp - passed)))
        }
    }

    /// Begins a call whose slot was reserved.
    pub(in super::super) fn begin(
        &self,
        admission: &mut Admission,
        now: impl FnOnce() -> Duration,
    ) {
        let word = self.word();
        let tracked = word.has(TRACKED) || admission.is_probe();
        if tracked && word.generation() == admission.generation {
            self.lock().begin(admission, now());
        } else if word.has(TIMED) {
            admission.began = nanos(now());
        }
    }

    /// Whether the circuit had no transition since this admission, and a probe's slot has not
    /// expired.
    pub(in super::super) fn is_valid(
        &self,
        admission: &Admission,
        now: impl FnOnce() -> Duration,
    ) -> bool {
        self.is_current(admission)
            && match admission.kind {
                Kind::Probe(id) => {
                    let now = now();
                    (self.lock().leases.iter()).any(|lease| lease.id == id && lease.expires > now)
                }
                Kind::Call | Kind::Uncounted => true,
            }
    }
}
