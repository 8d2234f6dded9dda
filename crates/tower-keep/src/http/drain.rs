//! Reading a small response body before a retry, so that its connection is used again.
//!
//! With HTTP/1, a connection whose response is not read to its end must be closed: RFC 9112,
//! section 9.3. A new connection takes longer than the rest of a small error page.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Buf;
use http::HeaderMap;
use http_body::Body;

use super::content_length::content_length;
use crate::retry::hook::{DiscardOutcome, RespondAsIs, SealedDiscard};

/// The most bytes of a body that are read and dropped.
const MAX_BYTES: u64 = 64 * 1024;

/// The most frames of a body that are read and dropped: a body of empty frames ends too.
const MAX_FRAMES: u32 = 4096;

/// Reads a response body of up to 64 KiB during the wait before the next attempt, and drops it. A
/// larger body is dropped. Made by [`RetryLayer::http`](crate::RetryLayer::http).
#[derive(Clone, Copy, Debug, Default)]
pub struct DrainBody;

impl SealedDiscard for DrainBody {}

#[diagnostic::do_not_recommend]
impl<B: Body> DiscardOutcome<http::Response<B>> for DrainBody {
    type Drain = Drain<B>;

    const DRAINS: bool = true;

    fn discard(&self, response: http::Response<B>) -> Option<Drain<B>> {
        let (head, body) = response.into_parts();
        Drain::new(&head.headers, body)
    }
}

#[cfg(feature = "reqwest-0-13")]
#[diagnostic::do_not_recommend]
impl DiscardOutcome<reqwest::Response> for DrainBody {
    type Drain = Drain<reqwest::Body>;

    const DRAINS: bool = true;

    fn discard(&self, response: reqwest::Response) -> Option<Self::Drain> {
        self.discard(http::Response::<reqwest::Body>::from(response))
    }
}

impl RespondAsIs for DrainBody {}

/// Reads frames and drops them, until the body ends, fails, or exceeds its limits.
#[derive(Debug)]
pub struct Drain<B> {
    // Boxed: it is rare, and it would lengthen the future of each call.
    body: Pin<Box<B>>,
    bytes_left: u64,
    frames_left: u32,
}

impl<B: Body> Drain<B> {
    /// `None` if nothing is left to read, or if the body is known to be too large.
    fn new(headers: &HeaderMap, body: B) -> Option<Self> {
        if body.is_end_stream() || body.size_hint().lower() > MAX_BYTES {
            return None;
        }
        if content_length(headers).is_some_and(|length| length > MAX_BYTES) {
            return None;
        }
        Some(Self {
            body: Box::pin(body),
            bytes_left: MAX_BYTES,
            frames_left: MAX_FRAMES,
        })
    }

    /// Counts a frame. `None` if the body exceeds a limit.
    fn count(&mut self, bytes: usize) -> Option<()> {
        self.frames_left = self.frames_left.checked_sub(1)?;
        self.bytes_left = self.bytes_left.checked_sub(bytes.try_into().ok()?)?;
        Some(())
    }
}

impl<B: Body> Future for Drain<B> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let Some(Ok(frame)) = ready!(self.body.as_mut().poll_frame(cx)) else {
                return Poll::Ready(());
            };
            let bytes = frame.data_ref().map_or(0, Buf::remaining);
            if self.count(bytes).is_none() {
                return Poll::Ready(());
            }
        }
    }
}

#[cfg(test)]
mod tests;
