//! `ProgressLayer::http`: shows how many bytes of a response body have been read.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Buf;
use http_body::Body;
use tokio::time::Instant;

use super::{
    AtBodyEnd, FollowResponse, JobGuard,
    at_body_end::follow,
    guard::{End, Guard, PolledFrame},
    throttle::Throttle,
};
use crate::{
    ProgressLayer, Report,
    error::BoxError,
    http::HttpRequest,
    job::call_end::{AroundService, BeginsCall, Call, EndsCall, sealed::Sealed},
};

/// The least time between two reports: what a reader on a screen can follow.
pub(crate) const INTERVAL: Duration = Duration::from_millis(100);

/// The job of a call ends with the response body, and its progress is the bytes that were read.
#[derive(Clone, Copy, Debug, Default)]
pub struct ByteCount;

impl Sealed for ByteCount {}

impl<R: HttpRequest> BeginsCall<R> for ByteCount {
    #[inline]
    fn is_bodiless(&self, request: &R) -> bool {
        AtBodyEnd.is_bodiless(request)
    }

    #[inline]
    fn prepare(&self, request: R) -> R {
        request.count_upload(false)
    }
}

impl<S> AroundService<S> for ByteCount {
    type Service = S;

    #[inline]
    fn around(&self, inner: S) -> S {
        inner
    }
}

impl<T: FollowResponse<ByteGuard>> EndsCall<T> for ByteCount {
    type Response = T::Followed;

    #[inline]
    fn finish(&self, response: T, call: Call<'_>) -> T::Followed {
        // From here on, the job shows the bytes of the response.
        call.0.with_job(|job| job.end_uploads());
        follow(response, call, |reading| {
            ByteGuard::new(JobGuard::new(reading))
        })
    }
}

/// The guard of [`ProgressLayer::http`]: it reports the bytes that were read, and ends the job.
pub struct ByteGuard {
    job: JobGuard,
    read: u64,
    reported: u64,
    total: Option<u64>,
    throttle: Throttle,
}

impl ByteGuard {
    fn new(job: JobGuard) -> Self {
        Self {
            job,
            read: 0,
            reported: 0,
            total: None,
            throttle: Throttle::default(),
        }
    }

    #[inline]
    fn count(&mut self, bytes: usize) {
        self.read += bytes as u64;
        if self.total.is_some_and(|total| total < self.read) {
            // The declared length was wrong.
            self.total = None;
        }
        if self.throttle.may_be_due() {
            self.report_if_due();
        }
    }

    fn report_if_due(&mut self) {
        if self.job.is_heard() && self.throttle.is_due(Instant::now(), INTERVAL) {
            self.report();
        }
    }

    fn report(&mut self) {
        self.reported = self.read;
        self.job.report(Report::bytes(self.read, self.total));
    }
}

impl Guard for ByteGuard {
    fn begin(&mut self, length: Option<u64>) {
        self.total = length;
        self.report_if_due();
    }

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
        let polled = self.job.poll_frame(body, cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(data) = frame.data_ref() {
                    self.count(data.remaining());
                }
            }
            Poll::Ready(_) => {}
            Poll::Pending => self.throttle.wait(),
        }
        polled
    }

    fn ends_job(&self) -> bool {
        self.job.ends_job()
    }

    /// Without a reader at the head, there is none later: a layer keeps nothing before its first
    /// handle.
    fn is_needed(&self) -> bool {
        self.job.ends_job() || self.job.is_heard()
    }

    fn end(mut self, end: End<'_>) {
        if let End::Complete(_) = end {
            // A body without a declared length has one now.
            let total = self.total.replace(self.read);
            if self.read > 0 && (self.reported != self.read || total != self.total) {
                self.report();
            }
        } else if self.reported != self.read {
            self.report();
        }
        self.job.end(end);
    }
}

impl fmt::Debug for ByteGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByteGuard")
            .field("read", &self.read)
            .field("total", &self.total)
            .finish_non_exhaustive()
    }
}

impl ProgressLayer {
    /// Shows the jobs of an HTTP client until the end of their [response
    /// bodies](crate::http::body), with the bytes that were read.
    ///
    /// The first report is made at the head: 0 bytes, of the total if it is known. Further reports
    /// follow while frames arrive, at most one each 100 ms, and one at the end of the body. The
    /// [rate and the time left](crate::progress#amounts-rate-and-time-left) follow from them. They
    /// replace the reports of the job's own code.
    ///
    /// Before the head, it shows the bytes of a request body in the same way, if that is a stream of
    /// reqwest. For other bodies, add [`uploads`](Self::uploads). The module
    /// [`http::upload`](crate::http::upload) says more.
    ///
    /// The total is the size hint of the body, or else the `Content-Length`. It is unknown if the
    /// body was decoded on its way, because the length is that of the encoded form.
    ///
    /// ```
    /// use http::{Request, Response};
    /// use http_body_util::BodyExt;
    /// use tower::{Layer, ServiceExt, service_fn};
    /// use tower_keep::{BoxError, ProgressLayer, Report};
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// let progress = ProgressLayer::http();
    /// let board = progress.handle();
    /// let client = progress.layer(service_fn(|_: Request<()>| async {
    ///     Ok::<_, BoxError>(Response::new("a page".to_owned()))
    /// }));
    /// let response = client.oneshot(Request::get("http://example.com").body(())?).await?;
    /// assert_eq!(board.jobs()[0].report, Report::bytes(0, Some(6)));
    ///
    /// response.into_body().collect().await?;
    /// assert_eq!(board.history()[0].report, Report::bytes(6, Some(6)));
    /// # Ok::<_, BoxError>(())
    /// # }).unwrap();
    /// ```
    #[must_use]
    pub fn http() -> ProgressLayer<ByteCount> {
        Self::new().ending(ByteCount)
    }
}
