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
use super::{halt, limits};
use crate::{
    event::{CancelReason, JobId, JobName},
    sync::{
        AtomicWaker, CancellationToken, Mutex, MutexGuard, OnceLock,
        atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering},
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

/// One call that a Cancel layer has in hand, undecided. They are counted above the flags, so that the last of them and a
/// cancellation decide in one step which of the two comes too late.
const CALL: u64 = 1 << 32;

/// How many tracking layers of one stack are remembered, so that a repeated call finds its job.
const MEMBERS: usize = 6;

pub(crate) struct Core {
    id: JobId,
    name: JobName,
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
    members: [AtomicUsize; MEMBERS],
    /// Wake the first two Cancel layers that joined; those of further ones are in the state.
    wakers: [AtomicWaker; 2],
    /// Made only when somebody waits for the cancellation.
    token: OnceLock<CancellationToken>,
    state: Mutex<State>,
}

struct State {
    stream: Stream,
    steps: Steps,
    kin: Kin,
    /// The job around the stack, until the root of that takes this one over.
    around: Option<Arc<Core>>,
    reason: Option<CancelReason>,
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
    /// A new job, whose parent's cancellation reaches it.
    pub(crate) fn new(name: JobName, parent: Option<Arc<Core>>) -> Arc<Self> {
        let Some(parent) = parent else {
            return Self::make(name, None, Kin::default());
        };
        let within = halt::current_of(parent.id);
        let kin = Kin {
            parent: Arc::downgrade(&parent),
            within: within.clone(),
        };
        let core = Self::make(name, Some(parent.id), kin);
        core.be_timed_for(&parent);
        core.join_family(parent, within);
        core
    }

    /// A new job that names the one whose code began it, and is not reached by anything that happens to that.
    pub(crate) fn apart(name: JobName, begun_by: Option<JobId>) -> Arc<Self> {
        Self::make(name, begun_by, Kin::default())
    }

    fn make(name: JobName, begun_by: Option<JobId>, kin: Kin) -> Arc<Self> {
        Arc::new(Self {
            id: JobId::next(),
            name,
            parent: begun_by,
            born: Instant::now(),
            flags: AtomicU64::new(0),
            attempt: AtomicU32::new(1),
            step_limit: AtomicU64::new(u64::MAX),
            activity: AtomicU64::new(0),
            members: [const { AtomicUsize::new(0) }; MEMBERS],
            wakers: [AtomicWaker::new(), AtomicWaker::new()],
            token: OnceLock::new(),
            state: Mutex::new(State {
                stream: Stream::new(),
                steps: Steps::default(),
                kin,
                around: None,
                reason: None,
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
        &self.name
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

    // ===== attempt, deadline =====

    pub(crate) fn attempt(&self) -> u32 {
        self.attempt.load(Ordering::Relaxed)
    }

    pub(crate) fn set_attempt(&self, attempt: u32) {
        self.attempt.store(attempt, Ordering::Relaxed);
        // Each attempt goes through its steps anew.
        self.state().steps.start_anew();
        self.touch();
    }

    /// When the code that runs now, in this job, is to be over: the nearest of the limits around it.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        limits::nearest_in_force()
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

    // ===== membership =====

    /// Remembers that the layer of this identity belongs to the job's stack.
    #[inline]
    pub(crate) fn add_member(&self, layer: usize) {
        for member in &self.members {
            match member.compare_exchange(0, layer, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(known) if known == layer => return,
                Err(_) => {}
            }
        }
    }

    pub(crate) fn has_member(&self, layer: usize) -> bool {
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
            .field("name", &self.name)
            .field("attempt", &self.attempt())
            .field("cancelled", &self.cancel_requested())
            .field("ended", &self.has(ENDED))
            .finish_non_exhaustive()
    }
}
