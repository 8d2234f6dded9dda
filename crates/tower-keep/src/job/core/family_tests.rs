//! Which jobs work for which: what becomes of a child that comes to another job.

use super::{super::Ending, *};
use crate::event::JobName;

fn child_of(parent: &Arc<Core>) -> Arc<Core> {
    Core::new(JobName::EMPTY, Some(Arc::clone(parent)))
}

fn end(job: &Core) {
    job.end(|| Ending::Succeeded);
}

/// A child that comes to a timed job, as its own parent has ended, is timed too: its signs of life are that job's.
#[test]
fn a_child_that_comes_to_a_timed_job_is_timed() {
    let timed = Core::new(JobName::EMPTY, None);
    let between = child_of(&timed);
    let child = child_of(&between);
    timed.be_timed();
    assert!(!child.has(TIMED));
    end(&between);
    assert!(child.has(TIMED));
}

/// A child that has ended is in the table of a cancelled job too.
#[test]
fn a_child_that_ended_comes_to_a_cancelled_job() {
    let cancelled = Core::new(JobName::EMPTY, None);
    let between = child_of(&cancelled);
    let child = child_of(&between);
    end(&child);
    cancelled.cancel(CancelReason::Requested);
    end(&between);
    assert_eq!(cancelled.children().len(), 2);
}

/// The children of a root that has ended work for nobody.
#[test]
fn the_children_of_an_ended_root_work_for_nobody() {
    let root = Core::new(JobName::EMPTY, None);
    let child = child_of(&root);
    assert!(child.parent().is_some());
    end(&root);
    assert!(root.children().is_empty() && child.parent().is_none());
}
