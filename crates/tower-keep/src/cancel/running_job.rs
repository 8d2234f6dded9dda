//! `RunningJob`: a snapshot of a running job, as the handles list it.

use std::{sync::Arc, time::Duration};

use crate::{
    event::{CancelReason, JobId, JobName},
    job::core::Core,
};

/// A running job, as it was when the handle listed it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RunningJob {
    /// The job's id, called `job` as in [`Event`](crate::Event) and in a job's view.
    pub job: JobId,
    /// Its name; empty if it has none.
    pub name: JobName,
    /// Its id outside this process, if [`JobLayer::identified_by`](crate::JobLayer::identified_by)
    /// or the dispatcher gave it one.
    pub external_id: Option<Arc<str>>,
    /// The job whose running code began this one.
    pub parent: Option<JobId>,
    /// How long ago it began.
    pub age: Duration,
    /// The running attempt, counted from 1.
    pub attempt: u32,
    /// Why it was cancelled. A cancelled job is listed while it cleans up or is being dropped.
    pub cancelled: Option<CancelReason>,
}

impl RunningJob {
    pub(super) fn of(job: &Core) -> Self {
        Self {
            job: job.id(),
            name: job.name().clone(),
            external_id: job.external_id(),
            parent: job.parent_id(),
            age: job.age(),
            attempt: job.attempt(),
            cancelled: job.reason(),
        }
    }
}
