//! `LogLayer::http`: the log of an HTTP client.

use http::StatusCode;

use super::{
    body::{AtBodyEnd, FollowResponse, JobGuard},
    classify::ServerErrors,
    exchange::HttpExchange,
    message::HttpRequest,
};
use crate::{
    event::Observer,
    job::call_end::{BeginsCall, Call, EndsCall, sealed::Sealed},
    log::{
        LogLayer,
        fields::{ReadRequest, ReadResponse},
    },
};

impl LogLayer {
    /// Logs the jobs of an HTTP client to [`tracing`]: with the method, the server, the status and
    /// the number of resends.
    ///
    /// The job ends with the [response body](crate::http::body), if this is the outermost layer: a
    /// body that is cut fails it. So the body of an `http::Response` has to be a
    /// [`Body`](http_body::Body), and a response must be read or dropped.
    ///
    /// Records have these fields, next to [those of every log](crate::log#fields), and events have
    /// [`Event::http`](crate::Event::http). They contain no path, no query, no header and no user
    /// information. An [error's text](crate::log#error-texts) may contain a URL, with its path.
    ///
    /// The job fails with every error, with a response whose status is from 500 to 599, and with a
    /// gRPC status of a failed server, in the headers or the [trailers](crate::http::body#grpc).
    /// Any other response leaves the decision to the layers inside: if a
    /// [Retry](crate::RetryLayer) layer gives up on a 429, for example, the job fails too.
    /// [`classify`](Self::classify) changes this, except for the trailers.
    ///
    /// The request is an [`HttpRequest`], the response an
    /// [`HttpResponse`](crate::http::HttpResponse) with a body.
    ///
    /// ```
    /// use std::sync::{Arc, Mutex};
    ///
    /// use http::{Request, Response, StatusCode};
    /// use tower::{ServiceBuilder, ServiceExt, service_fn};
    /// use tower_keep::{BoxError, Event, LogLayer};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), BoxError> {
    /// let lines = Arc::new(Mutex::new(Vec::new()));
    /// let to_lines = Arc::clone(&lines);
    /// let sink = move |event: &Event| {
    ///     let http = event.http.as_ref().expect("each event has the exchange");
    ///     let server = http.authority.as_ref().unwrap();
    ///     let status = http.status.map_or(0, |status| status.as_u16());
    ///     let line = format!("{} {} {server} {status}", event.kind.name(), http.method);
    ///     to_lines.lock().unwrap().push(line);
    /// };
    /// let service = ServiceBuilder::new()
    ///     // `LogLayer::http()` writes to tracing.
    ///     .layer(LogLayer::http_to(sink))
    ///     .service(service_fn(|_: Request<()>| async {
    ///         let mut response = Response::new(String::new());
    ///         *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    ///         Ok::<_, BoxError>(response)
    ///     }));
    /// let request = Request::get("http://me:secret@example.com/private?token=abc").body(())?;
    /// service.oneshot(request).await?;
    /// let lines = lines.lock().unwrap();
    /// assert_eq!(lines[0], "dispatched GET example.com:80 0");
    /// assert_eq!(lines.last().unwrap(), "failed GET example.com:80 503");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Another request does not compile:
    ///
    /// ```compile_fail,E0277
    /// use tower::{Layer, Service, service_fn};
    /// use tower_keep::{BoxError, LogLayer};
    ///
    /// fn serve<S: Service<u32>>(_: S) {}
    ///
    /// let service = service_fn(|_: u32| async { Ok::<_, BoxError>(http::Response::new(String::new())) });
    /// // error: `u32` is not an HTTP request that the layers know
    /// serve(LogLayer::http().layer(service));
    /// ```
    #[must_use]
    pub fn http() -> LogLayer<ServerErrors, HttpFields> {
        Self::new().reading(ServerErrors, HttpFields)
    }

    /// Like [`http`](Self::http), to this sink instead of tracing, as [`to`](Self::to) does.
    #[must_use]
    pub fn http_to(sink: impl Observer + 'static) -> LogLayer<ServerErrors, HttpFields> {
        Self::to(sink).reading(ServerErrors, HttpFields)
    }
}

/// Reads the method and the server of a request, and the status of a response.
#[derive(Clone, Copy, Debug, Default)]
pub struct HttpFields;

impl Sealed for HttpFields {}

impl<R: HttpRequest> BeginsCall<R> for HttpFields {
    #[inline]
    fn is_bodiless(&self, request: &R) -> bool {
        AtBodyEnd.is_bodiless(request)
    }
}

impl<T: FollowResponse<JobGuard>> EndsCall<T> for HttpFields {
    type Response = T::Followed;

    #[inline]
    fn finish(&self, response: T, call: Call<'_>) -> T::Followed {
        AtBodyEnd.finish(response, call)
    }
}

impl<R: HttpRequest> ReadRequest<R> for HttpFields {
    const READS: bool = true;

    fn exchange(&self, request: &R) -> Option<HttpExchange> {
        Some(HttpExchange::new(request.method(), request.authority()))
    }
}

impl<T: FollowResponse<JobGuard>> ReadResponse<T> for HttpFields {
    #[inline]
    fn status(&self, response: &T) -> Option<StatusCode> {
        Some(response.status())
    }
}
