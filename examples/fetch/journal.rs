//! The sink of the Log layer: a line for each notable event, and the attempts of each job for the
//! table.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tower_keep::{Event, EventKind, JobId};

use crate::{human::Took, screen::Screen};

/// What is remembered of a job.
#[derive(Clone, Debug, Default)]
pub(crate) struct Record {
    id: Option<JobId>,
    /// 0 for a job that never got to run.
    pub(crate) attempts: u32,
    /// The name of the job whose result this one shares.
    pub(crate) joined: Option<String>,
    /// When it got to run, and how long it then took.
    began: Duration,
    pub(crate) took: Duration,
}

/// The sink of the Log layer.
pub(crate) struct Journal {
    screen: Screen,
    records: Mutex<HashMap<String, Record>>,
}

impl Journal {
    pub(crate) fn new(screen: Screen) -> Self {
        Self {
            screen,
            records: Mutex::default(),
        }
    }

    /// The record of the job of this name.
    pub(crate) fn of(&self, job: &str) -> Record {
        self.records().get(job).cloned().unwrap_or_default()
    }

    pub(crate) fn record(&self, event: &Event) {
        let record = self.update(event);
        let attempts = match record.attempts {
            0 | 1 => String::new(),
            more => format!(" in attempt {more}"),
        };
        let text = match &event.kind {
            EventKind::RetryScheduled {
                attempt,
                max_retries,
                took,
                delay,
                error,
                ..
            } => format!(
                "attempt {attempt} of {} failed after {}: {error}; again in {}",
                max_retries + 1,
                Took(*took),
                Took(*delay)
            ),
            EventKind::CircuitOpened {
                circuit, cooldown, ..
            } => {
                format!("opened the circuit of {circuit} for {}", Took(*cooldown))
            }
            EventKind::CircuitHalfOpened { circuit } => format!("probes {circuit}"),
            EventKind::CircuitClosed { circuit } => format!("closed the circuit of {circuit}"),
            EventKind::Duplicate { joined: true, .. } => {
                format!("joins {}", record.joined.as_deref().unwrap_or("another"))
            }
            EventKind::Succeeded if record.joined.is_some() => "done with it".to_owned(),
            EventKind::Succeeded => format!("done{attempts} after {}", Took(record.took)),
            EventKind::Failed { error, .. } => format!("failed{attempts}: {error}"),
            EventKind::Cancelled { reason, .. } => format!("cancelled: {reason}"),
            // The rest is for the bars.
            _ => return,
        };
        self.screen.line(&format!("{}: {text}", event.name));
    }

    fn update(&self, event: &Event) -> Record {
        let mut records = self.records();
        let joined = match event.kind {
            EventKind::Duplicate {
                of: Some(of),
                joined: true,
            } => records
                .iter()
                .find(|(_, record)| record.id == Some(of))
                .map(|(name, _)| name.clone()),
            _ => None,
        };
        let record = records.entry(event.name.to_string()).or_default();
        record.id = Some(event.job);
        record.took = event.elapsed.saturating_sub(record.began);
        match event.kind {
            EventKind::Started => {
                record.attempts = 1;
                record.began = event.elapsed;
            }
            EventKind::Retrying { attempt, .. } => record.attempts = attempt,
            EventKind::Duplicate { .. } => record.joined = joined,
            _ => {}
        }
        record.clone()
    }

    fn records(&self) -> MutexGuard<'_, HashMap<String, Record>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
