//! The progress of request bodies.
//!
//! [`ProgressLayer::http`] shows the bytes of the response body. It also shows those of the request
//! body, without code in the job:
//!
//! | the request | what you write | what is counted |
//! |---|---|---|
//! | reqwest's | `ProgressLayer::http()` | a stream |
//! | | [`ProgressLayer::http().uploads()`][`ProgressLayer::uploads`] | a stream, or a body in memory above 64 KiB |
//! | an [`http::Request`] | [`ProgressLayer::http().uploads()`][`ProgressLayer::uploads`] | each body that is not empty |
//!
//! The type of an `http::Request` changes: the layers inside and the client get an
//! [`UploadBody`]. So it has a setter. A client's type contains the type of its bodies, and
//! [`http`][`ProgressLayer::http`] alone must fit around each client.
//!
//! A request of reqwest keeps its type. A body that is counted is a stream: `as_bytes` and
//! `try_clone` return `None`, and reqwest does not send it again after a redirect with 307 or 308.
//! So a body in memory is counted only with `uploads`. `RetryLayer::http()` repeats it like any
//! stream. Smaller bodies stay as they are.
//!
//! ```
//! use bytes::Bytes;
//! use http::{Request, Response, StatusCode};
//! use http_body_util::{BodyExt, Full};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//! use tower_keep::{BoxError, ProgressLayer, Report, RetryLayer, http::upload::UploadBody};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(async {
//! let progress = ProgressLayer::http().uploads();
//! let board = progress.handle();
//! let seen = board.clone();
//! // Reads a frame, looks at the board, and reads the rest.
//! let server = service_fn(move |request: Request<UploadBody<Full<Bytes>>>| {
//!     let board = seen.clone();
//!     async move {
//!         let mut body = request.into_body();
//!         let first = body.frame().await.expect("a frame")?.into_data().expect("data");
//!         assert_eq!(first.len(), 64 * 1024);
//!         assert_eq!(board.jobs()[0].report, Report::bytes(0, Some(10 << 20)));
//!
//!         tokio::time::sleep(std::time::Duration::from_millis(100)).await;
//!         body.frame().await.expect("a frame")?;
//!         assert_eq!(board.jobs()[0].report, Report::bytes(128 * 1024, Some(10 << 20)));
//!
//!         body.collect().await?;
//!         let mut response = Response::new(Full::<Bytes>::default());
//!         *response.status_mut() = StatusCode::NO_CONTENT;
//!         Ok::<_, BoxError>(response)
//!     }
//! });
//! let client = ServiceBuilder::new().layer(progress).layer(RetryLayer::http()).service(server);
//!
//! let file = Full::new(Bytes::from(vec![7; 10 << 20]));
//! client.oneshot(Request::put("http://example.com/file").body(file)?).await?;
//! assert_eq!(board.history()[0].report, Report::bytes(10 << 20, Some(10 << 20)));
//! # Ok::<_, BoxError>(())
//! # }).unwrap();
//! ```
//!
//! # What is reported
//!
//! The bytes that the client's transport took, which is not what the server has: the transport and
//! the operating system buffer some. The total is the size hint of the body, or else the
//! `Content-Length` of the request. The first report says 0 bytes. Further reports follow while
//! frames are sent, at most one each 100 ms, and one at the end of the body. An empty body has no
//! report.
//!
//! A frame of more than 64 KiB is split, so that a body in memory shows progress too. `Bytes` are
//! not copied.
//!
//! While bytes are sent, the job is active: an [idle limit](crate::TimeoutLayer::idle) starts again.
//!
//! # Attempts
//!
//! Each attempt begins at 0 again, and the rate and the time left begin with it. An older attempt
//! that the transport still sends reports nothing, nor does any attempt after the job's end.
//!
//! A [`ReplayLayer`](crate::ReplayLayer) goes outside the Progress layer. Between Progress and
//! Retry, the bytes that it sends again are not counted.
//!
//! # The response
//!
//! From the response head on, the job shows the bytes of the response body, beginning at 0. That
//! also holds if the server answers before it has read the request: the upload goes on, but reports
//! nothing more. A response without a body leaves the last report as it is.
//!
//! # Limits
//!
//! A limit of an attempt counts until the response head, so it includes the upload. In
//! `Pipeline::http_client` it is 10 s. For large bodies, set `attempt_timeout` and `timeout`.
//!
//! # Cost
//!
//! [`UploadBody`] does not allocate or lock, except to report. A counted request of reqwest costs
//! a box for its body. Without a reader of the job, no clock is read.
//!
//! # Cancel safety
//!
//! The body can be dropped at any time. It holds nothing of its job, so a transport that keeps it
//! does not keep the job.
//!
//! [`ProgressLayer::http`]: crate::ProgressLayer::http
//! [`ProgressLayer::uploads`]: crate::ProgressLayer::uploads

mod body;
mod count;
mod layer;
#[cfg(feature = "reqwest-0-13")]
mod of_reqwest;
mod service;

use http_body::Body;

#[cfg(all(feature = "reqwest-0-13", feature = "retry"))]
pub(super) use self::count::UploadCount;
#[cfg(feature = "reqwest-0-13")]
pub(super) use self::of_reqwest::count_reqwest;
pub use self::{body::UploadBody, layer::TransferCount, service::CountUploads};

/// Whether a body has nothing to send.
fn is_empty<B: Body>(body: &B) -> bool {
    body.is_end_stream() || body.size_hint().exact() == Some(0)
}
