use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use tower_keep::{Event, EventKind, JobId};

/// What is left of a job's events once they were checked against each other.
#[derive(Default)]
struct Seen {
    events: u64,
    ended: bool,
}

#[derive(Default)]
struct Pages {
    jobs: HashMap<JobId, Seen>,
    faults: Vec<String>,
}

/// The events of many jobs, checked as they come.
#[derive(Clone, Default)]
pub(crate) struct Book(Arc<Mutex<Pages>>);

impl Book {
    pub(crate) fn see(&self, event: &Event) {
        let Pages { jobs, faults } = &mut *self.0.lock().unwrap();
        let job = jobs.entry(event.job).or_default();
        let first = event.kind == EventKind::Dispatched;
        if event.seq != job.events || job.ended || first != (job.events == 0) {
            faults.push(format!("{event:?} after {} events", job.events));
        }
        job.events += 1;
        job.ended |= event.kind.is_terminal();
    }

    #[track_caller]
    /// Each job's events came in order, and ended.
    pub(crate) fn assert_whole(&self, at_least: usize) {
        let Pages { jobs, faults } = &*self.0.lock().unwrap();
        assert_eq!(faults, &Vec::<String>::new());
        assert!(jobs.len() >= at_least);
        assert!(jobs.values().all(|job| job.ended), "every job ended");
    }
}
