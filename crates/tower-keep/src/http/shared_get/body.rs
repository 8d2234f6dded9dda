//! `GetBody`: the body of a shared answer, or the body of one caller.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
    vec,
};

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::error::BoxError;

pin_project! {
    /// The response body of [`DedupLayer::http_get`](crate::DedupLayer::http_get).
    ///
    /// The body of a shared answer is whole: its length is known, and it is ready at once. Its bytes
    /// are not copied for each caller. The body of one caller is the client's own stream. It may
    /// begin with bytes that were read before the layer found that they cannot be shared.
    ///
    /// It is `Unpin` if the client's body is.
    pub struct GetBody<B> {
        first: Bytes,
        more: vec::IntoIter<Bytes>,
        // `None` at its end.
        #[pin]
        body: Option<B>,
        trailers: Option<Box<HeaderMap>>,
    }
}

/// What was read of a body.
#[derive(Debug, Default)]
pub(super) struct ReadSoFar {
    chunks: Vec<Bytes>,
    /// The bytes after the chunks.
    small: BytesMut,
    length: u64,
    pub(super) trailers: Option<Box<HeaderMap>>,
}

/// In bytes. A chunk costs the memory of its handle, and keeps the buffer that it is a part of. So
/// smaller chunks are copied, or else a body of single bytes would take far more than its length.
const SMALL: usize = 1024;

impl ReadSoFar {
    pub(super) fn push(&mut self, data: Bytes) {
        self.length += data.len() as u64;
        match data.len() {
            0 => {}
            // The only chunk of most small bodies is not copied.
            1..SMALL if !self.chunks.is_empty() => self.small.extend_from_slice(&data),
            _ => {
                self.end_small();
                self.chunks.push(data);
            }
        }
    }

    fn end_small(&mut self) {
        if !self.small.is_empty() {
            self.chunks.push(std::mem::take(&mut self.small).freeze());
        }
    }

    /// In bytes.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    fn into_chunks(mut self) -> Vec<Bytes> {
        self.end_small();
        self.chunks
    }

    /// All bytes in one piece. A single chunk is not copied.
    pub(super) fn into_bytes(self) -> Bytes {
        let mut chunks = self.into_chunks();
        if chunks.len() == 1 {
            return chunks.swap_remove(0);
        }
        let mut all = BytesMut::with_capacity(chunks.iter().map(Bytes::len).sum());
        chunks.iter().for_each(|chunk| all.extend_from_slice(chunk));
        all.freeze()
    }
}

impl<B> GetBody<B> {
    /// The client's own body.
    pub(super) fn of(body: B) -> Self {
        Self::resumed(ReadSoFar::default(), Some(body))
    }

    /// What was read so far, and the rest.
    pub(super) fn resumed(mut read: ReadSoFar, rest: Option<B>) -> Self {
        let trailers = read.trailers.take();
        Self {
            first: Bytes::new(),
            more: read.into_chunks().into_iter(),
            body: rest,
            trailers,
        }
    }

    /// A whole body.
    pub(super) fn whole(bytes: Bytes, trailers: Option<Box<HeaderMap>>) -> Self {
        Self {
            first: bytes,
            more: Vec::new().into_iter(),
            body: None,
            trailers,
        }
    }

    fn buffered(&self) -> u64 {
        let more = self.more.as_slice().iter().map(Bytes::len);
        (self.first.len() + more.sum::<usize>()) as u64
    }
}

/// An empty body, for [`respond_with`](crate::DedupLayer::respond_with).
impl<B> Default for GetBody<B> {
    fn default() -> Self {
        Self::whole(Bytes::new(), None)
    }
}

/// A whole body, for [`respond_with`](crate::DedupLayer::respond_with).
impl<B> From<Bytes> for GetBody<B> {
    fn from(bytes: Bytes) -> Self {
        Self::whole(bytes, None)
    }
}

impl<B> Body for GetBody<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut this = self.project();
        let first = std::mem::take(this.first);
        let buffered = std::iter::once(first).chain(&mut *this.more);
        if let Some(chunk) = { buffered }.find(|chunk| !chunk.is_empty()) {
            return Poll::Ready(Some(Ok(Frame::data(chunk))));
        }
        if let Some(body) = this.body.as_mut().as_pin_mut() {
            if let Some(frame) = ready!(body.poll_frame(cx)) {
                return Poll::Ready(Some(match frame {
                    Ok(frame) => Ok(with_bytes(frame)),
                    Err(error) => Err(error.into()),
                }));
            }
            this.body.set(None);
        }
        let trailers = this.trailers.take();
        Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(*trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.buffered() == 0
            && self.trailers.is_none()
            && self.body.as_ref().is_none_or(B::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let buffered = self.buffered();
        let rest = match &self.body {
            Some(body) => body.size_hint(),
            None => SizeHint::with_exact(0),
        };
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(buffered));
        if let Some(upper) = rest.upper().and_then(|upper| upper.checked_add(buffered)) {
            hint.set_upper(upper);
        }
        hint
    }
}

/// The frame with its data in one piece. `Bytes` are not copied.
pub(super) fn with_bytes<D: Buf>(frame: Frame<D>) -> Frame<Bytes> {
    frame.map_data(|mut data| data.copy_to_bytes(data.remaining()))
}

impl<B: fmt::Debug> fmt::Debug for GetBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GetBody")
            .field("buffered", &self.buffered())
            .field("body", &self.body)
            .finish_non_exhaustive()
    }
}
