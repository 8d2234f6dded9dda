//! Checks the events of many jobs against each other as they come.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use tower_keep::{Event, EventKind, JobId};

/// What is left of a job's events once they were checked.
#[derive(Debug, Default)]
struct Seen {
    events: u64,
    ended: bool,
}

#[derive(Debug, Default)]
struct State {
    jobs: HashMap<JobId, Seen>,
    faults: Vec<String>,
}

/// The events of many jobs, checked as they come.
#[derive(Clone, Debug, Default)]
pub struct CheckedEvents(Arc<Mutex<State>>);

impl CheckedEvents {
    /// Checks that the event is the next of its job.
    pub fn see(&self, event: &Event) {
        let State { jobs, faults } = &mut *self.0.lock().unwrap();
        let job = jobs.entry(event.job).or_default();
        let first = event.kind == EventKind::Dispatched;
        if event.seq != job.events || job.ended || first != (job.events == 0) {
            faults.push(format!("{event:?} after {} events", job.events));
        }
        job.events += 1;
        job.ended |= event.kind.is_terminal();
    }

    /// Asserts that the events of each job came in order, that each job ended, and how many there
    /// were at least.
    #[track_caller]
    pub fn assert_whole(&self, at_least: usize) {
        let State { jobs, faults } = &*self.0.lock().unwrap();
        assert_eq!(faults, &Vec::<String>::new());
        assert!(jobs.len() >= at_least);
        assert!(jobs.values().all(|job| job.ended), "every job ended");
    }
}
