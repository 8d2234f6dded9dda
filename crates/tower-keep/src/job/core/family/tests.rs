//! Which jobs work for which: what becomes of a child that comes to another job.

use super::{
    super::{Ending, Origin},
    *,
};
use crate::event::JobName;

fn job(origin: Origin) -> Arc<Core> {
    Core::new(JobName::EMPTY, origin, |tell| tell())
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

/// A child that comes to a timed job, as its own parent has ended, is timed too: its signs of life are that job's.
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

/// A child that has ended is in the table of a cancelled job too.
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

/// The children of a root that has ended work for nobody.
#[test]
fn the_children_of_an_ended_root_work_for_nobody() {
    let root = job(Origin::Nobody);
    let child = child_of(&root);
    assert!(parent(&child).is_some());
    end(&root);
    assert!(children(&root).is_empty() && parent(&child).is_none());
}
