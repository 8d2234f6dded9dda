//! Jobs that wait for what this one does: they get its reports, in order, and its signs of life are theirs.

use std::{
    collections::{BTreeMap, VecDeque},
    mem,
    sync::{Arc, Weak},
};

use tokio::time::Instant;

use super::{Core, Locked, family};
use crate::event::{EventKind, JobId, StepInfo};

/// Whom a job with a shared execution tells what it reports. Like events, reports are handed on by one thread at a
/// time, without a lock, and whoever finds one at it leaves its own in the queue.
#[derive(Default)]
pub(super) struct Followers {
    /// In the order in which they were dispatched.
    jobs: BTreeMap<JobId, Follower>,
    /// The last report of each kind, for those that join later, the older one first.
    last: Vec<Told>,
    /// How many reports there were.
    reports: u64,
    queue: VecDeque<(Told, Whom, u8)>,
    forwarding: bool,
    /// How many executions there were before this one.
    execution: u64,
}

/// A report, and the step of the work that it belongs to.
#[derive(Clone)]
pub(super) struct Told {
    pub(super) kind: EventKind,
    pub(super) step: Option<StepInfo>,
}

struct Follower {
    job: Weak<Core>,
    /// How many reports there were when it joined: of those it is told the last only.
    since: u64,
    /// One job may join several times at once.
    joins: usize,
}

enum Whom {
    /// Who followed already when this report was made.
    Before(u64),
    /// One that came later.
    Only(JobId),
}

/// A report is handed on that often at most, where followers have followers: jobs that wait for each other in a circle
/// must not tell each other without end.
const MAX_HOPS: u8 = 8;

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

    /// The execution is over: jobs that join the next one hear nothing of this one, nor the other way round.
    pub(super) fn forget(&mut self) {
        self.last.clear();
        self.jobs.clear();
        self.execution += 1;
    }

    fn remember(&mut self, report: &Told) {
        let kind = mem::discriminant(&report.kind);
        self.last
            .retain(|known| mem::discriminant(&known.kind) != kind);
        self.last.push(report.clone());
    }

    fn whom(&self, whom: &Whom) -> Vec<Weak<Core>> {
        match whom {
            Whom::Before(report) => {
                let jobs = self.jobs.values();
                jobs.filter(|follower| follower.since < *report)
                    .map(|follower| follower.job.clone())
                    .collect()
            }
            Whom::Only(job) => {
                let job = self.jobs.get(job);
                job.map(|follower| follower.job.clone())
                    .into_iter()
                    .collect()
            }
        }
    }
}

/// One job waits for what another does, until this is dropped.
pub(crate) struct Following {
    job: Arc<Core>,
    work: Weak<Core>,
    execution: u64,
}

impl Following {
    /// This job waits for what the other does: it gets the reports of that, the last one at once, and signs of life of
    /// that count for this one too. `None` where it would wait for itself, or where that one's work is over.
    pub(crate) fn new(job: Arc<Core>, other: Weak<Core>) -> Option<Self> {
        let work = other.upgrade().filter(|work| !Arc::ptr_eq(&job, work))?;
        let execution = work.lock().adopt_follower(&job)?;
        job.lock().follows += 1;
        if job.activity.is_timed() {
            family::time_with_children(&work);
            job.lock().rare().followed = Some(other.clone());
        }
        let following = Self {
            job,
            work: other,
            execution,
        };
        hand_on(&work);
        Some(following)
    }
}

impl Locked<'_> {
    /// Which execution it is; `None` if it is over.
    fn adopt_follower(&mut self, job: &Arc<Core>) -> Option<u64> {
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
        if follower.joins == 1 {
            let last = followers.last.iter();
            let last = last.map(|report| (report.clone(), Whom::Only(job.id), 0));
            followers.queue.extend(last);
        }
        Some(followers.execution)
    }

    /// Leaves a report for the followers, also where this job has ended and its work goes on for them; `false` if there
    /// are none to [hand it on](hand_on) to.
    #[cold]
    pub(super) fn queue_report(&mut self, report: Told, hops: u8) -> bool {
        let followers = &mut self.rare().followers;
        followers.remember(&report);
        followers.reports += 1;
        if followers.jobs.is_empty() {
            return false;
        }
        let whom = Whom::Before(followers.reports);
        followers.queue.push_back((report, whom, hops));
        true
    }
}

/// Hands on what is queued, unless another thread is at it: that one goes on with it then.
pub(super) fn hand_on(work: &Core) {
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
            // It may have left while another was told.
            let follows = |rare: &mut Box<super::Rare>| rare.followers.jobs.contains_key(&job.id);
            if work.lock().rare.as_mut().is_some_and(follows) {
                told(&job, &report, hops);
            }
        }
        locked = work.lock();
    }
}

/// Another job, which does the work of this one, reports. This one is held, so that it does not start by that.
fn told(job: &Core, report: &Told, hops: u8) {
    job.touch();
    let Told { kind, step } = report.clone();
    let at = Instant::now();
    let mut locked = job.lock();
    let forwards =
        job.state().is_shared() && hops < MAX_HOPS && locked.queue_report(report.clone(), hops + 1);
    locked.tell_observers(kind, at, step);
    if forwards {
        hand_on(job);
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let mut job = self.job.lock();
        job.follows -= 1;
        if let Some(rare) = &mut job.rare {
            rare.followed.take_if(|known| known.ptr_eq(&self.work));
        }
        drop(job);
        if let Some(work) = self.work.upgrade() {
            if let Some(rare) = &mut work.lock().rare {
                rare.followers.leave(self.job.id, self.execution);
            }
        }
    }
}

#[cfg(test)]
mod tests;
