//! What a tracked job consists of, shared by its handles.
//!
//! # Invariants
//!
//! 1. `ended` is set once, under the lock, together with queueing the one terminal event. Nothing is queued after it.
//! 2. Events are delivered in the order of their sequence numbers, one at a time, by whichever thread set
//!    `delivering`; the lock is never held while an observer runs. Whoever finds `delivering` set leaves the event in
//!    the queue: the delivering thread takes it.
//! 3. `FIRED` is set under the lock of the job, as is the registration of a child, so that a child either is found by
//!    the firing thread or sees its parent fired.
//!
//! Lock order: a job's lock is a leaf. No second job's lock, token or waker is touched while one is held.

use std::{
    collections::{HashMap, VecDeque},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering},
    },
    task::Waker,
    time::Duration,
};

use futures_util::task::AtomicWaker;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::event::{
    CancelReason, Event, EventKind, FailureCause, JobId, JobName, Observer, Report,
};

/// Somebody registered an observer.
const OBSERVED: u16 = 1;
/// Cancellation was asked for; the reason is set.
const CANCELLED: u16 = 1 << 1;
/// The token fired: the code inside sees the cancellation.
const FIRED: u16 = 1 << 2;
/// The execution may outlive this job's caller: whoever shares it fires the token.
const SHARED: u16 = 1 << 3;
/// A Cancel layer watches the job and takes its caller out when it is cancelled.
const WATCHED: u16 = 1 << 4;
/// A gate holds the call back; it has not started.
const HELD: u16 = 1 << 5;
/// `Started` was recorded.
const STARTED: u16 = 1 << 6;
/// The job is over.
const ENDED: u16 = 1 << 7;
/// A second Cancel layer watches the job, perhaps in a task of its own.
const WATCHED_AGAIN: u16 = 1 << 8;

/// How many tracking layers of one stack are remembered, so that a repeated call finds its job.
const MEMBERS: usize = 6;

/// How a job ended.
#[derive(Debug)]
pub(crate) enum Ending {
    Succeeded,
    Failed {
        cause: FailureCause,
        error: Arc<str>,
    },
    Cancelled {
        reason: CancelReason,
    },
}

pub(crate) struct Core {
    id: JobId,
    name: JobName,
    parent: Option<Arc<Core>>,
    born: Instant,
    flags: AtomicU16,
    attempt: AtomicU32,
    /// Nanoseconds from `born`; `u64::MAX` is none.
    deadline: AtomicU64,
    /// Nanoseconds; `u64::MAX` is none.
    step_limit: AtomicU64,
    step: AtomicU32,
    /// 0 is unknown.
    step_total: AtomicU32,
    /// Wake the first two Cancel layers that joined; further ones are polled by them.
    wakers: [AtomicWaker; 2],
    /// Made only when somebody waits for the cancellation.
    token: OnceLock<CancellationToken>,
    state: Mutex<State>,
}

struct State {
    observers: Observers,
    members: [usize; MEMBERS],
    queue: VecDeque<(Event, Target)>,
    delivering: bool,
    next_seq: u64,
    /// When `Started` was recorded, and its sequence number.
    started: Option<(Instant, u64)>,
    reason: Option<CancelReason>,
    /// The work was dropped where it stood.
    dropped: bool,
    /// The overall limit of a shared execution expired: the token fires when the execution is over.
    expired: bool,
    children: Option<Children>,
    detached: Option<Box<Detached>>,
}

type Children = HashMap<JobId, Weak<Core>>;

/// A job whose work goes on without its caller. The first of the two to end waits for the other.
#[derive(Default)]
struct Detached {
    owner_gone: bool,
    outcome: Option<Ending>,
}

/// One observer inline, so that a single one costs no allocation.
#[derive(Default)]
struct Observers {
    first: Option<Arc<dyn Observer>>,
    more: Vec<Arc<dyn Observer>>,
}

impl Observers {
    fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.more.len()
    }

    fn get(&self, index: usize) -> Option<Arc<dyn Observer>> {
        match index.checked_sub(1) {
            None => self.first.clone(),
            Some(index) => self.more.get(index).cloned(),
        }
    }

    fn contains(&self, observer: &Arc<dyn Observer>) -> bool {
        self.first
            .iter()
            .chain(&self.more)
            .any(|known| Arc::ptr_eq(known, observer))
    }

    fn push(&mut self, observer: Arc<dyn Observer>) {
        if self.first.is_none() {
            self.first = Some(observer);
        } else {
            self.more.push(observer);
        }
    }
}

#[derive(Clone, Copy)]
enum Target {
    /// The observers that were registered when the event was queued.
    First(usize),
    /// One that came later and is told what it missed.
    Only(usize),
}

impl Core {
    /// A new job, whose parent's cancellation reaches it.
    pub(crate) fn new(name: JobName, parent: Option<Arc<Core>>) -> Arc<Self> {
        let core = Arc::new(Self {
            id: JobId::next(),
            name,
            parent,
            born: Instant::now(),
            flags: AtomicU16::new(0),
            attempt: AtomicU32::new(1),
            deadline: AtomicU64::new(u64::MAX),
            step_limit: AtomicU64::new(u64::MAX),
            step: AtomicU32::new(0),
            step_total: AtomicU32::new(0),
            wakers: [AtomicWaker::new(), AtomicWaker::new()],
            token: OnceLock::new(),
            state: Mutex::new(State {
                observers: Observers::default(),
                members: [0; MEMBERS],
                queue: VecDeque::new(),
                delivering: false,
                // `Dispatched` is number 0 of every job, whether somebody watches yet or not.
                next_seq: 1,
                started: None,
                reason: None,
                dropped: false,
                expired: false,
                children: None,
                detached: None,
            }),
        });
        if let Some(parent) = &core.parent {
            parent.adopt_child(&core);
        }
        core
    }

    pub(crate) fn id(&self) -> JobId {
        self.id
    }

    pub(crate) fn name(&self) -> &JobName {
        &self.name
    }

    pub(crate) fn parent(&self) -> Option<&Arc<Core>> {
        self.parent.as_ref()
    }

    fn has(&self, flag: u16) -> bool {
        self.flags.load(Ordering::Acquire) & flag != 0
    }

    fn set(&self, flag: u16) -> bool {
        self.flags.fetch_or(flag, Ordering::AcqRel) & flag != 0
    }

    fn clear(&self, flag: u16) {
        self.flags.fetch_and(!flag, Ordering::AcqRel);
    }

    // No user code runs under this lock, so a poisoned one holds a sound state.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // ===== attempt, deadline, steps =====

    pub(crate) fn attempt(&self) -> u32 {
        self.attempt.load(Ordering::Relaxed)
    }

    #[cfg(feature = "retry")]
    pub(crate) fn set_attempt(&self, attempt: u32) {
        self.attempt.store(attempt, Ordering::Relaxed);
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.deadline.load(Ordering::Relaxed) {
            u64::MAX => None,
            nanos => self.born.checked_add(Duration::from_nanos(nanos)),
        }
    }

    /// Keeps the nearest of the deadlines.
    #[cfg(feature = "timeout")]
    pub(crate) fn add_deadline(&self, deadline: Instant) {
        self.deadline.fetch_min(
            nanos(deadline.saturating_duration_since(self.born)),
            Ordering::Relaxed,
        );
    }

    pub(crate) fn step_limit(&self) -> Option<Duration> {
        match self.step_limit.load(Ordering::Relaxed) {
            u64::MAX => None,
            nanos => Some(Duration::from_nanos(nanos)),
        }
    }

    #[cfg(feature = "timeout")]
    pub(crate) fn set_step_limit(&self, limit: Duration) {
        self.step_limit.fetch_min(nanos(limit), Ordering::Relaxed);
    }

    pub(crate) fn set_steps(&self, total: u32) {
        self.step.store(0, Ordering::Relaxed);
        self.step_total.store(total, Ordering::Relaxed);
    }

    /// The number of the step that begins, counted from 1, and how many there are.
    pub(crate) fn next_step(&self) -> (u32, Option<u32>) {
        let number = self.step.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let total = self.step_total.load(Ordering::Relaxed);
        (number, (total > 0).then_some(total))
    }

    // ===== membership =====

    /// Remembers that the layer of this identity belongs to the job's stack.
    pub(crate) fn add_member(&self, layer: usize) {
        let mut state = self.state();
        if !state.members.contains(&layer) {
            if let Some(free) = state.members.iter_mut().find(|member| **member == 0) {
                *free = layer;
            }
        }
    }

    pub(crate) fn has_member(&self, layer: usize) -> bool {
        !self.has(ENDED) && self.state().members.contains(&layer)
    }

    /// Registers an observer, once, and tells it what it missed.
    pub(crate) fn observe(&self, observer: &Arc<dyn Observer>) {
        let mut state = self.state();
        if self.has(ENDED) || state.observers.contains(observer) {
            return;
        }
        let index = state.observers.len();
        state.observers.push(Arc::clone(observer));
        self.set(OBSERVED);
        let target = Target::Only(index);
        let dispatched = self.event(EventKind::Dispatched, self.born, 0);
        state.queue.push_back((dispatched, target));
        if let Some((at, seq)) = state.started {
            let started = self.event(EventKind::Started, at, seq);
            state.queue.push_back((started, target));
        }
        self.deliver(state);
    }

    // ===== events =====

    fn event(&self, kind: EventKind, at: Instant, seq: u64) -> Event {
        Event {
            job: self.id,
            name: self.name.clone(),
            parent: self.parent.as_ref().map(|parent| parent.id),
            attempt: self.attempt(),
            seq,
            at,
            elapsed: at.saturating_duration_since(self.born),
            kind,
        }
    }

    fn push(&self, state: &mut State, kind: EventKind, at: Instant) {
        let seq = state.next_seq;
        state.next_seq += 1;
        let event = self.event(kind, at, seq);
        let target = Target::First(state.observers.len());
        state.queue.push_back((event, target));
    }

    fn push_started(&self, state: &mut State, at: Instant) {
        if !self.set(STARTED) {
            state.started = Some((at, state.next_seq));
            self.push(state, EventKind::Started, at);
        }
    }

    /// Sends an event, unless the job is over. `make` runs only if somebody watches, and outside the lock.
    pub(crate) fn emit(&self, make: impl FnOnce() -> EventKind) {
        if !self.has(OBSERVED) {
            return;
        }
        let kind = make();
        let at = Instant::now();
        let mut state = self.state();
        if self.has(ENDED) {
            return;
        }
        if !self.has(HELD) && kind.implies_started() {
            self.push_started(&mut state, at);
        }
        self.push(&mut state, kind, at);
        self.deliver(state);
    }

    pub(crate) fn report(&self, report: Report) {
        self.emit(|| EventKind::Progress(report));
    }

    /// The call got past every gate, unless one still holds it back.
    #[inline]
    pub(crate) fn started(&self) {
        if self.flags.load(Ordering::Relaxed) & (STARTED | HELD | ENDED) == 0 {
            self.started_slow();
        }
    }

    #[cold]
    fn started_slow(&self) {
        if self.has(OBSERVED) {
            let at = Instant::now();
            let mut state = self.state();
            if !self.has(ENDED) {
                self.push_started(&mut state, at);
                self.deliver(state);
            }
        } else {
            let mut state = self.state();
            if !self.set(STARTED) {
                state.started = Some((self.born, state.next_seq));
                state.next_seq += 1;
            }
        }
    }

    /// A gate keeps the call waiting before it may start.
    #[cfg(feature = "dedup")]
    pub(crate) fn hold(&self) {
        self.set(HELD);
    }

    /// The gate let the call through.
    #[cfg(feature = "dedup")]
    pub(crate) fn release(&self) {
        self.clear(HELD);
    }

    /// Delivers what is queued, unless another thread does so already.
    fn deliver<'a>(&'a self, mut state: MutexGuard<'a, State>) {
        if state.delivering {
            return;
        }
        state.delivering = true;
        while let Some((event, target)) = state.queue.pop_front() {
            let range = match target {
                Target::First(count) => 0..count,
                Target::Only(index) => index..index + 1,
            };
            for index in range {
                let observer = state.observers.get(index);
                drop(state);
                if let Some(observer) = observer {
                    // A panicking observer must not reach the job, nor leave `delivering` set.
                    let _ = catch_unwind(AssertUnwindSafe(|| observer.on_event(&event)));
                }
                state = self.state();
            }
        }
        state.delivering = false;
    }

    // ===== cancellation =====

    /// Whether the code inside should stop.
    #[inline]
    pub(crate) fn is_cancelled(&self) -> bool {
        self.has(FIRED)
    }

    /// Whether cancellation was asked for, even where the execution goes on for others.
    #[inline]
    pub(crate) fn cancel_requested(&self) -> bool {
        self.has(CANCELLED)
    }

    pub(crate) fn reason(&self) -> Option<CancelReason> {
        self.state().reason.clone()
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.has(ENDED)
    }

    /// Cancels the job: sets the reason, fires the token, wakes who waits. `false` if it was over or cancelled before.
    pub(crate) fn cancel(&self, reason: CancelReason) -> bool {
        self.cancel_as(reason, false)
    }

    /// Like [`cancel`](Self::cancel); `leaves` says that the one who cancels drops this job's share of the execution
    /// itself, so that a shared one may go on for the others.
    pub(crate) fn cancel_as(&self, reason: CancelReason, leaves: bool) -> bool {
        let children = {
            let mut state = self.state();
            if self.has(ENDED) || self.set(CANCELLED) {
                return false;
            }
            state.reason = Some(reason.clone());
            let shared = self.has(SHARED) && (leaves || self.has(WATCHED));
            if shared {
                None
            } else {
                self.mark_fired(&mut state)
            }
        };
        self.fire(children, &reason);
        self.wakers.iter().for_each(AtomicWaker::wake);
        true
    }

    /// The overall limit expired, and whoever calls this drops its part of the execution.
    #[cfg(feature = "timeout")]
    pub(crate) fn expire(&self) {
        {
            let mut state = self.state();
            if self.has(SHARED) {
                // Others may still wait for the result, and this job's caller gets the limit's own error.
                state.expired = true;
                return;
            }
        }
        self.cancel_as(CancelReason::TimedOut, true);
    }

    /// Whom to tell; `None` if it has fired before.
    fn mark_fired(&self, state: &mut State) -> Option<Option<Children>> {
        (!self.set(FIRED)).then(|| state.children.take())
    }

    fn fire(&self, fired: Option<Option<Children>>, reason: &CancelReason) {
        let Some(children) = fired else { return };
        if let Some(token) = self.token.get() {
            token.cancel();
        }
        for child in children
            .into_iter()
            .flat_map(|children| children.into_values())
        {
            if let Some(child) = child.upgrade() {
                child.cancel(reason.clone());
            }
        }
    }

    /// The execution is over or dropped: whoever still works for it is told, if the job was cancelled or its caller
    /// went away meanwhile.
    #[cfg(feature = "dedup")]
    pub(crate) fn shared_execution_over(&self) {
        let fired = {
            let mut state = self.state();
            self.clear(SHARED);
            if !state.expired && !self.has(CANCELLED | ENDED) {
                return;
            }
            let reason = match &state.reason {
                Some(reason) => reason.clone(),
                None if state.expired => CancelReason::TimedOut,
                None => CancelReason::CallerGone,
            };
            (self.mark_fired(&mut state), reason)
        };
        self.fire(fired.0, &fired.1);
    }

    /// The execution may outlive the caller.
    #[cfg(feature = "dedup")]
    pub(crate) fn share_execution(&self) {
        self.set(SHARED);
    }

    pub(crate) fn token(&self) -> &CancellationToken {
        let token = self.token.get_or_init(CancellationToken::new);
        // `fire` sets the flag before it looks for the token, so one of the two cancels it.
        if self.has(FIRED) {
            token.cancel();
        }
        token
    }

    /// Claims a place for a waker, if there is one left.
    #[cfg(feature = "cancel")]
    pub(crate) fn watch(&self) -> Option<usize> {
        [WATCHED, WATCHED_AGAIN]
            .into_iter()
            .position(|flag| !self.set(flag))
    }

    /// Wakes this waker when cancellation is asked for. Look at the flag again after the call.
    #[cfg(feature = "cancel")]
    pub(crate) fn wake_on_cancel(&self, place: usize, waker: &Waker) {
        self.wakers[place].register(waker);
    }

    /// The work was dropped before it came to an end of its own.
    #[cfg(feature = "cancel")]
    pub(crate) fn set_dropped(&self) {
        self.state().dropped = true;
    }

    fn adopt_child(&self, child: &Arc<Core>) {
        let reason = {
            let mut state = self.state();
            if !self.has(FIRED) {
                state
                    .children
                    .get_or_insert_default()
                    .insert(child.id, Arc::downgrade(child));
                return;
            }
            state.reason.clone()
        };
        child.cancel(reason.unwrap_or(CancelReason::CallerGone));
    }

    // ===== the end =====

    /// Ends the job, once. `make` runs only if somebody watches, and outside the lock.
    ///
    /// A cancelled job ends as cancelled whatever its result, except that an overall timeout ends it as failed.
    pub(crate) fn end(&self, make: impl FnOnce() -> Ending) {
        self.end_as(make, false);
    }

    /// The caller dropped the job's future. What is not detached or shared stops.
    pub(crate) fn caller_gone(&self) {
        {
            let mut state = self.state();
            if let Some(detached) = &mut state.detached {
                detached.owner_gone = true;
                let Some(outcome) = detached.outcome.take() else {
                    return;
                };
                drop(state);
                self.end(|| outcome);
                return;
            }
        }
        self.cancel_as(CancelReason::CallerGone, true);
        self.end_as(
            || Ending::Cancelled {
                reason: CancelReason::CallerGone,
            },
            true,
        );
    }

    fn end_as(&self, make: impl FnOnce() -> Ending, dropped: bool) {
        let ending = if self.has(OBSERVED) {
            Some(make())
        } else {
            None
        };
        {
            let mut state = self.state();
            if self.set(ENDED) {
                return;
            }
            if let Some(ending) = ending {
                let at = Instant::now();
                let cancelled = state
                    .reason
                    .clone()
                    .filter(|reason| *reason != CancelReason::TimedOut);
                let dropped = dropped || state.dropped;
                let kind = match (cancelled, ending) {
                    (Some(reason), _) => EventKind::Cancelled { reason, dropped },
                    (None, Ending::Succeeded) => EventKind::Succeeded,
                    (None, Ending::Failed { cause, error }) => EventKind::Failed { cause, error },
                    // Cancelled because the job around it timed out: the reason is known after all.
                    (None, Ending::Cancelled { reason }) => EventKind::Cancelled {
                        reason: state.reason.clone().unwrap_or(reason),
                        dropped,
                    },
                };
                self.push(&mut state, kind, at);
            }
            state.children = None;
            self.deliver(state);
        }
        if let Some(parent) = &self.parent {
            parent.forget_child(self.id);
        }
    }

    fn forget_child(&self, child: JobId) {
        if let Some(children) = &mut self.state().children {
            children.remove(&child);
        }
    }

    /// The work goes on without its caller and ends through [`detached_done`](Self::detached_done).
    #[cfg(feature = "cancel")]
    pub(crate) fn detach(&self) {
        self.state().detached = Some(Box::default());
    }

    /// The detached work ended; if its caller is gone, so does the job.
    #[cfg(feature = "cancel")]
    pub(crate) fn detached_done(&self, outcome: Ending) {
        {
            let mut state = self.state();
            match &mut state.detached {
                Some(detached) if !detached.owner_gone => {
                    detached.outcome = Some(outcome);
                    return;
                }
                _ => {}
            }
        }
        self.end(|| outcome);
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Job")
            .field("id", &self.id)
            .field("name", &self.name)
            .field("attempt", &self.attempt())
            .field("cancelled", &self.cancel_requested())
            .field("ended", &self.has_ended())
            .finish_non_exhaustive()
    }
}
