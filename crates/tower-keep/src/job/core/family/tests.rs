//! Tests of parents and children: a child that moves to another job.

use super::{
    super::{Ending, Origin},
    *,
};
use crate::event::JobName;

fn job(origin: Origin) -> Arc<Core> {
    Core::new(JobName::EMPTY, origin, |run| run())
}

fn child_of(parent: &Arc<Core>) -> Arc<Core> {
    job(Origin::Parent {
        parent: Arc::clone(parent),
        within: None,
    })
}

fn end(job: &Core) {
    job.end(None, || Ending::Succeeded);
}

/// A child that moves from its ended parent to a timed job is timed too: its activity counts for
/// that job.
#[test]
fn a_child_that_comes_to_a_timed_job_is_timed() {
    let timed = job(Origin::Nobody);
    let between = child_of(&timed);
    let child = child_of(&between);
    timed.be_timed();
    assert!(!child.activity.is_timed());
    end(&between);
    assert!(child.activity.is_timed());
}

/// An ended child is in the table of a cancelled job too.
#[test]
fn a_child_that_ended_comes_to_a_cancelled_job() {
    let cancelled = job(Origin::Nobody);
    let between = child_of(&cancelled);
    let child = child_of(&between);
    end(&child);
    cancelled.cancel(CancelReason::Requested, By::Request);
    end(&between);
    assert_eq!(children(&cancelled).len(), 2);
}

/// The children of an ended root have no parent.
#[test]
fn the_children_of_an_ended_root_work_for_nobody() {
    let root = job(Origin::Nobody);
    let child = child_of(&root);
    assert!(parent(&child).is_some());
    end(&root);
    assert!(children(&root).is_empty() && parent(&child).is_none());
}

/// A child's activity counts for its parent. That does not time the parent, which has no idle limit
/// of its own.
#[test]
fn a_timed_childs_parent_is_not_timed() {
    let above = job(Origin::Nobody);
    let child = child_of(&above);
    child.be_timed();
    child.touch();
    assert!(!above.activity.is_timed());
}

/// No lock is held while a waker runs: here the lock of the cancelled job that a child joins.
#[test]
fn a_child_that_comes_to_a_cancelled_job_is_woken_without_its_lock() {
    use std::{
        future::Future,
        sync::mpsc::channel,
        task::{Context, Wake, Waker},
        time::Duration,
    };
    struct Asks(Arc<Core>);
    impl Wake for Asks {
        fn wake(self: Arc<Self>) {
            self.0.reason();
        }
    }
    let above = job(Origin::Nobody);
    let between = child_of(&above);
    let child = child_of(&between);
    between.detach();
    above.cancel(CancelReason::CallerGone, By::Leaving);
    assert!(!child.state().is_cancelled());
    let token = child.token();
    let mut fired = Box::pin(token.cancelled_owned());
    let waker = Waker::from(Arc::new(Asks(above)));
    assert!(
        fired
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_pending()
    );
    let (done, over) = channel();
    std::thread::spawn(move || {
        end(&between);
        done.send(()).unwrap();
    });
    let over = over.recv_timeout(Duration::from_secs(5));
    std::mem::forget((fired, waker, child));
    assert!(over.is_ok(), "it waits for the lock that it holds");
}
