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
//! | [`TimedOut`](EventKind::TimedOut), [`RetryScheduled`](EventKind::RetryScheduled), [`Retrying`](EventKind::Retrying), [`RetryGivenUp`](EventKind::RetryGivenUp), circuit events, [`Duplicate`](EventKind::Duplicate), [`CacheHit`](EventKind::CacheHit) | a layer acts | any number |
//! | [`AttemptEnded`](EventKind::AttemptEnded) | an attempt of a [Retry](crate::RetryLayer) layer is over: after the `TimedOut` that cut it off, before the `RetryScheduled`, the `RetryGivenUp` or the job's end that follows from it | once for each attempt that reached the service |
//! | [`Succeeded`](EventKind::Succeeded), [`Failed`](EventKind::Failed), [`Cancelled`](EventKind::Cancelled) | the job ends | exactly one of them, once, last |

mod attempt_outcome;
mod cancel_reason;
mod failure;
mod id;
mod kind;
mod limit_scope;
mod report;
mod step_info;
pub(crate) mod wall_time;

#[allow(clippy::disallowed_types, reason = "it is for showing only")]
use std::time::SystemTime;
use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

#[allow(unused_imports, reason = "only some of the layers have tables of jobs")]
pub(crate) use self::id::JobMap;
pub use self::{
    attempt_outcome::AttemptOutcome,
    cancel_reason::CancelReason,
    failure::{FailureCause, GiveUpReason},
    id::{InvalidJobId, JobId, JobName},
    kind::EventKind,
    limit_scope::LimitScope,
    report::{Report, Unit},
    step_info::StepInfo,
    wall_time::wall_time,
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
