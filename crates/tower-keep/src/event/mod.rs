//! What happens to a job, told to whoever watches.
//!
//! An [`Event`] carries the job's id, the attempt, the step and a sequence number, so that log lines, metrics and a progress
//! bar can all be derived from one stream. A layer that watches registers an [`Observer`] with the job it belongs to.
//!
//! # When each event is sent
//!
//! | event | when | how often |
//! |---|---|---|
//! | [`Dispatched`](EventKind::Dispatched) | the outermost tracking layer is called | once, first |
//! | [`Started`](EventKind::Started) | the call got past every gate of its stack; also if the service panics then | at most once, before any progress |
//! | [`Progress`](EventKind::Progress), [`StepStarted`](EventKind::StepStarted), [`StepSucceeded`](EventKind::StepSucceeded) | the job's code reports, or that of the job that it joined | any number |
//! | [`TimedOut`](EventKind::TimedOut), [`RetryScheduled`](EventKind::RetryScheduled), [`Retrying`](EventKind::Retrying), [`RetryGivenUp`](EventKind::RetryGivenUp), circuit events, [`Duplicate`](EventKind::Duplicate), [`AnsweredFromKept`](EventKind::AnsweredFromKept) | a layer acts | any number |
//! | [`AttemptEnded`](EventKind::AttemptEnded) | an attempt of a [Retry](crate::RetryLayer) layer is over: after the `TimedOut` that cut it off, before the `RetryScheduled`, the `RetryGivenUp` or the job's end that follows from it | once for each attempt that reached the service |
//! | [`Succeeded`](EventKind::Succeeded), [`Failed`](EventKind::Failed), [`Cancelled`](EventKind::Cancelled) | the job ends | exactly one of them, once, last |

mod attempt;
mod id;
mod reason;
mod report;
mod step;
pub(crate) mod wall;

#[allow(clippy::disallowed_types, reason = "it is for showing only")]
use std::time::SystemTime;
use std::{fmt, sync::Arc, time::Duration};

use tokio::time::Instant;

#[allow(unused_imports, reason = "only some of the layers have tables of jobs")]
pub(crate) use self::id::JobMap;
pub use self::{
    attempt::AttemptOutcome,
    id::{InvalidJobId, JobId, JobName},
    reason::CancelReason,
    report::{Report, Unit},
    step::StepInfo,
    wall::wall_time,
};

/// Receives the events of the jobs it is registered with.
///
/// Called synchronously on the task that caused the event, in the order of [`Event::seq`], one event of a job at a
/// time, and never while a lock of this library is held. A slow observer slows the job down: hand the work on if it
/// is more than a few microseconds.
///
/// # Panics
///
/// A panic in an observer is caught and dropped; neither the job nor the other observers notice.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not observe events",
    label = "not an `Observer`",
    note = "an observer implements `Observer` or is a closure `Fn(&Event) + Send + Sync`"
)]
pub trait Observer: Send + Sync {
    /// Called once for each event.
    fn on_event(&self, event: &Event);

    /// Called where a job gets its name after its first event, which had none: from a
    /// [`JobLayer`](crate::JobLayer) inside the layer that began the job. Later events carry the name.
    /// Another thread may deliver an event of the job at the same time. Default: does nothing.
    fn on_named(&self, job: JobId, name: &JobName) {
        let _ = (job, name);
    }

    /// Called where a job gets its [external id](Event::external_id) after its first event, which had none: from a
    /// [`JobLayer`](crate::JobLayer) inside the layer that began the job. Later events carry the id.
    /// Another thread may deliver an event of the job at the same time. Default: does nothing.
    fn on_identified(&self, job: JobId, external_id: &Arc<str>) {
        let _ = (job, external_id);
    }
}

#[diagnostic::do_not_recommend]
impl<F> Observer for F
where
    F: Fn(&Event) + Send + Sync,
{
    fn on_event(&self, event: &Event) {
        self(event);
    }
}

/// One thing that happened to one job.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Event {
    /// The job it happened to.
    pub job: JobId,
    /// The job's name by then, empty if it has none: a [`JobLayer`](crate::JobLayer) inside the layer
    /// that began the job names it after [`Dispatched`](EventKind::Dispatched).
    pub name: JobName,
    /// The id that the job has outside this process by then, if
    /// [`JobLayer::identified_by`](crate::JobLayer::identified_by) or the dispatcher gave it one: a request's id, an
    /// order's number.
    pub external_id: Option<Arc<str>>,
    /// The job whose running code began this one.
    pub parent: Option<JobId>,
    /// The attempt that was running, counted from 1.
    pub attempt: u32,
    /// Position in the job's stream of events, from 0, without gaps for whoever watches from the start.
    pub seq: u64,
    /// When it happened, on tokio's clock.
    pub at: Instant,
    /// Time since the job was dispatched.
    pub elapsed: Duration,
    /// The step in which it happened.
    ///
    /// What the code of a step does carries that very step, also where several run at once. What comes from outside the
    /// steps (a time limit, a report between them, the job's end) carries the step that runs, the one that began last if
    /// there are several; or else the one that failed or was dropped, until another begins, the one around it ends well,
    /// [`Job::steps`](crate::Job::steps) counts anew or another attempt begins. So the failure of an attempt and the
    /// job's end say where it was: the innermost step, and the first that failed. `None` where there is no such step,
    /// and once the job succeeded.
    pub step: Option<StepInfo>,
    /// What happened.
    pub kind: EventKind,
}

impl Event {
    /// The first event of a job without name or parent, as for a test of an observer.
    #[must_use]
    pub fn new(job: JobId, kind: EventKind) -> Self {
        Self {
            job,
            name: JobName::EMPTY,
            external_id: None,
            parent: None,
            attempt: 1,
            seq: 0,
            at: Instant::now(),
            elapsed: Duration::ZERO,
            step: None,
            kind,
        }
    }

    /// When it happened, as the [time of day](wall_time).
    #[must_use]
    #[allow(clippy::disallowed_types, reason = "it is for showing only")]
    pub fn at_wall(&self) -> SystemTime {
        wall_time(self.at)
    }
}

/// What happened to a job.
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
    /// A named step, that of [`Event::step`], ended well. One that did not is named by the events that follow from it:
    /// the retry, the job's failure or cancellation.
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
    AttemptEnded {
        /// Which attempt, counted from 1: as in [`Event::attempt`].
        attempt: u32,
        /// How long it took since the service was called: without the wait before it, and without that for a gate or for
        /// the service's readiness.
        took: Duration,
        /// How it ended. A job may still end otherwise, as by a classifier outside the Retry layer.
        outcome: AttemptOutcome,
    },
    /// An attempt failed and another will follow after `delay`.
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
    RetryGivenUp {
        /// The attempt that was the last, counted from 1.
        attempt: u32,
        /// How many retries are allowed in total.
        max_retries: u32,
        /// Why there is no other.
        reason: GiveUpReason,
    },
    /// A time limit expired, and the work that it limits is over.
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
    AnsweredFromKept {
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
            Self::AnsweredFromKept { .. } => "answered_from_kept",
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

/// Why no other attempt follows a failed one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GiveUpReason {
    /// As many retries were made as are allowed.
    Exhausted,
    /// The retry budget is empty.
    Budget,
    /// The wait would reach the job's deadline.
    Deadline,
    /// The wait would reach the retry's own total time.
    TotalTime,
    /// The request cannot be repeated.
    NotRepeatable,
    /// The policy forbade any other attempt, by outer retries too; or a retry inside gave up and
    /// [stops the outer ones](crate::RetryLayer::stop_outer_retries).
    Forbidden,
    /// The service asked for a longer wait than is allowed.
    AskedTooLong,
    /// The policy does not retry this error. For [hooks](crate::RetryLayer::on_give_up); there is no
    /// event of it.
    NotRetryable,
}

impl fmt::Display for GiveUpReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Exhausted => "no retries left",
            Self::Budget => "the retry budget is empty",
            Self::Deadline => "the wait would reach the job's deadline",
            Self::TotalTime => "the wait would reach the total time for all attempts",
            Self::NotRepeatable => "the request cannot be repeated",
            Self::Forbidden => "another attempt is forbidden",
            Self::AskedTooLong => "the service asked for too long a wait",
            Self::NotRetryable => "the error is not retried",
        })
    }
}

/// Why a job failed.
///
/// ```
/// use tower_keep::FailureCause;
///
/// assert_eq!(FailureCause::TimedOut.to_string(), "timed out");
/// assert_eq!(FailureCause::CircuitOpen.to_string(), "the circuit is open");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FailureCause {
    /// The service returned an error, or a response that was classified as a failure.
    Error,
    /// A time limit expired.
    TimedOut,
    /// An open circuit rejected it.
    CircuitOpen,
    /// An identical request was in flight.
    Duplicate,
    /// The service panicked.
    Panicked,
    /// A gate turned the call away, such as a dispatcher without room or a layer of the user's own.
    Rejected,
}

impl FailureCause {
    /// Whether a gate turned the call away: an open circuit, an identical request in flight, or any
    /// other gate. Such a job is logged as rejected, at DEBUG by default.
    ///
    /// ```
    /// use tower_keep::FailureCause;
    ///
    /// assert!(FailureCause::CircuitOpen.is_rejection());
    /// assert!(!FailureCause::TimedOut.is_rejection());
    /// ```
    #[must_use]
    pub fn is_rejection(self) -> bool {
        match self {
            Self::CircuitOpen | Self::Duplicate | Self::Rejected => true,
            Self::Error | Self::TimedOut | Self::Panicked => false,
        }
    }
}

impl fmt::Display for FailureCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "an error",
            Self::TimedOut => "timed out",
            Self::CircuitOpen => "the circuit is open",
            Self::Duplicate => "an identical request was in flight",
            Self::Panicked => "the service panicked",
            Self::Rejected => "a gate turned it away",
        })
    }
}

/// Which time limit.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LimitScope {
    /// The limit over all attempts and waits.
    Overall,
    /// The limit of one attempt.
    Attempt,
    /// The limit on the time without progress.
    Idle,
    /// The limit of a named step inside the job.
    Step(Arc<str>),
}

impl fmt::Display for LimitScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Overall => f.write_str("overall"),
            Self::Attempt => f.write_str("attempt"),
            Self::Idle => f.write_str("idle"),
            Self::Step(name) => write!(f, "step {name:?}"),
        }
    }
}
