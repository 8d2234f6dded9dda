//! What a tracked job consists of, shared by its handles.
//!
//! # Invariants
//!
//! 1. `ENDED` is set once, by whoever then queues the one terminal event, if somebody watches. No other event is queued
//!    once it is set: those are queued under the lock, and so is it set where somebody watches.
//! 2. Events are delivered in the order of their sequence numbers, one at a time, by whichever thread set
//!    `delivering`; the lock is never held while an observer runs. Whoever finds `delivering` set leaves the event in
//!    the queue: the delivering thread takes it.
//! 3. `FIRED` is set under the lock of the job, as is the registration of a child, so that a child either is found by
//!    the firing thread or sees its parent fired.
//!
//! Lock order: a job's lock is a leaf. No second job's lock, token or waker is touched while one is held.

mod activity;
pub(crate) mod cancellation;
mod delivery;
mod ending;
mod family;
pub(crate) mod followers;
pub(crate) mod steps;

use std::{
    fmt,
    sync::{Arc, PoisonError, Weak},
    time::Duration,
};

use tokio::time::Instant;

pub(crate) use self::ending::Ending;
use self::{
    delivery::Stream,
    ending::{Awaiting, Detached},
    family::{Children, Kin},
    followers::Followers,
    steps::Steps,
};
use super::halt::Halt;
use crate::{
    event::{CancelReason, JobId, JobName},
    sync::{
        AtomicWaker, CancellationToken, Mutex, MutexGuard, OnceLock,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};

/// Somebody registered an observer.
const OBSERVED: u64 = 1;
/// Cancellation was asked for; the reason is set.
const CANCELLED: u64 = 1 << 1;
/// The token fired: the code inside sees the cancellation.
const FIRED: u64 = 1 << 2;
/// The execution may outlive this job's caller: whoever shares it fires the token.
const SHARED: u64 = 1 << 3;
/// The first place for a Cancel layer's waker is taken.
const WATCHED: u64 = 1 << 4;
/// A gate holds the call back; it has not started.
const HELD: u64 = 1 << 5;
/// `Started` was recorded.
const STARTED: u64 = 1 << 6;
/// The job is over.
const ENDED: u64 = 1 << 7;
/// The second one is taken, perhaps by a layer in a task of its own.
const WATCHED_AGAIN: u64 = 1 << 8;
/// There may be children to let go of.
const HAS_CHILDREN: u64 = 1 << 9;
/// Every call that a Cancel layer has in hand has its result: it is too late to cancel, unless another call follows.
const DECIDED: u64 = 1 << 10;
/// The work runs in a task of its own, which alone knows when it started.
const ELSEWHERE: u64 = 1 << 11;
/// Somebody asks when the job was last active.
const TIMED: u64 = 1 << 12;
/// No attempt runs: the next one is waited for.
const RESTING: u64 = 1 << 13;
/// Somebody waits for the end.
const AWAITED: u64 = 1 << 14;
/// tracing's sink is registered. It counts as an observer once tracing has a listener.
const TRACED: u64 = 1 << 15;
/// `STARTED` was recorded before anybody watched, so that nobody tells it.
const START_UNHEARD: u64 = 1 << 16;

/// A retry inside gave up for the retries around it too.
const NO_RETRIES: u64 = 1 << 17;

/// One call that a Cancel layer has in hand, undecided. They are counted above the flags, so that the last of them and a
/// cancellation decide in one step which of the two comes too late.
const CALL: u64 = 1 << 32;

/// How many tracking layers of one stack are remembered, so that a repeated call finds its job.
const MEMBERS: usize = 6;

pub(crate) struct Core {
    id: JobId,
    /// Set when the job begins, or else by the first layer that names it before it starts.
    name: OnceLock<JobName>,
    parent: Option<JobId>,
    born: Instant,
    flags: AtomicU64,
    attempt: AtomicU32,
    /// Nanoseconds; `u64::MAX` is none.
    step_limit: AtomicU64,
    /// Nanoseconds from `born` to the last sign of life, written only if `TIMED` is set; `u64::MAX` is a wait before
    /// the next attempt.
    activity: AtomicU64,
    /// The identities of the layers that joined; 0 is free.
    members: [AtomicU32; MEMBERS],
    /// Wake the first two Cancel layers that joined; those of further ones are in the state.
    wakers: [AtomicWaker; 2],
    /// Made only when somebody waits for the cancellation.
    token: OnceLock<CancellationToken>,
    tell: Tell,
    state: Mutex<State>,
}

/// Runs an observer apart from the call in the middle of which it is told.
pub(crate) type Tell = fn(&mut dyn FnMut());

/// Whose code began a job.
pub(crate) enum Origin {
    Nobody,
    /// This job's, whose cancellation reaches the new one, as does the halt of the code that began it.
    Parent {
        parent: Arc<Core>,
        within: Option<Arc<Halt>>,
    },
    /// This job's, which is named, and no more: nothing that happens to it reaches the new one.
    Apart(JobId),
}

struct State {
    stream: Stream,
    steps: Steps,
    kin: Kin,
    /// The job around the stack, until the root of that takes this one over.
    around: Option<Arc<Core>>,
    reason: Option<CancelReason>,
    /// What the panic of a joined execution said, which the error that the caller gets may not say.
    panic: Option<Arc<str>>,
    /// The work was dropped where it stood.
    dropped: bool,
    /// How many of the layers of the stack share the execution.
    shares: u32,
    /// The overall limit of a shared execution expired: the token fires when the execution is over.
    expired: bool,
    /// Does this job's work; kept only if `TIMED` is set.
    followed: Option<Weak<Core>>,
    /// How many executions of other jobs this one waits for.
    follows: usize,
    /// Made only for a job whose execution may be joined.
    followers: Option<Box<Followers>>,
    children: Option<Children>,
    wakers: Vec<Arc<AtomicWaker>>,
    detached: Option<Box<Detached>>,
    /// Dropped when the job is over; kept only if `AWAITED` is set.
    awaiting: Vec<Awaiting>,
}

impl Core {
    /// A new job. `tell` runs its observers.
    pub(crate) fn new(name: JobName, origin: Origin, tell: Tell) -> Arc<Self> {
        match origin {
            Origin::Nobody => Self::make(name, None, Kin::default(), tell),
            Origin::Apart(begun_by) => Self::make(name, Some(begun_by), Kin::default(), tell),
            Origin::Parent { parent, within } => {
                let kin = Kin {
                    parent: Arc::downgrade(&parent),
                    within: within.clone(),
                };
                let core = Self::make(name, Some(parent.id), kin, tell);
                core.be_timed_for(&parent);
                core.join_family(parent, within);
                core
            }
        }
    }

    fn make(name: JobName, begun_by: Option<JobId>, kin: Kin, tell: Tell) -> Arc<Self> {
        let given = OnceLock::new();
        if !name.is_empty() {
            let _unset = given.set(name);
        }
        Arc::new(Self {
            id: JobId::next(),
            name: given,
            parent: begun_by,
            born: Instant::now(),
            flags: AtomicU64::new(0),
            attempt: AtomicU32::new(1),
            step_limit: AtomicU64::new(u64::MAX),
            activity: AtomicU64::new(0),
            members: [const { AtomicU32::new(0) }; MEMBERS],
            wakers: [AtomicWaker::new(), AtomicWaker::new()],
            token: OnceLock::new(),
            tell,
            state: Mutex::new(State {
                stream: Stream::new(),
                steps: Steps::default(),
                kin,
                around: None,
                reason: None,
                panic: None,
                dropped: false,
                shares: 0,
                expired: false,
                followed: None,
                follows: 0,
                followers: None,
                children: None,
                wakers: Vec::new(),
                detached: None,
                awaiting: Vec::new(),
            }),
        })
    }

    pub(crate) fn id(&self) -> JobId {
        self.id
    }

    pub(crate) fn name(&self) -> &JobName {
        static NONE: JobName = JobName::EMPTY;
        self.name.get().unwrap_or(&NONE)
    }

    /// Whether a layer may still name the job: it has no name, and none of its code has run.
    pub(crate) fn is_nameable(&self) -> bool {
        self.name.get().is_none() && !self.has(STARTED | ENDED)
    }

    pub(crate) fn is_over(&self) -> bool {
        self.has(ENDED)
    }

    /// How long ago the job began.
    pub(crate) fn age(&self) -> Duration {
        Instant::now().saturating_duration_since(self.born)
    }

    pub(crate) fn parent_id(&self) -> Option<JobId> {
        self.parent
    }

    /// Remembers the job around the stack for the root that takes this one over.
    pub(crate) fn set_around(&self, around: Option<Arc<Core>>) {
        self.state().around = around;
    }

    pub(crate) fn take_around(&self) -> Option<Arc<Core>> {
        self.state().around.take()
    }

    fn has(&self, flag: u64) -> bool {
        self.flags.load(Ordering::Acquire) & flag != 0
    }

    fn set(&self, flag: u64) -> bool {
        self.flags.fetch_or(flag, Ordering::AcqRel) & flag != 0
    }

    fn clear(&self, flag: u64) {
        self.flags.fetch_and(!flag, Ordering::AcqRel);
    }

    // No user code runs under this lock, so a poisoned one holds a sound state.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // ===== attempt =====

    pub(crate) fn attempt(&self) -> u32 {
        self.attempt.load(Ordering::Relaxed)
    }

    pub(crate) fn set_attempt(&self, attempt: u32) {
        self.attempt.store(attempt, Ordering::Relaxed);
        // Each attempt goes through its steps anew.
        self.state().steps.start_anew();
        self.touch();
    }

    /// Keeps the shortest.
    pub(crate) fn set_step_limit(&self, limit: Option<Duration>) {
        if let Some(limit) = limit {
            self.step_limit.fetch_min(nanos(limit), Ordering::Relaxed);
        }
    }

    pub(crate) fn step_limit(&self) -> Option<Duration> {
        match self.step_limit.load(Ordering::Relaxed) {
            u64::MAX => None,
            nanos => Some(Duration::from_nanos(nanos)),
        }
    }

    /// No retry of this job, nor of those whose code began it, is to make another attempt.
    pub(crate) fn forbid_retries(&self) {
        self.set(NO_RETRIES);
        let mut around = self.parent();
        while let Some(job) = around {
            job.set(NO_RETRIES);
            around = job.parent();
        }
    }

    pub(crate) fn retries_forbidden(&self) -> bool {
        self.has(NO_RETRIES)
    }

    // ===== membership =====

    /// Remembers that the layer of this identity belongs to the job's stack.
    #[inline]
    pub(crate) fn add_member(&self, layer: u32) {
        for member in &self.members {
            match member.compare_exchange(0, layer, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(known) if known == layer => return,
                Err(_) => {}
            }
        }
    }

    pub(crate) fn has_member(&self, layer: u32) -> bool {
        !self.has(ENDED)
            && self
                .members
                .iter()
                .any(|member| member.load(Ordering::Relaxed) == layer)
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job")
            .field("id", &self.id)
            .field("name", self.name())
            .field("attempt", &self.attempt())
            .field("cancelled", &self.cancel_requested())
            .field("ended", &self.has(ENDED))
            .finish_non_exhaustive()
    }
}
