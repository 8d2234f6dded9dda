//! The level of each event: [`level_of`], and the layer's own choice.

use std::sync::Arc;

use tracing::{Level, level_filters::LevelFilter};

use crate::event::{Event, EventKind, FailureCause, GiveUpReason};

/// The default level of this event. [`level_with`](super::LogLayer::level_with) can choose another.
#[must_use]
pub fn level_of(kind: &EventKind) -> Level {
    match kind {
        EventKind::Dispatched
        | EventKind::Succeeded
        | EventKind::Cancelled { .. }
        | EventKind::CircuitHalfOpened { .. }
        | EventKind::CircuitWouldReject { .. }
        | EventKind::CircuitClosed { .. } => Level::INFO,
        // The failure event that follows says the same.
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
        // An open circuit rejects every call. These records would drown the failure that opened it,
        // and each caller gets the error anyway.
        Level::DEBUG
    } else {
        Level::ERROR
    }
}

/// The user's choice of levels; `None` drops the record.
type LevelWith = dyn Fn(&Event) -> Option<Level> + Send + Sync;

/// The settings of one layer.
#[derive(Clone)]
pub(super) struct Levels {
    /// The least severe level that is logged.
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

    /// The level of an event; `None` drops the record.
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
