//! Which event is logged at which level.

use std::sync::Arc;

use tracing::{Level, level_filters::LevelFilter};

use crate::event::{Event, EventKind, FailureCause, GiveUpReason};

/// The level at which this event is logged, unless the layer's
/// [`level_with`](super::LogLayer::level_with) says otherwise.
#[must_use]
pub fn level_of(kind: &EventKind) -> Level {
    match kind {
        EventKind::Dispatched
        | EventKind::Succeeded
        | EventKind::Cancelled { .. }
        | EventKind::CircuitHalfOpened { .. }
        | EventKind::CircuitWouldReject { .. }
        | EventKind::CircuitClosed { .. } => Level::INFO,
        // The failure that follows says as much.
        EventKind::RetryGivenUp {
            reason: GiveUpReason::Exhausted | GiveUpReason::Forbidden,
            ..
        } => Level::DEBUG,
        EventKind::RetryGivenUp { .. } => Level::INFO,
        EventKind::Failed { cause, .. } => level_of_failure(*cause),
        EventKind::RetryScheduled { .. }
        | EventKind::TimedOut { .. }
        | EventKind::CircuitOpened { .. } => Level::WARN,
        EventKind::Started
        | EventKind::Progress(_)
        | EventKind::StepStarted { .. }
        | EventKind::StepSucceeded { .. }
        | EventKind::AttemptEnded { .. }
        | EventKind::Retrying { .. }
        | EventKind::Duplicate { .. }
        | EventKind::CacheHit { .. } => Level::DEBUG,
    }
}

fn level_of_failure(cause: FailureCause) -> Level {
    if cause.is_rejection() {
        // An open circuit turns away every call: their records would drown the failure that opened
        // it. Each caller has the error anyway.
        Level::DEBUG
    } else {
        Level::ERROR
    }
}

/// The user's choice of levels; `None` is not logged.
type LevelWith = dyn Fn(&Event) -> Option<Level> + Send + Sync;

/// The settings of one layer.
#[derive(Clone)]
pub(super) struct Levels {
    /// Nothing below this level is logged.
    pub(super) minimum: LevelFilter,
    pub(super) choice: Option<Arc<LevelWith>>,
}

impl Levels {
    /// Every event at its own level.
    pub(super) const ALL: Self = Self {
        minimum: LevelFilter::TRACE,
        choice: None,
    };

    pub(super) fn has_all(&self) -> bool {
        self.minimum == LevelFilter::TRACE && self.choice.is_none()
    }

    /// The level of an event; `None` is not logged.
    pub(super) fn level(&self, event: &Event) -> Option<Level> {
        let level = match &self.choice {
            Some(choice) => choice(event)?,
            None => level_of(&event.kind),
        };
        (level <= self.minimum).then_some(level)
    }
}

#[cfg(test)]
mod tests;
