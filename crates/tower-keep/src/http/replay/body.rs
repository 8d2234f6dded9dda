//! `ReplayBody`: a body whose clones send the same data again.

use std::{
    fmt,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};

use super::{
    error::{NotReplayable, Superseded},
    shared::{Attempt, FrameRef, Next, Polled, Shared, Watch},
};
use crate::error::BoxError;

/// A request body whose clones send the same data and trailers again, up to a cap.
///
/// [`ReplayLayer`](super::ReplayLayer) makes it. Without the layer, use [`new`](Self::new).
///
/// ```
/// use bytes::Bytes;
/// use http_body_util::{BodyExt, Full};
/// use tower_keep::http::replay::ReplayBody;
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let body = ReplayBody::new(Full::new(Bytes::from("an upload")), 64 * 1024);
/// let again = body.clone();
/// assert_eq!(body.collect().await.unwrap().to_bytes(), "an upload");
/// assert_eq!(again.collect().await.unwrap().to_bytes(), "an upload");
/// # });
/// ```
///
/// # Attempts
///
/// The body itself and each clone is an attempt, which begins with its first poll. An attempt first
/// sends what earlier attempts have read, then continues to read the inner body. Only the newest
/// attempt reads: an older attempt that needs more gets the error [`Superseded`]. A clone that is
/// never polled costs nothing.
///
/// # The cap
///
/// The cap counts the data, not the trailers. A body above the cap is not kept: its first attempt
/// sends all of it, a later one gets the error [`NotReplayable`]. This also holds for a body that
/// failed. So ask [`is_replayable`](Self::is_replayable) before a retry.
///
/// `Bytes` are kept without a copy, except for many small frames: later frames below 1 KiB are
/// copied together. A replay can thus have other frames, with the same content.
///
/// # Errors
///
/// The error of the inner body, [`Superseded`] or [`NotReplayable`]. An error ends the attempt.
///
/// # Cancel safety
///
/// An attempt can be dropped at any time. The next one continues where it ended.
pub struct ReplayBody<B> {
    shared: Arc<Shared<B>>,
    attempt: Attempt,
    /// The attempt has ended: with an error, if `false`.
    ended: Option<bool>,
}

/// Whether the body of a request can be sent again: the part of a [`ReplayBody`] that a retry
/// policy needs, without the type of the body.
///
/// The [layer](super::ReplayLayer) puts it into the extensions of a request whose body may be
/// larger than the cap, or than the default cap of 64 KiB. A request without it has a body that
/// fits into both.
#[derive(Clone, Debug)]
pub struct BodyReplay(Arc<Watch>);

impl BodyReplay {
    /// Whether an attempt that begins now sends the whole body: as
    /// [`ReplayBody::is_replayable`].
    #[must_use]
    pub fn is_replayable(&self) -> bool {
        !self.0.lost.load(Ordering::Acquire)
    }

    /// As [`ReplayBody::claim`].
    pub(in crate::http) fn claim(&self) {
        self.0.claimed.store(true, Ordering::Release);
    }
}

impl<B: Body> ReplayBody<B> {
    /// Keeps up to `max` bytes of this body for its clones.
    #[must_use]
    pub fn new(body: B, max: usize) -> Self {
        Self::with(Shared::new(body, max as u64, None))
    }

    /// As [`new`](Self::new), with a [`BodyReplay`] if the body may be larger.
    pub(super) fn watched(body: B, max: usize) -> (Self, Option<BodyReplay>) {
        let max = max as u64;
        // A retry keeps no larger body by itself, and has to see that this one is recorded.
        let known = max.min(super::layer::DEFAULT_MAX as u64);
        let may_exceed = (body.size_hint().upper()).is_none_or(|upper| upper > known);
        let watch = may_exceed.then(|| BodyReplay(Arc::default()));
        let shared = watch.as_ref().map(|watch| Arc::clone(&watch.0));
        (Self::with(Shared::new(body, max, shared)), watch)
    }
}

impl<B> ReplayBody<B> {
    fn with(shared: Shared<B>) -> Self {
        Self {
            shared: Arc::new(shared),
            attempt: Attempt::default(),
            ended: None,
        }
    }

    /// Whether a clone that begins now sends the whole body.
    ///
    /// It is `true` until an attempt exceeds the cap or the body fails. It is also `true` for a
    /// body of any size that no attempt has begun to send: a connection was refused, and nothing is
    /// lost. So ask after the attempt, and not before it. A clone that is never polled can be kept
    /// to ask.
    #[must_use]
    pub fn is_replayable(&self) -> bool {
        self.shared.is_replayable()
    }

    /// Another attempt is certain, so the attempts that have begun read no further. They would
    /// otherwise exceed the cap while the next one waits.
    #[cfg_attr(
        not(feature = "reqwest-0-13"),
        allow(dead_code, reason = "only reqwest needs it")
    )]
    pub(in crate::http) fn claim(&self) {
        self.shared.claim();
    }
}

/// The result of a poll.
type Sent = Poll<Option<Result<Frame<Bytes>, BoxError>>>;

fn failed(error: impl Into<BoxError>) -> Sent {
    Poll::Ready(Some(Err(error.into())))
}

impl<B> Body for ReplayBody<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Sent {
        let this = self.get_mut();
        if this.ended.is_some() {
            return Poll::Ready(None);
        }
        let sent = this.send(cx);
        match &sent {
            Poll::Ready(None) => this.ended = Some(true),
            Poll::Ready(Some(Err(_))) => this.ended = Some(false),
            _ => {}
        }
        sent
    }

    fn is_end_stream(&self) -> bool {
        match self.ended {
            Some(is_complete) => is_complete,
            None => self.shared.is_end(&self.attempt),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self.ended {
            Some(_) => SizeHint::with_exact(0),
            None => self.shared.size_hint(&self.attempt),
        }
    }
}

impl<B> ReplayBody<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    fn send(&mut self, cx: &mut Context<'_>) -> Sent {
        loop {
            match self.shared.next(&mut self.attempt) {
                Next::Data(data) => {
                    self.attempt.at += data.len() as u64;
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Next::Trailers(trailers) => {
                    self.attempt.sent_trailers = true;
                    return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                }
                Next::End => return Poll::Ready(None),
                Next::Poll(inner) => return self.poll_inner(inner, cx),
                Next::Wait => {
                    if self.shared.wait(&self.attempt, cx.waker().clone()) {
                        return Poll::Pending;
                    }
                }
                Next::Superseded => return failed(Superseded {}),
                Next::NotReplayable => return failed(NotReplayable {}),
            }
        }
    }

    /// Polls the inner body, outside the lock, and records what it sends.
    fn poll_inner(&mut self, inner: Pin<Box<B>>, cx: &mut Context<'_>) -> Sent {
        let mut taken = Taken {
            shared: &self.shared,
            attempt: &mut self.attempt,
            inner: Some(inner),
        };
        let Some(inner) = &mut taken.inner else {
            unreachable!("the body is returned after the poll")
        };
        match inner.as_mut().poll_frame(cx) {
            Poll::Pending => {
                let waker = cx.waker().clone();
                let is_newest = taken.give_back(|inner| Polled::Pending(inner, waker));
                match is_newest {
                    true => Poll::Pending,
                    false => failed(Superseded {}),
                }
            }
            Poll::Ready(Some(Ok(frame))) => {
                let frame = frame.map_data(|mut data| data.copy_to_bytes(data.remaining()));
                let is_end = inner.is_end_stream();
                let reference = match (frame.data_ref(), frame.trailers_ref()) {
                    (Some(data), _) => FrameRef::Data(data),
                    (None, Some(trailers)) => FrameRef::Trailers(trailers.clone()),
                    (None, None) => FrameRef::Unknown,
                };
                let mut over = None;
                taken.give_back(|inner| {
                    let rest = match is_end {
                        true => {
                            over = Some(inner);
                            None
                        }
                        false => Some(inner),
                    };
                    Polled::Frame {
                        frame: reference,
                        rest,
                    }
                });
                drop(over);
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(None) => {
                let mut over = None;
                taken.give_back(|inner| {
                    over = Some(inner);
                    Polled::Ended
                });
                drop(over);
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => failed(error),
        }
    }
}

/// The inner body while an attempt polls it. Dropped with it, the body has failed or panicked.
struct Taken<'a, B> {
    shared: &'a Shared<B>,
    attempt: &'a mut Attempt,
    inner: Option<Pin<Box<B>>>,
}

impl<B> Taken<'_, B> {
    fn give_back<'f>(&mut self, polled: impl FnOnce(Pin<Box<B>>) -> Polled<'f, B>) -> bool
    where
        B: 'f,
    {
        match self.inner.take() {
            Some(inner) => self.shared.polled(self.attempt, polled(inner)),
            None => unreachable!("the body is returned once"),
        }
    }
}

impl<B> Drop for Taken<'_, B> {
    fn drop(&mut self) {
        if self.inner.is_some() {
            self.shared.polled(self.attempt, Polled::Failed);
        }
    }
}

impl<B> Clone for ReplayBody<B> {
    /// Another attempt, which sends the body from its beginning.
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            attempt: Attempt::default(),
            ended: None,
        }
    }
}

impl<B> Drop for ReplayBody<B> {
    fn drop(&mut self) {
        self.shared.leave(&self.attempt);
    }
}

impl<B> fmt::Debug for ReplayBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplayBody")
            .field("sent", &self.attempt.at)
            .field("recorded", &self.shared.recorded())
            .field("is_replayable", &self.is_replayable())
            .finish_non_exhaustive()
    }
}
