//! The recorded events, indexed by job and by name.

use std::collections::HashMap;

use tower_keep::{Event, EventKind, JobId};

#[derive(Default)]
pub(crate) struct Record {
    events: Vec<Event>,
    /// In the order of their first event.
    jobs: Vec<JobId>,
    by_job: HashMap<JobId, Places>,
    by_name: HashMap<&'static str, usize>,
}

/// The indices of one job's events.
#[derive(Default)]
struct Places {
    all: Vec<usize>,
    terminal: Option<usize>,
}

impl Record {
    pub(crate) fn push(&mut self, event: Event) {
        let place = self.events.len();
        let places = self.by_job.entry(event.job).or_insert_with(|| {
            self.jobs.push(event.job);
            Places::default()
        });
        places.all.push(place);
        if places.terminal.is_none() && event.kind.is_terminal() {
            places.terminal = Some(place);
        }
        *self.by_name.entry(event.kind.name()).or_default() += 1;
        self.events.push(event);
    }

    pub(crate) fn all(&self) -> &[Event] {
        &self.events
    }

    pub(crate) fn of(&self, job: JobId) -> impl Iterator<Item = &Event> {
        let places = self.by_job.get(&job).into_iter();
        places.flat_map(|places| places.all.iter().map(|place| &self.events[*place]))
    }

    pub(crate) fn jobs(&self) -> &[JobId] {
        &self.jobs
    }

    pub(crate) fn count(&self, name: &str) -> usize {
        self.by_name.get(name).copied().unwrap_or(0)
    }

    /// The first terminal event of this job.
    pub(crate) fn terminal(&self, job: JobId) -> Option<&EventKind> {
        let place = self.by_job.get(&job)?.terminal?;
        Some(&self.events[place].kind)
    }
}
