//! `CancelLayer::http`: a cancellation reaches the response body.

use std::{hash::Hash, pin::Pin};

use super::{
    body::{AtBodyEnd, CancelGuard, FollowResponse, follow},
    message::HttpRequest,
};
use crate::{
    cancel::{
        BodyWatch, CancelLayer, FollowBody, FollowedCall, NoGroup,
        call_end::{FinishCall, Head},
    },
    job::call_end::{BeginsCall, Call, sealed::Sealed},
};

impl CancelLayer {
    /// For HTTP clients: like [`new`](Self::new), and a cancellation reaches the response body.
    ///
    /// While the body is read, its job is listed, and a shutdown waits for it. A cancellation ends
    /// the job at once, even if the reader does not poll. The next poll of the body, or the pending
    /// one, returns an error with [`Cancelled`](crate::cancel::Cancelled) inside and drops the inner
    /// body. A [grace period](Self::grace) ends with the response head.
    ///
    /// If an outer layer ends the job at the head, nothing is left to cancel after it: see [which
    /// layer ends the job](crate::http::body#which-layer-ends-the-job).
    ///
    /// A detached job would not outlive its body, so such a layer has no
    /// [`detached`](Self::detached):
    ///
    /// ```compile_fail,E0277
    /// // error: a layer that follows the response body cannot be detached
    /// let cancel = tower_keep::CancelLayer::http().detached();
    /// ```
    ///
    /// ```
    /// use bytes::Bytes;
    /// use http::{Request, Response};
    /// use http_body_util::{BodyExt, Full};
    /// use tower::{Layer, ServiceExt, service_fn};
    /// use tower_keep::{BoxError, CancelLayer, Rejection};
    ///
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let cancel = CancelLayer::http();
    /// let handle = cancel.handle();
    /// let client = cancel.layer(service_fn(|_: Request<()>| async {
    ///     Ok::<_, BoxError>(Response::new(Full::new(Bytes::from("a page"))))
    /// }));
    /// let response = client.oneshot(Request::get("http://example.com").body(())?).await?;
    ///
    /// // The job goes on with the body.
    /// let job = handle.jobs()[0].job;
    /// assert!(handle.cancel(job));
    /// assert!(handle.jobs().is_empty());
    /// let error = response.into_body().collect().await.unwrap_err();
    /// assert_eq!(Rejection::of(&*error), Some(Rejection::Cancelled));
    /// # Ok::<_, BoxError>(())
    /// # }).unwrap();
    /// ```
    #[must_use]
    pub fn http() -> CancelLayer<NoGroup, FollowBody> {
        Self::new().dropping(FollowBody)
    }
}

impl Sealed for FollowBody {}

impl<R: HttpRequest> BeginsCall<R> for FollowBody {
    #[inline]
    fn is_bodiless(&self, request: &R) -> bool {
        AtBodyEnd.is_bodiless(request)
    }
}

impl<F, K, T> FinishCall<T> for FollowedCall<F, K>
where
    K: Eq + Hash + Send + Sync + 'static,
    T: FollowResponse<CancelGuard>,
{
    type Response = T::Followed;

    type Kept = BodyWatch;

    const GOES_ON: bool = true;

    #[inline]
    fn keep(self: Pin<&mut Self>) -> Option<BodyWatch> {
        self.into_watch()
    }

    fn finish<E>(result: Result<T, E>, head: Head<'_, BodyWatch>) -> Result<T::Followed, E> {
        let Head { membership, kept } = head;
        result.map(|response| {
            let guard = |reading| CancelGuard::new(reading, kept);
            follow(response, Call(membership), guard)
        })
    }
}
