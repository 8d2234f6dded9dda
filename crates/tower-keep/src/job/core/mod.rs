//! The state of a tracked job, shared by its handles. It reads no ambient state.
//!
//! # Invariants
//!
//! 1. One thread sets `Ended`, once. That thread then shows the end on the boards, and queues the
//!    terminal event if the job has an observer. Only the end of the last attempt may be queued
//!    with it, before it. No event is queued after `Ended`: events are queued under the lock, and
//!    with an observer `Ended` is set under the lock too.
//! 2. Events are delivered in the order of their sequence numbers, one at a time. The delivering
//!    thread sets `Delivering` under the lock, and never holds the lock while an observer runs. A
//!    thread that finds `Delivering` set queues its event and sets `Queued`, under the lock. The
//!    delivering thread clears `Delivering` in one step, and only if `Queued` is not set. So either
//!    it sees `Queued`, or the other thread sees that it is done and delivers the event itself.
//! 3. `Fired` is set, and a child is registered, under the job's lock. So a child is either found
//!    by the firing thread, or sees that its parent fired.
//!
//! Lock order: a job's lock is a leaf. While it is held, no other job's lock, token or waker is
//! touched.

mod activity;
mod attempts;
mod boards;
mod cancel;
pub(crate) mod details;
pub(crate) mod ending;
mod event_delivery;
mod exchange;
mod external_id;
pub(crate) mod family;
mod flags;
pub(crate) mod followers;
pub(crate) mod rate;
pub(crate) mod sharing;
pub(crate) mod steps;
#[cfg(all(feature = "http", feature = "progress"))]
pub(crate) mod uploads;
pub(crate) mod wakers;
mod watcher;

use std::{
    collections::VecDeque,
    fmt, mem,
    ops::{Deref, DerefMut},
    sync::{Arc, PoisonError, Weak},
    time::Duration,
};

use tokio::time::Instant;

use self::{
    activity::Activity,
    boards::Reading,
    details::Details,
    ending::{Awaiting, DetachedTasks},
    event_delivery::{EventQueue, Target},
    family::Children,
    flags::{AtomicFlags, Flag, Flags},
    followers::{Followed, Followers},
    steps::Steps,
};
pub(crate) use self::{cancel::By, ending::Ending, event_delivery::listens, watcher::Watcher};
use super::{
    stop_signal::StopSignal,
    table::{Shard, own_shard},
};
use crate::{
    event::{CancelReason, Event, Exchange, JobId, JobName, Observer},
    sync::{
        AtomicWaker, CancellationToken, Mutex, MutexGuard, OnceLock,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};

pub(crate) struct Core {
    id: JobId,
    /// Set when the job begins, or by the first layer that names it before it starts.
    name: OnceLock<JobName>,
    parent: Option<JobId>,
    born: Instant,
    pub(crate) flags: AtomicFlags,
    attempt: AtomicU32,
    /// Nanoseconds from the beginning to the service call of this attempt.
    attempt_at: AtomicU64,
    /// Nanoseconds from the beginning to the start, plus one. 0 if no time was recorded.
    started_at: AtomicU64,
    /// The index of the job's shard in each table.
    home: u8,
    /// The board that has shown the job since it began, or since later. Further boards are in
    /// `rare`.
    born_on: Option<Arc<Shard>>,
    board: OnceLock<Arc<Shard>>,
    /// The first observer, and the second, which is set under the lock. Further observers are in
    /// `rare`.
    first: Option<Arc<dyn Observer>>,
    second: OnceLock<Arc<dyn Observer>>,
    pub(super) members: MemberSet,
    activity: Activity,
    #[cfg(all(feature = "http", feature = "progress"))]
    uploads: uploads::Uploads,
    /// The waker of the first Cancel layer that joined.
    waker: AtomicWaker,
    run_apart: RunApart,
    state: Mutex<State>,
}

/// Runs observers and wakes readers apart from the call that caused the event.
pub(crate) type RunApart = fn(&mut dyn FnMut());

/// The job whose code began a new job.
pub(crate) enum Origin {
    Nobody,
    /// The parent. Its cancellation reaches the new job, and so does the signal of the code that
    /// began it.
    Parent {
        parent: Arc<Core>,
        within: Option<Arc<StopSignal>>,
    },
    /// Named as the parent only: nothing that happens to it reaches the new job.
    Apart(JobId),
}

/// State that most jobs use.
struct State {
    stream: EventQueue,
    /// The parent.
    parent: Weak<Core>,
    rare: Option<Box<Rare>>,
    /// Shared with the last view, and with the job's ending.
    shown: Option<Arc<Details>>,
    /// The leaders' executions that this job waits for.
    follows: Option<Box<Followed>>,
    /// The number of this stack's layers that share the execution.
    shares: u16,
    /// For the first board. Further boards have theirs in `rare`.
    reading: Reading,
    /// A bit for each of the first observers: set if it writes to tracing.
    traced: u8,
}

/// State that few jobs use, allocated on first use.
#[derive(Default)]
struct Rare {
    /// Why the job was cancelled.
    reason: Option<CancelReason>,
    /// Created for the first waiter.
    token: Option<CancellationToken>,
    steps: Steps,
    step_limit: Option<Duration>,
    /// The observers after the first ones.
    observers: Vec<Arc<dyn Observer>>,
    boards: Vec<(Arc<Shard>, Reading)>,
    /// Events that arrived during a delivery.
    queue: VecDeque<(Event, Target)>,
    /// The signal that may stop the parent's code which began this job.
    within: Option<Arc<StopSignal>>,
    /// The job around the stack, until the stack's owner adopts this job.
    outer: Option<Arc<Core>>,
    children: Children,
    followers: Followers,
    /// The wakers of further Cancel layers.
    wakers: Vec<Arc<AtomicWaker>>,
    detached: Option<DetachedTasks>,
    /// The panic message of a joined execution; the caller's error may not contain it.
    panic: Option<Arc<str>>,
    /// Dropped at the end of the job.
    awaiting: Vec<Awaiting>,
    exchange: Option<Exchange>,
}

impl State {
    fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    fn reason(&self) -> Option<CancelReason> {
        self.rare.as_ref()?.reason.clone()
    }

    fn within(&self) -> Option<&Arc<StopSignal>> {
        self.rare.as_ref()?.within.as_ref()
    }

    /// If the parent's code has no signal, nothing is stored.
    fn set_parent(&mut self, parent: Option<&Arc<Core>>, within: Option<Arc<StopSignal>>) {
        self.parent = parent.map_or_else(Weak::new, Arc::downgrade);
        if within.is_some() || self.rare.is_some() {
            self.rare().within = within;
        }
    }
}

/// A job with its lock held.
struct Locked<'a> {
    core: &'a Core,
    state: MutexGuard<'a, State>,
}

impl Deref for Locked<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        &self.state
    }
}

impl DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut State {
        &mut self.state
    }
}

impl Core {
    /// Creates a job. `run_apart` runs its observers.
    pub(crate) fn new(name: JobName, origin: Origin, run_apart: RunApart) -> Arc<Self> {
        Self::begin(name, origin, Instant::now(), run_apart, Watcher::Nothing)
    }

    /// Creates a job with this watcher from its beginning.
    pub(crate) fn begin(
        name: JobName,
        origin: Origin,
        born: Instant,
        run_apart: RunApart,
        watcher: Watcher<'_>,
    ) -> Arc<Self> {
        let home = own_shard();
        let (mut first, mut born_on, mut flag, mut traced) = (None, None, None, 0);
        let mut begun = None;
        match watcher {
            Watcher::Nothing => {}
            Watcher::Observer {
                observer,
                traced: is_traced,
                exchange,
            } => {
                first = Some(Arc::clone(observer));
                begun = exchange;
                traced = u8::from(is_traced);
                flag = Some(Flag::of_observer(is_traced));
            }
            Watcher::Board(table) => {
                born_on = table.shard_to_show(home).cloned();
                flag = born_on.is_some().then_some(Flag::OnBoard);
            }
        }
        let given = OnceLock::new();
        if !name.is_empty() {
            let _unset = given.set(name);
        }
        let begun_by = match &origin {
            Origin::Nobody => None,
            Origin::Parent { parent, .. } => Some(parent.id),
            Origin::Apart(begun_by) => Some(*begun_by),
        };
        let core = Arc::new(Self {
            id: JobId::next(),
            name: given,
            parent: begun_by,
            born,
            flags: AtomicFlags::new(flag),
            attempt: AtomicU32::new(1),
            attempt_at: AtomicU64::new(0),
            started_at: AtomicU64::new(0),
            home: home as u8,
            born_on,
            board: OnceLock::new(),
            first,
            second: OnceLock::new(),
            members: MemberSet::new(),
            activity: Activity::new(),
            #[cfg(all(feature = "http", feature = "progress"))]
            uploads: uploads::Uploads::new(),
            waker: AtomicWaker::new(),
            run_apart,
            state: Mutex::new(State {
                stream: EventQueue::new(),
                parent: Weak::new(),
                rare: None,
                shown: None,
                follows: None,
                shares: 0,
                reading: Reading::default(),
                traced,
            }),
        });
        if let Origin::Parent { parent, within } = origin {
            core.lock().set_parent(Some(&parent), within.clone());
            core.activity.be_timed_as(&parent.activity);
            family::join(&core, parent, within);
        }
        if flag == Some(Flag::Observed) {
            begun
                .into_iter()
                .for_each(|begun| core.begin_exchange(begun));
            core.send_dispatched();
        }
        if let Some(shard) = &core.born_on {
            shard.show(&core);
        }
        core
    }

    pub(crate) fn born(&self) -> Instant {
        self.born
    }

    pub(crate) fn id(&self) -> JobId {
        self.id
    }

    #[inline]
    pub(crate) fn home(&self) -> usize {
        usize::from(self.home)
    }

    pub(crate) fn name(&self) -> &JobName {
        static NONE: JobName = JobName::EMPTY;
        self.name.get().unwrap_or(&NONE)
    }

    /// Runs user code that an event is about to wake, apart from the call that caused the event.
    pub(crate) fn apart(&self, run: &mut dyn FnMut()) {
        (self.run_apart)(run);
    }

    /// The current state of the job.
    #[inline(always)]
    pub(crate) fn state(&self) -> Flags {
        self.flags.load()
    }

    /// Time since the job began.
    pub(crate) fn age(&self) -> Duration {
        Instant::now().saturating_duration_since(self.born)
    }

    pub(crate) fn parent_id(&self) -> Option<JobId> {
        self.parent
    }

    /// Stores the job around the stack for the adopting owner, or takes it back.
    pub(crate) fn replace_outer(&self, outer: Option<Arc<Self>>) -> Option<Arc<Self>> {
        let mut job = self.lock();
        match &mut job.rare {
            Some(rare) => mem::replace(&mut rare.outer, outer),
            None if outer.is_some() => mem::replace(&mut job.rare().outer, outer),
            None => None,
        }
    }

    // No user code runs under this lock, so the state behind a poisoned lock is sound.
    fn lock(&self) -> Locked<'_> {
        Locked {
            core: self,
            state: self.state.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }

    // ===== activity =====

    /// Records activity of this job from now on.
    pub(crate) fn be_timed(&self) {
        self.activity.be_timed();
        drop(self.claim_reports());
    }

    /// Records activity: a report, or the beginning or end of a step or an attempt.
    #[inline]
    pub(crate) fn touch(&self) {
        if self.activity.is_timed() {
            family::touch(self);
        }
    }

    /// The time of the last activity; `None` during backoff.
    pub(crate) fn last_activity(&self) -> Option<Instant> {
        let active = |job: &Self| Some(job.born + job.activity.since_born()?);
        let own = active(self)?;
        let work = self.lock().work();
        let work = work.into_iter().next().and_then(|(work, _)| work.upgrade());
        match work.filter(|work| work.activity.is_timed()) {
            Some(work) => active(&work).map(|other| other.max(own)),
            None => Some(own),
        }
    }
}

/// Saturating conversion to nanoseconds.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job")
            .field("id", &self.id)
            .field("name", self.name())
            .field("external_id", &self.external_id())
            .field("attempt", &self.attempt())
            .field("cancelled", &self.state().is_cancelled())
            .field("ended", &self.state().is_over())
            .finish_non_exhaustive()
    }
}

/// The number of tracking layers remembered per stack, so that a repeated call finds its job.
const MEMBERS: usize = 6;

/// The ids of the layers that joined; 0 is a free slot.
pub(super) struct MemberSet([AtomicU32; MEMBERS]);

impl MemberSet {
    fn new() -> Self {
        Self([const { AtomicU32::new(0) }; MEMBERS])
    }

    /// Remembers that this layer belongs to the job's stack.
    #[inline]
    pub(super) fn add(&self, layer: u32) {
        for member in &self.0 {
            match member.compare_exchange(0, layer, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(known) if known == layer => return,
                Err(_) => {}
            }
        }
    }

    pub(super) fn has(&self, layer: u32) -> bool {
        (self.0.iter()).any(|member| member.load(Ordering::Relaxed) == layer)
    }
}

#[cfg(all(test, target_pointer_width = "64"))]
mod tests {
    use super::*;

    /// The memory of a running job, including its facts for boards in the common case.
    #[test]
    fn a_job_is_small() {
        assert!(size_of::<Core>() <= 288, "{} bytes", size_of::<Core>());
    }
}
