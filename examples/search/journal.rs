//! What the Log layer tells: how each call came to its result, and a file of all events if one is asked for.

use std::{
    collections::HashMap,
    fs::File,
    io::Write,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tower_keep::{Event, EventKind};

/// How a call came to its result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Via {
    /// By a search of its own.
    #[default]
    Own,
    /// It joined one that ran.
    Joined,
    /// It was kept from one that ended this long ago.
    Kept(Duration),
}

/// The sink of the Log layer.
#[derive(Default)]
pub(crate) struct Journal {
    /// Of the jobs that did not search themselves and whose end was not taken notice of, by name.
    ways: Mutex<HashMap<String, Via>>,
    file: Option<File>,
}

impl Journal {
    pub(crate) fn new(file: Option<File>) -> Self {
        Self {
            file,
            ..Self::default()
        }
    }

    /// How the job of this name came to its result. To be asked once, at its end.
    pub(crate) fn take(&self, job: &str) -> Via {
        self.ways().remove(job).unwrap_or_default()
    }

    pub(crate) fn record(&self, event: &Event) {
        let via = match &event.kind {
            EventKind::Duplicate { joined: true, .. } => Some(Via::Joined),
            EventKind::CacheHit { age, .. } => Some(Via::Kept(*age)),
            _ => None,
        };
        if let Some(via) = via {
            self.ways().insert(event.name.to_string(), via);
        }
        if let Some(mut file) = self.file.as_ref() {
            // One write, so that lines of several threads do not mix. A full disk is no reason to stop searching.
            let line = format!("{} +{:.3?} {:?}\n", event.name, event.elapsed, event.kind);
            let _ = file.write_all(line.as_bytes());
        }
    }

    fn ways(&self) -> std::sync::MutexGuard<'_, HashMap<String, Via>> {
        self.ways.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
