//! A group in which a new job takes the place of the one before it.

use std::sync::Arc;

use super::{group_handle::GroupHandle, groups::Groups};
use crate::{
    event::CancelReason,
    job::{core::wakers::CancelWaker, job, waking::waits},
    run::{Sleeper, Unhurt, explore, spawn},
};

const GROUP: u8 = 7;

fn groups(replaces: bool) -> (Arc<Groups<u8>>, GroupHandle<u8>) {
    let groups = Arc::new(Groups::new(replaces));
    let handle = GroupHandle {
        groups: Arc::clone(&groups),
    };
    (groups, handle)
}

/// Of several that enter at once all are replaced but the youngest, in whichever order they come,
/// and the group is empty when they are over.
pub fn one_of_several_goes_on() {
    explore(|| {
        let (groups, handle) = groups(true);
        let jobs = [(); 3].map(|()| job());
        let [first, second, third] = jobs.each_ref().map(Arc::clone);
        let threads = [second, third].map(|job| {
            let groups = Arc::clone(&groups);
            spawn(move || Unhurt::new(groups.enter(GROUP, &job, false)))
        });
        let place = Unhurt::new(groups.enter(GROUP, &first, false));
        let places = threads.map(|thread| thread.join());
        let reasons = jobs.each_ref().map(|job| job.reason());
        let replaced = Some(CancelReason::Replaced);
        assert_eq!(reasons, [replaced.clone(), replaced, None]);
        assert_eq!(handle.jobs(&GROUP).len(), 3);
        drop((place, places));
        assert!(handle.jobs(&GROUP).is_empty());
    });
}

/// R64 A new job has its place though the one before it never leaves; that one is woken, at
/// whichever moment it begins to wait.
pub fn an_older_job_is_woken() {
    explore(|| {
        let (groups, handle) = groups(true);
        let [old, new] = [(); 2].map(|()| job());
        let mut waker = CancelWaker::of_shared(Arc::clone(&old));
        let old_place = Unhurt::new(groups.enter(GROUP, &old, false));
        let waiting = spawn(move || {
            waits(&mut waker, &Sleeper::default());
            Unhurt::new(waker)
        });
        let place = Unhurt::new(groups.enter(GROUP, &new, false));
        assert!(!new.state().is_cancelled());
        drop(waiting.join());
        assert_eq!(old.reason(), Some(CancelReason::Replaced));
        assert_eq!(handle.jobs(&GROUP).len(), 2);
        drop((place, old_place));
        assert!(handle.jobs(&GROUP).is_empty());
    });
}

/// A job that leaves as the next enters.
pub fn one_leaves_as_the_next_enters() {
    let seen = explore(|| {
        let (groups, handle) = groups(true);
        let [old, new] = [(); 2].map(|()| job());
        let place = Unhurt::new(groups.enter(GROUP, &old, false));
        let leaving = spawn(move || drop(place));
        let place = Unhurt::new(groups.enter(GROUP, &new, false));
        leaving.join();
        assert!(!new.state().is_cancelled());
        assert_eq!(handle.jobs(&GROUP).len(), 1);
        drop(place);
        assert!(handle.jobs(&GROUP).is_empty());
        old.reason().is_some()
    });
    assert_eq!(seen.len(), 2);
}

/// Who cancels the group reaches each job that entered before.
pub fn cancelling_reaches_who_is_in() {
    explore(|| {
        let (groups, handle) = groups(false);
        let [in_before, late] = [(); 2].map(|()| job());
        let place = Unhurt::new(groups.enter(GROUP, &in_before, false));
        let entering = {
            let (groups, late) = (Arc::clone(&groups), Arc::clone(&late));
            spawn(move || Unhurt::new(groups.enter(GROUP, &late, false)))
        };
        let count = handle.cancel(&GROUP);
        let late_place = entering.join();
        assert!(in_before.state().is_cancelled());
        assert_eq!(count, 1 + usize::from(late.state().is_cancelled()));
        drop((place, late_place));
        assert!(handle.jobs(&GROUP).is_empty());
    });
}
