//! `UploadBody`: a request body that reports its bytes.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::count::UploadCount;

/// The most data of one frame.
const MAX_FRAME: usize = 64 * 1024;

pin_project! {
    /// A request body whose bytes are the progress of its job.
    ///
    /// [`ProgressLayer::uploads`](crate::ProgressLayer::uploads) makes it. It sends the frames of
    /// the inner body. A frame of more than 64 KiB becomes several frames, without a copy if the
    /// data are [`Bytes`]. Size hint, end, trailers and errors are those of the inner body, so the
    /// client sends the same `Content-Length`, or none. It is `Unpin` if the inner body is.
    ///
    /// A clone is another attempt, whose count begins at zero.
    ///
    /// ```
    /// use bytes::Bytes;
    /// use http_body_util::Full;
    /// use hyper_util::{client::legacy::{Client, connect::HttpConnector}, rt::TokioExecutor};
    /// use tower::Layer;
    /// use tower_keep::{ProgressLayer, http::upload::UploadBody};
    ///
    /// let client: Client<HttpConnector, UploadBody<Full<Bytes>>> =
    ///     Client::builder(TokioExecutor::new()).build_http();
    /// let client = ProgressLayer::http().uploads().layer(client);
    /// # let _ = client;
    /// ```
    pub struct UploadBody<B>
    where
        B: Body,
    {
        #[pin]
        body: B,
        // What is left of a frame.
        rest: Option<B::Data>,
        count: UploadCount,
    }
}

impl<B: Body> UploadBody<B> {
    pub(in crate::http) fn new(body: B, count: UploadCount) -> Self {
        Self {
            body,
            rest: None,
            count,
        }
    }

    /// The inner body.
    pub fn get_ref(&self) -> &B {
        &self.body
    }
}

impl<B: Body> Body for UploadBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let mut this = self.project();
        this.count.begin(|| this.body.size_hint());
        if this.rest.is_none() {
            let polled = ready!(this.body.as_mut().poll_frame(cx));
            match polled.map(|polled| polled.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => *this.rest = Some(data),
                // Nothing follows the trailers.
                Some(Ok(Err(other))) => {
                    this.count.end(true);
                    let trailers = other.map_data(|mut data| data.copy_to_bytes(data.remaining()));
                    return Poll::Ready(Some(Ok(trailers)));
                }
                Some(Err(error)) => {
                    this.count.end(false);
                    return Poll::Ready(Some(Err(error)));
                }
                None => {
                    this.count.end(true);
                    return Poll::Ready(None);
                }
            }
        }
        let Some(data) = this.rest else {
            unreachable!("a frame was read")
        };
        let part = data.copy_to_bytes(data.remaining().min(MAX_FRAME));
        if !data.has_remaining() {
            *this.rest = None;
        }
        this.count.add(part.len());
        // Not every transport polls a body to `None`.
        if this.rest.is_none() && this.body.is_end_stream() {
            this.count.end(true);
        }
        Poll::Ready(Some(Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let inner = self.body.size_hint();
        let Some(rest) = &self.rest else {
            return inner;
        };
        let rest = rest.remaining() as u64;
        let mut hint = SizeHint::new();
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint.set_lower(inner.lower().saturating_add(rest));
        hint
    }
}

impl<B> Clone for UploadBody<B>
where
    B: Body<Data: Clone> + Clone,
{
    fn clone(&self) -> Self {
        Self {
            body: self.body.clone(),
            rest: self.rest.clone(),
            count: self.count.again(),
        }
    }
}

impl<B: Body + fmt::Debug> fmt::Debug for UploadBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UploadBody")
            .field("body", &self.body)
            .field("sent", &self.count.sent())
            .finish_non_exhaustive()
    }
}
