//! Whoever waits for the cancellation learns of it.

use std::{mem::discriminant, sync::Arc, task::Waker};

use super::{
    core::{Core, cancellation::WakerPlace},
    job, succeed,
};
use crate::{
    event::CancelReason,
    run::{Sleeper, explore, explore_within, spawn},
};

/// A token that is taken as the job is cancelled fires; there is one, whoever takes it first.
pub fn a_token_taken_late_fires() {
    explore(|| {
        let job = job();
        let threads = [(); 2].map(|()| {
            let job = Arc::clone(&job);
            spawn(move || job.token().clone())
        });
        assert!(job.cancel(CancelReason::Requested));
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
        let cancelling = spawn(move || other.cancel(CancelReason::Requested));
        succeed(&job);
        let cancelled = cancelling.join();
        assert_eq!(taking.join().is_cancelled(), cancelled);
        assert_eq!(job.has_fired(), cancelled);
        cancelled
    });
    assert_eq!(seen.len(), 2);
}

/// `Work`: registers its waker and looks at the flag again before it sleeps.
fn waits(job: &Core, place: &WakerPlace, sleeper: &Sleeper) {
    loop {
        if job.cancel_requested() {
            return;
        }
        job.wake_on_cancel(place, &sleeper.waker());
        if !job.cancel_requested() {
            sleeper.sleep();
        }
    }
}

/// Two who watch at once are both woken.
pub fn who_watches_is_woken() {
    explore_within(2, || {
        let job = job();
        let threads = [(); 2].map(|()| {
            let job = Arc::clone(&job);
            spawn(move || {
                let place = job.watch();
                waits(&job, &place, &Sleeper::default());
                assert_eq!(job.cancelled_for(), Some(CancelReason::Requested));
                place
            })
        });
        assert!(job.cancel(CancelReason::Requested));
        let [one, other] = threads.map(|thread| thread.join());
        assert_ne!(discriminant(&one), discriminant(&other));
    });
}

/// Who gives its place back does not take the waker of the next one along; and one for which there is no place left, as
/// it comes before that, is woken all the same.
pub fn who_takes_a_place_over_is_woken() {
    let seen = explore(|| {
        let job = job();
        let [first, second] = [(); 2].map(|()| job.watch());
        assert!(matches!(second, WakerPlace::Second));
        job.wake_on_cancel(&first, Waker::noop());
        let other = Arc::clone(&job);
        let leaving = spawn(move || other.unwatch(&first));
        let other = Arc::clone(&job);
        let cancelling = spawn(move || other.cancel(CancelReason::Requested));
        let place = job.watch();
        waits(&job, &place, &Sleeper::default());
        leaving.join();
        assert!(cancelling.join());
        match place {
            WakerPlace::First => true,
            WakerPlace::Second => unreachable!("it is taken"),
            WakerPlace::Further(_) => false,
        }
    });
    assert_eq!(seen.len(), 2);
}
