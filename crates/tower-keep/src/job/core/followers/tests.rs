//! Tests of followers: which reports reach them, and when the leader forgets them.

use super::*;
use crate::event::{Event, JobName, Observer, Report};
use crate::job::core::{Origin, sharing::SharedExecution};

fn job() -> Arc<Core> {
    Core::new(JobName::EMPTY, Origin::Nobody, |run| run())
}

/// A job whose execution callers can join.
fn work() -> (Arc<Core>, SharedExecution) {
    let work = job();
    let shared = SharedExecution::new(work.clone()).unwrap();
    (work, shared)
}

fn follow(job: &Arc<Core>, work: &Arc<Core>) -> Option<Following> {
    Following::new(job.clone(), Arc::downgrade(work))
}

fn report(job: &Core, fraction: f64) {
    job.emit(None, EventKind::Progress(Report::new(fraction)));
}

/// Counts the reports that reach a job's observers.
fn counted(job: &Core) -> Arc<std::sync::atomic::AtomicUsize> {
    let reports = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counter = reports.clone();
    let observer: Arc<dyn Observer> = Arc::new(move |event: &Event| {
        if event.kind.is_report() {
            counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    });
    job.observe(&observer, false);
    reports
}

fn count(reports: &std::sync::atomic::AtomicUsize) -> usize {
    reports.load(std::sync::atomic::Ordering::Relaxed)
}

fn followers(work: &Core) -> usize {
    let work = work.lock();
    work.rare
        .as_ref()
        .map_or(0, |rare| rare.followers.jobs.len())
}

#[test]
fn those_that_left_are_forgotten() {
    let (work, _shared) = work();
    for _ in 0..10_000 {
        let following = follow(&job(), &work);
        assert_eq!(followers(&work), 1);
        drop(following);
    }
    assert_eq!(followers(&work), 0);
    let all: Vec<_> = (0..10_000).map(|_| follow(&job(), &work)).collect();
    report(&work, 0.5);
    assert_eq!(followers(&work), 10_000);
    drop(all);
    assert_eq!(followers(&work), 0);
    assert!(work.lock().rare().followers.queue.is_empty());
}

#[test]
fn a_job_that_joins_twice_is_told_once_until_both_are_over() {
    let ((work, _shared), job) = (work(), job());
    let reports = counted(&job);
    report(&work, 0.1);
    let first = follow(&job, &work);
    let second = follow(&job, &work);
    assert_eq!(count(&reports), 1);
    report(&work, 0.2);
    drop(first);
    report(&work, 0.3);
    assert_eq!(count(&reports), 3);
    drop(second);
    report(&work, 0.4);
    assert_eq!(count(&reports), 3);
}

#[test]
fn nobody_follows_itself_or_what_is_over() {
    let (work, shared) = work();
    assert!(follow(&work, &work).is_none());
    drop(shared);
    assert!(follow(&job(), &work).is_none());
}

#[test]
fn jobs_that_wait_for_each_other_tell_each_other_in_the_end_no_more() {
    let ((one, _first), (two, _second)) = (work(), work());
    let reports = (counted(&one), counted(&two));
    let _following = (follow(&one, &two), follow(&two, &one));
    report(&one, 0.5);
    assert!((1..=10).contains(&count(&reports.0)));
    assert!((1..=10).contains(&count(&reports.1)));
}

#[test]
fn the_idle_time_of_a_follower_is_its_own_again_once_it_leaves() {
    let ((work, _shared), job) = (work(), job());
    job.be_timed();
    let following = follow(&job, &work);
    assert!(following.is_some() && work.activity.is_timed());
    // Between two attempts the leader has no activity, and neither has its follower.
    work.attempt_over();
    assert_eq!(job.last_activity(), None);
    drop(following);
    assert!(job.last_activity().is_some());
}
