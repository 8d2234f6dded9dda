//! `AtBodyEnd`: the job of a call ends with the response body. `JobLayer::http`.

use http::Method;

use super::{FollowResponse, JobGuard, guard::Guard};
use crate::{
    JobLayer,
    http::HttpRequest,
    job::{
        call_end::{BeginsCall, Call, EndsCall, sealed::Sealed},
        membership::Reading,
        verdict,
    },
};

/// The job of a call ends with the response body.
#[derive(Clone, Copy, Debug, Default)]
pub struct AtBodyEnd;

impl Sealed for AtBodyEnd {}

impl<R: HttpRequest> BeginsCall<R> for AtBodyEnd {
    #[inline]
    fn is_bodiless(&self, request: &R) -> bool {
        request.method() == Method::HEAD
    }
}

impl<T: FollowResponse<JobGuard>> EndsCall<T> for AtBodyEnd {
    type Response = T::Followed;

    #[inline]
    fn finish(&self, response: T, call: Call<'_>) -> T::Followed {
        follow(response, call, JobGuard::new)
    }
}

/// Puts the guard into the body of the response.
#[inline]
pub(crate) fn follow<T, G>(
    response: T,
    call: Call<'_>,
    guard: impl FnOnce(Reading) -> G,
) -> T::Followed
where
    T: FollowResponse<G>,
    G: Guard,
{
    let Call(membership) = call;
    // Nothing of the server's follows a response that a layer made.
    let is_over =
        membership.is_bodiless() || verdict::read().is_some_and(|verdict| verdict.made_response());
    response.follow(guard(membership.follow()), is_over)
}

impl<N, I> JobLayer<N, I> {
    /// The job ends with the [response body](crate::http::body), and not with its head: for the
    /// outermost layer of an HTTP client.
    ///
    /// ```
    /// use http::{Request, Response};
    /// use http_body_util::BodyExt;
    /// use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
    /// use tower_keep::{BoxError, JobLayer, LogLayer};
    ///
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let client = ServiceBuilder::new()
    ///     .layer(JobLayer::new("fetch").http())
    ///     .layer(LogLayer::http())
    ///     .service(service_fn(|_: Request<()>| async {
    ///         Ok::<_, BoxError>(Response::new("a page".to_owned()))
    ///     }));
    /// let response = client.oneshot(Request::get("http://example.com").body(())?).await?;
    /// // The job ends here.
    /// assert_eq!(response.into_body().collect().await?.to_bytes(), "a page");
    /// # Ok::<_, BoxError>(())
    /// # }).unwrap();
    /// ```
    #[must_use]
    pub fn http(self) -> JobLayer<N, I, AtBodyEnd> {
        self.ending(AtBodyEnd)
    }
}
