//! The default sink: writes each event to tracing, with its fields.

use std::time::Duration;

use tracing::Level;

use super::level::Levels;
use crate::event::{Event, EventKind, Observer};

/// Writes each event as one tracing event.
pub(super) struct TracingSink {
    pub(super) levels: Levels,
}

/// A duration in milliseconds.
fn ms(duration: Duration) -> f64 {
    // One division, so the result is the nearest representable number.
    duration.as_nanos() as f64 / 1e6
}

/// The fields of an HTTP exchange, by OpenTelemetry's names. Without an exchange all are absent.
#[derive(Clone, Copy, Default)]
struct HttpFields<'a> {
    method: Option<&'a str>,
    host: Option<&'a str>,
    port: Option<u16>,
    status: Option<u16>,
    resend_count: Option<u32>,
    body: Option<&'a str>,
}

#[cfg(feature = "http")]
fn http_fields(event: &Event) -> HttpFields<'_> {
    let Some(http) = &event.http else {
        return HttpFields::default();
    };
    HttpFields {
        method: Some(http.method),
        host: http.authority.as_ref().map(|authority| authority.host()),
        port: http.authority.as_ref().map(|authority| authority.port()),
        status: http.status.map(|status| status.as_u16()),
        resend_count: event.attempt.checked_sub(1).filter(|count| *count > 0),
        body: http.body.map(|end| end.name()),
    }
}

#[cfg(not(feature = "http"))]
fn http_fields(_: &Event) -> HttpFields<'_> {
    HttpFields::default()
}

/// The level of a tracing callsite is constant, so each level has its own callsite.
macro_rules! write_at {
    ($level:expr, $event:expr, $($field:tt)*) => {
        match $level {
            Level::ERROR => write_event!(Level::ERROR, $event, $($field)*),
            Level::WARN => write_event!(Level::WARN, $event, $($field)*),
            Level::INFO => write_event!(Level::INFO, $event, $($field)*),
            Level::DEBUG => write_event!(Level::DEBUG, $event, $($field)*),
            Level::TRACE => write_event!(Level::TRACE, $event, $($field)*),
        }
    };
}

macro_rules! write_event {
    ($level:expr, $event:expr, $($field:tt)*) => {{
        let http = http_fields($event);
        tracing::event!(
            target: "tower_keep::log",
            $level,
            job.id = $event.job.get(),
            job.name = Some($event.name.as_str()).filter(|name| !name.is_empty()),
            job.external_id = $event.external_id.as_deref(),
            job.parent = $event.parent.map(|parent| parent.get()),
            attempt = $event.attempt,
            seq = $event.seq,
            elapsed_ms = ms($event.elapsed),
            step.name = $event.step.as_ref().map(|step| &*step.name),
            step.number = $event.step.as_ref().map(|step| step.number),
            step.total = $event.step.as_ref().and_then(|step| step.total),
            http.request.method = http.method,
            http.request.resend_count = http.resend_count,
            http.response.status_code = http.status,
            server.address = http.host,
            server.port = http.port,
            body = http.body,
            $($field)*
        )
    }};
}

impl Observer for TracingSink {
    fn on_event(&self, event: &Event) {
        let Some(level) = self.levels.level(event) else {
            return;
        };
        match &event.kind {
            EventKind::Progress(report) => {
                let (done, steps) = report.steps().unzip();
                let unit = report.unit().map(|unit| unit.to_string());
                write_at!(
                    level,
                    event,
                    fraction = report.fraction(),
                    text = report.text(),
                    done,
                    steps,
                    amount = report.done(),
                    total = report.total(),
                    unit,
                    "progress"
                );
            }
            EventKind::StepStarted { .. } => write_at!(level, event, "step started"),
            EventKind::StepSucceeded { took, .. } => {
                write_at!(level, event, took_ms = ms(*took), "step succeeded")
            }
            EventKind::AttemptEnded { took, outcome, .. } => {
                write_at!(
                    level,
                    event,
                    took_ms = ms(*took),
                    outcome = &*outcome.to_string(),
                    "attempt ended"
                );
            }
            EventKind::RetryScheduled {
                max_retries,
                took,
                delay,
                error,
                ..
            } => {
                write_at!(
                    level,
                    event,
                    max_retries,
                    took_ms = ms(*took),
                    delay_ms = ms(*delay),
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
                write_at!(
                    level,
                    event,
                    max_retries,
                    reason = &*reason.to_string(),
                    "retry given up"
                );
            }
            EventKind::TimedOut {
                scope,
                name,
                limit,
                dropped,
            } => {
                write_at!(
                    level,
                    event,
                    scope = &*scope.to_string(),
                    limit_name = name.as_deref(),
                    limit_ms = ms(*limit),
                    dropped,
                    "timed out"
                )
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
                    cooldown_ms = ms(*cooldown),
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
            EventKind::CacheHit { of, age, stale } => {
                write_at!(
                    level,
                    event,
                    of = of.map(|of| of.get()),
                    age_ms = ms(*age),
                    stale,
                    "cache hit"
                );
            }
            EventKind::Failed { cause, error } if cause.is_rejection() => {
                write_at!(
                    level,
                    event,
                    cause = &*cause.to_string(),
                    error = &**error,
                    "rejected"
                )
            }
            EventKind::Failed { cause, error } => {
                write_at!(
                    level,
                    event,
                    cause = &*cause.to_string(),
                    error = &**error,
                    "failed"
                )
            }
            EventKind::Cancelled { reason, dropped } => {
                write_at!(
                    level,
                    event,
                    reason = &*reason.to_string(),
                    dropped,
                    "cancelled"
                )
            }
            EventKind::Dispatched => write_at!(level, event, "dispatched"),
            EventKind::Started => write_at!(level, event, "started"),
            EventKind::Succeeded => write_at!(level, event, "succeeded"),
        }
    }
}
