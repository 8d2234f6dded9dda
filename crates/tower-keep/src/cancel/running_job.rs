//! A running job, as the handle lists it.

use std::{sync::Arc, time::Duration};

use crate::{
    event::{CancelReason, JobId, JobName},
    job::core::Core,
};

/// A running job as it was when the handle was asked.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RunningJob {
    /// Which job, by the name that an [`Event`](crate::Event) and a job's view have for it, too.
    pub job: JobId,
    /// Its name, empty if it was given none.
    pub name: JobName,
    /// The id that it has outside this process, if [`JobLayer::identified_by`](crate::JobLayer::identified_by) or the
    /// dispatcher gave it one.
    pub external_id: Option<Arc<str>>,
    /// The job whose running code began this one.
    pub parent: Option<JobId>,
    /// How long ago it began.
    pub age: Duration,
    /// The attempt that runs, counted from 1.
    pub attempt: u32,
    /// Why it was cancelled, if it was: it cleans up, or is just being dropped.
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
