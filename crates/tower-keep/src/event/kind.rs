//! [`EventKind`]: the kinds of events and their fields.

use std::{sync::Arc, time::Duration};

use super::{
    AttemptOutcome, CancelReason, FailureCause, GiveUpReason, JobId, LimitScope, Report, StepInfo,
};

/// What happened to a job.
///
/// Kinds that may get more fields are `#[non_exhaustive]`: match them with `..`.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum EventKind {
    /// The job was created and handed to the stack.
    Dispatched,
    /// The job passed every gate of its stack and runs.
    Started,
    /// The job's code reported progress.
    Progress(Report),
    /// A named step began.
    StepStarted {
        /// The step's name.
        name: Arc<str>,
        /// Its number, counted from 1.
        number: u32,
        /// The number of steps, if the job announced it.
        total: Option<u32>,
    },
    /// A named step succeeded; [`Event::step`](super::Event::step) names it. After a failed step,
    /// the retry, failure or cancellation event names it.
    #[non_exhaustive]
    StepSucceeded {
        /// Duration of the step.
        took: Duration,
        /// The step that continues: the outer step, or else a parallel one.
        within: Option<StepInfo>,
    },
    /// An attempt that reached the service ended.
    ///
    /// Only a [Retry](crate::RetryLayer) layer sends it, for every attempt, including the first and
    /// a successful one. Without Retry, the only attempt lasts from [`Started`](Self::Started) to
    /// the job's last event. Nested retries share the service's attempts: each attempt has one
    /// event.
    #[non_exhaustive]
    AttemptEnded {
        /// The attempt, counted from 1: as in [`Event::attempt`](super::Event::attempt).
        attempt: u32,
        /// Duration since the service was called, without waits for the retry, for gates or for
        /// readiness.
        took: Duration,
        /// How the attempt ended. The job may end differently, for example by a classifier outside
        /// the Retry layer.
        outcome: AttemptOutcome,
    },
    /// An attempt failed and another follows after `delay`.
    #[non_exhaustive]
    RetryScheduled {
        /// The attempt that failed, counted from 1.
        attempt: u32,
        /// The maximum number of retries.
        max_retries: u32,
        /// Duration of the attempt, including the policy's decision. If the attempt did not reach
        /// the service: duration of the failed hook, or of the wait for readiness.
        took: Duration,
        /// The wait before the next attempt.
        delay: Duration,
        /// The error of the attempt as text.
        error: Arc<str>,
    },
    /// The wait is over and the next attempt begins.
    Retrying {
        /// The new attempt, counted from 1.
        attempt: u32,
        /// The maximum number of retries.
        max_retries: u32,
    },
    /// The policy asked for another attempt, but none follows.
    #[non_exhaustive]
    RetryGivenUp {
        /// The last attempt, counted from 1.
        attempt: u32,
        /// The maximum number of retries.
        max_retries: u32,
        /// Why no attempt follows.
        reason: GiveUpReason,
    },
    /// A time limit expired, and the limited work is over.
    #[non_exhaustive]
    TimedOut {
        /// Which limit expired.
        scope: LimitScope,
        /// The name of the layer with the limit, if it [has one](crate::TimeoutLayer::named).
        name: Option<Arc<str>>,
        /// The length of the limit.
        limit: Duration,
        /// `true` if the work was dropped, `false` if it ended on its own within the grace period.
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
    /// A circuit in observe-only mode would have rejected this job.
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
        /// The job that executes it, if that job is tracked.
        of: Option<JobId>,
        /// `true` if this call waits for that execution's result, `false` if it was rejected.
        joined: bool,
    },
    /// A recent identical request succeeded, and this call gets its result.
    CacheHit {
        /// The job that executed it, if that job was tracked.
        of: Option<JobId>,
        /// Age of the result.
        age: Duration,
        /// Whether the result is past its time to live, and another execution renews it.
        stale: bool,
    },
    /// The job succeeded.
    Succeeded,
    /// The job failed, or a gate [rejected](FailureCause::is_rejection) it.
    Failed {
        /// The cause of the failure.
        cause: FailureCause,
        /// The error as text. For a panic: `the service panicked: ..` with the panic's message.
        error: Arc<str>,
    },
    /// The job was cancelled.
    Cancelled {
        /// The reason.
        reason: CancelReason,
        /// `true` if the work was dropped, `false` if it ended on its own: within the grace period,
        /// or because its code reacted to the token.
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

    /// Whether this event reports progress of the job's code, so that followers receive it too.
    pub(crate) fn is_report(&self) -> bool {
        matches!(
            self,
            Self::Progress(_) | Self::StepStarted { .. } | Self::StepSucceeded { .. }
        )
    }

    /// Whether this event shows that the job's own code runs, so that `Started` must come before
    /// it.
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
