use tracing::{Level, level_filters::LevelFilter};

use super::level_of;
use crate::event::{Event, EventKind, Observer};

/// Writes each event as one tracing event.
pub(super) struct TracingSink {
    pub(super) level: LevelFilter,
}

/// Tracing's levels are constants of the call site, so there is one site for each.
macro_rules! write_at {
    ($level:expr, $event:expr, $($field:tt)*) => {
        match $level {
            Level::ERROR => write_event!(Level::ERROR, $event, $($field)*),
            Level::WARN => write_event!(Level::WARN, $event, $($field)*),
            Level::INFO => write_event!(Level::INFO, $event, $($field)*),
            _ => write_event!(Level::DEBUG, $event, $($field)*),
        }
    };
}

macro_rules! write_event {
    ($level:expr, $event:expr, $($field:tt)*) => {
        tracing::event!(
            target: "tower_keep::log",
            $level,
            job.id = $event.job.get(),
            job.name = $event.name.as_str(),
            job.parent = $event.parent.map(|parent| parent.get()),
            attempt = $event.attempt,
            seq = $event.seq,
            elapsed = ?$event.elapsed,
            step.name = $event.step.as_ref().map(|step| &*step.name),
            step.number = $event.step.as_ref().map(|step| step.number),
            step.total = $event.step.as_ref().and_then(|step| step.total),
            $($field)*
        )
    };
}

impl Observer for TracingSink {
    fn on_event(&self, event: &Event) {
        let level = level_of(&event.kind);
        if level > self.level {
            return;
        }
        match &event.kind {
            EventKind::Progress(report) => {
                let (done, steps) = report.steps().unzip();
                write_at!(
                    level,
                    event,
                    fraction = report.fraction(),
                    text = report.text(),
                    done,
                    steps,
                    "progress"
                );
            }
            EventKind::StepStarted { .. } => write_at!(level, event, "step started"),
            EventKind::StepSucceeded { took, .. } => {
                write_at!(level, event, ?took, "step succeeded")
            }
            EventKind::RetryScheduled {
                max_retries,
                delay,
                error,
                ..
            } => {
                write_at!(
                    level,
                    event,
                    max_retries,
                    ?delay,
                    error = &**error,
                    "retry scheduled"
                );
            }
            EventKind::Retrying { max_retries, .. } => {
                write_at!(level, event, max_retries, "retrying")
            }
            EventKind::RetryGivenUp {
                max_retries,
                reason,
                ..
            } => {
                write_at!(level, event, max_retries, %reason, "retry given up");
            }
            EventKind::TimedOut {
                scope,
                limit,
                dropped,
            } => {
                write_at!(level, event, %scope, ?limit, dropped, "timed out")
            }
            EventKind::CircuitOpened {
                circuit,
                cooldown,
                cause,
            } => {
                write_at!(
                    level,
                    event,
                    circuit = &**circuit,
                    ?cooldown,
                    cause = &**cause,
                    "circuit opened"
                );
            }
            EventKind::CircuitWouldReject { circuit } => {
                write_at!(level, event, circuit = &**circuit, "circuit would reject");
            }
            EventKind::CircuitHalfOpened { circuit } => {
                write_at!(level, event, circuit = &**circuit, "circuit half-open");
            }
            EventKind::CircuitClosed { circuit } => {
                write_at!(level, event, circuit = &**circuit, "circuit closed")
            }
            EventKind::Duplicate { of, joined } => {
                write_at!(
                    level,
                    event,
                    of = of.map(|of| of.get()),
                    joined,
                    "duplicate"
                );
            }
            EventKind::AnsweredFromKept { of, age, stale } => {
                write_at!(
                    level,
                    event,
                    of = of.map(|of| of.get()),
                    ?age,
                    stale,
                    "answered from kept"
                );
            }
            EventKind::Failed { cause, error } => {
                write_at!(level, event, ?cause, error = &**error, "failed")
            }
            EventKind::Cancelled { reason, dropped } => {
                write_at!(level, event, %reason, dropped, "cancelled")
            }
            EventKind::Dispatched => write_at!(level, event, "dispatched"),
            EventKind::Started => write_at!(level, event, "started"),
            EventKind::Succeeded => write_at!(level, event, "succeeded"),
        }
    }
}
