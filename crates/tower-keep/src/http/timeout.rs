//! `TimeoutLayer::http` and `TimeoutLayer::http_attempt`: limits that include the response body.

use std::{convert::Infallible, error::Error, fmt, time::Duration};

use tokio::time::Instant;

use super::{
    body::{self, AtBodyEnd, FollowResponse, TimeGuard},
    message::HttpRequest,
};
use crate::{
    job::{
        call_end::{BeginsCall, Call},
        membership::Membership,
    },
    reject::Fail,
    timeout::{
        Deadline, TimeoutLayer,
        body::{BeginsBody, Head, LimitsBody, sealed::Sealed},
    },
};

/// The limit of the call holds until the end of the body: [`TimeoutLayer::http`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UntilEnd;

/// The limit of the attempt holds until the head, then an idle limit for the body:
/// [`TimeoutLayer::http_attempt`].
#[derive(Clone, Copy)]
pub struct ThenIdle {
    /// `None`: as long as the limit of the attempt.
    idle: Option<Duration>,
    /// The name of the layer, in the future of a call.
    name: Option<&'static str>,
}

type HttpLayer<B> = TimeoutLayer<Option<Duration>, Option<Duration>, Fail, B>;

impl TimeoutLayer {
    /// An overall limit for an HTTP client: from the call to the end of the response body.
    ///
    /// Until the head, it is the limit of [`new`](Self::new). If it expires while the body is read,
    /// the body fails with an [`Elapsed`](crate::timeout::Elapsed), and the rest of the body is
    /// dropped, which ends the transfer. The time includes that of the reader.
    ///
    /// See [HTTP bodies](crate::timeout#http-bodies) for the exact rules.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use bytes::Bytes;
    /// use futures_util::stream;
    /// use http::{Request, Response};
    /// use http_body_util::{BodyExt, StreamBody};
    /// use tower::{Layer, ServiceExt, service_fn};
    /// use tower_keep::{BoxError, Rejection, TimeoutLayer};
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(async {
    /// // The head arrives at once, the body never does.
    /// let stalls = service_fn(|_: Request<()>| async {
    ///     let body = StreamBody::new(stream::pending::<Result<http_body::Frame<Bytes>, BoxError>>());
    ///     Ok::<_, BoxError>(Response::new(body))
    /// });
    /// let client = TimeoutLayer::http(Duration::from_secs(60)).layer(stalls);
    /// let response = client.oneshot(Request::get("http://example.com").body(())?).await?;
    /// let error = response.into_body().collect().await.unwrap_err();
    /// assert_eq!(Rejection::of(&*error), Some(Rejection::TimedOut));
    /// # Ok::<_, BoxError>(())
    /// # }).unwrap();
    /// ```
    #[must_use]
    pub const fn http(limit: Duration) -> HttpLayer<UntilEnd> {
        Self::new(limit).limiting(UntilEnd)
    }

    /// A limit of each attempt of an HTTP client, inside the retry: until the response head, then
    /// as an idle limit of the body.
    ///
    /// Until the head, it is the limit of `new(limit).per_attempt()`. From then on, it limits each
    /// wait for the server to continue, however long the whole body takes. Set another limit for
    /// these waits with [`idle`](TimeoutLayer::idle).
    ///
    /// A body that fails is not retried, because its head has left the retry: the job fails. A
    /// `RetryLayer::http().resume()` around it asks for the rest of the body.
    ///
    /// See [HTTP bodies](crate::timeout#http-bodies) for the exact rules.
    #[must_use]
    pub const fn http_attempt(limit: Duration) -> HttpLayer<ThenIdle> {
        Self::new(limit).per_attempt().limiting(ThenIdle {
            idle: None,
            name: None,
        })
    }
}

impl<L, T, O> TimeoutLayer<L, T, O, ThenIdle> {
    /// Sets the idle limit of the body: the longest wait for the server to continue. Default: the
    /// limit of the attempt.
    ///
    /// Only a wait counts: from a poll of the body that finds nothing until the next frame. The
    /// time of a reader that does not poll does not count. [`Duration::MAX`] means no limit.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use bytes::Bytes;
    /// use futures_util::{StreamExt, stream};
    /// use http::{Request, Response};
    /// use http_body_util::{BodyExt, StreamBody};
    /// use tokio::time::{Instant, sleep};
    /// use tower::{Layer, ServiceExt, service_fn};
    /// use tower_keep::{BoxError, TimeoutLayer, find, timeout::{Elapsed, LimitScope}};
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(async {
    /// // Ten frames, each after 9 seconds, then nothing.
    /// let slow = service_fn(|_: Request<()>| async {
    ///     let frames = stream::iter(0..10).then(|_| async {
    ///         sleep(Duration::from_secs(9)).await;
    ///         Ok::<_, BoxError>(http_body::Frame::data(Bytes::from("frame")))
    ///     });
    ///     Ok::<_, BoxError>(Response::new(StreamBody::new(Box::pin(frames.chain(stream::pending())))))
    /// });
    /// let limit = TimeoutLayer::http_attempt(Duration::from_secs(10)).idle(Duration::from_secs(15));
    /// let start = Instant::now();
    /// let response = limit.layer(slow).oneshot(Request::get("http://example.com").body(())?).await?;
    /// let error = response.into_body().collect().await.unwrap_err();
    /// assert_eq!(find::<Elapsed>(&*error).unwrap().scope(), &LimitScope::Idle);
    /// assert_eq!(start.elapsed(), Duration::from_secs(10 * 9 + 15));
    /// # Ok::<_, BoxError>(())
    /// # }).unwrap();
    /// ```
    #[must_use]
    pub const fn idle(mut self, limit: Duration) -> Self {
        self.body.idle = Some(limit);
        self
    }
}

impl fmt::Debug for ThenIdle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThenIdle")
            .field("idle", &self.idle)
            .finish_non_exhaustive()
    }
}

impl Sealed for UntilEnd {
    fn includes_body(&self) -> bool {
        true
    }
}

impl Sealed for ThenIdle {
    fn idle_limit(&self) -> Option<Duration> {
        self.idle.filter(|idle| *idle != Duration::MAX)
    }
}

impl<R: HttpRequest> BeginsBody<R> for UntilEnd {
    #[inline]
    fn is_bodiless(&self, request: &R) -> bool {
        AtBodyEnd.is_bodiless(request)
    }
}

impl<R: HttpRequest> BeginsBody<R> for ThenIdle {
    #[inline]
    fn is_bodiless(&self, request: &R) -> bool {
        AtBodyEnd.is_bodiless(request)
    }

    #[inline]
    fn of_call(&self, name: Option<&'static str>) -> Self {
        Self { name, ..*self }
    }
}

impl<T: FollowResponse<TimeGuard>> LimitsBody<T> for UntilEnd {
    type Response = T::Followed;

    #[inline]
    fn finish<E: fmt::Display>(
        &self,
        result: Result<T, E>,
        head: Head<'_>,
        know: impl for<'a> FnOnce(&'a E) -> Option<&'a (dyn Error + 'static)>,
    ) -> Result<T::Followed, E> {
        let of_body = head.deadline;
        follow(result, head.membership, of_body, know)
    }
}

impl<T: FollowResponse<TimeGuard>> LimitsBody<T> for ThenIdle {
    type Response = T::Followed;

    #[inline]
    fn finish<E: fmt::Display>(
        &self,
        result: Result<T, E>,
        head: Head<'_>,
        know: impl for<'a> FnOnce(&'a E) -> Option<&'a (dyn Error + 'static)>,
    ) -> Result<T::Followed, E> {
        let of_attempt = head.deadline.map(|deadline| deadline.limit());
        let of_body = (self.idle.or(of_attempt)).map(|idle| {
            let at = head
                .deadline
                .map_or_else(Instant::now, |deadline| deadline.at);
            Deadline::of_body(idle, self.name, at)
        });
        follow(result, head.membership, of_body, know)
    }
}

/// Puts the limit into the body of the response.
#[inline]
fn follow<T: FollowResponse<TimeGuard>, E: fmt::Display>(
    result: Result<T, E>,
    membership: &mut Membership,
    of_body: Option<Deadline>,
    know: impl for<'a> FnOnce(&'a E) -> Option<&'a (dyn Error + 'static)>,
) -> Result<T::Followed, E> {
    let response = match result {
        Ok(response) => response,
        Err(error) => {
            let failed = Err::<Infallible, _>(error);
            membership.finish_known(&failed, know);
            return failed.map(|never| match never {});
        }
    };
    let guard = |reading| TimeGuard::new(reading, of_body);
    Ok(body::follow(response, Call(membership), guard))
}
