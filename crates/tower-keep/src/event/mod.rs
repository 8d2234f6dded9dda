//! Events of a job: their kinds, their fields, and the [`Observer`] that receives them.
//!
//! An [`Event`] carries the job's id, the attempt, the step and a sequence number. Logs, metrics
//! and progress bars all come from this one stream. A layer registers its [`Observer`] with the job
//! that it belongs to.
//!
//! # When each event is sent
//!
//! | event | when | how often |
//! |---|---|---|
//! | [`Dispatched`](EventKind::Dispatched) | the outermost tracking layer is called | once, first |
//! | [`Started`](EventKind::Started) | the call has passed every gate of its stack, even if the service then panics | at most once, before any progress |
//! | [`Progress`](EventKind::Progress), [`StepStarted`](EventKind::StepStarted), [`StepSucceeded`](EventKind::StepSucceeded) | the code of the job reports, or the code of the job that it joined | any number |
//! | [`TimedOut`](EventKind::TimedOut), [`RetryScheduled`](EventKind::RetryScheduled), [`Retrying`](EventKind::Retrying), [`RetryGivenUp`](EventKind::RetryGivenUp), circuit events, [`Duplicate`](EventKind::Duplicate), [`CacheHit`](EventKind::CacheHit) | a layer acts | any number |
//! | [`AttemptEnded`](EventKind::AttemptEnded) | an attempt of a [Retry](crate::RetryLayer) layer ends: after the `TimedOut` of that attempt, before the resulting `RetryScheduled`, `RetryGivenUp` or end of the job | once for each attempt that reached the service |
//! | [`Succeeded`](EventKind::Succeeded), [`Failed`](EventKind::Failed), [`Cancelled`](EventKind::Cancelled) | the job ends | exactly one of them, once, last |
//!
//! A *gate* is a layer that rejects or delays a call before the service: CircuitBreaker, Dedup,
//! Cancel, the limit of a dispatcher, or a layer of your own.

mod attempt_outcome;
mod cancel_reason;
mod exchange;
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

#[cfg(feature = "http")]
use crate::http::HttpExchange;

pub(crate) use self::exchange::Exchange;
#[allow(unused_imports, reason = "only Log reads one")]
pub(crate) use self::exchange::Status;
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

/// Receives the events of the jobs that it is registered with.
///
/// Events arrive synchronously, in the order of [`Event::seq`], mostly on the task that caused
/// them. Each job delivers one event at a time: if another thread is delivering, that thread goes
/// on with this event. The library holds no lock meanwhile. A slow observer slows the job down:
/// pass the work on if it takes more than a few microseconds.
///
/// # Panics
///
/// The library catches a panic of an observer. Neither the job nor the other observers notice it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not observe events",
    label = "not an `Observer`",
    note = "an observer implements `Observer` or is a closure `Fn(&Event) + Send + Sync`"
)]
pub trait Observer: Send + Sync {
    /// Called once for each event.
    fn on_event(&self, event: &Event);

    /// Called when a job gets its name after its first event, from a [`JobLayer`](crate::JobLayer)
    /// inside the layer that began the job. Later events carry the name. Another thread may deliver
    /// an event of the job at the same time. Default: does nothing.
    fn on_named(&self, job: JobId, name: &JobName) {
        let _ = (job, name);
    }

    /// Called when a job gets its [external id](Event::external_id) after its first event, from a
    /// [`JobLayer`](crate::JobLayer) inside the layer that began the job. Later events carry the
    /// id. Another thread may deliver an event of the job at the same time. Default: does nothing.
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
    /// The job.
    pub job: JobId,
    /// The name of the job at that time, or an empty name. A [`JobLayer`](crate::JobLayer) inside
    /// the layer that began the job names it after [`Dispatched`](EventKind::Dispatched).
    pub name: JobName,
    /// The external id of the job at that time, such as a request id or an order number.
    /// [`JobLayer::identified_by`](crate::JobLayer::identified_by) or the dispatcher sets it.
    pub external_id: Option<Arc<str>>,
    /// The job whose code began this one.
    pub parent: Option<JobId>,
    /// The attempt that was running, counted from 1.
    pub attempt: u32,
    /// Position in the job's stream of events, from 0. An observer of the whole job sees no gaps.
    pub seq: u64,
    /// Time of the event, on tokio's clock.
    pub at: Instant,
    /// Time since the job was dispatched.
    pub elapsed: Duration,
    /// The step to which the event belongs.
    ///
    /// - An event from the code of a step carries that step, also if several steps run in parallel.
    /// - Any other event, such as a time limit or the job's end, carries the running step. Of
    ///   several running steps, it carries the latest.
    /// - If no step runs, it carries the first step that failed or was dropped, innermost first.
    ///   Such a step is forgotten when another step begins, when its outer step succeeds, when
    ///   [`Job::steps`](crate::Job::steps) is called, and at the next attempt.
    ///
    /// `None` if there is no such step, and once the job has succeeded.
    pub step: Option<StepInfo>,
    /// The HTTP exchange of the job, as [`LogLayer::http`](crate::LogLayer::http) saw it. `None`
    /// without that layer, or if nothing listened when it was called.
    #[cfg(feature = "http")]
    pub http: Option<HttpExchange>,
    /// What happened.
    pub kind: EventKind,
}

impl Event {
    /// An event of a job without name or parent, with `seq` 0: for a test of an observer.
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
            #[cfg(feature = "http")]
            http: None,
            kind,
        }
    }

    /// Time of the event as the [time of day](wall_time).
    #[must_use]
    #[allow(clippy::disallowed_types, reason = "it is for showing only")]
    pub fn at_wall(&self) -> SystemTime {
        wall_time(self.at)
    }
}
