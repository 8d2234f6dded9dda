//! The kinds of events, and what each carries.

use std::{sync::Arc, time::Duration};

use super::{
    AttemptOutcome, CancelReason, FailureCause, GiveUpReason, JobId, LimitScope, Report, StepInfo,
};

/// What happened to a job.
///
/// Kinds whose fields will grow are `#[non_exhaustive]`: match them with `..`.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum EventKind {
    /// The job exists and was handed to the stack.
    Dispatched,
    /// The job got past every gate of its stack and runs.
    Started,
    /// The job's code reported how far it is.
    Progress(Report),
    /// A named step began.
    StepStarted {
        /// The step's name.
        name: Arc<str>,
        /// Its number, counted from 1.
        number: u32,
        /// How many there are, if the job said so.
        total: Option<u32>,
    },
    /// A named step, that of [`Event::step`](super::Event::step), ended well. One that did not is named by the events that follow from it:
    /// the retry, the job's failure or cancellation.
    #[non_exhaustive]
    StepSucceeded {
        /// How long it took.
        took: Duration,
        /// The step that goes on: the one around it, or else beside it.
        within: Option<StepInfo>,
    },
    /// An attempt that reached the service is over.
    ///
    /// A [Retry](crate::RetryLayer) layer makes the attempts; the first has this event too, and so has one with success. A
    /// job without a Retry layer has no such event: its only attempt begins with [`Started`](Self::Started), and is over
    /// with the job's last event. Retries inside each other have the service's attempts in common: each has one event.
    #[non_exhaustive]
    AttemptEnded {
        /// Which attempt, counted from 1: as in [`Event::attempt`](super::Event::attempt).
        attempt: u32,
        /// How long it took since the service was called: without the wait before it, and without that for a gate or for
        /// the service's readiness.
        took: Duration,
        /// How it ended. A job may still end otherwise, as by a classifier outside the Retry layer.
        outcome: AttemptOutcome,
    },
    /// An attempt failed and another will follow after `delay`.
    #[non_exhaustive]
    RetryScheduled {
        /// The attempt that failed, counted from 1.
        attempt: u32,
        /// How many retries are allowed in total.
        max_retries: u32,
        /// How long that attempt took, including the policy's decision to retry. An attempt that did not reach the
        /// service took as long as its failed hook, or as the wait for readiness.
        took: Duration,
        /// The wait before the next attempt.
        delay: Duration,
        /// The error of the failed attempt, as text.
        error: Arc<str>,
    },
    /// The wait is over and the next attempt begins.
    Retrying {
        /// The attempt that begins, counted from 1.
        attempt: u32,
        /// How many retries are allowed in total.
        max_retries: u32,
    },
    /// The policy asked for another attempt, and there will be none.
    #[non_exhaustive]
    RetryGivenUp {
        /// The attempt that was the last, counted from 1.
        attempt: u32,
        /// How many retries are allowed in total.
        max_retries: u32,
        /// Why there is no other.
        reason: GiveUpReason,
    },
    /// A time limit expired, and the work that it limits is over.
    #[non_exhaustive]
    TimedOut {
        /// Which limit it was.
        scope: LimitScope,
        /// The name of the layer whose limit it was, if it [has one](crate::TimeoutLayer::named).
        name: Option<Arc<str>>,
        /// How long it was.
        limit: Duration,
        /// `true` if the work was dropped where it stood, `false` if it came to its own end within the grace period.
        dropped: bool,
    },
    /// A circuit opened because of this job's outcome.
    #[non_exhaustive]
    CircuitOpened {
        /// The circuit's name.
        circuit: Arc<str>,
        /// Time until it lets a probe through.
        cooldown: Duration,
        /// The failure that opened it, as in `circuit_breaker::Open::cause`.
        cause: Arc<str>,
    },
    /// A circuit that only observes would have rejected this job.
    CircuitWouldReject {
        /// The circuit's name.
        circuit: Arc<str>,
    },
    /// A circuit lets this job through as a probe.
    CircuitHalfOpened {
        /// The circuit's name.
        circuit: Arc<str>,
    },
    /// A circuit closed because of this job's outcome.
    CircuitClosed {
        /// The circuit's name.
        circuit: Arc<str>,
    },
    /// An identical request is in flight already.
    Duplicate {
        /// The job that executes it, where that job is tracked.
        of: Option<JobId>,
        /// Whether this call waits for that execution's result; otherwise it was rejected.
        joined: bool,
    },
    /// An identical request succeeded a short time ago, and this one gets its result.
    CacheHit {
        /// The job that executed it, where that job was tracked.
        of: Option<JobId>,
        /// How long ago it succeeded.
        age: Duration,
        /// Whether it is past its time to live, and another execution renews it.
        stale: bool,
    },
    /// The job ended well.
    Succeeded,
    /// The job ended with a failure, or a gate [rejected](FailureCause::is_rejection) it.
    Failed {
        /// What kind of failure.
        cause: FailureCause,
        /// The error as text. Of a panic it is `the service panicked: ..` with what the panic said.
        error: Arc<str>,
    },
    /// The job was cancelled.
    Cancelled {
        /// Why.
        reason: CancelReason,
        /// `true` if the work was dropped where it stood, `false` if it came to its own end, within the grace period
        /// or because it heeded the token.
        dropped: bool,
    },
}

impl EventKind {
    /// Whether this is the job's last event.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        matches!(
            self,
            Self::Succeeded | Self::Failed { .. } | Self::Cancelled { .. }
        )
    }

    /// A short snake_case name, such as `retry_scheduled`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Dispatched => "dispatched",
            Self::Started => "started",
            Self::Progress(_) => "progress",
            Self::StepStarted { .. } => "step_started",
            Self::StepSucceeded { .. } => "step_succeeded",
            Self::AttemptEnded { .. } => "attempt_ended",
            Self::RetryScheduled { .. } => "retry_scheduled",
            Self::Retrying { .. } => "retrying",
            Self::RetryGivenUp { .. } => "retry_given_up",
            Self::TimedOut { .. } => "timed_out",
            Self::CircuitOpened { .. } => "circuit_opened",
            Self::CircuitWouldReject { .. } => "circuit_would_reject",
            Self::CircuitHalfOpened { .. } => "circuit_half_opened",
            Self::CircuitClosed { .. } => "circuit_closed",
            Self::Duplicate { .. } => "duplicate",
            Self::CacheHit { .. } => "cache_hit",
            Self::Succeeded => "succeeded",
            Self::Failed { .. } => "failed",
            Self::Cancelled { .. } => "cancelled",
        }
    }

    /// Whether this is what the job's code tells of its work, and so of interest to all that wait for it.
    pub(crate) fn is_report(&self) -> bool {
        matches!(
            self,
            Self::Progress(_) | Self::StepStarted { .. } | Self::StepSucceeded { .. }
        )
    }

    /// Whether this event shows that the job's own work runs, so that `Started` has to come before it.
    pub(crate) fn implies_started(&self) -> bool {
        matches!(
            self,
            Self::Progress(_)
                | Self::StepStarted { .. }
                | Self::StepSucceeded { .. }
                | Self::AttemptEnded { .. }
                | Self::RetryScheduled { .. }
                | Self::Retrying { .. }
                | Self::RetryGivenUp { .. }
                | Self::TimedOut { .. }
                | Self::CircuitOpened { .. }
                | Self::CircuitClosed { .. }
        )
    }
}
