//! The guard of a layer that only ends its job.

use std::{fmt, pin::Pin, task::Context};

use http_body::Body;

use super::guard::{End, Guard, PolledFrame, poll_body};
use crate::{error::BoxError, job::membership::Reading};

/// The guard of a layer that ends the job with the body, and does nothing else:
/// `LogLayer::http` and
/// [`JobLayer::http`](crate::JobLayer::http).
pub struct JobGuard {
    reading: Reading,
}

impl JobGuard {
    pub(crate) fn new(reading: Reading) -> Self {
        Self { reading }
    }

    /// Whether a report has a reader.
    #[cfg(feature = "progress")]
    pub(super) fn is_heard(&self) -> bool {
        self.reading.with_job(|job| job.is_heard()).unwrap_or(false)
    }

    /// Reports progress of the job.
    #[cfg(feature = "progress")]
    pub(super) fn report(&self, report: crate::Report) {
        self.reading.report(report);
    }
}

impl Guard for JobGuard {
    #[inline(always)]
    fn poll_frame<B>(
        &mut self,
        body: Pin<&mut Option<B>>,
        cx: &mut Context<'_>,
    ) -> PolledFrame<B::Data>
    where
        B: Body,
        B::Error: Into<BoxError>,
    {
        self.reading.poll(|| poll_body(body, cx))
    }

    fn ends_job(&self) -> bool {
        self.reading.ends_job()
    }

    fn end(self, end: End<'_>) {
        self.reading.with_job(|job| job.end_body(|| end.kind()));
        end.settle(self.reading);
    }
}

impl fmt::Debug for JobGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobGuard").finish_non_exhaustive()
    }
}
