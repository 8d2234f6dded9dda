//! Where records go: tracing, or an observer of the user.

use std::sync::Arc;

use super::{level::Levels, tracing_sink::TracingSink};
use crate::event::{Event, JobId, JobName, Observer};

#[derive(Clone)]
pub(super) enum Sink {
    /// May have no listener.
    Tracing,
    Custom(Arc<dyn Observer>),
}

impl Sink {
    /// The observer to register with jobs.
    pub(super) fn observer(&self, levels: &Levels) -> Arc<dyn Observer> {
        match self {
            Self::Tracing => Arc::new(TracingSink {
                levels: levels.clone(),
            }),
            Self::Custom(sink) if levels.has_all() => Arc::clone(sink),
            Self::Custom(sink) => Arc::new(Filtered {
                levels: levels.clone(),
                sink: Arc::clone(sink),
            }),
        }
    }
}

/// Passes on the events that the levels let through.
struct Filtered {
    levels: Levels,
    sink: Arc<dyn Observer>,
}

impl Observer for Filtered {
    fn on_named(&self, job: JobId, name: &JobName) {
        self.sink.on_named(job, name);
    }

    fn on_identified(&self, job: JobId, external_id: &Arc<str>) {
        self.sink.on_identified(job, external_id);
    }

    fn on_event(&self, event: &Event) {
        if self.levels.level(event).is_some() {
            self.sink.on_event(event);
        }
    }
}
