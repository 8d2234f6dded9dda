//! A job ends once, and a cancellation that is taken is why.

use std::sync::{Arc, atomic::AtomicUsize};

use super::{
    Recorder, cancelled,
    core::{By, Core},
    job, succeed, timed_out,
};
use crate::{
    event::{CancelReason, EventKind},
    run::{explore, explore_within, spawn},
    sync::atomic::Ordering,
};

/// One of two reasons is taken, unless the result was there before: then none is.
pub fn a_job_is_cancelled_or_succeeds() {
    let seen = explore(|| {
        let job = job();
        let recorder = Recorder::of(&job);
        let reasons = [CancelReason::Requested, CancelReason::Replaced];
        let threads = reasons.clone().map(|reason| {
            let job = Arc::clone(&job);
            spawn(move || job.cancel(reason, By::Request))
        });
        let decided = succeed(&job);
        let taken = threads.map(|thread| thread.join());
        let taken: Vec<_> = reasons
            .into_iter()
            .zip(taken)
            .filter_map(|(reason, taken)| taken.then_some(reason))
            .collect();
        assert_eq!(taken.len(), usize::from(!decided));
        assert_eq!(recorder.reason(), taken.first().cloned());
        assert_eq!(job.state().has_fired(), !decided);
        assert_eq!(job.reason(), taken.first().cloned());
        recorder.missed_nothing();
        taken.first().map(ToString::to_string)
    });
    assert_eq!(seen.len(), 3);
}

/// The same of a job that nobody watches.
pub fn an_unwatched_job_is_cancelled_or_succeeds() {
    let seen = explore(|| {
        let job = job();
        let other = Arc::clone(&job);
        let cancelling = spawn(move || other.cancel(CancelReason::Requested, By::Request));
        let decided = succeed(&job);
        let taken = cancelling.join();
        assert_ne!(decided, taken);
        assert!(job.state().is_over());
        assert_eq!(job.state().is_cancelled(), taken);
        taken
    });
    assert_eq!(seen.len(), 2);
}

/// Two who cancel, for reasons of their own, and one who ends the job as cancelled: one reason is
/// taken and told.
pub fn one_reason_is_told() {
    let seen = explore(|| {
        let job = job();
        let recorder = Recorder::of(&job);
        let other = Arc::clone(&job);
        let cancelling = spawn(move || other.cancel("no longer needed".into(), By::Request));
        // `Core::caller_gone` does both.
        job.caller_gone(None);
        let taken = cancelling.join();
        let expected = if taken {
            "no longer needed".into()
        } else {
            CancelReason::CallerGone
        };
        assert_eq!(recorder.reason(), Some(expected.clone()));
        assert_eq!(job.reason(), Some(expected));
        assert!(job.state().has_fired());
        taken
    });
    assert_eq!(seen.len(), 2);
}

/// A time limit ends the job as failed, unless it was cancelled before.
pub fn a_time_limit_fails_or_is_too_late() {
    let seen = explore(|| {
        let job = job();
        let recorder = Recorder::of(&job);
        let other = Arc::clone(&job);
        let cancelling = spawn(move || other.cancel(CancelReason::Requested, By::Request));
        job.expire();
        job.end(None, timed_out);
        let taken = cancelling.join();
        match recorder.ending() {
            EventKind::Failed { .. } => assert!(!taken),
            EventKind::Cancelled { reason, .. } => {
                assert!(taken);
                assert_eq!(reason, CancelReason::Requested);
            }
            other => panic!("{other:?}"),
        }
        taken
    });
    assert_eq!(seen.len(), 2);
}

/// Several threads end the job: one ending is reported.
pub fn one_ending_is_told() {
    let seen = explore_within(2, || {
        let job = job();
        let recorder = Recorder::of(&job);
        let other = Arc::clone(&job);
        let leaving = spawn(move || other.end(None, || cancelled(CancelReason::Replaced)));
        let other = Arc::clone(&job);
        let failing = spawn(move || other.end(None, timed_out));
        succeed(&job);
        leaving.join();
        failing.join();
        recorder.missed_nothing();
        recorder.ending().name()
    });
    assert_eq!(seen.len(), 3);
}

/// A guard that is let go when the job is over. It counts that, and how often the job was not.
struct Guard {
    job: Arc<Core>,
    over: Arc<AtomicUsize>,
    early: Arc<AtomicUsize>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let count = if self.job.state().is_over() {
            &self.over
        } else {
            &self.early
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// Who waits for the end is let go at the end, or at once if it was before.
pub fn who_waits_for_the_end_is_let_go() {
    explore_within(2, || {
        let job = job();
        let [over, early] = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
        let guards = [(); 2].map(|()| Guard {
            job: Arc::clone(&job),
            over: Arc::clone(&over),
            early: Arc::clone(&early),
        });
        let threads = guards.map(|guard| {
            let job = Arc::clone(&job);
            spawn(move || job.keep_until_over(Box::new(guard)))
        });
        succeed(&job);
        for thread in threads {
            thread.join();
        }
        assert_eq!(over.load(Ordering::Relaxed), 2);
        assert_eq!(early.load(Ordering::Relaxed), 0);
    });
}
