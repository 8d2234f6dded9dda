//! The guard of a dispatched job: its body is read by other code, and the job stays apart from it.

use std::{fmt, pin::Pin, task::Context};

use http_body::Body;

use super::{
    FollowResponse, JobGuard,
    at_body_end::follow,
    guard::{End, Guard, PolledFrame},
};
use crate::{
    error::BoxError,
    job::{
        call_end::{Call, EndsCall, sealed::Sealed},
        context::Surroundings,
        membership::Reading,
    },
};

/// The guard of [`Dispatcher::http`](crate::Dispatcher::http): it ends the job, and the limits of
/// the code that reads the body do not apply to the code of the body.
pub struct DispatchGuard(JobGuard);

impl DispatchGuard {
    /// For the head of a dispatched call's response, or for a response of no call.
    pub(crate) fn new(reading: Reading) -> Self {
        Self(JobGuard::new(reading))
    }
}

impl Guard for DispatchGuard {
    #[inline]
    fn poll_frame<B>(
        &mut self,
        body: Pin<&mut Option<B>>,
        cx: &mut Context<'_>,
    ) -> PolledFrame<B::Data>
    where
        B: Body,
        B::Error: Into<BoxError>,
    {
        Surroundings::default().around(|| self.0.poll_frame(body, cx))
    }

    fn ends_job(&self) -> bool {
        self.0.ends_job()
    }

    fn end(self, end: End<'_>) {
        self.0.end(end);
    }
}

impl fmt::Debug for DispatchGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DispatchGuard").finish_non_exhaustive()
    }
}

/// A dispatched call ends with the response body.
#[derive(Clone, Copy, Debug)]
pub struct DispatchedBody;

impl Sealed for DispatchedBody {}

impl<T: FollowResponse<DispatchGuard>> EndsCall<T> for DispatchedBody {
    type Response = T::Followed;

    fn finish(&self, response: T, call: Call<'_>) -> T::Followed {
        follow(response, call, DispatchGuard::new)
    }
}
