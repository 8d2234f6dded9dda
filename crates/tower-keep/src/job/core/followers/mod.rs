//! Followers: jobs that wait for this job's execution, and get its reports and activity. Unwatched
//! followers read the last reports on request, or at the end of the execution. Watched followers
//! get each report in order.

use std::{
    collections::{BTreeMap, VecDeque},
    mem,
    sync::{Arc, Weak},
};

use tokio::time::Instant;

use super::{Core, Locked, Rare, family, rate::Rate};
use crate::{
    event::{EventKind, JobId, StepInfo},
    tracing_enabled::tracing_listens,
};

/// The followers of a job with a shared execution. Like events, reports are forwarded by one thread
/// at a time, without a lock. Another thread queues its reports.
#[derive(Default)]
pub(super) struct Followers {
    /// In the order in which they were dispatched.
    jobs: BTreeMap<JobId, Follower>,
    /// The last report of each kind, for later followers, the older one first.
    last: Vec<LeaderReport>,
    /// The rate of the reported amount.
    rate: Rate,
    /// The number of reports.
    reports: u64,
    queue: VecDeque<(LeaderReport, Recipients, u8)>,
    forwarding: bool,
    /// The number of executions before this one.
    execution: u64,
    /// Whether a follower gets each report at once.
    heard: bool,
}

/// A leader's report, and the step of the leader that it belongs to.
#[derive(Clone)]
pub(super) struct LeaderReport {
    pub(super) kind: EventKind,
    pub(super) step: Option<StepInfo>,
    pub(super) at: Instant,
    /// The rate at that time, for readers that know only the last report.
    pub(super) rate: Rate,
}

/// Reports that the followers of a finished execution may not have read.
#[must_use]
pub(super) struct Unread {
    jobs: BTreeMap<JobId, Follower>,
    reports: Vec<LeaderReport>,
}

impl Unread {
    /// Call this without holding a lock.
    pub(super) fn deliver(self) {
        if self.reports.is_empty() {
            return;
        }
        let jobs = self.jobs.values();
        for job in jobs.filter_map(|follower| follower.job.upgrade()) {
            let mut job = job.lock();
            if job.core.state().is_shared() {
                // The job's own followers read it there.
                let (followers, reports) = (&mut job.rare().followers, self.reports.iter());
                reports.for_each(|report| followers.remember(report));
            }
            job.absorb(&self.reports);
        }
    }
}

/// These may be the last handles to jobs and thus to their observers. Drop them without a lock.
pub(crate) type Handles = Vec<Arc<Core>>;

/// A leader's execution that a job waits for, and further ones.
pub(super) struct Followed {
    work: Weak<Core>,
    execution: u64,
    next: Option<Box<Followed>>,
}

struct Follower {
    job: Weak<Core>,
    /// The number of reports before it joined: it gets only the last of those.
    since: u64,
    /// A job may join several times at once.
    joins: usize,
}

enum Recipients {
    /// Followers that joined before this report.
    Before(u64),
    /// A follower that joined later.
    Only(JobId),
}

/// The maximum number of hops of a report through followers of followers. It bounds jobs that
/// follow each other in a circle.
pub(super) const MAX_HOPS: u8 = 8;

impl Followers {
    fn leave(&mut self, job: JobId, execution: u64) {
        if self.execution != execution {
            return;
        }
        if let Some(follower) = self.jobs.get_mut(&job) {
            follower.joins -= 1;
            if follower.joins == 0 {
                self.jobs.remove(&job);
            }
        }
    }

    /// Ends the execution: reports and followers do not leak into the next one. Returns what its
    /// followers may not have read.
    pub(super) fn forget(&mut self) -> Unread {
        self.heard = false;
        self.rate = Rate::default();
        self.execution += 1;
        let (jobs, reports) = (mem::take(&mut self.jobs), mem::take(&mut self.last));
        Unread { jobs, reports }
    }

    fn remember(&mut self, report: &LeaderReport) {
        let kind = mem::discriminant(&report.kind);
        self.last
            .retain(|known| mem::discriminant(&known.kind) != kind);
        self.last.push(report.clone());
    }

    fn whom(&self, whom: &Recipients) -> Vec<Weak<Core>> {
        match whom {
            Recipients::Before(report) => {
                let jobs = self.jobs.values();
                jobs.filter(|follower| follower.since < *report)
                    .map(|follower| follower.job.clone())
                    .collect()
            }
            Recipients::Only(job) => {
                let job = self.jobs.get(job);
                job.map(|follower| follower.job.clone())
                    .into_iter()
                    .collect()
            }
        }
    }
}

/// This job follows a leader, until this is dropped.
pub(crate) struct Following {
    job: Arc<Core>,
    work: Weak<Core>,
    execution: u64,
}

impl Following {
    /// Subscribes this job to the leader's reports and activity. The last report is delivered at
    /// once. `None` if the leader is this job, or its execution is over.
    pub(crate) fn new(job: Arc<Core>, other: Weak<Core>) -> Option<Self> {
        let work = other.upgrade().filter(|work| !Arc::ptr_eq(&job, work))?;
        let closely = job.is_followed_closely();
        let execution = work.lock().adopt_follower(&job, closely)?;
        {
            let mut job = job.lock();
            let next = job.follows.take();
            job.follows = Some(Box::new(Followed {
                work: other.clone(),
                execution,
                next,
            }));
        }
        if job.activity.is_timed() {
            family::time_with_children(&work);
        }
        // The job may have got a reader meanwhile.
        if closely || job.is_followed_closely() {
            drop(job.claim_reports());
        }
        let following = Self {
            job,
            work: other,
            execution,
        };
        if closely {
            forward(&work);
        }
        Some(following)
    }
}

impl Core {
    /// Whether each report must reach this job at once, for itself or for a follower.
    fn is_followed_closely(&self) -> bool {
        let is_heard = |rare: &Rare| rare.followers.heard;
        self.follows_closely() || self.lock().rare.as_deref().is_some_and(is_heard)
    }

    /// The leader delivers each report to this job from now on, and the leader's own leader to the
    /// leader.
    pub(super) fn claim_reports(&self) -> Handles {
        let mut handles = Vec::new();
        self.claim(MAX_HOPS, &mut handles);
        handles
    }

    fn claim(&self, hops: u8, handles: &mut Handles) {
        for (work, execution) in self.work(hops) {
            if let Some(work) = work.upgrade() {
                let is_current = {
                    let mut work = work.lock();
                    let followers = &mut work.rare().followers;
                    followers.heard |= followers.execution == execution;
                    followers.execution == execution
                };
                if is_current {
                    work.claim(hops - 1, handles);
                }
                handles.push(work);
            }
        }
    }

    /// The last reports of this job's leaders, and of their leaders in turn, oldest first.
    pub(super) fn reports_of_work(&self) -> (Vec<LeaderReport>, Handles) {
        let (mut reports, mut handles) = (Vec::new(), Vec::new());
        self.add_reports_of_work(MAX_HOPS, &mut reports, &mut handles);
        // Stable: simultaneous reports keep their order.
        reports.sort_by_key(|report| report.at);
        (reports, handles)
    }

    fn add_reports_of_work(
        &self,
        hops: u8,
        reports: &mut Vec<LeaderReport>,
        handles: &mut Handles,
    ) {
        for (work, execution) in self.work(hops) {
            if let Some(work) = work.upgrade() {
                work.add_reports_of_work(hops - 1, reports, handles);
                {
                    let work = work.lock();
                    let followers = work.rare.as_ref().map(|rare| &rare.followers);
                    let current = followers.filter(|followers| followers.execution == execution);
                    reports.extend(current.iter().flat_map(|current| current.last.clone()));
                }
                handles.push(work);
            }
        }
    }

    /// The executions that this job waits for, within this number of hops.
    fn work(&self, hops: u8) -> Vec<(Weak<Self>, u64)> {
        match hops {
            0 => Vec::new(),
            _ => self.lock().work(),
        }
    }
}

impl Locked<'_> {
    /// The executions that this job waits for, the latest first.
    pub(super) fn work(&self) -> Vec<(Weak<Core>, u64)> {
        let of = |followed: &Followed| (followed.work.clone(), followed.execution);
        let first = self.follows.as_deref();
        let all = std::iter::successors(first, |followed| followed.next.as_deref());
        all.map(of).collect()
    }

    /// The attempt that reported the amount is over.
    #[cold]
    pub(super) fn restart_rate(&mut self) {
        if let Some(rare) = &mut self.rare {
            rare.followers.rate = Rate::default();
        }
    }

    /// Returns the number of the execution; `None` if it is over. `closely`: the job gets each
    /// report at once.
    fn adopt_follower(&mut self, job: &Arc<Core>, closely: bool) -> Option<u64> {
        if !self.core.state().is_shared() {
            return None;
        }
        let followers = &mut self.rare().followers;
        let since = followers.reports;
        let follower = followers.jobs.entry(job.id).or_insert_with(|| Follower {
            job: Arc::downgrade(job),
            since,
            joins: 0,
        });
        follower.joins += 1;
        followers.heard |= closely;
        if closely && follower.joins == 1 {
            let last = followers.last.iter();
            let last = last.map(|report| (report.clone(), Recipients::Only(job.id), 0));
            followers.queue.extend(last);
        }
        Some(followers.execution)
    }

    /// Stores a report for the followers, also if this job has ended and its work continues for
    /// them. Returns `false` if no follower needs it [at once](forward).
    #[cold]
    pub(super) fn queue_report(&mut self, mut report: LeaderReport, hops: u8) -> bool {
        let followers = &mut self.rare().followers;
        if let (EventKind::Progress(amount), 0) = (&report.kind, hops) {
            followers.rate.note(amount, report.at);
            report.rate = followers.rate;
        }
        followers.remember(&report);
        followers.reports += 1;
        if followers.jobs.is_empty() || !(followers.heard || tracing_listens()) {
            return false;
        }
        let whom = Recipients::Before(followers.reports);
        followers.queue.push_back((report, whom, hops));
        true
    }
}

/// Forwards the queue. If another thread is forwarding, that thread continues with it.
pub(super) fn forward(work: &Core) {
    let mut locked = work.lock();
    let Some(rare) = &mut locked.rare else {
        return;
    };
    if mem::replace(&mut rare.followers.forwarding, true) {
        return;
    }
    loop {
        let followers = &mut locked.rare().followers;
        let Some((report, whom, hops)) = followers.queue.pop_front() else {
            followers.forwarding = false;
            return;
        };
        let jobs = followers.whom(&whom);
        drop(locked);
        for job in jobs.iter().filter_map(Weak::upgrade) {
            // It may have left while another follower was notified.
            let follows = |rare: &mut Box<Rare>| rare.followers.jobs.contains_key(&job.id);
            if work.lock().rare.as_mut().is_some_and(follows) {
                deliver_report(&job, &report, hops);
            }
        }
        locked = work.lock();
    }
}

/// Delivers a leader's report. The job is held, so the report does not start it.
fn deliver_report(job: &Core, report: &LeaderReport, hops: u8) {
    job.touch();
    let LeaderReport {
        kind, step, rate, ..
    } = report.clone();
    let at = Instant::now();
    let mut locked = job.lock();
    let forwards =
        job.state().is_shared() && hops < MAX_HOPS && locked.queue_report(report.clone(), hops + 1);
    locked.notify_all(kind, at, step, Some(rate));
    if forwards {
        forward(job);
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        if !self.job.follows_closely() {
            drop(self.job.absorb_reports());
        }
        self.job.lock().forget_work(&self.work, self.execution);
        if let Some(work) = self.work.upgrade() {
            if let Some(rare) = &mut work.lock().rare {
                rare.followers.leave(self.job.id, self.execution);
            }
        }
    }
}

impl Locked<'_> {
    fn forget_work(&mut self, work: &Weak<Core>, execution: u64) {
        let mut slot = &mut self.follows;
        while let Some(followed) = slot
            .take_if(|followed| !(followed.execution == execution && followed.work.ptr_eq(work)))
        {
            slot = &mut slot.insert(followed).next;
        }
        if let Some(gone) = slot.take() {
            *slot = gone.next;
        }
    }
}

#[cfg(test)]
mod tests;
