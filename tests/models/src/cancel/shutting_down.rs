//! A shutdown finds each job that got in, and knows when the last one is over.

use std::{future::Future, pin::pin, sync::Arc, task::Context};

use super::{
    registry::{Registry, cancel_each},
    shutdown_report::ShutdownReport,
};
use crate::{
    event::CancelReason,
    job::{
        core::{By, Core},
        job, succeed,
        table::{Call, Owner},
    },
    run::{Sleeper, Unhurt, explore, explore_within, spawn},
};

/// Runs a tracked job to its end: out of the layer first, as the layers around it see the result
/// later.
fn finish(registry: &Registry, tracked: Unhurt<Call>, job: &Core) {
    assert!(!registry.drained_token().is_cancelled());
    let closed = registry.is_closed();
    drop(tracked);
    if closed {
        assert!(!registry.drained_token().is_cancelled(), "not over yet");
    }
    succeed(job);
}

/// `CancelHandle::shutdown`, with no time to end.
fn shut_down(registry: &Registry) {
    registry.close();
    cancel_each(registry.jobs(), &CancelReason::Shutdown, |_| true);
}

/// `ShutdownFuture` after its deadline.
fn drained(registry: &Registry) -> ShutdownReport {
    let sleeper = Sleeper::default();
    let waker = sleeper.waker();
    let mut drained = pin!(registry.drained_token().clone().cancelled_owned());
    let mut cx = Context::from_waker(&waker);
    while drained.as_mut().poll(&mut cx).is_pending() {
        sleeper.sleep();
    }
    registry.report()
}

/// What a job says of itself: why it was cancelled, if it was.
fn was_shut_down(job: &Core) -> bool {
    job.reason() == Some(CancelReason::Shutdown)
}

/// A job gets in and is found, or is refused.
pub fn a_job_is_found_or_refused() {
    let seen = explore(|| {
        let registry = Registry::new();
        let job = job();
        let entering = {
            let (registry, job) = (Arc::clone(&registry), Arc::clone(&job));
            spawn(move || {
                let tracked = registry.track(&job, false).map(Unhurt::new);
                let got_in = tracked.is_some();
                (got_in, tracked)
            })
        };
        shut_down(&registry);
        let (got_in, tracked) = entering.join();
        assert_eq!(was_shut_down(&job), got_in);
        if let Some(tracked) = tracked {
            finish(&registry, tracked, &job);
        }
        let report = drained(&registry);
        assert_eq!(report.refused, usize::from(!got_in));
        assert_eq!(report.cancelled, usize::from(got_in));
        assert_eq!(report.finished + report.cancelled_otherwise, 0);
        got_in
    });
    assert_eq!(seen.len(), 2);
}

/// Each of the jobs that run is counted once, as it ended, and nobody waits for ever.
pub fn each_job_is_counted_once() {
    let seen = explore_within(2, || {
        let registry = Registry::new();
        let jobs = [(); 2].map(|()| job());
        let threads = jobs.each_ref().map(|job| {
            let (registry, job) = (Arc::clone(&registry), Arc::clone(job));
            let tracked = Unhurt::new(registry.track(&job, false).unwrap());
            spawn(move || finish(&registry, tracked, &job))
        });
        shut_down(&registry);
        let report = drained(&registry);
        for thread in threads {
            thread.join();
        }
        assert_eq!(registry.report(), report, "nobody is counted later");
        let shut_down = jobs.iter().filter(|job| was_shut_down(job)).count();
        assert_eq!(report.cancelled, shut_down);
        assert!(report.finished + report.cancelled <= 2);
        assert_eq!(report.cancelled_otherwise + report.refused, 0);
        assert_eq!(registry.len(), 0);
        (report.finished, report.cancelled)
    });
    // Jobs that left before the shutdown do not count.
    assert_eq!(
        seen,
        [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (2, 0)].into()
    );
}

/// A job that is cancelled for another reason at the same time.
pub fn another_reason_is_counted_as_such() {
    let seen = explore_within(2, || {
        let registry = Registry::new();
        let job = job();
        let tracked = Unhurt::new(registry.track(&job, false).unwrap());
        registry.close();
        let working = {
            let (registry, job) = (Arc::clone(&registry), Arc::clone(&job));
            spawn(move || finish(&registry, tracked, &job))
        };
        let other = Arc::clone(&job);
        let cancelling = spawn(move || other.cancel(CancelReason::Requested, By::Request));
        cancel_each(registry.jobs(), &CancelReason::Shutdown, |_| true);
        let report = drained(&registry);
        working.join();
        let requested = cancelling.join();
        assert_eq!(report.cancelled_otherwise, usize::from(requested));
        assert_eq!(report.cancelled, usize::from(was_shut_down(&job)));
        let ShutdownReport {
            finished,
            cancelled,
            cancelled_otherwise,
            refused,
            ..
        } = report;
        assert_eq!(
            (finished + cancelled + cancelled_otherwise, refused),
            (1, 0)
        );
        (finished, cancelled, cancelled_otherwise)
    });
    assert_eq!(seen, [(0, 0, 1), (0, 1, 0), (1, 0, 0)].into());
}

/// A hedge's calls are one job, which is in the layer until the last one left.
pub fn a_job_of_two_calls_is_counted_once() {
    let seen = explore(|| {
        let registry = Registry::new();
        let job = job();
        let calls = [(); 2].map(|()| Unhurt::new(registry.track(&job, false).unwrap()));
        let leaving = calls.map(|tracked| spawn(move || drop(tracked)));
        registry.close();
        for leaving in leaving {
            leaving.join();
        }
        let drained_before = registry.drained_token().is_cancelled();
        assert!(succeed(&job));
        let report = drained(&registry);
        assert_eq!(report.finished, usize::from(!drained_before));
        drained_before
    });
    assert_eq!(seen.len(), 2);
}
