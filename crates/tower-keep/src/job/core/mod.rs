//! What a tracked job consists of, shared by its handles. It reads nothing that is ambient.
//!
//! # Invariants
//!
//! 1. `Ended` is set once, by the thread that then shows the end on the boards and queues the one terminal event, if the job
//!    has an observer. Only the end of the job's last attempt is queued with it, before it. No other event is queued once it
//!    is set: those are queued under the lock, and so is it set where there is an observer.
//! 2. Events are delivered in the order of their sequence numbers, one at a time, by the thread that set `Delivering`, which
//!    takes the lock; the lock is never held while an observer runs. A thread that finds `Delivering` set leaves its event in
//!    the queue and sets `Queued`, under the lock. The delivering thread clears its flag, in one step, only while `Queued` is
//!    not set; so it sees that, or the other thread sees that it is done, and delivers what it queued.
//! 3. `Fired` is set under the lock of the job, as is the registration of a child, so that a child either is found by
//!    the firing thread or sees its parent fired.
//!
//! Lock order: a job's lock is a leaf. No second job's lock, token or waker is touched while one is held.

mod activity;
mod attempts;
mod boards;
mod cancel;
pub(crate) mod details;
pub(crate) mod ending;
mod event_delivery;
mod external_id;
pub(crate) mod family;
mod flags;
pub(crate) mod followers;
pub(crate) mod rate;
pub(crate) mod sharing;
pub(crate) mod steps;
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
    ending::{Awaiting, Detached},
    event_delivery::{EventQueue, Target},
    family::Children,
    flags::{AtomicFlags, Flag, Flags},
    followers::{Followed, Followers},
    steps::Steps,
};
pub(crate) use self::{cancel::By, ending::Ending, watcher::Watcher};
use super::{
    stop_signal::StopSignal,
    table::{Shard, own_shard},
};
use crate::{
    event::{CancelReason, Event, JobId, JobName, Observer},
    sync::{
        AtomicWaker, CancellationToken, Mutex, MutexGuard, OnceLock,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};

pub(crate) struct Core {
    id: JobId,
    /// Set when the job begins, or else by the first layer that names it before it starts.
    name: OnceLock<JobName>,
    parent: Option<JobId>,
    born: Instant,
    pub(crate) flags: AtomicFlags,
    attempt: AtomicU32,
    /// Nanoseconds from the beginning to the call of the service for this attempt.
    attempt_at: AtomicU64,
    /// Nanoseconds from the beginning to the start, and one; 0 where nobody took the time.
    started_at: AtomicU64,
    /// Which shard of each table has the job.
    home: u8,
    /// Where the job is shown since it began, or since later. Further boards are in the rare part.
    born_on: Option<Arc<Shard>>,
    board: OnceLock<Arc<Shard>>,
    /// The observer that it began with, and the next, set under the lock. Further ones are in the rare part.
    first: Option<Arc<dyn Observer>>,
    second: OnceLock<Arc<dyn Observer>>,
    pub(super) members: Members,
    activity: Activity,
    /// Wakes the first Cancel layer that joined.
    waker: AtomicWaker,
    tell: Tell,
    state: Mutex<State>,
}

/// Runs observers and wakes readers apart from the call in the middle of which an event happens.
pub(crate) type Tell = fn(&mut dyn FnMut());

/// Whose code began a job.
pub(crate) enum Origin {
    Nobody,
    /// This job's, whose cancellation reaches the new one, as does the signal of the code that began it.
    Parent {
        parent: Arc<Core>,
        within: Option<Arc<StopSignal>>,
    },
    /// This job's, which is named, and no more: nothing that happens to it reaches the new one.
    Apart(JobId),
}

/// What most jobs use.
struct State {
    stream: EventQueue,
    /// The job that this one works for.
    parent: Weak<Core>,
    rare: Option<Box<Rare>>,
    /// Shared with what was seen of it last, and with how the job ended.
    shown: Option<Arc<Details>>,
    /// The executions of other jobs that this one waits for.
    follows: Option<Box<Followed>>,
    /// How many of the layers of the stack share the execution.
    shares: u16,
    /// Of the first board. Those of further boards are in the rare part.
    reading: Reading,
    /// Which of the first observers write to tracing, a bit for each.
    traced: u8,
}

/// What few jobs use, in one allocation that the first use makes.
#[derive(Default)]
struct Rare {
    /// Why the job was cancelled, if it was.
    reason: Option<CancelReason>,
    /// Made when somebody waits for the cancellation.
    token: Option<CancellationToken>,
    steps: Steps,
    step_limit: Option<Duration>,
    /// Those beyond the first.
    observers: Vec<Arc<dyn Observer>>,
    boards: Vec<(Arc<Shard>, Reading)>,
    /// Events that came while another was being delivered.
    queue: VecDeque<(Event, Target)>,
    /// What may stop the code of the parent that began this job.
    within: Option<Arc<StopSignal>>,
    /// The job around the stack, until the owner of the stack takes this one over.
    around: Option<Arc<Core>>,
    children: Children,
    followers: Followers,
    /// Of the further Cancel layers.
    wakers: Vec<Arc<AtomicWaker>>,
    detached: Option<Detached>,
    /// What the panic of a joined execution said, which the error that the caller gets may not say.
    panic: Option<Arc<str>>,
    /// Dropped when the job is over.
    awaiting: Vec<Awaiting>,
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

    /// Where the code of a parent has no signal, nothing is kept.
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
    /// A new job. `tell` runs its observers.
    pub(crate) fn new(name: JobName, origin: Origin, tell: Tell) -> Arc<Self> {
        Self::begin(name, origin, Instant::now(), tell, Watcher::Nothing)
    }

    /// A new job, of which this learns from its beginning on.
    pub(crate) fn begin(
        name: JobName,
        origin: Origin,
        born: Instant,
        tell: Tell,
        watcher: Watcher<'_>,
    ) -> Arc<Self> {
        let home = own_shard();
        let (mut first, mut born_on, mut flag, mut traced) = (None, None, None, 0);
        match watcher {
            Watcher::Nothing => {}
            Watcher::Observer {
                observer,
                traced: is_traced,
            } => {
                first = Some(Arc::clone(observer));
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
            members: Members::new(),
            activity: Activity::new(),
            waker: AtomicWaker::new(),
            tell,
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
            core.tell_dispatched();
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

    /// Runs code of the user's, which an event is about to wake, apart from the call in the middle of which that happens.
    pub(crate) fn apart(&self, run: &mut dyn FnMut()) {
        (self.tell)(run);
    }

    /// What the job is doing.
    #[inline(always)]
    pub(crate) fn state(&self) -> Flags {
        self.flags.load()
    }

    /// How long ago the job began.
    pub(crate) fn age(&self) -> Duration {
        Instant::now().saturating_duration_since(self.born)
    }

    pub(crate) fn parent_id(&self) -> Option<JobId> {
        self.parent
    }

    /// Keeps the job around the stack for the owner that takes this one over, or hands it out.
    pub(crate) fn replace_around(&self, around: Option<Arc<Self>>) -> Option<Arc<Self>> {
        let mut job = self.lock();
        match &mut job.rare {
            Some(rare) => mem::replace(&mut rare.around, around),
            None if around.is_some() => mem::replace(&mut job.rare().around, around),
            None => None,
        }
    }

    // No user code runs under this lock, so a poisoned one holds a sound state.
    fn lock(&self) -> Locked<'_> {
        Locked {
            core: self,
            state: self.state.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }

    // ===== activity =====

    /// From now on every sign of life is noted.
    pub(crate) fn be_timed(&self) {
        self.activity.be_timed();
        drop(self.claim_reports());
    }

    /// The job goes on: it reported, or a step or an attempt began or ended.
    #[inline]
    pub(crate) fn touch(&self) {
        if self.activity.is_timed() {
            family::touch(self);
        }
    }

    /// The last sign of life; `None` while the job waits for its next attempt.
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

/// As many as fit.
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

/// How many tracking layers of one stack are remembered, so that a repeated call finds its job.
const MEMBERS: usize = 6;

/// The identities of the layers that joined; 0 is free.
pub(super) struct Members([AtomicU32; MEMBERS]);

impl Members {
    fn new() -> Self {
        Self([const { AtomicU32::new(0) }; MEMBERS])
    }

    /// Remembers that the layer of this identity belongs to the job's stack.
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

    /// What each running job costs, what a board shows of most jobs included.
    #[test]
    fn a_job_is_small() {
        assert!(size_of::<Core>() <= 288, "{} bytes", size_of::<Core>());
    }
}
