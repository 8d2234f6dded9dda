//! What waits for the cancellation learns of it.

use std::{sync::Arc, task::Waker};

use super::{
    core::{By, Core, Origin, wakers::CancelWaker},
    job, succeed,
};
use crate::{
    event::{CancelReason, JobName},
    run::{Sleeper, explore, explore_within, spawn},
};

/// A token that is taken as the job is cancelled fires. There is one token, whichever thread takes
/// it first.
pub fn a_token_taken_late_fires() {
    explore(|| {
        let job = job();
        let threads = [(); 2].map(|()| {
            let job = Arc::clone(&job);
            spawn(move || job.token())
        });
        assert!(job.cancel(CancelReason::Requested, By::Request));
        for thread in threads {
            assert!(thread.join().is_cancelled());
        }
        assert!(job.token().is_cancelled());
    });
}

/// A token fires if the job is cancelled, and not if that came too late.
pub fn a_token_fires_if_the_job_does() {
    let seen = explore(|| {
        let job = job();
        let other = Arc::clone(&job);
        let taking = spawn(move || other.token().clone());
        let other = Arc::clone(&job);
        let cancelling = spawn(move || other.cancel(CancelReason::Requested, By::Request));
        succeed(&job);
        let cancelled = cancelling.join();
        assert_eq!(taking.join().is_cancelled(), cancelled);
        assert_eq!(job.state().has_fired(), cancelled);
        cancelled
    });
    assert_eq!(seen.len(), 2);
}

/// `Work`: registers its waker and looks at the state again before it sleeps.
pub(crate) fn waits(waker: &mut CancelWaker, sleeper: &Sleeper) {
    while !waker.job().state().is_cancelled() {
        waker.register(&sleeper.waker());
        if !waker.job().state().is_cancelled() {
            sleeper.sleep();
        }
    }
}

fn has_own(waker: &CancelWaker) -> bool {
    waker.further.is_none()
}

/// Two that watch at once are both woken.
pub fn all_that_watch_are_woken() {
    explore_within(2, || {
        let job = job();
        let threads = [(); 2].map(|()| {
            let job = Arc::clone(&job);
            spawn(move || {
                let mut waker = CancelWaker::of_shared(job);
                waits(&mut waker, &Sleeper::default());
                assert_eq!(waker.job().reason(), Some(CancelReason::Requested));
                waker
            })
        });
        assert!(job.cancel(CancelReason::Requested, By::Request));
        let [a, b] = threads.map(|thread| thread.join());
        assert_ne!(has_own(&a), has_own(&b));
    });
}

/// A layer that gives its place back does not take the waker of the next one along; and one for
/// which the place is not free yet is woken all the same.
pub fn the_next_in_a_place_is_woken() {
    let seen = explore(|| {
        let job = job();
        let mut first = CancelWaker::of_shared(Arc::clone(&job));
        first.register(Waker::noop());
        let leaving = spawn(move || drop(first));
        let other = Arc::clone(&job);
        let cancelling = spawn(move || other.cancel(CancelReason::Requested, By::Request));
        let mut next = CancelWaker::of_shared(Arc::clone(&job));
        waits(&mut next, &Sleeper::default());
        leaving.join();
        assert!(cancelling.join());
        has_own(&next)
    });
    assert_eq!(seen.len(), 2);
}

/// A result and a cancellation meet where no waker was left: one of the two comes too late, and the
/// place is free.
pub fn a_result_gives_the_place_back() {
    let seen = explore(|| {
        let job = Core::new(JobName::EMPTY, Origin::Nobody, |tell| tell());
        let mut waker = CancelWaker::of_call(Arc::clone(&job));
        let other = Arc::clone(&job);
        let cancelling = spawn(move || other.cancel(CancelReason::Requested, By::Request));
        let decided = waker.decide().unwrap();
        drop(waker);
        assert_ne!(decided, cancelling.join());
        assert!(has_own(&CancelWaker::of_shared(job)));
        decided
    });
    assert_eq!(seen.len(), 2);
}
